"""Basic Paxos with mistakes in it, to show that the checks find them: `python -m tests.mutants`.

Each mutant is a protocol, named as `tests.mutants:own_value_proposed`.
"""

from functools import cache
from typing import TYPE_CHECKING

from tests.mutants.build import described, mutants

if TYPE_CHECKING:
    from paxos.contract import ProtocolDescription


@cache
def _named(name: str) -> "ProtocolDescription":
    return described(mutants()[name])


def __getattr__(name: str) -> "ProtocolDescription":
    if name not in mutants():
        raise AttributeError(f"there is no mutant {name!r}")
    return _named(name)
