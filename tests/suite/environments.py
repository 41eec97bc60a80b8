"""One virtual environment for each interpreter, and the wheel that is installed there.

An environment lives in `.venvs/` and is used again as long as the interpreter and the requirements are the
same: a stamp, written last, says what it was made for, so one that was interrupted half-way is made anew. The
requirements are read from pyproject.toml (the project's dependencies, and the dependency groups of PEP 735,
which the pip that comes with Python 3.11 does not know yet). The project itself is installed as the wheel
that was just built, never as the source tree; that is what gives the environment the `paxos` command and the
entry points.
"""

import hashlib
import json
import os
import shutil
import subprocess
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.suite.interpreters import Interpreter

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
PACKAGES = ("paxos", "multipaxos", "fastpaxos", "epaxos")
STAMP = "made-for.json"

# What would make a child look at another environment, or at sources it is not meant to see.
_UNWANTED = ("PYTHONPATH", "PYTHONHOME", "PYTHONSAFEPATH", "VIRTUAL_ENV", "PYTEST_ADDOPTS", "PYTHONWARNINGS")


class SetUpFailed(Exception):
    """An environment or the wheel could not be made; the text is for the user."""


class Environment(NamedTuple):
    """A virtual environment that is ready: its directory, and the interpreter it was made from."""

    directory: Path
    interpreter: Interpreter

    @property
    def python(self) -> str:
        """The path of its Python."""
        return str(self.directory / ("Scripts" if os.name == "nt" else "bin") / "python")


def child_environ(**more: str) -> dict[str, str]:
    """The environment variables for a child process: this process's, less what would lead it astray."""
    return {key: value for key, value in os.environ.items() if key not in _UNWANTED} | more


def requirements(project: Mapping[str, Any], groups: Sequence[str]) -> list[str]:
    """The project's dependencies and those of the named groups, as pip takes them; each once."""
    lines = list(project["project"]["dependencies"])
    for group in groups:
        lines += _group(project["dependency-groups"], group)
    return list(dict.fromkeys(lines))


def _group(groups: Mapping[str, Any], name: str) -> Iterator[str]:
    for entry in groups[name]:
        if isinstance(entry, str):
            yield entry
        else:
            yield from _group(groups, entry["include-group"])


def read_project() -> dict[str, Any]:
    """What pyproject.toml says."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        return tomllib.load(file)


def prepare(interpreter: Interpreter, groups: Sequence[str], *, fresh: bool = False) -> Environment:
    """Make the environment of one interpreter, or find it as made before.

    Raises SetUpFailed when it can not be made, or when what the groups need can not be installed.
    """
    needs = requirements(read_project(), groups)
    environment = Environment(ROOT / ".venvs" / f"{interpreter.full}-{'-'.join(groups)}", interpreter)
    stamp = environment.directory / STAMP
    made_for = json.dumps({"python": interpreter.path, "version": interpreter.full, "needs": needs})
    name = environment.directory.relative_to(ROOT)
    if not fresh and _read(stamp) == made_for and os.access(environment.python, os.X_OK):
        say(f"{name}: used again, its requirements are unchanged")
        return environment
    shutil.rmtree(environment.directory, ignore_errors=True)
    say(f"{name}: made with {interpreter.path}")
    call(
        [interpreter.path, "-m", "venv", str(environment.directory)],
        "a virtual environment could not be made",
    )
    say(f"{name}: installing from the package index (needs the network): {', '.join(needs)}")
    pip(environment, "install", "-qq", *needs)
    stamp.write_text(made_for)
    return environment


def build_wheel(environment: Environment) -> Path:
    """Build the source distribution, and the wheel from it; give the wheel's path.

    That way round, a file which the source distribution lacks is missed here and not by a user. Raises
    SetUpFailed when the build fails or the wheel does not hold what it should.
    """
    shutil.rmtree(BUILD / "dist", ignore_errors=True)
    command = ["-m", "build", "--no-isolation", "--outdir", str(BUILD / "dist"), str(ROOT)]
    # Not from the root: there a directory called build would be imported instead of the tool of that name.
    BUILD.mkdir(exist_ok=True)
    call([environment.python, *command], "the wheel could not be built", cwd=BUILD, quiet=True)
    (wheel,) = (BUILD / "dist").glob("*.whl")
    complaints = complain_about_wheel(zipfile.ZipFile(wheel).namelist())
    if complaints:
        raise SetUpFailed(f"{wheel.name} is not as it should be:\n  " + "\n  ".join(complaints))
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()[:12]
    say(f"{wheel.relative_to(ROOT)}: {wheel.stat().st_size // 1024} KiB, sha256 {digest}...")
    return wheel


def complain_about_wheel(names: Sequence[str]) -> list[str]:
    """What is wrong with a wheel that holds files of these names, in sentences; nothing when all is well."""
    complaints = [
        f"{name} is missing" for name in (f"{package}/py.typed" for package in PACKAGES) if name not in names
    ]
    complaints += [
        f"{package}/__init__.py is missing" for package in PACKAGES if f"{package}/__init__.py" not in names
    ]
    tops = {name.split("/")[0] for name in names}
    complaints += [f"{top} should not be there" for top in sorted(tops) if not _belongs(top)]
    if not any(".dist-info/" in name and name.endswith("/LICENSE") for name in names):
        complaints.append("the LICENSE is missing")
    if not any(name.endswith(".dist-info/entry_points.txt") for name in names):
        complaints.append("the entry points are missing")
    return complaints


def _belongs(top: str) -> bool:
    return top in PACKAGES or top.endswith(".dist-info")


def install_wheel(environment: Environment, wheel: Path) -> None:
    """Put this wheel in the place of whatever was there of the project, and check the dependencies."""
    pip(environment, "install", "-qq", "--no-deps", "--force-reinstall", str(wheel))
    pip(environment, "check", quiet=True)


def pip(environment: Environment, *arguments: str, quiet: bool = False) -> None:
    """Run the environment's own pip. Raises SetUpFailed when it fails."""
    options = ["--disable-pip-version-check", "--no-input"]
    command = [environment.python, "-m", "pip", *options, *arguments]
    call(command, f"pip {arguments[0]} failed; is the package index within reach?", quiet=quiet)


def call(command: Sequence[str], trouble: str, *, cwd: Path = ROOT, quiet: bool = False) -> None:
    """Run a command of the set-up; a quiet one is heard only when it fails. Raises SetUpFailed(`trouble`)."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=child_environ(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
        errors="replace",
    )
    if done.returncode:
        heard = f"\n{done.stdout}" if quiet else ""
        raise SetUpFailed(f"{trouble} (exit {done.returncode}: {' '.join(command)}){heard}")


def say(text: str) -> None:
    """Tell the user at once, also through a pipe."""
    print(f"  {text}", flush=True)


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None
