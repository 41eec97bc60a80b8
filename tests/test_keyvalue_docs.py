"""docs/keyvalue.md: its program runs, and its tables have the operations and limits that there are."""

import inspect
import re
from pathlib import Path

import pytest

from paxos.command import MAX_COMMAND_BYTES, MAX_KEY_BYTES
from paxos.service import keyvalue_answers, keyvalue_requests
from paxos.service.keyvalue import KeyValue

# What they show does not depend on the interpreter.
pytestmark = pytest.mark.once

_PAGE = (Path(__file__).resolve().parents[1] / "docs" / "keyvalue.md").read_text(encoding="utf-8")


def test_the_program_runs() -> None:
    programs = re.findall(r"^```python\n(.*?)^```$", _PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {"__name__": "page"}
    for program in programs:
        exec(compile(program, "docs/keyvalue.md", "exec"), names)
    machine = names["machine"]
    assert isinstance(machine, KeyValue)
    assert machine.revision == 5


def test_the_requests_are_those_of_the_table() -> None:
    table = dict(re.findall(r"^\| `(\w+)(\(.*?\))` \|.*`\w+` \|$", _PAGE, re.MULTILINE))
    readers = re.findall(r"^\| `\w+\(.*?\)` \|.*`(\w+)` \|$", _PAGE, re.MULTILINE)
    assert len(table) == len(set(readers)) == 8
    for name, written in table.items():
        signature = inspect.signature(getattr(keyvalue_requests, name))
        bare = [
            str(each.replace(annotation=inspect.Parameter.empty)) for each in signature.parameters.values()
        ]
        assert written == f"({', '.join(bare)})"
    assert set(readers) <= set(keyvalue_answers.__all__)


def test_the_limits_are_those_of_the_table() -> None:
    assert f"1 to {MAX_KEY_BYTES} bytes" in _PAGE
    assert MAX_COMMAND_BYTES == 1 << 20
    assert f"| guards and requests in one transaction | {keyvalue_requests.MAX_OPERATIONS} |" in _PAGE
    assert f"| `limit` of a scan or page | {keyvalue_requests.MAX_LIMIT:,} |" in _PAGE
    held = inspect.signature(KeyValue).parameters
    assert f"The last {held['changes_held'].default:,} revisions" in _PAGE
    assert f"at most {held['changes_held_bytes'].default >> 20} MiB" in _PAGE
