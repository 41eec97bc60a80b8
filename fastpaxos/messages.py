"""What travels in Fast Paxos for named decrees, and which of it reports durable state.

Basic Paxos's messages, and two more: a proposer's value goes straight to the acceptors (Propose), and the
coordinator of a fast ballot opens it to all proposers (AnyValue, "Any" in the paper). Votes at every ballot
go to all members, since each of them learns by counting.

A recovery leaves no other trace: the coordinator's is an Accept at the ballot that follows, and an acceptor
that recovers by itself just votes there.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from paxos.ballot import Ballot
from paxos.basic.messages import MESSAGES as BASIC_MESSAGES
from paxos.basic.messages import (
    Accept,
    Accepted,
    Ask,
    BasicMessage,
    Chosen,
    Forward,
    Nack,
    Prepare,
    Promise,
    Reserved,
)
from paxos.command import MAX_COMMAND_BYTES, MAX_KEY_BYTES
from paxos.wire import MAX_ROUND, MessageTable, MessageType, expect_fields, take_ballot, take_bytes

__all__ = [
    "MAX_ROUND",
    "MESSAGES",
    "Accept",
    "Accepted",
    "AnyValue",
    "Ask",
    "Chosen",
    "FastMessage",
    "Forward",
    "Nack",
    "Prepare",
    "Promise",
    "Propose",
    "Reserved",
]


class Propose(NamedTuple):
    """A proposer's value, to every acceptor: "vote for it if the fast ballot you are in is open"."""

    decree: bytes
    value: bytes


class AnyValue(NamedTuple):
    """2a of a fast ballot with nothing to propose: "vote for the first value that a proposer sends"."""

    decree: bytes
    ballot: Ballot


FastMessage: TypeAlias = BasicMessage | Propose | AnyValue


def _propose(fields: Sequence[object]) -> Propose:
    decree, value = expect_fields(fields, 2, "Propose")
    return Propose(
        take_bytes(decree, "Propose.decree", MAX_KEY_BYTES),
        take_bytes(value, "Propose.value", MAX_COMMAND_BYTES),
    )


def _any(fields: Sequence[object]) -> AnyValue:
    decree, ballot = expect_fields(fields, 2, "AnyValue")
    return AnyValue(
        take_bytes(decree, "AnyValue.decree", MAX_KEY_BYTES), take_ballot(ballot, "AnyValue.ballot")
    )


#: A Propose says nothing of its sender's state. An AnyValue's ballot lies in a reservation that is already
#: durable. An Accept leaves when its sender's own vote at that ballot is known to be durable, so that no
#: ballot ever carries two values; the vote reports, and the Accept need not wait again.
MESSAGES: Final = BASIC_MESSAGES + MessageTable(
    (
        MessageType(10, Propose, reports=False, pack=tuple, unpack=_propose),
        MessageType(11, AnyValue, reports=False, pack=tuple, unpack=_any),
    )
)
