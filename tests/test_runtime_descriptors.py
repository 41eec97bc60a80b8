"""A process may have a bounded number of files and sockets: what a node does with them."""

import errno
import sys
from typing import Any

import anyio
import pytest

from paxos.runtime import Limits, connect, open_cluster
from paxos.runtime.descriptors import available, fit, needed, raise_limit
from paxos.runtime.node_server import NodeServer, listen
from tests.strangers import PATIENCE_S

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("descriptors", [20, 100, 256, 1024, 1227, 1228, 1 << 20])
def test_connections_leave_room_for_the_node_itself(descriptors: int) -> None:
    wanted = Limits()
    fitted = fit(wanted, 3, descriptors)
    assert 1 <= fitted.half_open <= wanted.half_open
    assert 1 <= fitted.clients <= wanted.clients
    assert (fitted == wanted) == (descriptors >= needed(wanted, 3) == 1228)
    assert descriptors < 80 or fitted.half_open + fitted.clients + 64 + 4 * 3 <= descriptors


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_the_limit_is_raised_as_far_as_it_may_be() -> None:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
        raise_limit(100)
        assert available() == 200
        raise_limit(300)
        assert available() == 300
        raise_limit(1 << 40)
        # All of it, or what the kernel gives at most.
        assert available() >= min(before[0], 1 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class _Exhausted:
    """A listener whose system has no room for connections, the first few times."""

    def __init__(self, listener: Any, errors: list[Exception]) -> None:
        self._listener = listener
        self.errors = errors

    async def accept(self) -> Any:
        if self.errors:
            raise self.errors.pop()
        return await self._listener.accept()

    async def aclose(self) -> None:
        await self._listener.aclose()


async def test_a_listener_outlives_that_there_is_no_room_for_a_connection() -> None:
    said: list[str] = []
    async with open_cluster(nodes=1) as cluster:
        config = cluster.config
        await cluster.stop_node(1)
        server = NodeServer(config, 1, on_event=lambda event: said.append(event.action))
        [listener] = await listen(config.node(1).host, config.node(1).port, 1)
        full = OSError(errno.EMFILE, "Too many open files")
        errors = [full, anyio.BrokenResourceError(), full]
        ears: Any = [_Exhausted(listener, errors)]
        async with anyio.create_task_group() as group:
            group.start_soon(server.run, ears)
            async with connect(cluster.addresses, timeout_s=PATIENCE_S) as client:
                assert await client.decide("a", b"1") == b"1"
            server.stop()
    assert errors == []
    assert said.count("accept") == 1
