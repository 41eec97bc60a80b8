--------------------------- MODULE FastPaxosTraces ---------------------------
(* Is what the code did a behaviour of FastPaxos.tla? Traces is a batch of  *)
(* recorded runs of one decree each, walked event by event as in            *)
(* PaxosTraces.tla: each must be a step of the action that it names, with   *)
(* the arguments that it names, to the state that it names. Persist is in   *)
(* no trace, and is taken as late as possible: when the next event counts   *)
(* an answer, sends what waits for the own vote, or is a restart.           *)
(*                                                                          *)
(* The module TraceData is generated. Ballots are ranks there, so it says   *)
(* of each fast one which follows it, and whose each is.                    *)
EXTENDS FastPaxos, TraceData

CONSTANTS Opening,  \* the ballot in which everything begins
          Follows,  \* the ballot that follows each one, or -1 where that is classic; a sequence, and ballot 0 is first
          Owners,   \* the node of each ballot, likewise
          Firsts    \* the ballots that begin a round

ASSUME Opening = 0

VARIABLES trace,  \* the number of the trace that is walked
          next    \* the number of its next event

Event == Traces[trace][next]

OwnerOf(b) == Owners[b + 1]
IsFast(b) == Follows[b + 1] >= 0
Following(b) == Follows[b + 1]
IsFirst(b) == b \in Firsts
-----------------------------------------------------------------------------
\* The answer that an event of node n counts.
Answer(e) ==
  IF e.action = "CountPromise"
  THEN [type |-> "1b", acc |-> e.sender, bal |-> e.ballot, mbal |-> e.vote, mval |-> e.voted]
  ELSE [type |-> "2b", acc |-> e.sender, bal |-> e.ballot, val |-> e.value]

\* The disk of n holds what n restarted with.
Holds(n, e) == IF e.chosen # None
               THEN disk[n].chosen = e.chosen
               ELSE disk[n] = [bal |-> e.promised, vbal |-> e.vote, val |-> e.voted, chosen |-> None]

\* Node n remembers what the event says.
Remembers(n, e) ==
  /\ mem'[n] = [bal |-> e.promised, vbal |-> e.vote, val |-> e.voted, chosen |-> None]
  /\ opened'[n] = e.opened

OwnVote(e) == \E m \in msgs : m.type = "2b" /\ m.acc = e.node /\ m.bal = e.ballot

\* Whose disk must come further before the event can happen.
Behind(e) ==
  LET n == IF e.action \in {"CountPromise", "CountVote"} /\ Answer(e) \notin msgs THEN e.sender
           ELSE IF e.action = "Restart" /\ ~Holds(e.node, e) THEN e.node
           ELSE IF e.action = "SendAccept" /\ ~OwnVote(e) THEN e.node
           ELSE 0
  IN  IF n # 0 /\ held[n] # <<>> THEN {n} ELSE {}

Fits(e) ==
  LET n == e.node
  IN  CASE e.action = "Submit" -> Submit(e.value)
        [] e.action = "Propose" -> Propose(n, e.value)
        [] e.action = "Phase1a" -> Phase1a(n, e.ballot)
        [] e.action = "CountPromise" ->
             /\ Answer(e) \in msgs
             /\ coord[n].bal = e.ballot
             /\ CountPromise(n)
             /\ coord'[n].got = coord[n].got \cup {Answer(e)}
             /\ Sources(coord'[n].got) = e.gathered
        [] e.action = "Phase2a" -> Phase2a(n, e.ballot, e.value)
        [] e.action = "Phase2aAny" -> coord[n].bal = e.ballot /\ Phase2aAny(n)
        [] e.action = "SendAccept" -> coord[n].bal = e.ballot /\ coord[n].val = e.value /\ SendAccept(n)
        [] e.action = "Free" -> coord[n].bal = e.ballot /\ Free(n)
        [] e.action = "Preempt" -> coord[n].bal = e.ballot /\ Preempt(n)
        [] e.action = "Stop" -> Stop(n)
        [] e.action = "Phase1b" ->
             /\ Phase1b(n)
             /\ e.promised = e.ballot /\ e.reported = e.vote /\ e.value = e.voted
             /\ Remembers(n, e)
        [] e.action = "RepeatPromise" ->
             /\ RepeatPromise(n)
             /\ e.promised = e.ballot /\ e.reported = e.vote /\ e.value = e.voted
             /\ Remembers(n, e)
        [] e.action = "TakeAny" -> TakeAny(n) /\ Remembers(n, e)
        [] e.action = "Phase2b" -> Phase2b(n, e.ballot, e.value) /\ Remembers(n, e)
        [] e.action = "RecoverVote" -> RecoverVote(n, e.ballot, e.value) /\ Remembers(n, e)
        [] e.action = "RepeatVote" ->
             RepeatVote(n) /\ e.vote = e.ballot /\ e.value = e.voted /\ Remembers(n, e)
        [] e.action = "Refuse" ->
             /\ e.by = e.promised
             /\ e.ballot < e.by
             /\ Refuse(n)
             /\ msgs' = msgs \cup {[type |-> "nack", bal |-> e.ballot, promised |-> e.by]}
             /\ Remembers(n, e)
        [] e.action = "CountVote" ->
             /\ Answer(e) \in msgs
             /\ CountVote(n)
             /\ tally'[n] = tally[n] \cup {Answer(e)}
             /\ {m.acc : m \in {mm \in tally'[n] : mm.bal = e.ballot /\ mm.val = e.value}} = e.voters
        [] e.action = "Learn" -> Learn(n, e.ballot, e.value)
        [] e.action = "LearnNews" -> LearnNews(n) /\ mem'[n].chosen = e.value
        [] e.action = "Tell" -> Tell(n) /\ mem[n].chosen = e.value
        [] e.action = "Restart" -> Holds(n, e) /\ Restart(n)
        [] OTHER -> FALSE

TraceInit == /\ Init
             /\ trace \in DOMAIN Traces
             /\ next = 1

TraceNext ==
  /\ next <= Len(Traces[trace])
  /\ LET behind == Behind(Event)
     IN  IF behind # {}
         THEN /\ \E n \in behind : Persist(n)
              /\ UNCHANGED <<trace, next>>
         ELSE /\ Fits(Event)
              /\ UNCHANGED trace
              /\ next' = next + 1
              /\ PrintT(<<trace, next>>)

\* Violated just before event number Until.
Unreached == next # Until
=============================================================================
