"""`paxos check --history` and `paxos bench history`: histories judged, and how fast that goes.

A history says what clients asked and were told, and when.  It is linearizable when one order explains all of
it, and a model says what each operation does in such an order.
"""

import argparse
import gc
import statistics
import time
from collections.abc import Mapping
from typing import Final

from paxos.cli.arguments import Parser, UsageError, count
from paxos.cli.explore import look_here
from paxos.cli.output import Output
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_UNKNOWN, ConfigurationError

__all__ = ["add_history_arguments", "bench_histories", "check_history"]

#: What the benchmark checks: the name, the model, and the shares of unknown outcomes and of scans.
_BENCHED: Final = (
    ("keys and values", "kv", 0.02, 0.0),
    ("the same, 1 in 50 a scan of all keys", "kv", 0.0, 0.02),
    ("registers", "register", 0.02, 0.0),
    ("decrees", "decree", 0.02, 0.0),
    ("one log", "log", 0.02, 0.0),
)
_OPERATIONS: Final = 5000
_CLIENTS: Final = 10
_KEYS: Final = 10


def add_history_arguments(parser: Parser) -> None:
    """Add what goes with --history, to `paxos check`."""
    group = parser.add_argument_group("a history")
    group.add_argument(
        "--model",
        metavar="NAME",
        help="what operations do: decree, register, kv, log, or package.module:Class",
    )
    group.add_argument(
        "--max-states",
        type=count(1, 1_000_000_000),
        metavar="N",
        help="give up after so many states, with exit code 4 (2000000)",
    )


def check_history(arguments: argparse.Namespace, out: Output) -> int:
    """Judge a history file.

    Raises:
        ConfigurationError: the file, one of its lines, or the model is not what it should be.
    """
    from paxos.check.history import OPERATIONS, read_history
    from paxos.check.linearize import MAX_STATES, check_linearizable
    from paxos.check.models import find_model

    path = arguments.history
    if arguments.model is None:
        raise UsageError("--history needs --model: decree, register, kv, log, or package.module:Class")
    look_here(arguments.model)
    model = find_model(arguments.model)
    history = read_history(path, OPERATIONS | model.operations)
    if not history:
        raise ConfigurationError(f"{path}: holds no operation, so there is nothing to check")
    with out.progress("looking for an order", len(history)) as bar:
        try:
            verdict = check_linearizable(
                history, model, max_states=arguments.max_states or MAX_STATES, advance=bar.advance
            )
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: {error}") from error
        except Exception as error:
            if ":" not in arguments.model:
                raise
            # Somebody's own model: what it raises, or what it gives that is no state, is not ours.
            raise ConfigurationError(
                f"model {arguments.model}: it failed on {path}: {type(error).__name__}: {error}; it needs "
                "hashable states, and an apply() that gives (state, answer) or None"
            ) from error
    result = {"path": str(path), "model": arguments.model, **verdict.to_json()}
    note = f"\n(not split: {verdict.unsplit})" if verdict.unsplit and not out.as_json else ""
    out.result(result, f"{path}: {verdict}{note}")
    if verdict.ok:
        return EXIT_DONE
    return EXIT_UNKNOWN if verdict.gave_up else EXIT_CHECK_FAILED


def bench_histories(arguments: argparse.Namespace, out: Output) -> Mapping[str, object]:
    """How long histories take to check, in processor time."""
    from paxos.check.linearize import check_linearizable
    from paxos.check.sample import sample_history

    operations = arguments.operations or _OPERATIONS
    found: list[dict[str, object]] = []
    with out.progress("checking histories", len(_BENCHED) * arguments.repeats) as bar:
        for name, model, unknown, scans in _BENCHED:
            history = sample_history(model, operations, _CLIENTS, _KEYS, unknown=unknown, scans=scans)
            took: list[float] = []
            states = 0
            for _ in range(arguments.repeats):
                gc.collect()
                began_s = time.process_time()
                verdict = check_linearizable(history, model)
                took.append(time.process_time() - began_s)
                assert verdict.ok, f"a sample is linearizable by construction: {verdict}"
                states = verdict.states
                bar.advance()
            found.append(
                {
                    "name": name,
                    "model": model,
                    "unknown": sum(not operation.known for operation in history),
                    "states": states,
                    "median_s": statistics.median(took),
                    "low_s": min(took),
                    "high_s": max(took),
                }
            )
    rows = [
        (
            each["name"],
            each["unknown"],
            each["states"],
            f"{each['median_s']:.3f} s",
            f"{each['low_s']:.3f} to {each['high_s']:.3f}",
        )
        for each in found
    ]
    title = f"{operations} operations, {_CLIENTS} clients, {_KEYS} keys, median of {arguments.repeats}:"
    out.table(title, ("what", "unknown", "states", "median", "range"), rows)
    return {"repeats": arguments.repeats, "operations": operations, "histories": found}
