-------------------------- MODULE FastPaxosLogTraces --------------------------
(* Is what the code did a behaviour of FastPaxosLog.tla? Traces is a batch  *)
(* of recorded runs of one log each, walked event by event as in            *)
(* MultiPaxosTraces.tla: each must be a step of the action that it names,   *)
(* with the arguments that it names, to the state that it names. Persist is *)
(* in no trace, and is taken as late as possible: when the next event       *)
(* counts an answer, or is a restart from what the disk then holds. Where a *)
(* restart says too little to tell how far the disk had come, each          *)
(* possibility is followed.                                                 *)
(*                                                                          *)
(* The module TraceData is generated. Ballots are ranks there, so it says   *)
(* of each what it is.                                                      *)
EXTENDS FastPaxosLog, TraceData

CONSTANTS Opening,  \* the ballot in which everything begins
          Follows,  \* the ballot that follows each one, or -1 where that is classic; a sequence, and ballot 0 is first
          Classics, \* the classic ballot of the round of each, likewise
          Owners,   \* the node of each ballot, likewise
          Firsts    \* the ballots that begin a round

ASSUME Opening = 0

VARIABLES trace,  \* the number of the trace that is walked
          next    \* the number of its next event

Event == Traces[trace][next]

OwnerOf(b) == Owners[b + 1]
IsFast(b) == Follows[b + 1] >= 0
Following(b) == Follows[b + 1]
ClassicOf(b) == Classics[b + 1]
IsFirst(b) == b \in Firsts

\* A node may say that it stands where it stood once in this life: in a slot that is forgotten since.
StandsEver(n) == {m.bal : m \in {o \in msgs : o.type # "news" /\ o.type # "snap" /\ o.type # "nack"}}
                 \cup {mem[n].floor} \cup {mem[n].log[s].bal : s \in Slot} \cup {mem[n].log[s].prom : s \in Slot}
-----------------------------------------------------------------------------
IsPage(m, e) == /\ m.type = "1b" /\ m.bal = e.ballot /\ m.from = e.first /\ m.next = e.following
                /\ m.floor = e.compacted /\ Cardinality(m.votes) = e.told

\* The answers that an event of node n may count.
Answer(e) ==
  CASE e.action \in {"CountPage", "CountPromise"} -> {m \in msgs : IsPage(m, e) /\ m.acc = e.sender}
    [] e.action = "CountVote" ->
         {[type |-> "2b", acc |-> e.sender, bal |-> e.ballot, slot |-> e.slot, val |-> e.value]} \cap msgs
    [] e.action = "CountReport" ->
         {[type |-> "report", acc |-> e.sender, bal |-> e.ballot, slot |-> e.slot, mbal |-> e.vote,
           mval |-> e.value]} \cap msgs

\* The disk of n holds what n restarted with.
Holds(n, e) ==
  LET record == disk[n]
      restored == Restored(record)
      k == e.committed
      above == {s \in Slot : s > Compacted(record)}
  IN  /\ record.floor = e.promised
      /\ Compacted(record) = e.compacted
      /\ \A s \in Compacted(record) + 1..k : s \in restored
      /\ k + 1 \notin restored
      /\ Cardinality({s \in above : record.log[s].val # None}) = e.votes
      /\ Cardinality({s \in above : record.log[s].prom >= 0}) = e.alone

\* Whose disk must come further before the event can happen; none if it can, or never will.
Behind(e) ==
  CASE e.action \in {"CountPage", "CountPromise", "CountVote", "CountReport"} ->
         IF Answer(e) = {} /\ held[e.sender] # <<>> THEN {e.sender} ELSE {}
    [] e.action = "Restart" -> IF ~Holds(e.node, e) /\ held[e.node] # <<>> THEN {e.node} ELSE {}
    [] OTHER -> {}

Leaves(n, m) == m \in msgs' \cup UNION {held'[n][i].answers : i \in DOMAIN held'[n]}

Fits(e) ==
  LET n == e.node
  IN  CASE e.action = "Submit" -> Submit(e.value)
        [] e.action = "Propose" -> Propose(n, e.ballot, e.slot, e.value)
        [] e.action = "Phase1a" -> Phase1a(n, e.ballot) /\ coord'[n].from = e.first
        [] e.action = "CountPage" ->
             /\ coord[n].bal = e.ballot
             /\ CountPage(n)
             /\ coord'[n].pages \ coord[n].pages \subseteq Answer(e)
        [] e.action = "CountPromise" ->
             /\ coord[n].bal = e.ballot
             /\ Answer(e) # {}
             /\ CountPromise(n)
             /\ coord'[n].got = coord[n].got \cup {e.sender}
             /\ coord'[n].got = e.gathered
        [] e.action = "Elected" ->
             /\ Elected(n)
             /\ coord'[n].bal = e.ballot
             /\ coord'[n].floor = e.floor
             /\ coord'[n].first = e.first
        [] e.action = "Repropose" -> coord[n].bal = e.ballot /\ Repropose(n, e.slot, e.value)
        [] e.action = "Phase2a" -> coord[n].bal = e.ballot /\ Phase2a(n, e.slot, e.value)
        [] e.action = "AskSlot" -> Classic(coord[n].bal) = e.ballot /\ AskSlot(n, e.slot)
        [] e.action = "CountReport" ->
             /\ Answer(e) # {}
             /\ CountReport(n)
             /\ coord'[n].asked \ coord[n].asked = Answer(e)
        [] e.action = "Recover" -> Classic(coord[n].bal) = e.ballot /\ Recover(n, e.slot, e.value)
        [] e.action = "Preempt" ->
             /\ [type |-> "nack", bal |-> e.ballot, promised |-> e.promised] \in msgs
             /\ e.promised > coord[n].bal
             /\ Preempt(n)
             /\ coord'[n].stage = "idle"
        [] e.action = "Resign" -> coord[n].bal = e.ballot /\ Resign(n)
        [] e.action = "Phase1b" ->
             /\ Phase1b(n)
             /\ mem'[n].floor = e.ballot
             /\ \E m \in held'[n][Len(held'[n])].answers : IsPage(m, e)
        [] e.action = "MorePages" ->
             /\ mem[n].floor = e.ballot
             /\ MorePages(n)
             /\ \E m \in msgs' \cup UNION {held'[n][i].answers : i \in DOMAIN held'[n]} : IsPage(m, e) /\ m.acc = n
        [] e.action = "Join" -> Join(n) /\ mem'[n].floor = e.ballot
        [] e.action = "ReportSlot" ->
             /\ [type |-> "ask", bal |-> e.ballot, slot |-> e.slot] \in msgs
             /\ mem[n].log[e.slot].bal = e.vote /\ mem[n].log[e.slot].val = e.value
             /\ ReportSlot(n)
             /\ mem'[n].log[e.slot].prom = e.ballot
             /\ Leaves(n, [type |-> "report", acc |-> n, bal |-> e.ballot, slot |-> e.slot, mbal |-> e.vote,
                           mval |-> e.value])
             /\ \A s \in Slot \ {e.slot} : mem'[n].log[s] = mem[n].log[s]
        [] e.action = "Refuse" ->
             /\ Refuse(n)
             /\ msgs' = msgs \cup {[type |-> "nack", bal |-> e.ballot, promised |-> e.by]}
        [] e.action = "Phase2b" ->
             /\ \E m \in msgs : /\ m.type \in {"propose", "2a"} /\ m.bal = e.ballot
                                /\ m.slot = e.slot /\ m.val = e.value
             /\ Vote(n, e.ballot, e.slot, e.value)
        [] e.action = "RecoverVote" -> RecoverVote(n, e.ballot, e.slot, e.value)
        [] e.action = "RepeatVote" ->
             /\ mem[n].log[e.slot].bal = e.ballot /\ mem[n].log[e.slot].val = e.value
             /\ RepeatVote(n, e.slot)
        [] e.action = "CountVote" ->
             /\ Answer(e) # {}
             /\ CountVote(n)
             /\ tally'[n] \ tally[n] = Answer(e)
             /\ {m.acc : m \in {o \in tally'[n] : o.bal = e.ballot /\ o.slot = e.slot /\ o.val = e.value}} = e.voters
        [] e.action = "Learn" -> Learn(n, e.ballot, e.slot, e.value)
        [] e.action = "LearnNews" ->
             /\ [type |-> "news", slot |-> e.slot, bal |-> e.ballot, val |-> e.value] \in msgs
             /\ ~IsKnown(n, e.slot)
             /\ Know(n, e.ballot, e.slot, e.value)
        [] e.action = "Tell" ->
             /\ mem[n].log[e.slot].bal = e.ballot /\ mem[n].log[e.slot].val = e.value
             /\ Tell(n, e.slot)
        [] e.action = "Mark" -> Mark(n, e.slot)
        [] e.action = "Snapshot" -> Snapshot(n, e.slot)
        [] e.action = "Compact" -> Compact(n, e.slot)
        [] e.action = "Install" -> Install(n) /\ Compacted(mem'[n]) = e.slot
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
