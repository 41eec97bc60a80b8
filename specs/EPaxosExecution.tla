--------------------------- MODULE EPaxosExecution ---------------------------
(* The order in which committed commands of EPaxos are executed.            *)
(*                                                                          *)
(* What was decided is a graph: for each instance a command, or the no-op,  *)
(* and dependencies, a number for each replica. All that EPaxos.tla says of *)
(* it is Visibility: of two commands that conflict one is in the            *)
(* dependencies of the other. A model begins with any such graph.           *)
(*                                                                          *)
(* Each replica hears of the decisions in an order of its own. An instance  *)
(* is ready when everything up to its dependencies is committed here, no-ops *)
(* included. Edges lead from it to the members of these prefixes that       *)
(* conflict with it. A component is executed when all in it are ready and   *)
(* all that they lead to was executed: one action for what a replica does   *)
(* when it is told of a commit, one for a component, so that it may be told *)
(* of more between any two.                                                 *)
(*                                                                          *)
(* The order of two commands that conflict then is one of the graph, and of *)
(* nothing else (OrderOfGraph): so it is the same everywhere.               *)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS N,               \* the replicas are 1..N
          Last,            \* the highest number of an instance
          Kinds,           \* what commands there are: "write", "read", "barrier" and "nop"
          Executors        \* the replicas that are looked at

VARIABLES graph,  \* what was decided
          known,  \* known[n]: of which instances replica n knows that
          order   \* order[n]: what it executed, in order
vars == <<graph, known, order>>

Replica == 1..N
Id == Replica \X (1..Last)
Deps == [Replica -> 0..Last]

In(id, deps) == id[2] <= deps[id[1]]

\* All touch one key; a barrier conflicts with everything.
Conflict(k, l) == k # "nop" /\ l # "nop" /\ (k # "read" \/ l # "read")

Conflicts(g, x, y) == Conflict(g[x].kind, g[y].kind)

\* Of its own owner an instance depends on what came before it if that conflicts, and on nothing that comes later. The
\* no-op depends on nothing.
Sane(g) ==
  \A x \in Id :
    /\ g[x].deps[x[1]] < x[2]
    /\ g[x].kind = "nop" => \A r \in Replica : g[x].deps[r] = 0
    /\ \A y \in Id : y[1] = x[1] /\ y[2] < x[2] /\ Conflicts(g, x, y) => In(y, g[x].deps)

Visibility(g) == \A x, y \in Id : x # y /\ Conflicts(g, x, y) => In(x, g[y].deps) \/ In(y, g[x].deps)

Entry == [kind : Kinds, deps : Deps]

Graphs == {g \in [Id -> Entry] : Sane(g) /\ Visibility(g)}

Init == /\ graph \in Graphs
        /\ known = [n \in Executors |-> {}]
        /\ order = [n \in Executors |-> <<>>]

Elements(list) == {list[i] : i \in DOMAIN list}

Ran(n) == Elements(order[n])

\* Replica n is told of a commit.
Learn(n) == \E id \in Id \ known[n] :
  /\ known' = [known EXCEPT ![n] = @ \cup {id}]
  /\ UNCHANGED <<graph, order>>

Ready(n, id) == \A o \in Id : In(o, graph[id].deps) => o \in known[n]

\* What comes before id, or with it, of what replica n has still to execute.
Edges(n, id) ==
  {o \in known[n] \ (Ran(n) \cup {id}) : In(o, graph[id].deps) /\ Conflicts(graph, o, id)}

RECURSIVE Reach(_, _)
Reach(n, ids) == LET more == ids \cup UNION {Edges(n, id) : id \in ids}
                 IN  IF more = ids THEN ids ELSE Reach(n, more)

\* What replica n can execute next: where all that is reached is reached from everywhere in it.
Components(n) ==
  {c \in {Reach(n, {id}) : id \in {o \in known[n] \ Ran(n) : graph[o].kind # "nop"}} :
    \A id \in c : Ready(n, id) /\ Reach(n, {id}) = c}

\* Inside of a component: barriers last, else by owner and number.
Before(n, x, y) ==
  LET b == graph[x].kind = "barrier"
      c == graph[y].kind = "barrier"
  IN  IF b # c THEN c ELSE x[1] < y[1] \/ (x[1] = y[1] /\ x[2] < y[2])

RECURSIVE InOrder(_, _)
InOrder(n, ids) ==
  IF ids = {} THEN <<>>
  ELSE LET first == CHOOSE x \in ids : \A y \in ids \ {x} : Before(n, x, y)
       IN  <<first>> \o InOrder(n, ids \ {first})

\* Replica n executes a component.
Execute(n) == \E c \in Components(n) :
  /\ order' = [order EXCEPT ![n] = @ \o InOrder(n, c)]
  /\ UNCHANGED <<graph, known>>

Next ==
  \E n \in Executors :
    \/ Learn(n)
    \/ Execute(n)

Spec == Init /\ [][Next]_vars
-----------------------------------------------------------------------------
Place(list, id) == CHOOSE i \in DOMAIN list : list[i] = id

\* Everything that an executed command depends on is committed, and of that what conflicts is executed before it, or
\* depends on it, too.
ExecutionClosed ==
  \A n \in Executors : \A x \in Ran(n) :
    /\ Ready(n, x)
    /\ \A y \in Id : In(y, graph[x].deps) /\ Conflicts(graph, x, y) => y \in Ran(n)

\* Conflicting commands in the same order everywhere; and of two of which one replica has executed one only, no other
\* replica executes the other one first.
ExecutionOrder ==
  \A n, m \in Executors : \A x \in Ran(n) \cap Ran(m) : \A y \in Ran(n) :
    x # y /\ Conflicts(graph, x, y) =>
      IF y \in Ran(m)
      THEN Place(order[n], x) < Place(order[n], y) <=> Place(order[m], x) < Place(order[m], y)
      ELSE Place(order[n], x) < Place(order[n], y)

ExecutedOnce == \A n \in Executors : Cardinality(Ran(n)) = Len(order[n])

\* When all is known, all is executed that is not a no-op.
AllExecuted ==
  \A n \in Executors : known[n] = Id /\ Components(n) = {} => Ran(n) = {id \in Id : graph[id].kind # "nop"}

\* ---- the order that the graph has ----------------------------------------

RECURSIVE Leads(_)
Leads(ids) ==
  LET more == ids \cup {o \in Id : \E x \in ids : In(o, graph[x].deps) /\ Conflicts(graph, o, x)}
  IN  IF more = ids THEN ids ELSE Leads(more)

\* Whether x comes before y, where they conflict.
Precedes(x, y) ==
  IF x \in Leads({y}) /\ y \in Leads({x}) THEN Before(0, x, y) ELSE x \in Leads({y})

OrderOfGraph ==
  \A n \in Executors : \A x, y \in Ran(n) :
    x # y /\ Conflicts(graph, x, y) => (Place(order[n], x) < Place(order[n], y) <=> Precedes(x, y))
=============================================================================
