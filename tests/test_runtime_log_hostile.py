"""Whatever a client of a log does wrong costs its connection at most; the others are served as before."""

import operator
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import cbor2
import pytest

from paxos.contract import Event
from paxos.errors import ClusterMismatch
from paxos.keyvalue import increment, put
from paxos.runtime import Cluster, Limits, clients, connect, open_cluster
from paxos.runtime.handshake import Hello
from paxos.runtime.handshake import Refused as HelloRefused
from paxos.runtime.tables import FROM_CLIENT
from paxos.service import AskStatus, admission
from paxos.service.batches import MAX_REQUEST_BYTES, MAX_RUN, Run
from paxos.service.keyvalue_requests import changes, get
from paxos.service.log_messages import (
    AskBirth,
    CancelQuery,
    Instruct,
    Level,
    Query,
    QueryReply,
    Refused,
    RefusedKind,
    Results,
    SubmitMany,
)
from paxos.wire import encode_frame
from tests.strangers import CLIENT, PATIENCE_S, Stranger, stranger, until

pytestmark = [pytest.mark.anyio, pytest.mark.once]

NAME = b"n" * 16


class Refusals:
    """The lines that nodes said about refused connections."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, event: Event) -> None:
        if event.action == "refused":
            self.lines.append(str(event.arguments["text"]))


@asynccontextmanager
async def attacked(limits: Limits | None = None) -> AsyncIterator[tuple[Cluster, Refusals, str]]:
    """A cluster that must still serve others afterwards; and the address of its leader, which is attacked."""
    refusals = Refusals()
    async with open_cluster(
        "multipaxos", 3, on_event=refusals, limits=limits, timeout_s=PATIENCE_S
    ) as cluster:
        client = cluster.client()
        await client.put(b"before", b"1")
        assert client.node is not None
        yield cluster, refusals, cluster.config.node(client.node).address
        assert await client.increment(b"after") == 1
        assert await cluster.client(3).get(b"before") == b"1"
        await until(lambda: not any(map(open_requests, connections(cluster))))


def connections(cluster: Cluster) -> list[Any]:
    """Every client's connection, as the nodes see it."""
    engines = [node._server._engine for node in cluster.nodes.values()]
    return [client for engine in engines if engine is not None for client in engine.clients]


def open_requests(connection: Any) -> int:
    """How much a node counts as unanswered."""
    named = len(connection._open) + len(connection._runs) + len(connection._news)
    return named + int(connection._open_requests)


def run(
    sequence: int, *bodies: bytes, acknowledged: int = 0, name: bytes = NAME, birth: int = 0
) -> SubmitMany:
    return SubmitMany(Run(name, birth, acknowledged, sequence, b"", list(bodies)))


async def greeted(attacker: Stranger) -> Stranger:
    assert isinstance(await attacker.greet(), Hello)
    return attacker


async def results_of(attacker: Stranger, count: int) -> list[bytes]:
    """So many results, in the order in which they come."""
    found: list[bytes] = []
    while len(found) < count:
        answer = await attacker.answer()
        assert isinstance(answer, Results), answer
        found += answer.results
    return found


async def test_the_largest_run() -> None:
    async with attacked() as (cluster, _, address), stranger(address) as attacker:
        await greeted(attacker)
        await attacker.ask(run(1, *[increment(b"n")] * MAX_RUN))
        assert (await results_of(attacker, MAX_RUN))[-1] == b"I%d" % MAX_RUN
        # Again, and in other pieces: the same answers, and nothing is carried out.
        await attacker.ask(run(2, *[increment(b"n")] * 2000), run(2002, *[increment(b"n")] * 2095))
        assert await results_of(attacker, 4095) == [b"I%d" % each for each in range(2, MAX_RUN + 1)]
        assert await cluster.client().get(b"n") == b"%d" % MAX_RUN


async def test_the_same_run_many_times_before_it_is_answered() -> None:
    """Each is answered, each is counted, and all are carried out once."""
    async with attacked() as (cluster, _, address), stranger(address) as attacker:
        await greeted(attacker)
        await attacker.ask(*[run(1, *[increment(b"n")] * 10)] * 50, run(3, *[increment(b"n")] * 20))
        answers = await results_of(attacker, 520)
        assert answers[:10] == [b"I%d" % each for each in range(1, 11)]
        assert set(answers) == {b"I%d" % each for each in range(1, 23)}
        assert await cluster.client().get(b"n") == b"22"
        await until(lambda: not any(map(open_requests, connections(cluster))))


async def test_a_number_that_is_used_for_another_command() -> None:
    async with attacked() as (cluster, _, address), stranger(address) as attacker:
        await greeted(attacker)
        await attacker.ask(run(1, increment(b"n"), increment(b"n")))
        assert await results_of(attacker, 2) == [b"I1", b"I2"]
        await attacker.ask(run(1, increment(b"n"), put(b"n", b"7"), increment(b"n")))
        answer = await attacker.answer()
        assert answer[:4] == (NAME, 1, 3, RefusedKind.NEVER)
        assert "request 2 of this client was another command; a number is used once" in answer.detail
        assert await cluster.client().get(b"n") == b"2"


async def test_a_command_above_the_limit() -> None:
    async with attacked() as (cluster, refusals, address):
        async with stranger(address) as attacker:
            await greeted(attacker)
            await attacker.ask(run(1, put(b"k", bytes(MAX_REQUEST_BYTES - 3))))
            answer = await attacker.answer()
            assert isinstance(answer, Refused)
            assert answer.kind == RefusedKind.NEVER
            assert f"request 1 has 1048321 bytes; the limit is {MAX_REQUEST_BYTES}" in answer.detail
            await attacker.ask(run(2, put(b"k", bytes(MAX_REQUEST_BYTES - 4))))
            assert len(await results_of(attacker, 1)) == 1
        async with stranger(address) as attacker:
            await greeted(attacker)
            await attacker.send(encode_frame(bytes(1 << 21)))
            await attacker.read_to_end()
        await until(lambda: bool(refusals.lines))
        assert "declares a body of 2097152 bytes" in refusals.lines[0]
        assert len(await cluster.client().get(b"k") or b"") == MAX_REQUEST_BYTES - 4


async def test_strangers_of_the_table() -> None:
    """A client that was born later than now, or that acknowledges what it never asked for."""
    async with attacked() as (_, _, address), stranger(address) as attacker:
        await greeted(attacker)
        await attacker.ask(run(1, increment(b"n"), birth=99))
        answer = await attacker.answer()
        assert (answer.kind, answer.requests) == (RefusedKind.NEVER, 1)
        assert "born at marker 99" in answer.detail
        await attacker.ask(run(5, increment(b"n"), acknowledged=1 << 60))
        assert await results_of(attacker, 1) == [b"I1"]
        await attacker.ask(run((1 << 62) - 10, increment(b"n"), acknowledged=1 << 60))
        answer = await attacker.answer()
        assert answer.kind == RefusedKind.REJECTED
        assert "65536 requests whose results it has not acknowledged" in answer.detail
        await attacker.ask(run(6, increment(b"n"), acknowledged=0))
        assert await results_of(attacker, 1) == [b"I2"]


async def test_large_results_that_are_never_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes keep so many bytes of them, and take nothing new of that client until it says what it has."""
    monkeypatch.setattr(admission, "MAX_KEPT_BYTES", 1 << 20)
    async with attacked() as (cluster, _, address), stranger(address) as attacker:
        await greeted(attacker)
        large = bytes(300_000)
        await attacker.ask(run(1, put(b"large", large)))
        await results_of(attacker, 1)
        number, answer = 2, None
        while number < 10:
            await attacker.ask(run(number, get(b"large")))
            answer = await attacker.answer()
            if isinstance(answer, Refused):
                break
            number += 1
        assert isinstance(answer, Refused)
        assert (answer.kind, number) == (RefusedKind.REJECTED, 6)
        assert "until it has, nothing new is taken of it" in answer.detail
        # Others are served, and what it asks for again is answered.
        assert await cluster.client().get(b"large") == large
        await attacker.ask(run(5, get(b"large")))
        await results_of(attacker, 1)
        await attacker.ask(run(6, get(b"large"), acknowledged=5))
        await results_of(attacker, 1)


#: Fields of a client's messages that are none, and what the line about it must say.
WRONG: dict[str, tuple[int, list[object], str]] = {
    "no name": (220, [b"", 0, 0, 1, [b"x"]], "run.client"),
    "long name": (220, [b"n" * 17, 0, 0, 1, [b"x"]], "run.client"),
    "birth": (220, [NAME, -1, 0, 1, [b"x"]], "run.birth"),
    "acknowledged": (220, [NAME, 0, 1 << 62, 1, [b"x"]], "run.acknowledged"),
    "number 0": (220, [NAME, 0, 0, 0, [b"x"]], "run.sequence"),
    "numbers that end too high": (220, [NAME, 0, 0, (1 << 62) - 1, [b"x", b"x"]], "run.sequence"),
    "true": (220, [NAME, 0, 0, True, [b"x"]], "run.sequence"),
    "no commands": (220, [NAME, 0, 0, 1, []], "run.bodies"),
    "too many commands": (220, [NAME, 0, 0, 1, [b""] * (MAX_RUN + 1)], "run.bodies"),
    "text for a command": (220, [NAME, 0, 0, 1, [b"x", "x"]], "run.body"),
    "a map of commands": (220, [NAME, 0, 0, 1, {"a": b"x"}], "run.bodies"),
    "digests": (220, [NAME, 0, 0, 1, b"", [b"x"]], "SubmitMany: expected an array of 5 fields"),
    "level": (223, [1, 4, b"", b""], "Query.level"),
    "long query": (223, [1, 0, bytes((1 << 20) + 1), b""], "Query.body"),
    "no number": (225, [None], "AskBirth.sequence"),
    "no node": (227, [1, "transfer", 0], "Instruct.node"),
    "no cancel": (228, [b""], "CancelQuery.sequence"),
    "results": (221, [NAME, 1, [b""]], "unknown message type 221"),
    "a snapshot": (230, [1, 1, b"d" * 32], "unknown message type 230"),
}


async def test_wrong_fields_cost_their_connection() -> None:
    async with attacked() as (_, refusals, address):
        for what, (number, fields, expected) in WRONG.items():
            async with stranger(address) as attacker:
                await greeted(attacker)
                await attacker.send(encode_frame(cbor2.dumps([[1, 0, 0, number, 0, *fields]])))
                await attacker.read_to_end()
            await until(lambda: bool(refusals.lines))
            (line,) = refusals.lines
            assert expected in line, what
            refusals.lines.clear()


async def test_random_fields() -> None:
    """Right frames with random values in place of fields."""
    draw = random.Random(3)
    values: list[Any] = [
        0,
        1,
        -1,
        1 << 61,
        1 << 63,
        b"",
        NAME,
        "x",
        None,
        True,
        1.5,
        [],
        [b"x"],
        [[b"x"]],
        {},
    ]
    async with attacked() as (_, refusals, address):
        for _ in range(150):
            fields = [draw.choice(values) for _ in range(draw.choice((1, 3, 4, 5, 5, 5)))]
            number = draw.choice((220, 220, 223, 225, 227, 228))
            async with stranger(address) as attacker:
                await greeted(attacker)
                await attacker.send(encode_frame(cbor2.dumps([[1, 0, 0, number, 0, *fields]])))
                await attacker.stream.send_eof()
        await until(lambda: len(refusals.lines) >= 100)
        assert all("its connection was closed" in line for line in refusals.lines)


async def test_mutated_messages() -> None:
    """Right messages with one byte changed, under a right checksum."""
    draw = random.Random(4)
    sent: list[Any] = [
        run(1, increment(b"m"), name=b"m" * 16),
        Query(1, Level.LINEARIZABLE, get(b"k")),
        AskBirth(2),
        Query(2, Level.NEWS, changes(None)),
        CancelQuery(2),
        Instruct(3, "transfer", 9),
    ]
    body = FROM_CLIENT.encode(sent)[8:]
    async with attacked() as (cluster, _, address):
        for _ in range(150):
            mutant = bytearray(body)
            mutant[draw.randrange(len(mutant))] = draw.randrange(256)
            async with stranger(address) as attacker:
                await greeted(attacker)
                await attacker.send(encode_frame(bytes(mutant)))
                await attacker.stream.send_eof()
        status = await cluster.client().status()
        assert status["ready"]


async def test_a_flood_that_is_never_read() -> None:
    """It is not read for long; what the node keeps for it is bounded, and others are served meanwhile."""
    async with attacked(Limits(send_s=1.0)) as (cluster, _, address), stranger(address) as attacker:
        await greeted(attacker)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            value = os.urandom(1000)
            while True:
                await attacker.send(
                    FROM_CLIENT.encode(
                        [
                            run(sent + 1, *[put(b"flood", value)] * 100),
                            Query(sent + 1, Level.STALE, get(b"flood")),
                        ]
                    )
                )
                sent += 100

        client = cluster.client()
        async with anyio.create_task_group() as group:
            group.start_soon(flood)
            for each in range(1, 31):
                assert await client.increment(b"n") == each
                for connection in connections(cluster):
                    assert connection._open_requests <= 2 * 1024 + 200
                    assert connection._open_bytes <= 2 * (4 << 20) + (1 << 20)
                    assert connection.outbox.queued_bytes <= 3 * (4 << 20)
            group.cancel_scope.cancel()
        assert sent


@pytest.mark.parametrize("level", [Level.STALE, Level.LINEARIZABLE, Level.NEWS])
async def test_short_questions_with_long_answers_that_are_never_read(level: Level) -> None:
    """They come in one frame; of the answers only so many are made as may wait."""
    limits = Limits(client_bytes=1 << 20)
    async with attacked(limits) as (cluster, _, address), stranger(address) as attacker:
        await cluster.client().put(b"long", bytes(300_000))
        await greeted(attacker)
        asked = [Query(number, level, get(b"long")) for number in range(1, 401)]
        await attacker.send(FROM_CLIENT.encode(asked))
        assert await cluster.client().increment(b"n") == 1
        found = [await attacker.answer() for _ in asked]
        assert all(each.kind in (0, RefusedKind.REJECTED) for each in found)
        made = [each for each in found if each.kind == 0]
        assert {len(each.result) for each in made} == {300_001}
        assert 7 <= len(made) < 40
        assert "more answers than are read" in next(each.detail for each in found if each.kind)
        # It has read them, and is served like anybody.
        await attacker.send(FROM_CLIENT.encode([Query(401, level, get(b"long"))]))
        assert len((await attacker.answer()).result) == 300_001


async def test_long_answers_of_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[int] = []

    def note(budget: Any, size: int) -> None:
        budget.__dict__["answers_bytes"] = size
        waited.append(size)

    read = operator.itemgetter("answers_bytes")
    noted = property(lambda budget: read(budget.__dict__), note)
    monkeypatch.setattr(clients.Budget, "answers_bytes", noted, raising=False)
    async with (
        attacked(Limits(all_clients_bytes=3 << 20)) as (cluster, _, address),
        AsyncExitStack() as stack,
    ):
        await cluster.client().put(b"long", bytes(300_000))
        asked = [Query(number, Level.STALE, get(b"long")) for number in range(1, 101)]
        for _ in range(12):
            attacker = await stack.enter_async_context(stranger(address))
            await greeted(attacker)
            await attacker.send(FROM_CLIENT.encode(asked))
        assert await cluster.client().increment(b"n") == 1
        assert 1 << 20 < max(waited) < (3 << 20) + 500_000
        # What waited for those that are gone is forgotten.
        await stack.aclose()
        await until(lambda: not any(open_requests(one) for one in connections(cluster)))
        budgets = [node._server._inbound._budget for node in cluster.nodes.values()]
        await until(lambda: not any(budget.answers_bytes for budget in budgets))


async def test_long_answers_to_who_reads_them() -> None:
    """However many are asked for at once, all come."""
    async with attacked(Limits(client_bytes=1 << 18)) as (cluster, _, _):
        client, found = cluster.client(), []
        await client.put(b"long", bytes(200_000))

        async def ask() -> None:
            found.append(await client.get(b"long"))

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(ask)
        assert [len(each or b"") for each in found] == [200_000] * 100


async def test_a_thousand_watches_of_one_connection() -> None:
    """They keep nobody from being read, and beyond a bound they are refused."""
    async with attacked(Limits(client_requests=300)) as (cluster, _, address), stranger(address) as attacker:
        await greeted(attacker)
        revision = await cluster.client().revision()
        known = cluster.nodes[1]._server._engine.node.machine.query(changes(revision))  # type: ignore[union-attr]
        await attacker.ask(*(Query(each, Level.NEWS, changes(revision), known) for each in range(1, 1001)))
        for each in range(301, 1001):
            answer = await attacker.answer()
            assert answer[:3] == (each, RefusedKind.REJECTED, None)
            assert "waits for 300 pieces of news; use another" in answer.detail
        await attacker.ask(
            *(CancelQuery(each) for each in range(1, 300)), Query(2000, Level.STALE, get(b"before"))
        )
        assert (await attacker.answer()).result == b"V1"
        await cluster.client().put(b"k", b"v")
        answer = await attacker.answer()
        assert isinstance(answer, QueryReply)
        assert (answer.sequence, answer.kind) == (300, 0)
        await attacker.ask(AskStatus(1))
        assert (await attacker.answer()).sequence == 1
        await until(lambda: not any(map(open_requests, connections(cluster))))
        # Nor do they take anything of what all clients may have, once they are answered.
        budgets = [node._server._inbound._budget for node in cluster.nodes.values()]
        await until(lambda: not any(budget.requests_bytes for budget in budgets))


async def test_a_query_under_the_number_of_another() -> None:
    async with attacked() as (cluster, refusals, address), stranger(address) as attacker:
        await greeted(attacker)
        known = cluster.nodes[1]._server._engine.node.machine.query(changes(99))  # type: ignore[union-attr]
        await attacker.ask(*[Query(1, Level.NEWS, changes(99), known)] * 2)
        await attacker.read_to_end()
        await until(lambda: bool(refusals.lines))
        assert "Query.sequence: 1 is that of a query without an answer" in refusals.lines[0]


async def test_what_others_have_spent_is_refused_and_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of what comes in one frame is taken and the rest is not: the books are right all the same."""
    monkeypatch.setattr(clients, "_PAUSE_S", 0.01)
    async with (
        attacked(Limits(all_clients_bytes=20_000)) as (cluster, _, address),
        stranger(address) as attacker,
    ):
        await greeted(attacker)
        runs = [run(1 + 5 * each, *[put(b"k", bytes(1000))] * 5) for each in range(10)]
        await attacker.ask(*runs)
        answers = [await attacker.answer() for _ in runs]
        kinds = [type(answer) for answer in answers]
        assert kinds.count(Refused) >= 5
        assert kinds.count(Results) >= 1
        assert all(
            "wait for as many answers as it can keep" in each.detail
            for each in answers
            if isinstance(each, Refused)
        )
        assert sorted(each.sequence for each in answers) == [1 + 5 * each for each in range(10)]
        await until(lambda: not any(map(open_requests, connections(cluster))))


async def test_gone_in_the_middle() -> None:
    """Whoever hangs up with everything open leaves nothing behind."""
    async with attacked() as (cluster, _, address):
        for each in range(20):
            async with stranger(address) as attacker:
                await greeted(attacker)
                name = bytes([each]) * 16
                await attacker.ask(
                    run(1, *[increment(b"gone")] * 500, name=name),
                    Query(1, Level.LINEARIZABLE, get(b"k")),
                    Query(2, Level.NEWS, changes(None), b"something else"),
                    Instruct(4, "transfer", 9),
                )
        await until(lambda: len(connections(cluster)) <= 3)
        total = int(await cluster.client().get(b"gone") or b"0")
        assert total % 500 == 0
        engines = [node._server._engine for node in cluster.nodes.values()]
        assert not any(engine.node.service._queries.watching for engine in engines if engine is not None)  # type: ignore[union-attr]


async def test_another_cluster() -> None:
    async with attacked() as (cluster, _, address):
        async with connect(cluster.addresses, cluster="another", timeout_s=PATIENCE_S) as client:
            with pytest.raises(ClusterMismatch, match=r"cluster.*'another'"):
                await client.put(b"k", b"v")
            with pytest.raises(ClusterMismatch, match=r"cluster.*'another'"):
                await client.get(b"k")
        async with stranger(address) as attacker:
            refused = await attacker.greet(CLIENT._replace(cluster="another"))
            assert isinstance(refused, HelloRefused)
