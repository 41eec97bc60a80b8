"""What a client keeps for its callers, what it does at once with what no node will ever take, and which
nodes it leaves because they take nothing."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from paxos.errors import OutcomeUnknown, Rejected, Unreachable
from paxos.runtime.client_gate import Gate
from paxos.service.log_messages import QueryReply, RefusedKind
from tests.false_logs import (
    REJECT,
    UNKNOWN,
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


def answer(run: Any) -> Sequence[Any]:
    return [results(run)]


NEVER = refusal(RefusedKind.NEVER, "a number is used once")


# --- the gate ------------------------------------------------------------------------------------------


async def test_what_fits_goes_in_at_once_and_what_is_too_large_alone() -> None:
    gate = Gate(3, 10)
    assert gate.enter_now(1, 100)
    assert not gate.enter_now(1, 1)
    gate.leave(1, 100)
    assert gate.enter_now(2, 5)
    assert not gate.enter_now(2, 1)
    assert not gate.enter_now(1, 6)
    assert gate.enter_now(1, 5)
    assert (gate.requests, gate.bytes, gate.outside) == (3, 10, 0)


async def test_who_waits_goes_in_in_order_and_nobody_overtakes() -> None:
    gate = Gate(3, 1000)
    order: list[str] = []

    async def enter(name: str, requests: int) -> None:
        await gate.enter(requests, 0)
        order.append(name)

    assert gate.enter_now(3, 0)
    async with anyio.create_task_group() as group:
        for name, requests in (("large", 3), ("small", 1), ("other", 1)):
            group.start_soon(enter, name, requests)
            await anyio.wait_all_tasks_blocked()
        assert gate.outside == 3
        gate.leave(1, 0)
        await anyio.wait_all_tasks_blocked()
        # There would be room for a small one.
        assert order == []
        assert not gate.enter_now(1, 0)
        gate.leave(2, 0)
        await anyio.wait_all_tasks_blocked()
        assert order == ["large"]
        gate.leave(3, 0)
    assert set(order) == {"large", "small", "other"}
    assert gate.requests == 2


async def test_who_gives_up_takes_nothing_with_it() -> None:
    gate = Gate(1, 1000)
    assert gate.enter_now(1, 7)
    with anyio.move_on_after(0.01) as first:
        await gate.enter(1, 1)
    assert first.cancelled_caught
    assert gate.outside == 0
    # Cancelled in the same moment in which it is let in: what it was given is given back.
    scope = anyio.CancelScope()

    async def enter() -> None:
        with scope:
            await gate.enter(1, 2)

    async with anyio.create_task_group() as group:
        group.start_soon(enter)
        await anyio.wait_all_tasks_blocked()
        gate.leave(1, 7)
        scope.cancel()
    assert (gate.requests, gate.bytes) == ((0, 0) if scope.cancelled_caught else (1, 2))
    assert gate.outside == 0


class _Compared:
    """An event that counts how often it was compared with another."""

    times = 0

    def __init__(self) -> None:
        self._event = anyio.Event()

    def __eq__(self, other: object) -> bool:
        type(self).times += 1
        return self is other

    __hash__ = object.__hash__

    def set(self) -> None:
        self._event.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        await self._event.wait()


async def test_who_gives_up_is_not_looked_for_among_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that starts a hundred thousand calls may cancel all of them, in any order."""
    many, gate = 200, Gate(1, 1000)
    monkeypatch.setattr("paxos.runtime.client_gate.anyio", SimpleNamespace(Event=_Compared))
    monkeypatch.setattr(_Compared, "times", 0)
    assert gate.enter_now(1, 0)
    scopes = [anyio.CancelScope() for _ in range(many)]

    async def enter(scope: anyio.CancelScope) -> None:
        with scope:
            await gate.enter(1, 0)

    async with anyio.create_task_group() as group:
        for scope in scopes:
            group.start_soon(enter, scope)
        await anyio.wait_all_tasks_blocked()
        assert gate.outside == many
        for scope in reversed(scopes):
            scope.cancel()
    assert gate.outside == 0
    assert _Compared.times < many


async def test_who_gives_up_lets_the_next_one_in() -> None:
    gate = Gate(2, 1000)
    assert gate.enter_now(1, 0)
    entered = anyio.Event()

    async def large() -> None:
        with anyio.move_on_after(0.05):
            await gate.enter(2, 0)

    async def small() -> None:
        await gate.enter(1, 0)
        entered.set()

    async with anyio.create_task_group() as group:
        group.start_soon(large)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(small)
        with anyio.fail_after(PATIENCE_S):
            await entered.wait()
    assert gate.requests == 2


async def test_a_client_is_slowed_down_to_what_the_cluster_takes() -> None:
    """No more than so many are under way, and all are carried out, in their order."""
    node = FalseNode()
    most = 0
    async with met(node) as client:
        gate = client._log._gate = Gate(10, 200)

        async def ask(number: int) -> None:
            nonlocal most
            assert (await client.submit(b"%020d" % number)).endswith(b"%020d" % number)
            most = max(most, gate.requests)

        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(ask, number)
        assert await client.submit_many([b"%d" % number for number in range(50)])
        assert at_rest(client)
    assert 1 < most <= 10
    assert node.numbers == list(range(1, 151))


async def test_what_had_no_room_in_time_was_certainly_not_sent() -> None:
    node = FalseNode(silence, then=silence)
    async with met(node) as client:
        client._log._gate = Gate(2, 1 << 20)

        async def unanswered() -> None:
            with pytest.raises(OutcomeUnknown):
                await client.submit(b"x", timeout_s=0.5)

        async def outside() -> None:
            await until(lambda: client._log._gate.requests == 2)
            said = (
                r"^put b'k': not sent within 0.1 s: this client has 2 requests of 2 bytes without an answer"
            )
            with pytest.raises(Rejected, match=said):
                await client.put(b"k", b"v", timeout_s=0.1)
            with pytest.raises(Rejected, match="which is as much as it keeps"):
                await client.get(b"k", timeout_s=0.1)

        await together(unanswered, unanswered, outside)
        assert at_rest(client)
    assert set(node.numbers) == {1, 2}


async def test_closed_while_it_waits_for_room() -> None:
    async def wait(client: Any) -> None:
        await client.submit(b"y", timeout_s=PATIENCE_S)

    caught: list[BaseException] = []

    async def note(client: Any) -> None:
        try:
            await wait(client)
        except (OutcomeUnknown, Unreachable) as error:
            caught.append(error)

    async with anyio.create_task_group() as group, met(FalseNode(then=silence)) as client:
        client._log._gate = Gate(1, 1 << 20)
        group.start_soon(note, client)
        group.start_soon(note, client)
        await until(lambda: client._log._gate.outside == 1 and bool(client._log._in_flight))
    assert sorted(type(error).__name__ for error in caught) == ["OutcomeUnknown", "Unreachable"]


# --- what no node will ever take -----------------------------------------------------------------------


async def test_what_is_refused_for_ever_is_told_at_once() -> None:
    node = FalseNode(NEVER)
    async with met(node) as client:
        said = r"^submit: a number is used once$"
        with anyio.fail_after(PATIENCE_S), pytest.raises(Rejected, match=said):
            await client.submit(b"x", timeout_s=10 * PATIENCE_S)
        assert at_rest(client)
        assert await client.submit(b"y") == b"2 y"
    assert node.numbers == [1, 2]


@pytest.mark.parametrize("first", [UNKNOWN, hang_up], ids=["unknown", "lost"])
async def test_of_an_earlier_attempt_that_says_nothing(first: Any) -> None:
    node = FalseNode(first, then=NEVER)
    async with met(node) as client:
        with pytest.raises(OutcomeUnknown, match="used once; of an earlier attempt nothing is known"):
            await client.submit(b"x", timeout_s=10 * PATIENCE_S)
        assert at_rest(client)


async def test_a_part_of_a_call_that_is_refused_for_ever() -> None:
    def part(run: Any) -> Sequence[Any]:
        return [results(run, 0, 2), *refusal(RefusedKind.NEVER, "no", 2, 3)(run)]

    async with met(FalseNode(part)) as client:
        with pytest.raises(OutcomeUnknown, match=r"no; 2 of 4 were carried out, others may have been"):
            await client.submit_many([b"a", b"b", b"c", b"d"])
        assert at_rest(client)


async def test_a_part_of_a_call_that_nobody_takes_in_time() -> None:
    """That part was certainly not carried out; the call as a whole was not certainly not."""
    node = FalseNode(
        lambda run: [results(run, 0, 2), *refusal(RefusedKind.REJECTED, "busy", 2)(run)], then=REJECT
    )
    async with met(node) as client:
        with pytest.raises(OutcomeUnknown, match=r"2 of 4 were carried out; for the others no answer within"):
            await client.submit_many([b"a", b"b", b"c", b"d"], timeout_s=0.3)
        assert at_rest(client)
    assert len(node.runs) > 1


async def test_a_query_that_is_refused_for_ever() -> None:
    def never(query: Any) -> Sequence[Any]:
        return [QueryReply(query.sequence, RefusedKind.NEVER, None, "the machine can not answer it")]

    node = FalseNode(queries=[never])
    async with met(node) as client:
        with pytest.raises(Rejected, match=r"^query: the machine can not answer it$"):
            await client.query(b"q", timeout_s=10 * PATIENCE_S)
        assert at_rest(client)
    assert len(node.queries) == 1


# --- a node that takes nothing -------------------------------------------------------------------------


async def test_a_node_that_takes_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be one that hears nobody, while the others have another leader."""
    monkeypatch.setattr("paxos.runtime.client_link._REFUSED_S", 0.1)
    one, two = FalseNode(then=REJECT), FalseNode()
    async with met(one, two) as client:
        assert await client.submit(b"x") == b"1 x"
        assert at_rest(client)
    assert len(one.runs) > 1
    assert two.numbers == [1]


async def test_a_node_that_answers_no_query_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paxos.runtime.client_link._REFUSED_S", 0.1)

    def busy(query: Any) -> Sequence[Any]:
        return [QueryReply(query.sequence, RefusedKind.REJECTED, None, "no leader is known")]

    one, two = FalseNode(queries=[busy] * 1000), FalseNode()
    async with met(one, two) as client:
        assert await client.query(b"q") == b"answer to q"
    assert len(one.queries) > 1
    assert len(two.queries) == 1


async def test_a_node_that_takes_something_is_not_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paxos.runtime.client_link._REFUSED_S", 0.1)
    one, two = FalseNode(*[REJECT, answer] * 6), FalseNode()
    async with met(one, two) as client:
        for number in range(6):
            assert await client.submit(b"x") == b"%d x" % (number + 1)
    assert two.runs == []
