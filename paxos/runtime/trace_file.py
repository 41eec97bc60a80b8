"""What a tracing node writes: one JSON object a line for each thing that a handler did.

The files of several nodes are merged by Lamport clocks (Lamport, *Time, Clocks, and the Ordering of Events in
a Distributed System*, 1978).  An event advances the clock of its node by one; every message carries the clock
of its sender; who receives one moves its own clock up to it.  So what caused something stands before it.

An event is in the file before any message that follows from it can leave, because both happen on the event
loop in this order; and what was written survives the end of the process, `kill -9` included.  So a merged
trace has no gaps but at its very end.  Nothing is synced: after a power failure a trace is worth nothing.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Self

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

    Raises:
        ConfigurationError: the file can not be opened or read, or is no trace.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path)
        #: The node's Lamport clock.
        self.clock: int = 0
        #: Why writing ended early; empty while it has not.
        self.failure: str = ""
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
        """Cut off a line that was not finished, and take the clock from the last one that was."""
        size = os.lseek(self._file, 0, os.SEEK_END)
        start = max(size - _TAIL_BYTES, 0)
        os.lseek(self._file, start, os.SEEK_SET)
        tail = os.read(self._file, _TAIL_BYTES)
        whole = tail.rfind(b"\n") + 1
        if start and not whole:
            raise ConfigurationError(f"trace file {self.path}: it does not end in lines of a trace")
        os.ftruncate(self._file, start + whole)
        lines = tail[:whole].splitlines()
        if lines:
            try:
                clock = json.loads(lines[-1])["clock"]
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigurationError(f"trace file {self.path}: its last line is no event") from error
            if type(clock) is not int or clock < 0:
                raise ConfigurationError(f"trace file {self.path}: its last clock is {clock!r:.40}")
            self.clock = clock

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
                lines.append(json.dumps({"clock": self.clock, **plain_event(event)}, ensure_ascii=False))
        if not lines or self.failure:
            return True
        data = "".join(line + "\n" for line in lines).encode()
        try:
            while data:
                data = data[os.write(self._file, data) :]
        except OSError as error:
            # Tracing is for whoever looks on: the node goes on without it.
            self.failure = error.strerror or type(error).__name__
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write no more."""
        if self._file >= 0:
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
