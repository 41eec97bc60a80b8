"""Which Pythons does this machine have?

A name on PATH proves little: a version manager puts shims there for versions that are not active, and they
fail when they are run. So every candidate is run once and says itself what it is, where its executable really
lives, and whether it can make a virtual environment. Of several patch releases of one version the newest
usable one is tested; the others are listed with the reason why not.
"""

import glob
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

SUPPORTED = ((3, 11), (3, 12), (3, 13))
PROBE_TIMEOUT_S = 30.0

# Run with -I, so that neither the working directory nor the environment decides what is imported. A virtual
# environment answers for the interpreter it was made from: environments are not nested.
_PROBE = """
import json, os, platform, sys, sysconfig
missing = []
needs = {"venv": "create", "ensurepip": "bootstrap", "sqlite3": "connect", "ssl": "SSLContext"}
for name, part in needs.items():
    try:
        getattr(__import__(name), part)
    except (ImportError, AttributeError):  # an empty directory can be imported too, but has no parts
        missing.append(name)
print(json.dumps({
    "path": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "version": list(sys.version_info[:3]),
    "release": sys.version_info.releaselevel,
    "implementation": platform.python_implementation(),
    "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    "missing": missing,
}))
"""


class Interpreter(NamedTuple):
    """One Python that runs: the real path of its executable, and its version as (major, minor, patch)."""

    path: str
    version: tuple[int, int, int]

    @property
    def minor(self) -> str:
        """The version that names its environment: `3.11`."""
        return f"{self.version[0]}.{self.version[1]}"

    @property
    def full(self) -> str:
        """The whole version: `3.11.7`."""
        return ".".join(str(part) for part in self.version)

    def __str__(self) -> str:
        """The version and the path, as the output of the command names it."""
        return f"{self.full}  {self.path}"


class Found(NamedTuple):
    """What a search gave: the interpreters to test, lowest version first, and those left out and why."""

    chosen: list[Interpreter]
    left_out: list[tuple[str, str]]


def candidates(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Paths where a supported Python may be: this one, PATH, pyenv's and uv's directories; each once."""
    names = [f"python{major}.{minor}" for major, minor in SUPPORTED] + ["python3", "python"]
    home = environ.get("HOME") or os.path.expanduser("~")
    pyenv = environ.get("PYENV_ROOT") or os.path.join(home, ".pyenv")
    data = environ.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
    uv = environ.get("UV_PYTHON_INSTALL_DIR") or os.path.join(data, "uv", "python")
    paths = [sys.executable]
    for directory in environ.get("PATH", "").split(os.pathsep):
        paths += [os.path.join(directory, name) for name in names if directory]
    paths += sorted(glob.glob(os.path.join(glob.escape(pyenv), "versions", "*", "bin", "python3")))
    paths += sorted(glob.glob(os.path.join(glob.escape(uv), "cpython-3.*", "bin", "python3")))
    return list(dict.fromkeys(path for path in paths if os.access(path, os.X_OK) and not os.path.isdir(path)))


def probe(path: str) -> tuple[Interpreter | None, str]:
    """Run one candidate. Gives the interpreter (None when it does not run) and why it is no use, or ""."""
    try:
        answer = subprocess.run(
            [path, "-I", "-c", _PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=True,
        )
        facts = json.loads(answer.stdout)
        major, minor, patch = facts["version"]
        interpreter = Interpreter(facts["path"], (major, minor, patch))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return None, "does not run"
    if facts["implementation"] != "CPython":
        return interpreter, f"is {facts['implementation']}, not CPython"
    if facts["release"] != "final":
        return interpreter, f"is a pre-release ({facts['release']})"
    if facts["free_threaded"]:
        return interpreter, "is a free-threaded build"
    if facts["missing"]:
        advice = " (on Debian: apt-get install python3-venv)" if "ensurepip" in facts["missing"] else ""
        return interpreter, f"has no {', no '.join(facts['missing'])}{advice}"
    return interpreter, ""


def choose(probed: Iterable[tuple[Interpreter, str]]) -> Found:
    """Of everything that ran, one interpreter for each supported version: the newest patch that is of use."""
    best: dict[tuple[int, int], Interpreter] = {}
    usable: list[Interpreter] = []
    left_out: list[tuple[str, str]] = []
    for interpreter, reason in dict(probed).items():
        if interpreter.version[:2] not in SUPPORTED:
            continue
        if reason:
            left_out.append((str(interpreter), reason))
            continue
        usable.append(interpreter)
        other = best.get(interpreter.version[:2])
        if other is None or other.version < interpreter.version:
            best[interpreter.version[:2]] = interpreter
    for interpreter in usable:
        chosen = best[interpreter.version[:2]]
        if interpreter is not chosen:
            left_out.append((str(interpreter), f"{chosen.full} stands for {chosen.minor}"))
    return Found([best[key] for key in sorted(best)], left_out)


def find(wanted: Sequence[str] = (), environ: Mapping[str, str] = os.environ) -> Found:
    """The interpreters to test.

    `wanted` limits them: versions as `3.12`, or paths of executables, which are then taken even if a newer
    patch is there. Raises LookupError, with a sentence for the user, when one that is wanted is not of use or
    none is at all.
    """
    named = [_named(text) for text in wanted if os.sep in text]
    versions = {text for text in wanted if os.sep not in text}
    if named and not versions:
        return Found(sorted(set(named), key=lambda one: one.version), [])
    probed = [probe(path) for path in candidates(environ)]
    found = choose((one, reason) for one, reason in probed if one is not None)
    chosen = [one for one in found.chosen if not versions or one.minor in versions]
    absent = sorted(versions - {one.minor for one in chosen})
    if absent or not chosen:
        what = ", ".join(absent) or "of " + ", ".join(f"{major}.{minor}" for major, minor in SUPPORTED)
        reasons = [f"  {one}: {reason}" for one, reason in found.left_out]
        raise LookupError("\n".join([f"no usable Python {what} on this machine", *reasons]))
    return Found(sorted({*named, *chosen}, key=lambda one: one.version), found.left_out)


def absent_versions(found: Found) -> list[str]:
    """The supported versions of which there is no usable interpreter."""
    have = {one.version[:2] for one in found.chosen}
    return [f"{major}.{minor}" for major, minor in SUPPORTED if (major, minor) not in have]


def _named(path: str) -> Interpreter:
    interpreter, reason = probe(path)
    if interpreter is None or reason:
        raise LookupError(f"{path} {reason}")
    if interpreter.version[:2] not in SUPPORTED:
        raise LookupError(f"{path} is Python {interpreter.full}, which is not supported")
    return interpreter
