"""`paxos bench real`: the same clients simulated and on real processes, and by how much reality is slower."""

import json
from typing import Any

import anyio
import attrs
import pytest

import paxos
from paxos.check.history import Operation
from paxos.cli import main
from paxos.cli.bench_real import _checked, _run
from paxos.cli.command import build_parser
from paxos.cli.real_cluster import Answered, Asked, _serve_echo
from paxos.cli.real_relay import relay_process
from paxos.compare import WrongRun, find_place, run
from paxos.contract import find_protocol
from paxos.errors import EXIT_DONE, EXIT_USAGE
from paxos.runtime.timed import COMMITS, timed, timed_name

pytestmark = pytest.mark.once

Capture = pytest.CaptureFixture[str]


def test_real_processes_are_no_faster_than_distances(capsys: Capture) -> None:
    """Every figure is there, and what is injected is a hard lower bound. How slow a machine is, is open."""
    arguments = ["--topology", "uniform:40", "--nodes", "3", "--protocols", "epaxos", "--conflict", "0"]
    arguments += ["--clients", "2", "--commands", "12"]
    assert main(["bench", "real", *arguments, "--json"]) == EXIT_DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["bench"], found["topology"], found["sites"]) == ("real", "uniform:40", ["s1", "s2", "s3"])
    (one,) = found["runs"]
    assert (one["protocol"], one["conflict"], one["leader"], one["unanswered"]) == ("epaxos", 0, None, 0)
    # Near and far 36 commands and one for each of 6 clients before, and 5 keys read at 3 sites.
    assert one["checked"] == 2 * (36 + 6 + 15)
    assert 0 < one["near_p50_ms"] <= one["near_p99_ms"]
    assert 0 <= one["relay_p50_ms"] <= one["relay_p99_ms"]
    assert one["real_per_s"] > 0
    assert one["simulated_per_s"] > 0
    assert [site["name"] for site in one["sites"]] == found["sites"]
    for site in one["sites"]:
        commit, execute = site["commit"], site["execute"]
        assert (site["bound_ms"], site["contended_bound_ms"], site["commands"]) == (40, 80, 12)
        assert commit["simulated_p50"] == commit["simulated_p99"] == execute["simulated_p99"] == 40
        # The replica's own clock and the client's: neither hears of it before the distance allows.
        assert 40 <= commit["real_p50"] <= commit["real_p99"]
        assert 40 <= execute["real_p50"] <= execute["real_p99"]
        assert commit["real_p50"] <= execute["real_p50"]
        assert site["low_ms"] == 40
        assert site["low_ms"] + one["near_p99_ms"] <= site["high_ms"] + 0.01
        assert one["near_p50_ms"] <= site["overhead_ms"] + 0.01
        assert site["within"] == (39 <= execute["real_p50"] <= site["high_ms"] + 1)
    assert found["within"] == sum(site["within"] for site in one["sites"])
    assert found["of"] == 3


def put_together(real_ms: float, near_ms: float = 2.0, late_ms: float = 1.0) -> Any:
    """What is made of processes that answer everything after so long, at a place with 50 ms everywhere."""
    place = find_place("uniform:50", nodes=3)
    simulated = run("epaxos", place, commands=9, clients=1)
    later = find_place(f"uniform:{50 + 2 * late_ms}", nodes=3)
    usual = run("epaxos", attrs.evolve(later, sites=place.sites), commands=9, clients=1)
    answered = [Answered(node, at, at + real_ms / 1000, False) for at in range(9) for node in (1, 2, 3)]
    near = Asked([Answered(1, at, at + near_ms / 1000, False) for at in range(9)])
    far = Asked(answered, relay_ms=[late_ms] * 9)
    return _run(place, simulated.runs[0], usual, [simulated], [usual], near, far)


@pytest.mark.parametrize(
    ("real_ms", "within"), [(45.0, False), (49.5, True), (54.0, True), (54.9, True), (56.0, False)]
)
def test_where_the_real_median_is_to_be_expected(real_ms: float, within: bool) -> None:
    """From what is simulated to that with a late relay, 52 ms, and 2 ms that a command costs; and a tick."""
    found = put_together(real_ms)
    assert (found.near_p50_ms, found.relay_p50_ms, found.unanswered) == (2, 1, 0)
    for site in found.sites:
        assert (site.low_ms, site.high_ms, site.overhead_ms) == (50, 54, 4)
        assert site.execute.real_p50 == pytest.approx(real_ms)
        assert site.commit.real_p50 == site.execute.real_p50  # no replica said more
        assert site.within is within


def test_a_real_run_that_did_something_wrong_has_no_figures() -> None:
    def ops(told: bytes) -> list[Operation]:
        return [
            Operation(0, "put", b"k", b"1", call_s=0.0, return_s=1.0),
            Operation(1, "put", b"k", b"2", call_s=2.0, return_s=3.0),
            Operation(-1, "get", b"k", call_s=4.0, return_s=5.0, out=told),
        ]

    assert _checked("epaxos", [Asked(history=ops(b"2")), Asked(history=ops(b"2"))]) == 6
    with pytest.raises(WrongRun, match="epaxos: no figures, for no order explains"):
        _checked("epaxos", [Asked(history=ops(b"2")), Asked(history=ops(b"1"))])
    decided = [Operation(0, "decide", b"d", b"1", call_s=0.0, return_s=1.0, out=b"1")]
    other = Operation(-1, "decide", b"d", call_s=2.0, return_s=3.0, out=None)
    with pytest.raises(WrongRun, match="paxos: no figures"):
        _checked("paxos", [Asked(history=[*decided, other])])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--topology", "mars"], "no topology named 'mars'"),
        (["--sites", "CA,XX"], "no site 'XX'"),
        (["--leader", "XX"], "leader 'XX'"),
        (["--protocols", "raftos"], "no protocol named 'raftos'"),
        (["--protocols", "epaxos,epaxos"], "one name twice"),
        (["--conflict", "101"], "expected percentages"),
        (["--reads", "101"], "--reads: 101.0 is outside"),
        (["--stores", "paper"], "--stores: memory or sqlite"),
        (["--topology", "uniform:10", "--nodes", "16"], "16 sites would be as many processes"),
    ],
)
def test_what_can_not_be_is_refused_before_anything_starts(
    arguments: list[str], message: str, capsys: Capture
) -> None:
    assert main(["bench", "real", *arguments]) == EXIT_USAGE
    assert message in capsys.readouterr().err


def test_arguments_are_called_as_in_compare() -> None:
    taken = build_parser().parse_args(["bench", "real", "--protocols", "a,b", "--conflict", "0,2"])
    assert (taken.protocol, taken.conflicts, taken.clients) == ("a,b", (0, 2), 3)


@pytest.mark.anyio
async def test_a_replica_times_its_own_commands() -> None:
    async with paxos.open_cluster(timed_name("epaxos"), nodes=3) as cluster:
        client = cluster.client(node=2)
        for at in range(4):
            await client.put(b"k%d" % at, b"v")
        assert await client.get(b"k3") == b"v"
        took = {node: (await client.status(node))[COMMITS] for node in (1, 2, 3)}
    # A read is a command there, too.
    assert [len(took[node]) for node in (1, 2, 3)] == [0, 5, 0]
    assert all(each >= 0 for each in took[2])


def test_a_protocol_that_tells_of_no_commit_stays_as_it_is() -> None:
    multipaxos = find_protocol("multipaxos")
    assert timed(multipaxos) is multipaxos
    assert find_protocol(timed_name("multipaxos")) is multipaxos
    assert find_protocol(timed_name("epaxos")).name == "epaxos"


@pytest.mark.anyio
async def test_the_relay_delays_each_way_by_what_it_is_told() -> None:
    """From node 1 to node 2 at once, and back 30 ms later; after its block it is gone."""

    async with anyio.create_task_group() as tasks:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.start_soon(_serve_echo, listener)
        async with (
            relay_process({2: port}, {(1, 2): 0.0, (2, 1): 0.03}) as ports,
            await anyio.connect_tcp("127.0.0.1", ports[1, 2]) as stream,
        ):
            began_s = anyio.current_time()
            await stream.send(b"hello")
            assert await stream.receive() == b"hello"
            assert anyio.current_time() - began_s >= 0.03
        with pytest.raises(OSError, match=r"."):
            await anyio.connect_tcp("127.0.0.1", ports[1, 2])
        tasks.cancel_scope.cancel()
