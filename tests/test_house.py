"""The house keeps its own rules; and each rule, shown a breach of itself, finds it."""

import importlib
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import house

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[1]

Rule = Callable[[Path], Sequence[str]]
RULES: list[Rule] = [
    house.complain_about_floors,
    house.complain_about_purity,
    house.complain_about_formats,
    house.complain_about_sizes,
    house.complain_about_headers,
    house.complain_about_stubs,
    house.complain_about_tests,
    house.complain_about_words,
]


class Breach(NamedTuple):
    """A tree of files that breaks one rule, and what the complaint must name; None if it breaks none."""

    rule: Rule
    files: dict[str, str]
    finds: str | None


_LONG_FUNCTION = "def long() -> None:\n" + "    x = 1\n" * 69
_FULL_FUNCTION = "def full() -> None:\n" + "    x = 1\n" * 68
BREACHES = {
    "higher floor": Breach(
        house.complain_about_floors, {"paxos/ballot.py": "from paxos.contract import Replica"}, "higher floor"
    ),
    "higher floor, later": Breach(
        house.complain_about_floors,
        {"paxos/basic/replica.py": "def f():\n    import paxos.runtime.node"},
        "replica.py:2: paxos.basic.replica imports a higher floor",
    ),
    "higher floor, relative": Breach(
        house.complain_about_floors,
        {"paxos/contract/roles.py": "from ..service import node", "paxos/service/node.py": ""},
        "higher floor (paxos.service.node)",
    ),
    "higher floor, by name": Breach(
        house.complain_about_floors,
        {"paxos/contract/roles.py": "import importlib\nimportlib.import_module('paxos.cli')"},
        "higher floor",
    ),
    "neighbour": Breach(house.complain_about_floors, {"epaxos/replica.py": "import multipaxos"}, "neighbour"),
    "neighbouring driver": Breach(
        house.complain_about_floors, {"paxos/sim/run.py": "from paxos.runtime import store"}, "neighbour"
    ),
    "roof": Breach(
        house.complain_about_floors, {"paxos/cli/main.py": "from paxos import Ballot"}, "the roof"
    ),
    "no floor": Breach(
        house.complain_about_floors, {"paxos/attic/box.py": ""}, "paxos.attic.box has no floor"
    ),
    "floors as they should be": Breach(
        house.complain_about_floors,
        {
            "paxos/__init__.py": "from paxos.cli import main",
            "paxos/quorum.py": "from paxos.errors import PaxosError\nimport math",
            "epaxos/acceptor.py": "from paxos.basic.acceptor import Acceptor\nfrom .messages import Accept",
            "paxos/runtime/node.py": "from paxos import ballot\nimport anyio",
            "paxos/ballot.py": "",
        },
        None,
    ),
    "clock": Breach(house.complain_about_purity, {"paxos/basic/proposer.py": "import time"}, "imports time"),
    "randomness": Breach(
        house.complain_about_purity, {"epaxos/recovery.py": "from random import random"}, "imports random"
    ),
    "event loop": Breach(
        house.complain_about_purity, {"paxos/service/node.py": "import asyncio.locks"}, "imports asyncio"
    ),
    "disk": Breach(house.complain_about_purity, {"paxos/wire.py": "x = open('x')"}, "calls open()"),
    "a clock in a driver": Breach(
        house.complain_about_purity, {"paxos/runtime/node.py": "import time"}, None
    ),
    "pickle": Breach(
        house.complain_about_formats, {"paxos/sim/trace.py": "from pickle import loads"}, "pickle"
    ),
    "pickle in a test": Breach(house.complain_about_formats, {"tests/test_x.py": "import pickle"}, "pickle"),
    "long file": Breach(house.complain_about_sizes, {"paxos/wire.py": "x = 1\n" * 701}, "701 lines"),
    "file just not too long": Breach(house.complain_about_sizes, {"paxos/wire.py": "x = 1\n" * 700}, None),
    "long function": Breach(
        house.complain_about_sizes, {"paxos/wire.py": _LONG_FUNCTION}, "long has 70 lines"
    ),
    "function just not too long": Breach(house.complain_about_sizes, {"paxos/wire.py": _FULL_FUNCTION}, None),
    "no header": Breach(
        house.complain_about_headers,
        {"paxos/wire.py": "x = 1", "paxos/__init__.py": "'Here.'"},
        "wire.py: no docstring",
    ),
    "no package": Breach(
        house.complain_about_headers, {"paxos/cli/main.py": "'Here.'"}, "its directory has no __init__.py"
    ),
    "stub": Breach(
        house.complain_about_stubs, {"paxos/wire.py": "def f():\n    raise NotImplementedError"}, "wire.py:2"
    ),
    "a method that a user must write": Breach(
        house.complain_about_stubs,
        {"paxos/testing/stores.py": "raise NotImplementedError('define it')"},
        None,
    ),
    "test without an assertion": Breach(
        house.complain_about_tests,
        {"tests/test_x.py": "def test_it():\n    print(1)"},
        "test_it asserts nothing",
    ),
    "test that asserts a constant": Breach(
        house.complain_about_tests,
        {"tests/test_x.py": "async def test_it():\n    assert True"},
        "asserts nothing",
    ),
    "test in a class": Breach(
        house.complain_about_tests,
        {"tests/deep/test_x.py": "class TestIt:\n    def test_it(self):\n        f()"},
        "asserts nothing",
    ),
    "tests that assert": Breach(
        house.complain_about_tests,
        {
            "tests/test_x.py": "def test_a():\n    assert f() == 1\ndef test_b():\n    check_all(1)\n"
            "def test_c():\n    with pytest.raises(ValueError):\n        f()\n",
            "tests/conftest.py": "def test_name():\n    return 1",
        },
        None,
    ),
    "note to oneself": Breach(
        house.complain_about_words, {"paxos/wire.py": "# TO" + "DO: later"}, "wire.py:1"
    ),
    "one machine's place": Breach(
        house.complain_about_words, {"README.md": "see /wo" + "rk/x"}, "README.md:1"
    ),
    "a word that holds a word": Breach(
        house.complain_about_words, {"README.md": "THE-METHO" + "DOLOGY"}, None
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_the_rule(rule: Rule) -> None:
    complaints = rule(ROOT)
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("breach", BREACHES.values(), ids=BREACHES)
def test_a_rule_finds_its_breach_and_nothing_else(breach: Breach, tmp_path: Path) -> None:
    for name, text in breach.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    complaints = breach.rule(tmp_path)
    if breach.finds is None:
        assert list(complaints) == []
    else:
        assert len(complaints) == 1
        assert breach.finds in complaints[0]


def test_every_rule_has_a_breach_planted() -> None:
    assert {breach.rule for breach in BREACHES.values() if breach.finds} == set(RULES)


def test_the_rules_look_at_every_file_of_the_project() -> None:
    seen = {path for path, _, _ in house.modules(ROOT, (*house.PACKAGES, "tests"))}
    assert ROOT / "paxos" / "ballot.py" in seen
    assert Path(__file__) in seen
    assert len(seen) == len([p for name in (*house.PACKAGES, "tests") for p in (ROOT / name).rglob("*.py")])
    assert {path.name for path in house.texts(ROOT)} >= {"pyproject.toml", "README.md", "run"}


def _packages_with_exports() -> list[str]:
    """Every package of the project that is not private, by its dotted name."""
    paths = [path for package in house.PACKAGES for path in sorted((ROOT / package).rglob("__init__.py"))]
    names = [".".join(path.parent.relative_to(ROOT).parts) for path in paths]
    return [name for name in names if not any(part.startswith("_") for part in name.split("."))]


@pytest.mark.parametrize("name", _packages_with_exports())
def test_a_package_says_what_it_exports(name: str) -> None:
    complaints = house.complain_about_exports(importlib.import_module(name))
    assert not complaints, "\n".join(complaints)


class _Documented:
    """Says what it is."""


class _Heir(_Documented):
    pass


class _Generated(NamedTuple):
    field: int


def _silent() -> None:
    pass


@pytest.mark.parametrize(
    ("names", "finds"),
    [
        ({}, "no __all__"),
        ({"__all__": ["absent"]}, "absent: in __all__, but not there"),
        ({"__all__": ["One", "One"], "One": _Documented}, "One: twice"),
        ({"__all__": ["_private"], "_private": _Documented}, "named as private"),
        ({"__all__": ["_Heir"], "_Heir": _Heir}, "_Heir: no docstring"),
        ({"__all__": ["_Generated"], "_Generated": _Generated}, "_Generated: no docstring"),
        ({"__all__": ["_silent"], "_silent": _silent}, "_silent: no docstring"),
        ({"__all__": ["One", "LIMIT"], "One": _Documented, "LIMIT": 3}, None),
        ({"__all__": ["Alias", "Other"], "Alias": Callable[[int], str], "Other": _Heir}, None),
    ],
)
def test_a_breach_of_the_exports_is_found(names: dict[str, object], finds: str | None) -> None:
    module = types.ModuleType("planted")
    vars(module).update(names)
    complaints = house.complain_about_exports(module)
    if finds is None:
        assert complaints == []
    else:
        assert any(finds in complaint for complaint in complaints)
