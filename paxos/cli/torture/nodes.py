"""The nodes of a campaign: real processes with real stores, which are killed, paused and started again."""

import importlib.util
import json
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import anyio
import anyio.to_thread
import attrs

from paxos.ballot import NodeId
from paxos.cli.processes import NodeProcess
from paxos.cli.torture.network import Network
from paxos.contract import Decides, Orders, ProtocolDescription, find_protocol
from paxos.errors import ConfigurationError
from paxos.runtime.config import ClusterConfig, NodeConfig, dump_cluster
from paxos.service.settings import LogSettings

__all__ = ["Fleet", "LogLine", "log_lines", "small_log", "small_settings", "steady_ports"]

_LOOPBACK: Final = "127.0.0.1"
#: Ports below those that a system gives to outgoing connections: they stay free while their node is down.
_PORTS: Final = range(20_000, 30_000)
#: How long a node may take to stop when it was asked to, seconds.
_STOP_S: Final = 15.0
#: A process that is younger may not yet take signals, and then SIGTERM ends it at once, seconds.
_YOUNG_S: Final = 15.0
#: What a protocol of ours can be given less of, so that its bounds are met.
_SMALL: Final = {
    "window": (16, 64, 1024),
    "page_slots": (4, 64),
    "page_bytes": (2048, 1 << 20),
    "repeat_slots": (4, 128),
    "hint_slots": (8, 1024),
    "reserve_rounds": (1, 64),
    "page_instances": (4, 64),
    "reserve_numbers": (1, 8, 256),
    "recover_at_once": (16, 256),
}


def steady_ports(many: int, draw: random.Random) -> list[int]:
    """Ports of the loopback interface that nobody has, and that no outgoing connection is given."""
    found: list[int] = []
    with ExitStack() as held:
        for port in draw.sample(_PORTS, len(_PORTS)):
            if len(found) == many:
                return found
            probe = held.enter_context(socket.socket())
            with suppress(OSError):
                probe.bind((_LOOPBACK, port))
                found.append(port)
    raise ConfigurationError(f"there are no {many} free ports from {_PORTS.start} to {_PORTS.stop - 1}")


def small_log(draw: random.Random) -> LogSettings:
    """Settings with which snapshots are made, and sent to others, all the time."""
    return LogSettings(
        marker_requests=draw.choice((40, 150, 600)),
        piece_s=draw.choice((0.0, 0.002, 0.02)),
        pieces_asked=draw.choice((1, 4, 8)),
        repeat_s=draw.choice((0.2, 1.0)),
        waiting_requests=draw.choice((64, 16_384)),
    )


def small_settings(protocol: ProtocolDescription, draw: random.Random) -> Any:
    """The protocol's settings with small bounds, as far as it has those that are known here."""
    names = {field.name for field in attrs.fields(protocol.settings)}
    # Drawn whether there or not: a seed means the same for every protocol.
    drawn = {name: draw.choice(choices) for name, choices in _SMALL.items()}
    return protocol.settings(**{name: value for name, value in drawn.items() if name in names})


class Fleet:
    """All nodes of one cluster, as a context manager: whatever happens, none of them runs afterwards.

    Args:
        directory: for stores, logs and cluster files.
        protocol: what they run.
        ports: where they listen.
        draw: for their settings and event loops.
        small: whether their bounds are small.
    """

    def __init__(
        self, directory: Path, protocol: str, ports: dict[NodeId, int], draw: random.Random, small: bool
    ) -> None:
        found = find_protocol(protocol)
        self.directory = directory
        self.ports = ports
        self.decides: Decides = found.decides
        self.orders: Orders = found.orders
        self.protocol = protocol
        settings = small_settings(found, draw)
        log = small_log(draw)
        self._settings = settings if small else None
        self._log = log if small and found.decides is Decides.LOG else None
        self._options = {node: _loop(draw) for node in ports}
        self.processes: dict[NodeId, NodeProcess] = {}
        self._started_s: dict[NodeId, float] = {}
        #: Nodes that ended when nobody had asked them to, or not as they should; why.
        self.wrong: list[str] = []

    @property
    def settings(self) -> dict[str, object]:
        """What is not as usual, for the report."""
        given = {**attrs.asdict(self._settings)} if self._settings is not None else {}
        log = {f"log.{name}": value for name, value in attrs.asdict(self._log).items()} if self._log else {}
        return given | log

    def configure(self, network: Network) -> None:
        """Write a cluster file for each node: it has its own address, and the others' from the network."""
        for node in self.ports:
            config = ClusterConfig(
                id="torture",
                protocol=self.protocol,
                nodes=tuple(
                    NodeConfig(
                        each,
                        f"{_LOOPBACK}:{port}" if each == node else network.address(node, each),
                        str(self.directory / "data" / str(each)),
                    )
                    for each, port in self.ports.items()
                ),
                settings=self._settings,
                log=self._log,
                path=self._file(node),
            )
            self._file(node).write_text(dump_cluster(config), encoding="utf-8")

    def _file(self, node: NodeId) -> Path:
        return self.directory / f"node-{node}.toml"

    def log(self, node: NodeId) -> Path:
        """Where a node's log is."""
        return self.directory / f"node-{node}.log"

    def address(self, node: NodeId) -> str:
        """Where a node really listens."""
        return f"{_LOOPBACK}:{self.ports[node]}"

    # --- what is done to them -----------------------------------------------------------------------

    def start(self, node: NodeId) -> None:
        """Start a node, or start it again."""
        options = ("--log-level", "debug", "--log-json", *self._options[node])
        self._started_s[node] = time.monotonic()
        self.processes[node] = NodeProcess(node, self._file(node), self.log(node), options)

    def kill(self, node: NodeId) -> None:
        """`kill -9`."""
        self.look(node)
        self.processes[node].kill()

    async def stop(self, node: NodeId) -> None:
        """SIGTERM; it must end well."""
        process = self.processes[node]
        self.look(node)
        process.ask_to_stop()
        code = await anyio.to_thread.run_sync(process.wait, _STOP_S)
        is_young = time.monotonic() - self._started_s[node] < _YOUNG_S
        if code and not (code == -signal.SIGTERM and is_young):
            self.wrong.append(f"node {node}: exit code {code} after SIGTERM; see {self.log(node)}")

    def pause(self, node: NodeId) -> None:
        """SIGSTOP."""
        self.look(node)
        with suppress(OSError):
            os.kill(self.processes[node].pid, signal.SIGSTOP)

    def resume(self, node: NodeId) -> None:
        """SIGCONT."""
        with suppress(OSError):
            os.kill(self.processes[node].pid, signal.SIGCONT)

    def look(self, node: NodeId) -> None:
        """Make a note if a node ended by itself."""
        process = self.processes[node]
        if not process.running:
            code = process.wait(0.0)
            note = f"node {node} ended by itself with exit code {code}; see {self.log(node)}"
            if note not in self.wrong:
                self.wrong.append(note)

    async def stop_all(self) -> None:
        """SIGTERM to all."""
        async with anyio.create_task_group() as group:
            for node in self.processes:
                group.start_soon(self.stop, node)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self.processes.values():
            with suppress(subprocess.SubprocessError, OSError):
                process.kill()


def _loop(draw: random.Random) -> tuple[str, ...]:
    """One of the event loops that are installed here, as options of `paxos serve`."""
    loops: dict[str, tuple[str, ...]] = {
        "asyncio": (),
        "trio": ("--backend", "trio"),
        "uvloop": ("--uvloop",),
    }
    chosen = draw.choice(tuple(loops))
    return loops[chosen] if importlib.util.find_spec(chosen) is not None else ()


# --- their logs --------------------------------------------------------------------------------------


@attrs.frozen
class LogLine:
    """One line of a node's log.

    Args:
        event: what happened, for programs; empty for what is no event.
        level: how bad it is.
        text: the line.
        arguments: of the event.
    """

    event: str
    level: str
    text: str
    arguments: dict[str, Any]


def log_lines(path: Path) -> Iterator[LogLine]:
    """The lines of a node's log; what is no JSON, such as a traceback, has the level "none"."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="backslashreplace") as file:
        for line in file:
            text = line.strip()
            try:
                found = json.loads(text)
            except ValueError:
                found = None
            if isinstance(found, dict):
                yield LogLine(
                    str(found.get("event", "")),
                    str(found.get("level", "")),
                    str(found.get("message", "")),
                    dict(found.get("arguments") or {}),
                )
            elif text:
                yield LogLine("", "none", text, {})
