---------------------------- MODULE EPaxosCommit -----------------------------
(* The commit path of EPaxos.tla by itself: nobody recovers. What the       *)
(* models of it share, and those of EPaxosRecovery.tla too: who submits     *)
(* what, and the ways in which a model is made small enough to be finished. *)
(* A .cfg file says which of them it uses.                                  *)
EXTENDS EPaxos

CONSTANTS c1, c2, c3

\* All commands conflict.
Always(c, d) == TRUE

\* c3 writes what c1 and c2 read.
Readers(c, d) == c = c3 \/ d = c3

\* Each replica has a command of its own.
OwnCommand(n) == {<<c1, c2, c3, None, None>>[n]} \cap (Command \ Submitted)

\* Replica 1 has two commands.
TwoOfOne(n) == IF n = 1 THEN (IF c1 \in Submitted THEN {c2} ELSE {c1}) \ Submitted ELSE {c3} \ Submitted

\* Replica 2 begins ballot 1, and replica 3 ballot 2, and so on.
NextLeader(b) == (b % N) + 1

\* What a model leaves out takes the place of an action there.
Never(n) == FALSE

NeverTwo(n, x) == FALSE

NeverThree(n, x, y) == FALSE

\* A disk is never behind.
WriteThrough(n, id, record, answers, sent) ==
  /\ mem' = [mem EXCEPT ![n][id] = record]
  /\ disk' = [disk EXCEPT ![n][id] = record]
  /\ msgs' = msgs \cup sent \cup answers
  /\ UNCHANGED held

\* A disk is at most one record behind.
Behind1 == \A n \in Replica : Len(held[n]) <= 1

\* Answers count as soon as they are sent; of those that have come any may have.
AtOnce(n, id) ==
  LET type == IF work[n][id].stage = "preaccepting" THEN "preacceptok" ELSE "acceptok"
      all == {m \in msgs : m.type = type /\ m.id = id}
  IN  IF type = "acceptok" THEN {m \in all : m.bal = work[n][id].bal} ELSE all

\* On the slow path the union of which answers is proposed.
UnionAtOnce(n, id) ==
  /\ work[n][id].stage = "preaccepting"
  /\ Stands(n, id)
  /\ \E S \in SUBSET AtOnce(n, id) :
       /\ n \in Sources(S)
       /\ Cardinality(S) >= N - F
       /\ LET deps == {m.deps : m \in S}
          IN  Propose(n, id, work[n][id].cmd, [r \in Replica |-> Highest({d[r] : d \in deps})])
=============================================================================
