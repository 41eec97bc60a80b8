"""The specifications: which models there are, whether TLC finds them right, and whether the code fits.

`specs/` holds TLA+ modules and `models.toml`, the list of models.  It is part of an installation (inside the
package), and in a source tree it lies beside the packages.

A model is right when TLC finishes it without an error, and with as many distinct states as the list says,
where it says so: a specification that lost half of its behaviours by a slip has no error either.  For that
reason an action that no model ever takes is an error, and so is an action without a handler in the code that
tells of it, or the reverse.
"""

import importlib.resources
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from paxos.check.tlaplus import Function, show
from paxos.check.tlc import State, Tlc, TlcReport
from paxos.contract import Specification
from paxos.errors import ConfigurationError

__all__ = [
    "Model",
    "ModelResult",
    "check_actions",
    "check_model",
    "check_models",
    "describe_counterexample",
    "describe_state",
    "load_models",
    "spec_directory",
    "steps_of",
    "work_directory",
]

_MANIFEST: Final = "models.toml"
_MAX_MODELS: Final = 1000


@attrs.frozen
class Model:
    """One model.

    Args:
        name: what people type.
        module: the module that TLC is given.
        config: its .cfg file.
        actions_of: the module whose actions it takes.
        about: what it is, in a sentence.
        distinct: how many distinct states it has, if that is known.
        long: left out unless asked for.
    """

    name: str
    module: str
    config: str
    actions_of: str
    about: str
    distinct: int | None = None
    long: bool = False


@attrs.frozen
class ModelResult:
    """What came of a model.

    Args:
        model: which.
        report: what TLC gave.
        verdict: TLC's, or "miscounted" when the number of states is not the known one.
        sentence: what is wrong, or what holds.
    """

    model: Model
    report: TlcReport
    verdict: str
    sentence: str

    @property
    def ok(self) -> bool:
        """Whether the model is as it should be."""
        return self.verdict == "ok"

    def to_json(self) -> dict[str, Any]:
        """As JSON carries it."""
        report = self.report
        return {
            "model": self.model.name,
            "module": self.model.module,
            "config": self.model.config,
            "ok": self.ok,
            "verdict": self.verdict,
            "sentence": self.sentence,
            "states": report.generated,
            "distinct": report.distinct,
            "expected": self.model.distinct,
            "depth": report.depth,
            "seconds": round(report.duration_s, 3),
            "exit_code": report.exit_code,
            "actions": {name: {"new": new, "taken": n} for name, (new, n) in report.actions.items()},
            "counterexample": [
                {"action": action, **arguments} for action, arguments in steps_of(report.counterexample)
            ],
        }


# --- where they are ---------------------------------------------------------------------------------


def spec_directory() -> Path:
    """Where the modules are: inside the installed package, or beside it in a source tree.

    Raises:
        ConfigurationError: neither; the installation is not whole.
    """
    package = Path(str(importlib.resources.files("paxos")))
    inside, beside = package / "specs", package.parent / "specs"
    if (inside / _MANIFEST).is_file():
        return inside
    if (beside / _MANIFEST).is_file():
        return beside
    raise ConfigurationError(f"no specifications in {inside} nor in {beside}: install the package again")


def load_models(directory: Path | None = None) -> tuple[Model, ...]:
    """The list of models.

    Args:
        directory: where the modules are; None for the ones that came with the package.

    Raises:
        ConfigurationError: the list can not be read, or an entry is not as it should be.
    """
    path = (directory or spec_directory()) / _MANIFEST
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: can not be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: not TOML: {error}") from error
    entries = data.get("model")
    if data.keys() != {"model"} or not isinstance(entries, list) or not 0 < len(entries) <= _MAX_MODELS:
        raise ConfigurationError(f"{path}: expected entries [[model]] and nothing else")
    models = tuple(_model(entry, f"{path}: model {at}") for at, entry in enumerate(entries, 1))
    if len({model.name for model in models}) < len(models):
        raise ConfigurationError(f"{path}: two models have one name")
    return models


def _model(entry: Mapping[str, object], where: str) -> Model:
    known = {field.name: field for field in attrs.fields(Model)}
    for name, value in entry.items():
        if name not in known:
            raise ConfigurationError(f"{where}: unknown key {name!r:.60}; known are {', '.join(known)}")
        kind = {"distinct": int, "long": bool}.get(name, str)
        if type(value) is not kind:
            raise ConfigurationError(f"{where}: {name}: expected {kind.__name__}, got {value!r:.60}")
    missing = [name for name, field in known.items() if field.default is attrs.NOTHING and name not in entry]
    if missing:
        raise ConfigurationError(f"{where}: {missing[0]} is missing")
    return Model(**entry)  # type: ignore[arg-type]


@contextmanager
def work_directory(source: Path | None = None) -> Iterator[Path]:
    """A fresh directory that holds a copy of the modules, for one run of TLC."""
    with tempfile.TemporaryDirectory(prefix="paxos-spec-") as name:
        place = Path(name)
        for path in sorted((source or spec_directory()).iterdir()):
            if path.suffix in (".tla", ".cfg"):
                shutil.copy(path, place / path.name)
        yield place


# --- checking models ----------------------------------------------------------------------------------


def check_model(
    tlc: Tlc,
    model: Model,
    *,
    directory: Path | None = None,
    workers: int = 1,
    timeout_s: float = 3600.0,
    on_progress: Callable[[int], None] | None = None,
) -> ModelResult:
    """Run TLC on one model and judge.

    Args:
        tlc: Java and TLC.
        model: which.
        directory: where the modules are; None for the ones that came with the package.
        workers: threads of TLC.
        timeout_s: seconds after which it is ended.
        on_progress: called with the number of distinct states so far, now and then.

    Raises:
        ConfigurationError: Java does not start, or a file is missing.
    """
    with work_directory(directory) as place:
        for name in (f"{model.module}.tla", model.config):
            if not (place / name).is_file():
                raise ConfigurationError(f"model {model.name}: there is no {name} among the specifications")
        report = tlc.run(
            place,
            model.module,
            model.config,
            workers=workers,
            brief=not model.long,
            timeout_s=timeout_s,
            on_progress=on_progress,
        )
    if report.ok and model.distinct is not None and report.distinct != model.distinct:
        what = f"{report.distinct} distinct states, where {model.distinct} are known to be"
        return ModelResult(model, report, "miscounted", what)
    return ModelResult(model, report, report.verdict, report.sentence)


def check_models(
    tlc: Tlc,
    models: Sequence[Model],
    *,
    directory: Path | None = None,
    executor: Executor | None = None,
    jobs: int = 2,
    workers: int = 1,
    timeout_s: float = 3600.0,
    on_progress: Callable[[Model, int], None] | None = None,
) -> Iterator[ModelResult]:
    """Run TLC on several models, some at a time, and give each result as it comes.

    Args:
        tlc: Java and TLC.
        models: which.
        directory: where the modules are; None for the ones that came with the package.
        executor: spreads the models; None for threads of this process, which is enough, since each only
            waits for a Java of its own.
        jobs: without an executor, how many at a time.
        workers: threads of TLC for each.
        timeout_s: seconds after which one is ended.
        on_progress: called with a model and the number of its distinct states so far; threads only.

    Raises:
        ConfigurationError: as `check_model`.
    """
    pool = executor or ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="tlc")
    try:
        futures = [
            pool.submit(
                check_model,
                tlc,
                model,
                directory=directory,
                workers=workers,
                timeout_s=timeout_s,
                on_progress=_for_model(on_progress, model),
            )
            for model in models
        ]
        for future in as_completed(futures):
            yield future.result()
    finally:
        if executor is None:
            pool.shutdown(wait=True, cancel_futures=True)


def _for_model(
    on_progress: Callable[[Model, int], None] | None, model: Model
) -> Callable[[int], None] | None:
    return None if on_progress is None else lambda distinct: on_progress(model, distinct)


def check_actions(
    results: Iterable[ModelResult],
    specifications: Iterable[Specification],
    models: Iterable[Model] | None = None,
) -> tuple[str, ...]:
    """What is wrong with the actions, in sentences: never taken, or with no counterpart in the code.

    Args:
        results: of all models of the modules concerned; what one leaves out another may take. Where one did
            not get to its end, nothing is said to be missing: it may have come after that.
        specifications: what protocols say of their handlers. One whose models were all left out, this time,
            is not judged; one of which there is no model at all is wrong.
        models: the whole list of models, of which some were checked; None for the one that came with the
            package.
    """
    known = {model.actions_of for model in (load_models() if models is None else models)}
    taken: dict[str, dict[str, int]] = {}
    unfinished: set[str] = set()
    for result in results:
        actions = taken.setdefault(result.model.actions_of, {})
        of = result.model.actions_of
        for name, (_, count) in result.report.actions.items():
            # What a .cfg file put in an action's place is the model's; TLC may call it just "Action".
            if name != "Action" and result.report.modules.get(name, of) == of:
                actions[name] = actions.get(name, 0) + count
        if not result.report.ok:
            unfinished.add(result.model.actions_of)
    wrong = [
        f"{module}: no model ever takes the action {name}"
        for module, actions in sorted(taken.items())
        for name, count in sorted(actions.items())
        if not count and module not in unfinished
    ]
    for specification in specifications:
        module = specification.module
        if module not in taken:
            if module not in known:
                what = "the code tells of its actions, and no model takes them"
                wrong.append(f"{module}: {what}: add one to {_MANIFEST}")
            continue
        lacking = set() if module in unfinished else specification.actions.keys() - taken[module].keys()
        for name in sorted(lacking):
            wrong.append(f"{module}: the code tells of {name}, and the module has no such action")
        for name in sorted(taken[module].keys() - specification.actions.keys()):
            wrong.append(f"{module}: nothing in the code tells of the action {name}")
    return tuple(wrong)


# --- counterexamples --------------------------------------------------------------------------------------


def steps_of(states: Sequence[State]) -> list[tuple[str, dict[str, Any]]]:
    """A counterexample as steps: `(action, arguments)`, the initial state left out.

    TLC does not say with which arguments it took an action; what the step changed tells.  The arguments are
    `node`, where what changed belongs to one node; `sent`, the messages that are new; and `changes`, pairs of
    a place and what became of it.
    """
    steps = []
    before: State | None = None
    for state in states:
        if before is not None:
            changes = state.changes(before)
            places = {place.partition("[")[2].partition("]")[0] for place, _ in changes if "[" in place}
            sent = [what[2:] for place, what in changes if place == "msgs" and what.startswith("+ ")]
            arguments: dict[str, Any] = {
                "node": places.pop() if len(places) == 1 else None,
                "sent": sent,
                "changes": [list(change) for change in changes if change[0] != "msgs"],
            }
            steps.append((state.action, arguments))
        before = state
    return steps


def describe_counterexample(states: Sequence[State]) -> str:
    """A counterexample as text: each step, and what it changed."""
    lines = []
    for number, (action, arguments) in enumerate(steps_of(states), 1):
        node = f" at {arguments['node']}" if arguments["node"] is not None else ""
        lines.append(f"{number:3}  {action}{node}")
        lines += [f"       sends {message}" for message in arguments["sent"]]
        lines += [f"       {place}: {what}" for place, what in arguments["changes"]]
    return "\n".join(lines)


def describe_state(state: State, node: str) -> str:
    """What a state holds of one node, a line for each variable."""
    lines = []
    for name, value in state.values.items():
        own = value
        if isinstance(value, Function):
            own = next((each for key, each in value.items() if str(key) == node), value)
        elif isinstance(value, tuple) and node.isdigit() and 0 < int(node) <= len(value):
            own = value[int(node) - 1]  # a function of 1..n is printed as a sequence
        else:
            continue
        lines.append(f"  {name}[{node}] = {show(own)}")
    return "\n".join(lines)
