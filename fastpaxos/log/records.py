"""What the log of Fast Paxos puts on disk: five kinds of records, each with its version and checksum.

    r          the highest ballot round this node may have used
    p          the floor: the promise for all slots
    a<slot>    a slot: a higher promise for it alone, the vote, and whether the value is what was chosen; the
               slot as 8 bytes, big-endian
    c          the slot up to which all is in a snapshot and forgotten here
    h          a slot up to which all records hold what was chosen: a hint

Safety rests on the first four. Without r a ballot could be used twice; p and a are the acceptor; c says which
slots are chosen though nothing is kept of them. The hint only saves a restarted node from asking for what it
has. It is written later than the records that it speaks of, so it is true of any disk that kept it.
"""

from functools import lru_cache
from typing import Final

import attrs

from fastpaxos.log.messages import MAX_SLOT
from fastpaxos.rounds import OPEN
from paxos.ballot import Ballot
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
    pack_ballot_or_bottom,
    take_ballot,
    take_ballot_or_bottom,
    take_bool,
    take_int,
)
from paxos.wire.records import seal_record

__all__ = [
    "COMPACTION_KEY",
    "FLOOR_KEY",
    "HINT_KEY",
    "RESERVATION_KEY",
    "FoundRecords",
    "SlotRecord",
    "pack_compaction",
    "pack_floor",
    "pack_hint",
    "pack_reservation",
    "pack_slot",
    "read_records",
    "record_name",
    "slot_key",
]

RESERVATION_KEY: Final = b"r"
FLOOR_KEY: Final = b"p"
COMPACTION_KEY: Final = b"c"
HINT_KEY: Final = b"h"

_RESERVATION: Final = 1
_FLOOR: Final = 2
_SLOT: Final = 3
_COMPACTION: Final = 4
_HINT: Final = 5
_VERSION: Final = 1
_SLOT_BYTES: Final = 8
# Of slots there are many, and of ballots few: what their records have in common is encoded once.
_SLOT_HEAD: Final = dumps((_SLOT, _VERSION, None, None, None, None))[:-4]
_MARKS: Final = (dumps(False), dumps(True))


@attrs.frozen
class SlotRecord:
    """What is durable of a slot.

    Args:
        promised: a promise for this slot alone; BOTTOM for none.
        ballot: of the vote, or one at which the chosen value is safe; BOTTOM for none.
        value: its value; None for none.
        chosen: whether the value is known to be what was chosen.
    """

    promised: Ballot
    ballot: Ballot
    value: bytes | None
    chosen: bool


def slot_key(slot: int) -> bytes:
    """The key of a slot's record: keys are in the order of slots."""
    return b"a" + slot.to_bytes(_SLOT_BYTES, "big")


def record_name(key: bytes) -> str:
    """What the record under a key is, in a few words for people; empty if it is none of this protocol."""
    names = {
        RESERVATION_KEY: "the reservation of rounds",
        FLOOR_KEY: "the promise",
        COMPACTION_KEY: "the end of what is in a snapshot",
        HINT_KEY: "how far the log is known to be committed",
    }
    if key[:1] == b"a" and len(key) == 1 + _SLOT_BYTES:
        return f"the promise and vote in slot {int.from_bytes(key[1:], 'big')}"
    return names.get(key, "")


def pack_floor(ballot: Ballot) -> bytes:
    """The record of the promise for all slots."""
    return encode_record(_FLOOR, _VERSION, (ballot,))


def pack_slot(promised: Ballot, ballot: Ballot, value: bytes | None, chosen: bool) -> bytes:
    """The record of a slot, as `SlotRecord` has it."""
    ballots = _pack_ballot(promised) + _pack_ballot(ballot)
    return seal_record(b"".join((_SLOT_HEAD, ballots, dumps(value), _MARKS[chosen])))


@lru_cache(maxsize=64)
def _pack_ballot(ballot: Ballot) -> bytes:
    packed = pack_ballot_or_bottom(ballot)
    return dumps(None if packed is None else tuple(packed))


def pack_compaction(slot: int) -> bytes:
    """The record of the last slot that is in a snapshot."""
    return encode_record(_COMPACTION, _VERSION, (slot,))


def pack_hint(slot: int) -> bytes:
    """The record of how far the log is known to be committed."""
    return encode_record(_HINT, _VERSION, (slot,))


@attrs.frozen
class FoundRecords:
    """What a store held.

    Args:
        reserved: every round this node used is at or below it.
        floor: the promise for all slots.
        slots: each slot's record, slots rising.
        compacted: every slot up to this one is in a snapshot.
        hint: the records of all slots up to this one, above `compacted`, hold what was chosen.
    """

    reserved: int
    floor: Ballot
    slots: dict[int, SlotRecord]
    compacted: int
    hint: int


def read_records(records: Records) -> FoundRecords:
    """Check and sort what a store held.

    Raises:
        RecordError: a record is corrupted, unknown, or written by a newer version; it names the key.
    """
    reserved, floor, compacted, hint = 0, OPEN, 0, 0
    slots: dict[int, SlotRecord] = {}
    for key in sorted(records):
        data, where = records[key], f"record {key!r:.80}"
        try:
            if key[:1] == b"a" and len(key) == 1 + _SLOT_BYTES:
                slots[int.from_bytes(key[1:], "big")] = _take_slot(data, key, where)
            elif key == RESERVATION_KEY:
                reserved = take_int(_one(data, _RESERVATION, key), where, 0, MAX_ROUND)
            elif key == FLOOR_KEY:
                floor = take_ballot(_one(data, _FLOOR, key), where)
            elif key == COMPACTION_KEY:
                compacted = take_int(_one(data, _COMPACTION, key), where, 0, MAX_SLOT)
            elif key == HINT_KEY:
                hint = take_int(_one(data, _HINT, key), where, 0, MAX_SLOT)
            else:
                raise RecordError(f"{where}: not a record of the log of Fast Paxos")
        except WireError as error:
            raise RecordError(f"{where}: {error}") from error
    return FoundRecords(reserved, floor, slots, compacted, hint)


def _take_slot(data: bytes, key: bytes, where: str) -> SlotRecord:
    promised, ballot, value, chosen = expect_fields(_fields(data, _SLOT, key), 4, where)
    if (ballot is None) != (value is None):
        raise WireError("a vote without a ballot, or without a value")
    return SlotRecord(
        take_ballot_or_bottom(promised, where),
        take_ballot_or_bottom(ballot, where),
        None if value is None else check_value(value, where),
        take_bool(chosen, where),
    )


def _fields(data: bytes, kind: int, key: bytes) -> list[object]:
    return decode_record(data, kind, (_VERSION,), key)


def _one(data: bytes, kind: int, key: bytes) -> object:
    (field,) = expect_fields(_fields(data, kind, key), 1, f"record {key!r:.80}")
    return field
