------------------------------- MODULE EPaxos --------------------------------
(* EPaxos as the code does it: commit and recovery, one action for each     *)
(* thing a handler can do, one message at a time, and disks that lag        *)
(* behind.                                                                  *)
(*                                                                          *)
(* Commit and recovery are in one module because they are one state: what   *)
(* the commit path writes of an instance is what recovery reads, and an     *)
(* Accept or a Commit is handled the same whoever sent it. EPaxosCommit.tla *)
(* and EPaxosRecovery.tla are the models of the two parts; the order in     *)
(* which committed commands execute is EPaxosExecution.tla, and what        *)
(* happens when instances are truncated is EPaxosBarrier.tla.               *)
(*                                                                          *)
(* As in Paxos.tla a node has a memory and a disk. What must be written of  *)
(* an instance, and the answers that report it, wait in `held` until the    *)
(* disk has come so far (Persist), and a crash loses what is held and what  *)
(* the node gathered. Messages only ever gather in `msgs`: lost, doubled,   *)
(* late and reordered are all the same there.                               *)
(*                                                                          *)
(* An instance is a pair of its owner and a number. The dependencies of a   *)
(* command are a number for each replica: all instances of that replica up  *)
(* to there. They cover more than what conflicts, and never less.           *)
(*                                                                          *)
(* Sources: Ryabinin, Gotsman, Sutra, "Making Democracy Work: Fixing and    *)
(* Simplifying Egalitarian Paxos" (2025); Moraru, Andersen, Kaminsky,       *)
(* "There Is More Consensus in Egalitarian Parliaments" (2013). Ours are    *)
(* the vectors; that a commit is taken at any ballot, for which a Validate  *)
(* must change nothing that was accepted; that an owner's fast commit is on *)
(* its disk before anybody hears of it; and that its PreAccept need not     *)
(* wait for the disk, since a restarted owner counts its numbers of which   *)
(* it knows nothing as conflicts.                                           *)
EXTENDS Integers, Sequences, FiniteSets, TLC

CONSTANTS Command,         \* what clients may submit
          Conflict(_, _),  \* whether two commands conflict
          Nop,             \* what takes the place of a command that was not committed
          N,               \* the replicas are 1..N
          F,               \* so many may fail
          E,               \* so many may fail, and there still is a fast path
          Last,            \* the highest number of an instance
          Ballot,          \* naturals; 0 belongs to the owner of the instance
          Leader(_),       \* Leader(b): the only replica that may begin ballot b > 0
          None

Replica == 1..N

ASSUME Nop \notin Command /\ None \notin Command \cup {Nop}
ASSUME E <= F /\ N >= 2 * F + 1 /\ N >= 2 * E + F - 1
ASSUME \A b \in Ballot \ {0} : Leader(b) \in Replica

VARIABLES
  msgs,   \* every message that ever left a replica
  used,   \* used[n]: the highest number that replica n gave to an instance of its own, durably
  old,    \* old[n]: what that was when it last started
  mem,    \* mem[n][id]: what replica n has written of an instance, or has waiting to be written
  disk,   \* disk[n][id]: the same as its disk holds it
  held,   \* held[n]: what waits for the disk, in order: a record of an instance, and the answers that report it
  work    \* work[n][id]: what replica n is about to have committed, as owner (ballot 0) or by recovery
vars == <<msgs, used, old, mem, disk, held, work>>

Id == Replica \X (1..Last)

Owner(id) == id[1]

\* All instances of replica r up to number deps[r].
Deps == [Replica -> 0..Last]

\* Evaluated once; TLC would make [r \in Replica |-> 0] anew, each time.
NoDeps == [r \in Replica |-> 0]

In(id, deps) == id[2] <= deps[id[1]]

Max(a, b) == IF a > b THEN a ELSE b

Union(d, e) == [r \in Replica |-> Max(d[r], e[r])]

Highest(numbers) == CHOOSE k \in numbers : \A l \in numbers : l <= k

Content == Command \cup {Nop}

Phases == {"initial", "preaccepted", "accepted", "committed"}

Record == [phase : Phases,
           bal : Ballot,                 \* the highest ballot joined
           abal : Ballot \cup {-1},      \* the ballot of the last Accept taken
           cmd : Content \cup {None}, deps : Deps,
           icmd : Command \cup {None}, ideps : Deps]  \* what the owner began with

Message ==
  [type : {"preaccept"}, id : Id, cmd : Command, deps : Deps]
  \cup [type : {"preacceptok"}, id : Id, src : Replica, deps : Deps]
  \cup [type : {"accept"}, id : Id, bal : Ballot, cmd : Content, deps : Deps]
  \cup [type : {"acceptok"}, id : Id, bal : Ballot, src : Replica]
  \cup [type : {"commit"}, id : Id, bal : Ballot, cmd : Content, deps : Deps]
  \cup [type : {"recover"}, id : Id, bal : Ballot]
  \cup [type : {"recoverok"}, id : Id, bal : Ballot, src : Replica, rec : Record]
  \cup [type : {"validate"}, id : Id, bal : Ballot, cmd : Command, deps : Deps, to : SUBSET Replica]
  \cup [type : {"validateok"}, id : Id, bal : Ballot, src : Replica,
        against : SUBSET [id : Id, committed : BOOLEAN]]
  \cup [type : {"waiting"}, id : Id, strong : 0..N]

Stages == {"idle", "preaccepting", "recovering", "validating", "waiting", "accepting"}

TypeOK ==
  /\ msgs \subseteq Message
  /\ used \in [Replica -> 0..Last] /\ old \in [Replica -> 0..Last]
  /\ mem \in [Replica -> [Id -> Record]]
  /\ disk \in [Replica -> [Id -> Record]]
  /\ \A n \in Replica : \A i \in DOMAIN held[n] :
       held[n][i].id \in Id /\ held[n][i].record \in Record /\ held[n][i].answers \subseteq Message
  /\ \A n \in Replica, id \in Id :
       LET w == work[n][id]
       IN  /\ w.stage \in Stages
           /\ w.bal \in Ballot \cup {-1}
           /\ w.got \subseteq Message
           /\ w.cmd \in Content \cup {None} /\ w.deps \in Deps
           /\ w.asked \subseteq Replica /\ w.strong \in 0..N
           /\ w.against \subseteq [id : Id, committed : BOOLEAN]
-----------------------------------------------------------------------------
Nothing == [phase |-> "initial", bal |-> 0, abal |-> -1, cmd |-> None, deps |-> NoDeps,
            icmd |-> None, ideps |-> NoDeps]

\* `got` is what was gathered in this stage, or in "validating" and "waiting" what of RecoverOK came before;
\* `asked`, `strong` and `against` are Q, |R| and I of a validation.
Idle == [stage |-> "idle", bal |-> -1, got |-> {}, cmd |-> None, deps |-> NoDeps,
         asked |-> {}, strong |-> 0, against |-> {}]

\* TLC would write these as expressions, which nobody could read, and evaluate them each time.
AllIdle == TLCEval([id \in Id |-> Idle])
AllNothing == TLCEval([id \in Id |-> Nothing])

Init == /\ msgs = {}
        /\ used = [n \in Replica |-> 0]
        /\ old = [n \in Replica |-> 0]
        /\ mem = [n \in Replica |-> AllNothing]
        /\ disk = [n \in Replica |-> AllNothing]
        /\ held = [n \in Replica |-> <<>>]
        /\ work = [n \in Replica |-> AllIdle]

\* Replica n will have `record` of the instance on its disk; it and what reports it wait for the disk.
\* `sent` leaves at once.
WriteAnd(n, id, record, answers, sent) ==
  /\ mem' = [mem EXCEPT ![n][id] = record]
  /\ held' = [held EXCEPT ![n] = Append(@, [id |-> id, record |-> record, answers |-> answers])]
  /\ msgs' = msgs \cup sent
  /\ UNCHANGED disk

Write(n, id, record, answers) == WriteAnd(n, id, record, answers, {})

\* The answers report what replica n has written. If its disk has come so far they leave at once. (An answer is
\* held as if the record of `id` were written with it; that changes nothing, since records are written in order.)
Report(n, id, answers) ==
  IF held[n] = <<>>
  THEN /\ msgs' = msgs \cup answers
       /\ UNCHANGED <<mem, disk, held>>
  ELSE Write(n, id, mem[n][id], answers)

Committed(record) == record.phase = "committed"

\* Whether replica n did not truncate the instance; here nothing is ever truncated (see EPaxosBarrier.tla).
Present(n, id) == TRUE

\* ---- conflicts -----------------------------------------------------------

\* Whether an instance of which `record` is known counts for c. One that has accepted a no-op and is not committed
\* conflicts with everything: the no-op may still lose, and the command has been forgotten here.
Touches(record, c) ==
  /\ record.cmd # None
  /\ IF record.cmd = Nop THEN ~Committed(record) ELSE Conflict(record.cmd, c)

\* An instance of its own of which replica n lost everything but the number may be pre-accepted elsewhere. Recovery
\* counts on it that an owner knows what it sent.
Lost(n, id) == Owner(id) = n /\ id[2] <= old[n] /\ mem[n][id].cmd = None

\* The dependencies of instance id with command c, as far as replica n knows.
Known(n, id, c) ==
  [r \in Replica |->
    Highest({0} \cup {k \in 1..Last : /\ <<r, k>> # id
                                     /\ (Touches(mem[n][<<r, k>>], c) \/ Lost(n, <<r, k>>))})]

\* The instances that speak against (c, deps) having been committed as id, as far as replica n knows: such as can
\* not be in these dependencies, nor id in theirs, if both were committed.
Against(n, id, c, deps) ==
  {[id |-> o, committed |-> Committed(mem[n][o])] :
    o \in {p \in Id \ {id} :
      LET record == mem[n][p]
      IN  /\ ~In(p, deps)
          /\ IF Committed(record)
             THEN record.cmd # Nop /\ Conflict(record.cmd, c) /\ ~In(id, record.deps)
             ELSE record.icmd # None /\ Conflict(record.icmd, c) /\ ~In(id, record.ideps)}}

\* ---- owners --------------------------------------------------------------

Submitted == {m.cmd : m \in {mm \in msgs : mm.type = "preaccept"}}

\* What clients may ask replica n for.
Offered(n) == Command \ Submitted

\* What replica n begins with: what it knows, and for a barrier what else it must be after.
Initial(n, id, c) == Known(n, id, c)

\* Replica n gives a command of a client its next number, pre-accepts it and sends it to all. The number is on disk
\* before that (they are reserved in blocks), the pre-acceptance comes there later.
Submit(n, c) ==
  /\ c \in Offered(n)
  /\ used[n] < Last
  /\ LET id == <<n, used[n] + 1>>
         deps == Initial(n, id, c)
         record == [Nothing EXCEPT !.phase = "preaccepted", !.cmd = c, !.deps = deps, !.icmd = c, !.ideps = deps]
     IN  /\ used' = [used EXCEPT ![n] = @ + 1]
         /\ WriteAnd(n, id, record, {[type |-> "preacceptok", id |-> id, src |-> n, deps |-> deps]},
                     {[type |-> "preaccept", id |-> id, cmd |-> c, deps |-> deps]})
         /\ work' = [work EXCEPT ![n][id] =
              [Idle EXCEPT !.stage = "preaccepting", !.bal = 0, !.cmd = c, !.deps = deps]]
  /\ UNCHANGED old

\* What replica n does about id at this ballot still makes sense.
Stands(n, id) == work[n][id].bal >= mem[n][id].bal /\ ~Committed(mem[n][id])

\* What replica n counts in its present stage.
Gathered(n, id) == work[n][id].got

\* The owner takes in one pre-acceptance.
CountPreAccept(n) == \E m \in msgs :
  /\ m.type = "preacceptok"
  /\ Owner(m.id) = n
  /\ work[n][m.id].stage = "preaccepting"
  /\ m \notin work[n][m.id].got
  /\ Stands(n, m.id)
  /\ work' = [work EXCEPT ![n][m.id].got = @ \cup {m}]
  /\ UNCHANGED <<msgs, used, old, mem, disk, held>>

Sources(messages) == {m.src : m \in messages}

\* With n - e pre-acceptances of exactly what it began with the owner commits that. Recovery counts the absence of
\* this commit, so it is on disk before anybody hears of it, the owner itself included. Its own pre-acceptance need not
\* be among them: that comes through its disk as everybody's do, and is there before the commit is.
FastCommit(n, id) ==
  /\ work[n][id].stage = "preaccepting"
  /\ Stands(n, id)
  /\ LET same == {m \in Gathered(n, id) : m.deps = work[n][id].deps}
     IN  Cardinality(Sources(same)) >= N - E
  /\ Write(n, id, [mem[n][id] EXCEPT !.phase = "committed"],
           {[type |-> "commit", id |-> id, bal |-> 0, cmd |-> work[n][id].cmd, deps |-> work[n][id].deps]})
  /\ work' = [work EXCEPT ![n][id] = Idle]
  /\ UNCHANGED <<used, old>>

\* Replica n proposes at the ballot of its work.
Propose(n, id, c, deps) ==
  /\ msgs' = msgs \cup {[type |-> "accept", id |-> id, bal |-> work[n][id].bal, cmd |-> c, deps |-> deps]}
  /\ work' = [work EXCEPT ![n][id] =
       [Idle EXCEPT !.stage = "accepting", !.bal = work[n][id].bal, !.cmd = c, !.deps = deps]]
  /\ UNCHANGED <<used, old, mem, disk, held>>

All(n, id) == LET deps == {m.deps : m \in Gathered(n, id)}
              IN  [r \in Replica |-> Highest({d[r] : d \in deps})]

\* With n - f pre-acceptances the owner proposes the union of what they saw. It waits for more as long as it likes.
SlowPath(n, id) ==
  /\ work[n][id].stage = "preaccepting"
  /\ Stands(n, id)
  /\ Cardinality(Sources(Gathered(n, id))) >= N - F
  /\ Propose(n, id, work[n][id].cmd, All(n, id))

\* Who proposed takes in one acceptance.
CountAccept(n) == \E m \in msgs :
  /\ m.type = "acceptok"
  /\ work[n][m.id].stage = "accepting"
  /\ m.bal = work[n][m.id].bal
  /\ m \notin work[n][m.id].got
  /\ work' = [work EXCEPT ![n][m.id].got = @ \cup {m}]
  /\ UNCHANGED <<msgs, used, old, mem, disk, held>>

\* With n - f acceptances of one ballot it is committed. That is on the disks of a quorum.
Commit(n, id) ==
  /\ work[n][id].stage = "accepting"
  /\ ~Committed(mem[n][id])
  /\ Cardinality(Sources(Gathered(n, id))) >= N - F
  /\ LET w == work[n][id]
     IN  WriteAnd(n, id, [mem[n][id] EXCEPT !.phase = "committed", !.cmd = w.cmd, !.deps = w.deps], {},
                  {[type |-> "commit", id |-> id, bal |-> w.bal, cmd |-> w.cmd, deps |-> w.deps]})
  /\ work' = [work EXCEPT ![n][id] = Idle]
  /\ UNCHANGED <<used, old>>

\* ---- acceptors -----------------------------------------------------------

\* Replica n pre-accepts an instance that it knew nothing of.
PreAccept(n) == \E m \in msgs :
  /\ m.type = "preaccept"
  /\ Present(n, m.id)
  /\ mem[n][m.id].bal = 0
  /\ mem[n][m.id].phase = "initial"
  /\ LET deps == Union(m.deps, Known(n, m.id, m.cmd))
     IN  Write(n, m.id,
               [mem[n][m.id] EXCEPT !.phase = "preaccepted", !.cmd = m.cmd, !.deps = deps,
                                    !.icmd = m.cmd, !.ideps = m.deps],
               {[type |-> "preacceptok", id |-> m.id, src |-> n, deps |-> deps]})
  /\ UNCHANGED <<used, old, work>>

\* Asked again, it answers the same: what it stored, and not what it would find now.
RepeatPreAccept(n) == \E m \in msgs :
  /\ m.type = "preaccept"
  /\ Present(n, m.id)
  /\ mem[n][m.id].bal = 0
  /\ mem[n][m.id].phase = "preaccepted"
  /\ Report(n, m.id, {[type |-> "preacceptok", id |-> m.id, src |-> n, deps |-> mem[n][m.id].deps]})
  /\ UNCHANGED <<used, old, work>>

\* Replica n accepts.
Accept(n) == \E m \in msgs :
  /\ m.type = "accept"
  /\ Present(n, m.id)
  /\ LET record == mem[n][m.id]
     IN  /\ ~Committed(record)
         /\ record.bal <= m.bal
         /\ record.abal < m.bal
         /\ Write(n, m.id,
                  [record EXCEPT !.phase = "accepted", !.bal = m.bal, !.abal = m.bal, !.cmd = m.cmd,
                                 !.deps = m.deps],
                  {[type |-> "acceptok", id |-> m.id, bal |-> m.bal, src |-> n]})
  /\ UNCHANGED <<used, old, work>>

\* Asked for what it accepted it answers that again.
RepeatAccept(n) == \E m \in msgs :
  /\ m.type = "accept"
  /\ Present(n, m.id)
  /\ ~Committed(mem[n][m.id])
  /\ mem[n][m.id].bal = m.bal
  /\ mem[n][m.id].abal = m.bal
  /\ Report(n, m.id, {[type |-> "acceptok", id |-> m.id, bal |-> m.bal, src |-> n]})
  /\ UNCHANGED <<used, old, work>>

\* Replica n hears what was committed. That is final, and taken at any ballot; its own ballots stay. Who asks
\* about a committed instance, whatever it is that he asks, is answered with the commit, which is in msgs already.
LearnCommit(n) == \E m \in msgs :
  /\ m.type = "commit"
  /\ Present(n, m.id)
  /\ ~Committed(mem[n][m.id])
  /\ Write(n, m.id, [mem[n][m.id] EXCEPT !.phase = "committed", !.cmd = m.cmd, !.deps = m.deps], {})
  /\ work' = [work EXCEPT ![n][m.id] = Idle]
  /\ UNCHANGED <<used, old>>

\* ---- recovery ------------------------------------------------------------

\* What replica n may recover: any instance whose number was given away.
Recoverable(n, id) == id[2] <= used[Owner(id)]

\* Replica n begins ballot b of an instance, above all that it saw and used. What it did before is over.
Recover(n, id, b) ==
  /\ b > 0
  /\ Leader(b) = n
  /\ Recoverable(n, id)
  /\ Present(n, id)
  /\ b > mem[n][id].bal
  /\ ~Committed(mem[n][id])
  /\ \A m \in msgs : m.type = "recover" /\ m.id = id /\ Leader(m.bal) = n => m.bal < b
  /\ msgs' = msgs \cup {[type |-> "recover", id |-> id, bal |-> b]}
  /\ work' = [work EXCEPT ![n][id] = [Idle EXCEPT !.stage = "recovering", !.bal = b]]
  /\ UNCHANGED <<used, old, mem, disk, held>>

\* Replica n joins a ballot above all it joined, and tells what it knows.
Join(n) == \E m \in msgs :
  /\ m.type = "recover"
  /\ Present(n, m.id)
  /\ ~Committed(mem[n][m.id])
  /\ mem[n][m.id].bal < m.bal
  /\ LET record == [mem[n][m.id] EXCEPT !.bal = m.bal]
     IN  Write(n, m.id, record,
               {[type |-> "recoverok", id |-> m.id, bal |-> m.bal, src |-> n, rec |-> record]})
  /\ UNCHANGED <<used, old, work>>

\* Asked again before anything else happened at this ballot, it answers the same.
RepeatJoin(n) == \E m \in msgs :
  /\ m.type = "recover"
  /\ Present(n, m.id)
  /\ ~Committed(mem[n][m.id])
  /\ mem[n][m.id].bal = m.bal
  /\ LET answer == [type |-> "recoverok", id |-> m.id, bal |-> m.bal, src |-> n, rec |-> mem[n][m.id]]
     IN  /\ answer \in msgs \cup UNION {held[n][i].answers : i \in DOMAIN held[n]}
         /\ Report(n, m.id, {answer})
  /\ UNCHANGED <<used, old, work>>

\* Who recovers takes in what one replica knows, before it decides or, from one that it did not ask to validate,
\* after.
CountRecover(n) == \E m \in msgs :
  /\ m.type = "recoverok"
  /\ work[n][m.id].stage \in {"recovering", "validating", "waiting"}
  /\ m.bal = work[n][m.id].bal
  /\ m.src \notin Sources(work[n][m.id].got)
  /\ Stands(n, m.id)
  /\ work' = [work EXCEPT ![n][m.id].got = @ \cup {m}]
  /\ UNCHANGED <<msgs, used, old, mem, disk, held>>

\* From which sets of answers a decision can be made: all that have come.
Decisive(n, id) ==
  LET got == Gathered(n, id)
  IN  IF work[n][id].stage = "recovering" /\ Stands(n, id) /\ Cardinality(Sources(got)) >= N - F
      THEN {got} ELSE {}

Accepted(answers) == {m \in answers : m.rec.phase = "accepted"}

Latest(answers) == CHOOSE m \in answers : \A o \in answers : o.rec.abal <= m.rec.abal

\* Who pre-accepted exactly what the owner began with.
Strong(answers) == {m \in answers : m.rec.phase = "preaccepted" /\ m.rec.deps = m.rec.ideps}

\* Someone accepted: the last one binds.
RecoverAccepted(n, id) == \E answers \in Decisive(n, id) :
  /\ Accepted(answers) # {}
  /\ LET m == Latest(Accepted(answers)) IN Propose(n, id, m.rec.cmd, m.rec.deps)

\* Nothing can have been committed on the fast path: the owner says that it did not and now never will, or too few
\* of those who answered pre-accepted what it began with.
RecoverNop(n, id) == \E answers \in Decisive(n, id) :
  /\ Accepted(answers) = {}
  /\ \/ Owner(id) \in Sources(answers)
     \/ Cardinality(Strong(answers)) < Cardinality(answers) - E
  /\ Propose(n, id, Nop, NoDeps)

\* The fast path may have happened: replica n asks the same replicas what speaks against it.
AskValidate(n, id) == \E answers \in Decisive(n, id) :
  /\ Accepted(answers) = {}
  /\ Owner(id) \notin Sources(answers)
  /\ Cardinality(Strong(answers)) >= Cardinality(answers) - E
  /\ LET m == CHOOSE m \in Strong(answers) : TRUE
     IN  /\ msgs' = msgs \cup {[type |-> "validate", id |-> id, bal |-> work[n][id].bal, cmd |-> m.rec.icmd,
                                deps |-> m.rec.ideps, to |-> Sources(answers)]}
         /\ work' = [work EXCEPT ![n][id] =
              [@ EXCEPT !.stage = "validating", !.got = answers, !.cmd = m.rec.icmd, !.deps = m.rec.ideps,
                        !.asked = Sources(answers), !.strong = Cardinality(Strong(answers))]]
  /\ UNCHANGED <<used, old, mem, disk, held>>

\* Replica n remembers what the owner began with, and answers what speaks against it. Once something was accepted a
\* Validate comes too late, and changes nothing.
Validate(n) == \E m \in msgs :
  /\ m.type = "validate"
  /\ Present(n, m.id)
  /\ n \in m.to
  /\ mem[n][m.id].bal = m.bal
  /\ mem[n][m.id].phase \in {"initial", "preaccepted"}
  /\ Write(n, m.id, [mem[n][m.id] EXCEPT !.cmd = m.cmd, !.icmd = m.cmd, !.ideps = m.deps],
           {[type |-> "validateok", id |-> m.id, bal |-> m.bal, src |-> n,
             against |-> Against(n, m.id, m.cmd, m.deps)]})
  /\ UNCHANGED <<used, old, work>>

\* Who recovers takes in one validation.
CountValidate(n) == \E m \in msgs :
  /\ m.type = "validateok"
  /\ work[n][m.id].stage = "validating"
  /\ m.bal = work[n][m.id].bal
  /\ m.src \in work[n][m.id].asked \ Sources({mm \in work[n][m.id].got : mm.type = "validateok"})
  /\ Stands(n, m.id)
  /\ work' = [work EXCEPT ![n][m.id].got = @ \cup {m}, ![n][m.id].against = @ \cup m.against]
  /\ UNCHANGED <<msgs, used, old, mem, disk, held>>

\* What speaks against, once all that were asked have answered: {it}, or {} before.
Verdict(n, id) ==
  LET w == work[n][id]
  IN  IF /\ w.stage = "validating"
         /\ Stands(n, id)
         /\ w.asked = Sources({m \in w.got : m.type = "validateok"})
      THEN {w.against} ELSE {}

\* Nothing does.
Validated(n, id) == \E against \in Verdict(n, id) :
  /\ against = {}
  /\ Propose(n, id, work[n][id].cmd, work[n][id].deps)

Ids(against) == {a.id : a \in against}

\* It was not committed, and never will be: something that was committed does not fit with it, or its owner would
\* have to be among those who pre-accepted it and one that does not fit would have the owner against it.
Hopeless(n, id, against) ==
  \/ \E a \in against : a.committed
  \/ /\ work[n][id].strong = Cardinality(work[n][id].asked) - E
     /\ \E o \in Ids(against) : Owner(o) \notin work[n][id].asked

\* For something that was committed the other answers need not be awaited.
Invalidated(n, id) ==
  /\ work[n][id].stage = "validating"
  /\ Stands(n, id)
  /\ \/ \E a \in work[n][id].against : a.committed
     \/ \E against \in Verdict(n, id) : Hopeless(n, id, against)
  /\ Propose(n, id, Nop, NoDeps)

\* It depends on what becomes of others, and they may depend on what becomes of it.
Wait(n, id) == \E against \in Verdict(n, id) :
  /\ against # {}
  /\ ~Hopeless(n, id, against)
  /\ msgs' = msgs \cup {[type |-> "waiting", id |-> id, strong |-> work[n][id].strong]}
  /\ work' = [work EXCEPT ![n][id] =
       [@ EXCEPT !.stage = "waiting", !.got = {m \in @ : m.type = "recoverok"}, !.against = against]]
  /\ UNCHANGED <<used, old, mem, disk, held>>

Waits(n, id) == work[n][id].stage = "waiting" /\ Stands(n, id)

\* One of the others was committed, and does not fit with it.
WaitRefuted(n, id) ==
  /\ Waits(n, id)
  /\ \E o \in Ids(work[n][id].against) :
       Committed(mem[n][o]) /\ mem[n][o].cmd # Nop /\ ~In(id, mem[n][o].deps)
  /\ Propose(n, id, Nop, NoDeps)

\* All of them were committed, and fit.
WaitResolved(n, id) ==
  /\ Waits(n, id)
  /\ \A o \in Ids(work[n][id].against) :
       Committed(mem[n][o]) /\ (mem[n][o].cmd = Nop \/ In(id, mem[n][o].deps))
  /\ Propose(n, id, work[n][id].cmd, work[n][id].deps)

\* One of them waits too, and so many pre-accepted it that this one was not committed.
WaitYields(n, id) ==
  /\ Waits(n, id)
  /\ \E m \in msgs : m.type = "waiting" /\ m.id \in Ids(work[n][id].against) /\ m.strong > N - F - E
  /\ Propose(n, id, Nop, NoDeps)

Late(n, id) == {m \in Gathered(n, id) : m.type = "recoverok" /\ m.src \notin work[n][id].asked}

\* Answers that come late make the quorum larger, and what binds or settles the matter in a quorum does so in that one,
\* as long as nothing is proposed.
Heeds(n, id) == work[n][id].stage \in {"validating", "waiting"} /\ Stands(n, id)

\* A late answer tells of an acceptance.
WaitAccepted(n, id) ==
  /\ Heeds(n, id)
  /\ \E m \in Late(n, id) : m.rec.phase = "accepted" /\ Propose(n, id, m.rec.cmd, m.rec.deps)

\* A late answer comes from the owner.
WaitOwner(n, id) ==
  /\ Heeds(n, id)
  /\ \E m \in Late(n, id) : m.src = Owner(id) /\ m.rec.phase # "accepted"
  /\ Propose(n, id, Nop, NoDeps)

\* ---- disks ---------------------------------------------------------------

\* The disk of replica n has come to the next record: what reports it may leave.
Persist(n) ==
  /\ held[n] # <<>>
  /\ disk' = [disk EXCEPT ![n][Head(held[n]).id] = Head(held[n]).record]
  /\ msgs' = msgs \cup Head(held[n]).answers
  /\ held' = [held EXCEPT ![n] = Tail(@)]
  /\ UNCHANGED <<used, old, mem, work>>

\* Replica n crashed and starts again from its disk. What it was about to do it does not take up again: its
\* instances are recovered at a higher ballot, by itself or by others.
Restart(n) ==
  /\ mem' = [mem EXCEPT ![n] = disk[n]]
  /\ held' = [held EXCEPT ![n] = <<>>]
  /\ work' = [work EXCEPT ![n] = AllIdle]
  /\ old' = [old EXCEPT ![n] = used[n]]
  /\ UNCHANGED <<msgs, used, disk>>
-----------------------------------------------------------------------------
Next ==
  \E n \in Replica :
    \/ \E c \in Command : Submit(n, c)
    \/ CountPreAccept(n)
    \/ CountAccept(n)
    \/ PreAccept(n)
    \/ RepeatPreAccept(n)
    \/ Accept(n)
    \/ RepeatAccept(n)
    \/ LearnCommit(n)
    \/ Join(n)
    \/ RepeatJoin(n)
    \/ CountRecover(n)
    \/ Validate(n)
    \/ CountValidate(n)
    \/ Persist(n)
    \/ Restart(n)
    \/ \E id \in Id : FastCommit(n, id)
    \/ \E id \in Id : SlowPath(n, id)
    \/ \E id \in Id : Commit(n, id)
    \/ \E id \in Id, b \in Ballot : Recover(n, id, b)
    \/ \E id \in Id : RecoverAccepted(n, id)
    \/ \E id \in Id : RecoverNop(n, id)
    \/ \E id \in Id : AskValidate(n, id)
    \/ \E id \in Id : Validated(n, id)
    \/ \E id \in Id : Invalidated(n, id)
    \/ \E id \in Id : Wait(n, id)
    \/ \E id \in Id : WaitRefuted(n, id)
    \/ \E id \in Id : WaitResolved(n, id)
    \/ \E id \in Id : WaitYields(n, id)
    \/ \E id \in Id : WaitAccepted(n, id)
    \/ \E id \in Id : WaitOwner(n, id)

Spec == Init /\ [][Next]_vars
-----------------------------------------------------------------------------
Sent(type) == {m \in msgs : m.type = type}

\* What was decided: what anybody was told, or will know after a crash.
Decisions ==
  {[id |-> m.id, cmd |-> m.cmd, deps |-> m.deps] : m \in Sent("commit")}
  \cup UNION {{[id |-> id, cmd |-> disk[n][id].cmd, deps |-> disk[n][id].deps] :
               id \in {o \in Id : Committed(disk[n][o])}} : n \in Replica}

\* No two different decisions for an instance, command and dependencies.
Agreement == LET all == Decisions IN \A d, e \in all : d.id = e.id => d = e

\* What was decided is what the owner began with, or the no-op, which depends on nothing.
Validity ==
  \A d \in Decisions :
    IF d.cmd = Nop THEN d.deps = NoDeps
    ELSE \E m \in Sent("preaccept") : m.id = d.id /\ m.cmd = d.cmd /\ Union(m.deps, d.deps) = d.deps

Fit(d, e) == d.cmd = Nop \/ e.cmd = Nop \/ ~Conflict(d.cmd, e.cmd) \/ In(d.id, e.deps) \/ In(e.id, d.deps)

\* Of two decided commands that conflict one is in the dependencies of the other.
Visibility == LET all == Decisions IN \A d, e \in all : d.id = e.id \/ Fit(d, e)

\* The same as soon as one is only proposed after a recovery.
ValidationSound ==
  LET all == Decisions
  IN  \A d \in all, m \in Sent("accept") : m.bal > 0 /\ d.id # m.id => Fit(d, m)

\* Once it is decided at a ballot, only the same is proposed at higher ones.
RecoveryPreserves ==
  \A d \in Sent("commit"), m \in Sent("accept") :
    m.id = d.id /\ m.bal > d.bal => m.cmd = d.cmd /\ m.deps = d.deps

\* What a quorum accepted is decided, told or not.
ChosenPreserved ==
  \A a \in Sent("accept") :
    Cardinality({o.src : o \in {oo \in Sent("acceptok") : oo.id = a.id /\ oo.bal = a.bal}}) >= N - F =>
      /\ \A m \in Sent("accept") : m.id = a.id /\ m.bal >= a.bal => m.cmd = a.cmd /\ m.deps = a.deps
      /\ \A d \in Decisions : d.id = a.id => d.cmd = a.cmd /\ d.deps = a.deps

\* A no-op is proposed only where nothing else was or will be decided below.
NopSound ==
  \A m \in Sent("accept") : m.cmd = Nop =>
    /\ m.deps = NoDeps
    /\ m.bal > 0
    /\ \A d \in Sent("commit") : d.id = m.id /\ d.bal < m.bal => d.cmd = Nop

\* At a ballot one thing is proposed; at ballot 0 by the owner, on the slow path or the fast path and not on both.
OneValuePerBallot ==
  LET all == Sent("accept") \cup Sent("commit")
  IN  \A m, o \in all : m.id = o.id /\ m.bal = o.bal => m.cmd = o.cmd /\ m.deps = o.deps

BallotOwnership ==
  [][\A m \in msgs' \ msgs :
       m.type = "recover" => /\ ~\E o \in msgs : o.type \in {"recover", "accept"} /\ o.id = m.id /\ o.bal = m.bal
                             /\ \E n \in Replica : n = Leader(m.bal) /\ work'[n][m.id].bal = m.bal]_vars

\* The last ballot accepted at is none above those joined, and both only grow.
BallotOrder ==
  /\ \A n \in Replica, id \in Id : mem[n][id].abal <= mem[n][id].bal /\ disk[n][id].abal <= disk[n][id].bal
  /\ \A m \in Sent("acceptok") : disk[m.src][m.id].abal >= m.bal

BallotsGrow ==
  [][\A n \in Replica, id \in Id :
       /\ disk'[n][id].bal >= disk[n][id].bal /\ disk'[n][id].abal >= disk[n][id].abal
       /\ \/ mem'[n][id].bal >= mem[n][id].bal /\ mem'[n][id].abal >= mem[n][id].abal
          \/ mem'[n][id] = disk[n][id]]_vars

\* Nothing else than an Accept changes the ballot accepted at.
AbalOnlyOnAccept ==
  \A n \in Replica, id \in Id :
    LET b == mem[n][id].abal
    IN  b >= 0 => \E m \in Sent("accept") :
          /\ m.id = id /\ m.bal = b
          /\ ~Committed(mem[n][id]) => mem[n][id].cmd = m.cmd /\ mem[n][id].deps = m.deps

\* What the owner began with is the same wherever it is known.
InitialDepsCommon ==
  \A n \in Replica, id \in Id :
    mem[n][id].icmd # None =>
      \E m \in Sent("preaccept") : m.id = id /\ m.cmd = mem[n][id].icmd /\ m.deps = mem[n][id].ideps

\* What was committed on the fast path was pre-accepted so by n - e, the owner among them, which knows it for good.
FastCommitWitness ==
  \A m \in Sent("commit") :
    m.bal = 0 /\ ~(\E o \in Sent("accept") : o.id = m.id /\ o.bal = 0) =>
      /\ Cardinality({o.src : o \in {oo \in Sent("preacceptok") : oo.id = m.id /\ oo.deps = m.deps}}) >= N - E
      /\ \E o \in Sent("preaccept") : o.id = m.id /\ o.cmd = m.cmd /\ o.deps = m.deps
      /\ Committed(disk[Owner(m.id)][m.id])

\* What is reported is on the disk of who reports it.
DurableBeforeSend ==
  /\ \A m \in Sent("preacceptok") :
       LET record == disk[m.src][m.id]
       IN  record.phase # "initial" /\ (record.phase = "preaccepted" => record.deps = m.deps)
  /\ \A m \in Sent("recoverok") : disk[m.src][m.id].bal >= m.bal
  /\ \A m \in Sent("acceptok") : disk[m.src][m.id].abal >= m.bal
  /\ \A m \in Sent("validateok") :
       LET record == disk[m.src][m.id] IN record.bal >= m.bal /\ record.icmd # None

\* Each answer of each replica is counted once, and only what was sent.
VotesOnce ==
  /\ \A n \in Replica, id \in Id : \A m, o \in work[n][id].got : m.src = o.src /\ m.type = o.type => m = o
  /\ \A n \in Replica, id \in Id : work[n][id].got \subseteq msgs
  /\ \A m, o \in Sent("preacceptok") : m.id = o.id /\ m.src = o.src => m = o
  /\ \A m, o \in Sent("recoverok") : m.id = o.id /\ m.src = o.src /\ m.bal = o.bal => m = o

\* A decision never changes, and is never forgotten by a disk.
Stability ==
  [][\A n \in Replica, id \in Id :
       Committed(disk[n][id]) => /\ Committed(disk'[n][id])
                                 /\ disk'[n][id].cmd = disk[n][id].cmd
                                 /\ disk'[n][id].deps = disk[n][id].deps]_vars
=============================================================================
