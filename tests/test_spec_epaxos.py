"""The specifications of EPaxos: a rule that is left out is missed by a model of it."""

from pathlib import Path
from typing import Final

import attrs
import pytest

from paxos.check.spec import Model, check_model, load_models
from tests.tlc import copy_specs, require_tlc

_MODELS: Final = {model.name: model for model in load_models()}
_SPEC: Final = "EPaxos.tla"
_EXECUTION: Final = "EPaxosExecution.tla"

#: The model; the file that is changed, "" for the .cfg; what is replaced, and by what; what is violated.
_MISTAKES: Final = {
    "a recovery does not validate": (
        "epaxos-undecided",
        "",
        "  None = None\n",
        "  None = None\n  AskValidate <- NoValidation\n",
        "ValidationSound",
    ),
    "what was waited for is not looked at": (
        "epaxos-undecided",
        _SPEC,
        "Committed(mem[n][o]) /\\ (mem[n][o].cmd = Nop \\/ In(id, mem[n][o].deps))",
        "Committed(mem[n][o])",
        "ValidationSound",
    ),
    "a recovery yields to one that waits with n - f - e": (
        "epaxos-opposed",
        _SPEC,
        "m.strong > N - F - E",
        "m.strong >= N - F - E",
        "RecoveryPreserves",
    ),
    "a late Validate changes what was accepted": (
        "epaxos-late-validate",
        "",
        "  None = None\n",
        "  None = None\n  Validate <- ValidateAnyPhase\n",
        "RecoveryPreserves",
    ),
    "a fast commit is told before it is on disk": (
        "epaxos-fast-commit-lost",
        "",
        "  None = None\n",
        "  None = None\n  FastCommit <- FastCommitNotDurable\n",
        "RecoveryPreserves",
    ),
    "a restarted owner forgets what it may have sent": (
        "epaxos-owner-forgets",
        "",
        "  None = None\n",
        "  None = None\n  Lost <- NothingLost\n",
        "RecoveryPreserves",
    ),
    "what is truncated is forgotten but for the barrier, n = 3": (
        "epaxos-index-reset",
        "",
        'Remember = "floor"',
        'Remember = "barrier"',
        "RecoveryPreserves",
    ),
    "what is truncated is forgotten but for the barrier, n = 5": (
        "epaxos-no-floor",
        "",
        'Remember = "floor"',
        'Remember = "barrier"',
        "RecoveryPreserves",
    ),
    "what was executed is truncated at once": (
        "epaxos-validation-blind",
        "",
        "Early = FALSE",
        "Early = TRUE",
        "RecoveryPreserves",
    ),
    "something is executed before what it depends on is known": (
        "epaxos-execution",
        _EXECUTION,
        "Ready(n, id) /\\ Reach(n, {id}) = c",
        "Reach(n, {id}) = c",
        "ExecutionClosed",
    ),
    "each replica has an order of its own inside of a component": (
        "epaxos-execution",
        _EXECUTION,
        "IF b # c THEN c ELSE x[1]",
        "IF b # c THEN c ELSE IF n = 2 THEN x[1] > y[1] ELSE x[1]",
        "OrderOfGraph",
    ),
}


def _found(place: Path, model: Model, file: str, old: str, new: str) -> str:
    """What TLC says of the model with these words in the place of those."""
    tlc = require_tlc()

    def edit(name: str, text: str) -> str:
        if name != (file or model.config):
            return text
        assert text.count(old) == 1, (name, old)
        return text.replace(old, new)

    result = check_model(tlc, model, directory=copy_specs(place, edit), timeout_s=300)
    assert result.verdict == "violated", result.sentence
    assert result.report.counterexample
    return result.sentence


@pytest.mark.once
@pytest.mark.parametrize("mistake", _MISTAKES)
def test_a_rule_that_is_left_out_is_missed(tmp_path: Path, mistake: str) -> None:
    name, file, old, new, violated = _MISTAKES[mistake]
    assert f"Invariant {violated} is violated" in _found(tmp_path, _MODELS[name], file, old, new)


@pytest.mark.once
def test_truncated_at_once_it_takes_an_index_that_validations_look_at(tmp_path: Path) -> None:
    """The same schedule: what was executed remembered one by one, and that heeded by validations, or not."""
    model = attrs.evolve(_MODELS["epaxos-validation-blind"], distinct=None)
    early = ("Early = FALSE", "Early = TRUE"), ('Remember = "floor"', 'Remember = "index"')

    def edit(*changes: tuple[str, str]) -> Path:
        def changed(name: str, text: str) -> str:
            for old, new in changes if name == model.config else ():
                assert text.count(old) == 1
                text = text.replace(old, new)
            return text

        return copy_specs(tmp_path / str(len(changes)), changed)

    tlc = require_tlc()
    assert check_model(tlc, model, directory=edit(*early)).verdict == "ok"
    blind = check_model(tlc, model, directory=edit(*early, ("Blind = FALSE", "Blind = TRUE")))
    assert blind.verdict == "violated"
