---------------------------- MODULE MCFastPaxosLog ----------------------------
(* What the models of FastPaxosLog.tla share: quorums, rounds of ballots,   *)
(* where a model begins, and the ways in which it is made small enough to   *)
(* be finished. A .cfg file says which of them it uses.                     *)
EXTENDS FastPaxosLog

CONSTANTS n1, n2, n3, n4,
          v1, v2,
          ClassicSize, \* the size of phase-1 quorums, and of quorums at classic ballots
          FastSize,    \* the size of quorums at fast ballots
          Steps,       \* so many ballots has a round; all are fast but the last
          Rounds,      \* so many rounds are there
          Begin,       \* <<at which step round 1 begins, at which step round 2>>
          Outcomes     \* who voted for what in ballot 0 of each slot, to begin with

Sized(k) == {Q \in SUBSET Acceptor : Cardinality(Q) >= k}
Classics == Sized(ClassicSize)
Fasts == Sized(FastSize)

Round(b) == b \div Steps
Step(b) == b % Steps
\* Left out are the fast ballots that nobody begins.
Ballots == {b \in 0..(Steps * Rounds - 1) : Round(b) = 0 \/ Begin[Round(b)] <= Step(b)}

\* Round 0 is coordinated by n1, round 1 by n2, round 2 by n1 again.
OwnerOf(b) == IF Round(b) = 1 /\ n2 \in Acceptor THEN n2 ELSE n1
IsFast(b) == Step(b) < Steps - 1
Following(b) == IF IsFast(b) THEN b + 1 ELSE -1
ClassicOf(b) == Steps * Round(b) + Steps - 1
IsFirst(b) == Round(b) > 0 /\ Step(b) = Begin[Round(b)]

LastStep == <<1, 1>>
FirstStep == <<0, 0>>
LastOfThree == <<2, 2>>

Never(n) == FALSE
NeverTwo(n, x) == FALSE
NeverThree(n, x, y) == FALSE
NeverFour(n, x, y, z) == FALSE

\* A disk is never behind.
WriteThrough(n, record, answers) ==
  /\ mem' = [mem EXCEPT ![n] = record]
  /\ disk' = [disk EXCEPT ![n] = record]
  /\ msgs' = msgs \cup answers
  /\ UNCHANGED held

\* A disk is at most one record behind.
Behind1 == \A n \in Acceptor : Len(held[n]) <= 1

\* Votes and reports count as soon as they are sent; of those that have come any may have.
VotesAtOnce(n, s, c) == SUBSET {m \in msgs : m.type = "2b" /\ m.slot = s /\ m.bal = c}
ReportsAtOnce(n, s) == SUBSET {m \in msgs : m.type = "report" /\ m.slot = s /\ m.bal = Classic(coord[n].bal)}

\* And so do promises, whose pages are one: as soon as a quorum's have come, and more may have.
ByPromisesAtOnce(n) ==
  /\ coord[n].stage = "preparing"
  /\ \E S \in SUBSET {m \in msgs : m.type = "1b" /\ m.bal = coord[n].bal /\ m.next = 0} :
       /\ Sources(S) \in Quorum1
       /\ \A m, o \in S : m.acc = o.acc => m = o
       /\ TakeOffice(n, InOffice(After(coord[n], S)))

\* At the last ballot nobody votes.
NotAtTheLast == \A m \in msgs' \ msgs : m.type = "2b" => \E b \in Ballot : b > m.bal

\* Of a coordinator's own commands there is one.
OneFresh(n) == {IF n = n1 THEN v1 ELSE v2}

\* Each acceptor has voted for something or nothing, in each slot.
AllOutcomes == [Slot -> [Acceptor -> Value \cup {None}]]

\* The same of one slot, where what differs in names only is taken once: of the values, and of the nodes but n1.
Rank(v) == IF v = v1 THEN 1 ELSE IF v = v2 THEN 2 ELSE 3
SomeOutcomes == {o \in AllOutcomes : /\ Rank(o[1][n2]) <= Rank(o[1][n3])
                                     /\ (\E n \in Acceptor : o[1][n] = v1) \/ (\A n \in Acceptor : o[1][n] = None)}

\* The votes are split: one is to vote yet, or two voted alike.
FewOutcomes == {o \in AllOutcomes : o[1][n1] = v1 /\ <<o[1][n2], o[1][n3]>> \in {<<v2, None>>, <<v1, v2>>}}

\* Nobody has voted for anything.
NoVotes == {[s \in Slot |-> [n \in Acceptor |-> None]]}

\* Two voted for one value, the third for another: nothing is chosen, and one is to be.
TwoToOne == {[s \in Slot |-> [n \in Acceptor |-> IF n = n3 THEN v2 ELSE v1]]}

\* In slot 2 one has voted, in slot 1 nobody, or the same one.
GapBelow == {o \in AllOutcomes : /\ \A n \in Acceptor : o[2][n] = IF n = n3 THEN v1 ELSE None
                                 /\ o[1][n1] = None /\ o[1][n2] = None /\ o[1][n3] \in {v2, None}}

\* In slot 1 v1 was chosen; in slot 2 one has voted.
ChosenBelow == {o \in AllOutcomes : /\ \A n \in Acceptor : o[1][n] = v1
                                    /\ {n \in Acceptor : o[2][n] # None} = {n3} /\ o[2][n3] = v2}

\* Of four, two voted for v1, and one or two for v2.
TwoAndTwo == {o \in AllOutcomes : o[1][n1] = v1 /\ o[1][n2] = v1 /\ o[1][n3] = v2 /\ o[1][n4] \in {v2, None}}

\* Every outcome of ballot 0. What is voted for later there could have been voted for before all else.
Begun(more, office) ==
  \E votes \in Outcomes :
    /\ submitted = Value
    /\ mem = [n \in Acceptor |->
               [Nothing EXCEPT !.log = [s \in Slot |->
                  IF votes[s][n] = None THEN NoEntry ELSE [NoEntry EXCEPT !.bal = 0, !.val = votes[s][n]]]]]
    /\ disk = mem
    /\ msgs = UNION {{[type |-> "propose", bal |-> 0, slot |-> s, val |-> votes[s][n]],
                      [type |-> "2b", acc |-> n, bal |-> 0, slot |-> s, val |-> votes[s][n]]} :
                     <<s, n>> \in {p \in Slot \X Acceptor : votes[p[1]][p[2]] # None}} \cup more
    /\ held = [n \in Acceptor |-> <<>>]
    /\ known = [n \in Acceptor |-> {}]
    /\ coord = office
    /\ tally = [n \in Acceptor |-> {}]

OutcomeInit == Begun({}, [n \in Acceptor |-> Idle])

Opening == CHOOSE b \in Ballot : Round(b) = 1 /\ IsFirst(b)

\* And n1 is in office and has asked about every slot, n2 has asked for its first ballot. A question can be ignored.
BusyInit ==
  Begun({[type |-> "beat", bal |-> 0, first |-> 1], [type |-> "1a", bal |-> Opening, from |-> 1]}
          \cup {[type |-> "ask", bal |-> ClassicOf(0), slot |-> s] : s \in Slot},
        [n \in Acceptor |-> IF n = n1 THEN [Idle EXCEPT !.stage = "office", !.bal = 0]
                            ELSE IF n = n2 THEN [Idle EXCEPT !.stage = "preparing", !.bal = Opening]
                            ELSE Idle])

\* Instead n1, too, has asked for its first ballot, which is of round 2.
Second == CHOOSE b \in Ballot : Round(b) = 2 /\ IsFirst(b)

RivalInit ==
  Begun({[type |-> "beat", bal |-> 0, first |-> 1], [type |-> "1a", bal |-> Opening, from |-> 1],
         [type |-> "1a", bal |-> Second, from |-> 1]},
        [n \in Acceptor |-> IF n = n1 THEN [Idle EXCEPT !.stage = "preparing", !.bal = Second]
                            ELSE IF n = n2 THEN [Idle EXCEPT !.stage = "preparing", !.bal = Opening]
                            ELSE Idle])

\* Only one learns, tells and makes snapshots, and another one hears of it.
LearnAt2(n, b, s, v) ==
  /\ n = n2
  /\ ~IsKnown(n, s)
  /\ \E voters \in Voters(n, b, s, v) : voters \in Enough(b)
  /\ Know(n, b, s, v)

LearnAt1(n, b, s, v) ==
  /\ n = n1
  /\ ~IsKnown(n, s)
  /\ \E voters \in Voters(n, b, s, v) : voters \in Enough(b)
  /\ Know(n, b, s, v)

NewsTo3(n) == \E m \in msgs :
  /\ n = n3
  /\ m.type = "news"
  /\ ~IsKnown(n, m.slot)
  /\ Know(n, m.bal, m.slot, m.val)

\* ---- mistakes ------------------------------------------------------------

\* A promise for a slot is told, and not kept.
ReportOnly(n) == \E m \in msgs :
  /\ m.type = "ask"
  /\ ~IsKnown(n, m.slot)
  /\ m.bal > mem[n].log[m.slot].bal
  /\ Report(n, {[type |-> "report", acc |-> n, bal |-> m.bal, slot |-> m.slot, mbal |-> mem[n].log[m.slot].bal,
                 mval |-> mem[n].log[m.slot].val]})
  /\ UNCHANGED <<submitted, known, coord, tally>>

\* A ballot is opened in every slot above what is chosen.
OpensAll(c) ==
  [Idle EXCEPT !.stage = "office", !.bal = c.bal, !.from = c.from, !.floor = c.floor, !.first = c.floor + 1,
               !.got = c.got]

\* It is not looked at up to where anybody compacted.
FloorIgnored(candidacy, pages) ==
  [candidacy EXCEPT
     !.pages = @ \ pages,
     !.got = @ \cup Sources(pages),
     !.reports = @ \cup UNION {{[acc |-> m.acc, slot |-> r.slot, bal |-> r.bal, val |-> r.val] : r \in m.votes} :
                               m \in pages}]

\* A promise counts after its first page.
FirstPage(n) == \E m \in msgs :
  /\ TakesIn(n, m)
  /\ coord' = [coord EXCEPT ![n] = After(@, {m})]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, known, tally>>

\* A coordinator does not remember what it proposed.
PutAgain(n, b, s, v) ==
  /\ ~IsKnown(n, s)
  /\ Send({[type |-> "2a", bal |-> b, slot |-> s, val |-> v]})
  /\ UNCHANGED coord

\* With a snapshot all votes are forgotten, those above it too.
AllForgotten(record, snap) == [record EXCEPT !.snap = snap, !.log = [s \in Slot |-> NoEntry]]
=============================================================================
