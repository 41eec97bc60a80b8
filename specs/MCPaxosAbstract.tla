--------------------------- MODULE MCPaxosAbstract ---------------------------
(* What makes a model of PaxosAbstract smaller: nodes and values differ by  *)
(* name only.                                                               *)
EXTENDS PaxosAbstract, TLC

Symmetry == Permutations(Acceptor) \cup Permutations(Value)
=============================================================================
