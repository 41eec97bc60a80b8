---------------------------- MODULE EPaxosTraces -----------------------------
(* Is what the code did a behaviour of EPaxos.tla? Traces is a batch of     *)
(* recorded runs of one log each: sequences of events, one for each thing   *)
(* that a handler did, with the state it left. A trace is walked event by   *)
(* event, as in PaxosTraces.tla; each must be a step of the action that it  *)
(* names, with the arguments that it names, to the state that it names.     *)
(*                                                                          *)
(* Three things are in no trace. Persist happens in no handler. It is taken *)
(* as late as possible: when the next event takes in what waits for a disk, *)
(* or is a restart from what the disk then holds. And two things come       *)
(* before a restart: numbers that were reserved and not used are used up;   *)
(* and a Recover that never left, since its ballot was not on the disk, was *)
(* never sent, so that the ballot may be begun again.                       *)
(*                                                                          *)
(* What a command conflicts with the code finds by the highest number for   *)
(* each key and replica, which is never less than what conflicts and may be *)
(* more. How much more is checked, too: each number must have a reason.     *)
(*                                                                          *)
(* Each event has one step at most, and each state one event; so a state is *)
(* told apart by how far its trace is and how far the disks are.            *)
(*                                                                          *)
(* Progress is printed, <<trace, event>>; a trace whose end is never        *)
(* reached is rejected, and the event after the last one that was reached   *)
(* is the first that does not fit.                                          *)
(*                                                                          *)
(* The module TraceData is generated: it holds Traces, an event to stop at, *)
(* and what the cluster is like. A command is its name and what it touches; *)
(* keys are sequences of bytes. No command is "none" there, and the no-op   *)
(* "nop".                                                                   *)
EXTENDS EPaxos, TraceData

CONSTANT Lowest  \* the ballot of the owners

VARIABLES trace,  \* the number of the trace that is walked
          next    \* the number of its next event

ASSUME Lowest = 0

Event == Traces[trace][next]
-----------------------------------------------------------------------------
\* ---- commands ------------------------------------------------------------

NoCommands == {}

NoCommand == <<"none">>

NoOp == <<"nop">>

Name(c) == c[1]

\* What replica n was asked for, according to the event.
Asked(n) ==
  {<<Event.value, Event.reads, Event.writes, Event.read_ranges, Event.write_ranges, Event.everything>>}

\* The order of keys.
RECURSIVE Below(_, _)
Below(a, b) ==
  IF b = <<>> THEN FALSE
  ELSE IF a = <<>> THEN TRUE
  ELSE IF a[1] # b[1] THEN a[1] < b[1]
  ELSE Below(Tail(a), Tail(b))

\* A range goes from its first key up to, and not including, its second; to the end of all where that is <<>>.
Holds(range, key) == ~Below(key, range[1]) /\ (range[2] = <<>> \/ Below(key, range[2]))

Meet(keys, ranges, others, otherRanges) ==
  \/ keys \cap others # {}
  \/ \E k \in keys, r \in otherRanges : Holds(r, k)
  \/ \E k \in others, r \in ranges : Holds(r, k)
  \/ \E r \in ranges, o \in otherRanges : Holds(r, o[1]) \/ Holds(o, r[1])

\* One of them writes what the other one reads or writes.
Conflicting(c, d) ==
  \/ c[6] \/ d[6]
  \/ Meet(c[3], c[5], d[2], d[4])
  \/ Meet(c[3], c[5], d[3], d[5])
  \/ Meet(c[2], c[4], d[3], d[5])

\* Why instance <<r, k>> may be in the dependencies of id with command c, though it need not be: something is known of
\* it, and not that it does not conflict; it is the last of those that replica n may have lost; or c is a barrier, which
\* comes after everything of its owner.
Reason(n, id, c, r, k) ==
  \/ r = n /\ k = old[n]
  \/ r = n /\ r = Owner(id) /\ c[6] /\ k = id[2] - 1
  \/ /\ k \in 1..Last /\ <<r, k>> # id
     /\ LET record == mem[n][<<r, k>>]
        IN  record # Nothing /\ (record.icmd = None \/ Conflict(record.icmd, c))

\* What replica n found according to the event: what it knows of, or more.
KnownOrMore(n, id, c) ==
  LET least == [r \in Replica |->
        Highest({0} \cup {k \in 1..Last : /\ <<r, k>> # id
                                         /\ (Touches(mem[n][<<r, k>>], c) \/ Lost(n, <<r, k>>))})]
  IN  [r \in Replica |->
        IF Event.deps[r] > least[r] /\ Reason(n, id, c, r, Event.deps[r]) THEN Event.deps[r] ELSE least[r]]

\* ---- disks ---------------------------------------------------------------

\* What has left, or waits for the disk of replica n.
Left(type, id) == {m \in msgs : m.type = type /\ m.id = id}

\* The answers that an event may take in.
Answers(e, type) ==
  {m \in Left(type, e.instance) : m.src = e.sender /\ (type = "preacceptok" \/ m.bal = e.ballot)}

\* Whose disk must come further before the event can happen; none if it can, or never will.
Waiting(e, type) == IF Answers(e, type) = {} /\ held[e.sender] # <<>> THEN {e.sender} ELSE {}

\* Whether the disk of replica n would be as the restart found it, after the first j records that wait for it.
DiskAfter(n, j, e) ==
  \A id \in Id :
    LET mine == {i \in 1..j : held[n][i].id = id}
        record == IF mine = {} THEN disk[n][id] ELSE held[n][Highest(mine)].record
    IN  IF id \in DOMAIN e.records
        THEN LET found == e.records[id]
             IN  /\ record.phase = found.phase
                 /\ record.bal = found.bal /\ record.abal = found.abal
                 /\ Name(record.cmd) = found.cmd /\ record.deps = found.deps
                 /\ Name(record.icmd) = found.icmd /\ record.ideps = found.ideps
        ELSE record = Nothing

Behind(e) ==
  CASE e.action = "CountPreAccept" -> Waiting(e, "preacceptok")
    [] e.action = "CountAccept" -> Waiting(e, "acceptok")
    [] e.action = "CountRecover" -> Waiting(e, "recoverok")
    [] e.action = "CountValidate" -> Waiting(e, "validateok")
    [] e.action = "LearnCommit" ->
         IF Left("commit", e.instance) = {} /\ held[Owner(e.instance)] # <<>> THEN {Owner(e.instance)} ELSE {}
    [] e.action = "Restart" ->
         \* What it holds may be what it held earlier, too; then all has come there that can have.
         IF \E j \in DOMAIN held[e.node] : DiskAfter(e.node, j, e) THEN {e.node} ELSE {}
    [] OTHER -> {}

\* Recover messages of replica n that wait for its disk, but for those that somebody has answered.
Unsent(n) ==
  {m \in msgs : /\ m.type = "recover" /\ Leader(m.bal) = n
                /\ disk[n][m.id].bal < m.bal
                /\ \A o \in Replica \ {n} : \A answers \in {msgs} \cup {held[o][i].answers : i \in DOMAIN held[o]} :
                     ~\E a \in answers : a.type = "recoverok" /\ a.id = m.id /\ a.bal = m.bal /\ a.src = o}

\* What comes before a restart.
Leave(n, e) ==
  /\ used[n] <= e.reserved
  /\ used[n] # e.reserved \/ Unsent(n) # {}
  /\ used' = [used EXCEPT ![n] = e.reserved]
  /\ msgs' = msgs \ Unsent(n)
  /\ UNCHANGED <<old, mem, disk, held, work>>

\* ---- events --------------------------------------------------------------

\* Replica n has a new record of the instance that the event is about.
Wrote(n, id) == held'[n] # held[n] /\ held'[n][Len(held'[n])].id = id

\* Its answer is on its way.
Answered(n) == IF held'[n] = held[n] THEN msgs' ELSE held'[n][Len(held'[n])].answers

\* What replica n would report now.
Told(n, id) == [type |-> "recoverok", id |-> id, bal |-> mem[n][id].bal, src |-> n, rec |-> mem[n][id]]

Is(record, e) == Name(record.cmd) = e.cmd /\ record.deps = e.deps

\* The record that is told of, field by field.
IsRecord(record, found) ==
  /\ record.phase = found.phase
  /\ record.bal = found.bal /\ record.abal = found.abal
  /\ Name(record.cmd) = found.cmd /\ record.deps = found.deps
  /\ Name(record.icmd) = found.icmd /\ record.ideps = found.ideps

\* Replica n takes in the answer of the event, and has those then.
Took(n, e, type) ==
  /\ Answers(e, type) \cap (work'[n][e.instance].got \ work[n][e.instance].got) # {}
  /\ Sources({m \in work'[n][e.instance].got : m.type = type}) = e.counted

\* It proposes what the event says.
Proposed(n, e) ==
  LET w == work'[n][e.instance] IN w.stage = "accepting" /\ w.bal = e.ballot /\ Is(w, e)

\* The answer to a validation, where what was committed is not told one by one.
IsAgainst(against, e) ==
  /\ e.invalid = \E a \in against : a.committed
  /\ ~e.invalid => Ids(against) = e.conflicts

At(n, e) == work[n][e.instance].bal = e.ballot

Fits(e) ==
  LET n == e.node
      id == IF "instance" \in DOMAIN e THEN e.instance ELSE <<n, 0>>
  IN  CASE e.action = "Submit" ->
             /\ used[n] + 1 = id[2] /\ Owner(id) = n
             /\ \E c \in Asked(n) : Submit(n, c)
             /\ mem'[n][id].deps = e.deps
        [] e.action = "CountPreAccept" ->
             /\ CountPreAccept(n)
             /\ Took(n, e, "preacceptok")
             /\ \E m \in Answers(e, "preacceptok") : m.deps = e.deps
        [] e.action = "FastCommit" -> FastCommit(n, id) /\ Is(mem'[n][id], e)
        [] e.action = "SlowPath" -> SlowPath(n, id) /\ Is(work'[n][id], e)
        [] e.action = "CountAccept" -> At(n, e) /\ CountAccept(n) /\ Took(n, e, "acceptok")
        [] e.action = "Commit" -> Commit(n, id) /\ Is(mem'[n][id], e)
        [] e.action = "PreAccept" ->
             PreAccept(n) /\ Wrote(n, id) /\ mem'[n][id].deps = e.deps
        [] e.action = "RepeatPreAccept" ->
             /\ RepeatPreAccept(n)
             /\ [type |-> "preacceptok", id |-> id, src |-> n, deps |-> mem[n][id].deps] \in Answered(n)
        [] e.action = "Accept" ->
             /\ Accept(n)
             /\ Wrote(n, id)
             /\ mem'[n][id].bal = e.ballot /\ Is(mem'[n][id], e)
        [] e.action = "RepeatAccept" ->
             /\ RepeatAccept(n)
             /\ [type |-> "acceptok", id |-> id, bal |-> e.ballot, src |-> n] \in Answered(n)
             /\ Is(mem[n][id], e)
        [] e.action = "LearnCommit" -> LearnCommit(n) /\ Wrote(n, id) /\ Is(mem'[n][id], e)
        [] e.action = "Recover" -> Recover(n, id, e.ballot)
        [] e.action = "Join" -> Join(n) /\ Wrote(n, id) /\ IsRecord(mem'[n][id], e.record)
        [] e.action = "RepeatJoin" ->
             /\ IsRecord(mem[n][id], e.record)
             /\ \/ /\ RepeatJoin(n)
                   /\ Told(n, id) \in Answered(n)
                \* Asked again after it was validated, it tells what it knows now. Nobody may count that.
                \/ /\ \E m \in Left("validate", id) : n \in m.to /\ m.bal = mem[n][id].bal
                   /\ Told(n, id) \notin msgs \cup UNION {held[n][i].answers : i \in DOMAIN held[n]}
                   /\ UNCHANGED vars
        [] e.action = "CountRecover" -> At(n, e) /\ CountRecover(n) /\ Took(n, e, "recoverok")
        [] e.action = "RecoverAccepted" -> At(n, e) /\ RecoverAccepted(n, id) /\ Proposed(n, e)
        [] e.action = "RecoverNop" -> At(n, e) /\ RecoverNop(n, id) /\ Proposed(n, e)
        [] e.action = "AskValidate" ->
             /\ At(n, e)
             /\ AskValidate(n, id)
             /\ work'[n][id].asked = e.asked /\ work'[n][id].strong = e.strong
             /\ Is(work'[n][id], e)
        [] e.action = "Validate" ->
             /\ Validate(n)
             /\ Wrote(n, id)
             /\ \E m \in Answered(n) : m.bal = e.ballot /\ IsAgainst(m.against, e)
        [] e.action = "CountValidate" ->
             /\ At(n, e)
             /\ CountValidate(n)
             /\ \E m \in Answers(e, "validateok") \cap work'[n][id].got :
                  m \notin work[n][id].got /\ IsAgainst(m.against, e)
        [] e.action = "Validated" -> At(n, e) /\ Validated(n, id) /\ Proposed(n, e)
        [] e.action = "Invalidated" -> At(n, e) /\ Invalidated(n, id) /\ Proposed(n, e)
        [] e.action = "Wait" ->
             /\ At(n, e)
             /\ Wait(n, id)
             /\ work'[n][id].strong = e.strong
             /\ Ids(work'[n][id].against) = e.conflicts
        [] e.action = "WaitRefuted" -> At(n, e) /\ WaitRefuted(n, id) /\ Proposed(n, e)
        [] e.action = "WaitResolved" -> At(n, e) /\ WaitResolved(n, id) /\ Proposed(n, e)
        [] e.action = "WaitYields" -> At(n, e) /\ WaitYields(n, id) /\ Proposed(n, e)
        [] e.action = "WaitAccepted" -> At(n, e) /\ WaitAccepted(n, id) /\ Proposed(n, e)
        [] e.action = "WaitOwner" -> At(n, e) /\ WaitOwner(n, id) /\ Proposed(n, e)
        [] e.action = "Restart" -> DiskAfter(n, 0, e) /\ used[n] = e.reserved /\ Restart(n)
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
            /\ Leave(Event.node, Event)
            /\ UNCHANGED <<trace, next>>
         \/ /\ behind = {}
            /\ Event.action = "Restart" => Unsent(Event.node) = {}
            /\ Fits(Event)
            /\ UNCHANGED trace
            /\ next' = next + 1
            /\ PrintT(<<trace, next>>)

\* Each state has one successor at most, so these tell all states of a trace apart.
View == <<trace, next, used, Cardinality(msgs), [n \in Replica |-> Len(held[n])]>>

\* Violated just before event number Until.
Unreached == next # Until
=============================================================================
