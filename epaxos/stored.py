"""What a store of EPaxos holds, for tools that look at it while its node is stopped."""

from collections.abc import Iterator

from epaxos.instances import ACCEPTED, Deps, InstanceId, InstancePhase
from epaxos.records import FoundInstance, FoundRecords, read_records
from epaxos.values import take_value
from paxos.ballot import BOTTOM
from paxos.command import NOP, Command
from paxos.contract import Records, StoredEntry, StoredLog
from paxos.errors import RecordError, WireError

__all__ = ["stored_log"]


def stored_log(records: Records) -> StoredLog:
    """Every instance that is kept, and which numbers may have been used.

    What a snapshot holds has no record, but for what comes after the snapshot.

    Args:
        records: a replica's own, as it wrote them.

    Raises:
        RecordError: a record is damaged, unknown, or newer than this code.
    """
    found = read_records(records)
    kept = sorted({*found.instances, *found.decisions})
    others: dict[str, str] = {"own numbers reserved up to": str(found.reserved)}
    for owner in dict.fromkeys(name.owner for name in kept):
        numbers = [name.number for name in kept if name.owner == owner]
        proved = sum(name in found.decisions for name in kept if name.owner == owner)
        others[f"instances of node {owner}"] = (
            f"{len(numbers)} kept, from {numbers[0]} to {numbers[-1]}; {proved} proved decided"
        )
    return StoredLog(
        "", None, None, len(kept), _entries(found, kept), others, "instance", len(found.decisions)
    )


def _entries(found: FoundRecords, kept: list[InstanceId]) -> Iterator[StoredEntry]:
    for name in kept:
        instance, choice = found.instances.get(name), found.decisions.get(name)
        if choice is not None:
            phase, is_nop, deps = InstancePhase.COMMITTED, choice.is_nop, choice.deps
        else:
            assert instance is not None, "one of them is there"
            phase, is_nop, deps = InstancePhase(instance.phase), instance.is_nop, instance.deps or ()
        yield StoredEntry(
            name,
            "none" if instance is None else _ballot(instance),
            choice is not None,
            _command(name, instance, is_nop),
            _phase(instance, phase, is_nop),
            _shown(deps),
        )


def _ballot(instance: FoundInstance) -> str:
    """The highest ballot joined, and where it is another, that of what was accepted."""
    if instance.phase != ACCEPTED or instance.accepted in (BOTTOM, instance.ballot):
        return str(instance.ballot)
    return f"{instance.ballot}, accepted at {instance.accepted}"


def _phase(instance: FoundInstance | None, phase: InstancePhase, is_nop: bool) -> str:
    words = "decided" if phase is InstancePhase.COMMITTED else phase.name.lower().replace("_", "-")
    if phase is InstancePhase.INITIAL and (instance is None or instance.value is None):
        return f"{words}, command not known"
    return f"{words} as a no-op" if is_nop else words


def _command(name: InstanceId, instance: FoundInstance | None, is_nop: bool) -> Command:
    if is_nop or instance is None or instance.value is None:
        return NOP  # it stands for what is not known, too
    try:
        return take_value(instance.value)
    except WireError as error:
        raise RecordError(f"instance {name}: {error}") from error


def _shown(deps: Deps) -> str:
    """Dependencies for people: one number for each member, in the order of their ids."""
    return " ".join(map(str, deps))
