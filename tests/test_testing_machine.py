"""A protocol as a state machine: a good one passes, planted mistakes are found, scripts play."""

import attrs
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

import paxos
from multipaxos import protocol as multipaxos
from paxos.service import LogSettings
from paxos.testing import ProtocolStateMachine
from tests.mutants.build import described, mutants
from tests.planted import amnesiac, deaf, early, half
from tests.planted_log import lost_votes, mute

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

TestPaxos = ProtocolStateMachine.of("paxos").TestCase
TestMultipaxos = ProtocolStateMachine.of("multipaxos").TestCase
# A share of what the profile says, which is more with --hypothesis-profile=long.
_SHARE = settings().max_examples // 3
TestPaxos.settings = settings(max_examples=_SHARE)
TestMultipaxos.settings = settings(max_examples=_SHARE)


class FiveEager(ProtocolStateMachine):
    protocol = "paxos"
    nodes = 5
    eager = True


TestFiveEager = FiveEager.TestCase
TestFiveEager.settings = settings(max_examples=_SHARE // 2)


class FiveOfALog(ProtocolStateMachine):
    protocol = "multipaxos"
    nodes = 5
    eager = True
    names = (b"d", b"e")
    settings_of_log = LogSettings(marker_requests=2)


TestFiveOfALog = FiveOfALog.TestCase
TestFiveOfALog.settings = settings(max_examples=_SHARE // 2)

#: What is found is not made small: that takes a minute, and is not what is tested here.
_FIND = settings(max_examples=200, phases=[Phase.generate])


@pytest.mark.parametrize(
    ("protocol", "name"),
    [(amnesiac, "PromiseMonotone"), (early, "DurableBeforeSend")],
    ids=lambda value: getattr(value, "name", value),
)
def test_planted_mistakes_are_found_and_shown_as_a_script(
    protocol: paxos.contract.ProtocolDescription, name: str
) -> None:
    machine = ProtocolStateMachine.of(protocol)
    with pytest.raises(AssertionError, match=name) as found:
        run_state_machine_as_test(machine, settings=_FIND)
    script = [line for line in str(found.value).splitlines() if line.startswith("    ")]
    with pytest.raises(AssertionError, match=name):
        ProtocolStateMachine.play(protocol, script)
    assert ProtocolStateMachine.play("paxos", script, strict=False).violations == []


@pytest.mark.parametrize(
    ("mutant", "name"),
    [
        ("log_vote_before_durable", "DurableBeforeSend"),
        ("log_first_vote_decides", "CommitAtBallot"),
        ("gap_filled_over_a_vote", "AcceptSafe"),
        ("follower_reads_by_itself", "ReadFresh"),
        ("retry_applied_twice", "AtMostOnce"),
    ],
)
def test_planted_mistakes_of_a_log_are_found_and_shown_as_a_script(mutant: str, name: str) -> None:
    broken = described(mutants()[mutant])
    with pytest.raises(AssertionError, match=name) as found:
        run_state_machine_as_test(ProtocolStateMachine.of(broken), settings=_FIND)
    script = [line for line in str(found.value).splitlines() if line.startswith("    ")]
    # What was found at the end, when all is healed, has a line that says so, and is found again.
    with pytest.raises(AssertionError, match=name):
        ProtocolStateMachine.play(broken, script)
    assert ProtocolStateMachine.play("multipaxos", script, strict=False).violations == []


def test_a_script_may_end_with_healing() -> None:
    lines = ['2 submits decide "d" = "a"', "(from here on all is healed and arrives in order)"]
    stepper = ProtocolStateMachine.play("paxos", lines)
    assert stepper.violations == []
    assert not stepper.heal(1), "whoever waited was answered"


def test_without_invariants_what_a_log_holds_and_clients_were_told_is_judged() -> None:
    with pytest.raises(AssertionError, match=r"^(SlotAgreement|AnswerExact|Durability|ReadFresh)"):
        run_state_machine_as_test(ProtocolStateMachine.of(lost_votes), settings=_FIND)


def test_whoever_waits_for_ever_for_a_log_is_found() -> None:
    machine = ProtocolStateMachine.of(mute)()
    machine.command(which=0, command="put", name=0, value=0, old=0, again=False)
    with pytest.raises(AssertionError, match=r'(?s)Liveness .* 1 client has none .* put "d" = "a"'):
        machine.teardown()


def test_clients_of_a_log_write_read_repeat_and_follow() -> None:
    machine = ProtocolStateMachine.of("multipaxos", eager=True)()
    machine.command(which=0, command="put", name=0, value=1, old=0, again=False)
    machine.command(which=0, command="put", name=0, value=1, old=0, again=True)
    machine.command(which=0, command="put", name=0, value=1, old=0, again=False)
    machine.command(which=1, command="increment", name=0, value=1, old=0, again=False)
    machine.command(which=1, command="cas", name=0, value=2, old=2, again=False)
    while machine.stepper.unanswered:
        machine.rush(20)
    machine.query(which=2, query="read", name=0)
    while machine.stepper.unanswered:
        machine.rush(20)
    asked = [line.partition(" submits ")[2] for line in machine.lines if " submits " in line]
    assert asked[:5] == ['put "d" = "b"'] * 2 + [
        'put "d" = "b" @2',
        'increment "n" = "2"',
        'cas "d" = "c" if "b"',
    ]
    # Asked again, elsewhere, because the node that they asked had sent them on.
    assert asked.count('increment "n" = "2"') > 1
    assert machine.stepper.seen["redirected"]
    outs = [(each.kind, each.outcome, each.out) for each in machine.stepper.history()]
    assert outs == [
        ("put", "done", None),
        ("put", "done", None),
        ("increment", "done", 2),
        ("cas", "done", True),
        ("read", "done", b"c"),
    ]
    machine.teardown()


def test_a_client_that_was_sent_on_follows_by_a_rule() -> None:
    machine = ProtocolStateMachine.of("multipaxos", eager=True)()
    machine.command(which=0, command="put", name=0, value=0, old=0, again=False)
    machine.rush(20)
    machine.command(which=1, command="put", name=0, value=1, old=0, again=False)
    while not machine.stepper.requests:
        machine.deliver(0)
    machine.follow()
    assert machine.lines[-1] == '1 submits put "d" = "b"'


def test_a_script_of_a_log_is_played_to_its_end() -> None:
    script = """
        tick 1
        1 -> 2 PreVote
        2 -> 1 PreVoted
        1 -> 2 Prepare
        2 -> 1 Promise
        1 submits put "k" = "v"
        1 -> 2 Accept 1
        2 -> 1 Accepted
    """
    stepper = ProtocolStateMachine.play("multipaxos", script.splitlines(), eager=True)
    assert stepper.applied() == {1: 1, 2: 0, 3: 0}
    assert [each.outcome for each in stepper.history()] == ["done"]


def test_without_invariants_what_nodes_know_and_clients_were_told_is_judged() -> None:
    machine = ProtocolStateMachine.of(attrs.evolve(half, invariants=()))
    with pytest.raises(AssertionError, match=r"^(Agreement|ReadFresh|Stability)"):
        run_state_machine_as_test(machine, settings=_FIND)


def test_whoever_waits_for_ever_is_found() -> None:
    machine = ProtocolStateMachine.of(deaf)()
    machine.submit(which=0, name=0, value=0)
    with pytest.raises(AssertionError, match=r'(?s)Liveness .* 1 client has none .* decide "d" = "a"'):
        machine.teardown()


def test_a_script_is_played_to_its_end() -> None:
    script = """
        1 submits decide "d" = "a"
        sync 1
        1 -> 2 Prepare "d"
        sync 2
        2 -> 1 Promise "d"
        1 -> 2 Accept "d"
        sync 1
        sync 2
        2 -> 1 Accepted "d"
        sync 1
    """
    stepper = ProtocolStateMachine.play("paxos", script.splitlines())
    assert stepper.decisions()[1] == {b"d": b"a"}
    assert stepper.decisions()[2] == {}


def test_a_move_that_can_not_be_made_is_no_silent_success() -> None:
    script = ['1 submits decide "d" = "a"', '1 -> 2 Accept "d"']
    with pytest.raises(
        AssertionError, match="line 2, '1 -> 2 Accept \"d\"', can not be made: possible are sync 1"
    ):
        ProtocolStateMachine.play("paxos", script)
    assert ProtocolStateMachine.play("paxos", script, strict=False).unanswered == 1
    with pytest.raises(paxos.ConfigurationError, match="not a move"):
        ProtocolStateMachine.play("paxos", ["1 wonders"])
    with pytest.raises(paxos.ConfigurationError, match=r"line 2, '1 submits put .* decides decrees"):
        ProtocolStateMachine.play("paxos", ["tick 1", '1 submits put "k" = "v"'], strict=False)


def test_it_says_what_it_can_not_try() -> None:
    with pytest.raises(paxos.ConfigurationError, match="nonesuch"):
        ProtocolStateMachine.of("nonesuch")
    with pytest.raises(paxos.ConfigurationError, match="expected a name"):
        ProtocolStateMachine.of(None)  # type: ignore[arg-type]
    with pytest.raises(paxos.ConfigurationError, match=r"nodes: expected a number in 1\.\.100, got 0"):
        ProtocolStateMachine.of("paxos", nodes=0)
    with pytest.raises(paxos.ConfigurationError, match="eager: expected True or False, got 3"):
        ProtocolStateMachine.of("paxos", eager=3)  # type: ignore[arg-type]
    with pytest.raises(paxos.ConfigurationError, match="configured by BasicSettings, not int"):
        ProtocolStateMachine.of("paxos", settings=3)


def test_a_machine_is_named_for_its_protocol() -> None:
    machine = ProtocolStateMachine.of("paxos", nodes=5)
    assert machine.__name__ == "PaxosStateMachine"
    assert machine.__doc__ == "Tries paxos."
    assert ProtocolStateMachine.of(multipaxos).__name__ == "MultipaxosStateMachine"
    assert len(machine().stepper.members) == 5
