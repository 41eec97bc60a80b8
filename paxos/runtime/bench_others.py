"""Others to compare a log with, in the same run and on the same disk: PySyncObj and etcd.

Each function here starts three nodes, loads them in the way that suits them best, and stops them.  Neither
is a dependency: what is not installed is left out, and the benchmark says so.

PySyncObj (a Raft in Python) keeps its log in memory here, never compacts it, ticks every 5 ms and is called
inside the process of its leader, which spares it a client.  It sends what has gathered ten times a second, so
it must have many commands under way to be always busy; with more than these it became slower, and with other
periods and sizes than its own no faster.  Its sockets' buffers hold all of them.  Its nodes wait longer than
by default before they hold an election, because a leader that is busy says nothing for a second, and what it
was given would be lost.
etcd (a Raft in Go) gets a thousand connections, each with one put under way, through its HTTP gateway, and
syncs its log, as it does by default.
"""

import base64
import contextlib
import importlib.util
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

from paxos.errors import PaxosError
from paxos.runtime.ports import free_ports

__all__ = ["OTHERS", "etcd_commands_per_s", "pysyncobj_commands_per_s", "why_not"]

#: The others, by name.
OTHERS: Final = ("pysyncobj", "etcd")
_START_S: Final = 30.0
_CONNECTIONS: Final = 1000
_OUTSTANDING: Final = 20_000
_BUFFER_BYTES: Final = 4 << 20
#: Until a node of PySyncObj that hears nothing wants to lead, seconds: so long at least, and at most.
_ELECTION_S: Final = (4.0, 6.0)
_VALUE_BYTES: Final = 16
_WARM_UP_S: Final = 1.0


def why_not(name: str) -> str:
    """Why one can not be measured here; empty when it can."""
    if name == "pysyncobj":
        missing = importlib.util.find_spec("pysyncobj") is None
        return "PySyncObj is not installed (pip install pysyncobj)" if missing else ""
    return "" if shutil.which("etcd") else "etcd is not installed (Debian: etcd-server)"


# --- PySyncObj ---------------------------------------------------------------------------------------


def pysyncobj_commands_per_s(seconds: float) -> float:
    """Puts a second of three nodes of PySyncObj.

    Raises:
        PaxosError: they did not come up.
    """
    addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
    running = []
    try:
        for own in addresses:
            partners = [address for address in addresses if address != own]
            command = [sys.executable, "-m", "paxos.runtime.bench_others", str(seconds), own, *partners]
            running.append(
                subprocess.Popen(
                    command,
                    stdout=subprocess.PIPE,
                    stdin=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
            )
        # The leader measures, and says what came out; the others say nothing.
        deadline_s = time.monotonic() + _START_S + seconds
        with selectors.DefaultSelector() as selector:
            for process in running:
                assert process.stdout is not None
                selector.register(process.stdout, selectors.EVENT_READ, process)
            while time.monotonic() < deadline_s:
                for key, _ in selector.select(1.0):
                    line = key.data.stdout.readline()
                    if not line:
                        raise PaxosError("a node of PySyncObj ended before it was measured")
                    rate, failed = map(float, line.split())
                    if not rate:
                        raise PaxosError(f"PySyncObj carried out nothing; {failed:.0f} commands failed")
                    return rate
        raise PaxosError("PySyncObj did not elect a leader in time")
    finally:
        for process in running:
            process.kill()
            process.communicate()


def _pysyncobj_node(seconds: float, own: str, partners: list[str]) -> None:
    """One node of PySyncObj; the one that leads measures."""
    import pysyncobj  # type: ignore[import-not-found,import-untyped,unused-ignore]

    class Store(pysyncobj.SyncObj):  # type: ignore[misc,name-defined,unused-ignore]
        def __init__(self) -> None:
            conf = pysyncobj.SyncObjConf(
                autoTickPeriod=0.005,
                logCompactionMinEntries=1 << 30,
                logCompactionMinTime=1 << 30,
                commandsQueueSize=10 * _OUTSTANDING,
                sendBufferSize=_BUFFER_BYTES,
                recvBufferSize=_BUFFER_BYTES,
                raftMinTimeout=_ELECTION_S[0],
                raftMaxTimeout=_ELECTION_S[1],
                connectionTimeout=10 * _ELECTION_S[1],
            )
            super().__init__(own, partners, conf)
            self.values: dict[bytes, bytes] = {}

        @pysyncobj.replicated  # type: ignore[untyped-decorator,unused-ignore]
        def put(self, key: bytes, value: bytes) -> None:
            self.values[key] = value

    store = Store()
    while not (store.isReady() and store._isLeader()):
        time.sleep(0.02)
    pairs = [(os.urandom(_VALUE_BYTES), os.urandom(_VALUE_BYTES)) for _ in range(20_000)]
    done = failed = sent = 0

    def answered(result: object, error: object) -> None:
        nonlocal done, failed
        if error:
            failed += 1
        else:
            done += 1

    def fill() -> None:
        nonlocal sent
        while sent - done - failed < _OUTSTANDING:
            key, value = pairs[sent % len(pairs)]
            store.put(key, value, callback=answered)  # type: ignore[call-arg,unused-ignore]
            sent += 1

    start_s, counted, begun_s = time.perf_counter(), 0, 0.0
    while not begun_s or time.perf_counter() < begun_s + seconds:
        fill()
        time.sleep(0.001)
        if not begun_s and time.perf_counter() > start_s + _WARM_UP_S:
            begun_s, counted = time.perf_counter(), done
    print((done - counted) / (time.perf_counter() - begun_s), failed, flush=True)
    sys.stdin.read()


# --- etcd --------------------------------------------------------------------------------------------


def etcd_commands_per_s(directory: Path, seconds: float) -> float:
    """Puts a second of three nodes of etcd, whose data is in a directory.

    Raises:
        PaxosError: they did not come up.
    """
    with _etcd(directory) as clients:
        leader = _etcd_leader(clients)
        return _etcd_load(leader, seconds)


@contextlib.contextmanager
def _etcd(directory: Path) -> Iterator[list[int]]:
    ports = free_ports(6)
    clients, peers = ports[:3], ports[3:]
    cluster = ",".join(f"n{i}=http://127.0.0.1:{port}" for i, port in enumerate(peers))
    running = []
    try:
        for i, (client, peer) in enumerate(zip(clients, peers, strict=True)):
            command = ["etcd", "--name", f"n{i}", "--data-dir", str(directory / f"etcd-{i}")]
            command += ["--listen-client-urls", f"http://127.0.0.1:{client}"]
            command += ["--advertise-client-urls", f"http://127.0.0.1:{client}"]
            command += ["--listen-peer-urls", f"http://127.0.0.1:{peer}"]
            command += ["--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}"]
            command += [
                "--initial-cluster",
                cluster,
                "--initial-cluster-state",
                "new",
                "--log-level",
                "error",
            ]
            running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        yield clients
    finally:
        for process in running:
            process.kill()
            process.wait()


def _post(port: int, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=5) as reply:
        found: dict[str, Any] = json.loads(reply.read())
        return found


def _etcd_leader(clients: list[int]) -> int:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s:
        for port in clients:
            with contextlib.suppress(urllib.error.URLError, OSError, ValueError):
                status = _post(port, "/v3/maintenance/status", {})
                if status.get("leader") and status["leader"] == status["header"]["member_id"]:
                    _post(port, "/v3/kv/put", {"key": "YQ==", "value": "YQ=="})
                    return port
        time.sleep(0.1)
    raise PaxosError("etcd did not elect a leader in time")


def _etcd_load(port: int, seconds: float) -> float:
    """A thousand connections, each with one put under way."""

    def request() -> bytes:
        key, value = (base64.b64encode(os.urandom(_VALUE_BYTES)).decode() for _ in range(2))
        body = json.dumps({"key": key, "value": value}).encode()
        head = f"POST /v3/kv/put HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    pool = [request() for _ in range(5000)]
    done, at = 0, 0
    with contextlib.ExitStack() as open_sockets, selectors.DefaultSelector() as selector:
        for _ in range(_CONNECTIONS):
            one = open_sockets.enter_context(socket.create_connection(("127.0.0.1", port), 10))
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(one, selectors.EVENT_READ)
            one.sendall(pool[at % len(pool)])
            at += 1
        start_s, counted, begun_s = time.perf_counter(), 0, 0.0
        while not begun_s or time.perf_counter() < begun_s + seconds:
            for key, _ in selector.select(1.0):
                one = cast("socket.socket", key.fileobj)
                reply = one.recv(65536)
                if not reply.startswith(b"HTTP/1.1 200"):
                    raise PaxosError(f"etcd answered {reply[:80]!r}")
                done += 1
                one.sendall(pool[at % len(pool)])
                at += 1
            if not begun_s and time.perf_counter() > start_s + _WARM_UP_S:
                begun_s, counted = time.perf_counter(), done
        return (done - counted) / (time.perf_counter() - begun_s)


if __name__ == "__main__":
    _pysyncobj_node(float(sys.argv[1]), sys.argv[2], sys.argv[3:])
