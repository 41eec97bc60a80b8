"""What a store holds of a log, as tools show it: the protocol reads its records, and nobody else does."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from paxos.command import Command
from paxos.contract.replica import Mark

__all__ = ["StoredEntry", "StoredLog"]


class StoredEntry(NamedTuple):
    """One place in the log, as one node has it on disk.

    Args:
        mark: the place: a slot, or an instance.
        ballot: at which it was accepted, for people.
        chosen: whether this store alone proves that it was chosen; what it does not prove may be chosen too.
        command: what was accepted there; one without a payload where nothing is carried out, or known.
        phase: how far it is here, for people, where that is more than accepted or chosen.
        deps: what must be applied before it, or may, for people, where places have no order of their own.
    """

    mark: Mark
    ballot: str
    chosen: bool
    command: Command
    phase: str = ""
    deps: str = ""


class StoredLog(NamedTuple):
    """What a store holds of a log.

    Args:
        promised: the ballot promised, for people; empty where each place has its own.
        compacted: everything up to this place is in the snapshot; None when nothing is.
        committed: up to this place this store alone proves everything chosen; None for nowhere.
        size: how many entries there are.
        entries: they, in order of their places; can be gone through once.
        others: what else there is, for people: names and values.
        place: what a place is called.
        chosen: how many of the entries this store alone proves chosen; None where `committed` says it.
    """

    promised: str
    compacted: Mark
    committed: Mark
    size: int
    entries: Iterable[StoredEntry]
    others: Mapping[str, str]
    place: str = "slot"
    chosen: int | None = None
