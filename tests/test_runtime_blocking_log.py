"""A replicated log without async: every call of a client, from threads."""

import inspect
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import paxos
from paxos import keyvalue
from paxos.runtime import Client, SyncClient

PATIENCE_S = 60


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def cluster(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Three nodes in this process."""
    with paxos.open_cluster_sync(
        "multipaxos", nodes=3, timeout_s=PATIENCE_S, backend=request.param
    ) as opened:
        yield opened


def test_every_call_is_there_with_the_same_arguments() -> None:
    for name, method in vars(Client).items():
        if name.startswith("_") or name in ("node", "cluster", "run", "backup"):
            continue
        mine = getattr(SyncClient, name)
        wanted, found = inspect.signature(method), inspect.signature(mine)
        assert list(found.parameters.values()) == list(wanted.parameters.values()), name
        assert mine.__doc__, name


def test_keys_and_values(cluster: Any) -> None:
    client = cluster.client()
    client.put(b"k", b"v")
    assert client.get(b"k") == b"v"
    assert client.get(b"none") is None
    assert client.cas(b"k", b"v", b"w")
    assert not client.cas(b"k", b"v", b"x")
    assert client.delete(b"k")
    assert not client.delete(b"k")
    assert client.increment(b"n", 3) == 3
    assert client.increment(b"n") == 4
    found = client.scan(b"n", b"o")
    assert (found.items, found.more) == (((b"n", b"4"),), False)
    cluster.client(2).put(b"at another", b"1")
    assert client.get(b"at another") == b"1"


def test_commands_and_transactions(cluster: Any) -> None:
    client = cluster.client(3)
    keyvalue.stored(client.submit(keyvalue.put(b"c", b"1")))
    many = client.submit_many(keyvalue.increment(b"many") for _ in range(100))
    assert [keyvalue.incremented(answer) for answer in many] == list(range(1, 101))
    assert keyvalue.got(client.query(keyvalue.get(b"c"))) == b"1"
    assert keyvalue.got(client.query(keyvalue.get(b"c"), stale=True)) == b"1"
    ran = client.transaction(
        (guard for guard in [keyvalue.equals(b"c", b"1")]), [keyvalue.put(b"c", b"2")], [keyvalue.get(b"c")]
    )
    assert ran.held
    ran = client.transaction([keyvalue.equals(b"c", b"1")], [keyvalue.put(b"c", b"2")], [keyvalue.get(b"c")])
    assert not ran.held
    assert keyvalue.got(ran.answers[0]) == b"2"


def test_leadership_is_handed_over(cluster: Any) -> None:
    client = cluster.client()
    client.put(b"k", b"v")
    leader = client.status()["leader"]
    heir = leader % 3 + 1
    with paxos.connect_sync([cluster.addresses[leader - 1]], timeout_s=PATIENCE_S) as at_leader:
        at_leader.transfer(heir)
    deadline = threading.Event()
    for _ in range(600):
        if client.status()["leader"] == heir:
            break
        deadline.wait(0.05)
    assert client.status()["leader"] == heir


def test_watch_is_an_iterator(cluster: Any) -> None:
    client = cluster.client()
    since = client.revision()
    client.put(b"w/1", b"a")
    client.delete(b"w/1")
    with client.watch(b"w/", b"w0", since=since) as changes:
        assert next(changes) == keyvalue.Change(since + 1, b"w/1", b"a")
        assert next(changes) == keyvalue.Change(since + 2, b"w/1", None)
        writer = threading.Timer(0.1, client.put, [b"w/2", b"later"])
        writer.start()
        for change in changes:  # waits for it
            assert change == keyvalue.Change(since + 3, b"w/2", b"later")
            break
        writer.join()
    assert list(changes) == []


def test_a_watch_that_waits_is_ended_by_another_thread(cluster: Any) -> None:
    changes = cluster.client().watch(b"nobody writes this")
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.extend(changes))
    waiting.start()
    closing = threading.Timer(0.2, changes.close)
    closing.start()
    waiting.join(PATIENCE_S)
    closing.join()
    assert not waiting.is_alive()
    assert found == []
    changes.close()


def test_a_watch_that_is_left_open_keeps_nothing_open() -> None:
    with paxos.open_cluster_sync("multipaxos", nodes=1, timeout_s=PATIENCE_S) as opened:
        client = opened.client()
        since = client.revision()
        client.put(b"k", b"v")
        changes = client.watch(since=since)
        assert next(changes).key == b"k"
    with pytest.raises(paxos.Unreachable, match="it is closed"):
        next(changes)


def test_the_words_of_the_machine_are_public() -> None:
    assert paxos.keyvalue is keyvalue
    assert set(keyvalue.__all__) >= {"put", "stored", "get", "got", "transaction", "ran", "equals"}
    assert paxos.LogSettings(marker_requests=10).marker_requests == 10
    assert issubclass(paxos.SessionExpired, paxos.OutcomeUnknown)
