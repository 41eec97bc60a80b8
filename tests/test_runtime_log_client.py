"""Requests to nodes of a log that answer what real ones would not: late, split, elsewhere, never."""

from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import anyio
import pytest

from paxos.errors import (
    ConfigurationError,
    OutcomeUnknown,
    Rejected,
    SessionExpired,
    Unreachable,
)
from paxos.service.batches import MAX_REQUEST_BYTES
from paxos.service.log_messages import (
    QueryReply,
    Refused,
    RefusedKind,
    Results,
)
from tests.false_logs import (
    EXPIRE,
    REJECT,
    UNKNOWN,
    Behaviour,
    FalseNode,
    at_rest,
    hang_up,
    met,
    refusal,
    results,
    silence,
    together,
)
from tests.strangers import PATIENCE_S, until

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that soon tries another node."""
    monkeypatch.setattr("paxos.runtime.client_link._PATIENCE_S", 0.3)


# --- numbers, order, acknowledgement -----------------------------------------------------------------


async def test_consecutive_numbers_travel_together() -> None:
    node = FalseNode()
    async with met(node) as client:
        answered = await client.submit_many([b"%d" % each for each in range(1, 501)])
        assert answered == [b"%d %d" % (each, each) for each in range(1, 501)]
        assert len(node.runs) == 1
        assert await client.submit(b"next") == b"501 next"
        assert node.runs[0].birth == node.runs[1].birth == 7
        assert at_rest(client)
    assert node.births == 1
    assert node.numbers == list(range(1, 502))


async def test_calls_of_many_tasks_share_messages_and_keep_their_order() -> None:
    node = FalseNode()
    async with met(node) as client:
        answered: dict[int, bytes] = {}

        async def call(each: int) -> None:
            answered[each] = await client.submit(b"%d" % each)

        await together(*(lambda each=each: call(each) for each in range(3000)))
        assert [body for run in node.runs for body in run.bodies] == [
            answered[each].split()[1]
            for each in sorted(answered, key=lambda each: int(answered[each].split()[0]))
        ]
        assert {int(answer.split()[1]) for answer in answered.values()} == set(range(3000))
        assert all(answer.endswith(b" %d" % each) for each, answer in answered.items())
        assert at_rest(client)
    assert len(node.runs) < 30
    assert node.numbers == list(range(1, 3001))


async def test_many_commands_of_one_call_are_never_out_of_order() -> None:
    """Whatever is refused meanwhile: what comes later in a call waits for what comes before."""
    carried_out: list[int] = []

    def carry_out(run: Any) -> Sequence[Any]:
        carried_out.extend(range(run.sequence, run.sequence + len(run.bodies)))
        return [results(run)]

    node = FalseNode(UNKNOWN, carry_out, REJECT, carry_out, UNKNOWN, REJECT, then=carry_out)
    async with met(node) as client:
        answered = await client.submit_many([b"%d" % each for each in range(1, 10_001)])
        assert answered == [b"%d %d" % (each, each) for each in range(1, 10_001)]
        assert at_rest(client)
    assert carried_out == list(range(1, 10_001))
    # Nothing was sent while something before it had no result.
    assert all(run.acknowledged == run.sequence - 1 for run in node.runs)


async def test_results_that_come_split_and_in_any_order() -> None:
    def split(run: Any) -> Sequence[Any]:
        return [results(run, 7), results(run, 0, 3), results(run, 3, 7)]

    async with met(FalseNode(split)) as client:
        answered = await client.submit_many([b"%d" % each for each in range(1, 11)])
        assert answered == [b"%d %d" % (each, each) for each in range(1, 11)]
        assert at_rest(client)


async def test_results_of_several_runs_that_come_as_one() -> None:
    waiting: list[Any] = []

    def merge(run: Any) -> Sequence[Any]:
        waiting.append(run)
        if sum(len(each.bodies) for each in waiting) < 3:
            return []
        bodies = [body for each in waiting for body in each.bodies]
        return [results(run._replace(sequence=waiting[0].sequence, bodies=bodies))]

    async with met(FalseNode(then=merge)) as client:
        answered: list[bytes] = []

        async def call(after: int) -> None:
            await until(lambda: sum(len(each.bodies) for each in waiting) == after)
            answered.append(await client.submit(b"%d" % (after + 1)))

        await together(*(lambda after=after: call(after) for after in range(3)))
        assert sorted(answered) == [b"1 1", b"2 2", b"3 3"]
        assert len(waiting) == 3
        assert at_rest(client)


async def test_answers_to_nobody() -> None:
    """Doubled, foreign, late and never asked for: they reach no call, and change no books."""

    def behave(run: Any) -> Sequence[Any]:
        stale = results(run._replace(sequence=1, bodies=[b"stale"] * run.sequence), 0, run.sequence - 1)
        foreign = results(run._replace(client=b"f" * 16, bodies=[b"foreign"]))
        future = results(run._replace(sequence=run.sequence + 1, bodies=[b"future"] * 5))
        early = [] if not stale.results else [stale]
        again = results(run._replace(bodies=[b"again"]))
        refused = [
            Refused(b"f" * 16, run.sequence, 1, RefusedKind.EXPIRED, "foreign"),
            Refused(run.client, run.sequence + 1, 9, RefusedKind.APPLIED, "future"),
        ]
        return [foreign, future, *early, *refused, results(run), again]

    async with met(FalseNode(then=behave)) as client:
        for number in range(1, 30):
            assert await client.submit(b"own") == b"%d own" % number
            assert at_rest(client)


async def test_results_of_what_was_not_sent_are_nobody_s() -> None:
    """The second thousand is still kept back when somebody answers it."""

    def behave(run: Any) -> Sequence[Any]:
        early = Results(run.client, run.sequence + len(run.bodies), [b"early"] * 5)
        return [early, results(run)]

    async with met(FalseNode(then=behave)) as client:
        answered = await client.submit_many([b"%d" % each for each in range(1, 3001)])
        assert answered == [b"%d %d" % (each, each) for each in range(1, 3001)]
        assert at_rest(client)


async def test_what_is_acknowledged_has_arrived() -> None:
    """A hole stays one, however much after it has its results."""
    holding: list[Any] = []

    def behave(run: Any) -> Sequence[Any]:
        if b"hold" in run.bodies:
            holding.append(run)
            return [results(run, end=run.bodies.index(b"hold")), results(run, run.bodies.index(b"hold") + 1)]
        return [results(run), *([results(holding.pop())] if run.bodies == [b"let go"] else [])]

    def without_empty(run: Any) -> Sequence[Any]:
        return [each for each in behave(run) if each.results]

    node = FalseNode(then=without_empty)
    async with met(node) as client, anyio.create_task_group() as group:
        assert await client.submit(b"a") == b"1 a"
        group.start_soon(client.submit, b"hold")
        await until(lambda: bool(holding))
        for each in range(5):
            await client.submit(b"%d" % each)
        assert [run.acknowledged for run in node.runs] == [0, 1, 1, 1, 1, 1, 1]
        await client.submit(b"let go")
        await until(lambda: at_rest(client))
        await client.submit(b"z")
        assert node.runs[-1].acknowledged == node.runs[-1].sequence - 1 == 8


# --- not now, perhaps, elsewhere, never --------------------------------------------------------------


async def test_not_now_is_asked_again_under_the_same_numbers() -> None:
    node = FalseNode(REJECT, REJECT, UNKNOWN, REJECT)
    async with met(node) as client:
        assert await client.submit_many([b"a", b"b"]) == [b"1 a", b"2 b"]
    assert [(run.sequence, run.bodies) for run in node.runs] == [(1, [b"a", b"b"])] * 5
    assert len(node.names) == 1


async def test_a_part_is_asked_again() -> None:
    def part(run: Any) -> Sequence[Any]:
        return [results(run, 0, 2), *REJECT(run._replace(sequence=run.sequence + 2, bodies=run.bodies[2:]))]

    node = FalseNode(part)
    async with met(node) as client:
        assert await client.submit_many([b"a", b"b", b"c", b"d"]) == [b"1 a", b"2 b", b"3 c", b"4 d"]
        assert at_rest(client)
    assert [(run.sequence, len(run.bodies)) for run in node.runs] == [(1, 4), (3, 2)]


async def test_rejected_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    # What is on its way at the end is not known to be rejected: so it is not asked again so soon.
    monkeypatch.setattr("paxos.runtime.client_log._RETRY_S", PATIENCE_S)
    monkeypatch.setattr("paxos.runtime.client_log._RETRY_MAX_S", PATIENCE_S)
    node = FalseNode(then=REJECT)
    async with met(node, timeout_s=1.0) as client:
        with pytest.raises(Rejected, match=r"^submit: busy just now$"):
            await client.submit(b"x")
        with pytest.raises(Rejected, match=r"^put b'k': busy just now$"):
            await client.put(b"k", b"v")
        assert at_rest(client)


@pytest.mark.parametrize("first", [UNKNOWN, hang_up, silence], ids=["unknown", "lost", "silence"])
async def test_rejected_after_it_may_have_been_carried_out_is_unknown(first: Behaviour) -> None:
    """An attempt that was certainly not carried out says nothing of an earlier one."""
    node = FalseNode(first, then=REJECT)
    async with met(node, timeout_s=1.5) as client:
        with pytest.raises(
            OutcomeUnknown, match=r"submit: no answer within 1\.5 s; it may have been carried"
        ):
            await client.submit(b"x")
        assert at_rest(client)
    assert len(node.runs) > 1
    assert set(node.numbers) == {1}


async def test_no_answer_at_all_is_unknown() -> None:
    async with met(FalseNode(then=silence), timeout_s=1.0) as client:
        with pytest.raises(OutcomeUnknown, match=r"submit: no answer within 1 s; it may have been carried"):
            await client.submit(b"x")
        assert at_rest(client)


async def test_it_is_said_how_many_were_carried_out() -> None:
    node = FalseNode(lambda run: [results(run, 0, 2)], then=silence)
    async with met(node, timeout_s=1.0) as client:
        with pytest.raises(
            OutcomeUnknown, match=r"submit 5 commands: 2 of 5 were carried out; for the others no"
        ):
            await client.submit_many([b"x"] * 5)
        assert at_rest(client)


async def test_it_was_carried_out_and_the_result_is_gone() -> None:
    node = FalseNode(refusal(RefusedKind.APPLIED, "the result of request 1 is no longer kept"))
    async with met(node) as client:
        with pytest.raises(
            OutcomeUnknown, match=r"^submit: the result of request 1 is no longer .*; it was carried out"
        ):
            await client.submit(b"x")
        assert at_rest(client)
        assert await client.submit(b"y") == b"2 y"


async def test_no_answer_at_one_node_is_tried_at_the_next() -> None:
    silent, other = FalseNode(then=silence), FalseNode()
    async with met(silent, other) as client:
        assert await client.submit(b"x") == b"1 x"
        assert client.node == 2
    assert silent.runs == other.runs


async def test_a_node_that_does_not_even_say_hello_to_a_new_client_is_left() -> None:
    silent, other = FalseNode(), FalseNode()
    silent.silent_births = 100
    async with met(silent, other) as client:
        assert await client.submit(b"x") == b"1 x"
        assert client.node == 2
    assert (silent.births, silent.runs) == (1, [])


async def test_a_silent_node_is_left_though_nobody_waits_so_long() -> None:
    """Each call gives up before the client's patience does; all together it is the node that is silent."""
    silent, other = FalseNode(then=silence, queries=[silence] * 1000), FalseNode()
    async with met(silent, other, timeout_s=0.1) as client:
        with anyio.fail_after(PATIENCE_S):
            while client.node != 2:
                with suppress(OutcomeUnknown, Unreachable):
                    await client.submit(b"x")
                with suppress(Unreachable):
                    await client.query(b"x")
        assert await client.submit(b"y", timeout_s=PATIENCE_S) == b"%d y" % other.numbers[-1]


async def test_a_redirect_is_followed() -> None:
    follower, leader = FalseNode(then=refusal(RefusedKind.REDIRECT, "2")), FalseNode()
    async with met(follower, leader) as client:
        assert await client.submit_many([b"a", b"b"]) == [b"1 a", b"2 b"]
        assert client.node == 2
        assert await client.submit(b"c") == b"3 c"
        assert at_rest(client)
    assert len(follower.connections) == len(leader.connections) == 1


async def test_a_redirect_of_a_query_is_followed() -> None:
    def elsewhere(query: Any) -> Sequence[Any]:
        return [QueryReply(query.sequence, RefusedKind.REDIRECT, None, "2")]

    follower, leader = FalseNode(queries=[elsewhere] * 100), FalseNode()
    async with met(follower, leader) as client:
        assert await client.query(b"q") == b"answer to q"
        assert client.node == 2


async def test_a_node_that_sends_to_itself_is_asked_again() -> None:
    node = FalseNode(refusal(RefusedKind.REDIRECT, "1"), refusal(RefusedKind.REDIRECT, "1"))
    async with met(node) as client:
        assert await client.submit(b"x") == b"1 x"
    assert len(node.connections) == 1


async def test_sent_on_in_circles_is_not_a_busy_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """When every node had its turn there is a pause, here one that outlasts the call."""
    monkeypatch.setattr("paxos.runtime.client_link._PAUSE_S", PATIENCE_S)
    monkeypatch.setattr("paxos.runtime.client_link._SENT_ON_MAX_S", PATIENCE_S)
    one = FalseNode(then=refusal(RefusedKind.REDIRECT, "2"))
    two = FalseNode(then=refusal(RefusedKind.REDIRECT, "1"))
    async with met(one, two, timeout_s=1.0) as client:
        with pytest.raises(Rejected, match=r"sent on to node 2, and not taken there"):
            await client.submit(b"x")
    assert (len(one.runs), len(two.runs)) == (2, 1)


async def test_sent_on_to_a_node_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paxos.runtime.client_link._PAUSE_S", PATIENCE_S)
    monkeypatch.setattr("paxos.runtime.client_link._SENT_ON_MAX_S", PATIENCE_S)
    node = FalseNode(then=refusal(RefusedKind.REDIRECT, "7"))
    async with met(node, timeout_s=1.0) as client:
        with pytest.raises(Rejected, match=r"sent on to node 7, and not taken there"):
            await client.submit(b"x")
    assert len(node.runs) == 2
    assert len(node.connections) == 4  # each time it was asked where that is, too, and did not say


async def test_what_was_on_its_way_is_sent_to_the_next_node_first() -> None:
    first, second = FalseNode(then=silence), FalseNode()
    async with met(first, second) as client:
        answered: list[bytes] = []

        async def call(each: int) -> None:
            answered.append(await client.submit(b"%d" % each))

        async with anyio.create_task_group() as group:
            for each in range(1500):
                group.start_soon(call, each)
            await until(lambda: len(first.numbers) == 1000)
        assert len(answered) == 1500
        assert at_rest(client)
    assert first.numbers == list(range(1, 1001))
    assert second.numbers == list(range(1, 1501))


# --- forgotten ---------------------------------------------------------------------------------------


async def test_a_forgotten_client_takes_a_new_name() -> None:
    node = FalseNode(lambda run: [results(run)], EXPIRE)
    async with met(node) as client:
        assert await client.submit(b"a") == b"1 a"
        assert await client.submit(b"b") == b"1 b"
        assert await client.submit(b"c") == b"2 c"
        assert at_rest(client)
    assert len(node.names) == 2
    assert node.births == 2


@pytest.mark.parametrize("first", [UNKNOWN, hang_up], ids=["unknown", "lost"])
async def test_forgotten_after_it_may_have_been_carried_out(first: Behaviour) -> None:
    node = FalseNode(first, EXPIRE)
    async with met(node) as client:
        with pytest.raises(
            SessionExpired, match=r"^submit: the cluster has forgotten .*; it may have been carried"
        ):
            await client.submit(b"a")
        assert await client.submit(b"b") == b"1 b"
        assert at_rest(client)
    assert len(node.names) == 2


async def test_forgotten_in_the_middle_of_a_call() -> None:
    def part(run: Any) -> Sequence[Any]:
        return [results(run, 0, 2), *EXPIRE(run._replace(sequence=run.sequence + 2, bodies=run.bodies[2:]))]

    async with met(FalseNode(part)) as client:
        with pytest.raises(SessionExpired, match=r"submit 5 commands: .* for long; 2 of 5 were carried out$"):
            await client.submit_many([b"x"] * 5)
        assert at_rest(client)


async def test_forgotten_while_others_are_on_their_way() -> None:
    """What was sent under the old name is sent under the new one only when it is known to be undone."""
    waiting: list[Any] = []

    def hold(run: Any) -> Sequence[Any]:
        waiting.append(run)
        return []

    def answer_all(run: Any) -> Sequence[Any]:
        one, two, three = waiting
        return [*EXPIRE(three), results(one), *EXPIRE(run), *EXPIRE(two)]

    node = FalseNode(hold, hold, hold, answer_all)
    async with met(node) as client:
        answered: dict[bytes, bytes] = {}

        async def call(body: bytes) -> None:
            answered[body] = await client.submit(body)

        async with anyio.create_task_group() as group:
            for count, body in enumerate((b"one", b"two", b"three", b"four"), 1):
                group.start_soon(call, body)
                await until(lambda count=count: len(node.runs) >= count)  # type: ignore[misc]
        assert answered[b"one"] == b"1 one"
        assert sorted(answered[body] for body in (b"two", b"three", b"four")) == [
            b"1 two",
            b"2 three",
            b"3 four",
        ]
        assert at_rest(client)
    assert len(node.names) == 2
    # Under the old name each was sent once; under the new one only those that were refused.
    assert [body for run in node.runs[4:] for body in run.bodies] == [b"two", b"three", b"four"]


async def test_lost_while_forgotten() -> None:
    """One of two was refused for good; of the other nobody will ever say."""
    waiting: list[Any] = []

    def hold(run: Any) -> Sequence[Any]:
        waiting.append(run)
        return []

    node = FalseNode(hold, EXPIRE)
    async with met(node) as client:

        async def lost() -> None:
            with pytest.raises(SessionExpired, match="it may have been carried out"):
                await client.submit(b"lost")

        async with anyio.create_task_group() as group:
            group.start_soon(lost)
            await until(lambda: len(waiting) == 1)
            assert await client.submit(b"anew") == b"1 anew"
        assert at_rest(client)
    assert [run.bodies for run in node.runs] == [[b"lost"], [b"anew"], [b"anew"]]


async def test_a_call_that_ends_under_its_second_name_is_forgotten_too() -> None:
    """Else the client would never acknowledge anything again."""
    node = FalseNode(EXPIRE, then=silence)
    async with met(node) as client:
        with pytest.raises(OutcomeUnknown):
            await client.submit(b"a", timeout_s=1.0)
        node.then = None
        assert at_rest(client)
        await client.submit(b"b")
        await client.submit(b"c")
    assert node.runs[-1].acknowledged == 2


# --- cancelled, closed -------------------------------------------------------------------------------


async def test_a_cancelled_call_never_gives_its_answer_to_the_next() -> None:
    held: list[Any] = []

    def hold(run: Any) -> Sequence[Any]:
        held.append(run)
        return []

    node = FalseNode(hold, lambda run: [results(held[0]), results(run), results(held[0])])
    async with met(node) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.submit, b"cancelled")
            await until(lambda: bool(held))
            group.cancel_scope.cancel()
        assert await client.submit(b"next") == b"2 next"
        assert await client.submit(b"third") == b"3 third"
        assert at_rest(client)
    # Nobody waits for it, so its result need not be kept.
    assert [run.acknowledged for run in node.runs] == [0, 1, 2]


async def test_what_cancelled_calls_took_of_the_window_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paxos.runtime.client_link._PATIENCE_S", PATIENCE_S)
    silent = FalseNode(then=silence)
    async with met(silent) as client, anyio.create_task_group() as outer:
        answered: list[bytes] = []

        async def call() -> None:
            answered.append(await client.submit(b"kept back"))

        async with anyio.create_task_group() as group:
            for _ in range(1000):
                group.start_soon(client.submit, b"x")
            await until(lambda: len(silent.numbers) == 1000)
            outer.start_soon(call)
            await anyio.wait_all_tasks_blocked()
            assert len(silent.numbers) == 1000
            silent.then = None
            group.cancel_scope.cancel()
        await until(lambda: bool(answered))
        assert answered == [b"1001 kept back"]
        assert at_rest(client)


async def test_cancelled_before_it_was_sent_is_never_sent() -> None:
    node = FalseNode()
    node.silent_births = 1
    async with met(node) as client:
        with pytest.raises(Unreachable, match=r"submit: not sent within 0\.1 s"):
            await client.submit(b"x", timeout_s=0.1)
        assert await client.submit(b"y") == b"2 y"
    assert node.numbers == [2]


async def test_closed_in_the_middle() -> None:
    node = FalseNode(then=silence)
    raised: list[BaseException] = []

    async def call(method: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        try:
            await method()
        except Exception as error:
            raised.append(error)

    async with anyio.create_task_group() as group, met(node) as client:
        group.start_soon(call, lambda: client.submit(b"sent"))
        await until(lambda: len(node.runs) == 1)
        node.query_script = [silence] * 2
        group.start_soon(call, lambda: client.query(b"asked"))
        await until(lambda: len(node.queries) == 1)
    assert sorted(map(type, raised), key=str) == [OutcomeUnknown, Unreachable]
    assert "submit: the client was closed before the answer came" in str(raised)
    assert "query: the client was closed before the answer came" in str(raised)
    with pytest.raises(Unreachable, match="submit: the client is closed"):
        await client.submit(b"later")
    with pytest.raises(Unreachable, match="query: the client is closed"):
        await client.query(b"later")


# --- bounds ------------------------------------------------------------------------------------------


async def test_no_more_than_a_window_is_on_its_way() -> None:
    node = FalseNode(then=silence)
    async with met(node) as client, anyio.create_task_group() as group:
        for _ in range(1500):
            group.start_soon(client.submit, b"x")
        await until(lambda: len(node.numbers) >= 1000)
        await anyio.wait_all_tasks_blocked()
        assert len(node.numbers) == 1000
        with pytest.raises(Unreachable, match=r"not sent within 0\.1 s: earlier requests still wait"):
            await client.submit(b"kept back", timeout_s=0.1)
        group.cancel_scope.cancel()


async def test_messages_and_window_are_bounded_in_bytes() -> None:
    """A message that a node would not read is never sent, whatever comes together."""
    node = FalseNode(then=silence)
    async with met(node) as client, anyio.create_task_group() as group:
        largest = bytes(MAX_REQUEST_BYTES)
        group.start_soon(client.submit_many, [b"small"] * 100)
        for size in (100_000, MAX_REQUEST_BYTES, 100_000, 60_000, MAX_REQUEST_BYTES, 10, MAX_REQUEST_BYTES):
            group.start_soon(client.submit, largest[:size])
        await until(lambda: sum(len(body) for run in node.runs for body in run.bodies) > 2 << 20)
        await anyio.wait_all_tasks_blocked()
        sizes = [sum(map(len, run.bodies)) for run in node.runs]
        assert all(
            size <= 128 << 10 or len(run.bodies) == 1 for size, run in zip(sizes, node.runs, strict=True)
        )
        assert sum(sizes) < (2 << 20) + MAX_REQUEST_BYTES
        with pytest.raises(
            ConfigurationError, match=rf"submit: .* {MAX_REQUEST_BYTES + 1} bytes; the limit is"
        ):
            await client.submit(largest + b"1")
        with pytest.raises(ConfigurationError, match=r"put b'k': .* bytes; the limit is"):
            await client.put(b"k", largest)
        group.cancel_scope.cancel()


async def test_a_call_that_fits_goes_in_one_message() -> None:
    """Its second part would have to wait for its first, and everybody else behind it."""
    node = FalseNode()
    async with met(node) as client:
        await together(*(lambda: client.submit_many([b"x"] * 300) for _ in range(10)))
        assert at_rest(client)
    assert all(len(run.bodies) % 300 == 0 for run in node.runs)
    assert len(node.numbers) == 3000


async def test_a_hundred_thousand_calls_at_once() -> None:
    node = FalseNode()
    async with met(node, timeout_s=60) as client:
        assert len(await client.submit_many([b"x"] * 100_000)) == 100_000
        assert at_rest(client)
    assert len(node.runs) == 100


async def test_more_queries_than_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paxos.runtime.client_link._PATIENCE_S", PATIENCE_S)
    node = FalseNode()
    async with met(node) as client:
        answered: list[bytes] = []

        async def call(each: int) -> None:
            answered.append(await client.query(b"%d" % each))

        await together(*(lambda each=each: call(each) for each in range(1500)))
        assert set(answered) == {b"answer to %d" % each for each in range(1500)}
        assert at_rest(client)
    assert len(node.queries) == 1500
