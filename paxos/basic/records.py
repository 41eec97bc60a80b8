"""What Basic Paxos puts on disk: three kinds of records, each with its version and checksum.

    R          the highest ballot round this node may have used
    A<decree>  the acceptor's promise and vote, while the decree is open
    C<decree>  the decision, once known; it takes the place of the acceptor's record

Safety rests on all of them.  Without R a ballot could be used twice.  A and C are one after the other the
memory of one decree: C is written in the same batch that deletes A, so from then on it is all that keeps this
node from promising and voting as if it had never heard of the decree.
"""

from functools import lru_cache
from typing import Final

import attrs

from paxos.ballot import Ballot
from paxos.basic.acceptor import AcceptorRecord
from paxos.basic.messages import MAX_ROUND
from paxos.command import MAX_COMMAND_BYTES
from paxos.contract import Records
from paxos.errors import RecordError, WireError
from paxos.wire import (
    decode_record,
    dumps,
    encode_record,
    expect_fields,
    take_ballot,
    take_ballot_or_bottom,
    take_bytes,
    take_int,
    take_optional_bytes,
)
from paxos.wire.records import seal_record

__all__ = [
    "RESERVATION_KEY",
    "FoundRecords",
    "acceptor_key",
    "chosen_key",
    "pack_acceptor",
    "pack_chosen",
    "pack_reservation",
    "read_records",
    "record_name",
]

RESERVATION_KEY: Final = b"R"

_RESERVATION: Final = 1
_ACCEPTOR: Final = 2
_CHOSEN: Final = 3
_VERSION: Final = 1

# Every vote writes a record, and the encoder spends most of its time on arrays, however short.  So the
# arrays are put together here: their heads are always the same, and ballots come again and again.
_ACCEPTOR_HEAD: Final = dumps((_ACCEPTOR, _VERSION, None, None, None))[:-3]
_CHOSEN_HEAD: Final = dumps((_CHOSEN, _VERSION, None, None))[:-2]
_NULL: Final = dumps(None)


def acceptor_key(decree: bytes) -> bytes:
    """The key of an open decree's acceptor."""
    return b"A" + decree


def chosen_key(decree: bytes) -> bytes:
    """The key of a decision."""
    return b"C" + decree


def record_name(key: bytes) -> str:
    """What the record under a key is, in a few words for people; empty if it is none of Basic Paxos."""
    if key == RESERVATION_KEY:
        return "the reservation of rounds"
    kinds = {b"A": "promise and vote on", b"C": "the decision of"}
    kind = kinds.get(key[:1])
    if kind is None:
        return ""
    try:
        name = key[1:].decode()
    except UnicodeDecodeError:
        return f"{kind} decree {key[1:]!r:.80}"
    return f"{kind} decree {name!r:.80}"


def pack_reservation(round_: int) -> bytes:
    """The record of the rounds this node may use."""
    return encode_record(_RESERVATION, _VERSION, (round_,))


def pack_acceptor(record: AcceptorRecord) -> bytes:
    """The record of a promise and a vote.

    Raises:
        ValueError: a vote without a value, or a value without a vote: nobody would read it back.
    """
    promised, vote, value = record
    if (vote[0] < 0) is not (value is None):
        raise ValueError(f"a vote has both a ballot and a value, or neither: {record!r:.200}")
    packed_vote = _pack_ballot(vote) if vote[0] >= 0 else _NULL
    packed_value = dumps(value) if value is not None else _NULL
    return seal_record(_ACCEPTOR_HEAD + _pack_ballot(promised) + packed_vote + packed_value)


def pack_chosen(ballot: Ballot, value: bytes) -> bytes:
    """The record of a decision."""
    return seal_record(_CHOSEN_HEAD + _pack_ballot(ballot) + dumps(value))


@lru_cache(maxsize=1024)
def _pack_ballot(ballot: Ballot) -> bytes:
    return dumps(ballot[:])


@attrs.frozen
class FoundRecords:
    """What a store held.

    Args:
        reserved: every round this node used is at or below it.
        acceptors: promise and vote of each open decree.
        chosen: ballot and value of each decision known.
    """

    reserved: int
    acceptors: dict[bytes, AcceptorRecord]
    chosen: dict[bytes, tuple[Ballot, bytes]]


def read_records(records: Records) -> FoundRecords:
    """Check and sort what a store held.

    Raises:
        RecordError: a record is corrupted, unknown, or written by a newer version; it names the key.
    """
    reserved = 0
    acceptors: dict[bytes, AcceptorRecord] = {}
    chosen: dict[bytes, tuple[Ballot, bytes]] = {}
    for key, data in records.items():
        where = f"record {key!r:.80}"
        try:
            if key == RESERVATION_KEY:
                (value,) = expect_fields(_fields(data, _RESERVATION, key), 1, where)
                reserved = take_int(value, where, 0, MAX_ROUND)
            elif key[:1] == b"A":
                acceptors[key[1:]] = _take_acceptor(_fields(data, _ACCEPTOR, key), where)
            elif key[:1] == b"C":
                ballot, value = expect_fields(_fields(data, _CHOSEN, key), 2, where)
                decision = (take_ballot(ballot, where), take_bytes(value, where, MAX_COMMAND_BYTES))
                chosen[key[1:]] = decision
            else:
                raise RecordError(f"{where}: not a record of Basic Paxos")
        except WireError as error:
            raise RecordError(f"{where}: {error}") from error
    return FoundRecords(reserved, acceptors, chosen)


def _fields(data: bytes, kind: int, key: bytes) -> list[object]:
    return decode_record(data, kind, (_VERSION,), key)


def _take_acceptor(fields: list[object], where: str) -> AcceptorRecord:
    promised, accepted_ballot, accepted_value = expect_fields(fields, 3, where)
    record = AcceptorRecord(
        take_ballot(promised, where),
        take_ballot_or_bottom(accepted_ballot, where),
        take_optional_bytes(accepted_value, where, MAX_COMMAND_BYTES),
    )
    if (accepted_ballot is None) != (accepted_value is None) or record.accepted_ballot > record.promised:
        raise RecordError(f"{where}: a vote without ballot or value, or above the promise")
    return record
