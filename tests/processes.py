"""Real nodes in processes of their own, for tests: started, killed, restarted, and never left behind."""

import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from paxos.runtime import ClusterConfig, NodeConfig, QuorumSpec, TlsConfig, dump_cluster
from paxos.runtime.ports import free_ports

#: A node that has not said so by then does not come up, seconds.
READY_S = 30.0


def write_config(
    directory: Path,
    nodes: int = 3,
    *,
    cluster: str = "test",
    tls: TlsConfig | None = None,
    quorums: QuorumSpec | None = None,
    settings: Any = None,
) -> ClusterConfig:
    """A cluster on the loopback interface with its stores below `directory`, and its file there."""
    config = ClusterConfig(
        id=cluster,
        protocol="paxos",
        nodes=tuple(
            NodeConfig(node, f"127.0.0.1:{port}", str(directory / "data" / str(node)))
            for node, port in enumerate(free_ports(nodes), 1)
        ),
        tls=tls,
        quorums=quorums,
        settings=settings,
        path=directory / "cluster.toml",
    )
    (directory / "cluster.toml").write_text(dump_cluster(config), encoding="utf-8")
    return config


class Process:
    """One node in a process.

    Args:
        config: its file is what the process reads.
        node: its id.
        loop: "asyncio", "uvloop" or "trio".
        descriptors: how many files and sockets it may have open; None for as many as this process.
    """

    def __init__(
        self, config: ClusterConfig, node: int, loop: str = "asyncio", descriptors: int | None = None
    ) -> None:
        assert config.path is not None
        self.node = node
        # A file and not a pipe: nobody need read it for the node to go on.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-m", "paxos.runtime", str(config.path), str(node), "--loop", loop]
        if descriptors is not None:
            command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=self._log)

    def wait_ready(self) -> None:
        """Wait until it serves."""
        stdout = self._process.stdout
        assert stdout is not None
        # Killed after a while, so that the read ends.
        alarm = threading.Timer(READY_S, self._process.kill)
        alarm.start()
        line = stdout.readline()
        alarm.cancel()
        if not line.startswith(b"ready"):
            raise AssertionError(f"node {self.node} did not come up (exit code {self.wait()}):\n{self.log()}")

    def log(self) -> str:
        """What it logged so far."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()
        self._process.wait()

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.signal(signal.SIGTERM)

    def wait(self, timeout_s: float = READY_S) -> int:
        """Its exit code. Raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout_s)

    def close(self) -> None:
        """End it if it runs, and let go of its output."""
        if self.running:
            self.kill()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._log.close()


class Processes:
    """The nodes of one cluster, as a context manager after which none of them runs."""

    def __init__(self, config: ClusterConfig, loops: tuple[str, ...] = ("asyncio",)) -> None:
        self.config = config
        self._loops = loops
        self.nodes: dict[int, Process] = {}
        self._gone: list[Process] = []

    def start(self, *nodes: int) -> None:
        """Start these nodes, all of them when none is named, and wait until they serve."""
        for node in nodes or self.config.members:
            if node in self.nodes:
                self._gone.append(self.nodes[node])
            loop = self._loops[node % len(self._loops)]
            self.nodes[node] = Process(self.config, node, loop)
        for node in nodes or self.config.members:
            self.nodes[node].wait_ready()

    @property
    def addresses(self) -> list[str]:
        """Where they listen."""
        return [node.address for node in self.config.nodes]

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*self.nodes.values(), *self._gone]:
            process.close()
