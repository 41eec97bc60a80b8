---------------------------- MODULE FastPaxosLog -----------------------------
(* The log of Fast Paxos as the code does it: an instance of Fast Paxos in  *)
(* each slot, one action for each thing a handler can do, one message at a  *)
(* time, and disks that lag behind.                                         *)
(*                                                                          *)
(* Phase 1 is for all slots at once: it raises an acceptor's floor. A slot  *)
(* may have a higher promise for itself, from a vote there or a report. So  *)
(* one collision does not end the fast ballot of every slot.                *)
(*                                                                          *)
(* A coordinator in office is obliged, by what phase 1 reported, in slots   *)
(* up to the highest one; it says from which slot on its ballot is free. In *)
(* a fast ballot whoever has a value puts it there himself (that message is *)
(* Any); in a classic one the coordinator does. A slot is recovered in the  *)
(* classic ballot of the round, by the votes of the ballot just before it,  *)
(* which stand for promises, and by reports that were asked for.            *)
(*                                                                          *)
(* That a slot is chosen is told without a ballot, since it stays so. Who   *)
(* learns it keeps the value in the place of a vote for another, and votes  *)
(* no more there. Of the slots of a snapshot nothing else is kept, and who  *)
(* installs one joins no ballot by it.                                      *)
(*                                                                          *)
(* A node has a memory and a disk, as in Paxos.tla: what must be written,   *)
(* and the answers that report it, wait in `held`; messages only ever       *)
(* gather in `msgs`. What was asked of others is repeated, and fetched,     *)
(* without being told here: `msgs` keeps it all.                            *)
(*                                                                          *)
(* Source: Lamport, "Fast Paxos" (2006), sections 2 and 3.                  *)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS Value,      \* what clients may submit
          Nop,        \* what is put where nothing can have been chosen and nobody has anything
          Acceptor,   \* the nodes
          Quorum1,    \* sets of nodes whose promises are enough
          Quorum2,    \* sets of nodes whose votes are enough at a classic ballot
          QuorumFast, \* sets of nodes whose votes are enough at a fast ballot
          Ballot,     \* naturals from 0
          Owner(_),   \* Owner(b): the only node that coordinates ballot b
          Fast(_),    \* whether ballot b is fast; 0 is
          Next1(_),   \* the ballot that follows b immediately, where b is fast; -1 where it is classic
          Classic(_), \* the classic ballot of the round of b
          First(_),   \* whether ballot b is one that a coordinator begins, by phase 1
          Last,       \* the slots are 1..Last
          PageSize,   \* of how many slots one page of a promise tells at most
          None

QuorumsIntersect ==
  /\ \A Q \in Quorum1, R \in Quorum2 : Q \cap R # {}
  /\ \A Q \in Quorum1, R, S \in QuorumFast : Q \cap R \cap S # {}

ASSUME Nop \notin Value /\ None \notin Value \cup {Nop}
ASSUME QuorumsIntersect

VARIABLES
  msgs,       \* every message that ever left a node
  submitted,  \* values that clients have asked for
  mem,        \* mem[n]: what node n has written, or has waiting to be written
  disk,       \* disk[n]: the same as its disk holds it
  held,       \* held[n]: what waits for the disk, in order: a record, and the answers that report it
  known,      \* known[n]: the slots above its snapshot that node n knows to be chosen
  coord,      \* coord[n]: the candidacy or office of node n
  tally       \* tally[n]: the votes that node n has counted
vars == <<msgs, submitted, mem, disk, held, known, coord, tally>>

Slot == 1..Last

Command == Value \cup {Nop}

Bottom == Ballot \cup {-1}

Log == UNION {[1..k -> Command] : k \in 0..Last}

Entry == [prom : Bottom,               \* a promise for the slot alone
          bal : Bottom,                \* of the last vote, or one at which what was chosen is safe
          val : Command \cup {None},
          chosen : BOOLEAN]            \* whether it is what was chosen, in the place of a vote

Record == [floor : Ballot, log : [Slot -> Entry], snap : Log, hint : 0..Last]

Told == [slot : Slot, bal : Ballot, val : Command]

Promises == [type : {"1b"}, acc : Acceptor, bal : Ballot, from : 1..Last + 1, next : 0..Last, floor : 0..Last,
             votes : SUBSET Told]

Reports == [type : {"report"}, acc : Acceptor, bal : Ballot, slot : Slot, mbal : Bottom,
            mval : Command \cup {None}]

Votes == [type : {"2b"}, acc : Acceptor, bal : Ballot, slot : Slot, val : Command]

IsMessage(m) ==
  CASE m.type = "1a" -> m \in [type : {"1a"}, bal : Ballot, from : 1..Last + 1]
    [] m.type = "1b" -> m \in Promises
    [] m.type = "beat" -> m \in [type : {"beat"}, bal : Ballot, first : 1..Last + 1]
    [] m.type \in {"propose", "2a"} -> m \in [type : {"propose", "2a"}, bal : Ballot, slot : Slot, val : Command]
    [] m.type = "2b" -> m \in Votes
    [] m.type = "ask" -> m \in [type : {"ask"}, bal : Ballot, slot : Slot]
    [] m.type = "report" -> m \in Reports
    [] m.type = "nack" -> m \in [type : {"nack"}, bal : Ballot, promised : Ballot]
    [] m.type = "news" -> m \in [type : {"news"}, slot : Slot, bal : Ballot, val : Command]
    [] m.type = "snap" -> m \in [type : {"snap"}, log : Log]
    [] OTHER -> FALSE

Anything == "any"

TypeOK ==
  /\ \A m \in msgs : IsMessage(m)
  /\ submitted \subseteq Value
  /\ mem \in [Acceptor -> Record]
  /\ disk \in [Acceptor -> Record]
  /\ \A n \in Acceptor : \A i \in DOMAIN held[n] :
       held[n][i].record \in Record /\ \A m \in held[n][i].answers : IsMessage(m)
  /\ known \in [Acceptor -> SUBSET Slot]
  /\ \A n \in Acceptor :
       /\ coord[n].stage \in {"idle", "preparing", "office"} /\ coord[n].bal \in Bottom
       /\ coord[n].from \in 1..Last + 1 /\ coord[n].floor \in 0..Last /\ coord[n].first \in 1..Last + 1
       /\ coord[n].got \subseteq Acceptor /\ coord[n].pages \subseteq msgs /\ coord[n].asked \subseteq msgs
       /\ \A s \in Slot : coord[n].plan[s] \subseteq Command \cup {Anything}
       /\ tally[n] \subseteq msgs
-----------------------------------------------------------------------------
NoEntry == [prom |-> -1, bal |-> -1, val |-> None, chosen |-> FALSE]

Nothing == [floor |-> 0, log |-> [s \in Slot |-> NoEntry], snap |-> <<>>, hint |-> 0]

NoPlan == [s \in Slot |-> {}]

Idle == [stage |-> "idle", bal |-> -1, from |-> 1, floor |-> 0, first |-> 1, pages |-> {}, got |-> {},
         reports |-> {}, plan |-> NoPlan, asked |-> {}]

Init == /\ msgs = {}
        /\ submitted = {}
        /\ mem = [n \in Acceptor |-> Nothing]
        /\ disk = [n \in Acceptor |-> Nothing]
        /\ held = [n \in Acceptor |-> <<>>]
        /\ known = [n \in Acceptor |-> {}]
        /\ coord = [n \in Acceptor |-> Idle]
        /\ tally = [n \in Acceptor |-> {}]

Max(a, b) == IF a > b THEN a ELSE b

Highest(numbers) == CHOOSE k \in numbers : \A l \in numbers : l <= k

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

Send(messages) ==
  /\ msgs' = msgs \cup messages
  /\ UNCHANGED <<submitted, mem, disk, held, known, tally>>

Compacted(record) == Len(record.snap)

\* Nothing below it is taken part in, in a slot.
Promised(record, s) == Highest({record.floor, record.log[s].prom, record.log[s].bal})

\* The highest ballot that is promised in any slot.
Joined(record) == Highest({Promised(record, s) : s \in Slot})

\* Ballots at which node n stands, in some slot.
Stands(n) == {mem[n].floor} \cup {Promised(mem[n], s) : s \in Slot}

IsKnown(n, s) == s <= Compacted(mem[n]) \/ s \in known[n]

\* Up to which slot node n knows all to be chosen.
Committed(n) == CHOOSE k \in 0..Last : /\ \A s \in 1..k : IsKnown(n, s)
                                       /\ k = Last \/ ~IsKnown(n, k + 1)

ValueOf(record, s) == IF s <= Len(record.snap) THEN record.snap[s] ELSE record.log[s].val

\* Who sees a higher ballot than its own ends what it is about.
StepDown(n, b) == coord' = [coord EXCEPT ![n] = IF @.bal < b THEN Idle ELSE @]

\* ---- the rule ------------------------------------------------------------

Sources(messages) == {m.acc : m \in messages}

\* v may have been chosen at a fast ballot, or may be yet, if some fast quorum has nobody in Q who did not vote for it.
Choosable(Q, voters) == \E R \in QuorumFast : R \cap Q \subseteq voters

\* What may be proposed, by reports [acc, mbal, mval] of a phase-1 quorum; {} if they report no vote.
Allowed(reports) ==
  LET k == Highest({r.mbal : r \in reports})
      last == {r \in reports : r.mbal = k}
      values == {r.mval : r \in last}
      bound == {v \in values : Choosable(Sources(reports), {r.acc : r \in {l \in last : l.mval = v}})}
  IN  IF k = -1 THEN {}
      ELSE IF Cardinality(values) = 1 THEN values
      ELSE IF bound # {} THEN bound
      ELSE {Anything}

\* Where no vote is reported the coordinator, which has nothing for the slot, puts a no-op.
Plan(reports) == IF Allowed(reports) = {} THEN {Nop} ELSE Allowed(reports)

Within(v, plan) == v \in plan \/ (Anything \in plan /\ v \in submitted)

\* ---- clients, proposers --------------------------------------------------

\* A client asks for v.
Submit(v) ==
  /\ submitted' = submitted \cup {v}
  /\ UNCHANGED <<msgs, mem, disk, held, known, coord, tally>>

\* From which slot on the fast ballot b is open to all, as far as anybody was told.
IsOpen(b, s) == Fast(b) /\ (b = 0 \/ \E m \in msgs : m.type = "beat" /\ m.bal = b /\ m.first <= s)

\* Node n, which stands at ballot b, asks every acceptor for slot s.
Propose(n, b, s, v) ==
  /\ b = mem[n].floor
  /\ IsOpen(b, s)
  /\ v \in submitted
  /\ ~IsKnown(n, s)
  /\ Send({[type |-> "propose", bal |-> b, slot |-> s, val |-> v]})
  /\ UNCHANGED coord

\* ---- phase 1, for all slots ----------------------------------------------

\* Node n begins a round with ballot b, above all it joined or used in this life and in those before. A round is begun
\* once, fast or classic: what is proposed in its classic ballot is by one phase 1. It asks about all slots from the
\* first that it does not know to be chosen.
Phase1a(n, b) ==
  /\ First(b) /\ Owner(b) = n
  /\ b > mem[n].floor
  /\ \A m \in msgs : m.type = "1a" /\ Owner(m.bal) = n => m.bal < b /\ Classic(m.bal) # Classic(b)
  /\ LET from == Committed(n) + 1
     IN  /\ Send({[type |-> "1a", bal |-> b, from |-> from]})
         /\ coord' = [coord EXCEPT ![n] =
              [Idle EXCEPT !.stage = "preparing", !.bal = b, !.from = from, !.floor = from - 1]]

PagesOf(n, a) == {m \in coord[n].pages : m.acc = a}

\* Page m is the one that comes next from who sent it.
TakesIn(n, m) ==
  /\ m.type = "1b"
  /\ coord[n].stage = "preparing"
  /\ m.bal = coord[n].bal
  /\ m.acc \notin coord[n].got
  /\ LET pages == PagesOf(n, m.acc)
     IN  m.from = IF pages = {} THEN coord[n].from ELSE Highest({o.next : o \in pages})

\* Node n takes in a page of a promise, which is not the last one.
CountPage(n) == \E m \in msgs :
  /\ TakesIn(n, m)
  /\ m.next # 0
  /\ coord' = [coord EXCEPT ![n].pages = @ \cup {m}]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, known, tally>>

\* A candidacy to which these whole promises were given.
After(candidacy, pages) ==
  [candidacy EXCEPT
     !.pages = @ \ pages,
     !.got = @ \cup Sources(pages),
     !.reports = @ \cup UNION {{[acc |-> m.acc, slot |-> r.slot, bal |-> r.bal, val |-> r.val] : r \in m.votes} :
                               m \in pages},
     !.floor = Highest({@} \cup {m.floor : m \in pages})]

\* Node n takes in the last page of a promise, and only now the promise counts.
CountPromise(n) == \E m \in msgs :
  /\ TakesIn(n, m)
  /\ m.next = 0
  /\ coord' = [coord EXCEPT ![n] = After(@, PagesOf(n, m.acc) \cup {m})]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, known, tally>>

\* What the promises of a candidacy say of a slot.
OfSlot(c, s) ==
  {LET told == {r \in c.reports : r.acc = a /\ r.slot = s}
   IN  IF told = {} THEN [acc |-> a, mbal |-> -1, mval |-> None]
       ELSE LET r == CHOOSE r \in told : TRUE IN [acc |-> a, mbal |-> r.bal, mval |-> r.val] :
   a \in c.got}

\* The last slot in which something is owed, or that somebody compacted: nothing was voted for above it.
Top(c) == Highest({c.floor} \cup {r.slot : r \in c.reports})

\* The office that follows from a candidacy.
InOffice(c) ==
  [Idle EXCEPT !.stage = "office", !.bal = c.bal, !.from = c.from, !.floor = c.floor, !.first = Top(c) + 1,
               !.got = c.got,
               !.plan = [s \in Slot |-> IF s > c.floor /\ s <= Top(c) THEN Plan(OfSlot(c, s)) ELSE {}]]

\* Node n is in office, and tells from which slot on its ballot is free.
TakeOffice(n, office) ==
  /\ coord' = [coord EXCEPT ![n] = office]
  /\ Send({[type |-> "beat", bal |-> office.bal, first |-> office.first]})

\* Nobody begins ballot 0: its coordinator is in office from the start, in its first life.
FirstOffice(n) ==
  /\ coord[n].stage = "idle"
  /\ Owner(0) = n
  /\ mem[n].floor = 0
  /\ ~\E m \in msgs : m.type = "beat" /\ m.bal = 0
  /\ TakeOffice(n, [Idle EXCEPT !.stage = "office", !.bal = 0])

ByPromises(n) ==
  /\ coord[n].stage = "preparing"
  /\ coord[n].got \in Quorum1
  /\ TakeOffice(n, InOffice(coord[n]))

\* With the promises of a quorum, or at ballot 0 without, node n coordinates.
Elected(n) ==
  /\ coord[n].stage # "office"
  /\ ByPromises(n) \/ FirstOffice(n)

\* ---- coordinators --------------------------------------------------------

Asked(b, s) == \E m \in msgs : m.type = "2a" /\ m.bal = b /\ m.slot = s

\* Node n proposes v, once at a ballot in a slot, unless it knows what was chosen there.
Put(n, b, s, v) ==
  /\ ~IsKnown(n, s)
  /\ ~Asked(b, s)
  /\ Send({[type |-> "2a", bal |-> b, slot |-> s, val |-> v]})
  /\ UNCHANGED coord

\* Node n proposes at its ballot what phase 1 obliges it to.
Repropose(n, s, v) ==
  /\ coord[n].stage = "office"
  /\ Within(v, coord[n].plan[s])
  /\ Put(n, coord[n].bal, s, v)

\* What a coordinator may place of its own.
Fresh(n) == submitted \cup {Nop}

\* In a classic ballot node n places a command, above all that phase 1 reported and next to what it placed before; a
\* no-op where others were heard to be.
Phase2a(n, s, v) ==
  /\ coord[n].stage = "office"
  /\ ~Fast(coord[n].bal)
  /\ s >= coord[n].first
  /\ \A t \in coord[n].first..s - 1 : IsKnown(n, t) \/ Asked(coord[n].bal, t)
  /\ v \in Fresh(n)
  /\ Put(n, coord[n].bal, s, v)

\* Node n asks for every acceptor's promise in slot s alone, for the classic ballot of its round.
AskSlot(n, s) ==
  /\ coord[n].stage = "office"
  /\ Fast(coord[n].bal)
  /\ s > coord[n].floor
  /\ Send({[type |-> "ask", bal |-> Classic(coord[n].bal), slot |-> s]})
  /\ UNCHANGED coord

\* Node n takes in an acceptor's promise for a slot.
CountReport(n) == \E m \in msgs :
  /\ m.type = "report"
  /\ coord[n].stage = "office"
  /\ m.bal = Classic(coord[n].bal) /\ m.bal # coord[n].bal
  /\ m \notin coord[n].asked
  /\ coord' = [coord EXCEPT ![n].asked = @ \cup {m}]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, known, tally>>

\* Sets of votes in slot s at ballot c that node n may go by: what it has counted.
Counted(n, s, c) == {{m \in tally[n] : m.slot = s /\ m.bal = c}}

\* Sets of reports of slot s that node n may go by.
Heard(n, s) == {{m \in coord[n].asked : m.slot = s}}

AsReports(messages) == {[acc |-> m.acc, mbal |-> m.bal, mval |-> m.val] : m \in messages}

\* Who recovers ballot c, in the one that follows it, may go by votes at c, which stand for promises, and by reports.
Together(votes, reports) ==
  AsReports({m \in votes : m.acc \notin Sources(reports)})
    \cup {[acc |-> m.acc, mbal |-> m.mbal, mval |-> m.mval] : m \in reports}

\* Node n recovers slot s in the classic ballot of its round.
Recover(n, s, v) ==
  /\ coord[n].stage = "office"
  /\ Fast(coord[n].bal)
  /\ s > coord[n].floor
  /\ \E c \in Ballot : \E votes \in Counted(n, s, c), reports \in Heard(n, s) :
       /\ Next1(c) = Classic(coord[n].bal)
       /\ LET all == Together(votes, reports)
          IN  Sources(all) \in Quorum1 /\ Within(v, Plan(all))
  /\ Put(n, Classic(coord[n].bal), s, v)

\* Node n hears that somebody joined another round.
Preempt(n) == \E m \in msgs :
  /\ m.type = "nack"
  /\ coord[n].stage # "idle"
  /\ m.promised > coord[n].bal
  /\ StepDown(n, m.promised)
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, known, tally>>

\* Node n gives up its candidacy or office by itself: a quorum is silent, or another round should follow.
Resign(n) ==
  /\ coord[n].stage # "idle"
  /\ coord' = [coord EXCEPT ![n] = Idle]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, known, tally>>

\* ---- acceptors: promises -------------------------------------------------

\* The page of n's votes from slot `from` on, for ballot b, when n has `record`.
Page(n, record, b, from) ==
  LET voted == {s \in Slot : s >= from /\ s > Compacted(record) /\ record.log[s].val # None}
      told == {s \in voted : Cardinality({t \in voted : t < s}) < PageSize}
      rest == voted \ told
  IN  [type |-> "1b", acc |-> n, bal |-> b, from |-> from, floor |-> Compacted(record),
       next |-> IF rest = {} THEN 0 ELSE CHOOSE s \in rest : \A t \in rest : s <= t,
       votes |-> {[slot |-> s, bal |-> record.log[s].bal, val |-> record.log[s].val] : s \in told}]

\* No vote of a promise of ballot b may be at b or above; and none is given below one for a slot.
MayPromise(record, b) == b >= Joined(record) /\ \A s \in Slot : record.log[s].bal < b

\* Node n promises a ballot above its floor, in all slots, and sends the first page of what it voted for.
Phase1b(n) == \E m \in msgs :
  /\ m.type = "1a"
  /\ m.bal > mem[n].floor
  /\ MayPromise(mem[n], m.bal)
  /\ LET record == [mem[n] EXCEPT !.floor = m.bal]
     IN  Write(n, record, {Page(n, record, m.bal, m.from)})
  /\ StepDown(n, m.bal)
  /\ UNCHANGED <<submitted, known, tally>>

\* What node n sent, or will when its disk has come so far.
Answers(n) == msgs \cup UNION {held[n][i].answers : i \in DOMAIN held[n]}

Given1b(n, b) == {m \in Answers(n) : m.type = "1b" /\ m.acc = n /\ m.bal = b}

\* Node n, which still stands at ballot m.bal and has no vote at it, sends the next page, or one once more.
MorePages(n) == \E m \in msgs :
  /\ m.type = "1a"
  /\ m.bal = mem[n].floor
  /\ MayPromise(mem[n], m.bal)
  /\ \E from \in {m.from} \cup ({o.next : o \in Given1b(n, m.bal)} \ {0}) :
       Report(n, {Page(n, mem[n], m.bal, from)})
  /\ UNCHANGED <<submitted, known, coord, tally>>

\* Node n hears of a ballot above its floor, and joins it in all slots.
Join(n) == \E m \in msgs :
  /\ m.type \in {"beat", "1a"}
  /\ m.bal > mem[n].floor
  /\ Write(n, [mem[n] EXCEPT !.floor = m.bal], {})
  /\ StepDown(n, m.bal)
  /\ UNCHANGED <<submitted, known, tally>>

\* Node n promises a ballot in one slot alone, and reports its vote there.
ReportSlot(n) == \E m \in msgs :
  /\ m.type = "ask"
  /\ ~IsKnown(n, m.slot)
  /\ m.bal >= Promised(mem[n], m.slot)
  /\ m.bal # mem[n].log[m.slot].bal
  /\ LET entry == mem[n].log[m.slot]
     IN  Write(n, [mem[n] EXCEPT !.log[m.slot].prom = m.bal],
               {[type |-> "report", acc |-> n, bal |-> m.bal, slot |-> m.slot, mbal |-> entry.bal,
                 mval |-> entry.val]})
  /\ UNCHANGED <<submitted, known, coord, tally>>

\* What comes below a promise of node n is refused.
Refuse(n) == \E m \in msgs : \E b \in Stands(n) :
  /\ m.type \in {"1a", "beat", "propose", "2a", "ask"}
  /\ m.bal < b
  /\ Send({[type |-> "nack", bal |-> m.bal, promised |-> b]})
  /\ UNCHANGED coord

\* ---- acceptors: votes ----------------------------------------------------

Vote(n, b, s, v) ==
  /\ ~IsKnown(n, s)
  /\ b >= Promised(mem[n], s)
  /\ b # mem[n].log[s].bal
  /\ Write(n, [mem[n] EXCEPT !.log[s].bal = b, !.log[s].val = v],
           {[type |-> "2b", acc |-> n, bal |-> b, slot |-> s, val |-> v]})
  /\ UNCHANGED <<submitted, known, coord, tally>>

\* Node n votes for the first value that it is asked for in a slot at a ballot, whoever asks.
Phase2b(n) == \E m \in msgs : m.type \in {"propose", "2a"} /\ Vote(n, m.bal, m.slot, m.val)

\* Node n recovers fast ballot c of slot s in the one that follows it, b, which is fast: it votes there for what the
\* votes lead to.
RecoverVote(n, b, s, v) ==
  /\ Fast(b)
  /\ \E c \in Ballot : \E votes \in Counted(n, s, c) :
       /\ Next1(c) = b
       /\ Sources(votes) \in Quorum1
       /\ Within(v, Allowed(AsReports(votes)))
  /\ Vote(n, b, s, v)

\* Asked by whomever, node n answers the vote that it cast last in a slot.
RepeatVote(n, s) ==
  /\ ~IsKnown(n, s)
  /\ mem[n].log[s].val # None
  /\ [type |-> "2b", acc |-> n, bal |-> mem[n].log[s].bal, slot |-> s, val |-> mem[n].log[s].val] \in Answers(n)
  /\ UNCHANGED vars

\* ---- learners ------------------------------------------------------------

\* Node n counts one vote; votes go to all.
CountVote(n) == \E m \in msgs :
  /\ m.type = "2b"
  /\ ~IsKnown(n, m.slot)
  /\ m \notin tally[n]
  /\ tally' = [tally EXCEPT ![n] = @ \cup {m}]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, known, coord>>

Voters(n, b, s, v) ==
  {{m.acc : m \in {o \in votes : o.val = v}} : votes \in Counted(n, s, b)}

Enough(b) == IF Fast(b) THEN QuorumFast ELSE Quorum2

\* What a node holds that learned that v was chosen in slot s, at ballot b or safe there. For what it voted for it
\* writes nothing; anything else gives way.
Learned(record, b, s, v) ==
  IF record.log[s].val = v THEN record
  ELSE [record EXCEPT !.log[s] = [prom |-> @.prom, bal |-> b, val |-> v, chosen |-> TRUE]]

Know(n, b, s, v) ==
  /\ known' = [known EXCEPT ![n] = @ \cup {s}]
  /\ tally' = [tally EXCEPT ![n] = {m \in @ : m.slot # s}]
  /\ LET record == Learned(mem[n], b, s, v)
     IN  IF record = mem[n] THEN UNCHANGED <<msgs, mem, disk, held>> ELSE Write(n, record, {})
  /\ UNCHANGED <<submitted, coord>>

\* Node n has counted the votes of a quorum at one ballot: it knows what was chosen in the slot.
Learn(n, b, s, v) ==
  /\ ~IsKnown(n, s)
  /\ \E voters \in Voters(n, b, s, v) : voters \in Enough(b)
  /\ Know(n, b, s, v)

\* Node n hears what was chosen in a slot.
LearnNews(n) == \E m \in msgs :
  /\ m.type = "news"
  /\ ~IsKnown(n, m.slot)
  /\ Know(n, m.bal, m.slot, m.val)

\* Node n tells what was chosen in a slot, and the ballot at which it holds it.
Tell(n, s) ==
  /\ s \in known[n]
  /\ Send({[type |-> "news", slot |-> s, bal |-> mem[n].log[s].bal, val |-> mem[n].log[s].val]})
  /\ UNCHANGED coord

\* ---- disks and snapshots -------------------------------------------------

\* Node n notes that the records up to slot k hold what was chosen.
Mark(n, k) ==
  /\ k \in mem[n].hint + 1..Committed(n)
  /\ Write(n, [mem[n] EXCEPT !.hint = k], {})
  /\ UNCHANGED <<submitted, known, coord, tally>>

\* What a node knows to be chosen, above its snapshot, that starts from `record`.
Restored(record) ==
  {s \in Slot : /\ s > Compacted(record)
                /\ \/ record.log[s].chosen
                   \/ s <= record.hint /\ \A t \in Compacted(record) + 1..s : record.log[t].val # None}

\* The record with a snapshot in the place of what it covers.
WithSnapshot(record, snap) ==
  [record EXCEPT !.snap = snap, !.log = [s \in Slot |-> IF s <= Len(snap) THEN NoEntry ELSE @[s]]]

History(n, k) == [s \in 1..k |-> ValueOf(mem[n], s)]

\* Node n makes a snapshot at slot k, which others may be sent, and which may be all that n has when it starts again.
Snapshot(n, k) ==
  /\ k \in 1..Committed(n)
  /\ Send({[type |-> "snap", log |-> History(n, k)]})
  /\ UNCHANGED coord

\* Node n forgets what a snapshot covers.
Compact(n, k) ==
  /\ k \in Compacted(mem[n]) + 1..Committed(n)
  /\ [type |-> "snap", log |-> History(n, k)] \in msgs
  /\ Write(n, WithSnapshot(mem[n], History(n, k)), {})
  /\ known' = [known EXCEPT ![n] = {s \in @ : s > k}]
  /\ UNCHANGED <<submitted, coord, tally>>

\* Node n, which is behind it, replaces its state by a snapshot. It joins no ballot: that the slots are chosen is
\* true at any.
Install(n) == \E m \in msgs :
  /\ m.type = "snap"
  /\ Len(m.log) > Committed(n)
  /\ Write(n, WithSnapshot(mem[n], m.log), {})
  /\ known' = [known EXCEPT ![n] = {s \in @ : s > Len(m.log)}]
  /\ tally' = [tally EXCEPT ![n] = {v \in @ : v.slot > Len(m.log)}]
  /\ UNCHANGED <<submitted, coord>>

\* The disk of node n has come to the next record: what reports it may leave.
Persist(n) ==
  /\ held[n] # <<>>
  /\ disk' = [disk EXCEPT ![n] = Head(held[n]).record]
  /\ msgs' = msgs \cup Head(held[n]).answers
  /\ held' = [held EXCEPT ![n] = Tail(@)]
  /\ UNCHANGED <<submitted, mem, known, coord, tally>>

\* Node n crashed and starts again from its disk.
Restart(n) ==
  /\ mem' = [mem EXCEPT ![n] = disk[n]]
  /\ held' = [held EXCEPT ![n] = <<>>]
  /\ known' = [known EXCEPT ![n] = Restored(disk[n])]
  /\ coord' = [coord EXCEPT ![n] = Idle]
  /\ tally' = [tally EXCEPT ![n] = {}]
  /\ UNCHANGED <<msgs, submitted, disk>>
-----------------------------------------------------------------------------
Next ==
  \/ \E v \in Value : Submit(v)
  \/ \E n \in Acceptor :
       \/ \E b \in Ballot, s \in Slot, v \in Value : Propose(n, b, s, v)
       \/ \E b \in Ballot : Phase1a(n, b)
       \/ CountPage(n)
       \/ CountPromise(n)
       \/ Elected(n)
       \/ \E s \in Slot, v \in Command : Repropose(n, s, v)
       \/ \E s \in Slot, v \in Command : Phase2a(n, s, v)
       \/ \E s \in Slot : AskSlot(n, s)
       \/ CountReport(n)
       \/ \E s \in Slot, v \in Command : Recover(n, s, v)
       \/ Preempt(n)
       \/ Resign(n)
       \/ Phase1b(n)
       \/ MorePages(n)
       \/ Join(n)
       \/ ReportSlot(n)
       \/ Refuse(n)
       \/ Phase2b(n)
       \/ \E b \in Ballot, s \in Slot, v \in Command : RecoverVote(n, b, s, v)
       \/ \E s \in Slot : RepeatVote(n, s)
       \/ CountVote(n)
       \/ \E b \in Ballot, s \in Slot, v \in Command : Learn(n, b, s, v)
       \/ LearnNews(n)
       \/ \E s \in Slot : Tell(n, s)
       \/ \E k \in Slot : Mark(n, k)
       \/ \E k \in Slot : Snapshot(n, k)
       \/ \E k \in Slot : Compact(n, k)
       \/ Install(n)
       \/ Persist(n)
       \/ Restart(n)

Spec == Init /\ [][Next]_vars
-----------------------------------------------------------------------------
Sent(type) == {m \in msgs : m.type = type}

Voted(a, b, s, v) == [type |-> "2b", acc |-> a, bal |-> b, slot |-> s, val |-> v] \in msgs

Chosen(s, v) == \E b \in Ballot : \E Q \in Enough(b) : \A a \in Q : Voted(a, b, s, v)

\* No two values are chosen in one slot.
Agreement == \A s \in Slot : LET all == {v \in Command : Chosen(s, v)} IN Cardinality(all) <= 1

\* No two nodes know different values to be chosen, in this life or, as their disks have it, in the next.
SlotAgreement ==
  LET now == {[record |-> mem[n], known |-> known[n]] : n \in Acceptor}
      next == {[record |-> disk[n], known |-> Restored(disk[n])] : n \in Acceptor}
      Has(x, s) == s <= Compacted(x.record) \/ s \in x.known
  IN  \A x, y \in now \cup next : \A s \in Slot :
        Has(x, s) /\ Has(y, s) => ValueOf(x.record, s) = ValueOf(y.record, s)

\* What a node knows to be chosen, tells of or has in a snapshot, was chosen in that slot: by one full quorum, at one
\* ballot.
FastChosen ==
  /\ \A n \in Acceptor :
       /\ \A s \in known[n] : Chosen(s, mem[n].log[s].val)
       /\ \A s \in Restored(disk[n]) : Chosen(s, disk[n].log[s].val)
       /\ \A s \in 1..Compacted(mem[n]) : Chosen(s, mem[n].snap[s])
  /\ \A m \in Sent("news") : Chosen(m.slot, m.val)
  /\ \A m \in Sent("snap") : \A s \in 1..Len(m.log) : Chosen(s, m.log[s])

Validity == \A s \in Slot, v \in Command : Chosen(s, v) => v \in submitted \cup {Nop}

\* A decision never changes. What a node knows may be lost with its memory, and is then found again the same.
Stability ==
  [][/\ \A s \in Slot, v \in Command : Chosen(s, v) => Chosen(s, v)'
     /\ \A n \in Acceptor :
          /\ Compacted(disk'[n]) >= Compacted(disk[n])
          /\ \A s \in Slot : IsKnown(n, s) /\ IsKnown(n, s)' => ValueOf(mem[n], s) = ValueOf(mem'[n], s)]_vars

Forgotten(record, s) == s <= Compacted(record) \/ record.log[s].chosen

\* What is reported is on the disk of who reports it, and stays until what was chosen takes its place.
DurableBeforeSend ==
  \A m \in msgs :
    /\ m.type = "1b" => disk[m.acc].floor >= m.bal /\ Compacted(disk[m.acc]) >= m.floor
    /\ m.type \in {"report", "2b"} =>
         Forgotten(disk[m.acc], m.slot) \/ Promised(disk[m.acc], m.slot) >= m.bal
    /\ m.type = "2b" => Forgotten(disk[m.acc], m.slot) \/ disk[m.acc].log[m.slot].bal >= m.bal

VotesOnce ==
  \A n \in Acceptor :
    /\ \A m, o \in tally[n] : m.acc = o.acc /\ m.bal = o.bal /\ m.slot = o.slot => m = o
    /\ \A m, o \in coord[n].reports : m.acc = o.acc /\ m.slot = o.slot => m = o

\* An acceptor has one vote at a ballot in a slot, at a fast ballot too.
OneVotePerRound ==
  \A m, o \in Sent("2b") : m.acc = o.acc /\ m.bal = o.bal /\ m.slot = o.slot => m = o

\* A classic ballot has one value in a slot, and its coordinator proposes one at any.
OneValuePerBallot ==
  /\ \A m, o \in Sent("2b") : m.bal = o.bal /\ m.slot = o.slot /\ ~Fast(m.bal) => m.val = o.val
  /\ \A m, o \in Sent("2a") : m.bal = o.bal /\ m.slot = o.slot => m.val = o.val

BallotOwnership ==
  [][\A n \in Acceptor :
       LET b == coord'[n].bal
       IN  b # coord[n].bal /\ b >= 0 =>
             Owner(b) = n /\ ~\E m \in msgs : m.type \in {"1a", "beat"} /\ m.bal = b]_vars

\* Promises never go down, over restarts neither as far as they were on disk; for a slot alone until what was chosen
\* there is known, for then no vote follows.
PromiseMonotone ==
  [][\A n \in Acceptor :
       /\ disk'[n].floor >= disk[n].floor /\ mem'[n].floor >= disk[n].floor
       /\ mem'[n].floor >= mem[n].floor \/ mem'[n] = disk[n]
       /\ \A s \in Slot : /\ Forgotten(disk'[n], s) \/ Promised(disk'[n], s) >= Promised(disk[n], s)
                          /\ \/ Forgotten(mem'[n], s)
                             \/ Promised(mem'[n], s) >= Promised(disk[n], s)]_vars

\* No vote is cast below a promise, for all slots or for its own.
VoteAtMostPromise ==
  [][\A n \in Acceptor, s \in Slot :
       LET entry == mem'[n].log[s]
       IN  entry.bal = mem[n].log[s].bal \/ Forgotten(mem'[n], s) \/ mem'[n] = disk[n]
             \/ entry.bal >= Promised(mem[n], s)]_vars

\* A vote, or what was chosen, is reported for every vote below the ballot that was promised.
Covers(votes, bal, o) == \E r \in votes : r.slot = o.slot /\ r.bal < bal /\ (r.bal >= o.bal \/ Chosen(r.slot, r.val))

PromiseTruthful ==
  /\ \A m \in Sent("1b") :
       /\ \A r \in m.votes : r.bal < m.bal /\ (Voted(m.acc, r.bal, r.slot, r.val) \/ Chosen(r.slot, r.val))
       /\ \A o \in Sent("2b") :
            /\ o.acc = m.acc /\ o.bal < m.bal
            /\ o.slot >= m.from /\ o.slot > m.floor /\ (m.next = 0 \/ o.slot < m.next)
            => Covers(m.votes, m.bal, o)
  /\ \A m \in Sent("report") :
       /\ m.mbal < m.bal
       /\ m.mbal >= 0 => Voted(m.acc, m.mbal, m.slot, m.mval) \/ Chosen(m.slot, m.mval)
       /\ \A o \in Sent("2b") :
            o.acc = m.acc /\ o.slot = m.slot /\ o.bal < m.bal =>
              Covers({[slot |-> m.slot, bal |-> m.mbal, val |-> m.mval]}, m.bal, o)

\* Whole promises of ballot b: of one page, or what an acceptor's pages say together.
WholePromises(b) ==
  LET pages == {m \in Sent("1b") : m.bal = b}
      Begins(m) == \A o \in Sent("1a") : o.bal = b => m.from = o.from
      Of(a) == {m \in pages : m.acc = a}
      whole == {a \in Acceptor : (\E m \in Of(a) : Begins(m) /\ m.next # 0) /\ (\E m \in Of(a) : m.next = 0)}
  IN  {[acc |-> m.acc, floor |-> m.floor, votes |-> m.votes] : m \in {o \in pages : Begins(o) /\ o.next = 0}}
      \cup {[acc |-> a, floor |-> Highest({m.floor : m \in Of(a)}), votes |-> UNION {m.votes : m \in Of(a)}] :
            a \in whole}

\* Sets of reports of slot s that anybody may decide by at ballot b.
Bases(b, s) ==
  LET promised == {[acc |-> m.acc, mbal |-> -1, mval |-> None] :
                     m \in {p \in WholePromises(b) : ~\E r \in p.votes : r.slot = s}}
                  \cup UNION {{[acc |-> m.acc, mbal |-> r.bal, mval |-> r.val] :
                                 r \in {q \in m.votes : q.slot = s}} : m \in WholePromises(b)}
      voted == AsReports({m \in Sent("2b") : Next1(m.bal) = b /\ m.slot = s})
      asked == {[acc |-> m.acc, mbal |-> m.mbal, mval |-> m.mval] :
                  m \in {r \in Sent("report") : r.bal = b /\ r.slot = s}}
      One(S) == \A x, y \in S : x.acc = y.acc => x = y
  IN  {S \in (SUBSET promised) \cup (SUBSET (voted \cup asked)) : Sources(S) \in Quorum1 /\ One(S)}

\* Who proposes, and who recovers, keeps to the rule.
PickRule ==
  /\ \A m \in Sent("2a") :
       \/ \E S \in Bases(m.bal, m.slot) : Within(m.val, Plan(S))
       \/ \E o \in Sent("beat") : o.bal = m.bal /\ m.slot >= o.first /\ ~Fast(m.bal)
  /\ \A m \in Sent("2b") :
       \/ \E o \in Sent("2a") \cup Sent("propose") : o.bal = m.bal /\ o.slot = m.slot /\ o.val = m.val
       \/ Fast(m.bal) /\ \E S \in Bases(m.bal, m.slot) : Within(m.val, Allowed(S))

\* There is never more than one value that the rule binds to.
PickUnique ==
  \A b \in {m.bal : m \in msgs \ (Sent("news") \cup Sent("snap"))}, s \in Slot :
    \A S \in Bases(b, s) : Cardinality(Allowed(S)) <= 1

\* A ballot is opened only above all slots that a quorum reported or has compacted, and nobody proposes below.
AnyOnlyIfFree ==
  /\ \A m \in Sent("beat") :
       \/ m.bal = 0
       \/ \E S \in SUBSET WholePromises(m.bal) :
            /\ Sources(S) \in Quorum1
            /\ \A p \in S : p.floor < m.first /\ \A r \in p.votes : r.slot < m.first
  /\ \A m \in Sent("propose") : IsOpen(m.bal, m.slot)

\* w could still be chosen in slot s at ballot c.
Could(c, s, w) ==
  \E Q \in Enough(c) : \A a \in Q :
    \/ Voted(a, c, s, w)
    \/ /\ ~Forgotten(disk[a], s)
       /\ Promised(disk[a], s) <= c
       /\ ~\E v \in Command : Voted(a, c, s, v)

\* Nothing but v was or can be chosen in slot s below ballot b.
SafeAt(b, s, v) == \A c \in {d \in Ballot : d < b}, w \in Command \ {v} : ~Could(c, s, w)

\* Where v is proposed nothing else was or can be chosen below; and where anything may be voted for, nothing at all.
AcceptSafe ==
  /\ \A m \in Sent("2a") : SafeAt(m.bal, m.slot, m.val)
  /\ \A m \in Sent("beat") : \A s \in m.first..Last : SafeAt(m.bal, s, None)

\* Where somebody voted for v, nothing else was or can be chosen below.
VotesSafe == \A m \in Sent("2b") : SafeAt(m.bal, m.slot, m.val)

\* In a classic ballot nothing is proposed above a slot in which nothing was, and nothing is known to be chosen.
GapFilled ==
  \A n \in Acceptor : coord[n].stage = "office" /\ ~Fast(coord[n].bal) =>
    \A m \in Sent("2a") : m.bal = coord[n].bal /\ m.slot >= coord[n].first =>
      \A t \in coord[n].first..m.slot - 1 : IsKnown(n, t) \/ Asked(m.bal, t)

\* A coordinator proposes nothing in a slot that was compacted when its quorum promised.
NothingCompacted ==
  \A n \in Acceptor : coord[n].stage = "office" =>
    ~\E m \in Sent("2a") : m.bal \in {coord[n].bal, Classic(coord[n].bal)} /\ m.slot <= coord[n].floor
=============================================================================
