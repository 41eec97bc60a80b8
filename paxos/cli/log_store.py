"""`paxos log`: what the store of a stopped node holds of its log, place by place, and changes nothing.

A place is a slot or, where there is no leader, an instance with its dependencies.  What stands here is what
one node has on its disk.  A place that this store does not prove to be chosen may be chosen all the same,
when the others have it; and what it has accepted may yet be replaced.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import attrs

from paxos.cli.arguments import Commands, add_command, count
from paxos.cli.output import Output, json_bytes, readable
from paxos.command import Command
from paxos.contract import Mark, ProtocolDescription, Records, StoredEntry, StoredLog, find_protocol
from paxos.errors import (
    EXIT_CHECK_FAILED,
    EXIT_DONE,
    ConfigurationError,
    NodeStopped,
    RecordError,
    WireError,
)
from paxos.service import CHARTER_KEY, read_charter, replica_prefix
from paxos.service import keyvalue_requests as requests
from paxos.service.batches import Batch, BatchKind, Run, read_batch
from paxos.service.machines import DEFAULT_MACHINE
from paxos.service.sessions import Sessions
from paxos.service.snapshots import SNAPSHOT_PREFIX, Content, read_content, read_snapshots

__all__ = ["LogLook", "add", "look_at_log", "named_request"]

#: Hexadecimal digits by which a client is shown.
_CLIENT_DIGITS: Final = 8
_LIMIT: Final = 100
_REQUESTS: Final = 20
_KINDS: Final = {requests.GET: "get", requests.DELETE: "delete"}


@attrs.frozen
class LogLook:
    """What the records of a store say of its log.

    Args:
        stored: the replica's part, entries not yet gone through.
        snapshot: what is in the snapshot; None when there is none.
        pieces: how many pieces the snapshot has.
        incoming: a snapshot of another node that had not all arrived: its number, pieces here, pieces in all.
    """

    stored: StoredLog
    snapshot: Content | None
    pieces: int
    incoming: tuple[int, int, int] | None

    @property
    def summary(self) -> str:
        """A few words."""
        stored = self.stored
        if stored.chosen is not None:
            upto = str(stored.chosen)
        else:
            upto = "nothing" if stored.committed is None else f"up to {stored.place} {stored.committed}"
        chosen = f"{stored.size} {stored.place}s, proved chosen: {upto}"
        if self.snapshot is None:
            return f"{chosen}, no snapshot"
        return f"{chosen}, snapshot at {stored.place} {_mark(self.snapshot.mark)}"


def look_at_log(protocol: ProtocolDescription, records: Records) -> LogLook:
    """What a store's records say of its log.

    Args:
        protocol: the store's.
        records: all of them, as the store has them.

    Raises:
        ConfigurationError: the protocol does not tell.
        RecordError: one is damaged.
    """
    if protocol.stored_log is None:
        raise ConfigurationError(f"protocol {protocol.name} keeps no log that can be shown")
    prefix = replica_prefix(0, 0)
    own = {key[len(prefix) :]: value for key, value in records.items() if key.startswith(prefix)}
    about_snapshots = {key: value for key, value in records.items() if key.startswith(SNAPSHOT_PREFIX)}
    snapshot, incoming, _ = read_snapshots(about_snapshots)
    try:
        content = None if snapshot is None else read_content(snapshot)
        if content is not None:
            Sessions().unpack(content.sessions)
    except WireError as error:
        raise RecordError(str(error)) from error
    return LogLook(
        protocol.stored_log(own),
        content,
        0 if snapshot is None else len(snapshot.chunks),
        None if incoming is None else (incoming.number, len(incoming.chunks), incoming.count),
    )


def add(commands: Commands) -> None:
    """Add `paxos log`."""
    parser = add_command(
        commands,
        "log",
        run,
        "show what a stopped node's store holds of its log",
        "Of a store that no node is using, and changes nothing: for whom it was made, what was promised, the "
        "snapshot, and each slot with its ballot, whether this store alone proves it chosen, and the "
        "requests in it: client, number, and for the key-value machine the operation. Slots up to the "
        "snapshot's are not kept. Of EPaxos, instances: how far each is, and after what it comes, as one "
        "number for each node: all instances of that node up to the number.",
        "  paxos log --store data/2\n"
        "  paxos log --store data/2 --from 1200 --limit 10\n"
        "  paxos log --store data/2 --from 3.17            instances of node 3 from 17 on, and those after\n"
        "  paxos log --store data/2 --json | jq '.entries[].requests[]'",
    )
    parser.add_argument("--store", metavar="DIR", required=True, help="a node's store")
    parser.add_argument(
        "--from",
        dest="first",
        type=_place,
        default=(0,),
        metavar="SLOT",
        help="begin with this slot, or instance: OWNER.NUMBER",
    )
    parser.add_argument(
        "--limit",
        type=count(1, 2**31 - 1),
        default=_LIMIT,
        metavar="N",
        help=f"slots or instances at most ({_LIMIT})",
    )
    parser.add_argument(
        "--requests",
        type=count(0, 2**31 - 1),
        default=_REQUESTS,
        metavar="N",
        help=f"requests shown of one place, which can hold thousands ({_REQUESTS})",
    )


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Show the log."""
    from paxos.runtime.store import inspect_store

    records: dict[bytes, bytes] = {}
    report = inspect_store(arguments.store, verify=records.__setitem__)
    card = report.card
    complaints = [*report.structure, *report.damaged]
    charter: dict[str, str] = {}
    look: LogLook | None = None
    shown: list[StoredEntry] = []
    more = False
    try:
        charter = read_charter({CHARTER_KEY: records[CHARTER_KEY]} if CHARTER_KEY in records else {}) or {}
        look = look_at_log(find_protocol(card.protocol), records)
        entries = (entry for entry in look.stored.entries if _at_least(entry, arguments.first))
        shown = list(islice(entries, arguments.limit))
        more = next(entries, None) is not None
    except RecordError as error:
        complaints.append(str(error))
    machine = charter.get("machine", "")
    result: dict[str, object] = {
        "store": report.where,
        **attrs.asdict(card),
        "charter": charter,
        "complaints": complaints,
        **({} if look is None else _look_json(look)),
        "entries": [_entry_json(entry, look, machine, arguments.requests) for entry in shown if look],
        "more": more,
    }
    of_machine = f", machine {machine}" if machine else ""
    lines = [
        f"{report.where}: node {card.node} of cluster {card.cluster!r}, protocol {card.protocol}{of_machine}",
        *([f"made for members {charter['members']}: {charter['quorums']}"] if charter else []),
        *([] if look is None else _look_lines(look)),
        *(f"damaged: {complaint}" for complaint in complaints),
        *(line for entry in shown if look for line in _entry_lines(entry, look, machine, arguments.requests)),
        *([f"there is more: --from {_next(shown)}"] if more else []),
    ]
    out.result(result, "\n".join(lines))
    return EXIT_CHECK_FAILED if complaints else EXIT_DONE


def _place(text: str) -> tuple[int, ...]:
    """A slot, or an instance as OWNER.NUMBER. Raises ValueError."""
    parts = text.split(".")
    if len(parts) > 2 or not all(part.isascii() and part.isdecimal() and len(part) < 20 for part in parts):
        raise argparse.ArgumentTypeError(f"expected a number, or OWNER.NUMBER, not {text[:40]!r}")
    return tuple(map(int, parts))


def _numbers(mark: Mark) -> tuple[int, ...]:
    return mark if isinstance(mark, tuple) else (mark,) if isinstance(mark, int) else ()


def _mark(mark: Mark) -> str:
    """A place, for people."""
    return ".".join(map(str, _numbers(mark))) or "none"


def _at_least(entry: StoredEntry, first: tuple[int, ...]) -> bool:
    return _numbers(entry.mark) >= first


def _next(shown: Sequence[StoredEntry]) -> str:
    *owner, number = _numbers(shown[-1].mark)
    return ".".join(map(str, (*owner, number + 1)))


# --- the store as a whole ----------------------------------------------------------------------------


def _look_json(look: LogLook) -> dict[str, object]:
    stored, snapshot, incoming = look.stored, look.snapshot, look.incoming
    return {
        **({"promised": stored.promised} if stored.promised else {}),
        **({"compacted": stored.compacted, "committed": stored.committed} if stored.chosen is None else {}),
        **({} if stored.chosen is None else {"chosen": stored.chosen}),
        f"{stored.place}s": stored.size,
        "others": dict(stored.others),
        "snapshot": None
        if snapshot is None
        else {
            "number": snapshot.number,
            "applied": snapshot.mark if isinstance(snapshot.mark, int) else _mark(snapshot.mark),
            "pieces": look.pieces,
            "clients": _clients(snapshot),
            "machine_bytes": len(snapshot.machine),
        },
        "incoming": None
        if incoming is None
        else {"number": incoming[0], "pieces_here": incoming[1], "pieces": incoming[2]},
    }


def _clients(snapshot: Content) -> int:
    table = Sessions()
    table.unpack(snapshot.sessions)
    return len(table)


def _look_lines(look: LogLook) -> Iterator[str]:
    stored, snapshot, incoming = look.stored, look.snapshot, look.incoming
    if stored.promised:
        yield f"promised: ballot {stored.promised}"
    for name, value in stored.others.items():
        yield f"{name}: {value}"
    if snapshot is None:
        yield "snapshot: none"
    else:
        yield (
            f"snapshot {snapshot.number}: everything up to {stored.place} {_mark(snapshot.mark)}; "
            f"{look.pieces} pieces, {_clients(snapshot)} clients, {len(snapshot.machine)} bytes of the state "
            "machine"
        )
    if incoming is not None:
        yield f"snapshot {incoming[0]} of another node: {incoming[1]} of {incoming[2]} pieces have arrived"
    if stored.chosen is not None:
        upto = str(stored.chosen)
    else:
        upto = (
            "nothing" if stored.committed is None else f"everything up to {stored.place} {stored.committed}"
        )
    yield f"{stored.size} {stored.place}s kept; proved chosen by this store alone: {upto}"


# --- one slot ----------------------------------------------------------------------------------------


def _read(command: Command) -> Batch | str | None:
    """What a slot carries; a sentence for what is nothing that this release knows."""
    try:
        return read_batch(command)
    except NodeStopped as error:
        return str(error)


def _requests(batch: Batch, most: int) -> Iterator[tuple[Run, int]]:
    """The first requests of a batch, as runs and places in them."""
    return islice(((run, index) for run in batch.runs for index in range(len(run.bodies))), most)


def _entry_json(entry: StoredEntry, look: LogLook, machine: str, most: int) -> dict[str, object]:
    batch = _read(entry.command)
    kind: str = "unknown"
    items: list[dict[str, object]] = []
    total = 0
    if batch is None:
        kind = "no-op"
    elif isinstance(batch, Batch):
        kind = batch.kind.name.lower()
        total = sum(len(run.bodies) for run in batch.runs)
        items = [_request_json(run, index, machine) for run, index in _requests(batch, most)]
        if batch.skipped is not None:
            skipped = batch.skipped
            items.append({"client": skipped.client.hex(), "number": skipped.sequence})
    return {
        look.stored.place: entry.mark if isinstance(entry.mark, int) else _mark(entry.mark),
        "ballot": entry.ballot,
        **({"phase": entry.phase} if entry.phase else {}),
        **({"deps": list(map(int, entry.deps.split()))} if entry.phase else {}),
        "chosen": entry.chosen,
        "kind": kind,
        "bytes": len(entry.command.payload),
        "count": total,
        "requests": items,
    }


def _request_json(run: Run, index: int, machine: str) -> dict[str, object]:
    body = run.bodies[index]
    item: dict[str, Any] = {"client": run.client.hex(), "number": run.sequence + index}
    operation = named_request(body) if machine == DEFAULT_MACHINE else None
    return item | ({"command": json_bytes(body)} if operation is None else operation)


def _entry_lines(entry: StoredEntry, look: LogLook, machine: str, most: int) -> Iterator[str]:
    state = entry.phase or ("chosen" if entry.chosen else "accepted")
    head = f"{look.stored.place} {_mark(entry.mark)}  ballot {entry.ballot}  {state}"
    if entry.deps:
        head += f"  after {entry.deps}"
    batch = _read(entry.command)
    if batch is None:
        yield head if entry.phase else f"{head}  no-op"
    elif isinstance(batch, str):
        yield f"{head}  {len(entry.command.payload)} bytes: {batch}"
    elif batch.kind in (BatchKind.MARKER, BatchKind.READ):
        yield f"{head}  {batch.kind.name.lower()}"
    elif batch.skipped is not None:
        who = batch.skipped.client.hex()[:_CLIENT_DIGITS]
        yield f"{head}  request {batch.skipped.sequence} of client {who} counts as carried out"
    else:
        total = sum(len(run.bodies) for run in batch.runs)
        yield f"{head}  {total} request{'' if total == 1 else 's'}"
        for run, index in _requests(batch, most):
            who = f"client {run.client.hex()[:_CLIENT_DIGITS]} number {run.sequence + index}"
            yield f"  {who}: {_request_text(run.bodies[index], machine)}"
        if total > most:
            yield f"  and {total - most} more"


def _request_text(body: bytes, machine: str) -> str:
    operation = named_request(body) if machine == DEFAULT_MACHINE else None
    if operation is None:
        return readable(body)
    words = [str(operation.pop("op"))]
    words += [f"{name}={_word(value)}" for name, value in operation.items()]
    return " ".join(words)


def _word(value: object) -> str:
    return readable(value.encode(), 40) if isinstance(value, str) else str(value)


def named_request(body: bytes) -> dict[str, object] | None:
    """A request of the key-value machine in words, for JSON; None for what is none."""
    simple = requests.parse_simple(body)
    if simple is not None:
        return _simple(simple)
    swap = requests.parse_cas(body)
    if swap is not None:
        key, expected, value = map(json_bytes, swap)
        return {"op": "cas", "key": key, "expected": expected, "value": value}
    scan = requests.parse_scan(body)
    if scan is not None:
        return {
            "op": "scan", "low": json_bytes(scan.low), "high": json_bytes(scan.high), "limit": scan.limit
        }  # fmt: skip
    found = requests.parse_transaction(body)
    if found is not None:
        guards = [
            {"key": json_bytes(key), "is": "there" if state is True else "absent"}
            if not isinstance(state, bytes)
            else {"key": json_bytes(key), "is": "equal", "value": json_bytes(state)}
            for key, state in found.guards
        ]
        return {
            "op": "transaction",
            "guards": guards,
            "then": list(map(_simple, found.then)),
            "otherwise": list(map(_simple, found.otherwise)),
        }
    return None


def _simple(request: requests.Simple) -> dict[str, object]:
    key = json_bytes(request.key)
    if request.op == requests.PUT:
        return {"op": "put", "key": key, "value": json_bytes(request.value)}
    if request.op == requests.INCREMENT:
        return {"op": "increment", "key": key, "delta": request.delta}
    return {"op": _KINDS[request.op], "key": key}
