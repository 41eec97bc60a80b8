----------------------------- MODULE PaxosTraces -----------------------------
(* Is what the code did a behaviour of Paxos.tla? Traces is a batch of      *)
(* recorded runs of one decree each: sequences of events, one for each      *)
(* thing that a handler did, with the state it left. A trace is walked      *)
(* event by event; each must be a step of the action that it names, with    *)
(* the arguments that it names, to the state that it names.                 *)
(*                                                                          *)
(* Only Persist is in no trace, since it happens in no handler. It is taken *)
(* as late as possible: when the next event needs what the disk then holds, *)
(* because it counts an answer, or is a restart from it. That is always     *)
(* early enough, because nothing but those two looks at a disk.             *)
(*                                                                          *)
(* Progress is printed, <<trace, event>>; a trace whose end is never        *)
(* reached is rejected, and the event after the last one that was reached   *)
(* is the first that does not fit.                                          *)
(*                                                                          *)
(* The module TraceData is generated: it holds Traces, an event to stop at, *)
(* and what the cluster is like. None is "none" there.                                           *)
EXTENDS Paxos, TLC, TraceData

VARIABLES trace,  \* the number of the trace that is walked
          next    \* the number of its next event

Event == Traces[trace][next]
-----------------------------------------------------------------------------
\* The answer that an event of node n counts.
Counted(e) ==
  IF e.action = "CountPromise"
  THEN [type |-> "1b", acc |-> e.sender, bal |-> e.ballot, mbal |-> e.vote, mval |-> e.voted]
  ELSE [type |-> "2b", acc |-> e.sender, bal |-> e.ballot, val |-> e.value]

\* The disk of n holds what n restarted with.
Holds(n, e) == IF e.chosen # None
               THEN disk[n].chosen = e.chosen
               ELSE disk[n] = [bal |-> e.promised, vbal |-> e.vote, val |-> e.voted, chosen |-> None]

\* Node n remembers what the event says.
Remembers(n, e) ==
  mem'[n] = [bal |-> e.promised, vbal |-> e.vote, val |-> e.voted, chosen |-> None]

Waits(e) ==
  \/ e.action \in {"CountPromise", "CountVote"} /\ Counted(e) \notin msgs /\ held[e.sender] # <<>>
  \/ e.action = "Restart" /\ ~Holds(e.node, e) /\ held[e.node] # <<>>

Fits(e) ==
  LET n == e.node
  IN  CASE e.action = "Submit" -> Submit(e.value)
        [] e.action = "Phase1a" -> Phase1a(n, e.ballot)
        [] e.action = "CountPromise" ->
             /\ Counted(e) \in msgs
             /\ proposer[n].bal = e.ballot
             /\ CountPromise(n)
             /\ proposer'[n].got = proposer[n].got \cup {e.sender}
             /\ proposer'[n].got = e.gathered
             /\ proposer'[n].best = e.best
             /\ proposer'[n].val = e.binding
        [] e.action = "Phase2a" -> proposer[n].bal = e.ballot /\ Phase2a(n, e.value)
        [] e.action = "Free" -> proposer[n].bal = e.ballot /\ Free(n)
        [] e.action = "Preempt" ->
             /\ proposer[n].bal = e.ballot
             /\ [type |-> "nack", bal |-> e.ballot, promised |-> e.promised] \in msgs
             /\ Preempt(n)
        [] e.action = "Stop" -> Stop(n)
        [] e.action = "Phase1b" ->
             /\ Phase1b(n)
             /\ e.promised = e.ballot
             /\ e.reported = e.vote
             /\ e.value = e.voted
             /\ Remembers(n, e)
        [] e.action = "RepeatPromise" ->
             /\ RepeatPromise(n)
             /\ e.promised = e.ballot
             /\ e.reported = e.vote
             /\ e.value = e.voted
             /\ Remembers(n, e)
        [] e.action = "Phase2b" ->
             /\ Phase2b(n)
             /\ e.promised = e.ballot
             /\ e.vote = e.ballot
             /\ e.value = e.voted
             /\ Remembers(n, e)
        [] e.action = "RepeatVote" ->
             /\ RepeatVote(n)
             /\ e.promised = e.ballot
             /\ e.vote = e.ballot
             /\ e.value = e.voted
             /\ Remembers(n, e)
        [] e.action = "Refuse" ->
             /\ \E m \in msgs : m.type \in {"1a", "2a"} /\ m.bal = e.ballot
             /\ e.by = e.promised
             /\ e.ballot < e.by
             /\ Refuse(n)
             /\ msgs' = msgs \cup {[type |-> "nack", bal |-> e.ballot, promised |-> e.by]}
             /\ Remembers(n, e)
        [] e.action = "CountVote" ->
             /\ Counted(e) \in msgs
             /\ CountVote(n)
             /\ tally'[n] = tally[n] \cup {Counted(e)}
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
  /\ IF Waits(Event)
     THEN /\ Persist(IF Event.action = "Restart" THEN Event.node ELSE Event.sender)
          /\ UNCHANGED <<trace, next>>
     ELSE /\ Fits(Event)
          /\ UNCHANGED trace
          /\ next' = next + 1
          /\ PrintT(<<trace, next>>)

\* Violated just before event number Until.
Unreached == next # Until
=============================================================================
