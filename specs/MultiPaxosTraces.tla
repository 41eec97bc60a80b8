-------------------------- MODULE MultiPaxosTraces --------------------------
(* Is what the code did a behaviour of MultiPaxos.tla? Traces is a batch of *)
(* recorded runs of one log each: sequences of events, one for each thing   *)
(* that a handler did, with the state it left. A trace is walked event by   *)
(* event, as in PaxosTraces.tla; each must be a step of the action that it  *)
(* names, with the arguments that it names, to the state that it names.     *)
(*                                                                          *)
(* Only Persist is in no trace, since it happens in no handler. It is taken *)
(* as late as possible: when the next event counts an answer, or is a       *)
(* restart from what the disk then holds. Where a restart says too little   *)
(* to tell how far the disk had come, each possibility is followed.         *)
(*                                                                          *)
(* Progress is printed, <<trace, event>>; a trace whose end is never        *)
(* reached is rejected, and the event after the last one that was reached   *)
(* is the first that does not fit.                                          *)
(*                                                                          *)
(* The module TraceData is generated: it holds Traces, an event to stop at, *)
(* and what the cluster is like. None is "none" and Nop is "nop" there.                          *)
EXTENDS MultiPaxos, TLC, TraceData

VARIABLES trace,  \* the number of the trace that is walked
          next    \* the number of its next event

Event == Traces[trace][next]
-----------------------------------------------------------------------------
\* The pages of a promise, and the votes, that an event of node n may count.
Counted1b(e) == {m \in msgs : /\ m.type = "1b" /\ m.acc = e.sender /\ m.bal = e.ballot
                              /\ m.from = e.first /\ m.next = e.following /\ m.floor = e.compacted
                              /\ Cardinality(m.votes) = e.told}

Counted2b(e) == {m \in msgs : /\ m.type = "2b" /\ m.acc = e.sender /\ m.bal = e.ballot /\ m.slot = e.slot}

\* The disk of n holds what n restarted with.
Holds(n, e) == /\ disk[n].bal = e.promised
               /\ Floor(disk[n]) = e.compacted
               /\ Len(Restored(disk[n])) = e.committed
               /\ Cardinality({s \in Slot : disk[n].log[s].val # None}) = e.votes

\* Whose disk must come further before the event can happen; none if it can, or never will.
Behind(e) ==
  CASE e.action \in {"CountPage", "CountPromise"} ->
         IF Counted1b(e) = {} /\ held[e.sender] # <<>> THEN {e.sender} ELSE {}
    [] e.action = "CountVote" ->
         IF Counted2b(e) = {} /\ held[e.sender] # <<>> THEN {e.sender} ELSE {}
    [] e.action = "Restart" ->
         IF ~Holds(e.node, e) /\ held[e.node] # <<>> THEN {e.node} ELSE {}
    [] OTHER -> {}

Asked(type, b) == \E m \in msgs : m.type = type /\ m.bal = b

IsPage(m, e) == /\ m.type = "1b" /\ m.acc = e.node /\ m.bal = e.ballot
                /\ m.from = e.first /\ m.next = e.following /\ m.floor = e.compacted
                /\ Cardinality(m.votes) = e.told

Fits(e) ==
  LET n == e.node
  IN  CASE e.action = "Submit" -> Submit(e.value)
        [] e.action = "Phase1a" -> Phase1a(n, e.ballot) /\ leader'[n].from = e.first
        [] e.action = "CountPage" ->
             /\ leader[n].bal = e.ballot
             /\ CountPage(n)
             /\ leader'[n].pages \ leader[n].pages \subseteq Counted1b(e)
        [] e.action = "CountPromise" ->
             /\ leader[n].bal = e.ballot
             /\ CountPromise(n)
             /\ Counted1b(e) # {}
             /\ leader'[n].got = leader[n].got \cup {e.sender}
             /\ leader'[n].got = e.gathered
        [] e.action = "Elected" ->
             /\ leader[n].bal = e.ballot
             /\ Elected(n)
             /\ leader'[n].floor = e.floor
             /\ Cardinality(Reported(leader'[n].plan)) = e.owed
        [] e.action = "Repropose" ->
             /\ leader[n].bal = e.ballot
             /\ leader[n].next = e.slot
             /\ leader[n].plan[e.slot].val = e.value
             /\ Repropose(n)
        [] e.action = "Phase2a" ->
             leader[n].bal = e.ballot /\ leader[n].next = e.slot /\ Phase2a(n, e.value)
        [] e.action = "Preempt" ->
             /\ leader[n].bal = e.ballot
             /\ [type |-> "nack", bal |-> e.ballot, promised |-> e.promised] \in msgs
             /\ Preempt(n)
             /\ leader'[n].stage = "idle"
        [] e.action = "Resign" -> leader[n].bal = e.ballot /\ Resign(n)
        [] e.action = "Phase1b" ->
             /\ Phase1b(n)
             /\ mem'[n].bal = e.ballot
             /\ \E m \in held'[n][Len(held'[n])].answers : IsPage(m, e)
        [] e.action = "MorePages" ->
             /\ mem[n].bal = e.ballot
             /\ MorePages(n)
             /\ \E m \in msgs' \cup UNION {held'[n][i].answers : i \in DOMAIN held'[n]} : IsPage(m, e)
        [] e.action = "Phase2b" ->
             /\ [type |-> "2a", bal |-> e.ballot, slot |-> e.slot, val |-> e.value] \in msgs
             /\ VoteFor(n, [type |-> "2a", bal |-> e.ballot, slot |-> e.slot, val |-> e.value])
        [] e.action = "RepeatVote" ->
             /\ RepeatVote(n)
             /\ mem[n].bal = e.ballot
             /\ mem[n].log[e.slot] = [bal |-> e.ballot, val |-> e.value]
             /\ [type |-> "2b", acc |-> n, bal |-> e.ballot, slot |-> e.slot, val |-> e.value]
                  \in msgs' \cup UNION {held'[n][i].answers : i \in DOMAIN held'[n]}
        [] e.action = "Join" -> Join(n) /\ mem'[n].bal = e.ballot
        [] e.action = "Refuse" ->
             /\ \E type \in {"1a", "2a", "commit"} : Asked(type, e.ballot)
             /\ mem[n].bal = e.by
             /\ e.ballot < e.by
             /\ Refuse(n)
             /\ msgs' = msgs \cup {[type |-> "nack", bal |-> e.ballot, promised |-> e.by]}
        [] e.action = "CountVote" ->
             /\ leader[n].bal = e.ballot
             /\ CountVote(n)
             /\ tally'[n] \ tally[n] \subseteq Counted2b(e)
             /\ {m.acc : m \in {mm \in tally'[n] : mm.slot = e.slot}} = e.voters
        [] e.action = "Commit" -> leader[n].bal = e.ballot /\ Commit(n, e.slot)
        [] e.action = "FollowerCommit" ->
             FollowerCommit(n, e.slot) /\ committed'[n][e.slot] = e.value
        [] e.action = "LearnNews" ->
             /\ [type |-> "news", slot |-> e.slot, bal |-> e.vote, val |-> e.value] \in msgs
             /\ LearnNews(n)
             /\ Len(committed'[n]) = e.slot
             /\ mem'[n].log[e.slot] = [bal |-> e.vote, val |-> e.value]
        [] e.action = "Tell" -> Tell(n, e.slot) /\ mem[n].log[e.slot].val = e.value
        [] e.action = "Mark" ->
             /\ Len(committed[n]) = e.slot
             /\ \/ Mark(n, e.ballot)
                \/ [bal |-> e.ballot, upto |-> e.slot] \in mem[n].hints /\ UNCHANGED vars
        [] e.action = "Snapshot" -> Snapshot(n, e.slot) /\ mem[n].bal = e.promised
        [] e.action = "Compact" -> Compact(n, e.slot)
        [] e.action = "Install" -> /\ Install(n)
                                   /\ Len(committed'[n]) = e.slot
                                   /\ mem'[n].bal = e.promised
        [] e.action = "Restart" -> Holds(n, e) /\ Restart(n)
        [] OTHER -> FALSE

TraceInit == /\ Init
             /\ trace \in DOMAIN Traces
             /\ next = 1

TraceNext ==
  /\ next <= Len(Traces[trace])
  /\ LET behind == Behind(Event)
     IN  \/ /\ \E n \in behind : Persist(n)
            /\ UNCHANGED <<trace, next>>
         \/ /\ behind = {}
            /\ Event.action = "Restart"
            /\ Persist(Event.node)
            /\ UNCHANGED <<trace, next>>
         \/ /\ behind = {}
            /\ Fits(Event)
            /\ UNCHANGED trace
            /\ next' = next + 1
            /\ PrintT(<<trace, next>>)

\* Violated just before event number Until.
Unreached == next # Until
=============================================================================
