------------------------------- MODULE Voting -------------------------------
(* Agreement by ballots, with no messages yet: an acceptor may see what     *)
(* every other one has done. What is here is why Paxos is right: a vote is  *)
(* cast only where nothing else can have been chosen, nor ever will be, at  *)
(* a lower ballot.                                                          *)
(*                                                                          *)
(* Quorum1 and Quorum2 are the quorums of the two phases (Howard, Malkhi,   *)
(* Spiegelman, "Flexible Paxos"); with majorities they are the same.        *)
(*                                                                          *)
(* Source: Lamport, "The Paxos Algorithm, or How to Win a Turing Award":    *)
(* the second of his three specifications.                                  *)
EXTENDS Integers

CONSTANTS Value, Acceptor, Quorum1, Quorum2, Ballot

QuorumAssumption ==
  /\ \A Q \in Quorum1 \cup Quorum2 : Q \subseteq Acceptor
  /\ \A Q1 \in Quorum1, Q2 \in Quorum2 : Q1 \cap Q2 # {}
ASSUME QuorumAssumption

VARIABLES votes,   \* votes[a]: the set of <<ballot, value>> that a voted for
          maxBal   \* maxBal[a]: a casts no vote below this ballot any more
vars == <<votes, maxBal>>

TypeOK == /\ votes \in [Acceptor -> SUBSET (Ballot \X Value)]
          /\ maxBal \in [Acceptor -> Ballot \cup {-1}]
-----------------------------------------------------------------------------
VotedFor(a, b, v) == <<b, v>> \in votes[a]

DidNotVoteAt(a, b) == \A v \in Value : ~VotedFor(a, b, v)

CannotVoteAt(a, b) == maxBal[a] > b /\ DidNotVoteAt(a, b)

ChosenAt(b, v) == \E Q \in Quorum2 : \A a \in Q : VotedFor(a, b, v)

chosen == {v \in Value : \E b \in Ballot : ChosenAt(b, v)}

\* Nothing but v has been or will be chosen at ballot c.
NoneOtherChoosableAt(c, v) ==
  \E Q \in Quorum1 : \A a \in Q : VotedFor(a, c, v) \/ CannotVoteAt(a, c)

SafeAt(b, v) == \A c \in {d \in Ballot : d < b} : NoneOtherChoosableAt(c, v)

\* The members of Q together know that v is safe at b: the last of their votes is for v, or there is none.
ShowsSafeAt(Q, b, v) ==
  /\ \A a \in Q : maxBal[a] >= b
  /\ \E c \in {d \in Ballot : d < b} \cup {-1} :
       /\ c # -1 => \E a \in Q : VotedFor(a, c, v)
       /\ \A d \in {e \in Ballot : c < e /\ e < b}, a \in Q : DidNotVoteAt(a, d)
-----------------------------------------------------------------------------
Init == /\ votes = [a \in Acceptor |-> {}]
        /\ maxBal = [a \in Acceptor |-> -1]

IncreaseMaxBal(a, b) ==
  /\ b > maxBal[a]
  /\ maxBal' = [maxBal EXCEPT ![a] = b]
  /\ UNCHANGED votes

VoteFor(a, b, v) ==
  /\ maxBal[a] <= b
  /\ DidNotVoteAt(a, b)
  /\ \A c \in Acceptor \ {a}, w \in Value : VotedFor(c, b, w) => w = v
  /\ \E Q \in Quorum1 : ShowsSafeAt(Q, b, v)
  /\ votes' = [votes EXCEPT ![a] = @ \cup {<<b, v>>}]
  /\ maxBal' = [maxBal EXCEPT ![a] = b]

Next == \E a \in Acceptor, b \in Ballot :
          \/ IncreaseMaxBal(a, b)
          \/ \E v \in Value : VoteFor(a, b, v)

Spec == Init /\ [][Next]_vars
-----------------------------------------------------------------------------
OneValuePerBallot ==
  \A a, c \in Acceptor, b \in Ballot, v, w \in Value : VotedFor(a, b, v) /\ VotedFor(c, b, w) => v = w

VoteAtMostPromise == \A a \in Acceptor : \A vote \in votes[a] : vote[1] <= maxBal[a]

VotesSafe == \A a \in Acceptor : \A vote \in votes[a] : SafeAt(vote[1], vote[2])

PromiseMonotone == [][\A a \in Acceptor : maxBal'[a] >= maxBal[a]]_vars

C == INSTANCE Consensus
RefinesConsensus == C!Spec
=============================================================================
