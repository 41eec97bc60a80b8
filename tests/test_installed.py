"""What an import gives: the packages that are meant, whole, found by name, and light.

These tests run over the installed wheel (with PAXOS_TEST_WHEEL=1), where nothing of the source tree may be in
reach, and by a plain `pytest` over the source tree.
"""

import importlib
import importlib.metadata
import importlib.resources
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.public

PACKAGES = ("paxos", "multipaxos", "fastpaxos", "epaxos")
ROOT = Path(__file__).resolve().parents[1]

# What the roles must not drag in: they are to be used where there is no event loop, no network and no disk.
HEAVY = {"socket", "ssl", "select", "selectors", "sqlite3", "anyio", "asyncio", "trio"}


def _loaded_by(statement: str) -> set[str]:
    """Which of the heavy modules a fresh interpreter has after a statement and had not before."""
    code = f"import sys; before = set(sys.modules)\n{statement}\nprint(*(set(sys.modules) - before))"
    place = Path(importlib.import_module("paxos").__file__ or "").parents[1]
    environ = os.environ | {"PYTHONPATH": str(place)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return HEAVY & set(done.stdout.split())


@pytest.mark.parametrize("name", PACKAGES)
def test_it_is_the_code_that_is_meant(name: str) -> None:
    file = importlib.import_module(name).__file__
    assert file is not None
    place = Path(sysconfig.get_path("purelib")) if _is_wheel_run() else ROOT
    assert Path(file).resolve() == (place / name / "__init__.py").resolve()


@pytest.mark.parametrize("name", PACKAGES)
def test_a_package_says_that_it_is_typed(name: str) -> None:
    assert importlib.resources.files(name).joinpath("py.typed").is_file()


@pytest.mark.parametrize(
    "statement", ["import paxos", "import paxos; paxos.Acceptor, paxos.Proposer, paxos.Learner"]
)
def test_importing_a_role_loads_nothing_heavy(statement: str) -> None:
    assert _loaded_by(statement) == set()


def test_the_test_for_heavy_modules_finds_one() -> None:
    assert _loaded_by("import paxos, ssl") >= {"ssl", "socket"}


def test_the_distribution_names_the_protocols_and_the_command() -> None:
    if not (_is_installed() or _is_wheel_run()):
        pytest.skip("the project is not installed in this environment")
    distribution = importlib.metadata.distribution("paxos-family")
    assert distribution.metadata["License-Expression"] == "Apache-2.0"
    names = {(point.group, point.name) for point in distribution.entry_points}
    assert names >= {("paxos.protocols", "paxos"), ("console_scripts", "paxos")}
    for point in distribution.entry_points:
        assert point.load() is not None


def _is_wheel_run() -> bool:
    return os.environ.get("PAXOS_TEST_WHEEL") == "1"


def _is_installed() -> bool:
    try:
        importlib.metadata.distribution("paxos-family")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
