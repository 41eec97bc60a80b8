"""A charter: what must never change under a store, written into it before its node may vote.

Every vote was cast among certain members, to be counted by certain quorums.  Two quorums of *one* system
meet, and that is all that keeps a decision; a quorum of the old system and one of the new need not, and
then a decided decree is decided again.  So the first batch that a store ever gets says who the members
are, which quorums they form and which state machine they have, and at every later start this is compared
before anything is sent.

It is one of the node's records, and not a part of the store's card, for three reasons: a card belongs to
the floor that has disks, and the simulator's nodes must keep the same rule; stores of other
distributions get it without knowing of it; and it goes to disk in one batch before everything it guards,
by the rule that orders all else.  The card holds the rest (the cluster's id, the node's and the
protocol's), and who opens a store compares that.

Not in a charter is what peers only compare when they meet, since safety does not rest on it: which
release and messages they speak, and settings such as the distinguished proposer.
"""

from collections.abc import Mapping
from typing import Final

from paxos.contract import Configuration, ProtocolDescription, Records
from paxos.errors import RecordError, StoreRefused, WireError
from paxos.wire import decode_record, encode_record, take_text

__all__ = ["CHARTER_KEY", "charter_of", "charter_record", "read_charter", "require_charter"]

#: Where it is kept, among the node's own records.
CHARTER_KEY: Final = b"nC"

_KIND_CHARTER: Final = 252
_VERSION: Final = 1
#: The longest text in it, bytes: quorums that are listed one by one are long.
_MAX_TEXT_BYTES: Final = 32 * 1024 * 1024
_SHOWN: Final = 200


def charter_of(
    protocol: ProtocolDescription, configuration: Configuration, machine: str = ""
) -> dict[str, str]:
    """What must never change under the store of a node with this configuration, by name.

    `machine` is the state machine's name, empty where there is none or only one.

    The texts are a format on disk: a description of quorums that another release words differently would
    be refused there.
    """
    charter = {
        "node": str(configuration.node),
        "protocol": protocol.name,
        "members": ", ".join(map(str, configuration.members)),
        "quorums": configuration.quorums.describe(),
        "group": str(configuration.group),
        "epoch": str(configuration.epoch),
    }
    return charter | {"machine": machine} if machine else charter


def charter_record(
    protocol: ProtocolDescription, configuration: Configuration, machine: str = ""
) -> tuple[bytes, bytes]:
    """The record, as a key and its value, that a new store gets first. Arguments: as `charter_of`."""
    return CHARTER_KEY, _encoded(charter_of(protocol, configuration, machine))


def read_charter(records: Records) -> dict[str, str] | None:
    """The charter among a store's records; None if there is none.

    Raises:
        RecordError: it is damaged, or newer than this code.
    """
    data = records.get(CHARTER_KEY)
    if data is None:
        return None
    where = f"record {CHARTER_KEY!r}"
    fields = decode_record(data, _KIND_CHARTER, (_VERSION,), CHARTER_KEY)
    if len(fields) % 2:
        raise RecordError(f"{where}: a name without a value")
    try:
        texts = [take_text(field, where, _MAX_TEXT_BYTES) for field in fields]
    except WireError as error:
        raise RecordError(str(error)) from error
    return dict(zip(texts[::2], texts[1::2], strict=True))


def require_charter(
    protocol: ProtocolDescription,
    configuration: Configuration,
    records: Records,
    asked: str = "the configuration",
    machine: str = "",
) -> None:
    """Make sure that a store may be used with a configuration: it is new, or was always used with this one.

    Args:
        protocol: what the node runs.
        configuration: its replica's.
        records: all that the store holds.
        asked: what the configuration is called in the message, such as its file's name.
        machine: as in `charter_of`.

    Raises:
        StoreRefused: they differ, both values named; or the store was used and does not say with what.
        RecordError: the record is damaged.
    """
    stored = read_charter(records)
    if stored is None:
        if records:
            raise StoreRefused(
                "it holds votes and does not say for which members and quorums they were cast: that record "
                "is lost, or an unfinished release wrote none; put the newest complete copy of the store back"
            )
        return
    different = _differences(stored, charter_of(protocol, configuration, machine), asked)
    if different:
        raise StoreRefused(
            f"{different}; votes in a store count only among the members and quorums they were cast for, and "
            "these are fixed in this version: start the node with the configuration its cluster was made with"
        )


def _differences(stored: Mapping[str, str], wanted: Mapping[str, str], asked: str) -> str:
    names = [*wanted, *(name for name in stored if name not in wanted)]
    return "; ".join(
        f"{name} {_short(stored.get(name))} in the store, {_short(wanted.get(name))} in {asked}"
        for name in names
        if stored.get(name) != wanted.get(name)
    )


def _short(text: str | None) -> str:
    if text is None:
        return "missing"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def _encoded(charter: Mapping[str, str]) -> bytes:
    return encode_record(_KIND_CHARTER, _VERSION, [text for pair in charter.items() for text in pair])
