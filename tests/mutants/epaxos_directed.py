"""Plays the schedules of `tests.mutants.epaxos_scripts` on a mutant of EPaxos, or on the sound protocol."""

from collections.abc import Callable
from functools import partial
from typing import Final

import epaxos
from epaxos import EPaxosQuorums
from tests.epaxos_script import Script
from tests.mutants.epaxos_scripts import SCRIPTS
from tests.mutants.patches import Mutant

__all__ = ["EPAXOS_DIRECTED"]

_Shown = tuple[dict[str, str], int]


def _play(name: str, mutant: Mutant | None) -> _Shown:
    from tests.mutants.build import described

    played = SCRIPTS[name]
    quorums = None if played.quorums is None else EPaxosQuorums(range(1, played.nodes + 1), *played.quorums)
    script = Script(
        played.nodes,
        epaxos.protocol if mutant is None else described(mutant),
        observers=played.observers,
        quorums=quorums,
    )
    played.play(script)
    return script.violations, script.delivered


#: Every schedule, by the name that a mutant has for it.
EPAXOS_DIRECTED: Final[dict[str, Callable[[Mutant | None], _Shown]]] = {
    f"epaxos.{name}": partial(_play, name) for name in SCRIPTS
}
