-------------------------------- MODULE Paxos --------------------------------
(* Basic Paxos as the code does it: one action for each thing a handler can *)
(* do, answers gathered one at a time, and disks that lag behind.           *)
(*                                                                          *)
(* Every node is acceptor, proposer and learner of one decree. A node has a *)
(* memory and a disk. A handler changes the memory at once; the record that *)
(* must be written, and the answer that reports it, wait in `held` until    *)
(* the disk has come so far (Persist), and a crash loses what is held. So   *)
(* it is the disk, not the memory, that refines the acceptor of             *)
(* PaxosAbstract.                                                           *)
(*                                                                          *)
(* Messages only ever gather in `msgs`: one that is never received was      *)
(* lost, one that is received twice was duplicated, and any order is        *)
(* possible. An answer goes to who asked, the owner of its ballot.          *)
(*                                                                          *)
(* The actions bear the names of the events that the code traces. What a    *)
(* handler answers again without any change is an action too: a step that   *)
(* changes nothing here, but that a trace must be allowed to take, and that *)
(* it may take only where the answer is right.                              *)
(*                                                                          *)
(* Source: Lamport, "Paxos Made Simple", sections 2.2 to 2.5.               *)
EXTENDS Integers, Sequences

CONSTANTS Value,     \* what clients may submit
          Acceptor,  \* the nodes
          Quorum1,   \* sets of nodes whose promises are enough
          Quorum2,   \* sets of nodes whose votes are enough
          Ballot,    \* naturals
          Owner(_),  \* Owner(b): the only node that may begin ballot b
          None

ASSUME None \notin Value
ASSUME \A Q1 \in Quorum1, Q2 \in Quorum2 : Q1 \cap Q2 # {}
ASSUME \A b \in Ballot : Owner(b) \in Acceptor

VARIABLES
  msgs,       \* every message that ever left a node
  submitted,  \* values that clients have asked for
  mem,        \* mem[n]: promise, vote and decision as node n remembers them
  disk,       \* disk[n]: the same as its disk holds them
  held,       \* held[n]: what waits for the disk, in order: a record, and the answers that report it
  proposer,   \* proposer[n]: the attempt of node n
  tally       \* tally[n]: the votes that node n has counted
vars == <<msgs, submitted, mem, disk, held, proposer, tally>>

Record == [bal : Ballot \cup {-1}, vbal : Ballot \cup {-1}, val : Value \cup {None},
           chosen : Value \cup {None}]

Question == [type : {"1a"}, bal : Ballot] \cup [type : {"2a"}, bal : Ballot, val : Value]

Message ==
  Question
  \cup [type : {"1b"}, acc : Acceptor, bal : Ballot, mbal : Ballot \cup {-1}, mval : Value \cup {None}]
  \cup [type : {"2b"}, acc : Acceptor, bal : Ballot, val : Value]
  \cup [type : {"nack"}, bal : Ballot, promised : Ballot]
  \cup [type : {"news"}, val : Value]

Stages == {"idle", "preparing", "accepting", "free", "preempted"}

TypeOK ==
  /\ msgs \subseteq Message
  /\ submitted \subseteq Value
  /\ mem \in [Acceptor -> Record]
  /\ disk \in [Acceptor -> Record]
  /\ \A n \in Acceptor : \A i \in DOMAIN held[n] :
       held[n][i].record \in Record /\ held[n][i].answers \subseteq Message
  /\ proposer \in [Acceptor -> [stage : Stages, bal : Ballot \cup {-1}, got : SUBSET Acceptor,
                                best : Ballot \cup {-1}, val : Value \cup {None}]]
  /\ \A n \in Acceptor : tally[n] \subseteq msgs
-----------------------------------------------------------------------------
Nothing == [bal |-> -1, vbal |-> -1, val |-> None, chosen |-> None]

Idle == [stage |-> "idle", bal |-> -1, got |-> {}, best |-> -1, val |-> None]

Init == /\ msgs = {}
        /\ submitted = {}
        /\ mem = [n \in Acceptor |-> Nothing]
        /\ disk = [n \in Acceptor |-> Nothing]
        /\ held = [n \in Acceptor |-> <<>>]
        /\ proposer = [n \in Acceptor |-> Idle]
        /\ tally = [n \in Acceptor |-> {}]

\* Node n remembers `record`; it and what reports it wait for the disk.
Write(n, record, answers) ==
  /\ mem' = [mem EXCEPT ![n] = record]
  /\ held' = [held EXCEPT ![n] = Append(@, [record |-> record, answers |-> answers])]

Open(n) == mem[n].chosen = None

\* ---- clients -------------------------------------------------------------

\* A client asks for v to be chosen.
Submit(v) ==
  /\ submitted' = submitted \cup {v}
  /\ UNCHANGED <<msgs, mem, disk, held, proposer, tally>>

\* ---- proposers -----------------------------------------------------------

\* Node n begins ballot b, above all it used in this life and in those before.
Phase1a(n, b) ==
  /\ Open(n)
  /\ Owner(b) = n
  /\ proposer[n].stage \in {"idle", "free", "preempted"}
  /\ \A m \in msgs : m.type = "1a" /\ Owner(m.bal) = n => m.bal < b
  /\ msgs' = msgs \cup {[type |-> "1a", bal |-> b]}
  /\ proposer' = [proposer EXCEPT ![n] = [Idle EXCEPT !.stage = "preparing", !.bal = b]]
  /\ UNCHANGED <<submitted, mem, disk, held, tally>>

\* Node n takes in one promise of its ballot; the vote of the highest ballot among them binds.
CountPromise(n) == \E m \in msgs :
  /\ m.type = "1b"
  /\ proposer[n].stage = "preparing"
  /\ m.bal = proposer[n].bal
  /\ m.acc \notin proposer[n].got
  /\ proposer[n].got \notin Quorum1
  /\ proposer' = [proposer EXCEPT ![n] =
       [@ EXCEPT !.got = @ \cup {m.acc},
                 !.best = IF m.mbal > @ THEN m.mbal ELSE @,
                 !.val = IF m.mbal > proposer[n].best THEN m.mval ELSE @]]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, tally>>

\* With the promises of a quorum, node n proposes what they oblige it to, or what was submitted.
Phase2a(n, v) ==
  /\ proposer[n].stage = "preparing"
  /\ proposer[n].got \in Quorum1
  /\ IF proposer[n].best >= 0 THEN v = proposer[n].val ELSE v \in submitted
  /\ msgs' = msgs \cup {[type |-> "2a", bal |-> proposer[n].bal, val |-> v]}
  /\ proposer' = [proposer EXCEPT ![n].stage = "accepting", ![n].val = v]
  /\ UNCHANGED <<submitted, mem, disk, held, tally>>

\* The promises of a quorum report no vote, and node n, which only reads, has nothing to propose.
Free(n) ==
  /\ proposer[n].stage = "preparing"
  /\ proposer[n].got \in Quorum1
  /\ proposer[n].best = -1
  /\ proposer' = [proposer EXCEPT ![n].stage = "free"]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, tally>>

\* Node n hears that its ballot was outbid.
Preempt(n) == \E m \in msgs :
  /\ m.type = "nack"
  /\ m.bal = proposer[n].bal
  /\ proposer[n].stage \in {"preparing", "accepting"}
  /\ proposer' = [proposer EXCEPT ![n].stage = "preempted"]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, tally>>

\* Nobody at node n waits any more: it forgets its attempt, and the votes it counted.
Stop(n) ==
  /\ proposer[n].stage # "idle"
  /\ proposer' = [proposer EXCEPT ![n] = Idle]
  /\ tally' = [tally EXCEPT ![n] = {}]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held>>

\* ---- acceptors -----------------------------------------------------------

\* Node n promises a ballot above every one it joined, and reports its last vote.
Phase1b(n) == \E m \in msgs :
  /\ m.type = "1a"
  /\ Open(n)
  /\ m.bal > mem[n].bal
  /\ Write(n, [mem[n] EXCEPT !.bal = m.bal],
           {[type |-> "1b", acc |-> n, bal |-> m.bal, mbal |-> mem[n].vbal, mval |-> mem[n].val]})
  /\ UNCHANGED <<msgs, submitted, disk, proposer, tally>>

\* The same question again, with no vote at its ballot since, gets the same promise again.
RepeatPromise(n) == \E m \in msgs :
  /\ m.type = "1a"
  /\ Open(n)
  /\ m.bal = mem[n].bal
  /\ mem[n].vbal # m.bal
  /\ UNCHANGED vars

\* Node n votes.
Phase2b(n) == \E m \in msgs :
  /\ m.type = "2a"
  /\ Open(n)
  /\ m.bal >= mem[n].bal
  /\ m.bal # mem[n].vbal
  /\ Write(n, [mem[n] EXCEPT !.bal = m.bal, !.vbal = m.bal, !.val = m.val],
           {[type |-> "2b", acc |-> n, bal |-> m.bal, val |-> m.val]})
  /\ UNCHANGED <<msgs, submitted, disk, proposer, tally>>

\* Asked again at the ballot of its last vote, node n answers that vote: a promise never reports it.
RepeatVote(n) == \E m \in msgs :
  /\ m.type \in {"1a", "2a"}
  /\ Open(n)
  /\ m.bal = mem[n].bal
  /\ m.bal = mem[n].vbal
  /\ m.type = "2a" => m.val = mem[n].val
  /\ UNCHANGED vars

\* A question below the promise of node n is refused. Nobody counts a refusal, so it leaves at once.
Refuse(n) == \E m \in msgs :
  /\ m.type \in {"1a", "2a"}
  /\ Open(n)
  /\ m.bal < mem[n].bal
  /\ msgs' = msgs \cup {[type |-> "nack", bal |-> m.bal, promised |-> mem[n].bal]}
  /\ UNCHANGED <<submitted, mem, disk, held, proposer, tally>>

\* ---- learners ------------------------------------------------------------

\* Node n counts one vote at a ballot of its own.
CountVote(n) == \E m \in msgs :
  /\ m.type = "2b"
  /\ Open(n)
  /\ Owner(m.bal) = n
  /\ m \notin tally[n]
  /\ tally' = [tally EXCEPT ![n] = @ \cup {m}]
  /\ UNCHANGED <<msgs, submitted, mem, disk, held, proposer>>

Voters(n, b, v) == {m.acc : m \in {mm \in tally[n] : mm.bal = b /\ mm.val = v}}

Decide(n, v) ==
  /\ Write(n, [mem[n] EXCEPT !.chosen = v], {})
  /\ proposer' = [proposer EXCEPT ![n] = Idle]
  /\ tally' = [tally EXCEPT ![n] = {}]

\* Node n has counted the votes of a quorum at one ballot: it knows the decision, and tells.
Learn(n, b, v) ==
  /\ Open(n)
  /\ Voters(n, b, v) \in Quorum2
  /\ Decide(n, v)
  /\ msgs' = msgs \cup {[type |-> "news", val |-> v]}
  /\ UNCHANGED <<submitted, disk>>

\* Node n hears of the decision.
LearnNews(n) == \E m \in msgs :
  /\ m.type = "news"
  /\ Open(n)
  /\ Decide(n, m.val)
  /\ UNCHANGED <<msgs, submitted, disk>>

\* Whatever a node that knows the decision is asked, the decision is its answer.
Tell(n) ==
  /\ ~Open(n)
  /\ msgs' = msgs \cup {[type |-> "news", val |-> mem[n].chosen]}
  /\ UNCHANGED <<submitted, mem, disk, held, proposer, tally>>

\* ---- disks ---------------------------------------------------------------

\* The disk of node n has come to the next record: what reports it may leave.
Persist(n) ==
  /\ held[n] # <<>>
  /\ disk' = [disk EXCEPT ![n] = Head(held[n]).record]
  /\ msgs' = msgs \cup Head(held[n]).answers
  /\ held' = [held EXCEPT ![n] = Tail(@)]
  /\ UNCHANGED <<submitted, mem, proposer, tally>>

\* Node n crashed and starts again from its disk.
Restart(n) ==
  /\ mem' = [mem EXCEPT ![n] = disk[n]]
  /\ held' = [held EXCEPT ![n] = <<>>]
  /\ proposer' = [proposer EXCEPT ![n] = Idle]
  /\ tally' = [tally EXCEPT ![n] = {}]
  /\ UNCHANGED <<msgs, submitted, disk>>
-----------------------------------------------------------------------------
Next ==
  \/ \E v \in Value : Submit(v)
  \/ \E n \in Acceptor :
       \/ \E b \in Ballot : Phase1a(n, b)
       \/ CountPromise(n)
       \/ \E v \in Value : Phase2a(n, v)
       \/ Free(n)
       \/ Preempt(n)
       \/ Stop(n)
       \/ Phase1b(n)
       \/ RepeatPromise(n)
       \/ Phase2b(n)
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
Voted(a, b, v) == [type |-> "2b", acc |-> a, bal |-> b, val |-> v] \in msgs

VotedAt(a, b) == \E v \in Value : Voted(a, b, v)

Chosen(v) == \E b \in Ballot, Q \in Quorum2 : \A a \in Q : Voted(a, b, v)

Agreement ==
  /\ \A v, w \in Value : Chosen(v) /\ Chosen(w) => v = w
  /\ \A n, o \in Acceptor : Open(n) \/ Open(o) \/ mem[n].chosen = mem[o].chosen

Validity ==
  /\ \A v \in Value : Chosen(v) => v \in submitted
  /\ \A n \in Acceptor : Open(n) \/ mem[n].chosen \in submitted

\* A decision never changes. What a node knows may be lost with its memory, and is then found again the same.
Stability ==
  [][/\ \A v \in Value : Chosen(v) => Chosen(v)'
     /\ \A n \in Acceptor : disk[n].chosen # None => disk'[n].chosen = disk[n].chosen
     /\ \A n \in Acceptor : Open(n) \/ Open(n)' \/ mem[n].chosen = mem'[n].chosen]_vars

\* What is reported is on the disk of who reports it.
DurableBeforeSend ==
  \A m \in msgs : /\ m.type = "1b" => disk[m.acc].bal >= m.bal
                  /\ m.type = "2b" => disk[m.acc].vbal >= m.bal

\* A node counts each answer of each other node once, and only what was sent.
VotesOnce ==
  \A n \in Acceptor :
    /\ proposer[n].stage = "accepting" => proposer[n].got \in Quorum1
    /\ \A a \in proposer[n].got : \E m \in msgs : m.type = "1b" /\ m.acc = a /\ m.bal = proposer[n].bal
    /\ \A m, o \in tally[n] : m.acc = o.acc /\ m.bal = o.bal => m = o

OneValuePerBallot ==
  \A m, o \in msgs : m.type \in {"2a", "2b"} /\ o.type \in {"2a", "2b"} /\ m.bal = o.bal => m.val = o.val

\* Only its owner begins a ballot, and never twice, also after a restart.
BallotOwnership ==
  [][\A n \in Acceptor :
       LET b == proposer'[n].bal
       IN  b # proposer[n].bal /\ b >= 0 =>
             Owner(b) = n /\ [type |-> "1a", bal |-> b] \notin msgs]_vars

PromiseMonotone ==
  [][\A n \in Acceptor : disk'[n].bal >= disk[n].bal /\ mem'[n].bal >= disk[n].bal]_vars

VoteAtMostPromise == \A n \in Acceptor : mem[n].vbal <= mem[n].bal /\ disk[n].vbal <= disk[n].bal

PromiseTruthful ==
  \A m \in msgs : m.type = "1b" =>
    /\ m.mbal < m.bal
    /\ m.mbal >= 0 => Voted(m.acc, m.mbal, m.mval)
    /\ ~\E o \in msgs : o.type = "2b" /\ o.acc = m.acc /\ m.mbal < o.bal /\ o.bal < m.bal

AcceptSafe ==
  \A m \in msgs : m.type = "2a" =>
    \E Q \in Quorum1 :
      LET answers == {o \in msgs : o.type = "1b" /\ o.bal = m.bal /\ o.acc \in Q}
      IN  /\ \A a \in Q : \E o \in answers : o.acc = a
          /\ \/ \A o \in answers : o.mbal = -1
             \/ \E o \in answers : o.mval = m.val /\ \A p \in answers : p.mbal <= o.mbal

VotesSafe ==
  \A m \in msgs : m.type = "2b" =>
    \A c \in {d \in Ballot : d < m.bal} :
      \E Q \in Quorum1 : \A a \in Q : \/ Voted(a, c, m.val)
                                      \/ disk[a].bal > c /\ ~VotedAt(a, c)

\* What is learned, or told, was chosen.
LearnerSound ==
  /\ \A n \in Acceptor : Open(n) \/ Chosen(mem[n].chosen)
  /\ \A m \in msgs : m.type = "news" => Chosen(m.val)
-----------------------------------------------------------------------------
A == INSTANCE PaxosAbstract WITH
       maxBal <- [n \in Acceptor |-> disk[n].bal],
       maxVBal <- [n \in Acceptor |-> disk[n].vbal],
       maxVal <- [n \in Acceptor |-> disk[n].val],
       msgs <- {m \in msgs : m.type \in {"1a", "1b", "2a", "2b"}}
\* A!Spec, in the form that TLC evaluates fastest: most steps change nothing that A knows of.
RefinesPaxosAbstract == A!Init /\ [][A!vars' = A!vars \/ A!Next]_vars
=============================================================================
