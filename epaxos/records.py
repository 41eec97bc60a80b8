"""What EPaxos puts on disk: three kinds of records, each with its version and checksum.

    n                    own numbers up to this one may have been used
    i<owner><number>     an instance: ballots, phase, dependencies, command; owner and number as 4 and 8 bytes
    d<owner><number>     what was decided in it; written beside the other, so that the command is written once

Safety rests on all of them.  An instance's record is written before any answer about it leaves; what was
decided on the fast path before its owner tells anybody.  What a snapshot holds has no record any more;
which instances these are, the snapshot says itself.
"""

from functools import lru_cache
from struct import Struct
from typing import Any, Final

import attrs

from epaxos.instances import (
    ACCEPTED,
    COMMITTED,
    INITIAL,
    Choice,
    Deps,
    Instance,
    InstanceId,
    InstancePhase,
)
from epaxos.messages import MAX_MEMBERS, MAX_NUMBER, take_deps
from epaxos.values import MAX_VALUE_BYTES
from paxos.ballot import BOTTOM, Ballot
from paxos.contract import Records
from paxos.errors import RecordError, WireError
from paxos.wire import (
    decode_record,
    dumps,
    encode_record,
    expect_fields,
    pack_ballot_or_bottom,
    take_ballot,
    take_ballot_or_bottom,
    take_bool,
    take_bytes,
    take_int,
    take_optional_bytes,
)
from paxos.wire.records import seal_record

__all__ = [
    "RESERVATION_KEY",
    "FoundInstance",
    "FoundRecords",
    "decision_key",
    "instance_key",
    "pack_decision",
    "pack_instance",
    "pack_reservation",
    "read_records",
    "record_name",
]

RESERVATION_KEY: Final = b"n"
_INSTANCE_PREFIX: Final = b"i"
_DECISION_PREFIX: Final = b"d"

_RESERVATION: Final = 1
_INSTANCE: Final = 2
_DECISION: Final = 3
_VERSION: Final = 1
_KEY: Final = Struct(">cIQ")
_OWNER_BYTES: Final = 4

# Every command writes two records at every replica, and the encoder spends most of its time on arrays,
# however short. So the arrays are put together here: their heads are always the same. Dependencies are one
# string of bytes, 8 for each member, for the same reason.
_INSTANCE_HEAD: Final = dumps((_INSTANCE, _VERSION, *(None,) * 7))[:-7]
_DECISION_HEAD: Final = dumps((_DECISION, _VERSION, None, None))[:-2]
_NULL, _FALSE, _TRUE = dumps(None), dumps(False), dumps(True)
_DEPS: Final = tuple(Struct(f">{members}Q") for members in range(MAX_MEMBERS + 1))
_DEPS_HEADS: Final = tuple(dumps(bytes(each.size))[: -each.size or None] for each in _DEPS)
_STATES: Final = {
    (int(phase), is_nop): dumps(int(phase)) + dumps(is_nop)
    for phase in InstancePhase
    for is_nop in (False, True)
}


def instance_key(owner: int, number: int) -> bytes:
    """The key of an instance's record."""
    return _KEY.pack(b"i", owner, number)


def decision_key(owner: int, number: int) -> bytes:
    """The key of the record of what was decided in an instance."""
    return _KEY.pack(b"d", owner, number)


def _named(key: bytes) -> InstanceId:
    cut = 1 + _OWNER_BYTES
    return InstanceId(int.from_bytes(key[1:cut], "big"), int.from_bytes(key[cut:], "big"))


def _is_named(key: bytes) -> bool:
    return len(key) == _KEY.size and key[:1] in (_INSTANCE_PREFIX, _DECISION_PREFIX)


def record_name(key: bytes) -> str:
    """What the record under a key is, in a few words for people; empty if it is none of EPaxos."""
    if _is_named(key):
        what = "instance" if key[:1] == _INSTANCE_PREFIX else "the decision of instance"
        return f"{what} {_named(key)}"
    return "the reservation of numbers" if key == RESERVATION_KEY else ""


def pack_reservation(number: int) -> bytes:
    """The record of the numbers that this replica may use."""
    return encode_record(_RESERVATION, _VERSION, (number,))


def pack_instance(instance: Instance) -> bytes:
    """The record of an instance that is not decided: what it is when it is, `pack_decision` says."""
    deps, initial_deps = instance.deps, instance.initial_deps
    packed = _NULL if deps is None else _pack_deps(deps)
    if initial_deps is deps:
        packed += packed
    else:
        packed += _NULL if initial_deps is None else _pack_deps(initial_deps)
    return seal_record(
        b"".join(
            (
                _INSTANCE_HEAD,
                _pack_ballots(instance.ballot, instance.accepted_ballot),
                _STATES[instance.phase, instance.is_nop],
                packed,
                *_pack_value(instance.value),
            )
        )
    )


def pack_decision(choice: Choice) -> bytes:
    """The record of what was decided in an instance."""
    return seal_record(_DECISION_HEAD + (_TRUE if choice[0] else _FALSE) + _pack_deps(choice[1]))


def _pack_value(value: bytes | None) -> tuple[bytes, ...]:
    """A command as the encoder would write it, in parts: of a long one no copy is made."""
    if value is None:
        return (_NULL,)
    size = len(value)
    if size <= 0xFF:
        return (dumps(value),)
    if size <= 0xFFFF:
        return (b"\x59", size.to_bytes(2, "big"), value)
    return (b"\x5a", size.to_bytes(4, "big"), value)


def _pack_deps(deps: Deps) -> bytes:
    members = len(deps)
    return _DEPS_HEADS[members] + _DEPS[members].pack(*deps)


def _take_deps(value: object, where: str) -> Deps:
    packed = take_bytes(value, where, _DEPS[-1].size)
    members, rest = divmod(len(packed), _DEPS[1].size)
    if rest:
        raise WireError(f"{where}: {len(packed)} bytes are no dependencies")
    return take_deps([*_DEPS[members].unpack(packed)], where)


@lru_cache(maxsize=256)
def _pack_ballots(ballot: Ballot, accepted: Ballot) -> bytes:
    return dumps(pack_ballot_or_bottom(ballot)) + dumps(pack_ballot_or_bottom(accepted))


@attrs.frozen
class FoundInstance:
    """What a store held of one instance. Fields are those of `Instance`."""

    ballot: Ballot
    accepted: Ballot
    phase: int
    is_nop: bool
    deps: Deps | None
    initial_deps: Deps | None
    value: bytes | None


@attrs.frozen
class FoundRecords:
    """What a store held.

    Args:
        reserved: every own number that was used is at or below it.
        instances: by owner and number, owners and numbers rising.
        decisions: likewise; each belongs to one of `instances`, unless it is a no-op.
    """

    reserved: int
    instances: dict[InstanceId, FoundInstance]
    decisions: dict[InstanceId, Choice]


def read_records(records: Records) -> FoundRecords:
    """Check and sort what a store held.

    Raises:
        RecordError: a record is corrupted, unknown, or written by a newer version; it names the key.
    """
    reserved = 0
    instances: dict[InstanceId, FoundInstance] = {}
    decisions: dict[InstanceId, Choice] = {}
    for key in sorted(records):
        data, where = records[key], f"record {key!r:.80}"
        try:
            if _is_named(key):
                if key[:1] == _INSTANCE_PREFIX:
                    instances[_named(key)] = _take_instance(_fields(data, _INSTANCE, key), where)
                else:
                    is_nop, deps = expect_fields(_fields(data, _DECISION, key), 2, where)
                    decisions[_named(key)] = Choice(take_bool(is_nop, where), _take_deps(deps, where))
            elif key == RESERVATION_KEY:
                (number,) = expect_fields(_fields(data, _RESERVATION, key), 1, where)
                reserved = take_int(number, where, 0, MAX_NUMBER)
            else:
                raise RecordError(f"{where}: not a record of EPaxos")
        except WireError as error:
            raise RecordError(f"{where}: {error}") from error
    for name, choice in decisions.items():
        found_instance = instances.get(name)
        if not choice.is_nop and (found_instance is None or found_instance.value is None):
            raise RecordError(f"instance {name}: it is decided, and its command is missing")
    return FoundRecords(reserved, instances, decisions)


def _fields(data: bytes, kind: int, key: bytes) -> list[Any]:
    return decode_record(data, kind, (_VERSION,), key)


def _take_instance(fields: list[Any], where: str) -> FoundInstance:
    ballot, accepted, phase, is_nop, deps, initial_deps, value = expect_fields(fields, 7, where)
    found = FoundInstance(
        take_ballot(ballot, where),
        take_ballot_or_bottom(accepted, where),
        take_int(phase, where, INITIAL, COMMITTED),
        take_bool(is_nop, where),
        None if deps is None else _take_deps(deps, where),
        None if initial_deps is None else _take_deps(initial_deps, where),
        take_optional_bytes(value, where, MAX_VALUE_BYTES),
    )
    if found.accepted > found.ballot or (found.phase == ACCEPTED and found.accepted == BOTTOM):
        raise WireError(f"{where}: accepted above what was joined, or nowhere")
    return found
