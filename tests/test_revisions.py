"""Revisions that say where they hold, and watches of logs that order only what conflicts."""

from contextlib import AsyncExitStack

import anyio
import pytest

from paxos.contract import Orders
from paxos.errors import ConfigurationError, Rejected
from paxos.runtime import Client, connect
from paxos.runtime.handshake import Hello
from paxos.service.keyvalue_requests import MAX_REVISION
from paxos.service.revisions import MAX_PLACED, Placed, orders_value, place_of, where
from tests.strangers import PATIENCE_S, false_node, peer_hello, until
from tests.test_runtime_log_watch import NewsNode, first_change

VALUES = orders_value(Orders.CONFLICTS)


def test_a_place_is_a_node_and_one_of_its_starts() -> None:
    assert VALUES == {"orders": "conflicts"}
    assert orders_value(Orders.TOTAL) == {}
    places = {place_of(node, start, VALUES) for node in (1, 2, (1 << 31) - 1) for start in (1, 2, 1 << 40)}
    assert len(places) == 9
    assert 0 not in places
    assert place_of(3, 7, {}) == place_of(3, 7, {"orders": "total"}) == 0
    assert where(place_of(3, 7, VALUES)) == "node 3 in its start 7"


@pytest.mark.parametrize("number", [0, 1, MAX_REVISION])
def test_a_revision_is_its_count_where_all_have_one_order(number: int) -> None:
    assert Placed(0, number).revision == number
    assert Placed.of(number) == (0, number)
    placed = Placed(place_of((1 << 31) - 1, (1 << 63) - 1, VALUES), number)
    assert Placed.of(placed.revision) == placed
    assert placed.revision <= MAX_PLACED


def of(node: int, start: int) -> Hello:
    return peer_hello("shop", node, VALUES, incarnation=start)


async def follow(client: Client, since: int, told: list[int]) -> None:
    """Watch, until that is refused."""
    try:
        async for change in client.watch(since=since):
            told.append(change.revision)
    except Rejected as error:
        assert "numbers changes in its own order, and the revision is node 1 in" in str(error)  # noqa: PT017
    else:
        pytest.fail("the watch ended by itself")


@pytest.mark.anyio
async def test_a_watch_does_not_go_on_where_changes_are_numbered_otherwise() -> None:
    first, second = NewsNode(5), NewsNode(5)
    async with AsyncExitStack() as stack:
        addresses = [
            await stack.enter_async_context(false_node(node, hello))
            for node, hello in ((first, of(1, 4)), (second, of(2, 1)))
        ]
        client = await stack.enter_async_context(connect(addresses, timeout_s=PATIENCE_S))
        place, now = Placed.of(await client.revision())
        assert (place, now) == (place_of(1, 4, VALUES), 5)
        told: list[int] = []
        async with anyio.create_task_group() as group:
            group.start_soon(follow, client, Placed(place, 3).revision, told)
            await until(lambda: bool(first.waiting))
            assert told == [Placed(place, 4).revision, Placed(place, 5).revision]
            second.revision = 9
            await anyio.aclose_forcefully(next(iter(first.waiting.values())))
        # What the first counted up to 5 is something else at the second: nothing of it is told.
        assert len(told) == 2
        assert [query.level for query in second.queries] == []
        # From there it can begin anew.
        change = await first_change(client, Placed(place_of(2, 1, VALUES), 8).revision)
        assert Placed.of(change.revision) == (place_of(2, 1, VALUES), 9)


@pytest.mark.anyio
async def test_a_watch_goes_on_over_a_new_connection_to_the_same_life_of_a_node() -> None:
    node = NewsNode(5)
    async with false_node(node, of(1, 4)) as address, connect([address], timeout_s=PATIENCE_S) as client:
        since = await client.revision()
        told: list[int] = []

        async def watch() -> None:
            told.append((await first_change(client, since)).revision)

        async with anyio.create_task_group() as group:
            group.start_soon(watch)
            await until(lambda: bool(node.waiting))
            stream = next(iter(node.waiting.values()))
            node.waiting.clear()
            node.revision = 6
            await anyio.aclose_forcefully(stream)
        assert told == [since + 1]


@pytest.mark.anyio
async def test_a_bare_count_names_no_node_of_such_a_log() -> None:
    async with false_node(NewsNode(5), of(1, 4)) as address, connect([address]) as client:
        with pytest.raises(Rejected, match="the revision is a cluster with one order's"):
            await first_change(client, 3)
        # Nothing has changed before the first change, wherever.
        assert Placed.of((await first_change(client, 0)).revision) == (place_of(1, 4, VALUES), 1)
        with pytest.raises(ConfigurationError, match="changes: after"):
            await first_change(client, -1)
