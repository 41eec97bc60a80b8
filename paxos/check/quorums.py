"""Quorum systems in scenario files: what the library offers, by kind and parameters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from paxos.ballot import NodeId
from paxos.errors import ConfigurationError
from paxos.quorum import (
    ExplicitQuorums,
    FastQuorums,
    FlexibleQuorums,
    GridQuorums,
    Majority,
    Phase,
    QuorumSystem,
    WeightedQuorums,
)

__all__ = ["quorums_from_json", "quorums_to_json"]


def _sets(system: QuorumSystem, phase: Phase) -> list[list[int]]:
    return [sorted(quorum) for quorum in system.smallest_quorums(phase)]


def quorums_to_json(system: QuorumSystem) -> dict[str, object]:
    """A quorum system as JSON carries it; one of another kind as the sets it consists of.

    Raises:
        QuorumError: it has too many quorums to be listed.
    """
    members: dict[str, object] = {"members": list(system.members)}
    kind = type(system)
    if isinstance(system, Majority) and kind is Majority:
        return {"kind": "majority", **members}
    if isinstance(system, FlexibleQuorums) and kind is FlexibleQuorums:
        return {"kind": "flexible", **members, **_sizes(system)}
    if isinstance(system, FastQuorums) and kind is FastQuorums:
        return {"kind": "fast", **members, "classic": system.phase1, "fast": system.fast}
    if isinstance(system, WeightedQuorums) and kind is WeightedQuorums:
        weights = {str(node): weight for node, weight in system.weights.items()}
        return {"kind": "weighted", "weights": weights, **_sizes(system)}
    if isinstance(system, GridQuorums) and kind is GridQuorums:
        return {"kind": "grid", "rows": [list(row) for row in system.rows]}
    failures, fast_failures = getattr(system, "failures", None), getattr(system, "fast_failures", None)
    if type(failures) is int and type(fast_failures) is int:
        # Of the protocol's own kind, which it makes of these numbers.
        return {"kind": "failures", **members, "failures": failures, "fast_failures": fast_failures}
    fast = {"fast": _sets(system, Phase.FAST)} if system.has_fast else {}
    return {
        "kind": "explicit",
        **members,
        "phase1": _sets(system, Phase.ONE),
        "phase2": _sets(system, Phase.TWO),
        **fast,
    }


def _sizes(system: Any) -> dict[str, object]:
    sizes = {"phase1": system.phase1, "phase2": system.phase2}
    return sizes if system.fast is None else {**sizes, "fast": system.fast}


def _weighted(given: Mapping[str, Any]) -> QuorumSystem:
    weights = {int(node): weight for node, weight in given["weights"].items()}
    return WeightedQuorums(weights, **{key: value for key, value in given.items() if key != "weights"})


_KINDS: Final[Mapping[str, Callable[[Mapping[str, Any]], QuorumSystem]]] = {
    "majority": lambda given: Majority(**given),
    "flexible": lambda given: FlexibleQuorums(**given),
    "fast": lambda given: FastQuorums(**given),
    "weighted": _weighted,
    "grid": lambda given: GridQuorums(**given),
    "explicit": lambda given: ExplicitQuorums(**given),
}
_FailureQuorums: TypeAlias = Callable[[Sequence[NodeId], int | None, int | None], QuorumSystem]
#: What each kind is made of, and what it may have beside.
_KEYS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "majority": (("members",), ()),
    "flexible": (("members", "phase1", "phase2"), ("fast",)),
    "fast": (("members",), ("classic", "fast")),
    "weighted": (("weights",), ("phase1", "phase2", "fast")),
    "grid": (("rows",), ()),
    "explicit": (("members", "phase1"), ("phase2", "fast")),
    "failures": (("members", "failures", "fast_failures"), ()),
}


def quorums_from_json(
    data: object, nodes: object, by_failures: _FailureQuorums | None = None
) -> QuorumSystem:
    """A quorum system from what `quorums_to_json` gave.

    Args:
        data: that.
        nodes: how many there are.
        by_failures: the protocol's `failure_quorums`, if it has one.

    Raises:
        ConfigurationError: no such kind, a parameter that does not fit, or other than so many members.
    """
    kinds = dict(_KINDS)
    if by_failures is not None:
        make = by_failures
        kinds["failures"] = lambda given: make(given["members"], given["failures"], given["fast_failures"])
    if not isinstance(data, Mapping) or data.get("kind") not in kinds:
        raise ConfigurationError(
            f"quorums: expected an object whose 'kind' is {', '.join(kinds)}; got {data!r:.80}"
        )
    kind = data["kind"]
    given = {key: value for key, value in data.items() if key != "kind"}
    needed, others = _KEYS[kind]
    missing = [key for key in needed if key not in given]
    if missing:
        raise ConfigurationError(
            f"quorums: {kind}: {' and '.join(map(repr, missing))} missing; it is made of "
            f"{', '.join(map(repr, needed))}"
        )
    for key in given:
        if key not in (*needed, *others):
            known = ", ".join(map(repr, (*needed, *others)))
            raise ConfigurationError(f"quorums: {kind}: unknown key {key!r:.60}; known are {known}")
    try:
        system = kinds[kind](given)
    except ConfigurationError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ConfigurationError(f"quorums: {kind}: {error}") from error
    if len(system.members) != nodes:
        raise ConfigurationError(f"quorums: {len(system.members)} members, and 'nodes' is {nodes!r:.20}")
    return system
