----------------------------- MODULE Consensus -----------------------------
(* What consensus is: at most one value is ever chosen, and once chosen it  *)
(* stays. Everything else in this directory is shown to be a way of doing   *)
(* this.                                                                    *)
(*                                                                          *)
(* Source: Lamport, "The Paxos Algorithm, or How to Win a Turing Award":    *)
(* the first of his three specifications.                                   *)
EXTENDS Naturals, FiniteSets

CONSTANT Value

VARIABLE chosen  \* the set of values that have been chosen
vars == <<chosen>>

TypeOK == chosen \subseteq Value

Init == chosen = {}

Choose == /\ chosen = {}
          /\ \E v \in Value : chosen' = {v}

Next == Choose

Spec == Init /\ [][Next]_vars
-----------------------------------------------------------------------------
Agreement == Cardinality(chosen) <= 1

Validity == chosen \subseteq Value

Stability == [][chosen \subseteq chosen']_vars
=============================================================================
