"""docs/spec.md: what it names is there, and its program does what it says."""

import re
from pathlib import Path

import pytest

from paxos.check.spec import load_models, spec_directory
from tests.tlc import require_tlc

_PAGE = (Path(__file__).resolve().parents[1] / "docs" / "spec.md").read_text(encoding="utf-8")


def test_the_page_names_every_model_and_every_count():
    for model in load_models():
        assert model.name in _PAGE, model.name
        assert model.distinct is not None
        assert f"{model.distinct:,}" in _PAGE, model.name


def test_the_modules_and_invariants_that_it_names_are_there():
    modules = re.findall(r"^\| `(\w+)` \|", _PAGE, re.MULTILINE)
    assert {"Consensus", "Voting", "PaxosAbstract", "Paxos", "PaxosTraces"} <= set(modules)
    text = (spec_directory() / "Paxos.tla").read_text(encoding="utf-8")
    named = _PAGE[_PAGE.index("under the names") : _PAGE.index("Phase-1 and phase-2")]
    invariants = re.findall(r"`(\w+)`", named)
    assert len(invariants) == 13
    for name in invariants:
        assert re.search(rf"^{name} ==", text, re.MULTILINE), name
    # Each is checked in some model of Paxos.
    checked = (spec_directory() / "MCPaxosTwoNodes.cfg").read_text(encoding="utf-8").split()
    assert set(invariants) <= set(checked)


@pytest.mark.once
def test_the_program_does_what_it_says(capsys):
    require_tlc()
    (program,) = re.findall(r"^```python\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(program, "docs/spec.md", "exec"), {"__name__": "page"})
    assert capsys.readouterr().out == "True 5\n"


@pytest.mark.once
def test_the_quoted_run_has_every_quick_model_in_order():
    quoted = _PAGE[_PAGE.index("$ paxos spec\nmodels\n") : _PAGE.index("every model is as it should be")]
    rows = re.findall(r"^  ([a-z][\w-]+) +[\d,]+ +([\d,]+) ", quoted, re.MULTILINE)
    assert rows == [(model.name, f"{model.distinct:,}") for model in load_models() if not model.long]
