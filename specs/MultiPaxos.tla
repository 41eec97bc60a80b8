----------------------------- MODULE MultiPaxos -----------------------------
(* Multi-Paxos as the code does it: a log of slots under one promise, one   *)
(* action for each thing a handler can do, one message at a time, and disks *)
(* that lag behind.                                                         *)
(*                                                                          *)
(* As in Paxos.tla a node has a memory and a disk. What must be written,    *)
(* and the answer that reports it, wait in `held` until the disk has come   *)
(* so far (Persist), and a crash loses what is held, what the node          *)
(* campaigned for or led, the votes it counted, and what it committed since *)
(* it last noted how far it was (Mark). Messages only ever gather in        *)
(* `msgs`: lost, doubled, late and reordered are all the same there.        *)
(*                                                                          *)
(* Of the slots up to its floor a node has a snapshot, and no vote. What a  *)
(* node fetched because it was chosen takes the place of its vote, with a   *)
(* ballot at which it is safe, and is reported as a vote from then on.      *)
(*                                                                          *)
(* In each slot, what is on the disks is a behaviour of Voting: that is     *)
(* what makes it Paxos. All slots share the promise, and nothing else.      *)
(*                                                                          *)
(* Sources: Lamport, "Paxos Made Simple", section 3; Lamport, "The          *)
(* Part-Time Parliament", section 3.1.                                      *)
EXTENDS Integers, Sequences, FiniteSets

CONSTANTS Value,     \* what clients may submit
          Nop,       \* what a new leader puts where nothing can have been chosen
          Acceptor,  \* the nodes
          Quorum1,   \* sets of nodes whose promises are enough
          Quorum2,   \* sets of nodes whose votes are enough
          Ballot,    \* naturals
          Owner(_),  \* Owner(b): the only node that may begin ballot b
          Last,      \* the slots are 1..Last
          PageSize,  \* of how many slots one page of a promise tells at most
          None

ASSUME Nop \notin Value /\ None \notin Value \cup {Nop}
ASSUME \A Q1 \in Quorum1, Q2 \in Quorum2 : Q1 \cap Q2 # {}
ASSUME \A b \in Ballot : Owner(b) \in Acceptor

VARIABLES
  msgs,       \* every message that ever left a node
  submitted,  \* values that clients have asked for
  mem,        \* mem[n]: what node n has written, or has waiting to be written
  disk,       \* disk[n]: the same as its disk holds it
  held,       \* held[n]: what waits for the disk, in order: a record, and the answers that report it
  committed,  \* committed[n]: the values of the slots that node n has committed, from the first on
  leader,     \* leader[n]: the candidacy or leadership of node n
  tally       \* tally[n]: the votes that node n has counted, at the ballot it leads
vars == <<msgs, submitted, mem, disk, held, committed, leader, tally>>

Slot == 1..Last

Command == Value \cup {Nop}

Vote == [bal : Ballot \cup {-1}, val : Command \cup {None}]

Log == UNION {[1..k -> Command] : k \in 0..Last}

Record == [bal : Ballot \cup {-1},                    \* the promise
           log : [Slot -> Vote],                      \* the last vote in each slot, or what was fetched
           fetched : SUBSET Slot,                     \* where it is what was fetched
           snap : Log,                                \* the snapshot; its length is the floor
           hints : SUBSET [bal : Ballot, upto : Slot]]  \* up to where votes at which ballots were chosen

Message ==
  [type : {"1a"}, bal : Ballot, from : 1..Last + 1]
  \cup [type : {"1b"}, acc : Acceptor, bal : Ballot, from : 1..Last + 1, next : 0..Last, floor : 0..Last,
        votes : SUBSET [slot : Slot, bal : Ballot, val : Command]]
  \cup [type : {"2a"}, bal : Ballot, slot : Slot, val : Command]
  \cup [type : {"2b"}, acc : Acceptor, bal : Ballot, slot : Slot, val : Command]
  \cup [type : {"nack"}, bal : Ballot, promised : Ballot]
  \cup [type : {"commit"}, bal : Ballot, upto : 0..Last]
  \cup [type : {"news"}, slot : Slot, bal : Ballot, val : Command]
  \cup [type : {"snap"}, bal : Ballot \cup {-1}, log : Log]

TypeOK ==
  /\ msgs \subseteq Message
  /\ submitted \subseteq Value
  /\ mem \in [Acceptor -> Record]
  /\ disk \in [Acceptor -> Record]
  /\ \A n \in Acceptor : \A i \in DOMAIN held[n] :
       held[n][i].record \in Record /\ held[n][i].answers \subseteq Message
  /\ committed \in [Acceptor -> Log]
  /\ leader \in [Acceptor -> [stage : {"idle", "preparing", "leading"}, bal : Ballot \cup {-1},
                              from : 1..Last + 1, floor : 0..Last, pages : SUBSET Message,
                              got : SUBSET Acceptor, plan : [Slot -> Vote], next : 1..Last + 1,
                              index : 0..Last]]
  /\ \A n \in Acceptor : tally[n] \subseteq msgs
-----------------------------------------------------------------------------
NoVote == [bal |-> -1, val |-> None]

NoVotes == [s \in Slot |-> NoVote]

Nothing == [bal |-> -1, log |-> NoVotes, fetched |-> {}, snap |-> <<>>, hints |-> {}]

Idle == [stage |-> "idle", bal |-> -1, from |-> 1, floor |-> 0, pages |-> {}, got |-> {}, plan |-> NoVotes,
         next |-> 1, index |-> 0]

Floor(record) == Len(record.snap)

Init == /\ msgs = {}
        /\ submitted = {}
        /\ mem = [n \in Acceptor |-> Nothing]
        /\ disk = [n \in Acceptor |-> Nothing]
        /\ held = [n \in Acceptor |-> <<>>]
        /\ committed = [n \in Acceptor |-> <<>>]
        /\ leader = [n \in Acceptor |-> Idle]
        /\ tally = [n \in Acceptor |-> {}]

\* Node n will have `record` on its disk; it and what reports it wait for the disk.
Write(n, record, answers) ==
  /\ mem' = [mem EXCEPT ![n] = record]
  /\ held' = [held EXCEPT ![n] = Append(@, [record |-> record, answers |-> answers])]
  /\ UNCHANGED <<disk, msgs>>

\* The answers report what node n has written. If its disk has come so far they leave at once.
Report(n, answers) ==
  IF held[n] = <<>>
  THEN /\ msgs' = msgs \cup answers
       /\ UNCHANGED <<mem, disk, held>>
  ELSE Write(n, mem[n], answers)

Max(a, b) == IF a > b THEN a ELSE b

\* Who sees a higher ballot than its own steps down before it sends anything more.
StepDown(n, b) ==
  /\ leader' = [leader EXCEPT ![n] = IF @.bal < b THEN Idle ELSE @]
  /\ tally' = [tally EXCEPT ![n] = IF leader[n].bal < b THEN {} ELSE @]

\* ---- clients -------------------------------------------------------------

\* A client asks for v.
Submit(v) ==
  /\ submitted' = submitted \cup {v}
  /\ UNCHANGED <<msgs, mem, disk, held, committed, leader, tally>>

\* ---- candidates ----------------------------------------------------------

\* Node n begins ballot b, above all it joined or used in this life and in those before. It asks about all
\* slots from the first that it does not know to be chosen.
Phase1a(n, b) ==
  /\ Owner(b) = n
  /\ b > mem[n].bal
  /\ \A m \in msgs : m.type = "1a" /\ Owner(m.bal) = n => m.bal < b
  /\ LET from == Len(committed[n]) + 1
     IN  /\ msgs' = msgs \cup {[type |-> "1a", bal |-> b, from |-> from]}
         /\ leader' = [leader EXCEPT ![n] =
              [Idle EXCEPT !.stage = "preparing", !.bal = b, !.from = from, !.floor = from - 1]]
  /\ tally' = [tally EXCEPT ![n] = {}]
  /\ UNCHANGED <<submitted, mem, disk, held, committed>>

PagesOf(n, a) == {m \in leader[n].pages : m.acc = a}

\* Page m is the one that comes next from who sent it.
TakesIn(n, m) ==
  /\ m.type = "1b"
  /\ leader[n].stage = "preparing"
  /\ m.bal = leader[n].bal
  /\ m.acc \notin leader[n].got
  /\ LET pages == PagesOf(n, m.acc)
     IN  m.from = IF pages = {} THEN leader[n].from
                  ELSE CHOOSE k \in Slot : (\E o \in pages : o.next = k) /\ \A o \in pages : o.next <= k

\* Node n takes in a page of a promise, which is not the last one.
CountPage(n) == \E m \in msgs :
  /\ TakesIn(n, m)
  /\ m.next # 0
  /\ leader' = [leader EXCEPT ![n].pages = @ \cup {m}]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, committed, tally>>

Highest(numbers) == CHOOSE k \in numbers : \A l \in numbers : l <= k

\* What is known after these pages: in each slot the vote of the highest ballot binds.
Binding(plan, pages) ==
  [s \in Slot |->
    LET told == {vote \in UNION {m.votes : m \in pages} : vote.slot = s /\ vote.bal > plan[s].bal}
    IN  IF told = {} THEN plan[s]
        ELSE LET vote == CHOOSE vote \in told : \A o \in told : o.bal <= vote.bal
             IN  [bal |-> vote.bal, val |-> vote.val]]

\* Node n takes in the last page of a promise, and only now the promise counts.
CountPromise(n) == \E m \in msgs :
  /\ TakesIn(n, m)
  /\ m.next = 0
  /\ LET pages == PagesOf(n, m.acc) \cup {m}
     IN  leader' = [leader EXCEPT ![n] =
           [@ EXCEPT !.pages = @ \ pages, !.got = @ \cup {m.acc}, !.plan = Binding(@, pages),
                     !.floor = Highest({@} \cup {o.floor : o \in pages})]]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, committed, tally>>

\* ---- leaders -------------------------------------------------------------

Reported(plan) == {s \in Slot : plan[s].val # None}

Leading(candidate) ==
  LET next == candidate.floor + 1
      plan == candidate.plan
  IN  [Idle EXCEPT !.stage = "leading", !.bal = candidate.bal, !.from = candidate.from,
                   !.floor = candidate.floor, !.next = next, !.index = candidate.floor,
                   !.plan = [s \in Slot |->
                      IF s < next \/ \A t \in Reported(plan) : t < s THEN NoVote
                      ELSE IF plan[s].val # None THEN plan[s]
                      ELSE [bal |-> -1, val |-> Nop]]]

\* Node n leads, and tells how far it knows slots to be chosen.
TakeOffice(n, candidate) ==
  /\ leader' = [leader EXCEPT ![n] = Leading(candidate)]
  /\ msgs' = msgs \cup {[type |-> "commit", bal |-> candidate.bal, upto |-> candidate.floor]}

\* With the promises of a quorum node n leads. What was reported above what anyone compacted is to be proposed
\* again, and the gaps are to be filled, before anything new.
Elected(n) ==
  /\ leader[n].stage = "preparing"
  /\ \E Q \in Quorum1 : Q \subseteq leader[n].got
  /\ TakeOffice(n, leader[n])
  /\ UNCHANGED <<submitted, mem, disk, held, committed, tally>>

Propose(n, v) ==
  /\ msgs' = msgs \cup {[type |-> "2a", bal |-> leader[n].bal, slot |-> leader[n].next, val |-> v]}
  /\ leader' = [leader EXCEPT ![n].next = @ + 1]
  /\ UNCHANGED <<submitted, mem, disk, held, committed, tally>>

\* Node n proposes at its own ballot what phase 1 obliges it to, slot by slot.
Repropose(n) ==
  /\ leader[n].stage = "leading"
  /\ leader[n].next \in Reported(leader[n].plan)
  /\ Propose(n, leader[n].plan[leader[n].next].val)

\* What node n may propose of its own.
Fresh(n) == submitted

\* Node n proposes a new command, above all that phase 1 reported or left as a gap.
Phase2a(n, v) ==
  /\ leader[n].stage = "leading"
  /\ leader[n].next <= Last
  /\ leader[n].next \notin Reported(leader[n].plan)
  /\ v \in Fresh(n)
  /\ Propose(n, v)

\* Node n hears that its ballot was outbid.
Preempt(n) == \E m \in msgs :
  /\ m.type = "nack"
  /\ m.bal = leader[n].bal
  /\ StepDown(n, m.promised)
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, committed>>

\* Node n gives up what it campaigned for or led, by itself: its quorum is silent, or another should lead.
Resign(n) ==
  /\ leader[n].stage # "idle"
  /\ leader' = [leader EXCEPT ![n] = Idle]
  /\ tally' = [tally EXCEPT ![n] = {}]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, committed>>

\* ---- acceptors -----------------------------------------------------------

\* The page of n's votes from slot `from` on, for ballot b, when n has `record`.
Page(n, record, b, from) ==
  LET voted == {s \in Slot : s >= from /\ s > Floor(record) /\ record.log[s].val # None}
      told == {s \in voted : Cardinality({t \in voted : t < s}) < PageSize}
      rest == voted \ told
  IN  [type |-> "1b", acc |-> n, bal |-> b, from |-> from, floor |-> Floor(record),
       next |-> IF rest = {} THEN 0 ELSE CHOOSE s \in rest : \A t \in rest : s <= t,
       votes |-> {[slot |-> s, bal |-> record.log[s].bal, val |-> record.log[s].val] : s \in told}]

\* Node n promises a ballot above every one it joined, and sends the first page of what it voted for.
Phase1b(n) == \E m \in msgs :
  /\ m.type = "1a"
  /\ m.bal > mem[n].bal
  /\ LET record == [mem[n] EXCEPT !.bal = m.bal]
     IN  Write(n, record, {Page(n, record, m.bal, m.from)})
  /\ StepDown(n, m.bal)
  /\ UNCHANGED <<submitted, committed>>

\* What node n sent, or will when its disk has come so far.
Answers(n) == msgs \cup UNION {held[n][i].answers : i \in DOMAIN held[n]}

Promised(n, b) == {m \in Answers(n) : m.type = "1b" /\ m.acc = n /\ m.bal = b}

\* Node n, which still stands at ballot m.bal and has no vote at it, sends the next page, or one once more.
MorePages(n) == \E m \in msgs :
  /\ m.type = "1a"
  /\ m.bal = mem[n].bal
  /\ \A s \in Slot : mem[n].log[s].bal < m.bal
  /\ \E from \in {m.from} \cup ({o.next : o \in Promised(n, m.bal)} \ {0}) :
       Report(n, {Page(n, mem[n], m.bal, from)})
  /\ UNCHANGED <<submitted, committed, leader, tally>>

\* In a slot that it compacted a node votes with whoever asks: only what was chosen there can be proposed.
VoteFor(n, m) ==
  /\ m.type = "2a"
  /\ m.bal >= mem[n].bal
  /\ m.bal # mem[n].log[m.slot].bal
  /\ LET vote == [type |-> "2b", acc |-> n, bal |-> m.bal, slot |-> m.slot, val |-> m.val]
     IN  IF m.slot > Floor(mem[n])
         THEN Write(n, [mem[n] EXCEPT !.bal = m.bal, !.log[m.slot] = [bal |-> m.bal, val |-> m.val],
                                      !.fetched = @ \ {m.slot}], {vote})
         ELSE IF m.bal = mem[n].bal THEN Report(n, {vote})
         ELSE Write(n, [mem[n] EXCEPT !.bal = m.bal], {vote})
  /\ StepDown(n, m.bal)
  /\ UNCHANGED <<submitted, committed>>

\* Node n votes.
Phase2b(n) == \E m \in msgs : VoteFor(n, m)

\* Asked for a vote it has cast, node n answers that vote again. What it fetched at that ballot is as good as a
\* vote, and is answered with one.
RepeatVote(n) == \E m \in msgs :
  /\ m.type = "2a"
  /\ m.bal = mem[n].bal
  /\ mem[n].log[m.slot] = [bal |-> m.bal, val |-> m.val]
  /\ LET vote == [type |-> "2b", acc |-> n, bal |-> m.bal, slot |-> m.slot, val |-> m.val]
     IN  IF vote \in Answers(n) THEN UNCHANGED <<msgs, mem, disk, held>> ELSE Report(n, {vote})
  /\ UNCHANGED <<submitted, committed, leader, tally>>

\* Node n hears of the leader of a ballot above every one it joined, and joins that.
Join(n) == \E m \in msgs :
  /\ m.type = "commit"
  /\ m.bal > mem[n].bal
  /\ Write(n, [mem[n] EXCEPT !.bal = m.bal], {})
  /\ StepDown(n, m.bal)
  /\ UNCHANGED <<submitted, committed>>

\* What comes at a ballot below the promise of node n is refused.
Refuse(n) == \E m \in msgs :
  /\ m.type \in {"1a", "2a", "commit"}
  /\ m.bal < mem[n].bal
  /\ msgs' = msgs \cup {[type |-> "nack", bal |-> m.bal, promised |-> mem[n].bal]}
  /\ UNCHANGED <<submitted, mem, disk, held, committed, leader, tally>>

\* ---- learners ------------------------------------------------------------

\* Node n counts one vote at the ballot it leads.
CountVote(n) == \E m \in msgs :
  /\ m.type = "2b"
  /\ leader[n].stage = "leading"
  /\ m.bal = leader[n].bal
  /\ m.slot > leader[n].index
  /\ m \notin tally[n]
  /\ tally' = [tally EXCEPT ![n] = @ \cup {m}]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, committed, leader>>

Counted(n) == tally[n]

Voters(n, s) ==
  {m.acc : m \in {mm \in Counted(n) : mm.type = "2b" /\ mm.bal = leader[n].bal /\ mm.slot = s}}

\* Has node n commit v in the slot after those that it has committed.
Apply(n, v) == committed' = [committed EXCEPT ![n] = Append(@, v)]

\* Leader n counted the votes of a quorum for the slot after its commit index, and tells the new index.
\* It voted itself when it proposed. Where it has no snapshot yet of what is below it can not commit.
Commit(n, s) ==
  /\ leader[n].stage = "leading"
  /\ s = leader[n].index + 1
  /\ mem[n].log[s].bal = leader[n].bal
  /\ \E Q \in Quorum2 : Q \subseteq Voters(n, s)
  /\ leader' = [leader EXCEPT ![n].index = s]
  /\ msgs' = msgs \cup {[type |-> "commit", bal |-> leader[n].bal, upto |-> s]}
  /\ IF Len(committed[n]) = s - 1 THEN Apply(n, mem[n].log[s].val) ELSE UNCHANGED committed
  /\ tally' = [tally EXCEPT ![n] = {m \in @ : m.slot # s}]
  /\ UNCHANGED <<submitted, mem, disk, held>>

\* Node n heard the commit index of ballot m.bal. What it voted for at that ballot or a higher one was chosen;
\* an older vote of its own says nothing.
FollowerCommit(n, s) == \E m \in msgs :
  /\ m.type = "commit"
  /\ s = Len(committed[n]) + 1
  /\ s <= m.upto
  /\ mem[n].log[s].bal >= m.bal
  /\ Apply(n, mem[n].log[s].val)
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, leader, tally>>

\* Node n has fetched what was chosen in a slot. It takes the place of its vote, and its ballot is joined.
LearnNews(n) == \E m \in msgs :
  /\ m.type = "news"
  /\ m.slot = Len(committed[n]) + 1
  /\ Apply(n, m.val)
  /\ Write(n, [mem[n] EXCEPT !.bal = Max(@, m.bal), !.log[m.slot] = [bal |-> m.bal, val |-> m.val],
                             !.fetched = @ \cup {m.slot}], {})
  /\ StepDown(n, m.bal)
  /\ UNCHANGED submitted

\* Node n, asked for what was chosen in a slot, tells it, and a ballot at which it is safe.
Tell(n, s) ==
  /\ s \in Floor(mem[n]) + 1..Len(committed[n])
  /\ msgs' = msgs \cup {[type |-> "news", slot |-> s, bal |-> mem[n].log[s].bal, val |-> mem[n].log[s].val]}
  /\ UNCHANGED <<submitted, mem, disk, held, committed, leader, tally>>

\* ---- disks ---------------------------------------------------------------

\* Node n notes how far it has committed: up to there, what it has a vote for at ballot b or above was chosen.
Mark(n, b) ==
  /\ \E m \in msgs : m.type = "commit" /\ m.bal = b /\ m.upto >= Len(committed[n])
  /\ Len(committed[n]) > Floor(mem[n])
  /\ LET hint == [bal |-> b, upto |-> Len(committed[n])]
     IN  /\ hint \notin mem[n].hints
         /\ Write(n, [mem[n] EXCEPT !.hints = @ \cup {hint}], {})
  /\ UNCHANGED <<submitted, committed, leader, tally>>

\* What a node commits that starts from `record`.
Restored(record) ==
  LET Sure(s) == \/ s <= Floor(record)
                 \/ \E h \in record.hints : s <= h.upto /\ (record.log[s].bal >= h.bal \/ s \in record.fetched)
      k == CHOOSE k \in 0..Last : (\A s \in 1..k : Sure(s)) /\ (k = Last \/ ~Sure(k + 1))
  IN  [s \in 1..k |-> IF s <= Floor(record) THEN record.snap[s] ELSE record.log[s].val]

\* The record with a snapshot in the place of what it covers.
Compacted(record, snap) ==
  [record EXCEPT !.snap = snap,
                 !.log = [s \in Slot |-> IF s <= Len(snap) THEN NoVote ELSE @[s]],
                 !.fetched = {s \in @ : s > Len(snap)}]

\* Node n makes a snapshot at slot k. Others may be sent it, and it may be all that n itself has when it starts
\* again. No slot of it was chosen at a ballot above the promise of n.
Snapshot(n, k) ==
  /\ k \in 1..Len(committed[n])
  /\ msgs' = msgs \cup {[type |-> "snap", bal |-> mem[n].bal, log |-> SubSeq(committed[n], 1, k)]}
  /\ UNCHANGED <<submitted, mem, disk, held, committed, leader, tally>>

\* Node n, which has a snapshot at slot k, forgets its votes up to there.
Compact(n, k) ==
  /\ k \in Floor(mem[n]) + 1..Len(committed[n])
  /\ LET snap == SubSeq(committed[n], 1, k)
     IN  /\ \E m \in msgs : m.type = "snap" /\ m.bal <= mem[n].bal /\ m.log = snap
         /\ Write(n, Compacted(mem[n], snap), {})
  /\ UNCHANGED <<submitted, committed, leader, tally>>

\* Node n, which is behind it, replaces its state by a snapshot, and joins its ballot. Without that it could
\* promise a lower ballot later, whose leader would count the slots as chosen at that ballot or below. A leader
\* learns so that somebody else leads.
Install(n) == \E m \in msgs :
  /\ m.type = "snap"
  /\ Len(m.log) > Len(committed[n])
  /\ Write(n, [Compacted(mem[n], m.log) EXCEPT !.bal = Max(@, m.bal)], {})
  /\ committed' = [committed EXCEPT ![n] = m.log]
  /\ IF leader[n].stage = "leading" /\ leader[n].index < Len(m.log)
     THEN StepDown(n, leader[n].bal + 1)
     ELSE StepDown(n, m.bal)
  /\ UNCHANGED submitted

\* The disk of node n has come to the next record: what reports it may leave.
Persist(n) ==
  /\ held[n] # <<>>
  /\ disk' = [disk EXCEPT ![n] = Head(held[n]).record]
  /\ msgs' = msgs \cup Head(held[n]).answers
  /\ held' = [held EXCEPT ![n] = Tail(@)]
  /\ UNCHANGED <<submitted, mem, committed, leader, tally>>

\* Node n crashed and starts again from its disk.
Restart(n) ==
  /\ mem' = [mem EXCEPT ![n] = disk[n]]
  /\ held' = [held EXCEPT ![n] = <<>>]
  /\ committed' = [committed EXCEPT ![n] = Restored(disk[n])]
  /\ leader' = [leader EXCEPT ![n] = Idle]
  /\ tally' = [tally EXCEPT ![n] = {}]
  /\ UNCHANGED <<msgs, submitted, disk>>
-----------------------------------------------------------------------------
Next ==
  \/ \E v \in Value : Submit(v)
  \/ \E n \in Acceptor :
       \/ \E b \in Ballot : Phase1a(n, b)
       \/ CountPage(n)
       \/ CountPromise(n)
       \/ Elected(n)
       \/ Repropose(n)
       \/ \E v \in Value : Phase2a(n, v)
       \/ Preempt(n)
       \/ Resign(n)
       \/ Phase1b(n)
       \/ MorePages(n)
       \/ Phase2b(n)
       \/ RepeatVote(n)
       \/ Join(n)
       \/ Refuse(n)
       \/ CountVote(n)
       \/ \E s \in Slot : Commit(n, s)
       \/ \E s \in Slot : FollowerCommit(n, s)
       \/ LearnNews(n)
       \/ \E s \in Slot : Tell(n, s)
       \/ \E b \in Ballot : Mark(n, b)
       \/ \E k \in Slot : Snapshot(n, k)
       \/ \E k \in Slot : Compact(n, k)
       \/ Install(n)
       \/ Persist(n)
       \/ Restart(n)

Spec == Init /\ [][Next]_vars
-----------------------------------------------------------------------------
Voted(a, b, s, v) == [type |-> "2b", acc |-> a, bal |-> b, slot |-> s, val |-> v] \in msgs

ChosenAt(b, s, v) == \E Q \in Quorum2 : \A a \in Q : Voted(a, b, s, v)

Chosen(s, v) == \E b \in Ballot : ChosenAt(b, s, v)

\* No two values are chosen in one slot.
Agreement == \A s \in Slot : LET all == {v \in Command : Chosen(s, v)} IN \A v, w \in all : v = w

\* No two nodes committed differently, in this life or, as their disks have it, in the next.
SlotAgreement ==
  LET all == {committed[n] : n \in Acceptor} \cup {Restored(disk[n]) : n \in Acceptor}
  IN  \A p, q \in all : \A s \in 1..Len(p) : s <= Len(q) => p[s] = q[s]

\* What a node commits in a slot, tells of it or has in a snapshot, was chosen in that slot, at a ballot that it
\* names or a lower one.
ChosenBy(b, s, v) == \E c \in {d \in Ballot : d <= b} : ChosenAt(c, s, v)

CommitAtBallot ==
  /\ \A n \in Acceptor :
       /\ \A s \in 1..Len(committed[n]) : ChosenBy(mem[n].bal, s, committed[n][s])
       /\ LET restored == Restored(disk[n])
          IN  \A s \in 1..Len(restored) : ChosenBy(disk[n].bal, s, restored[s])
  /\ \A m \in msgs : /\ m.type = "news" => ChosenBy(m.bal, m.slot, m.val)
                     /\ m.type = "snap" => \A s \in 1..Len(m.log) : ChosenBy(m.bal, s, m.log[s])

\* A commit index counts only what was chosen at its ballot or a lower one.
IndexAtBallot ==
  \A m \in msgs : m.type = "commit" => \A s \in 1..m.upto : \E v \in Command : ChosenBy(m.bal, s, v)

Validity ==
  /\ \A s \in Slot, v \in Command : Chosen(s, v) => v \in submitted \cup {Nop}
  /\ \A n \in Acceptor : \A s \in 1..Len(committed[n]) : committed[n][s] \in submitted \cup {Nop}

\* What was or will be chosen at a lower ballot a leader knows, will have from a snapshot, or proposes again.
LeaderCompleteness ==
  \A n \in Acceptor : leader[n].stage = "leading" =>
    \A s \in Max(leader[n].from, leader[n].floor + 1)..Last, b \in Ballot, v \in Command :
      b < leader[n].bal /\ v # leader[n].plan[s].val => ~ChosenAt(b, s, v)

\* A leader proposes nothing above a slot in which it proposed nothing and nothing was chosen before.
GapFilled ==
  \A m \in msgs : m.type = "2a" =>
    \A t \in 1..m.slot - 1 : \E o \in msgs :
      /\ o.type \in {"1a", "1b", "2a"}
      /\ o.bal = m.bal
      /\ \/ o.type = "2a" /\ o.slot = t
         \/ o.type = "1a" /\ t < o.from
         \/ o.type = "1b" /\ t <= o.floor

\* A leader proposes nothing in a slot that was compacted when its quorum promised.
NothingCompacted ==
  \A n \in Acceptor : leader[n].stage = "leading" =>
    ~\E m \in msgs : m.type = "2a" /\ m.bal = leader[n].bal /\ m.slot <= leader[n].floor

\* A decision never changes. What a node knows may be lost with its memory, and is then found again the same.
Stability ==
  [][/\ \A s \in Slot, v \in Command : Chosen(s, v) => Chosen(s, v)'
     /\ \A n \in Acceptor : /\ Floor(disk'[n]) >= Floor(disk[n])
                            /\ \A s \in 1..Len(committed[n]) :
                                 s <= Len(committed'[n]) => committed'[n][s] = committed[n][s]]_vars

\* What is reported is on the disk of who reports it, and stays until what was chosen takes its place.
DurableBeforeSend ==
  \A m \in msgs :
    /\ m.type = "1b" => disk[m.acc].bal >= m.bal /\ Floor(disk[m.acc]) >= m.floor
    /\ m.type = "2b" => /\ disk[m.acc].bal >= m.bal
                        /\ \/ disk[m.acc].log[m.slot].bal >= m.bal
                           \/ Floor(disk[m.acc]) >= m.slot
                           \/ m.slot \in disk[m.acc].fetched

\* A leader counts each vote of each node once, and only what was sent.
VotesOnce ==
  \A n \in Acceptor :
    /\ \A a \in leader[n].got : \E m \in msgs : m.type = "1b" /\ m.acc = a /\ m.bal = leader[n].bal /\ m.next = 0
    /\ \A m, o \in tally[n] : m.acc = o.acc /\ m.slot = o.slot => m = o

OneValuePerBallot ==
  LET phase2 == {m \in msgs : m.type \in {"2a", "2b"}}
  IN  \A m, o \in phase2 : m.bal = o.bal /\ m.slot = o.slot => m.val = o.val

BallotOwnership ==
  [][\A n \in Acceptor :
       LET b == leader'[n].bal
       IN  b # leader[n].bal /\ b >= 0 =>
             Owner(b) = n /\ ~\E m \in msgs : m.type = "1a" /\ m.bal = b]_vars

PromiseMonotone ==
  [][\A n \in Acceptor : /\ disk'[n].bal >= disk[n].bal /\ mem'[n].bal >= disk[n].bal
                         /\ mem'[n].bal >= mem[n].bal \/ mem'[n] = disk[n]]_vars

VoteAtMostPromise ==
  \A n \in Acceptor, s \in Slot : /\ mem[n].log[s].bal <= mem[n].bal
                                  /\ disk[n].log[s].bal <= disk[n].bal

\* Of every slot of its page a promise reports the last vote below its ballot, or what was chosen, or that the
\* slot is compacted.
PromiseTruthful ==
  \A m \in msgs : m.type = "1b" =>
    /\ \A vote \in m.votes : /\ vote.bal < m.bal
                              /\ \/ Voted(m.acc, vote.bal, vote.slot, vote.val)
                                 \/ ChosenBy(vote.bal, vote.slot, vote.val)
    /\ \A o \in msgs :
         /\ o.type = "2b" /\ o.acc = m.acc /\ o.bal < m.bal
         /\ o.slot >= m.from /\ o.slot > m.floor /\ (m.next = 0 \/ o.slot < m.next)
         => \E vote \in m.votes : /\ vote.slot = o.slot
                                  /\ vote.bal >= o.bal \/ ChosenBy(vote.bal, vote.slot, vote.val)

\* Nobody leads at a ballot below its own promise.
LeaderStands == \A n \in Acceptor : leader[n].stage # "idle" => leader[n].bal >= mem[n].bal

V(s) == INSTANCE Voting WITH
          Value <- Command,
          votes <- [a \in Acceptor |->
                     {<<m.bal, m.val>> : m \in {mm \in msgs : mm.type = "2b" /\ mm.acc = a /\ mm.slot = s}}],
          maxBal <- [a \in Acceptor |-> disk[a].bal]

VotesSafe == \A s \in Slot : V(s)!VotesSafe

\* Nothing else than what is proposed has been or will be chosen at a lower ballot.
AcceptSafe == \A m \in msgs : m.type = "2a" => V(m.slot)!SafeAt(m.bal, m.val)

\* In every slot each step is one of Voting, in the form that TLC evaluates fastest.
VotingSteps == [][\A s \in Slot : V(s)!vars' = V(s)!vars \/ V(s)!Next]_vars

\* In every slot: V(s)!Spec.
RefinesVoting == (\A s \in Slot : V(s)!Init) /\ VotingSteps
=============================================================================
