"""TLC for tests: the one that is here, or a skip that says what is missing.

With PAXOS_TEST_TLC=required, as `.ci/run` has it, what is missing is a failure.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from paxos.check.spec import spec_directory
from paxos.check.tlc import Tlc, find_tlc
from paxos.errors import ConfigurationError


def require_tlc() -> Tlc:
    """Java and TLC; skips the test without them, or fails it where they are required."""
    try:
        return find_tlc()
    except ConfigurationError as error:
        if os.environ.get("PAXOS_TEST_TLC") == "required":
            raise
        pytest.skip(f"the specifications are not checked: {error}")


def copy_specs(place: Path, edit: Callable[[str, str], str] = lambda name, text: text) -> Path:
    """A copy of the specifications in which `edit(name, text)` may have changed each file."""
    directory = place / "specs"
    shutil.copytree(spec_directory(), directory)
    for path in directory.iterdir():
        before = path.read_text(encoding="utf-8")
        after = edit(path.name, before)
        if after != before:
            path.write_text(after, encoding="utf-8")
    return directory
