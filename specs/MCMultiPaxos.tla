---------------------------- MODULE MCMultiPaxos -----------------------------
(* What the models of MultiPaxos.tla share: who owns which ballot, where a  *)
(* model begins, and the ways in which it is made small enough to be        *)
(* finished. A .cfg file says which of them it uses.                        *)
EXTENDS MultiPaxos, TLC

CONSTANTS n1, n2, n3, v1, v2

OwnerOf(b) == IF b % 2 = 0 THEN n1 ELSE n2

OwnerOfThree(b) == IF b = 0 THEN n1 ELSE IF b = 1 THEN n2 ELSE n3

\* Values differ by name only.
Symmetry == Permutations(Value)

\* A disk is at most so many records behind.
Behind1 == \A n \in Acceptor : Len(held[n]) <= 1

\* What a model leaves out takes the place of an action there.
Never(n) == FALSE

NeverTwo(n, x) == FALSE

\* A disk is never behind.
WriteThrough(n, record, answers) ==
  /\ mem' = [mem EXCEPT ![n] = record]
  /\ disk' = [disk EXCEPT ![n] = record]
  /\ msgs' = msgs \cup answers
  /\ UNCHANGED held

\* Votes count as soon as they are sent.
AllVotes(n) == msgs

\* A snapshot is made and its slots are forgotten in one step.
CompactAtOnce(n, k) ==
  /\ k \in Floor(mem[n]) + 1..Len(committed[n])
  /\ LET snap == SubSeq(committed[n], 1, k)
     IN  Write(n, Compacted(mem[n], snap), {[type |-> "snap", bal |-> mem[n].bal, log |-> snap]})
  /\ UNCHANGED <<submitted, committed, leader, tally>>

\* The command of each leader is its own.
OwnCommand(n) == IF n = n1 THEN {v1} ELSE IF n = n2 THEN {v2} ELSE {}

InitSubmitted ==
  /\ submitted = Value
  /\ msgs = {}
  /\ mem = [n \in Acceptor |-> Nothing]
  /\ disk = [n \in Acceptor |-> Nothing]
  /\ held = [n \in Acceptor |-> <<>>]
  /\ committed = [n \in Acceptor |-> <<>>]
  /\ leader = [n \in Acceptor |-> Idle]
  /\ tally = [n \in Acceptor |-> {}]

\* At ballot 0 node n1 led, and its proposals reached whom they ever reach. Nothing else happened.
InitVoted ==
  \E k \in 0..Last, voters \in [Slot -> SUBSET Acceptor] :
    LET record(n) == [Nothing EXCEPT !.bal = 0,
                        !.log = [s \in Slot |-> IF n \in voters[s] THEN [bal |-> 0, val |-> v1] ELSE NoVote]]
    IN  /\ \A s \in Slot : s > k => voters[s] = {}
        /\ submitted = Value
        /\ mem = [n \in Acceptor |-> record(n)]
        /\ disk = [n \in Acceptor |-> record(n)]
        /\ msgs = {[type |-> "1a", bal |-> 0, from |-> 1]}
                  \cup {Page(n, [Nothing EXCEPT !.bal = 0], 0, 1) : n \in Acceptor}
                  \cup {[type |-> "2a", bal |-> 0, slot |-> s, val |-> v1] : s \in 1..k}
                  \cup UNION {{[type |-> "2b", acc |-> n, bal |-> 0, slot |-> s, val |-> v1] :
                               n \in voters[s]} : s \in Slot}
        /\ held = [n \in Acceptor |-> <<>>]
        /\ committed = [n \in Acceptor |-> <<>>]
        /\ leader = [n \in Acceptor |->
             IF n = n1 THEN [Idle EXCEPT !.stage = "leading", !.bal = 0, !.next = k + 1] ELSE Idle]
        /\ tally = [n \in Acceptor |-> {}]

\* At ballot 0 both slots were proposed, slot 1 was chosen, and one node at most compacted it. Its leader is gone.
InitCompacted ==
  \E voters \in [Slot -> SUBSET Acceptor], compacted \in {{}} \cup {{n} : n \in Acceptor} :
    LET record(n) == [Nothing EXCEPT !.bal = 0,
                        !.log = [s \in Slot |-> IF n \in voters[s] /\ (s > 1 \/ n \notin compacted)
                                                THEN [bal |-> 0, val |-> v1] ELSE NoVote],
                        !.snap = IF n \in compacted THEN <<v1>> ELSE <<>>]
    IN  /\ voters[1] \in Quorum2 /\ voters[1] # Acceptor
        /\ submitted = Value
        /\ mem = [n \in Acceptor |-> record(n)]
        /\ disk = [n \in Acceptor |-> record(n)]
        /\ msgs = {[type |-> "1a", bal |-> 0, from |-> 1], [type |-> "commit", bal |-> 0, upto |-> 1]}
                  \cup {Page(n, [Nothing EXCEPT !.bal = 0], 0, 1) : n \in Acceptor}
                  \cup {[type |-> "2a", bal |-> 0, slot |-> s, val |-> v1] : s \in Slot}
                  \cup UNION {{[type |-> "2b", acc |-> n, bal |-> 0, slot |-> s, val |-> v1] :
                               n \in voters[s]} : s \in Slot}
                  \cup (IF compacted = {} THEN {} ELSE {[type |-> "snap", bal |-> 0, log |-> <<v1>>]})
        /\ held = [n \in Acceptor |-> <<>>]
        /\ committed = [n \in Acceptor |-> record(n).snap]
        /\ leader = [n \in Acceptor |-> Idle]
        /\ tally = [n \in Acceptor |-> {}]

\* Votes at ballot 1 only: those at ballot 0 are part of how the model begins, or do not matter, and proposals at
\* ballot 2 are looked at (AcceptSafe) and not voted for.
VotesAt1(n) == \E m \in msgs : m.type = "2a" /\ m.bal = 1 /\ VoteFor(n, m)

\* What is proposed at ballot 0 is part of how the model begins.
OwnCommandAbove(n) == IF n = n2 THEN {v2} ELSE {}

\* The promises of a quorum are taken in at one go: nobody else sees them come one by one.
ElectedAtOnce(n) ==
  /\ leader[n].stage = "preparing"
  /\ \E S \in SUBSET Acceptor :
       LET answers == {m \in msgs : m.type = "1b" /\ m.bal = leader[n].bal /\ m.acc \in S}
       IN  /\ \E Q \in Quorum1 : Q \subseteq S
           /\ \A a \in S : \E m \in answers : m.acc = a
           /\ TakeOffice(n, [leader[n] EXCEPT !.floor = Highest({@} \cup {m.floor : m \in answers}),
                                              !.plan = Binding(@, answers)])
  /\ UNCHANGED <<submitted, mem, disk, held, committed, tally>>
=============================================================================
