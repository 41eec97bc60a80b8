"""Nodes as processes of their own, on a leash: none outlives whoever started it.

A node is started with a pipe as its standard input and told to stop when that pipe closes.  The other end
closes when this process ends, in whatever way, `kill -9` included, so there is never an orphan, and nothing
that only one operating system has is needed for it.
"""

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from paxos.ballot import NodeId
from paxos.errors import NodeStopped

__all__ = ["NodeProcess", "NodeProcesses"]

#: How long a node may take to end after it was asked to, seconds; then it is killed.
_STOP_S: Final = 8.0
_TAIL_LINES: Final = 3


class NodeProcess:
    """One node.

    Args:
        node: its id.
        config: the cluster file.
        log: where its standard error goes; what is there already stays.
        options: more arguments of `paxos serve`.
    """

    def __init__(self, node: NodeId, config: Path, log: Path, options: Sequence[str] = ()) -> None:
        self.node = node
        self.log = log
        command = [sys.executable, "-m", "paxos", "serve", "--config", str(config), "--node", str(node)]
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                [*command, "--stop-with-stdin", *options],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                # A Ctrl-C in the terminal is for whoever started the nodes, who then stops them.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """End it at once, as `kill -9` does: it gets no chance to write or say anything."""
        self._process.kill()
        self._process.wait()
        self._let_go()

    def ask_to_stop(self) -> None:
        """Ask it to stop; `wait` says when it has."""
        if self.running:
            with contextlib.suppress(OSError):
                self._process.send_signal(signal.SIGTERM)

    def wait(self, timeout_s: float) -> int:
        """Its exit code; it is killed when it takes longer than `timeout_s` seconds."""
        try:
            code = self._process.wait(max(timeout_s, 0.0))
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.returncode
        self._let_go()
        return code

    def require_running(self) -> None:
        """Raises NodeStopped, with the end of its log, when it has ended."""
        if not self.running:
            lines = self.log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
            raise NodeStopped(
                f"node {self.node} ended with exit code {self._process.returncode}: {' / '.join(lines)}"
            )

    def _let_go(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()


class NodeProcesses:
    """The nodes of one cluster. As a context manager: whatever happens, all have ended afterwards.

    Args:
        config: the cluster file.
        directory: where logs go, as `node-N.log`.
        options: more arguments of `paxos serve`.
        each: whether each node has a file of its own, `node-N.toml` beside the other.
    """

    def __init__(
        self, config: Path, directory: Path, options: Sequence[str] = (), each: bool = False
    ) -> None:
        self._each = each
        self._config = config
        self._directory = directory
        self._options = tuple(options)
        self.nodes: dict[NodeId, NodeProcess] = {}

    def start(self, node: NodeId) -> NodeProcess:
        """Start a node, or start it again."""
        log = self._directory / f"node-{node}.log"
        self.nodes[node] = process = NodeProcess(node, self.config_of(node), log, self._options)
        return process

    def config_of(self, node: NodeId) -> Path:
        """Its cluster file."""
        return self._config.with_name(f"node-{node}.toml") if self._each else self._config

    def stop(self, nodes: Iterable[NodeId] | None = None) -> dict[NodeId, int]:
        """Stop these (None: all) gracefully and give their exit codes."""
        chosen = [self.nodes[node] for node in (self.nodes if nodes is None else nodes)]
        for process in chosen:
            process.ask_to_stop()
        deadline_s = time.monotonic() + _STOP_S
        return {process.node: process.wait(deadline_s - time.monotonic()) for process in chosen}

    def require_running(self, nodes: Iterable[NodeId]) -> None:
        """Raises NodeStopped when one of these has ended."""
        for node in nodes:
            self.nodes[node].require_running()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.stop()
        for process in self.nodes.values():
            process.kill()
