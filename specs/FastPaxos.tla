------------------------------ MODULE FastPaxos ------------------------------
(* Fast Paxos as the code does it, for one decree: one action for each      *)
(* thing a handler can do, answers gathered one at a time, and disks that   *)
(* lag behind.                                                              *)
(*                                                                          *)
(* Every node is acceptor, coordinator, proposer and learner. A value goes  *)
(* straight to the acceptors. In a fast ballot that is open each votes for  *)
(* the first one that it sees. Ballot 0 is open from the beginning; another *)
(* one is when its coordinator, finding no vote in phase 1, says Any.       *)
(*                                                                          *)
(* A fast ballot is recovered from in the ballot that follows it            *)
(* immediately, and in no other: only of that one a vote says what a        *)
(* promise would say. Where that is classic its coordinator proposes what   *)
(* the votes lead to (coordinated recovery); where it is fast each acceptor *)
(* votes there for what the votes lead to (uncoordinated).                  *)
(*                                                                          *)
(* As in Paxos.tla a node has a memory and a disk; what must be written,    *)
(* and the answers that report it, wait in `held`; messages only ever       *)
(* gather in `msgs`. The ballots of recovery are not reserved, so what a    *)
(* coordinator proposes goes to its own acceptor alone, first, and to the   *)
(* others when that one's vote is on disk.                                  *)
(*                                                                          *)
(* Source: Lamport, "Fast Paxos" (2006), sections 2 and 3.                  *)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS Value,      \* what clients may submit
          Acceptor,   \* the nodes
          Quorum1,    \* sets of nodes whose promises are enough
          Quorum2,    \* sets of nodes whose votes are enough at a classic ballot
          QuorumFast, \* sets of nodes whose votes are enough at a fast ballot
          Ballot,     \* naturals from 0
          Owner(_),   \* Owner(b): the only node that coordinates ballot b
          Fast(_),    \* whether ballot b is fast; 0 is
          Next1(_),   \* the ballot that follows b immediately, where that is fast; -1 where it is not
          First(_),   \* whether ballot b is one that a coordinator begins, by phase 1
          None

QuorumsIntersect ==
  /\ \A Q \in Quorum1, R \in Quorum2 : Q \cap R # {}
  /\ \A Q \in Quorum1, R, S \in QuorumFast : Q \cap R \cap S # {}

ASSUME None \notin Value
ASSUME QuorumsIntersect

VARIABLES
  msgs,       \* every message that ever left a node
  submitted,  \* values that clients have asked for
  mem,        \* mem[n]: promise, vote and decision as node n remembers them
  disk,       \* disk[n]: the same as its disk holds them
  held,       \* held[n]: what waits for the disk, in order: a record, and the answers that report it
  opened,     \* opened[n]: the highest fast ballot that node n knows to be open to all
  coord,      \* coord[n]: the ballot that node n coordinates
  tally       \* tally[n]: the votes that node n has counted
vars == <<msgs, submitted, mem, disk, held, opened, coord, tally>>

Record == [bal : Ballot \cup {-1}, vbal : Ballot \cup {-1}, val : Value \cup {None},
           chosen : Value \cup {None}]

Promises == [type : {"1b"}, acc : Acceptor, bal : Ballot, mbal : Ballot \cup {-1}, mval : Value \cup {None}]

Votes == [type : {"2b"}, acc : Acceptor, bal : Ballot, val : Value]

Message ==
  [type : {"propose"}, val : Value]
  \cup [type : {"1a", "any"}, bal : Ballot]
  \cup [type : {"2a"}, bal : Ballot, val : Value, own : BOOLEAN]
  \cup Promises
  \cup Votes
  \cup [type : {"nack"}, bal : Ballot, promised : Ballot]
  \cup [type : {"news"}, val : Value]

Stages == {"idle", "preparing", "accepting", "open", "free", "preempted"}

TypeOK ==
  /\ msgs \subseteq Message
  /\ submitted \subseteq Value
  /\ mem \in [Acceptor -> Record]
  /\ disk \in [Acceptor -> Record]
  /\ \A n \in Acceptor : \A i \in DOMAIN held[n] :
       held[n][i].record \in Record /\ held[n][i].answers \subseteq Message
  /\ opened \in [Acceptor -> Ballot]
  /\ \A n \in Acceptor :
       /\ coord[n].stage \in Stages /\ coord[n].bal \in Ballot \cup {-1}
       /\ coord[n].got \subseteq Promises /\ coord[n].val \in Value \cup {None}
  /\ \A n \in Acceptor : tally[n] \subseteq Votes
-----------------------------------------------------------------------------
Nothing == [bal |-> -1, vbal |-> -1, val |-> None, chosen |-> None]

Idle == [stage |-> "idle", bal |-> -1, got |-> {}, val |-> None]

Init == /\ msgs = {}
        /\ submitted = {}
        /\ mem = [n \in Acceptor |-> Nothing]
        /\ disk = [n \in Acceptor |-> Nothing]
        /\ held = [n \in Acceptor |-> <<>>]
        /\ opened = [n \in Acceptor |-> 0]
        /\ coord = [n \in Acceptor |-> Idle]
        /\ tally = [n \in Acceptor |-> {}]

\* Node n remembers `record`; it and what reports it wait for the disk.
Write(n, record, answers) ==
  /\ mem' = [mem EXCEPT ![n] = record]
  /\ held' = [held EXCEPT ![n] = Append(@, [record |-> record, answers |-> answers])]
  /\ UNCHANGED <<msgs, disk>>

Open(n) == mem[n].chosen = None

Sources(messages) == {m.acc : m \in messages}

Highest(numbers) == CHOOSE k \in numbers : \A l \in numbers : l <= k

\* ---- the rule ------------------------------------------------------------

\* v may have been chosen at a fast ballot, or may be yet, if some fast quorum has nobody in Q who did not vote for it.
Choosable(Q, voters) == \E R \in QuorumFast : R \cap Q \subseteq voters

\* What may be proposed, by reports [acc, mbal, mval] of a phase-1 quorum; Anything is all that was submitted.
Anything == "any"

Allowed(reports) ==
  LET k == Highest({r.mbal : r \in reports})
      last == {r \in reports : r.mbal = k}
      values == {r.mval : r \in last}
      bound == {v \in values : Choosable(Sources(reports), {r.acc : r \in {l \in last : l.mval = v}})}
  IN  IF k = -1 THEN {Anything}
      ELSE IF Cardinality(values) = 1 THEN values
      ELSE IF bound # {} THEN bound
      ELSE {Anything}

Allows(reports, v) == v \in Allowed(reports) \/ (Anything \in Allowed(reports) /\ v \in submitted)

\* Votes at a ballot, as reports of the ballot that follows it immediately.
AsReports(votes) == {[acc |-> m.acc, mbal |-> m.bal, mval |-> m.val] : m \in votes}

\* ---- clients, proposers --------------------------------------------------

\* A client asks for v to be chosen.
Submit(v) ==
  /\ submitted' = submitted \cup {v}
  /\ UNCHANGED <<msgs, mem, disk, held, opened, coord, tally>>

\* Node n sends it to all acceptors.
Propose(n, v) ==
  /\ Open(n)
  /\ v \in submitted
  /\ msgs' = msgs \cup {[type |-> "propose", val |-> v]}
  /\ UNCHANGED <<submitted, mem, disk, held, opened, coord, tally>>

\* ---- coordinators --------------------------------------------------------

\* Node n begins ballot b, above all it used in this life and in those before.
Phase1a(n, b) ==
  /\ Open(n)
  /\ First(b) /\ Owner(b) = n
  /\ b > coord[n].bal
  /\ \A m \in msgs : m.type = "1a" /\ Owner(m.bal) = n => m.bal < b
  /\ msgs' = msgs \cup {[type |-> "1a", bal |-> b]}
  /\ coord' = [coord EXCEPT ![n] = [Idle EXCEPT !.stage = "preparing", !.bal = b]]
  /\ UNCHANGED <<submitted, mem, disk, held, opened, tally>>

\* Node n takes in one promise of its ballot.
CountPromise(n) == \E m \in msgs :
  /\ m.type = "1b"
  /\ coord[n].stage = "preparing"
  /\ m.bal = coord[n].bal
  /\ m.acc \notin Sources(coord[n].got)
  /\ Sources(coord[n].got) \notin Quorum1
  /\ coord' = [coord EXCEPT ![n].got = @ \cup {m}]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, opened, tally>>

\* The promises that node n decides by: {them}, or {} before they are a quorum's.
Gathered(n) ==
  IF coord[n].stage = "preparing" /\ Sources(coord[n].got) \in Quorum1 THEN {coord[n].got} ELSE {}

\* Node n proposes v at ballot b, to its own acceptor first.
Put(n, b, v) ==
  /\ msgs' = msgs \cup {[type |-> "2a", bal |-> b, val |-> v, own |-> TRUE]}
  /\ coord' = [coord EXCEPT ![n] = [Idle EXCEPT !.stage = "accepting", !.bal = b, !.val = v]]
  /\ UNCHANGED <<submitted, mem, disk, held, opened, tally>>

\* With the promises of a quorum, node n proposes what the rule allows; at a fast ballot only if a vote was reported.
ByPromises(n, b, v) == \E got \in Gathered(n) :
  /\ b = coord[n].bal
  /\ Fast(b) => \E m \in got : m.mbal >= 0
  /\ Allows(got, v)
  /\ Put(n, b, v)

\* The promises of a quorum report no vote, and the ballot is fast: whoever has a value may send it to the acceptors.
Phase2aAny(n) == \E got \in Gathered(n) :
  /\ Fast(coord[n].bal)
  /\ \A m \in got : m.mbal = -1
  /\ msgs' = msgs \cup {[type |-> "any", bal |-> coord[n].bal]}
  /\ coord' = [coord EXCEPT ![n] = [@ EXCEPT !.stage = "open", !.got = {}]]
  /\ UNCHANGED <<submitted, mem, disk, held, opened, tally>>

\* They report no vote, and node n, which only reads, has nothing to propose.
Free(n) == \E got \in Gathered(n) :
  /\ ~Fast(coord[n].bal)
  /\ \A m \in got : m.mbal = -1
  /\ coord' = [coord EXCEPT ![n] = [@ EXCEPT !.stage = "free", !.got = {}]]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, opened, tally>>

\* Sets of votes at ballot b that node n may recover from: what it has counted.
Counted(n, b) == {{m \in tally[n] : m.bal = b}}

\* Node n recovers fast ballot c in the one that follows it, b, which is classic and its own. If its acceptor has voted
\* there, in an earlier life, it proposed that.
ByVotes(n, b, v) ==
  /\ ~Fast(b) /\ Owner(b) = n
  /\ coord[n].bal < b
  /\ mem[n].bal <= b
  /\ \E c \in Ballot : \E votes \in Counted(n, c) :
       /\ Next1(c) = b
       /\ Sources(votes) \in Quorum1
       /\ IF mem[n].vbal = b THEN v = mem[n].val ELSE Allows(AsReports(votes), v)
  /\ Put(n, b, v)

\* Node n picks a value for ballot b, by promises or by votes, and asks its own acceptor.
Phase2a(n, b, v) ==
  /\ Open(n)
  /\ ByPromises(n, b, v) \/ ByVotes(n, b, v)

\* The own vote of node n is on disk: what it proposes goes to all.
SendAccept(n) ==
  /\ coord[n].stage = "accepting"
  /\ \E m \in msgs : m.type = "2b" /\ m.acc = n /\ m.bal = coord[n].bal
  /\ msgs' = msgs \cup {[type |-> "2a", bal |-> coord[n].bal, val |-> coord[n].val, own |-> FALSE]}
  /\ UNCHANGED <<submitted, mem, disk, held, opened, coord, tally>>

\* Node n hears that its ballot was outbid.
Preempt(n) == \E m \in msgs :
  /\ m.type = "nack"
  /\ m.bal = coord[n].bal
  /\ coord[n].stage \in {"preparing", "accepting", "open"}
  /\ coord' = [coord EXCEPT ![n] = [@ EXCEPT !.stage = "preempted", !.got = {}]]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, opened, tally>>

\* Nobody at node n waits any more: it forgets its ballot.
Stop(n) ==
  /\ coord[n].stage # "idle"
  /\ coord' = [coord EXCEPT ![n] = Idle]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, opened, tally>>

\* ---- acceptors -----------------------------------------------------------

\* Node n promises a ballot above every one it joined, and reports its last vote.
Phase1b(n) == \E m \in msgs :
  /\ m.type = "1a"
  /\ Open(n)
  /\ m.bal > mem[n].bal
  /\ Write(n, [mem[n] EXCEPT !.bal = m.bal],
           {[type |-> "1b", acc |-> n, bal |-> m.bal, mbal |-> mem[n].vbal, mval |-> mem[n].val]})
  /\ UNCHANGED <<submitted, opened, coord, tally>>

\* The same question again, with no vote at its ballot since, gets the same promise again.
RepeatPromise(n) == \E m \in msgs :
  /\ m.type = "1a"
  /\ Open(n)
  /\ m.bal = mem[n].bal
  /\ mem[n].vbal # m.bal
  /\ UNCHANGED vars

\* Node n hears that a fast ballot is open to all. That need not be written.
TakeAny(n) == \E m \in msgs :
  /\ m.type = "any"
  /\ Open(n)
  /\ m.bal >= mem[n].bal
  /\ m.bal > opened[n]
  /\ opened' = [opened EXCEPT ![n] = m.bal]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, coord, tally>>

Vote(n, b, v) ==
  Write(n, [mem[n] EXCEPT !.bal = b, !.vbal = b, !.val = v], {[type |-> "2b", acc |-> n, bal |-> b, val |-> v]})

\* In an open ballot node n votes for the first value that it sees.
VoteFast(n, b, v) ==
  /\ Open(n)
  /\ b = opened[n]
  /\ [type |-> "propose", val |-> v] \in msgs
  /\ opened[n] >= mem[n].bal
  /\ mem[n].vbal # opened[n]
  /\ Vote(n, opened[n], v)
  /\ UNCHANGED <<submitted, opened, coord, tally>>

\* Node n votes for what the coordinator proposes. At a fast ballot, too, the first vote stays.
VoteAsked(n, b, v) == \E m \in msgs :
  /\ m.type = "2a"
  /\ m.bal = b /\ m.val = v
  /\ m.own => Owner(m.bal) = n
  /\ Open(n)
  /\ m.bal >= mem[n].bal
  /\ m.bal # mem[n].vbal
  /\ Vote(n, m.bal, m.val)
  /\ UNCHANGED <<submitted, opened, coord, tally>>

\* Node n votes.
Phase2b(n, b, v) ==
  /\ Open(n)
  /\ VoteFast(n, b, v) \/ VoteAsked(n, b, v)

\* Node n recovers fast ballot c in the one that follows it, b, which is fast: it votes there for what the votes lead to.
RecoverVote(n, b, v) ==
  /\ Open(n)
  /\ Fast(b)
  /\ mem[n].bal <= b
  /\ mem[n].vbal # b
  /\ \E c \in Ballot : \E votes \in Counted(n, c) :
       /\ Next1(c) = b
       /\ Sources(votes) \in Quorum1
       /\ Allows(AsReports(votes), v)
  /\ Vote(n, b, v)
  /\ UNCHANGED <<submitted, opened, coord, tally>>

\* Asked by whomever, node n answers the vote that it cast at the ballot it joined: it is never replaced.
RepeatVote(n) ==
  /\ Open(n)
  /\ mem[n].vbal >= 0
  /\ UNCHANGED vars

\* A question below the promise of node n is refused, and so is a value where the ballot it joined is not open.
Refuse(n) ==
  /\ Open(n)
  /\ \E b \in {m.bal : m \in {mm \in msgs : mm.type \in {"1a", "2a", "any"}}} \cup {opened[n]} :
       /\ b < mem[n].bal
       /\ msgs' = msgs \cup {[type |-> "nack", bal |-> b, promised |-> mem[n].bal]}
  /\ UNCHANGED <<submitted, mem, disk, held, opened, coord, tally>>

\* ---- learners ------------------------------------------------------------

\* Node n counts one vote; votes go to all.
CountVote(n) == \E m \in msgs :
  /\ m.type = "2b"
  /\ Open(n)
  /\ m \notin tally[n]
  /\ tally' = [tally EXCEPT ![n] = @ \cup {m}]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, opened, coord>>

Voters(n, b, v) == {m.acc : m \in {mm \in tally[n] : mm.bal = b /\ mm.val = v}}

Enough(b) == IF Fast(b) THEN QuorumFast ELSE Quorum2

Decide(n, v) ==
  /\ Write(n, [mem[n] EXCEPT !.chosen = v], {})
  /\ coord' = [coord EXCEPT ![n] = Idle]
  /\ tally' = [tally EXCEPT ![n] = {}]
  /\ UNCHANGED <<submitted, opened>>

\* Node n has counted the votes of a quorum at one ballot: it knows the decision.
Learn(n, b, v) ==
  /\ Open(n)
  /\ Voters(n, b, v) \in Enough(b)
  /\ Decide(n, v)

\* Node n hears of the decision.
LearnNews(n) == \E m \in msgs :
  /\ m.type = "news"
  /\ Open(n)
  /\ Decide(n, m.val)

\* Whatever a node that knows the decision is asked, the decision is its answer. It is true, so it need not wait.
Tell(n) ==
  /\ ~Open(n)
  /\ msgs' = msgs \cup {[type |-> "news", val |-> mem[n].chosen]}
  /\ UNCHANGED <<submitted, mem, disk, held, opened, coord, tally>>

\* ---- disks ---------------------------------------------------------------

\* The disk of node n has come to the next record: what reports it may leave.
Persist(n) ==
  /\ held[n] # <<>>
  /\ disk' = [disk EXCEPT ![n] = Head(held[n]).record]
  /\ msgs' = msgs \cup Head(held[n]).answers
  /\ held' = [held EXCEPT ![n] = Tail(@)]
  /\ UNCHANGED <<submitted, mem, opened, coord, tally>>

\* Node n crashed and starts again from its disk.
Restart(n) ==
  /\ mem' = [mem EXCEPT ![n] = disk[n]]
  /\ held' = [held EXCEPT ![n] = <<>>]
  /\ opened' = [opened EXCEPT ![n] = 0]
  /\ coord' = [coord EXCEPT ![n] = Idle]
  /\ tally' = [tally EXCEPT ![n] = {}]
  /\ UNCHANGED <<msgs, submitted, disk>>
-----------------------------------------------------------------------------
Next ==
  \/ \E v \in Value : Submit(v)
  \/ \E n \in Acceptor :
       \/ \E v \in Value : Propose(n, v)
       \/ \E b \in Ballot : Phase1a(n, b)
       \/ CountPromise(n)
       \/ \E b \in Ballot, v \in Value : Phase2a(n, b, v)
       \/ Phase2aAny(n)
       \/ Free(n)
       \/ SendAccept(n)
       \/ Preempt(n)
       \/ Stop(n)
       \/ Phase1b(n)
       \/ RepeatPromise(n)
       \/ TakeAny(n)
       \/ \E b \in Ballot, v \in Value : Phase2b(n, b, v)
       \/ \E b \in Ballot, v \in Value : RecoverVote(n, b, v)
       \/ RepeatVote(n)
       \/ Refuse(n)
       \/ CountVote(n)
       \/ \E b \in Ballot, v \in Value : Learn(n, b, v)
       \/ LearnNews(n)
       \/ Tell(n)
       \/ Persist(n)
       \/ Restart(n)

Spec == Init /\ [][Next]_vars
-----------------------------------------------------------------------------
Sent(type) == {m \in msgs : m.type = type}

Voted(a, b, v) == [type |-> "2b", acc |-> a, bal |-> b, val |-> v] \in msgs

VotedAt(a, b) == \E v \in Value : Voted(a, b, v)

Chosen(v) == \E b \in Ballot : \E Q \in Enough(b) : \A a \in Q : Voted(a, b, v)

Agreement ==
  /\ \A v, w \in Value : Chosen(v) /\ Chosen(w) => v = w
  /\ \A n, o \in Acceptor : Open(n) \/ Open(o) \/ mem[n].chosen = mem[o].chosen

Validity ==
  /\ \A v \in Value : Chosen(v) => v \in submitted
  /\ \A n \in Acceptor : Open(n) \/ mem[n].chosen \in submitted

Stability ==
  [][/\ \A v \in Value : Chosen(v) => Chosen(v)'
     /\ \A n \in Acceptor : disk[n].chosen # None => disk'[n].chosen = disk[n].chosen
     /\ \A n \in Acceptor : Open(n) \/ Open(n)' \/ mem[n].chosen = mem'[n].chosen]_vars

DurableBeforeSend ==
  \A m \in msgs : /\ m.type = "1b" => disk[m.acc].bal >= m.bal
                  /\ m.type = "2b" => disk[m.acc].vbal >= m.bal
                  /\ m.type = "2a" /\ ~m.own => disk[Owner(m.bal)].vbal >= m.bal

VotesOnce ==
  \A n \in Acceptor :
    /\ coord[n].got \subseteq msgs /\ tally[n] \subseteq msgs
    /\ \A m, o \in coord[n].got : m.acc = o.acc => m = o
    /\ \A m, o \in tally[n] : m.acc = o.acc /\ m.bal = o.bal => m = o

\* An acceptor has one vote at a ballot, a fast one too.
OneVotePerRound == \A m, o \in Sent("2b") : m.acc = o.acc /\ m.bal = o.bal => m = o

\* A classic ballot has one value. A coordinator that crashed before its own vote was durable has sent it to nobody.
OneValuePerBallot ==
  LET all == Sent("2b") \cup {m \in Sent("2a") : ~m.own}
  IN  /\ \A m, o \in all : m.bal = o.bal /\ ~Fast(m.bal) => m.val = o.val
      /\ \A m, o \in {p \in Sent("2a") : ~p.own} : m.bal = o.bal => m.val = o.val

BallotOwnership ==
  [][\A m \in msgs' \ msgs :
       m.type = "1a" => coord'[Owner(m.bal)].bal = m.bal /\ ~\E o \in Sent("1a") : o.bal = m.bal]_vars

PromiseMonotone ==
  [][\A n \in Acceptor : disk'[n].bal >= disk[n].bal /\ mem'[n].bal >= disk[n].bal]_vars

VoteAtMostPromise == \A n \in Acceptor : mem[n].vbal <= mem[n].bal /\ disk[n].vbal <= disk[n].bal

PromiseTruthful ==
  \A m \in Sent("1b") :
    /\ m.mbal < m.bal
    /\ m.mbal >= 0 => Voted(m.acc, m.mbal, m.mval)
    /\ ~\E o \in Sent("2b") : o.acc = m.acc /\ m.mbal < o.bal /\ o.bal < m.bal

\* Sets of reports that anybody may decide by at ballot b: promises of it, or votes at the ballot just below it.
Reports(b) ==
  LET promised == {m \in Sent("1b") : m.bal = b}
      voted == {m \in Sent("2b") : Next1(m.bal) = b}
  IN  {S \in SUBSET promised : Sources(S) \in Quorum1}
      \cup {AsReports(S) : S \in {T \in SUBSET voted : Sources(T) \in Quorum1}}

\* Who proposes, and who recovers, keeps to the rule.
PickRule ==
  /\ \A m \in Sent("2a") : \E S \in Reports(m.bal) : Allows(S, m.val)
  /\ \A m \in Sent("2b") :
       \/ \E o \in Sent("2a") : o.bal = m.bal /\ o.val = m.val
       \/ m.bal = 0 \/ \E o \in Sent("any") : o.bal = m.bal
       \/ Fast(m.bal) /\ \E S \in Reports(m.bal) : Allows(S, m.val)

\* There is never more than one value that the rule binds to.
PickUnique == \A b \in Ballot : \A S \in Reports(b) : Cardinality(Allowed(S)) = 1

\* A ballot is opened only where a quorum reported no vote, and what is voted for freely is voted for in an open one.
AnyOnlyIfFree ==
  \A m \in Sent("any") :
    /\ Fast(m.bal)
    /\ \E S \in Reports(m.bal) : \A r \in S : r.mbal = -1
    /\ ~\E o \in Sent("2a") : o.bal = m.bal

\* w could still be chosen at ballot c.
Could(c, w) ==
  \E Q \in Enough(c) : \A a \in Q : Voted(a, c, w) \/ (~VotedAt(a, c) /\ disk[a].bal <= c)

\* Where v is proposed nothing else was or can be chosen below; and where anything may be voted for, nothing at all.
AcceptSafe ==
  /\ \A m \in Sent("2a") : \A c \in {d \in Ballot : d < m.bal}, w \in Value \ {m.val} : ~Could(c, w)
  /\ \A m \in Sent("any") : \A c \in {d \in Ballot : d < m.bal}, w \in Value : ~Could(c, w)

\* Where somebody voted for v, nothing else was or can be chosen below.
VotesSafe ==
  \A b \in {m.bal : m \in Sent("2b")} : \A v \in {m.val : m \in {o \in Sent("2b") : o.bal = b}} :
    \A c \in {d \in Ballot : d < b}, w \in Value \ {v} : ~Could(c, w)

\* What is learned, or told, was chosen: by one full quorum, at one ballot.
FastChosen ==
  /\ \A n \in Acceptor : Open(n) \/ Chosen(mem[n].chosen)
  /\ \A m \in Sent("news") : Chosen(m.val)
=============================================================================
