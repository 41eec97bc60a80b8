------------------------------- MODULE MCPaxos -------------------------------
(* What the models of Paxos.tla share: who owns which ballot, and the ways  *)
(* in which a model is made small enough to be finished. A .cfg file says   *)
(* which of them it uses.                                                   *)
EXTENDS Paxos, TLC

CONSTANTS n1, n2, n3, v1, v2

OwnerOf(b) == IF b % 2 = 0 THEN n1 ELSE n2

\* Values differ by name only.
Symmetry == Permutations(Value)

\* A disk is at most so many records behind.
Behind1 == \A n \in Acceptor : Len(held[n]) <= 1
Behind2 == \A n \in Acceptor : Len(held[n]) <= 2

\* What a model leaves out takes the place of an action there.
Never(n) == FALSE

\* Every value was submitted before anything else happened.
InitSubmitted ==
  /\ submitted = Value
  /\ msgs = {}
  /\ mem = [n \in Acceptor |-> Nothing]
  /\ disk = [n \in Acceptor |-> Nothing]
  /\ held = [n \in Acceptor |-> <<>>]
  /\ proposer = [n \in Acceptor |-> Idle]
  /\ tally = [n \in Acceptor |-> {}]
=============================================================================
