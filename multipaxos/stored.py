"""What a store of Multi-Paxos holds, for tools that look at it while its node is stopped."""

from collections.abc import Iterator

from multipaxos.records import FoundRecords, read_records
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
    while committed + 1 in found.votes and _is_chosen(found, committed + 1):
        committed += 1
    others = {"rounds reserved up to": str(found.reserved)}
    if found.hints:
        ballot, slot = found.hints[-1]
        others["known to be committed"] = f"up to slot {slot}, as of ballot {ballot}"
    return StoredLog(
        str(found.promised),
        found.compacted or None,
        committed or None,
        len(found.votes),
        _entries(found),
        others,
    )


def _is_chosen(found: FoundRecords, slot: int) -> bool:
    """Whether the records prove the vote in a slot to be what was chosen."""
    ballot = found.votes[slot][0]
    return slot in found.chosen or any(slot <= upto and ballot >= since for since, upto in found.hints)


def _entries(found: FoundRecords) -> Iterator[StoredEntry]:
    for slot, (ballot, value) in found.votes.items():
        yield StoredEntry(slot, str(ballot), _is_chosen(found, slot), take_value(value))
