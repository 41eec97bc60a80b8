--------------------------- MODULE EPaxosSchedules ---------------------------
(* Schedules of EPaxosBarrier.tla that random search does not find: each    *)
(* shows what one of the rules is for. A schedule is followed step by step; *)
(* a step that can not be done is left out. Then the others are dead, and   *)
(* those who live recover what is open: all ways of doing that are gone     *)
(* through. With the rules as they are nothing goes wrong. With one of them *)
(* turned off there is a violation, which tests look for.                   *)
EXTENDS EPaxosBarrier

CONSTANTS Schedule,  \* a sequence of steps: action, replica, instance, and what else there is to say
          Alive,     \* who lives after it
          Open,      \* the instances that they recover
          Lagging    \* pairs of an instance and a phase: its owner's disk never comes so far

VARIABLE at  \* the number of the next step

\* "b" is a barrier; all conflict.
IsBarrier(c) == c = "b"

\* A disk is behind only where the schedule says so.
WriteLagging(n, id, record, answers, sent) ==
  /\ mem' = [mem EXCEPT ![n][id] = record]
  /\ UNCHANGED held
  /\ IF n = Owner(id) /\ record.bal = 0 /\ <<id, record.phase>> \in Lagging
     THEN UNCHANGED disk /\ msgs' = msgs \cup sent
     ELSE disk' = [disk EXCEPT ![n][id] = record] /\ msgs' = msgs \cup sent \cup answers

ScheduleInit == BarrierInit /\ at = 1

Changes(n, id) == mem'[n][id] # mem[n][id]

\* The step of a schedule: of a handler, for a message about this instance.
Step(s) ==
  LET n == s[2]
      id == s[3]
  IN  CASE s[1] = "Submit" -> Submit(n, id) /\ UNCHANGED cut
        [] s[1] = "PreAccept" -> PreAccept(n) /\ Changes(n, id) /\ UNCHANGED cut
        [] s[1] = "FastCommit" -> FastCommit(n, id) /\ UNCHANGED cut
        [] s[1] = "LearnCommit" -> LearnCommit(n) /\ Changes(n, id) /\ UNCHANGED cut
        [] s[1] = "Recover" -> Recover(n, id, s[4]) /\ UNCHANGED cut
        [] s[1] = "Join" -> Join(n) /\ Changes(n, id) /\ UNCHANGED cut
        [] s[1] = "AskValidate" -> AskValidate(n, id) /\ work'[n][id].asked = s[4] /\ UNCHANGED cut
        [] s[1] = "Validate" -> /\ Validate(n)
                                /\ Changes(n, id) \/ \E m \in msgs' \ msgs : m.id = id
                                /\ UNCHANGED cut
        [] s[1] = "Validated" -> (Validated(n, id) \/ Invalidated(n, id)) /\ UNCHANGED cut
        [] s[1] = "Wait" -> Wait(n, id) /\ UNCHANGED cut
        [] s[1] = "WaitOwner" -> WaitOwner(n, id) /\ UNCHANGED cut
        [] s[1] = "Accept" -> Accept(n) /\ Changes(n, id) /\ UNCHANGED cut
        [] s[1] = "Commit" -> Commit(n, id) /\ UNCHANGED cut
        [] s[1] = "Restart" -> Restart(n) /\ UNCHANGED cut
        [] s[1] = "Execute" -> Execute(n) /\ id \in cut'[n].ran
        [] s[1] = "Truncate" -> Truncate(n)

\* What those who live do after it.
Free ==
  \E n \in Alive :
    \/ \E id \in Open, r \in Ballot : Recover(n, id, r) /\ UNCHANGED cut
    \/ \E id \in Open :
         /\ \/ RecoverAccepted(n, id)
            \/ RecoverNop(n, id)
            \/ AskValidate(n, id)
            \/ Validated(n, id)
            \/ Invalidated(n, id)
            \/ Wait(n, id)
            \/ WaitRefuted(n, id)
            \/ WaitResolved(n, id)
            \/ WaitYields(n, id)
            \/ WaitAccepted(n, id)
            \/ WaitOwner(n, id)
            \/ Commit(n, id)
         /\ UNCHANGED cut
    \/ (Join(n) \/ Validate(n) \/ Accept(n)) /\ UNCHANGED cut
    \/ LearnCommit(n) /\ (\E id \in Open : Changes(n, id)) /\ UNCHANGED cut
    \/ Tell(n)
    \/ Install(n)

ScheduleNext ==
  IF at <= Len(Schedule)
  THEN /\ at' = at + 1
       /\ IF ENABLED Step(Schedule[at]) THEN Step(Schedule[at]) ELSE UNCHANGED barrierVars
  ELSE Free /\ UNCHANGED at

\* ---- schedules -----------------------------------------------------------

NothingLags == {}

\* Replicas 1 and 2 execute a barrier over x, and forget x; y does not see it. 1 dies.
IndexReset ==
  <<<<"Submit", 2, "x">>, <<"PreAccept", 1, <<2, 1>>>>, <<"PreAccept", 3, <<2, 1>>>>, <<"FastCommit", 2, <<2, 1>>>>,
    <<"LearnCommit", 1, <<2, 1>>>>,
    <<"Submit", 1, "b">>, <<"PreAccept", 2, <<1, 1>>>>, <<"FastCommit", 1, <<1, 1>>>>, <<"LearnCommit", 2, <<1, 1>>>>,
    <<"Execute", 1, <<2, 1>>>>, <<"Execute", 1, <<1, 1>>>>, <<"Execute", 2, <<2, 1>>>>, <<"Execute", 2, <<1, 1>>>>,
    <<"Truncate", 1, 0>>, <<"Truncate", 2, 0>>,
    <<"Submit", 1, "y">>, <<"PreAccept", 2, <<1, 2>>>>, <<"FastCommit", 1, <<1, 2>>>>,
    <<"LearnCommit", 3, <<2, 1>>>>>>
IndexResetAlive == {2, 3}
IndexResetOpen == {<<1, 2>>}

\* y commits at 1, 2, 3, and is known to be committed at 1 and 2 only, which execute a barrier over it, and forget y.
\* x, which saw the barrier and not y, is recovered with 1, 2, 5; then these die but 5, and y is recovered.
ValidationBlind ==
  <<<<"Submit", 1, "y">>, <<"PreAccept", 2, <<1, 1>>>>, <<"PreAccept", 3, <<1, 1>>>>, <<"FastCommit", 1, <<1, 1>>>>,
    <<"LearnCommit", 2, <<1, 1>>>>,
    <<"Submit", 2, "b">>, <<"PreAccept", 1, <<2, 1>>>>, <<"PreAccept", 5, <<2, 1>>>>, <<"FastCommit", 2, <<2, 1>>>>,
    <<"PreAccept", 4, <<2, 1>>>>, <<"LearnCommit", 1, <<2, 1>>>>,
    <<"Execute", 1, <<1, 1>>>>, <<"Execute", 1, <<2, 1>>>>, <<"Execute", 2, <<1, 1>>>>, <<"Execute", 2, <<2, 1>>>>,
    <<"Truncate", 1, 0>>, <<"Truncate", 2, 0>>,
    <<"Submit", 4, "x">>, <<"PreAccept", 5, <<4, 1>>>>,
    <<"Recover", 5, <<4, 1>>, 4>>, <<"Join", 1, <<4, 1>>>>, <<"Join", 2, <<4, 1>>>>, <<"Join", 5, <<4, 1>>>>,
    <<"AskValidate", 5, <<4, 1>>, {1, 2, 5}>>,
    <<"Validate", 1, <<4, 1>>>>, <<"Validate", 2, <<4, 1>>>>, <<"Validate", 5, <<4, 1>>>>, <<"Validated", 5, <<4, 1>>>>,
    <<"Accept", 1, <<4, 1>>>>, <<"Accept", 2, <<4, 1>>>>, <<"Accept", 5, <<4, 1>>>>, <<"Commit", 5, <<4, 1>>>>>>
ValidationBlindAlive == {3, 4, 5}
ValidationBlindOpen == {<<1, 1>>}

\* As before, but 5 too executes the barrier, so y may go. x is pre-accepted by 1 and 5; then only 2, 3, 5 live.
NoFloor ==
  <<<<"Submit", 1, "y">>, <<"PreAccept", 2, <<1, 1>>>>, <<"PreAccept", 3, <<1, 1>>>>, <<"FastCommit", 1, <<1, 1>>>>,
    <<"LearnCommit", 2, <<1, 1>>>>, <<"LearnCommit", 5, <<1, 1>>>>,
    <<"Submit", 2, "b">>, <<"PreAccept", 1, <<2, 1>>>>, <<"PreAccept", 5, <<2, 1>>>>, <<"FastCommit", 2, <<2, 1>>>>,
    <<"PreAccept", 4, <<2, 1>>>>, <<"LearnCommit", 1, <<2, 1>>>>, <<"LearnCommit", 5, <<2, 1>>>>,
    <<"Execute", 1, <<1, 1>>>>, <<"Execute", 1, <<2, 1>>>>, <<"Execute", 2, <<1, 1>>>>, <<"Execute", 2, <<2, 1>>>>,
    <<"Execute", 5, <<1, 1>>>>, <<"Execute", 5, <<2, 1>>>>,
    <<"Truncate", 1, 0>>, <<"Truncate", 2, 0>>, <<"Truncate", 5, 0>>,
    <<"Submit", 4, "x">>, <<"PreAccept", 1, <<4, 1>>>>, <<"PreAccept", 5, <<4, 1>>>>, <<"FastCommit", 4, <<4, 1>>>>>>
NoFloorAlive == {2, 3, 5}
NoFloorOpen == {<<4, 1>>}

\* 2 recovers y, waits for x, and makes it a no-op when the owner answers late; then the Validate comes once more.
LateValidate ==
  <<<<"Submit", 1, "y">>, <<"PreAccept", 2, <<1, 1>>>>, <<"Submit", 3, "x">>,
    <<"Recover", 2, <<1, 1>>, 1>>, <<"Join", 2, <<1, 1>>>>, <<"Join", 3, <<1, 1>>>>,
    <<"AskValidate", 2, <<1, 1>>, {2, 3}>>, <<"Validate", 2, <<1, 1>>>>, <<"Validate", 3, <<1, 1>>>>, <<"Wait", 2, <<1, 1>>>>,
    <<"Join", 1, <<1, 1>>>>, <<"WaitOwner", 2, <<1, 1>>>>,
    <<"Accept", 2, <<1, 1>>>>, <<"Accept", 3, <<1, 1>>>>, <<"Commit", 2, <<1, 1>>>>,
    <<"Validate", 3, <<1, 1>>>>>>
LateValidateAlive == {1, 3}
LateValidateOpen == {<<1, 1>>}

\* 1 commits y on the fast path, and restarts before that is on its disk.
FastCommitLost ==
  <<<<"Submit", 1, "y">>, <<"PreAccept", 2, <<1, 1>>>>, <<"FastCommit", 1, <<1, 1>>>>, <<"LearnCommit", 2, <<1, 1>>>>,
    <<"Restart", 1, 0>>>>
FastCommitLostAlive == {1, 3}
FastCommitLostOpen == {<<1, 1>>}
FastCommitLagging == {<<<<1, 1>>, "committed">>}

\* 1 sends y to 2 and 3, and restarts before it is on its disk. Then it pre-accepts x.
OwnerForgets ==
  <<<<"Submit", 1, "y">>, <<"PreAccept", 2, <<1, 1>>>>, <<"PreAccept", 3, <<1, 1>>>>, <<"Restart", 1, 0>>,
    <<"Submit", 4, "x">>, <<"PreAccept", 1, <<4, 1>>>>, <<"PreAccept", 5, <<4, 1>>>>, <<"FastCommit", 4, <<4, 1>>>>,
    <<"Recover", 5, <<4, 1>>, 4>>, <<"Join", 2, <<4, 1>>>>, <<"Join", 3, <<4, 1>>>>, <<"Join", 5, <<4, 1>>>>>>
OwnerForgetsAlive == {2, 3, 5}
OwnerForgetsOpen == {<<4, 1>>}
OwnerForgetsLagging == {<<<<1, 1>>, "preaccepted">>}
=============================================================================
