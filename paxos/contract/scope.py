"""A scope: a closed world of roles, small enough that every state of it can be visited.

A protocol offers one by saying which states it begins in and which states follow a state; whoever searches
needs no more, and knows nothing of messages or roles.  The interface stands here, below the protocols, so
that a protocol can be described together with its scope; the search is `paxos.check.exhaust`.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import attrs

from paxos.errors import ConfigurationError

__all__ = ["FAULTS_OF_SCOPES", "Scope", "ScopeMaker", "ScopeSettings"]

S = TypeVar("S")

#: What can go wrong in a scope: a sent message vanishes, one is delivered twice, a role starts anew.
FAULTS_OF_SCOPES: Final = ("loss", "duplication", "restart")


def _between(name: str, low: int, high: int) -> Any:
    def check(_: object, attribute: "attrs.Attribute[int]", value: int) -> None:
        if type(value) is not int or not low <= value <= high:
            raise ConfigurationError(
                f"a scope's {name}: expected a whole number in {low}..{high}, not {value!r}"
            )

    return check


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


def _are_faults(_: object, attribute: "attrs.Attribute[frozenset[str]]", value: frozenset[str]) -> None:
    unknown = sorted(value.difference(FAULTS_OF_SCOPES))
    if unknown:
        raise ConfigurationError(
            f"a scope has no fault {', '.join(unknown)}; there are {', '.join(FAULTS_OF_SCOPES)}"
        )


@attrs.frozen
class ScopeSettings:
    """How small the closed world is, and what goes wrong in it.

    Args:
        acceptors: how many.
        ballots: how many; they are numbered from 0, as in the specifications.
        values: how many different values are proposed.
        faults: some of "loss", "duplication" and "restart"; without any, a message that was sent can be
            delivered at any time and any number of times, as in the specifications.

        in_flight: with "loss" or "duplication": how many copies of messages can be under way at once; None
            for as many as there are acceptors, for each slot. What would be one too many is not sent yet.
        unsynced: with "restart": how many answers of one acceptor can wait for its disk at once.
        slots: of a protocol that decides a log: how many.

    Raises:
        ConfigurationError: a number out of bounds, or an unknown fault.
    """

    acceptors: int = attrs.field(default=3, validator=_between("acceptors", 1, 7))
    ballots: int = attrs.field(default=2, validator=_between("ballots", 1, 8))
    values: int = attrs.field(default=2, validator=_between("values", 1, 8))
    faults: frozenset[str] = attrs.field(default=frozenset(), converter=_names, validator=_are_faults)
    in_flight: int | None = attrs.field(
        default=None, validator=attrs.validators.optional(_between("copies in flight", 1, 64))
    )
    unsynced: int = attrs.field(default=1, validator=_between("unsynced answers", 1, 8))
    slots: int = attrs.field(default=1, validator=_between("slots", 1, 4))


class Scope(Protocol[S]):
    """A closed world with finitely many states.

    States are values: `successors` leaves the one it is given as it was.  Everything here is deterministic,
    down to the order of `initial` and of `successors`, which are asked again to retrace a path.
    """

    @property
    def title(self) -> str:
        """What is in it, in a line for people."""
        ...

    @property
    def expected(self) -> int | None:
        """How many different projections a complete search finds, where that is known from elsewhere."""
        ...

    @property
    def invariants(self) -> Mapping[str, Callable[[S], str | None]]:
        """What must hold in every state, by name: a sentence naming what broke, or None."""
        ...

    def initial(self) -> Iterable[S]:
        """The states in which it may begin."""
        ...

    def successors(self, state: S) -> Iterable[tuple[object, S]]:
        """Each action that is possible in `state`, and the state that it leads to.

        What an action is, only `describe` needs to know. An action that changes nothing may be left out.
        """
        ...

    def fingerprint(self, state: S) -> Hashable:
        """What makes `state` different from all others, as compact as can be: it is kept for every state.

        Of a fingerprint of more than 16 bytes (type `bytes`) only a digest is kept.
        """
        ...

    def project(self, state: S) -> Hashable | None:
        """`state` as the specification sees it, in any form that tells apart; None to leave it out."""
        ...

    def refine(self, before: S, after: S) -> str | None:
        """Why the specification does not allow this step, in a sentence; None when it does."""
        ...

    def describe(self, before: S, action: object, after: S) -> str:
        """A step in words."""
        ...


#: Makes the scope of a protocol.
ScopeMaker: TypeAlias = Callable[[ScopeSettings], Scope[Any]]
