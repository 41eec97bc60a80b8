"""What a tracing node writes: one JSON object a line for each thing that a handler did.

The files of several nodes are merged by Lamport clocks (Lamport, *Time, Clocks, and the Ordering of Events in
a Distributed System*, 1978).  An event advances the clock of its node by one; every message carries the clock
of its sender; who receives one moves its own clock up to it.  So what caused something stands before it.

An event is in the file before any message that follows from it can leave, because both happen on the event
loop in this order; and what was written survives the end of the process, `kill -9` included.  So a merged
trace has no gaps but at its very end.  Nothing is synced: after a power failure a trace is worth nothing.

The first line says of which node of which cluster the file is, and of which protocol; each event carries its
number, from 1, over all restarts; and a node that is stopped ends its file with a line that says how many
there are.  So who reads the files of a cluster sees that one is missing, given twice, or not whole
(`paxos.check.trace_files`).
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Self

from paxos.ballot import NodeId
from paxos.contract import Event
from paxos.contract.traces import plain_event
from paxos.errors import ConfigurationError
from paxos.wire import MAX_FRAME_BYTES, Envelope, MessageTable
from paxos.wire.table import MAX_CLOCK

__all__ = ["ClockedTable", "TraceFile"]

_TAIL_BYTES: Final = 1 << 20


class TraceFile:
    """The trace of one node, over all its restarts.

    Args:
        path: of the file; what is there already is kept, and the clock goes on from it.
        node: whose events they are.
        protocol: of which they tell.
        cluster: the id of the node's cluster.

    Raises:
        ConfigurationError: the file can not be opened or read, is no trace, or that of another node.
    """

    def __init__(
        self, path: str | os.PathLike[str], node: NodeId, *, protocol: str = "paxos", cluster: str = ""
    ) -> None:
        self.path: Path = Path(path)
        #: The node's Lamport clock.
        self.clock: int = 0
        #: How many events were written.
        self.number: int = 0
        #: Why writing ended early; empty while it has not.
        self.failure: str = ""
        self._header = {"node": node, "protocol": protocol, "cluster": cluster}
        # The first line is written with the first event, and the last one only after an event.
        self._empty = True
        self._open_ended = False
        try:
            self._file: int = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise ConfigurationError(f"trace file {self.path}: {error.strerror}") from error
        try:
            self._resume()
        except BaseException:
            os.close(self._file)
            raise

    def _resume(self) -> None:
        """Cut off a line that was not finished, and go on from the last one that was."""
        size = os.lseek(self._file, 0, os.SEEK_END)
        start = max(size - _TAIL_BYTES, 0)
        os.lseek(self._file, start, os.SEEK_SET)
        tail = os.read(self._file, _TAIL_BYTES)
        whole = tail.rfind(b"\n") + 1
        if start and not whole:
            raise ConfigurationError(f"trace file {self.path}: it does not end in lines of a trace")
        if start + whole:
            os.lseek(self._file, 0, os.SEEK_SET)
            head = os.read(self._file, min(_TAIL_BYTES, start + whole)).partition(b"\n")[0]
            self._check_header(head)
        os.ftruncate(self._file, start + whole)
        # Without an event there is only the first line.
        lines = tail[:whole].splitlines()
        if start or len(lines) > 1:
            self._go_on(lines[-1])

    def _check_header(self, line: bytes) -> None:
        try:
            header = json.loads(line)["trace"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigurationError(
                f"trace file {self.path}: its first line is not that of a trace"
            ) from error
        if header != self._header:
            raise ConfigurationError(
                f"trace file {self.path}: it is of {header!r:.200}, and this is {self._header}: name another "
                "file"
            )
        self._empty = False

    def _go_on(self, line: bytes) -> None:
        try:
            last = json.loads(line)
            clock, number = last["clock"], last["number"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigurationError(f"trace file {self.path}: its last line is no event") from error
        for name, value in (("clock", clock), ("number", number)):
            if type(value) is not int or value < 0:
                raise ConfigurationError(f"trace file {self.path}: its last {name} is {value!r:.40}")
        self.clock, self.number = clock, number

    def heard(self, clock: int) -> None:
        """A message came whose sender's clock stood there."""
        if clock > self.clock:
            self.clock = clock

    def write(self, events: Iterable[Event]) -> bool:
        """Write those of the events that are for tracing; False the first time that it is not possible."""
        lines = []
        for event in events:
            if event.trace:
                self.clock += 1
                self.number += 1
                lines.append({"clock": self.clock, "number": self.number, **plain_event(event)})
        if not lines or self.failure:
            return True
        self._open_ended = True
        return self._append(*([{"trace": self._header}] if self._empty else []), *lines)

    def _append(self, *lines: Mapping[str, object]) -> bool:
        data = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            # Tracing is for whoever looks on: the node goes on without it.
            self.failure = error.strerror or type(error).__name__
            return False
        self._empty = False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write that this is the end, and no more."""
        if self._file >= 0:
            if self._open_ended and not self.failure:
                self._append({"clock": self.clock, "number": self.number, "end": True})
            os.close(self._file)
            self._file = -1


class ClockedTable(MessageTable):
    """A message table whose frames carry a trace's clock, and move it.

    Args:
        table: the table.
        trace: whose clock.
    """

    def __init__(self, table: MessageTable, trace: TraceFile) -> None:
        super().__init__(table.types)
        self._trace = trace

    def encode(
        self,
        messages: Iterable[object],
        *,
        group: int = 0,
        epoch: int = 0,
        clock: int = 0,
        max_bytes: int = MAX_FRAME_BYTES,
    ) -> bytes:
        """As `MessageTable.encode`, with the trace's clock in place of `clock`."""
        # A peer may have sent the highest clock there is; what is above can not be sent on.
        clock = min(self._trace.clock, MAX_CLOCK)
        return super().encode(messages, group=group, epoch=epoch, clock=clock, max_bytes=max_bytes)

    def decode(self, body: bytes) -> list[Envelope]:
        """As `MessageTable.decode`; the trace's clock moves up to those that came."""
        envelopes = super().decode(body)
        self._trace.heard(max(envelope.clock for envelope in envelopes))
        return envelopes
