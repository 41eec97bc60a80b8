"""The rules of the house, as functions over a directory that give complaints; none imports the code.

tests/test_house.py applies every rule to the project, where it must find nothing, and to a small planted
breach, where it must find something. A complaint names the file and line, what is there and what should be
instead.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, get_origin

PACKAGES = ("paxos", "multipaxos", "fastpaxos", "epaxos")
LINES_OF_FILE_MAX = 700
LINES_OF_FUNCTION_MAX = 69

# The floors of the house, lowest first; a line is a floor, a tuple in it a room. What is in one room may
# import the same room and every floor below, never a room beside it. Nobody inside imports the roof, `paxos`.
WORDS = ("paxos.errors", "paxos.ballot", "paxos.quorum", "paxos.command", "paxos.wire")
FLOORS: tuple[tuple[tuple[str, ...], ...], ...] = (
    (WORDS,),
    (("paxos.contract",),),
    (("paxos.basic",),),
    (("multipaxos",), ("fastpaxos",), ("epaxos",)),
    (("paxos.service", "paxos.keyvalue"),),
    (("paxos.runtime",), ("paxos.sim",)),
    (("paxos.check",),),
    (("paxos.compare",), ("paxos.testing",)),
    (("paxos.cli", "paxos.__main__"),),
)
ROOF = "paxos"

# Below the drivers everything is a function of its inputs.
IMPURE = frozenset(
    {
        *("time", "datetime", "sched"),
        *("random", "secrets", "uuid"),
        *("socket", "ssl", "select", "selectors", "socketserver"),
        *("asyncio", "anyio", "trio", "uvloop", "threading", "concurrent", "queue"),
        *("multiprocessing", "subprocess", "signal"),
        *("os", "pathlib", "shutil", "tempfile", "sqlite3", "dbm"),
    }
)
IMPURE_CALLS = frozenset({"open", "input", "print"})
PURE_BELOW = "paxos.runtime"

# Formats that run code, or trust what they read.
UNSAFE_FORMATS = frozenset({"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle"})

# What a finished text does not hold: notes to oneself, and places that only one machine has. They are put
# together here, or this file would be the first to be complained about.
FORBIDDEN = tuple(
    left + right
    for left, right in (
        ("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK"), ("../sha", "red"), ("shared/de", "sign"),
        ("shared/proto", "cols"), ("shared/da", "ta"), ("design", ".md"), ("protocols", ".md"),
        ("/wo", "rk/"), ("/ro", "ot/"), ("pypi", ".org"), ("npmjs", ".org"), ("pythonhosted", ".org"),
    )
)  # fmt: skip
TEXTS = ("*.py", "*.md", "*.toml", "*.txt", "*.tla", "*.cfg", "*.json", "*.yml", "*.yaml", "*.sh", ".ci/run")
NOT_OURS = frozenset(
    {".git", ".venv", ".venvs", "build", "dist", "__pycache__", ".hypothesis", "node_modules"}
)


class Imported(NamedTuple):
    """One import: the line it is on, and the dotted name of the module that it names."""

    line: int
    module: str


def modules(root: Path, packages: Iterable[str] = PACKAGES) -> Iterator[tuple[Path, str, ast.Module]]:
    """Every module of the packages under `root`: its path, its dotted name and its syntax tree."""
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            if NOT_OURS.isdisjoint(path.relative_to(root).parts):
                parts = path.relative_to(root).with_suffix("").parts
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                yield path, name, ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(root: Path, path: Path, tree: ast.Module) -> Iterator[Imported]:
    """Every module that a file imports, anywhere in it; `from a import b` names a.b when that is a module."""
    package = path.relative_to(root).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Imported(node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                yield Imported(node.lineno, inner if _is_module(root, inner) else module)
        elif isinstance(node, ast.Call) and _called(node) in ("import_module", "__import__"):
            for argument in node.args[:1]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    yield Imported(node.lineno, argument.value)


def _is_module(root: Path, name: str) -> bool:
    place = root.joinpath(*name.split("."))
    return place.with_suffix(".py").exists() or place.is_dir()


def _called(node: ast.Call) -> str:
    """The last name of what is called: `raises` of pytest.raises(...)."""
    if isinstance(node.func, ast.Attribute):
        return node.func.attr
    return node.func.id if isinstance(node.func, ast.Name) else ""


def _inside(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(prefix + ".")


def _room(name: str) -> tuple[int, int] | None:
    """Where a module lives, as (floor, room); None for a name that has no place, such as the roof's."""
    for floor, rooms in enumerate(FLOORS):
        for number, room in enumerate(rooms):
            if any(_inside(name, prefix) for prefix in room):
                return floor, number
    return None


def complain_about_floors(root: Path) -> list[str]:
    """A module imports its own room and lower floors only."""
    complaints = []
    for path, name, tree in modules(root):
        here = _room(name)
        if name == ROOF:
            continue
        if here is None:
            complaints.append(f"{path}: {name} has no floor; give it one in tests/house.py or move it")
            continue
        for line, imported in imports(root, path, tree):
            if imported.split(".")[0] not in PACKAGES:
                continue
            there = _room(imported)
            if there is None:
                what = "the roof" if imported == ROOF else "a module without a floor"
                complaints.append(f"{path}:{line}: {name} imports {what} ({imported})")
            elif there != here and there[0] >= here[0]:
                where = "a neighbour" if there[0] == here[0] else "a higher floor"
                complaints.append(f"{path}:{line}: {name} imports {where} ({imported})")
    return complaints


def complain_about_purity(root: Path) -> list[str]:
    """No clock, socket, disk, thread, event loop or randomness below the drivers' floor."""
    complaints = []
    drivers = _room(PURE_BELOW)
    assert drivers is not None
    for path, name, tree in modules(root):
        here = _room(name)
        if here is None or here[0] >= drivers[0]:
            continue
        for line, imported in imports(root, path, tree):
            if imported.split(".")[0] in IMPURE:
                complaints.append(f"{path}:{line}: {name} imports {imported} below the drivers' floor")
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in IMPURE_CALLS
            ):
                complaints.append(
                    f"{path}:{node.lineno}: {name} calls {node.func.id}() below the drivers' floor"
                )
    return complaints


def complain_about_formats(root: Path) -> list[str]:
    """No format that runs what it reads."""
    return [
        f"{path}:{line}: {imported} is not safe to read: use paxos.wire"
        for path, _, tree in modules(root, (*PACKAGES, "tests"))
        for line, imported in imports(root, path, tree)
        if imported.split(".")[0] in UNSAFE_FORMATS
    ]


def complain_about_sizes(root: Path) -> list[str]:
    """A file is one room of at most 700 lines, a function is under 70."""
    complaints = []
    for path, _, tree in modules(root, (*PACKAGES, "tests")):
        length = len(path.read_text(encoding="utf-8").splitlines())
        if length > LINES_OF_FILE_MAX:
            complaints.append(f"{path}: {length} lines; a file has at most {LINES_OF_FILE_MAX}")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LINES_OF_FUNCTION_MAX:
                    limit = f"a function has at most {LINES_OF_FUNCTION_MAX}"
                    complaints.append(f"{path}:{node.lineno}: {node.name} has {length} lines; {limit}")
    return complaints


def complain_about_headers(root: Path) -> list[str]:
    """Every module explains itself before it begins, and every directory of modules is a package."""
    complaints = []
    for path, _, tree in modules(root):
        if not (ast.get_docstring(tree) or "").strip():
            complaints.append(f"{path}: no docstring says what this module is")
        if not (path.parent / "__init__.py").exists():
            complaints.append(f"{path}: its directory has no __init__.py")
    return complaints


def complain_about_stubs(root: Path) -> list[str]:
    """Nothing in the packages is promised and not there; a method that a user must write says what to do."""
    complaints = []
    for path, _, tree in modules(root):
        explained = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args}
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and node.id == "NotImplementedError" and id(node) not in explained:
                complaints.append(f"{path}:{node.lineno}: NotImplementedError; write it or leave it out")
    return complaints


def complain_about_tests(root: Path) -> list[str]:
    """Every test asserts something: itself, or through a helper whose name says so."""
    complaints = []
    for path, _, tree in modules(root, ["tests"]):
        if not path.name.startswith("test_"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                if not any(_asserts(each) for each in ast.walk(node)):
                    complaints.append(f"{path}:{node.lineno}: {node.name} asserts nothing")
    return complaints


def _asserts(node: ast.AST) -> bool:
    if isinstance(node, ast.Assert):
        return not isinstance(node.test, ast.Constant)
    if not isinstance(node, ast.Call):
        return False
    name = _called(node)
    return name in ("raises", "warns", "fail", "run_state_machine_as_test") or name.lstrip("_").startswith(
        ("check_", "assert_")
    )


def complain_about_words(root: Path) -> list[str]:
    """No note to oneself and no place of one machine in any text of the project."""
    pattern = re.compile(
        "|".join(rf"(?<![A-Za-z]){re.escape(word)}(?![A-Za-z])" for word in _bare(FORBIDDEN))
    )
    complaints = []
    for path in texts(root):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found = pattern.search(line)
            if found:
                complaints.append(f"{path}:{number}: {found.group()!r} does not belong in the project")
    return complaints


def _bare(words: Iterable[str]) -> Iterator[str]:
    return (word.rstrip("/") for word in words)


def texts(root: Path) -> Iterator[Path]:
    """Every text of the project, what is built or installed in its directory left out."""
    for pattern in TEXTS:
        for path in sorted(root.rglob(pattern)):
            if path.is_file() and NOT_OURS.isdisjoint(path.relative_to(root).parts):
                yield path


def complain_about_exports(module: ModuleType) -> list[str]:
    """`__all__` is there, every name in it exists once, is public, and says what it is."""
    name = module.__name__
    exported = getattr(module, "__all__", None)
    if not isinstance(exported, list | tuple):
        return [f"{name}: no __all__"]
    complaints = [
        f"{name}.{each}: twice in __all__" for each in sorted(set(exported)) if exported.count(each) > 1
    ]
    for each in exported:
        if each.startswith("_") and each != "__version__":
            complaints.append(f"{name}.{each}: in __all__, but named as private")
        try:
            value = getattr(module, each)
        except AttributeError:
            complaints.append(f"{name}.{each}: in __all__, but not there")
            continue
        if (isinstance(value, type) or callable(value)) and not _says_what_it_is(each, value):
            complaints.append(f"{name}.{each}: no docstring of its own")
    return complaints


def _says_what_it_is(name: str, value: object) -> bool:
    # An inherited docstring speaks of another class, and a generated one repeats the signature. An alias of
    # a type has no place for a docstring of its own.
    if get_origin(value) is not None or getattr(value, "__name__", None) != name:
        return True
    text = vars(value).get("__doc__") if isinstance(value, type) else value.__doc__
    return bool(text and text.strip()) and not str(text).startswith(f"{name}(")
