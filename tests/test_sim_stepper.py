"""The directed simulator: nothing happens by itself, and what is moved does what it says."""

import random

import attrs
import pytest

from paxos.basic import BasicReplica, BasicSettings, protocol
from paxos.contract import Event
from paxos.errors import ConfigurationError, NodeStopped
from paxos.quorum import FlexibleQuorums
from paxos.sim import Faults, Wipe, run
from paxos.sim.moves import MOVE_KINDS, Asked, Move, parse_move, topic_of
from paxos.sim.stepper import Stepper
from paxos.sim.stepper_healing import ask_next
from tests import mutants, planted

A = '1 submits decide "d" = "a"'
B = '2 submits decide "d" = "b"'


def _decided(stepper):
    return {node: dict(known) for node, known in stepper.decisions().items()}


def _node(stepper, node):
    found = stepper.node(node)
    assert found is not None
    return found


def test_a_decision_move_by_move():
    stepper = Stepper(protocol, eager=True)
    assert stepper.enabled(faults=False) == []
    lines = [
        A,
        '1 -> 3 Prepare "d"',
        '3 -> 1 Promise "d"',
        '1 -> 3 Accept "d"',
        '3 -> 1 Accepted "d"',
    ]
    assert stepper.play(lines) == []
    assert _decided(stepper) == {1: {b"d": b"a"}, 2: {}, 3: {}}
    assert stepper.deliveries == 4
    assert dict(stepper.received) == {"Prepare": 1, "Promise": 1, "Accept": 1, "Accepted": 1}
    (operation,) = stepper.history()
    assert (operation.outcome, operation.out, operation.node) == ("done", b"a", 1)
    assert operation.return_s is not None
    assert operation.call_s < operation.return_s
    assert not stepper.quiet  # the question to node 2 is still under way
    assert stepper.settle()
    assert set(map(tuple, map(dict.items, _decided(stepper).values()))) == {((b"d", b"a"),)}
    assert stepper.judge() == []


def test_the_pool_holds_only_messages_of_the_protocol():
    for nodes in range(1, 8):
        stepper = Stepper(protocol, nodes)
        assert stepper.pool == []
        assert all(_node(stepper, node).identity.introduced for node in stepper.members)
        assert stepper.do(A)
        assert {type(flight.message).__name__ for flight in stepper.pool} <= {"Prepare", "NoneType"}
        assert stepper.settle()
        assert {b"a"} == {known[b"d"] for known in stepper.decisions().values()}


def test_a_promise_waits_for_the_disk():
    stepper = Stepper(protocol)
    assert stepper.play([A, '1 -> 2 Prepare "d"']) == []
    assert not stepper.do('2 -> 1 Promise "d"')
    assert stepper.do("sync 2")
    assert not stepper.do("sync 2")
    assert stepper.do('2 -> 1 Promise "d"')


def test_a_crash_loses_what_was_not_synced():
    for how, remembers in (("lost", False), ("kept", True), ("torn 1", True), ("torn 0", False)):
        stepper = Stepper(protocol)
        stepper.play([A, '1 -> 2 Prepare "d"', f"crash 2 {how}"])
        assert stepper.down() == [2]
        assert not stepper.do('1 -> 2 Prepare "d"')
        assert stepper.do("restart 2")
        replica = _node(stepper, 2).replica
        assert isinstance(replica, BasicReplica)
        assert (replica.acceptor(b"d") is not None) is remembers
        assert stepper.settle()


def test_a_wiped_node_finds_out_and_stops():
    stepper = Stepper(protocol)
    assert stepper.play(["wipe 2", "restart 2"]) == []
    assert stepper.settle()
    assert stepper.up() == [1, 3]
    assert stepper.violations == []
    assert stepper.seen["stopped"] == 1


def test_copies_and_losses():
    stepper = Stepper(protocol, eager=True)
    stepper.play([A, 'duplicate 1 -> 2 Prepare "d"'])
    assert list(map(str, stepper.enabled(faults=False)))[:3] == [
        '1 -> 2 Prepare "d"',
        '1 -> 2 Prepare "d" #2',
        '1 -> 3 Prepare "d"',
    ]
    assert stepper.play(['drop 1 -> 2 Prepare "d" #2', '1 -> 2 Prepare "d"']) == []
    assert not stepper.do('1 -> 2 Prepare "d"')


def test_time_goes_on_only_when_a_node_is_woken():
    stepper = Stepper(protocol, settings=BasicSettings(repeat_s=2.0))
    stepper.play([A])
    assert stepper.now_s == 0
    assert stepper.wakeable() == [1]
    before = len(stepper.pool)
    assert stepper.do("tick 1")
    assert stepper.now_s == 2.0
    assert len(stepper.pool) == before + 2  # the question again
    assert not stepper.do("tick 2")


def test_rejected_is_final_only_if_nobody_else_was_asked():
    stepper = Stepper(protocol, eager=True, settings=BasicSettings(max_open=1))
    stepper.play(['2 submits decide "e" = "b"', '2 submits decide "f" = "c"'])
    assert [op.outcome for op in stepper.history()] == [None, "rejected"]
    # Here node 1 works on what node 2 has no room for.
    stepper = Stepper(protocol, eager=True, settings=BasicSettings(max_open=1))
    stepper.play(['2 submits decide "e" = "b"', A, '2 submits decide "d" = "a"'])
    assert [op.outcome for op in stepper.history()] == [None, "unknown"]
    assert stepper.settle()
    assert {known[b"d"] for known in stepper.decisions().values()} == {b"a"}
    assert stepper.judge() == []


def test_a_repeated_proposal_is_one_request_and_a_client_can_go_away():
    stepper = Stepper(protocol, eager=True)
    stepper.play([A, A, '2 submits decide "d" = "a"'])
    assert len(stepper.history()) == 1
    assert stepper.do('1 forgets decide "d" = "a"')
    assert not stepper.do('1 forgets decide "d" = "never asked"')
    stepper.play(['3 submits decided "d"', '3 submits decided "d"'])
    assert [op.kind for op in stepper.history()] == ["decide", "decided", "decided"]
    assert stepper.settle()


def test_zeros_are_the_boring_run_and_numbers_choose():
    requests = [(1, Asked("decide", b"d", b"a")), (2, Asked("decided", b"d", None))]
    boring = Stepper(protocol, requests=requests)
    # The list outlives what there is to do.
    assert 20 < boring.drive([0] * 200, faults=False) < 60
    assert boring.quiet
    assert boring.unanswered == 0
    assert boring.seen["preempted"] == 0
    for seed in range(10):
        rng = random.Random(seed)
        numbers = [rng.randrange(1000) for _ in range(120)]
        first, again = (Stepper(protocol, requests=requests) for _ in range(2))
        first.drive(numbers)
        again.drive(numbers)
        assert first.judge() == []
        assert first.result() == again.result()
        assert first.moved > 50


def test_every_enabled_move_can_be_made_and_read_back():
    stepper = Stepper(protocol, requests=[(1, Asked("decide", b"d", b"a")), (3, Asked("decide", b"d", b"c"))])
    kinds = set()
    rng = random.Random(3)
    for _ in range(80):
        moves = stepper.enabled()
        for move in moves:
            assert parse_move(str(move)) == move
            kinds.add(move.kind)
        assert stepper.do(rng.choice(moves[:8] if rng.random() < 0.9 else moves))
    assert kinds == set(MOVE_KINDS) - {"wipe", "forget"}


def test_what_a_node_raises_is_a_finding():
    stepper = Stepper(planted.fragile, eager=True)
    stepper.play([B, '2 -> 3 Prepare "d"', A, '1 -> 3 Prepare "d"', '3 -> 1 Nack "d"'])
    (violation,) = stepper.violations
    assert violation.name == "KeyError"
    assert "node 1 stopped" in violation.sentence
    assert stepper.over
    assert not stepper.do(B)


def test_invariants_watch_and_so_do_observers():
    class Counting:
        name = "Counting"

        def __init__(self):
            self.actions = []

        def observe(self, step):
            self.actions.append(step.action)
            return "enough" if step.action == "crash" else None

    counting = Counting()
    stepper = Stepper(protocol, observers=[counting], check=False)
    stepper.play([A, "sync 1", "crash 1", "restart 1"])
    assert [violation.name for violation in stepper.violations] == ["Counting"]
    assert counting.actions[:3] == ["restart", "durable", "receive"]
    assert counting.actions[-3:] == ["durable", "receive", "crash"]
    early = Stepper(planted.early)
    early.play([A])
    assert early.violations == [] or early.violations[0].name == "DurableBeforeSend"
    early.play(['1 -> 2 Prepare "d"'])
    assert [violation.name for violation in early.violations] == ["DurableBeforeSend"]


def test_histories_judge_where_no_invariant_looks():
    blind = attrs.evolve(planted.half, invariants=())
    stepper = Stepper(blind, eager=True)
    stepper.play([A, B])
    assert stepper.violations == []
    assert stepper.judge()[0].name == "Agreement"


def test_events_of_handlers_are_handed_on():
    events: list[Event] = []
    stepper = Stepper(protocol, trace=True, on_event=events.append, eager=True)
    stepper.play([A])
    assert stepper.settle()
    assert {"Phase1a", "Phase1b", "Phase2a", "Phase2b", "Learn"} <= {event.action for event in events}


def test_quorums_and_randomness_are_the_callers():
    drawn = []

    def draw(name, bound):
        drawn.append(name)
        return bound - 1

    system = FlexibleQuorums([2, 4, 6], phase1=1, phase2=3)
    stepper = Stepper(protocol, quorums=system, draw=draw, eager=True)
    assert stepper.members == (2, 4, 6)
    stepper.play(['2 submits decide "d" = "a"', '4 submits decide "d" = "b"'])
    assert stepper.settle()
    assert set(drawn) == {"backoff"}


@pytest.mark.parametrize(
    "line",
    [
        '1 submits decide "d" = "a"',
        '1 submits decided "d \\"quoted\\" ü"',
        '1 submits decide hex"ff00" = "a = b"',
        "12 -> 3 Prepare",
        '1 -> 2 Accepted "d" #3',
        'duplicate 1 -> 2 Promise "a #2"',
        "drop 1 -> 2 Slot 17 #2",
        "sync 1",
        "tick 20",
        "crash 1",
        "crash 1 kept",
        "crash 1 torn 2",
        "wipe 3",
        "restart 3",
        '2 forgets decide "d" = "a"',
        '1 submits delete "k @4" @2',
        '3 submits cas "k" = "w" if nothing @12',
        '2 forgets get "k" @3',
    ],
)
def test_lines_read_back_as_they_were_written(line):
    assert str(parse_move(line)) == line


@pytest.mark.parametrize(
    "line",
    ["", "hello", "1 > 2 Prepare", "0 -> 2 Prepare", "crash", "crash 1 burnt", "sync x", "1 submits",
     '1 submits decide "d"', '1 submits delete "k" @0', '1 submits delete "k" 2',
     '1 submits decide "d" = 3', "tick 1 2", '1 submits decided hex"0g"'],
)  # fmt: skip
def test_what_is_no_move_is_refused(line):
    with pytest.raises(ConfigurationError, match=r"not a (move|request|quoted)"):
        parse_move(line)


def test_strangers_and_nonsense():
    stepper = Stepper(protocol)
    for line in ("sync 9", "crash 9", "tick 9", "restart 1", '1 -> 9 Prepare "d"', '9 submits decided "d"'):
        assert not stepper.do(line)
    assert stepper.moved == 0
    with pytest.raises(ConfigurationError, match=r"nodes: expected a number in 1\.\.100"):
        Stepper(protocol, 0)
    assert topic_of(object()) == ""
    assert str(Move("deliver", 2, 1, "Slotted", "17")) == "1 -> 2 Slotted 17"


def _stopping(when):
    """Nodes that stop at their second start, for a reason of their own: `when` says which."""
    starts: list[int] = []

    class Stopping(BasicReplica):
        def __init__(self, configuration, *more):
            super().__init__(configuration, *more)
            starts.append(configuration.node)
            if configuration.node == when and starts.count(when) == 2:
                raise NodeStopped("the machine can not go on")

    return attrs.evolve(protocol, replica=Stopping)


def test_a_node_with_a_new_disk_that_stops_for_another_reason_has_not_noticed():
    stepper = Stepper(_stopping(2))
    stepper.play(["wipe 2", "restart 2"])
    assert [violation.name for violation in stepper.violations] == ["NodeStopped"]
    assert stepper.seen["stopped"] == 0
    result = run(_stopping(2), faults=Faults(wipes=[Wipe(1.0, 2, 0.1)]), duration_s=3.0)
    assert [violation.name for violation in result.violations] == ["NodeStopped"]
    assert not result.seen.get("stopped")


def test_a_full_pool_loses_messages_and_never_a_sync(monkeypatch):
    monkeypatch.setattr("paxos.sim.stepper._MAX_FLIGHTS", 12)
    stepper = Stepper(protocol, 5)
    assert stepper.do(A)
    assert stepper.seen["overflow"] == 0
    for _ in range(4):  # node 1 asks again and again, and its own disk is not done
        assert stepper.do("tick 1")
    assert len(stepper.pool) == 12
    assert stepper.seen["overflow"] > 0
    assert stepper.do("sync 1")
    assert stepper.settle()


def _stopped_for_good():
    """Node 1 stopped because its disk was lost; nothing is in flight."""
    stepper = Stepper(protocol)
    stepper.play(["wipe 1", "restart 1"])
    assert stepper.settle()
    assert stepper.up() == [2, 3]
    return stepper


def test_who_asks_a_node_that_is_gone_for_good_goes_to_the_next():
    stepper = _stopped_for_good()
    before = stepper.moved
    stepper.requests.append((1, Asked("decide", b"d", b"a")))
    assert stepper.settle()
    assert [(op.home, op.outcome) for op in stepper.history()] == [(2, "done")]
    assert stepper.moved - before < 40


def test_requests_wait_while_nobody_is_up():
    stepper = Stepper(protocol, requests=[(3, Asked("decide", b"d", b"a"))] * 2)
    stepper.play(["crash 1", "crash 2", "crash 3"])
    assert not ask_next(stepper)
    assert len(stepper.requests) == 2
    assert stepper.do("restart 3")
    assert ask_next(stepper)
    # The other one, though equal, is not taken off the list with it.
    assert stepper.requests == [(3, Asked("decide", b"d", b"a"))]


def test_who_asked_a_wiped_node_before_it_stopped_goes_to_the_next(monkeypatch):
    # While everything heals, node 2 is asked once more before it hears that its disk was lost.
    monkeypatch.setattr("paxos.sim.stepper_healing._BEFORE_ASKING", 2)
    monkeypatch.setattr("paxos.sim.stepper_healing._BEFORE_EACH", 0)
    stepper = Stepper(protocol)
    assert stepper.play([B, "wipe 2"]) == []
    assert stepper.heal() == []
    assert stepper.up() == [1, 3]
    assert [(op.home, op.outcome) for op in stepper.history()] == [(2, "done")]


def test_healing_asks_again_and_tells_who_waits_still():
    lost = [A, 'drop 1 -> 2 Prepare "d"', 'drop 1 -> 3 Prepare "d"']
    stepper = Stepper(protocol, eager=True)
    assert stepper.play([*lost, '2 submits decided "d"', "crash 2", "crash 1"]) == []
    assert stepper.heal() == []
    # The client of the read that a crash took asked anew.
    assert [op.outcome for op in stepper.history()] == ["done", None, "done"]
    deaf = Stepper(mutants.asks_only_once, eager=True)
    assert deaf.play(lost) == []
    assert deaf.heal(100) == ['decide "d" = "a"']
    # Nobody is to blame where too few are left.
    few = Stepper(protocol)
    assert few.play(["wipe 1", "restart 1", "wipe 2", "restart 2", '3 submits decided "d"']) == []
    assert few.heal() == []
    assert few.unanswered == 1
