"""What a store of a log of Fast Paxos holds, for tools that look at it while its node is stopped."""

from collections.abc import Iterator

from fastpaxos.log.records import FoundRecords, read_records
from paxos.basic.values import take_value
from paxos.contract import Records, StoredEntry, StoredLog

__all__ = ["stored_log"]


def stored_log(records: Records) -> StoredLog:
    """The promise, the compaction point, and every vote that is kept.

    Args:
        records: a replica's own, as it wrote them.

    Raises:
        RecordError: a record is damaged, unknown, or newer than this code.
    """
    found = read_records(records)
    committed = found.compacted
    while _is_chosen(found, committed + 1):
        committed += 1
    others = {"rounds reserved up to": str(found.reserved)}
    if found.hint:
        others["known to be committed"] = f"up to slot {found.hint}"
    alone = sum(each.promised > each.ballot for each in found.slots.values())
    if alone:
        others["slots with a promise of their own"] = str(alone)
    return StoredLog(
        str(found.floor),
        found.compacted or None,
        committed or None,
        sum(each.value is not None for each in found.slots.values()),
        _entries(found),
        others,
    )


def _is_chosen(found: FoundRecords, slot: int) -> bool:
    """Whether the records prove what a slot holds to be what was chosen."""
    held = found.slots.get(slot)
    return held is not None and held.value is not None and (held.chosen or slot <= found.hint)


def _entries(found: FoundRecords) -> Iterator[StoredEntry]:
    for slot, held in found.slots.items():
        if held.value is not None:
            yield StoredEntry(slot, str(held.ballot), _is_chosen(found, slot), take_value(held.value))
