----------------------------- MODULE MCFastPaxos ------------------------------
(* What the models of FastPaxos.tla share: quorums, rounds of ballots, and  *)
(* the ways in which a model is made small enough to be finished. A .cfg    *)
(* file says which of them it uses.                                         *)
EXTENDS FastPaxos

CONSTANTS n1, n2, n3, n4, n5,
          v1, v2,
          Classic,    \* the size of phase-1 quorums, and of quorums at classic ballots
          FastSize,   \* the size of quorums at fast ballots
          Steps,      \* so many ballots has a round; all are fast but the last
          Rounds,     \* so many rounds are there
          Outcomes,   \* who has voted for what in ballot 0, to begin with
          Begin       \* at which steps coordinators begin a round

Sized(k) == {Q \in SUBSET Acceptor : Cardinality(Q) >= k}
Classics == Sized(Classic)
Fasts == Sized(FastSize)

\* Quorums of which some have more say: n1 is in all of them, and n2 in the fast ones.
WithOne == {Q \in SUBSET Acceptor : n1 \in Q /\ Cardinality(Q) >= 3}
WithTwo == {Q \in SUBSET Acceptor : {n1, n2} \subseteq Q}

Round(b) == b \div Steps
Step(b) == b % Steps
\* Left out are the fast ballots that nobody begins.
Ballots == {b \in 0..(Steps * Rounds - 1) : Round(b) = 0 \/ \E s \in Begin : s <= Step(b)}

\* Those of n1 only.
OfOne == {b \in Ballots : Round(b) # 1}

\* Rounds 0 and 2 are coordinated by n1, round 1 by n2.
OwnerOf(b) == IF Round(b) = 1 THEN n2 ELSE n1
IsFast(b) == Step(b) < Steps - 1
Following(b) == IF IsFast(b) THEN b + 1 ELSE -1
IsFirst(b) == Round(b) > 0 /\ Step(b) \in Begin

Never(n) == FALSE
NeverOne(x) == FALSE
NeverTwo(n, x) == FALSE
NeverThree(n, x, y) == FALSE

\* The nodes that coordinate nothing are alike, and so are the values.
Alike == Permutations(Acceptor \ {n1, n2}) \cup Permutations(Value)

\* A disk is never behind.
WriteThrough(n, record, answers) ==
  /\ mem' = [mem EXCEPT ![n] = record]
  /\ disk' = [disk EXCEPT ![n] = record]
  /\ msgs' = msgs \cup answers
  /\ UNCHANGED held

\* A disk is at most one record behind.
Behind1 == \A n \in Acceptor : Len(held[n]) <= 1

\* Votes and promises count as soon as they are sent; of those that have come any may have.
VotesAtOnce(n, b) == SUBSET {m \in msgs : m.type = "2b" /\ m.bal = b}

GatheredAtOnce(n) ==
  IF coord[n].stage = "preparing"
  THEN {S \in SUBSET {m \in msgs : m.type = "1b" /\ m.bal = coord[n].bal} : Sources(S) \in Quorum1}
  ELSE {}

\* What is proposed at the last ballot is looked at (AcceptSafe), and nobody votes for it.
NotAtTheLast == \A m \in msgs' \ msgs : m.type = "2b" => \E b \in Ballot : b > m.bal

\* And round 0 is not recovered.
NotRoundZero == NotAtTheLast /\ \A m \in msgs' \ msgs : m.type = "2a" => Round(m.bal) > 0

NotInTheLast == \A m \in msgs' \ msgs : m.type = "2b" => Round(m.bal) < Rounds - 1

\* Five nodes: two voted for one value, one for the other, two for none.
Split == {[n \in Acceptor |-> CASE n \in {n1, n2} -> v1 [] n = n3 -> v2 [] OTHER -> None]}

\* Four nodes: three have voted, and so have chosen.
ChosenFast == {[n \in Acceptor |-> IF n \in {n1, n2, n3} THEN v1 ELSE None]}

\* One has voted.
OneVoted == {[n \in Acceptor |-> IF n = n1 THEN v1 ELSE None]}

AllOutcomes == [Acceptor -> Value \cup {None}]

\* Every outcome of ballot 0: each acceptor has voted for something, or for nothing. It could do so later only while it
\* has not joined another ballot, and then it could have done so before all else, too.
OutcomeInit ==
  \E votes \in Outcomes :
    /\ submitted = Value
    /\ mem = [n \in Acceptor |-> IF votes[n] = None THEN Nothing
                                 ELSE [Nothing EXCEPT !.bal = 0, !.vbal = 0, !.val = votes[n]]]
    /\ disk = mem
    /\ msgs = {[type |-> "propose", val |-> v] : v \in Value}
              \cup {[type |-> "2b", acc |-> n, bal |-> 0, val |-> votes[n]] :
                    n \in {a \in Acceptor : votes[a] # None}}
    /\ held = [n \in Acceptor |-> <<>>]
    /\ opened = [n \in Acceptor |-> 0]
    /\ coord = [n \in Acceptor |-> Idle]
    /\ tally = [n \in Acceptor |-> {}]

\* Everything was submitted, and nobody has voted.
QuietInit ==
  /\ msgs = {[type |-> "propose", val |-> v] : v \in Value}
  /\ submitted = Value
  /\ mem = [n \in Acceptor |-> Nothing]
  /\ disk = mem
  /\ held = [n \in Acceptor |-> <<>>]
  /\ opened = [n \in Acceptor |-> 0]
  /\ coord = [n \in Acceptor |-> Idle]
  /\ tally = [n \in Acceptor |-> {}]

\* ---- mistakes ------------------------------------------------------------

\* The value that most voted for is taken to be the one that may have been chosen.
MostFrequent(reports) ==
  LET k == Highest({r.mbal : r \in reports})
      last == {r \in reports : r.mbal = k}
      many(v) == Cardinality({r \in last : r.mval = v})
      values == {r.mval : r \in last}
  IN  IF k = -1 THEN {Anything} ELSE {CHOOSE v \in values : \A w \in values : many(v) >= many(w)}

\* A value that nobody but its voters can have chosen at that ballot is left, though it is the only one there.
ChoosableOnly(reports) ==
  LET k == Highest({r.mbal : r \in reports})
      last == {r \in reports : r.mbal = k}
      bound == {v \in {r.mval : r \in last} :
                 Choosable(Sources(reports), {r.acc : r \in {l \in last : l.mval = v}})}
  IN  IF k = -1 THEN {Anything}
      ELSE IF ~Fast(k) THEN {r.mval : r \in last}
      ELSE IF bound # {} THEN bound
      ELSE {Anything}

\* Votes stand for promises of any later ballot of the coordinator.
OldVotes(n, b, v) ==
  /\ ~Fast(b) /\ Owner(b) = n
  /\ coord[n].bal < b
  /\ mem[n].bal <= b
  /\ \E c \in Ballot : \E votes \in Counted(n, c) :
       /\ Fast(c) /\ c < b
       /\ Sources(votes) \in Quorum1
       /\ Allows(AsReports(votes), v)
  /\ Put(n, b, v)

\* A coordinator says Any whatever the promises report.
AnyAnyway(n) == \E got \in Gathered(n) :
  /\ Fast(coord[n].bal)
  /\ msgs' = msgs \cup {[type |-> "any", bal |-> coord[n].bal]}
  /\ coord' = [coord EXCEPT ![n] = [@ EXCEPT !.stage = "open", !.got = {}]]
  /\ UNCHANGED <<submitted, mem, disk, held, opened, tally>>

\* In an open ballot a vote is replaced.
VoteReplaced(n, b, v) ==
  /\ b = opened[n]
  /\ [type |-> "propose", val |-> v] \in msgs
  /\ opened[n] >= mem[n].bal
  /\ Vote(n, b, v)
  /\ UNCHANGED <<submitted, opened, coord, tally>>

\* Votes of several ballots add up.
AllVoters(n, b, v) == {m.acc : m \in {mm \in tally[n] : mm.val = v}}

\* What is proposed goes to all at once; the own vote need not be on disk.
PutAtOnce(n, b, v) ==
  /\ msgs' = msgs \cup {[type |-> "2a", bal |-> b, val |-> v, own |-> own] : own \in BOOLEAN}
  /\ coord' = [coord EXCEPT ![n] = [Idle EXCEPT !.stage = "accepting", !.bal = b, !.val = v]]
  /\ UNCHANGED <<submitted, mem, disk, held, opened, tally>>
=============================================================================
