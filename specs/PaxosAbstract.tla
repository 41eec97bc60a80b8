--------------------------- MODULE PaxosAbstract ----------------------------
(* The Paxos algorithm as it is usually published: messages, but no         *)
(* proposer that remembers, no learner, no disk. Phase 2a reads the         *)
(* promises of a whole quorum in one step. `Paxos` is the same with one     *)
(* action for each handler of the code.                                     *)
(*                                                                          *)
(* Messages only ever gather in `msgs`: one that is never received was      *)
(* lost, one that is received twice was duplicated, and any order is        *)
(* possible.                                                                *)
(*                                                                          *)
(* Source: Lamport, "The Paxos Algorithm, or How to Win a Turing Award":    *)
(* the third of his three specifications.                                   *)
EXTENDS Integers

CONSTANTS Value, Acceptor, Quorum1, Quorum2, Ballot, None

ASSUME None \notin Value

VARIABLES maxBal,   \* maxBal[a]: the highest ballot that a promised
          maxVBal,  \* maxVBal[a]: the ballot of a's last vote, -1 for none
          maxVal,   \* maxVal[a]: its value
          msgs      \* every message ever sent
vars == <<maxBal, maxVBal, maxVal, msgs>>

Message ==
       [type : {"1a"}, bal : Ballot]
  \cup [type : {"1b"}, acc : Acceptor, bal : Ballot, mbal : Ballot \cup {-1}, mval : Value \cup {None}]
  \cup [type : {"2a"}, bal : Ballot, val : Value]
  \cup [type : {"2b"}, acc : Acceptor, bal : Ballot, val : Value]

TypeOK == /\ maxBal \in [Acceptor -> Ballot \cup {-1}]
          /\ maxVBal \in [Acceptor -> Ballot \cup {-1}]
          /\ maxVal \in [Acceptor -> Value \cup {None}]
          /\ msgs \subseteq Message
-----------------------------------------------------------------------------
Init == /\ maxBal = [a \in Acceptor |-> -1]
        /\ maxVBal = [a \in Acceptor |-> -1]
        /\ maxVal = [a \in Acceptor |-> None]
        /\ msgs = {}

Send(m) == msgs' = msgs \cup {m}

Phase1a(b) ==
  /\ Send([type |-> "1a", bal |-> b])
  /\ UNCHANGED <<maxBal, maxVBal, maxVal>>

Phase1b(a) ==
  \E m \in msgs :
    /\ m.type = "1a"
    /\ m.bal > maxBal[a]
    /\ maxBal' = [maxBal EXCEPT ![a] = m.bal]
    /\ Send([type |-> "1b", acc |-> a, bal |-> m.bal, mbal |-> maxVBal[a], mval |-> maxVal[a]])
    /\ UNCHANGED <<maxVBal, maxVal>>

\* The promises of Q leave v free to be proposed at b, or oblige it.
Allows(Q, b, v) ==
  LET Q1b  == {m \in msgs : m.type = "1b" /\ m.acc \in Q /\ m.bal = b}
      Q1bv == {m \in Q1b : m.mbal >= 0}
  IN  /\ \A a \in Q : \E m \in Q1b : m.acc = a
      /\ \/ Q1bv = {}
         \/ \E m \in Q1bv : m.mval = v /\ \A mm \in Q1bv : m.mbal >= mm.mbal

Phase2a(b, v) ==
  /\ ~\E m \in msgs : m.type = "2a" /\ m.bal = b
  /\ \E Q \in Quorum1 : Allows(Q, b, v)
  /\ Send([type |-> "2a", bal |-> b, val |-> v])
  /\ UNCHANGED <<maxBal, maxVBal, maxVal>>

Phase2b(a) ==
  \E m \in msgs :
    /\ m.type = "2a"
    /\ m.bal >= maxBal[a]
    /\ maxBal' = [maxBal EXCEPT ![a] = m.bal]
    /\ maxVBal' = [maxVBal EXCEPT ![a] = m.bal]
    /\ maxVal' = [maxVal EXCEPT ![a] = m.val]
    /\ Send([type |-> "2b", acc |-> a, bal |-> m.bal, val |-> m.val])

Next == \/ \E b \in Ballot : Phase1a(b) \/ \E v \in Value : Phase2a(b, v)
        \/ \E a \in Acceptor : Phase1b(a) \/ Phase2b(a)

Spec == Init /\ [][Next]_vars
-----------------------------------------------------------------------------
votes == [a \in Acceptor |->
           {<<m.bal, m.val>> : m \in {mm \in msgs : mm.type = "2b" /\ mm.acc = a}}]

V == INSTANCE Voting
\* V!Spec, in the form that TLC evaluates fastest: most steps change nothing that V knows of.
RefinesVoting == V!Init /\ [][V!vars' = V!vars \/ V!Next]_vars

Agreement == \A v, w \in V!chosen : v = w

Stability == [][V!chosen \subseteq V!chosen']_vars

OneValuePerBallot ==
  \A m, n \in msgs : m.type = "2a" /\ n.type = "2a" /\ m.bal = n.bal => m.val = n.val

PromiseMonotone == [][\A a \in Acceptor : maxBal'[a] >= maxBal[a]]_vars

VoteAtMostPromise == \A a \in Acceptor : maxVBal[a] <= maxBal[a]

PromiseTruthful ==
  \A m \in msgs : m.type = "1b" =>
    /\ m.mbal < m.bal
    /\ m.mbal >= 0 => V!VotedFor(m.acc, m.mbal, m.mval)
    /\ \A c \in Ballot : m.mbal < c /\ c < m.bal => V!DidNotVoteAt(m.acc, c)

AcceptSafe == \A m \in msgs : m.type = "2a" => \E Q \in Quorum1 : Allows(Q, m.bal, m.val)

VotesSafe == V!VotesSafe
=============================================================================
