--------------------------- MODULE EPaxosOutcomes ----------------------------
(* Recovery in EPaxos.tla, of whatever owners may have left behind. A model *)
(* begins with every outcome of pre-acceptance: which replicas came to know *)
(* which instances, and in which order each did. Nothing is lost by that: a *)
(* pre-acceptance that comes later than a recovery needs it could have come *)
(* before all else, or finds a higher ballot and is refused; those that may *)
(* still come, of another instance, a model may leave in. Then the owners   *)
(* that live commit on the fast path, or do not, and some replicas recover. *)
EXTENDS EPaxosRecovery

CONSTANTS Began,       \* a function from owners to the command of their only instance
          Outcomes,    \* the outcomes: for each replica the instances that it came to know, in order
          Recoverers,  \* who recovers
          Alive,       \* who lives while they do
          Finish(_)    \* what owners still do, alive or not: they may have done it before

\* Of replicas 1 and 2 one command each.
TwoBegan == [n \in {1, 2} |-> IF n = 1 THEN c1 ELSE c2]

Always1(n) == TRUE

Started == {<<n, 1>> : n \in DOMAIN Began}

\* The orders in which a replica may have come to know some instances.
Lists(ids) == {list \in UNION {[1..k -> ids] : k \in 0..Cardinality(ids)} :
                \A i, j \in DOMAIN list : i # j => list[i] # list[j]}

Lists1 == Lists(Started)

OrdersOf(n) == {list \in Lists1 : n \in DOMAIN Began => \E i \in DOMAIN list : list[i] = <<n, 1>>}

Place(list, id) == Highest({0} \cup {i \in DOMAIN list : list[i] = id})

Knows(list, id) == Place(list, id) > 0

\* What was known before id, where the list has it.
Earlier(list, id) == {list[i] : i \in {j \in DOMAIN list : j < Place(list, id)}}

\* Of those that conflict with it.
EarlierDeps(list, id) ==
  [r \in Replica |-> IF \E o \in Earlier(list, id) : o[1] = r /\ Conflict(Began[r], Began[Owner(id)]) THEN 1 ELSE 0]

\* Nobody began after somebody who began after it.
Possible(orders) ==
  \A x, y \in Started :
    ~(x \in Earlier(orders[Owner(y)], y) /\ y \in Earlier(orders[Owner(x)], x))

InitialOf(orders, id) == EarlierDeps(orders[Owner(id)], id)

RecordOf(orders, n, id) ==
  IF ~Knows(orders[n], id) THEN Nothing
  ELSE [Nothing EXCEPT !.phase = "preaccepted",
                       !.cmd = Began[Owner(id)], !.icmd = Began[Owner(id)], !.ideps = InitialOf(orders, id),
                       !.deps = Union(InitialOf(orders, id), EarlierDeps(orders[n], id))]

AllOutcomes ==
  {orders \in [Replica -> Lists1] : (\A n \in Replica : orders[n] \in OrdersOf(n)) /\ Possible(orders)}

OutcomeInit == \E orders \in Outcomes :
  /\ used = [n \in Replica |-> IF n \in DOMAIN Began THEN 1 ELSE 0]
  /\ old = [n \in Replica |-> 0]
  /\ mem = [n \in Replica |-> [id \in Id |-> IF id \in Started THEN RecordOf(orders, n, id) ELSE Nothing]]
  /\ disk = mem
  /\ held = [n \in Replica |-> <<>>]
  /\ work = [n \in Replica |-> [id \in Id |->
       IF id \in Started /\ Owner(id) = n
       THEN [Idle EXCEPT !.stage = "preaccepting", !.bal = 0, !.cmd = Began[n], !.deps = mem[n][id].deps]
       ELSE Idle]]
  /\ msgs = {[type |-> "preaccept", id |-> id, cmd |-> Began[Owner(id)], deps |-> InitialOf(orders, id)] :
              id \in Started}
            \cup UNION {{[type |-> "preacceptok", id |-> id, src |-> n, deps |-> mem[n][id].deps] :
                         id \in {o \in Started : Knows(orders[n], o)}} : n \in Replica}

OutcomeNext ==
  \/ \E n \in DOMAIN Began : Finish(n) /\ \E id \in Started : FastCommit(n, id)
  \/ \E n \in DOMAIN Began : Finish(n) /\ \E id \in Started : SlowPath(n, id)
  \/ \E n \in Recoverers : \E id \in Started, b \in Ballot : Recover(n, id, b)
  \/ \E n \in Recoverers : \E id \in Started : RecoverAccepted(n, id)
  \/ \E n \in Recoverers : \E id \in Started : RecoverNop(n, id)
  \/ \E n \in Recoverers : \E id \in Started : AskValidate(n, id)
  \/ \E n \in Recoverers : \E id \in Started : Validated(n, id)
  \/ \E n \in Recoverers : \E id \in Started : Invalidated(n, id)
  \/ \E n \in Recoverers : \E id \in Started : Wait(n, id)
  \/ \E n \in Recoverers : \E id \in Started : WaitRefuted(n, id)
  \/ \E n \in Recoverers : \E id \in Started : WaitResolved(n, id)
  \/ \E n \in Recoverers : \E id \in Started : WaitYields(n, id)
  \/ \E n \in Recoverers : \E id \in Started : WaitAccepted(n, id)
  \/ \E n \in Recoverers : \E id \in Started : WaitOwner(n, id)
  \/ \E n \in Recoverers : \E id \in Started : Commit(n, id)
  \/ \E n \in Alive : PreAccept(n)
  \/ \E n \in Alive : Join(n)
  \/ \E n \in Alive : Validate(n)
  \/ \E n \in Alive : Accept(n)
  \/ \E n \in Recoverers : LearnCommit(n)

\* What recoveries propose is looked at, and not accepted; what owners propose they have accepted themselves at most.
AcceptOfOwners(n) == \E m \in msgs :
  /\ m.type = "accept"
  /\ m.bal = 0
  /\ n = Owner(m.id)
  /\ Present(n, m.id)
  /\ LET record == mem[n][m.id]
     IN  /\ ~Committed(record)
         /\ record.bal = 0
         /\ record.abal < 0
         /\ Write(n, m.id,
                  [record EXCEPT !.phase = "accepted", !.abal = 0, !.cmd = m.cmd, !.deps = m.deps],
                  {[type |-> "acceptok", id |-> m.id, bal |-> 0, src |-> n]})
  /\ UNCHANGED <<used, old, work>>

\* ---- outcomes ------------------------------------------------------------

X == <<1, 1>>
Y == <<2, 1>>

\* Five replicas. x is first at two that live, and y at one. 5 recovers both, y with the owner of x.
Opposed == {<<<<X>>, <<Y>>, <<X, Y>>, <<X, Y>>, <<Y, X>>>>}
OpposedHeard(n, id) == n \in IF id = X THEN {3, 4, 5} ELSE {1, 4, 5}

\* 3 recovers x with the owner of y, which may commit that meanwhile. The owner of x may propose on the slow path.
Undecided == {<<<<X>>, <<Y>>, <<X>>, <<Y>>, <<Y, X>>>>}
UndecidedHeard(n, id) == IF id = X THEN n \in {1, 2, 3, 4} ELSE n = 3
=============================================================================
