--------------------------- MODULE EPaxosRecovery ----------------------------
(* Recovery in EPaxos.tla. What its models share: mistakes that are planted *)
(* to see that a model finds them, and further ways in which a model is     *)
(* made small enough to be finished. A .cfg file says which of them it uses. *)
EXTENDS EPaxosCommit

Answers(n, id, type) == {m \in msgs : m.type = type /\ m.id = id /\ m.bal = work[n][id].bal}

\* Answers count as soon as they are sent, and a decision is made from any n - f of them, or more.
AnyQuorum(n, id) ==
  IF work[n][id].stage = "recovering" /\ Stands(n, id)
  THEN {S \in SUBSET Answers(n, id, "recoverok") : Cardinality(S) >= N - F}
  ELSE {}

VerdictAtOnce(n, id) ==
  LET w == work[n][id]
      answers == {m \in Answers(n, id, "validateok") : m.src \in w.asked}
  IN  IF w.stage = "validating" /\ Stands(n, id) /\ Sources(answers) = w.asked
      THEN {UNION {m.against : m \in answers}} ELSE {}

LateAtOnce(n, id) == {m \in Answers(n, id, "recoverok") : m.src \notin work[n][id].asked}

\* Only what replica 1 owns is recovered.
OnlyOfOne(n, id) == id[2] <= used[1] /\ Owner(id) = 1

\* What owners do they have done before anybody recovers.
OwnersFirst ==
  (\E m \in msgs : m.type = "recover") =>
    \A m \in msgs' \ msgs : /\ m.type \notin {"preaccept", "preacceptok"}
                            /\ m.type \in {"accept", "commit"} => m.bal > 0

\* ---- mistakes ------------------------------------------------------------

\* Commit messages are sent before the owner has its fast commit on disk.
FastCommitNotDurable(n, id) ==
  /\ work[n][id].stage = "preaccepting"
  /\ Stands(n, id)
  /\ LET same == {m \in Gathered(n, id) : m.deps = work[n][id].deps}
     IN  n \in Sources(same) /\ Cardinality(Sources(same)) >= N - E
  /\ WriteAnd(n, id, [mem[n][id] EXCEPT !.phase = "committed"], {},
           {[type |-> "commit", id |-> id, bal |-> 0, cmd |-> work[n][id].cmd, deps |-> work[n][id].deps]})
  /\ work' = [work EXCEPT ![n][id] = Idle]
  /\ UNCHANGED <<used, old>>

\* What may have been committed on the fast path is proposed without asking what speaks against it.
NoValidation(n, id) == \E answers \in Decisive(n, id) :
  /\ Accepted(answers) = {}
  /\ Owner(id) \notin Sources(answers)
  /\ Cardinality(Strong(answers)) >= Cardinality(answers) - E
  /\ LET m == CHOOSE m \in Strong(answers) : TRUE IN Propose(n, id, m.rec.icmd, m.rec.ideps)

\* A late Validate writes over what was accepted since.
ValidateAnyPhase(n) == \E m \in msgs :
  /\ m.type = "validate"
  /\ n \in m.to
  /\ mem[n][m.id].bal = m.bal
  /\ ~Committed(mem[n][m.id])
  /\ Write(n, m.id, [mem[n][m.id] EXCEPT !.cmd = m.cmd, !.icmd = m.cmd, !.ideps = m.deps],
           {[type |-> "validateok", id |-> m.id, bal |-> m.bal, src |-> n,
             against |-> Against(n, m.id, m.cmd, m.deps)]})
  /\ UNCHANGED <<used, old, work>>

\* A restarted owner does not care for what it lost.
NothingLost(n, id) == FALSE

\* A restarted owner goes on where it was: it counts pre-acceptances, and may have proposed something else.
RestartResuming(n) ==
  /\ mem' = [mem EXCEPT ![n] = disk[n]]
  /\ held' = [held EXCEPT ![n] = <<>>]
  /\ work' = [work EXCEPT ![n] = [id \in Id |->
       IF Owner(id) = n /\ disk[n][id].phase = "preaccepted" /\ disk[n][id].bal = 0
       THEN [Idle EXCEPT !.stage = "preaccepting", !.bal = 0, !.cmd = disk[n][id].icmd, !.deps = disk[n][id].ideps]
       ELSE Idle]]
  /\ old' = [old EXCEPT ![n] = used[n]]
  /\ UNCHANGED <<msgs, used, disk>>
=============================================================================
