"""What travels in EPaxos, and which of it reports durable state.

PreAccept and PreAcceptOK are the one round of the fast path, Accept and AcceptOK the second round of the slow
one.  Commit tells what was decided, many instances at a time and without the commands, which nearly everybody
has; Gossip says how far a replica knows all that was decided, Ask asks for what somebody else knows, and
Known brings it, commands included.

Recover asks what is known of an instance whose owner may be dead, RecoverOK answers; Validate asks what would
contradict the fast path's having been taken, ValidateOK answers; Waiting tells the others that a recovery can
not end before another one does.  Nack says that a question came too late.

Written, Settled and Reserved are to oneself: that own pre-acceptances, fast commits, or numbers of
instances are on the own disk.

Messages are NamedTuples; the class tells them apart, so compare them together with their class.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from epaxos.instances import ACCEPTED, INITIAL, Deps
from epaxos.values import MAX_VALUE_BYTES
from paxos.ballot import BOTTOM, Ballot, NodeId
from paxos.errors import WireError
from paxos.wire import (
    MessageTable,
    MessageType,
    expect_fields,
    pack_ballot_or_bottom,
    take_ballot,
    take_ballot_or_bottom,
    take_bool,
    take_bytes,
    take_int,
    take_list,
    take_node,
    take_optional_bytes,
)

__all__ = [
    "MAX_CONFLICTS",
    "MAX_ENTRIES",
    "MAX_MEMBERS",
    "MAX_NUMBER",
    "MESSAGES",
    "Accept",
    "AcceptOK",
    "Ask",
    "Commit",
    "EPaxosMessage",
    "Gossip",
    "Known",
    "Nack",
    "PreAccept",
    "PreAcceptOK",
    "Recover",
    "RecoverOK",
    "Reserved",
    "Settled",
    "Validate",
    "ValidateOK",
    "Waiting",
    "Written",
    "take_deps",
]

#: The highest number of an instance. Numbers begin at 1.
MAX_NUMBER: Final = (1 << 62) - 1
#: The most members that dependencies are told of.
MAX_MEMBERS: Final = 255
#: The most instances in one message.
MAX_ENTRIES: Final = 16_384
#: The most instances that one validation names.
MAX_CONFLICTS: Final = 65_536


class PreAccept(NamedTuple):
    """The owner's question: an instance of the sender, its command, and what it conflicts with there."""

    number: int
    value: bytes
    deps: Deps


class PreAcceptOK(NamedTuple):
    """The answer: the same dependencies, joined with what the command conflicts with here."""

    number: int
    deps: Deps


class Accept(NamedTuple):
    """Asks to accept a choice at a ballot; the command goes along unless it is a no-op."""

    owner: NodeId
    number: int
    ballot: Ballot
    is_nop: bool
    deps: Deps
    value: bytes | None


class AcceptOK(NamedTuple):
    """The choice of this ballot is accepted."""

    owner: NodeId
    number: int
    ballot: Ballot


class Commit(NamedTuple):
    """What was decided: owner, number, whether it is a no-op, dependencies."""

    entries: tuple[tuple[NodeId, int, bool, Deps], ...]


class Gossip(NamedTuple):
    """How far the sender is, as one number for each member.

    Args:
        committed: it knows the decision of every instance up to these.
        floor: of the last snapshot on its disk; zeros when there is none.
    """

    committed: Deps
    floor: Deps


class Ask(NamedTuple):
    """Asks what was decided in instances `first` to `last` of a member."""

    owner: NodeId
    first: int
    last: int


class Known(NamedTuple):
    """What was decided, with the command: owner, number, whether it is a no-op, dependencies, command."""

    entries: tuple[tuple[NodeId, int, bool, Deps, bytes | None], ...]


class Recover(NamedTuple):
    """Asks to join a ballot of an instance, and what is known of it."""

    owner: NodeId
    number: int
    ballot: Ballot


class RecoverOK(NamedTuple):
    """The ballot is joined; this is what is known of the instance, when it is not decided."""

    owner: NodeId
    number: int
    ballot: Ballot
    accepted: Ballot
    phase: int
    is_nop: bool
    deps: Deps | None
    initial_deps: Deps | None
    value: bytes | None


class Validate(NamedTuple):
    """Asks what contradicts that the command was decided with these, its initial, dependencies."""

    owner: NodeId
    number: int
    ballot: Ballot
    deps: Deps
    value: bytes


class ValidateOK(NamedTuple):
    """The answer: whether something decided contradicts it; and what may, and is not decided.

    Args:
        owner, number, ballot: of the question.
        is_invalid: something that conflicts was decided, and neither is in the other's dependencies.
        conflicts: the instances, not known here to be decided, of which the same is so as far as is known.
    """

    owner: NodeId
    number: int
    ballot: Ballot
    is_invalid: bool
    conflicts: tuple[tuple[NodeId, int], ...]


class Waiting(NamedTuple):
    """A recovery of this instance waits for others; so many pre-accepted its initial dependencies."""

    owner: NodeId
    number: int
    agreeing: int


class Nack(NamedTuple):
    """A question at `ballot` came too late: `joined` is joined."""

    owner: NodeId
    number: int
    ballot: Ballot
    joined: Ballot


class Settled(NamedTuple):
    """To oneself: the disk holds that these own instances are committed by the fast path."""

    numbers: tuple[int, ...]


class Written(NamedTuple):
    """To oneself: the disk holds that these own instances are pre-accepted here."""

    numbers: tuple[int, ...]


class Reserved(NamedTuple):
    """To oneself: the disk holds that all own numbers up to this one may be used."""

    number: int


EPaxosMessage: TypeAlias = (
    PreAccept
    | PreAcceptOK
    | Accept
    | AcceptOK
    | Commit
    | Gossip
    | Ask
    | Known
    | Recover
    | RecoverOK
    | Validate
    | ValidateOK
    | Waiting
    | Nack
    | Settled
    | Written
    | Reserved
)

# Called directly for every message: a NamedTuple's own constructor is a Python function.
_new: Final = tuple.__new__


def take_deps(value: object, where: str) -> Deps:
    """Dependencies of some number of members. Raises WireError."""
    if type(value) is list and 0 < len(value) <= MAX_MEMBERS:
        # Types at C speed; a loop of ours would cost more than all the rest of a message.
        if set(map(type, value)) == {int} and min(value) >= 0 and max(value) <= MAX_NUMBER:
            return tuple(value)
    raise WireError(f"{where}: expected one number for each of at most {MAX_MEMBERS} members")


def _optional_deps(value: object, where: str) -> Deps | None:
    return None if value is None else take_deps(value, where)


def _number(value: object, where: str) -> int:
    return take_int(value, where, 1, MAX_NUMBER)


def _pre_accept(fields: Sequence[object]) -> PreAccept:
    number, value, deps = expect_fields(fields, 3, "PreAccept")
    return _new(
        PreAccept,
        (
            take_int(number, "PreAccept.number", 1, MAX_NUMBER),
            take_bytes(value, "PreAccept.value", MAX_VALUE_BYTES),
            take_deps(deps, "PreAccept.deps"),
        ),
    )


def _pre_accept_ok(fields: Sequence[object]) -> PreAcceptOK:
    number, deps = expect_fields(fields, 2, "PreAcceptOK")
    number = take_int(number, "PreAcceptOK.number", 1, MAX_NUMBER)
    return _new(PreAcceptOK, (number, take_deps(deps, "PreAcceptOK.deps")))


def _named(fields: Sequence[object], name: str) -> tuple[NodeId, int, Ballot]:
    """The first three fields of a message about an instance at a ballot."""
    owner, number, ballot = fields[:3]
    return (
        take_node(owner, f"{name}.owner"),
        take_int(number, f"{name}.number", 1, MAX_NUMBER),
        take_ballot(ballot, f"{name}.ballot"),
    )


def _choice(is_nop: object, deps: object, value: object, name: str) -> tuple[bool, Deps, bytes | None]:
    """What makes a choice, with the command that only a no-op is without."""
    is_nop = take_bool(is_nop, f"{name}.is_nop")
    taken = take_deps(deps, f"{name}.deps")
    command = take_optional_bytes(value, f"{name}.value", MAX_VALUE_BYTES)
    if is_nop and (any(taken) or command is not None):
        raise WireError(f"{name}: a no-op with dependencies, or with a command")
    if not is_nop and command is None:
        raise WireError(f"{name}: neither a no-op nor a command")
    return is_nop, taken, command


def _accept(fields: Sequence[object]) -> Accept:
    expect_fields(fields, 6, "Accept")
    return _new(Accept, (*_named(fields, "Accept"), *_choice(fields[3], fields[4], fields[5], "Accept")))


def _accept_ok(fields: Sequence[object]) -> AcceptOK:
    expect_fields(fields, 3, "AcceptOK")
    return _new(AcceptOK, _named(fields, "AcceptOK"))


def _commit(fields: Sequence[object]) -> Commit:
    (items,) = expect_fields(fields, 1, "Commit")
    entries = []
    for item in take_list(items, "Commit.entries", MAX_ENTRIES):
        owner, number, is_nop, deps = expect_fields(item, 4, "Commit.entry")
        is_nop = take_bool(is_nop, "Commit.entry.is_nop")
        taken = take_deps(deps, "Commit.entry.deps")
        if is_nop and any(taken):
            raise WireError("Commit.entry: a no-op with dependencies")
        owner = take_node(owner, "Commit.entry.owner")
        entries.append((owner, take_int(number, "Commit.entry.number", 1, MAX_NUMBER), is_nop, taken))
    return Commit(tuple(entries))


def _known(fields: Sequence[object]) -> Known:
    (items,) = expect_fields(fields, 1, "Known")
    entries = []
    for item in take_list(items, "Known.entries", MAX_ENTRIES):
        owner, number, is_nop, deps, value = expect_fields(item, 5, "Known.entry")
        owner = take_node(owner, "Known.entry.owner")
        number = _number(number, "Known.entry.number")
        entries.append((owner, number, *_choice(is_nop, deps, value, "Known.entry")))
    return Known(tuple(entries))


def _gossip(fields: Sequence[object]) -> Gossip:
    committed, floor = expect_fields(fields, 2, "Gossip")
    return Gossip(take_deps(committed, "Gossip.committed"), take_deps(floor, "Gossip.floor"))


def _ask(fields: Sequence[object]) -> Ask:
    owner, first, last = expect_fields(fields, 3, "Ask")
    first = _number(first, "Ask.first")
    return Ask(take_node(owner, "Ask.owner"), first, take_int(last, "Ask.last", first, MAX_NUMBER))


def _recover(fields: Sequence[object]) -> Recover:
    expect_fields(fields, 3, "Recover")
    return Recover(*_named(fields, "Recover"))


def _recover_ok(fields: Sequence[object]) -> RecoverOK:
    accepted, phase, is_nop, deps, initial_deps, value = expect_fields(fields, 9, "RecoverOK")[3:]
    named = _named(fields, "RecoverOK")
    accepted = take_ballot_or_bottom(accepted, "RecoverOK.accepted")
    phase = take_int(phase, "RecoverOK.phase", INITIAL, ACCEPTED)
    is_nop = take_bool(is_nop, "RecoverOK.is_nop")
    taken = _optional_deps(deps, "RecoverOK.deps")
    initial = _optional_deps(initial_deps, "RecoverOK.initial_deps")
    command = take_optional_bytes(value, "RecoverOK.value", MAX_VALUE_BYTES)
    if (phase == INITIAL) != (taken is None) or (phase == ACCEPTED) != (accepted != BOTTOM):
        raise WireError("RecoverOK: what it says does not fit its phase")
    if is_nop and (phase != ACCEPTED or taken is None or any(taken)):
        raise WireError("RecoverOK: a no-op that was not accepted, or with dependencies")
    if accepted > named[2]:
        raise WireError("RecoverOK: reports what was accepted above its own ballot")
    if command is None and (initial is not None or (phase != INITIAL and not is_nop)):
        raise WireError("RecoverOK: dependencies of no command")
    return RecoverOK(*named, accepted, phase, is_nop, taken, initial, command)


def _pack_recover_ok(message: RecoverOK) -> tuple[object, ...]:
    return (*message[:3], pack_ballot_or_bottom(message.accepted), *message[4:])


def _validate(fields: Sequence[object]) -> Validate:
    deps, value = expect_fields(fields, 5, "Validate")[3:]
    taken = take_deps(deps, "Validate.deps")
    command = take_bytes(value, "Validate.value", MAX_VALUE_BYTES)
    return Validate(*_named(fields, "Validate"), taken, command)


def _validate_ok(fields: Sequence[object]) -> ValidateOK:
    is_invalid, items = expect_fields(fields, 5, "ValidateOK")[3:]
    conflicts = []
    for item in take_list(items, "ValidateOK.conflicts", MAX_CONFLICTS):
        owner, number = expect_fields(item, 2, "ValidateOK.conflict")
        owner = take_node(owner, "ValidateOK.conflict.owner")
        conflicts.append((owner, _number(number, "ValidateOK.conflict.number")))
    is_invalid = take_bool(is_invalid, "ValidateOK.is_invalid")
    return ValidateOK(*_named(fields, "ValidateOK"), is_invalid, tuple(conflicts))


def _waiting(fields: Sequence[object]) -> Waiting:
    owner, number, agreeing = expect_fields(fields, 3, "Waiting")
    return Waiting(
        take_node(owner, "Waiting.owner"),
        _number(number, "Waiting.number"),
        take_int(agreeing, "Waiting.agreeing", 0, MAX_MEMBERS),
    )


def _nack(fields: Sequence[object]) -> Nack:
    joined = expect_fields(fields, 4, "Nack")[3]
    return Nack(*_named(fields, "Nack"), take_ballot(joined, "Nack.joined"))


def _own_numbers(kind: type[Any]) -> Callable[[Sequence[object]], Any]:
    """What unpacks a message of nothing but numbers of own instances."""
    name = kind.__name__

    def unpack(fields: Sequence[object]) -> Any:
        (items,) = expect_fields(fields, 1, name)
        numbers = take_list(items, f"{name}.numbers", MAX_ENTRIES)
        return kind(tuple(_number(number, f"{name}.number") for number in numbers))

    return unpack


def _reserved(fields: Sequence[object]) -> Reserved:
    (number,) = expect_fields(fields, 1, "Reserved")
    return Reserved(_number(number, "Reserved.number"))


def _row(kind: int, message: type[Any], unpack: Callable[[Sequence[object]], Any], reports: bool) -> Any:
    return MessageType(kind, message, reports=reports, pack=tuple, unpack=unpack)


#: Reporting: the four answers that are counted. Recover, since nobody may use its ballot twice, and the
#: recoverer's own joining it sees to that. Known, because among what it tells may be the sender's own fast
#: commit, which counts only when it is durable. Gossip, for its floor is counted. Written, Settled
#: and Reserved, which are about the disk. A PreAccept's number lies in a reservation that is durable; a
#: Commit is of what is settled, or of what a quorum's disks imply; what an Accept proposes was chosen from
#: reports. Nobody counts the rest.
MESSAGES: Final = MessageTable(
    (
        _row(1, PreAccept, _pre_accept, reports=False),
        _row(2, PreAcceptOK, _pre_accept_ok, reports=True),
        _row(3, Accept, _accept, reports=False),
        _row(4, AcceptOK, _accept_ok, reports=True),
        _row(5, Commit, _commit, reports=False),
        _row(6, Gossip, _gossip, reports=True),
        _row(7, Ask, _ask, reports=False),
        _row(8, Known, _known, reports=True),
        _row(9, Recover, _recover, reports=True),
        MessageType(10, RecoverOK, reports=True, pack=_pack_recover_ok, unpack=_recover_ok),
        _row(11, Validate, _validate, reports=False),
        _row(12, ValidateOK, _validate_ok, reports=True),
        _row(13, Waiting, _waiting, reports=False),
        _row(14, Nack, _nack, reports=False),
        _row(15, Settled, _own_numbers(Settled), reports=True),
        _row(16, Reserved, _reserved, reports=True),
        _row(17, Written, _own_numbers(Written), reports=True),
    )
)
