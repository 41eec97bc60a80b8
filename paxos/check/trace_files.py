"""The traces of a cluster of real nodes, from the files that its nodes wrote.

A trace with a part missing is no behaviour of anything, and a rejection of it would say nothing of the code.
So before the files are merged they are looked at: one for each node, all of one cluster and one protocol,
each event there once, and no line cut off (`paxos.runtime.trace_file` says what is in a file).

What can not be seen is that the end of a file is missing, line by line, when its node was killed: then it has
no last line that says so.  Such a file is taken as it is; but where a trace is rejected after that place, in
the order of Lamport clocks, the rejection says that it may be for that reason.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from paxos.ballot import NodeId
from paxos.check.spec_traces import Trace, trace_origin
from paxos.contract.traces import PlainEvent, TraceForm
from paxos.errors import ConfigurationError
from paxos.quorum import QuorumSystem

__all__ = ["merge_trace_files"]

_MAX_FILE_BYTES: Final = 256 * 1024 * 1024
#: What orders the events of all nodes: a Lamport clock, then the node, then the node's own count.
_Stamp = tuple[int, NodeId, int]


@attrs.frozen
class _File:
    """What one file holds.

    Args:
        path: of the file.
        header: what its first line says; None for an empty file.
        events: with their clocks and numbers, in the order of the file.
        ended: whether its node was stopped and said so.
    """

    path: Path
    header: Mapping[str, Any] | None
    events: tuple[Mapping[str, Any], ...]
    ended: bool


def merge_trace_files(
    paths: Sequence[Path],
    quorums: QuorumSystem,
    form: TraceForm | None = None,
    *,
    protocol: str | None = None,
    cluster: str | None = None,
) -> list[Trace]:
    """The traces of a cluster of real nodes, from the files that its nodes wrote.

    Events are put in the order of their Lamport clocks, which agrees with what caused what.

    Args:
        paths: the files, one for each node; an empty one for a node that never ran.
        quorums: of the cluster.
        form: of the protocol's traces; None for one trace of each decree.
        protocol: that the cluster runs; None for whatever the files say, if it is the same in all.
        cluster: its id; None likewise.

    Raises:
        ConfigurationError: a file can not be read, is not whole, is of another cluster or protocol, is
            missing or there twice.
    """
    files = [_read(path) for path in paths]
    _require_one_each(files, quorums.members)
    _require_same(files, "protocol", protocol)
    _require_same(files, "cluster", cluster)
    events = sorted((event for file in files for event in file.events), key=_stamp)
    open_files = [(file.path.name, _stamp(file.events[-1])) for file in files if not file.ended]
    where = ", ".join(path.name for path in paths)
    return [
        Trace(
            trace_origin(where, name),
            tuple(_bare(event) for event in each),
            quorums,
            tuple((path, sum(_stamp(event) <= end for event in each)) for path, end in open_files),
        )
        for name, each in (form or TraceForm()).cut(events).items()
    ]


def _stamp(event: Mapping[str, Any]) -> _Stamp:
    return event["clock"], event["node"], event["number"]


def _bare(event: PlainEvent) -> PlainEvent:
    return {name: value for name, value in event.items() if name not in ("clock", "number")}


# --- which files ---------------------------------------------------------------------------------------


def _require_one_each(files: Iterable[_File], members: Sequence[NodeId]) -> None:
    found: dict[NodeId, Path] = {}
    empty = 0
    for file in files:
        if file.header is None:
            empty += 1
            continue
        node = file.header["node"]
        if node not in members:
            raise ConfigurationError(
                f"{file.path}: it is of node {node}; the nodes with a vote are {_listed(members)}"
            )
        if node in found:
            raise ConfigurationError(f"{found[node]} and {file.path} are both of node {node}: give it once")
        found[node] = file.path
    missing = [node for node in members if node not in found]
    if len(missing) > empty:
        raise ConfigurationError(
            f"no file of node {_listed(missing)}: give those of all nodes, and an empty one for a node that "
            "never ran"
        )


def _listed(nodes: Sequence[NodeId]) -> str:
    return ", ".join(map(str, nodes))


def _require_same(files: Iterable[_File], what: str, wanted: str | None) -> None:
    said_by = "the configuration"
    for file in files:
        if file.header is None:
            continue
        told = file.header[what]
        if wanted is None:
            wanted, said_by = told, str(file.path)
        elif told != wanted:
            raise ConfigurationError(f"{file.path}: it is of {what} {told!r}, and {said_by} says {wanted!r}")


# --- what is in one --------------------------------------------------------------------------------------


def _read(path: Path) -> _File:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: can not be read: {error.strerror}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigurationError(f"{path}: longer than {_MAX_FILE_BYTES} bytes")
    *lines, rest = data.split(b"\n")
    if rest:
        raise ConfigurationError(
            f"{path}: cut short: its last line, line {len(lines) + 1}, is not whole; give all of the file, "
            "or if its node was killed while it wrote, start and stop it once more with that file"
        )
    if not lines:
        return _File(path, None, (), True)
    header = _header(path, lines[0])
    events: list[Mapping[str, Any]] = []
    ended = False
    for at, text in enumerate(lines[1:], 2):
        where = f"{path}, line {at}"
        line = _object(where, text)
        _require_numbers(where, line)
        ended = "end" in line
        _require_next(where, header["node"], line["number"] + ended, len(events) + 1)
        if ended:
            continue
        if not isinstance(line.get("action"), str) or type(line.get("node")) is not int:
            raise ConfigurationError(f"{where}: no event: node or action is missing")
        if line["node"] != header["node"]:
            raise ConfigurationError(
                f"{where}: it is of node {line['node']}, and the file is of node {header['node']}"
            )
        events.append(line)
    if not events:
        raise ConfigurationError(f"{path}: cut short: there is nothing after its first line")
    return _File(path, header, tuple(events), ended)


def _header(path: Path, line: bytes) -> Mapping[str, Any]:
    first = _object(f"{path}, line 1", line)
    header = first.get("trace")
    kinds = {"node": int, "protocol": str, "cluster": str}
    if not isinstance(header, dict) or any(
        type(header.get(name)) is not kind for name, kind in kinds.items()
    ):
        raise ConfigurationError(
            f"{path}, line 1: it does not say of which node, protocol and cluster the file is: the beginning "
            "is missing, or it is no file of `paxos serve --trace-events`"
        )
    return header


def _object(where: str, line: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{where}: no event")
    return found


def _require_numbers(where: str, line: Mapping[str, Any]) -> None:
    for name in ("clock", "number"):
        if type(line.get(name)) is not int:
            raise ConfigurationError(f"{where}: no event: it has no {name}")


def _require_next(where: str, node: NodeId, number: int, wanted: int) -> None:
    """The number of an event is the next one; that of an end counts as one more."""
    if number > wanted:
        what = f"event {wanted} is" if number == wanted + 1 else f"events {wanted} to {number - 1} are"
        raise ConfigurationError(f"{where}: {what} missing before it, of node {node}")
    if number < wanted:
        raise ConfigurationError(f"{where}: event {number} of node {node} is there a second time")
