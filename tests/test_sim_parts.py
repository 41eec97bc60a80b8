"""The parts of the simulator by themselves: choices, disk, network."""

from collections import Counter
from typing import Any, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.basic import MESSAGES, Ask
from paxos.errors import ConfigurationError
from paxos.sim import Choices, Crash, Cut, Faults, Hardware, Pause, SlowNode, Topology, Wipe, Workload
from paxos.sim.disk import Disk
from paxos.sim.faults import plan_of
from paxos.sim.network import Network

# --- what people write -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Crash, Cut, Faults, Hardware, Pause, SlowNode, Topology, Wipe, Workload])
def test_a_checker_of_types_sees_what_each_field_takes(kind):
    hints = get_type_hints(kind.__init__)
    names = {field.name for field in attrs.fields(kind)}
    assert hints.keys() == {*names, "return"}
    assert Any not in hints.values()


# --- choices ---------------------------------------------------------------------------------------


def test_seeded_choices_are_the_same_everywhere():
    # The generator's `random()` is the same on every version and machine; these numbers are too.
    choices = Choices(7)
    assert [choices.draw("x", 1000) for _ in range(6)] == [323, 150, 650, 72, 535, 365]


@given(st.integers(), st.lists(st.integers(1, 10**6), max_size=50))
def test_what_is_recorded_replays(seed, bounds):
    first = Choices(seed)
    drawn = [first.draw("x", bound) for bound in bounds]
    assert all(0 <= value < bound for value, bound in zip(drawn, bounds, strict=True))
    again = Choices(0, first.recorded)
    assert [again.draw("x", bound) for bound in bounds] == drawn
    assert again.recorded == first.recorded


def test_choices_run_out_to_zeros():
    choices = Choices(0, [3, 0, 12])
    assert [choices.draw("x", 10) for _ in range(5)] == [3, 0, 2, 0, 0]
    assert choices.recorded == (3, 0, 2)


def test_what_is_no_choice_is_not_recorded():
    choices = Choices(1)
    assert choices.draw("x", 1) == 0
    assert not choices.happens("x", 0.0)
    assert choices.recorded == ()
    with pytest.raises(ConfigurationError, match="draw 'x': a bound of 0"):
        choices.draw("x", 0)


def test_happens_as_often_as_said():
    choices = Choices(1)
    assert 250 < sum(choices.happens("x", 0.3) for _ in range(1000)) < 350
    assert not Choices(0, []).happens("x", 0.999)


# --- disk ------------------------------------------------------------------------------------------


def test_what_waits_leaves_after_all_writes_before_it():
    disk = Disk()
    assert disk.take([], [(1, "at once")])
    assert not disk.take([(b"a", b"1")], [(2, "one")])
    assert disk.start()
    assert not disk.take([(b"b", b"2")], [(2, "two")])
    assert not disk.take([], [(2, "three")])
    assert not disk.start()
    assert disk.durable == {}
    assert disk.finish() == [(2, "one")]
    assert disk.durable == {b"a": b"1"}
    assert disk.start()
    assert disk.finish() == [(2, "two"), (2, "three")]
    assert not disk.start()
    assert disk.durable == {b"a": b"1", b"b": b"2"}


def test_what_brings_nothing_waits_for_the_sync_under_way_only():
    disk = Disk()
    disk.take([(b"a", b"1")], [(2, "one")])
    disk.start()
    assert not disk.take([], [(2, "two")])
    disk.take([(b"b", b"2")], [(2, "three")])
    assert disk.finish() == [(2, "one"), (2, "two")]
    disk.start()
    assert disk.finish() == [(2, "three")]


def _filled() -> Disk:
    disk = Disk(b"r")
    disk.take([(b"ra", b"old"), (b"n", b"0")], [])
    disk.start()
    disk.finish()
    disk.take([(b"ra", b"1")], [(2, "one")])
    disk.start()
    disk.take([(b"ra", None), (b"rb", b"2")], [(2, "two")])
    disk.take([], [(2, "three")])
    disk.take([(b"rc", b"3")], [])
    return disk


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (0, {b"a": b"old"}),
        (1, {b"a": b"1"}),
        (2, {b"b": b"2"}),
        (3, {b"b": b"2", b"c": b"3"}),
    ],
)
def test_a_crash_keeps_a_prefix_of_whole_batches(keep, expected):
    disk = _filled()
    assert disk.unsynced == 3
    disk.crash(keep)
    assert disk.replica_records == expected
    assert disk.durable == {b"n": b"0", **{b"r" + key: value for key, value in expected.items()}}
    assert not disk.working
    assert disk.unsynced == 0
    assert disk.take([], [(1, "nothing waits any more")])


def test_a_wipe_keeps_nothing():
    disk = _filled()
    disk.wipe()
    assert disk.durable == disk.replica_records == {}


# --- network ---------------------------------------------------------------------------------------


def _network(faults=None, choices=(), hardware=None):
    seen: Counter[str] = Counter()
    topology = Topology.uniform(10.0)
    source = Choices(0, list(choices))
    return Network(
        topology, hardware or Hardware(), (1, 2, 3), faults or Faults(), source, MESSAGES, seen
    ), seen


def test_a_plain_network_is_nominal():
    network, _ = _network()
    assert network.plain
    assert network.route(1, 2, Ask(b"d"), 5) == (10_000_005,)


def test_each_fate_of_a_message():
    faults = Faults(loss=0.1, duplicate=0.1, reorder=0.1)
    network, seen = _network(faults, [900, 899, 0, 800, 799, 700, 999, 699])
    assert not network.plain
    assert network.route(1, 2, Ask(b""), 0) == ()
    assert network.route(1, 2, Ask(b""), 0) == (10_000_000, 10_041_000)
    assert network.route(1, 2, Ask(b""), 0) == (10_000_000, 10_000_000 + 41_000_000 * 800 // 1000)
    assert network.route(1, 2, Ask(b""), 0) == (10_000_000 + 41_000_000,)
    assert network.route(1, 2, Ask(b""), 1) == (10_000_001,)
    assert dict(seen) == {"lost": 1, "duplicated": 2, "reordered": 1}
    network.heal()
    assert network.plain is False
    assert network.route(1, 2, Ask(b""), 2) == (10_000_002,)


def test_a_link_keeps_its_order_under_jitter():
    network, _ = _network(Faults(jitter=1.0), [999, 0, 500])
    assert network.route(1, 2, Ask(b""), 0) == (19_990_000,)
    assert network.route(1, 2, Ask(b""), 1) == (19_990_000,)
    assert network.route(2, 1, Ask(b""), 1) == (15_000_001,)


def test_a_cut_is_undone_by_its_own_mending():
    network, seen = _network()
    one, two = Cut(0, [1], [2]), Cut(0, [1, 2], [2, 3])
    network.cut(one)
    network.cut(two)
    assert network.route(1, 2, Ask(b""), 0) == ()
    assert network.route(2, 1, Ask(b""), 0) == (10_000_000,)
    network.mend(one)
    assert not network.reaches(1, 2)
    assert not network.reaches(2, 3)
    assert network.reaches(3, 2)
    network.heal()
    network.mend(two)
    assert network.plain
    assert network.reaches(1, 2)
    assert seen["cut"] == 1


def test_a_narrow_link_sends_one_after_the_other():
    network, _ = _network(hardware=Hardware(bandwidth_bytes_s=1000))
    length = len(MESSAGES.encode((Ask(b"d"),)))
    first, second = (network.route(1, 2, Ask(b"d"), 0)[0] for _ in range(2))
    assert first == 10_000_000 + length * 1_000_000
    assert second == first + length * 1_000_000
    assert network.route(2, 1, Ask(b"d"), 0) == (first,)


# --- plans -----------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 10**7), max_size=200), st.sampled_from([(1,), (1, 2, 3), tuple(range(1, 60))]))
def test_any_choices_make_a_plan_that_fits(values, members):
    faults = Faults.named("all,wipe")
    plan = plan_of(faults, members, 10.0, Choices(0, values))
    Faults(
        crashes=[each for each in plan if isinstance(each, Crash)],
        partitions=[each for each in plan if isinstance(each, Cut)],
    ).check(members, 10.0)
    assert [each.at_s for each in plan] == sorted(each.at_s for each in plan)
    assert plan_of(faults, members, 10.0, Choices(0, [])) == []
