"""Every invariant of EPaxos, shown the mistake it is there to find.

Most mistakes are planted as mutants, and the schedule that shows each has the sound protocol silent. Here are
a few more, each of which only one invariant can see at once. And the ghosts that invariants are made of.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

import epaxos.barrier
import epaxos.learner
import epaxos.proposer
import epaxos.recovery
import epaxos.table
from epaxos import EPaxosQuorums, protocol
from epaxos.ghosts import Decided
from epaxos.instances import Choice, Instance, InstanceId
from epaxos.invariants import INVARIANTS, BarrierCut, ExecutionOrder, RealTime
from epaxos.messages import Accept, PreAccept, PreAcceptOK
from paxos.ballot import Ballot
from paxos.command import ALL, Footprint
from paxos.contract import Outline
from tests.epaxos_net import Net, Sent, command, writes
from tests.epaxos_script import Script
from tests.mutants.build import mutants
from tests.mutants.directed import DIRECTED

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

#: For each invariant a mutant that it is the first to report.
FIRST = {
    "Agreement": "validate_after_commit",
    "Validity": "number_reused",
    "Visibility": "last_writer_only",
    "DurableBeforeSend": "pre_acceptance_before_durable",
    "VotesOnce": "recovery_vote_counted_twice",
    "BallotOrder": "epaxos_vote_below_ballot",
    "AbalOnlyOnAccept": "one_ballot_variable",
    "InitialDepsCommon": "recovery_takes_any_answer",
    "RecoveryPreserves": "epaxos_lowest_vote_binds",
    "ValidationSound": "barrier_forgotten",
    "FastPathTaken": "slow_path_always",
    "ExecutionClosed": "component_by_arrival",
}


@pytest.mark.parametrize("name", sorted(FIRST))
def test_a_mutant_is_reported_first_by_what_looks_at_it(name: str) -> None:
    mutant = mutants()[FIRST[name]]
    broken, _ = DIRECTED[mutant.directed](mutant)
    assert next(iter(broken)) == name


# --- what one invariant alone can see ----------------------------------------------------------------


class Plant(NamedTuple):
    """One bug: what to put in its place, and what brings it out."""

    patch: Callable[[pytest.MonkeyPatch], None]
    schedule: Callable[[Script], object]
    nodes: int = 3


def committed(s: Script) -> InstanceId:
    y = s.ask(1)
    s.preaccept(y, 2)
    s.commit(y, 1, 2, 3)
    return y


def then_restart(s: Script) -> None:
    committed(s)
    s.restart(1)


def restored_otherwise(patch: pytest.MonkeyPatch) -> None:
    """A restarted node takes what was decided for something that depends on more."""
    good = epaxos.table.Table.restore

    def restore(self: Any, name: Any, found: Any, choice: Choice | None, context: Any) -> None:
        if choice is not None:
            choice = Choice(choice.is_nop, (*choice.deps[:-1], choice.deps[-1] + 1))
        good(self, name, found, choice, context)

    patch.setattr(epaxos.table.Table, "restore", restore)


def repeated_otherwise(patch: pytest.MonkeyPatch) -> None:
    """A repeated Accept carries what is known by then."""
    good = epaxos.proposer.EPaxosProposer._repeat  # pyright: ignore[reportPrivateUsage]

    def repeat(self: Any, proposal: Any, context: Any) -> None:
        if proposal.accepting is not None:
            deps = proposal.accepting.deps
            proposal.accepting = Choice(False, (*deps[:-1], deps[-1] + 1))
        good(self, proposal, context)

    patch.setattr(epaxos.proposer.EPaxosProposer, "_repeat", repeat)


def slow_and_silent(s: Script) -> None:
    x = s.ask(3)
    s.carry(PreAccept, x, 3, 2)
    y = s.ask(1)
    s.preaccept(y, 2)
    s.now_s += s.settings.repeat_s + 1
    s.tick(1)


def lowest_ballot_always(patch: pytest.MonkeyPatch) -> None:
    """A recovery takes the first ballot above that of the owner, whatever was joined."""

    def lowest(ballot: Ballot, *more: Any) -> Ballot:
        return Ballot(0, ballot.node)

    patch.setattr(epaxos.recovery, "max", lowest, raising=False)


def recovered_twice(s: Script) -> None:
    y = s.ask(1)
    s.recover(y, 3)
    s.restart(3)
    s.recover(y, 3)


def fast_with_more(patch: pytest.MonkeyPatch) -> None:
    """An owner commits on the fast path with itself in the dependencies."""
    good = epaxos.proposer.EPaxosProposer._commit_fast  # pyright: ignore[reportPrivateUsage]

    def commit_fast(self: Any, proposal: Any, context: Any) -> None:
        proposal.deps = (proposal.instance.number, *proposal.deps[1:])
        good(self, proposal, context)

    patch.setattr(epaxos.proposer.EPaxosProposer, "_commit_fast", commit_fast)


def one_failure_fewer(patch: pytest.MonkeyPatch) -> None:
    """A recovery takes |Q| - e that agree for too few."""
    good = epaxos.recovery.Recoveries._look  # pyright: ignore[reportPrivateUsage]

    def look(self: Any, recovery: Any, context: Any, now_s: float) -> None:
        context.fast_failures -= 1
        good(self, recovery, context, now_s)
        context.fast_failures += 1

    patch.setattr(epaxos.recovery.Recoveries, "_look", look)


def nearly_committed(s: Script) -> None:
    """2 has pre-accepted; whether 1 has heard of it nobody knows."""
    y = s.ask(1)
    s.carry(PreAccept, y, 1, 2)
    s.kill(1)
    s.recover(y, 3, 2)


def applied_twice(patch: pytest.MonkeyPatch) -> None:
    """What is carried out is handed on twice."""
    good = epaxos.learner.EPaxosLearner.execute

    def execute(self: Any, context: Any) -> Any:
        done = good(self, context)
        context.out.applies += context.out.applies
        return done

    patch.setattr(epaxos.learner.EPaxosLearner, "execute", execute)


def cut_too_low(patch: pytest.MonkeyPatch) -> None:
    """Node 2 takes a lower floor for a barrier."""
    good = epaxos.barrier.Barriers.cut

    def cut(self: Any, barrier: Instance, at: Any, context: Any) -> Any:
        if context.node == 2:
            at = at._replace(floor=(0, *at.floor[1:]))
        return good(self, barrier, at, context)

    patch.setattr(epaxos.barrier.Barriers, "cut", cut)


def a_barrier(s: Script) -> None:
    committed(s)
    b = s.bar(1)
    s.preaccept(b, 2)
    s.commit(b, 1, 2)


PLANTS: dict[str, Plant] = {
    "Stability": Plant(restored_otherwise, then_restart),
    "OneValuePerBallot": Plant(repeated_otherwise, slow_and_silent),
    "BallotOwnership": Plant(lowest_ballot_always, recovered_twice),
    "FastCommitWitness": Plant(fast_with_more, committed),
    "NopSound": Plant(one_failure_fewer, nearly_committed),
    "ExecutedOnce": Plant(applied_twice, committed),
    "BarrierCut": Plant(cut_too_low, a_barrier),
}


@pytest.mark.parametrize("name", sorted(PLANTS))
def test_a_plant_is_reported_by_one_invariant_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant = PLANTS[name]
    sound = Script(plant.nodes)
    plant.schedule(sound)
    assert sound.violations == {}
    plant.patch(monkeypatch)
    broken = Script(plant.nodes)
    plant.schedule(broken)
    assert list(broken.violations) == [name]


@pytest.mark.parametrize("make", [ExecutionOrder, RealTime, BarrierCut])
def test_what_is_reported_beside_others_is_reported_alone_too(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands that conflict in two orders: that is seen by all who look at orders, and by the states."""

    def shown(sound: bool) -> dict[str, str]:
        net = Net(3)
        net.invariants = [make(net.quorums)]
        net.snapshots = False
        net.write(1, b"k")
        net.run()
        if not sound:
            machine = epaxos.learner.EPaxosLearner.execute

            def execute(self: Any, context: Any) -> Any:
                done = machine(self, context)
                if context.node == 2:
                    context.out.applies.reverse()
                return done

            monkeypatch.setattr(epaxos.learner.EPaxosLearner, "execute", execute)
        net.cut = {(1, 2), (3, 2)}
        net.write(1, b"k")
        net.run(until=lambda: len(net.applied(1)) == 2)
        net.write(3, b"k")
        net.barrier(3)
        net.run(until=lambda: len(net.applied(3)) == 3)
        net.cut.clear()
        net.run(10.0)
        return net.violations

    assert shown(sound=True) == {}
    assert make.name in shown(sound=False)


def test_every_invariant_has_its_mistake() -> None:
    makers = {make(EPaxosQuorums((1, 2, 3))).name: make for make in INVARIANTS}
    assert set(FIRST) | set(PLANTS) | {"ExecutionOrder", "RealTime"} == set(makers)
    assert len(makers) == len(INVARIANTS)
    assert protocol.invariants == INVARIANTS


# --- what they are shown -------------------------------------------------------------------------------


@pytest.mark.parametrize("make", INVARIANTS)
def test_what_concerns_nobody_is_not_shown(make: Any) -> None:
    invariant = make(EPaxosQuorums((1, 2, 3)))
    nothing: frozenset[type] = frozenset()
    idle = Outline("receive", type(None), nothing, nothing, applied=False)
    assert isinstance(invariant.concerns(idle), bool)
    assert invariant.concerns(Outline("crash", None, nothing, nothing, applied=False)) in (True, False)


@pytest.mark.parametrize("make", INVARIANTS)
def test_leaving_out_what_does_not_concern_it_changes_nothing(make: Any) -> None:
    """A run in which an invariant is shown only what concerns it, and one in which it is shown all."""
    mutant = mutants()["number_reused"]

    def shown(all_of_it: bool) -> dict[str, str]:
        from tests.mutants.build import described
        from tests.mutants.epaxos_scripts import SCRIPTS

        script = Script(3, described(mutant))
        (invariant,) = script.invariants = [make(script.quorums)]
        if not all_of_it:
            script.invariants = [_Concerned(invariant)]
        SCRIPTS["a_number_again"].play(script)
        return script.violations

    assert shown(all_of_it=True) == shown(all_of_it=False)


class _Concerned:
    """Shows an invariant only what concerns it."""

    def __init__(self, invariant: Any) -> None:
        self.name, self._invariant = invariant.name, invariant

    def observe(self, step: Any) -> str | None:
        outline = Outline(
            step.action,
            None if step.message is None else type(step.message),
            frozenset(type(message) for _, message in step.created),
            frozenset(type(message) for _, message in step.left),
            applied=bool(step.applies),
        )
        return self._invariant.observe(step) if self._invariant.concerns(outline) else None


# --- the ghost of what was decided ---------------------------------------------------------------------


def test_what_conflicts_is_found_by_keys_by_ranges_and_by_everything() -> None:
    decided = Decided((1, 2, 3))

    def add(owner: int, number: int, footprint: Footprint) -> InstanceId:
        instance = Instance(owner - 1, number, Ballot(0, owner))
        instance.command = command(number, footprint)
        instance.footprint = footprint
        name = InstanceId(owner, number)
        assert decided.add(name, Choice(False, (0, 0, 0)), instance)
        assert not decided.add(name, Choice(False, (0, 0, 0)), instance)
        return name

    w = add(1, 1, writes(b"k"))
    r = add(1, 2, Footprint.of(reads=[b"k"]))
    every = add(2, 1, ALL)
    ranged = add(3, 1, Footprint.of(write_ranges=[(b"a", b"z")]))
    add(3, 2, writes(b"zz"))
    nop = InstanceId(3, 3)
    decided.add(nop, Choice(True, (0, 0, 0)), None)
    none = (0, 0, 0)
    assert list(decided.outside(writes(b"k"), none)) == [w, r, every, ranged]
    assert list(decided.outside(Footprint.of(reads=[b"k"]), none)) == [w, every, ranged]
    assert list(decided.outside(writes(b"k"), (1, 0, 0))) == [r, every, ranged]
    assert list(decided.outside(writes(b"k"), (2, 1, 1))) == []
    assert list(decided.outside(Footprint.of(read_ranges=[(b"j", None)]), (0, 1, 0))) == [
        w,
        ranged,
        InstanceId(3, 2),
    ]
    assert len(list(decided.outside(ALL, none))) == 5


def test_a_message_that_names_no_member_breaks_no_invariant() -> None:
    script = Script(3)
    y = script.ask(1)
    script.carry(PreAccept, y, 1, 2)
    strange: list[Any] = [
        Accept(9, 1, Ballot(1, 2), True, (0, 0, 0), None),
        PreAcceptOK(77, (0, 0, 0)),
        PreAcceptOK(1, (0, 0)),
    ]
    for message in strange:
        script.hand_over(Sent(2, 1, message))
    assert script.violations == {}
    assert script.stopped == {}
