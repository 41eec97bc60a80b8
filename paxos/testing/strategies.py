"""Hypothesis strategies for everything that tests of consensus take as input.

What they give is valid: whatever the constructors and the simulator refuse is not among it, so a test needs
no `assume`.  Examples shrink to what is small and unremarkable: few members, a majority, no faults, the
schedule in which everything arrives in order.

    from hypothesis import given
    from paxos.testing import strategies as paxos_st

    @given(paxos_st.quorum_systems(members=range(1, 6)))
    def test_something(quorums): ...

Most types are registered with Hypothesis too, so that `st.from_type(paxos.Ballot)` gives the same.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from paxos.ballot import Ballot, NodeId
from paxos.basic import BasicSettings, Proposer
from paxos.check.history import Operation
from paxos.check.sample import sample_history
from paxos.command import ALL, NOTHING, Command, Footprint, KeyRange, RequestId, digest_of
from paxos.errors import ConfigurationError
from paxos.quorum import (
    ExplicitQuorums,
    FastQuorums,
    FlexibleQuorums,
    GridQuorums,
    Majority,
    QuorumSystem,
    WeightedQuorums,
)
from paxos.service import wipes_detected
from paxos.sim.faults import Crash, Cut, Faults, Pause, SlowNode, Wipe
from paxos.sim.moves import Asked, Move
from paxos.sim.topology import Hardware, Topology, topology_names
from paxos.sim.workload import Workload

__all__ = [
    "ballots",
    "basic_settings",
    "broken_histories",
    "commands",
    "crashes",
    "cuts",
    "explicit_quorums",
    "fast_quorums",
    "fault_plans",
    "flexible_quorums",
    "footprints",
    "grid_quorums",
    "hardware",
    "histories",
    "key_ranges",
    "keys",
    "majorities",
    "members",
    "moves",
    "pauses",
    "proposers",
    "quorum_systems",
    "request_ids",
    "requests",
    "schedules",
    "slow_nodes",
    "topologies",
    "weighted_quorums",
    "wipes",
    "workloads",
]

T = TypeVar("T")
#: Members of a cluster, or a strategy for them, or None for any.
Members = Iterable[NodeId] | SearchStrategy[tuple[NodeId, ...]] | None

#: Members where nobody says how many: every kind of quorum system is cheap to build for so many.
_MEMBERS_MAX: Final = 7
_WEIGHT_MAX: Final = 4
_ROUND_MAX: Final = (1 << 62) - 1
_BIRTH_MAX: Final = (1 << 63) - 1


# --- words -------------------------------------------------------------------------------------------


def members(min_size: int = 1, max_size: int = _MEMBERS_MAX) -> SearchStrategy[tuple[NodeId, ...]]:
    """Ids of the members of a cluster, ascending: mostly 1, 2, 3, ..., sometimes with gaps.

    Args:
        min_size, max_size: how many.
    """
    close = st.integers(min_size, max_size).map(lambda size: tuple(range(1, size + 1)))
    apart = st.sets(st.integers(1, 1000), min_size=min_size, max_size=max_size)
    return st.one_of(close, apart.map(lambda ids: tuple(sorted(ids))))


def ballots(
    nodes: Members = None, *, max_round: int = 1000, fast: bool = True, bottom: bool = False
) -> SearchStrategy[Ballot]:
    """Ballots; small ones first, since what is wrong shows in those.

    Args:
        nodes: who may own one; None for 1 to 7.
        max_round: the highest round.
        fast: some with steps above 0, as Fast Paxos has.
        bottom: `BOTTOM`, which is below all, too.
    """
    owners = _given(nodes, 1).flatmap(st.sampled_from)
    rounds = st.one_of(st.integers(0, min(3, max_round)), st.integers(0, max_round))
    made = st.builds(Ballot, rounds, owners, st.integers(0, 3) if fast else st.just(0))
    return st.one_of(made, st.just(Ballot(-1, 0, 0))) if bottom else made


def keys(few: int = 4) -> SearchStrategy[bytes]:
    """Keys of commands: mostly a few short ones, so that commands meet; sometimes any bytes.

    Args:
        few: how many short ones there are.
    """
    short = st.sampled_from([b"k%d" % number for number in range(few)])
    return st.one_of(short, short, short, st.binary(max_size=12))


def key_ranges(of: SearchStrategy[bytes] | None = None) -> SearchStrategy[KeyRange]:
    """Half-open ranges of keys, never empty.

    Args:
        of: strategy for keys.
    """
    bounds = st.tuples(keys() if of is None else of, st.none() | (keys() if of is None else of))
    return bounds.filter(lambda pair: pair[1] is None or pair[0] != pair[1]).map(_range)


def _range(bounds: tuple[bytes, bytes | None]) -> KeyRange:
    low, high = bounds
    return KeyRange(low, None) if high is None else KeyRange(min(low, high), max(low, high))


def footprints(of: SearchStrategy[bytes] | None = None, *, ranges: bool = True) -> SearchStrategy[Footprint]:
    """What a command reads and writes: keys, ranges, everything, or nothing.

    Args:
        of: strategy for keys.
        ranges: some with ranges.
    """
    some = st.lists(keys() if of is None else of, max_size=3)
    wide = st.lists(key_ranges(of), max_size=2) if ranges else st.just([])
    made = st.builds(
        lambda reads, writes, read_ranges, write_ranges: Footprint.of(
            reads=reads, writes=writes, read_ranges=read_ranges, write_ranges=write_ranges
        ),
        some,
        some,
        wide,
        wide,
    )
    return st.one_of(made, st.sampled_from([NOTHING, ALL]))


def request_ids(payloads: SearchStrategy[bytes] | None = None) -> SearchStrategy[RequestId]:
    """Ids of requests, of few clients, so that one client has several.

    Args:
        payloads: strategy for the commands that they are for.
    """
    clients = st.one_of(
        st.integers(0, 3).map(lambda n: n.to_bytes(16, "big")), st.binary(min_size=16, max_size=16)
    )
    return st.builds(
        RequestId,
        clients,
        st.one_of(st.just(0), st.integers(0, _BIRTH_MAX)),
        st.one_of(st.integers(1, 20), st.integers(1, _BIRTH_MAX)),
        (st.binary(max_size=20) if payloads is None else payloads).map(digest_of),
    )


def commands(
    of: SearchStrategy[Footprint] | None = None, payloads: SearchStrategy[bytes] | None = None
) -> SearchStrategy[Command]:
    """Commands, whose request id carries the digest of their payload.

    Args:
        of: strategy for footprints.
        payloads: strategy for payloads.
    """

    def make(request: RequestId, footprint: Footprint, payload: bytes) -> Command:
        return Command(request._replace(digest=digest_of(payload)), footprint, payload)

    return st.builds(
        make,
        request_ids(),
        footprints() if of is None else of,
        st.binary(max_size=20) if payloads is None else payloads,
    )


# --- quorum systems ----------------------------------------------------------------------------------


def quorum_systems(of: Members = None, *, fast: bool = False) -> SearchStrategy[QuorumSystem]:
    """Quorum systems of every kind that comes along, all proved to intersect.

    Args:
        of: the members, or a strategy for them.
        fast: only those that have fast quorums.
    """
    kinds: list[SearchStrategy[QuorumSystem]] = [
        majorities(of),
        fast_quorums(of),
        flexible_quorums(of, fast=fast),
    ]
    kinds += [weighted_quorums(of, fast=fast), explicit_quorums(of, fast=fast)]
    if not fast:
        kinds.append(grid_quorums(of))
    return st.one_of(kinds)


def majorities(of: Members = None) -> SearchStrategy[Majority]:
    """More than half of some members. For `of` see `quorum_systems`."""
    return _given(of).map(Majority)


@st.composite
def _flexible(draw: DrawFn, of: Members, fast: bool) -> FlexibleQuorums:
    ids = draw(_given(of))
    size = len(ids)
    phase1 = draw(st.integers(1, size))
    phase2 = draw(st.integers(size + 1 - phase1, size))
    least = (2 * size - phase1) // 2 + 1
    with_fast = fast or (least <= size and draw(st.booleans()))
    return FlexibleQuorums(ids, phase1, phase2, draw(st.integers(least, size)) if with_fast else None)


def flexible_quorums(of: Members = None, *, fast: bool = False) -> SearchStrategy[FlexibleQuorums]:
    """A size for each phase. For the arguments see `quorum_systems`."""
    return _flexible(of, fast)


@st.composite
def _fast(draw: DrawFn, of: Members) -> FastQuorums:
    ids = draw(_given(of))
    size = len(ids)
    classic = draw(st.integers(size // 2 + 1, size))
    least = (2 * size - classic) // 2 + 1
    return FastQuorums(ids, classic, draw(st.none() | st.integers(least, size)))


def fast_quorums(of: Members = None) -> SearchStrategy[FastQuorums]:
    """One size for both classic phases and one for fast ballots. For `of` see `quorum_systems`."""
    return _fast(of)


@st.composite
def _weighted(draw: DrawFn, of: Members, fast: bool) -> WeightedQuorums:
    ids = draw(_given(of))
    weights = {node: draw(st.integers(0, _WEIGHT_MAX)) for node in ids}
    if not any(weights.values()):
        weights[ids[0]] = 1
    total = sum(weights.values())
    # Thresholds that add up to more than all the weight there is always intersect.
    phase1 = draw(st.integers(1, total))
    phase2 = draw(st.integers(total + 1 - phase1, total))
    least = (2 * total - phase1) // 2 + 1
    with_fast = fast or draw(st.booleans())
    return WeightedQuorums(weights, phase1, phase2, draw(st.integers(least, total)) if with_fast else None)


def weighted_quorums(of: Members = None, *, fast: bool = False) -> SearchStrategy[WeightedQuorums]:
    """Weights and thresholds. For the arguments see `quorum_systems`."""
    return _weighted(of, fast)


@st.composite
def _grid(draw: DrawFn, of: Members) -> GridQuorums:
    ids = draw(st.permutations(draw(_given(of))))
    width = draw(st.sampled_from([each for each in range(1, len(ids) + 1) if len(ids) % each == 0]))
    return GridQuorums([ids[start : start + width] for start in range(0, len(ids), width)])


def grid_quorums(of: Members = None) -> SearchStrategy[GridQuorums]:
    """A full row for phase 1, a full column for phase 2. For `of` see `quorum_systems`."""
    return _grid(of)


@st.composite
def _explicit(draw: DrawFn, of: Members, fast: bool) -> ExplicitQuorums:
    ids = draw(_given(of))
    # A hub in every quorum makes any sets intersect; so does taking more than half, and others are checked.
    hub = draw(st.sampled_from(ids))
    sets = draw(st.lists(st.sets(st.sampled_from(ids)), min_size=1, max_size=5))
    hubs = [each | {hub} for each in sets]
    most = len(ids) // 2 + 1
    one: Collection[Collection[NodeId]] = hubs
    two: Collection[Collection[NodeId]] | None = None
    kind = draw(st.integers(0, 2))
    if kind == 1:
        one = [
            set(ids[start:] + ids[:start]) - set((ids[start:] + ids[:start])[most:])
            for start in range(len(ids))
        ]
    elif kind == 2:
        two = [each | {hub} for each in draw(st.lists(st.sets(st.sampled_from(ids)), min_size=1, max_size=4))]
    given = [{hub} | set(ids)] if kind == 1 else [{*each, hub} for each in sets]
    return ExplicitQuorums(ids, one, two, given if fast or draw(st.booleans()) else None)


def explicit_quorums(of: Members = None, *, fast: bool = False) -> SearchStrategy[ExplicitQuorums]:
    """Sets, listed. For the arguments see `quorum_systems`."""
    return _explicit(of, fast)


def _given(of: Members, min_size: int = 1) -> SearchStrategy[tuple[NodeId, ...]]:
    if of is None:
        return members(min_size)
    if isinstance(of, SearchStrategy):
        return of
    found = tuple(sorted(of))
    if not found:
        raise ConfigurationError("members: a cluster has at least one")
    return st.just(found)


# --- Basic Paxos ---------------------------------------------------------------------------------------


def _setting(default: float, low: float, high: float) -> SearchStrategy[float]:
    """The default, the least and the most that is allowed, and all between."""
    return st.one_of(st.just(default), st.sampled_from([low, high]), st.floats(low, high))


def basic_settings(of: Members = None) -> SearchStrategy[BasicSettings]:
    """Settings of Basic Paxos, extreme ones among them: safe all of them, and some slow.

    Args:
        of: the members, or a strategy for them: one of them may be the distinguished proposer.
    """
    plain = BasicSettings()
    return st.builds(
        BasicSettings,
        repeat_s=_setting(plain.repeat_s, 0.001, 60.0),
        repeat_max_s=_setting(plain.repeat_max_s, 0.001, 600.0),
        backoff_s=_setting(plain.backoff_s, 0.0001, 60.0),
        backoff_max_s=_setting(plain.backoff_max_s, 0.001, 600.0),
        distinguished=st.none() | _given(of).flatmap(st.sampled_from),
        patience_s=_setting(plain.patience_s, 0.001, 60.0),
        ask_s=_setting(plain.ask_s, 0.001, 600.0),
        ask_tries=st.just(plain.ask_tries) | st.integers(0, 64),
        max_open=st.just(plain.max_open) | st.integers(1, 1_000_000),
        reserve_rounds=st.just(plain.reserve_rounds) | st.integers(1, 1_000_000),
    )


def proposers(of: Members = None) -> SearchStrategy[Proposer]:
    """Proposers that did nothing yet, each at a member of its quorum system.

    Args:
        of: the members, or a strategy for them.
    """

    def made(system: QuorumSystem) -> SearchStrategy[Proposer]:
        values = st.none() | st.binary(max_size=20)
        return st.builds(Proposer, st.sampled_from(system.members), st.just(system), values, decree=keys())

    return quorum_systems(of).flatmap(made)


# --- inputs of a simulated run -----------------------------------------------------------------------


@st.composite
def _drawn_topology(draw: DrawFn, nodes: int) -> Topology:
    sites = tuple(f"s{number}" for number in range(1, nodes + 1))
    delays = st.integers(0, 1500).map(lambda tenths: tenths / 10)
    rows = tuple(tuple(0.0 if one == other else draw(delays) for other in sites) for one in sites)
    return Topology("drawn", sites, rows)


def topologies(nodes: int = 3) -> SearchStrategy[Topology]:
    """Where nodes are: one local network, equally far apart, published regions, or any delays at all.

    Args:
        nodes: how many must fit.
    """
    known = [Topology.named(name) for name in topology_names()]
    fit = [topology for topology in known if not topology.sites or len(topology.sites) >= nodes]
    uniform = st.sampled_from([0.0, 0.1, 1.0, 20.0, 100.0]).map(Topology.uniform)
    return st.one_of(st.just(Topology.named("lan")), uniform, st.sampled_from(fit), _drawn_topology(nodes))


def hardware() -> SearchStrategy[Hardware]:
    """Machines: disks, processors and links that are fast, or slow, or very slow."""
    return st.builds(
        Hardware,
        sync_s=st.sampled_from([0.0005, 0.0, 0.01, 0.2]) | st.floats(0, 1),
        service_s=st.sampled_from([0.0, 0.0001, 0.005]) | st.floats(0, 0.02),
        bandwidth_bytes_s=st.none() | st.sampled_from([1e4, 1e6, 1e9]),
    )


def _at_s(duration_s: float) -> SearchStrategy[float]:
    return st.integers(0, 99).map(lambda part: duration_s * part / 100)


def _for_s(duration_s: float) -> SearchStrategy[float]:
    return st.integers(1, 33).map(lambda part: duration_s * part / 100)


def crashes(of: Members = (1, 2, 3), duration_s: float = 10.0) -> SearchStrategy[Crash]:
    """Crashes, with what becomes of writes that no sync covered. For the arguments see `fault_plans`."""
    node, for_s = _given(of).flatmap(st.sampled_from), _for_s(duration_s)
    unsynced, when = st.sampled_from(["lost", "torn", "kept"]), st.sampled_from(["now", "writing"])
    return st.builds(Crash, _at_s(duration_s), node, st.none() | for_s, unsynced, when)


def cuts(of: Members = (1, 2, 3), duration_s: float = 10.0) -> SearchStrategy[Cut]:
    """Links that carry nothing for a while, one way or both. For the arguments see `fault_plans`."""

    def made(ids: tuple[NodeId, ...]) -> SearchStrategy[Cut]:
        side = st.sets(st.sampled_from(ids), min_size=1).map(lambda nodes: tuple(sorted(nodes)))
        return st.builds(Cut, _at_s(duration_s), side, side, st.none() | _for_s(duration_s))

    return _given(of).flatmap(made)


def pauses(of: Members = (1, 2, 3), duration_s: float = 10.0) -> SearchStrategy[Pause]:
    """Nodes that stand still for a while. For the arguments see `fault_plans`."""
    return st.builds(Pause, _at_s(duration_s), _given(of).flatmap(st.sampled_from), _for_s(duration_s))


def slow_nodes(of: Members = (1, 2, 3), duration_s: float = 10.0) -> SearchStrategy[SlowNode]:
    """Nodes that are slow for a while. For the arguments see `fault_plans`."""
    node, service_s = _given(of).flatmap(st.sampled_from), st.sampled_from([0.001, 0.01])
    return st.builds(SlowNode, _at_s(duration_s), node, _for_s(duration_s), service_s)


def wipes(of: Members = (1, 2, 3), duration_s: float = 10.0) -> SearchStrategy[Wipe]:
    """Disks that are lost. For the arguments see `fault_plans`."""
    return st.builds(Wipe, _at_s(duration_s), _given(of).flatmap(st.sampled_from), _for_s(duration_s))


@st.composite
def _drawn_faults(draw: DrawFn, ids: tuple[NodeId, ...], duration_s: float, wiped: bool) -> Faults:
    share = st.one_of(st.just(0.0), st.sampled_from([0.01, 0.05, 0.1, 0.3]))
    most = wipes_detected(len(ids)) if wiped else 0
    return Faults(
        loss=draw(share),
        duplicate=draw(share),
        reorder=draw(share),
        jitter=draw(st.sampled_from([0.0, 0.5, 3.0])),
        slow_disk=draw(share),
        skew_s=draw(st.sampled_from([0.0, 5.0])),
        drift=draw(st.sampled_from([0.0, 0.05])),
        crashes=draw(st.lists(crashes(ids, duration_s), max_size=3)),
        partitions=draw(st.lists(cuts(ids, duration_s), max_size=3)),
        pauses=draw(st.lists(pauses(ids, duration_s), max_size=2)),
        slow_nodes=draw(st.lists(slow_nodes(ids, duration_s), max_size=2)),
        wipes=draw(st.lists(wipes(ids, duration_s), max_size=most)),
    )


def fault_plans(
    of: Members = (1, 2, 3), duration_s: float = 10.0, *, wipes: bool = True
) -> SearchStrategy[Faults]:
    """What goes wrong in a run of `paxos.sim.run`; it shrinks to nothing.

    Args:
        of: the members, or a strategy for them.
        duration_s: how long the run has faults, virtual seconds; all begin before its end.
        wipes: some with lost disks, never more than the others certainly notice.
    """
    return _given(of).flatmap(lambda ids: _drawn_faults(ids, duration_s, wipes))


def workloads(max_operations: int = 40) -> SearchStrategy[Workload]:
    """What clients do in a run of `paxos.sim.run`.

    Args:
        max_operations: how many operations at most.
    """

    share = st.sampled_from([0.0, 0.2, 0.7])

    @st.composite
    def made(draw: DrawFn) -> Workload:
        names = draw(st.one_of(st.integers(1, 12), st.none()))
        think_s = draw(st.sampled_from([None, 0.0, 0.05]))
        return Workload(
            operations=draw(st.integers(0, max_operations)),
            clients=draw(st.integers(1, 4)),
            think_s=think_s,
            rate=draw(st.sampled_from([None, 10.0, 200.0])) if think_s is None else None,
            names=names,
            window=None if names is None else draw(st.none() | st.integers(1, names)),
            reads=draw(st.sampled_from([0.0, 0.2, 0.7])),
            value_bytes=draw(st.sampled_from([1, 16, 200])),
            timeout_s=draw(st.sampled_from([0.05, 0.5, 2.0])),
            increments=draw(share),
            deletes=draw(share),
            swaps=draw(share),
            logged=draw(share),
            scans=draw(share),
            stale=draw(share),
        )

    return made()


# --- schedules of the directed simulator -------------------------------------------------------------


def requests(
    names: Collection[bytes] = (b"d", b"e"), *, reads: bool = True, log: bool = False
) -> SearchStrategy[Asked]:
    """What a client asks of a cluster: of one that decides decrees, or of one with a log.

    Args:
        names: of the decrees, or keys of the log.
        reads: some only read.
        log: commands and queries of the key-value machine above a log.
    """
    name = st.sampled_from(sorted(names))
    values = st.sampled_from([b"a", b"b", b"c"])
    if log:
        return _log_requests(name, values, reads)
    proposal = st.builds(Asked, st.just("decide"), name, values, st.none(), st.just(0))
    question = st.builds(Asked, st.just("decided"), name, st.none(), st.none(), st.just(0))
    return proposal | question if reads else proposal


def _log_requests(
    name: SearchStrategy[bytes], values: SearchStrategy[bytes], reads: bool
) -> SearchStrategy[Asked]:
    nothing, number = st.none(), st.integers(0, 3).map(lambda each: 0 if each == 1 else each)
    written = st.builds(Asked, st.just("put"), name, values, nothing, number)
    counted = st.builds(
        Asked, st.just("increment"), st.just(b"n"), st.sampled_from([b"1", b"2"]), nothing, number
    )
    swapped = st.builds(Asked, st.just("cas"), name, values, nothing | values, number)
    deleted = st.builds(Asked, st.just("delete"), name, nothing, nothing, number)
    kinds = st.sampled_from(["read", "get", "stale"])
    question = st.builds(Asked, kinds, name | st.just(b"n"), nothing, nothing, number)
    commands = written | counted | swapped | deleted
    return commands | question if reads else commands


def moves(of: Members = (1, 2, 3), *, log: bool = False) -> SearchStrategy[Move]:
    """Moves that need no message: requests, ticks, syncs, crashes, restarts.

    Args:
        of: the members, or a strategy for them.
        log: requests of clients of a log; of decrees otherwise.
    """
    node = _given(of).flatmap(st.sampled_from)
    kinds = st.sampled_from(["tick", "sync", "restart", "crash"])
    plain = st.tuples(kinds, node).map(lambda pair: Move(*pair))
    asks = st.builds(lambda at, asked: Move("submit", at, asked=asked), node, requests(log=log))
    return asks | plain


def schedules(max_moves: int = 120) -> SearchStrategy[list[int]]:
    """Numbers for `Stepper.drive`, which takes each as an index into what can happen next; 0 is boring.

    Most are small, so that most messages arrive and not every second node crashes.

    Args:
        max_moves: how many at most.
    """
    number = st.one_of(st.just(0), st.integers(0, 3), st.integers(0, 12), st.integers(0, 400))
    return st.lists(number, max_size=max_moves)


# --- histories -----------------------------------------------------------------------------------------


def histories(
    model: str = "kv", max_operations: int = 60, *, unknown: bool = True
) -> SearchStrategy[tuple[Operation, ...]]:
    """Histories that are linearizable, by construction.

    Args:
        model: "decree", "register", "kv" or "log".
        max_operations: how many at most.
        unknown: some operations have no answer.
    """
    return st.builds(
        lambda operations, clients, few, seed, lost: sample_history(
            model, operations, clients, few, seed, unknown=lost
        ),
        st.integers(0, max_operations),
        st.integers(1, 6),
        st.integers(1, 3),
        st.integers(0, 1 << 32),
        st.sampled_from([0.0, 0.05, 0.3]) if unknown else st.just(0.0),
    )


def broken_histories(model: str = "kv", max_operations: int = 60) -> SearchStrategy[tuple[Operation, ...]]:
    """Histories that are certainly not linearizable: a good one with a mistake planted.

    Among the mistakes are a stale read, a lost update, a split decision, and a value from nowhere.

    Args:
        model: "decree", "register", "kv" or "log".
        max_operations: how many at most, without the two or three of the mistake.
    """
    if model not in _MISTAKES:
        raise ConfigurationError(f"no mistakes for model {model!r:.80}; there are for {', '.join(_MISTAKES)}")
    return st.builds(
        _planted, histories(model, max_operations), st.sampled_from(_MISTAKES[model]), st.integers(0, 1000)
    )


#: What clients do one after the other, all of it after whatever else happened: op, key, value, old, out.
_Mistake = tuple[tuple[str, Any, Any, Any, Any], ...]
_KEY: Final = b"planted"
_STALE: Final[_Mistake] = (
    ("put", _KEY, b"old", None, None),
    ("put", _KEY, b"new", None, None),
    ("get", _KEY, None, None, b"old"),
)
_LOST_UPDATE: Final[_Mistake] = (
    ("put", _KEY, b"old", None, None),
    ("cas", _KEY, b"mine", b"old", True),
    ("cas", _KEY, b"yours", b"old", True),
)
_NOWHERE: Final[_Mistake] = (("get", _KEY, None, None, b"nobody's"),)
_MISTAKES: Final[dict[str, tuple[_Mistake, ...]]] = {
    "register": (_STALE, _LOST_UPDATE, _NOWHERE),
    "kv": (_STALE, _LOST_UPDATE, _NOWHERE),
    "decree": (
        (("decide", _KEY, b"one", None, b"one"), ("decide", _KEY, b"other", None, b"other")),
        (("decide", _KEY, b"one", None, b"one"), ("decide", _KEY, None, None, None)),
        (("decide", _KEY, None, None, b"nobody's"),),
    ),
    "log": (
        (("submit", None, b"one", None, 100_000),),
        (("submit", None, b"one", None, None), ("get", 0, None, None, None)),
    ),
}


def _planted(history: tuple[Operation, ...], mistake: _Mistake, at: int) -> tuple[Operation, ...]:
    """The mistake is about a key of its own, so it may stand at any time; a log's stands at the end."""
    times = [op.call_s for op in history] + [op.return_s for op in history if op.return_s is not None]
    end = max(times, default=0.0)
    begin = end * (at / 1000) if mistake[0][1] is not None else end + 1.0
    planted = [
        Operation(f"mistake {number}", op, key, value, old, begin + number + 0.1, begin + number + 0.2, out)
        for number, (op, key, value, old, out) in enumerate(mistake)
    ]
    return tuple(sorted([*history, *planted], key=lambda op: op.call_s))
