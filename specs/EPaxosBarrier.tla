---------------------------- MODULE EPaxosBarrier ----------------------------
(* EPaxos.tla with execution, and with barriers, at which instances are     *)
(* truncated.                                                               *)
(*                                                                          *)
(* A barrier is a command that conflicts with everything. What a replica    *)
(* executed before it, or in one component with it, is its closure; the cut *)
(* is after the component. The floor is, for each replica, the highest      *)
(* number in the closure; what is at or below it and not in the closure is  *)
(* a no-op or an exception, which comes after the barrier. When n - f       *)
(* replicas have the state at the cut on their disks, the closure and the   *)
(* no-ops at or below the floor go: no recovery of them can decide anything *)
(* any more. From the cut on all dependencies cover the floor.              *)
(*                                                                          *)
(* What is remembered of what has gone, and when it may go, are parameters: *)
(* so it is shown what each of the rules is for. The rest of the actions is *)
(* EPaxos.tla's, with the operators of this module in the place of its own  *)
(* (Present, Known, Initial, Against, WaitRefuted, WaitResolved). Disks are *)
(* never behind here.                                                       *)
EXTENDS EPaxosRecovery

CONSTANTS Barrier(_),  \* whether a command is a barrier; then it conflicts with everything
          Remember,    \* "floor"; "index": what was executed, for ever; "barrier": the last barrier, and nothing else
          Early,       \* whether what was executed here goes at once, without n - f
          Blind        \* whether validations do not look at what has gone

VARIABLE cut  \* cut[n]: what replica n executed, truncated and has on its disk of that
barrierVars == <<msgs, used, old, mem, disk, held, work, cut>>

\* A snapshot: the state (what was executed, in this order), and all that goes with it.
NoSnapshot == [barrier |-> <<0, 0>>, order |-> <<>>, floor |-> NoDeps, kept |-> {}]

BarrierInit ==
  /\ Init
  /\ cut = [n \in Replica |-> [ran |-> {},           \* executed, of what there is a record
                               order |-> <<>>,       \* all that ever was executed, here or in a snapshot
                               floor |-> NoDeps,     \* at or below it, what there is no record of has gone
                               joined |-> NoDeps,    \* what all dependencies cover
                               base |-> NoSnapshot,  \* the snapshot truncated to
                               taken |-> {}]]        \* snapshots after that one

Elements(order) == {order[i] : i \in DOMAIN order}

Gone(n, id) == In(id, cut[n].floor) /\ mem[n][id] = Nothing

NotGone(n, id) == ~Gone(n, id)

CommandOf(id) == (CHOOSE m \in msgs : m.type = "preaccept" /\ m.id = id).cmd

\* What has gone here and is remembered one by one.
Index(n) == IF Remember = "index" THEN {o \in Elements(cut[n].order) : Gone(n, o)} ELSE {}

KnownHere(n, id, c) ==
  Union([r \in Replica |->
          Highest({0} \cup {k \in 1..Last :
                      /\ <<r, k>> # id
                      /\ \/ Touches(mem[n][<<r, k>>], c)
                         \/ Lost(n, <<r, k>>) /\ ~Gone(n, <<r, k>>)
                         \/ <<r, k>> \in Index(n) /\ Conflict(CommandOf(<<r, k>>), c)})],
        cut[n].joined)

\* A barrier comes after all that its owner submitted.
InitialHere(n, id, c) ==
  IF Barrier(c) THEN Union(KnownHere(n, id, c), [r \in Replica |-> IF r = n THEN used[n] ELSE 0])
  ELSE KnownHere(n, id, c)

\* Whether something that has gone speaks against (c, deps). It is not committed here, so it is in the dependencies
\* of nothing that was executed here.
Objects(n, c, deps) ==
  \/ \E o \in Index(n) : ~In(o, deps) /\ Conflict(CommandOf(o), c)
  \/ cut[n].base # NoSnapshot /\ ~In(cut[n].base.barrier, deps)

AgainstHere(n, id, c, deps) ==
  {[id |-> o, committed |-> Committed(mem[n][o])] :
    o \in {p \in Id \ {id} :
      LET record == mem[n][p]
      IN  /\ ~In(p, deps)
          /\ IF Committed(record)
             THEN record.cmd # Nop /\ Conflict(record.cmd, c) /\ ~In(id, record.deps)
             ELSE record.icmd # None /\ Conflict(record.icmd, c) /\ ~In(id, record.ideps)}}
  \cup (IF ~Blind /\ Objects(n, c, deps) THEN {[id |-> cut[n].base.barrier, committed |-> TRUE]} ELSE {})

WaitRefutedHere(n, id) ==
  /\ Waits(n, id)
  /\ \E o \in Ids(work[n][id].against) :
       \/ Committed(mem[n][o]) /\ mem[n][o].cmd # Nop /\ ~In(id, mem[n][o].deps)
       \/ Gone(n, o) /\ Objects(n, work[n][id].cmd, work[n][id].deps)
  /\ Propose(n, id, Nop, NoDeps)

WaitResolvedHere(n, id) ==
  /\ Waits(n, id)
  /\ \A o \in Ids(work[n][id].against) :
       \/ Committed(mem[n][o]) /\ (mem[n][o].cmd = Nop \/ In(id, mem[n][o].deps))
       \/ Gone(n, o) /\ ~Objects(n, work[n][id].cmd, work[n][id].deps)
  /\ Propose(n, id, work[n][id].cmd, work[n][id].deps)

\* ---- execution -----------------------------------------------------------

Done(n, id) == Gone(n, id) \/ Committed(mem[n][id])

\* What must have been executed before id, or with it, and was not yet.
Edges(n, id) ==
  {o \in Id \ {id} : /\ In(o, mem[n][id].deps)
                     /\ o \notin cut[n].ran
                     /\ Committed(mem[n][o])
                     /\ mem[n][o].cmd # Nop
                     /\ Conflict(mem[n][o].cmd, mem[n][id].cmd)}

RECURSIVE Reach(_, _)
Reach(n, ids) == LET more == ids \cup UNION {Edges(n, id) : id \in ids}
                 IN  IF more = ids THEN ids ELSE Reach(n, more)

\* Components that replica n can execute next.
Components(n) ==
  LET open == {id \in Id : Committed(mem[n][id]) /\ mem[n][id].cmd # Nop /\ id \notin cut[n].ran}
  IN  {component \in {Reach(n, {id}) : id \in open} :
        \A id \in component : /\ \A o \in Id : In(o, mem[n][id].deps) => Done(n, o)
                              /\ Reach(n, {id}) = component}

Before(n, id, o) ==
  LET b == Barrier(mem[n][id].cmd)
      c == Barrier(mem[n][o].cmd)
  IN  IF b # c THEN c ELSE id[1] < o[1] \/ (id[1] = o[1] /\ id[2] < o[2])

RECURSIVE InOrder(_, _)
InOrder(n, ids) ==
  IF ids = {} THEN <<>>
  ELSE LET first == CHOOSE id \in ids : \A o \in ids \ {id} : Before(n, id, o)
       IN  <<first>> \o InOrder(n, ids \ {first})

\* The state after the component of barrier b, and what goes with it.
SnapshotAt(n, b, order) ==
  LET closure == Elements(order)
      floor == Union(cut[n].floor, [r \in Replica |-> Highest({0} \cup {o[2] : o \in {p \in closure : p[1] = r}})])
  IN  [barrier |-> b, order |-> order, floor |-> floor,
       kept |-> {[id |-> o, cmd |-> mem[n][o].cmd, deps |-> mem[n][o].deps] :
                 o \in {p \in Id : p = b \/ (/\ In(p, floor) /\ p \notin closure /\ Committed(mem[n][p])
                                             /\ mem[n][p].cmd # Nop)}}]

\* Replica n executes a component. If there is a barrier in it, it has the state on its disk, and says so.
Execute(n) == \E component \in Components(n) :
  LET list == InOrder(n, component)
      order == cut[n].order \o list
      barriers == {id \in component : Barrier(mem[n][id].cmd)}
  IN  IF barriers = {}
      THEN /\ cut' = [cut EXCEPT ![n].ran = @ \cup component, ![n].order = order]
           /\ UNCHANGED vars
      ELSE LET b == CHOOSE id \in barriers : \A o \in barriers \ {id} : Before(n, id, o)
               snapshot == SnapshotAt(n, b, order)
           IN  /\ cut' = [cut EXCEPT ![n].ran = @ \cup component, ![n].order = order,
                                     ![n].taken = @ \cup {snapshot},
                                     ![n].joined = IF Remember = "floor" THEN Union(@, snapshot.floor) ELSE @]
               /\ msgs' = msgs \cup {[type |-> "done", src |-> n, barrier |-> b, order |-> order]}
               /\ UNCHANGED <<used, old, mem, disk, held, work>>

\* How many have executed this barrier, or a later one, and have that on their disks.
Stable(snapshot) ==
  Cardinality({m.src : m \in {mm \in msgs : mm.type = "done" /\ snapshot.barrier \in Elements(mm.order)}}) >= N - F

Kept(snapshot) == {k.id : k \in snapshot.kept}

\* The closure and the no-ops at or below the floor go.
Truncated(records, snapshot) ==
  [id \in Id |-> IF In(id, snapshot.floor) /\ id \notin Kept(snapshot) THEN Nothing ELSE records[id]]

\* Replica n truncates to a snapshot that it took.
Truncate(n) == \E snapshot \in cut[n].taken :
  /\ Early \/ Stable(snapshot)
  /\ mem' = [mem EXCEPT ![n] = Truncated(@, snapshot)]
  /\ disk' = [disk EXCEPT ![n] = Truncated(@, snapshot)]
  /\ work' = [work EXCEPT ![n] = [id \in Id |-> IF mem'[n][id] = Nothing /\ In(id, snapshot.floor) THEN Idle
                                                ELSE @[id]]]
  /\ cut' = [cut EXCEPT ![n].ran = {id \in @ : ~In(id, snapshot.floor) \/ id \in Kept(snapshot)},
                        ![n].floor = snapshot.floor, ![n].base = snapshot,
                        ![n].taken = {s \in @ : s.order # snapshot.order /\ Len(s.order) > Len(snapshot.order)},
                        ![n].joined = IF Remember = "floor" THEN Union(@, snapshot.floor) ELSE @]
  /\ UNCHANGED <<msgs, used, old, held>>

\* Who asks replica n about what has gone is answered with the snapshot truncated to.
Tell(n) == \E m \in msgs :
  /\ m.type \in {"preaccept", "accept", "recover", "validate"}
  /\ Gone(n, m.id)
  /\ msgs' = msgs \cup {[type |-> "snapshot", snapshot |-> cut[n].base, joined |-> cut[n].joined]}
  /\ UNCHANGED <<used, old, mem, disk, held, work, cut>>

\* Replica n installs a snapshot whose barrier it did not execute. That extends what it executed.
Install(n) == \E m \in msgs :
  /\ m.type = "snapshot"
  /\ LET snapshot == m.snapshot
         Kept1(records) ==
           [id \in Id |->
             IF id \in Kept(snapshot)
             THEN LET k == CHOOSE k \in snapshot.kept : k.id = id
                  IN  [records[id] EXCEPT !.phase = "committed", !.cmd = k.cmd, !.deps = k.deps]
             ELSE records[id]]
     IN  /\ snapshot.barrier \notin Elements(cut[n].order)
         /\ mem' = [mem EXCEPT ![n] = Kept1(Truncated(@, snapshot))]
         /\ disk' = [disk EXCEPT ![n] = Kept1(Truncated(@, snapshot))]
         /\ work' = [work EXCEPT ![n] = [id \in Id |-> IF In(id, snapshot.floor) THEN Idle ELSE @[id]]]
         /\ cut' = [cut EXCEPT ![n] = [ran |-> {snapshot.barrier}, order |-> snapshot.order,
                                       floor |-> Union(@.floor, snapshot.floor), joined |-> Union(@.joined, m.joined),
                                       base |-> snapshot, taken |-> {}]]
         /\ msgs' = msgs \cup {[type |-> "done", src |-> n, barrier |-> snapshot.barrier, order |-> snapshot.order]}
  /\ UNCHANGED <<used, old, held>>
-----------------------------------------------------------------------------
BarrierNext ==
  \/ Next /\ UNCHANGED cut
  \/ \E n \in Replica :
       \/ Execute(n)
       \/ Truncate(n)
       \/ Tell(n)
       \/ Install(n)
-----------------------------------------------------------------------------
Snapshots == (UNION {cut[n].taken \cup {cut[n].base} : n \in Replica}
              \cup {m.snapshot : m \in {mm \in msgs : mm.type = "snapshot"}}) \ {NoSnapshot}

\* The state at a barrier is the same everywhere, and so is what goes with it.
BarrierCut ==
  LET all == Snapshots
  IN  \A s, t \in all : s.barrier = t.barrier =>
        Elements(s.order) = Elements(t.order) /\ s.floor = t.floor /\ s.kept = t.kept

Place(order, id) == CHOOSE i \in DOMAIN order : order[i] = id

\* Conflicting commands in the same order at all replicas.
ExecutionOrder ==
  \A n, m \in Replica :
    LET both == Elements(cut[n].order) \cap Elements(cut[m].order)
    IN  \A x, y \in both :
          x # y /\ Conflict(CommandOf(x), CommandOf(y)) =>
            (Place(cut[n].order, x) < Place(cut[n].order, y) <=> Place(cut[m].order, x) < Place(cut[m].order, y))

\* Of two that conflict no replica executes the later one before the other one, ever.
ExecutionComplete ==
  \A n, m \in Replica : \A x \in Elements(cut[n].order), y \in Elements(cut[m].order) :
    /\ x # y
    /\ Conflict(CommandOf(x), CommandOf(y))
    /\ y \notin Elements(cut[n].order)
    => x \notin Elements(cut[m].order) \/ Place(cut[m].order, x) < Place(cut[m].order, y)

ExecutedOnce == \A n \in Replica : Cardinality(Elements(cut[n].order)) = Len(cut[n].order)

\* Nothing executes before all that it depends on is committed, or gone; what was executed was decided.
ExecutionClosed ==
  \A n \in Replica : \A id \in cut[n].ran :
    /\ Committed(mem[n][id])
    /\ \A o \in Id : In(o, mem[n][id].deps) => Done(n, o)

\* At or below the floor everything is committed, or gone.
FloorCommitted == \A n \in Replica, id \in Id : In(id, cut[n].floor) => Done(n, id)

\* A snapshot extends what its receiver has executed.
SnapshotExtends ==
  \A n \in Replica, m \in msgs :
    m.type = "snapshot" /\ m.snapshot.barrier \notin Elements(cut[n].order) =>
      Elements(cut[n].order) \subseteq Elements(m.snapshot.order)

\* One is in the dependencies of the other, or a barrier stands between them.
FitBehind(d, e) ==
  \/ Fit(d, e)
  \/ \E s \in Snapshots :
       \/ In(s.barrier, d.deps) /\ e.id \in Elements(s.order) /\ d.id \notin Elements(s.order)
       \/ In(s.barrier, e.deps) /\ d.id \in Elements(s.order) /\ e.id \notin Elements(s.order)

\* Of what was told to anybody, since disks forget here.
BarrierVisibility ==
  \A d, e \in Sent("commit") : d.id = e.id \/ FitBehind(d, e)

\* Also with what a replica has executed.
BarrierAgreement ==
  \A d, e \in Sent("commit") : d.id = e.id => d.cmd = e.cmd /\ d.deps = e.deps
=============================================================================
