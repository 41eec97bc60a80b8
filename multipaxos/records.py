"""What Multi-Paxos puts on disk: five kinds of records, each with its version and checksum.

    r          the highest ballot round this node may have used
    p          the promise, over all slots
    a<slot>    the vote in a slot, or what was chosen there; the slot as 8 bytes, big-endian
    c          the slot up to which all is in a snapshot and forgotten here
    h          how far the log is known to be committed: a hint

Safety rests on the first four. Without r a ballot could be used twice; p and a are the acceptor; c says
which slots are chosen though nothing is kept of them. The hint only saves a restarted node from asking for
what it has: it is a list of pairs (ballot, slot), each of which says that all slots up to this one are
chosen, and that a vote at this ballot or above is for what was chosen. That holds whatever else of a batch
reached the disk, so the hint may be written at any time.
"""

from functools import lru_cache
from typing import Final

import attrs

from multipaxos.messages import MAX_SLOT
from paxos.ballot import BOTTOM, Ballot
from paxos.basic.records import pack_reservation
from paxos.basic.values import check_value
from paxos.contract import Records
from paxos.errors import RecordError, WireError
from paxos.wire import (
    MAX_ROUND,
    decode_record,
    dumps,
    encode_record,
    expect_fields,
    take_ballot,
    take_bool,
    take_int,
    take_list,
)
from paxos.wire.records import seal_record

__all__ = [
    "COMPACTION_KEY",
    "HINT_KEY",
    "MAX_HINTS",
    "PROMISE_KEY",
    "RESERVATION_KEY",
    "FoundRecords",
    "Hint",
    "pack_compaction",
    "pack_hints",
    "pack_part",
    "pack_promise",
    "pack_reservation",
    "pack_vote",
    "read_part",
    "read_records",
    "record_name",
    "slot_key",
]

RESERVATION_KEY: Final = b"r"
PROMISE_KEY: Final = b"p"
COMPACTION_KEY: Final = b"c"
HINT_KEY: Final = b"h"
#: The most pairs in a hint.
MAX_HINTS: Final = 16

_RESERVATION: Final = 1
_PROMISE: Final = 2
_VOTE: Final = 3
_COMPACTION: Final = 4
_HINT: Final = 5
_VERSION: Final = 1
_SLOT_BYTES: Final = 8

#: That all slots up to the second are chosen, and votes at the first or above are for what was chosen.
Hint = tuple[Ballot, int]

# Every vote writes a record, and the encoder spends most of its time on arrays, however short. So the array
# is put together here: its head is always the same, and ballots come again and again.
_VOTE_HEAD: Final = dumps((_VOTE, _VERSION, None, None, None))[:-3]
_MARKS: Final = (dumps(False), dumps(True))


def slot_key(slot: int) -> bytes:
    """The key of a slot's record: keys are in the order of slots."""
    return b"a" + slot.to_bytes(_SLOT_BYTES, "big")


def record_name(key: bytes) -> str:
    """What the record under a key is, in a few words for people; empty if it is none of Multi-Paxos."""
    names = {
        RESERVATION_KEY: "the reservation of rounds",
        PROMISE_KEY: "the promise",
        COMPACTION_KEY: "the end of what is in a snapshot",
        HINT_KEY: "how far the log is known to be committed",
    }
    if key[:1] == b"a" and len(key) == 1 + _SLOT_BYTES:
        return f"the vote in slot {int.from_bytes(key[1:], 'big')}"
    return names.get(key, "")


def pack_promise(ballot: Ballot) -> bytes:
    """The record of the promise."""
    return encode_record(_PROMISE, _VERSION, (ballot,))


def pack_part(ballot: Ballot) -> bytes:
    """What a snapshot carries for the protocol: the promise; nothing when there is none."""
    return b"" if ballot == BOTTOM else pack_promise(ballot)


def read_part(part: bytes) -> Ballot:
    """The promise that a snapshot carries.

    Raises:
        RecordError: it is damaged, or newer than this code.
    """
    if not part:
        return BOTTOM
    where = "the part of a snapshot"
    try:
        (ballot,) = expect_fields(decode_record(part, _PROMISE, (_VERSION,), where), 1, where)
        return take_ballot(ballot, where)
    except WireError as error:
        raise RecordError(str(error)) from error


def pack_vote(ballot: Ballot, value: bytes, chosen: bool = False) -> bytes:
    """The record of a slot: a vote, or what a peer said was chosen, and at which ballot it is safe."""
    return seal_record(_VOTE_HEAD + _pack_ballot(ballot) + dumps(value) + _MARKS[chosen])


def pack_compaction(slot: int) -> bytes:
    """The record of the last slot that is in a snapshot."""
    return encode_record(_COMPACTION, _VERSION, (slot,))


def pack_hints(hints: list[Hint]) -> bytes:
    """The record of how far the log is known to be committed."""
    return encode_record(_HINT, _VERSION, (hints,))


@lru_cache(maxsize=64)
def _pack_ballot(ballot: Ballot) -> bytes:
    return dumps(ballot[:])


@attrs.frozen
class FoundRecords:
    """What a store held.

    Args:
        reserved: every round this node used is at or below it.
        promised: the promise.
        votes: ballot and value of each slot's vote, slots rising.
        chosen: slots of which the record says that it holds what was chosen.
        compacted: every slot up to this one is in a snapshot.
        hints: how far the log is known to be committed, rising.
    """

    reserved: int
    promised: Ballot
    votes: dict[int, tuple[Ballot, bytes]]
    chosen: frozenset[int]
    compacted: int
    hints: list[Hint]


def read_records(records: Records) -> FoundRecords:
    """Check and sort what a store held.

    Raises:
        RecordError: a record is corrupted, unknown, or written by a newer version; it names the key.
    """
    reserved, promised, compacted = 0, BOTTOM, 0
    votes: dict[int, tuple[Ballot, bytes]] = {}
    chosen: set[int] = set()
    hints: list[Hint] = []
    for key in sorted(records):
        data, where = records[key], f"record {key!r:.80}"
        try:
            if key[:1] == b"a" and len(key) == 1 + _SLOT_BYTES:
                slot = int.from_bytes(key[1:], "big")
                ballot, value, is_chosen = expect_fields(_fields(data, _VOTE, key), 3, where)
                votes[slot] = (take_ballot(ballot, where), check_value(value, where))
                if take_bool(is_chosen, where):
                    chosen.add(slot)
            elif key == RESERVATION_KEY:
                reserved = take_int(_one(data, _RESERVATION, key), where, 0, MAX_ROUND)
            elif key == PROMISE_KEY:
                promised = take_ballot(_one(data, _PROMISE, key), where)
            elif key == COMPACTION_KEY:
                compacted = take_int(_one(data, _COMPACTION, key), where, 0, MAX_SLOT)
            elif key == HINT_KEY:
                for hint in take_list(_one(data, _HINT, key), where, MAX_HINTS):
                    ballot, slot = expect_fields(hint, 2, where)
                    hints.append((take_ballot(ballot, where), take_int(slot, where, 0, MAX_SLOT)))
            else:
                raise RecordError(f"{where}: not a record of Multi-Paxos")
        except WireError as error:
            raise RecordError(f"{where}: {error}") from error
    return FoundRecords(reserved, promised, votes, frozenset(chosen), compacted, hints)


def _fields(data: bytes, kind: int, key: bytes) -> list[object]:
    return decode_record(data, kind, (_VERSION,), key)


def _one(data: bytes, kind: int, key: bytes) -> object:
    (field,) = expect_fields(_fields(data, kind, key), 1, f"record {key!r:.80}")
    return field
