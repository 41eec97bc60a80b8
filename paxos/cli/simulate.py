"""`paxos simulate`: runs a whole cluster in virtual time, with faults, and judges what happened.

A run is a pure function of its arguments, so the same command gives the same run anywhere.  What makes it
one is written by --save and read by --replay: the arguments and the list of choices, which stays good
when the code that draws them changes.
"""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from paxos.cli.arguments import Commands, Parser, UsageError, add_command, count, seconds
from paxos.cli.explore import look_here
from paxos.cli.output import Output
from paxos.cli.timeline import timeline
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, ConfigurationError

if TYPE_CHECKING:
    from paxos.sim import Result

__all__ = ["add"]

#: What a saved run holds, beside its choices: the arguments of `paxos.sim.run`.
_SAVED: Final = {"protocol": str, "nodes": int, "topology": str, "faults": str, "duration_s": float}
#: What a run is when nothing else is said; a saved one says all of it.
_DEFAULTS: Final = {
    "protocol": "paxos",
    "nodes": 3,
    "seed": 7,
    "faults": "none",
    "topology": "lan",
    "duration": 10.0,
    "operations": None,
    "runs": 1,
}
_MAX_CHOICES: Final = 10_000_000
_MAX_FILE_BYTES: Final = 64 * 1024 * 1024


def add(commands: Commands) -> None:
    """Add `paxos simulate`."""
    parser = add_command(
        commands,
        "simulate",
        run,
        "run a cluster in virtual time, with faults, and check it",
        "Runs the same node code as `paxos serve`, on simulated networks, disks and clocks. The protocol's "
        "invariants are checked at every step, and at the end what clients were told and what nodes know. "
        "Exit code 5 when something that must hold did not.",
        "  paxos simulate --seed 7 --faults crash,partition,loss\n"
        "  paxos simulate --seed 7 --faults crash --timeline | less      watch it happen\n"
        "  paxos simulate --nodes 5 --faults all --runs 200              seeds 7, 8, 9, ...\n"
        "  paxos simulate --faults crash --save run.json && paxos simulate --replay run.json",
    )
    parser.add_argument(
        "--protocol", metavar="NAME", help="what it runs; or package.module:attribute (paxos)"
    )
    parser.add_argument("--nodes", type=count(1, 100), metavar="N", help="how many (3)")
    parser.add_argument("--seed", type=count(0, 2**63 - 1), metavar="N", help="of the choices (7)")
    parser.add_argument(
        "--faults", metavar="NAMES", help="what goes wrong, with commas; `all`, `none` (none)"
    )
    parser.add_argument("--topology", metavar="NAME", help="delays between nodes (lan)")
    parser.add_argument(
        "--duration", type=seconds, metavar="S", help="of work and faults, virtual seconds (10)"
    )
    parser.add_argument("--operations", type=count(1, 1_000_000), metavar="N", help="what clients do in all")
    parser.add_argument("--runs", type=count(1, 1_000_000), metavar="N", help="of how many seeds (1)")
    _add_files(parser)


def _add_files(parser: Parser) -> None:
    parser.add_argument("--timeline", action="store_true", help="show every step, a column for each node")
    parser.add_argument(
        "--history", type=Path, metavar="FILE", help="write what clients did, a JSON object a line"
    )
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write every step, a JSON object a line")
    parser.add_argument("--save", type=Path, metavar="FILE", help="write what --replay needs")
    parser.add_argument(
        "--replay", type=Path, metavar="FILE", help="make a saved run again: the file says all of it"
    )


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Simulate, and judge."""
    _complete(arguments)
    single = [name for name in ("timeline", "history", "trace", "save", "replay") if getattr(arguments, name)]
    if arguments.runs > 1 and single:
        raise UsageError(f"--{single[0]} is about one run; leave out --runs")
    saved = _read_saved(arguments.replay) if arguments.replay else _described(arguments)
    look_here(saved["protocol"])
    runs: list[dict[str, object]] = []
    broken = 0
    with out.progress("simulating", arguments.runs) as bar:
        for seed in range(arguments.seed, arguments.seed + arguments.runs):
            result = _run_one(arguments, saved, seed)
            broken += not result.ok
            runs.append({"seed": None if arguments.replay else seed, "ok": result.ok, **result.to_json()})
            _write_files(arguments, saved, result, out)
            _tell(seed, result, arguments, out)
            bar.advance()
    summary = f"{len(runs)} runs, {broken} broke something" if len(runs) > 1 else ""
    described = {name: value for name, value in saved.items() if name != "choices"}
    out.result({**described, "broken": broken, "runs": runs}, summary)
    return EXIT_CHECK_FAILED if broken else EXIT_DONE


def _complete(arguments: argparse.Namespace) -> None:
    """Fill in what was not said; with a saved run nothing may be."""
    for name, default in _DEFAULTS.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, default)
        elif arguments.replay is not None:
            raise UsageError(
                f"--{name} does not go with --replay: the saved run says what it was; leave it out"
            )


def _described(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "protocol": arguments.protocol,
        "nodes": arguments.nodes,
        "topology": arguments.topology,
        "faults": arguments.faults,
        "duration_s": arguments.duration,
        "operations": arguments.operations,
    }


def _run_one(arguments: argparse.Namespace, saved: dict[str, Any], seed: int) -> "Result":
    from paxos.sim import Workload
    from paxos.sim import run as simulate

    described = {name: value for name, value in saved.items() if name not in ("operations", "choices")}
    operations = saved["operations"]
    return simulate(
        **described,
        seed=seed,
        workload=None if operations is None else Workload(operations=operations),
        choices=saved.get("choices"),
        trace=arguments.timeline or arguments.trace is not None,
    )


def _tell(seed: int, result: "Result", arguments: argparse.Namespace, out: Output) -> None:
    if out.as_json:
        return
    if arguments.timeline and result.trace is not None:
        for line in timeline(result.trace, result.nodes):
            print(line)
    for violation in result.violations:
        out.say(f"seed {seed}: violated: {violation}")
    if arguments.runs > 1:
        return
    from paxos.sim.result import counted

    figures = result.to_json()
    counts = ", ".join(f"{number} {outcome}" for outcome, number in figures["operations"].items())
    seen = ", ".join(f"{name} {times}" for name, times in result.seen.items() if times)
    print(
        f"{result.protocol}, {counted(len(result.nodes), 'node')}, {result.virtual_s:.3f} virtual seconds in "
        f"{result.wall_s:.3f} s: {counted(result.deliveries, 'message')} delivered\n"
        f"operations: {counts or 'none'}; {_known(result)}\n"
        f"seen: {seen or 'nothing of note'}\n"
        + (f"never seen: {', '.join(result.missing_probes)}\n" if result.missing_probes else "")
        + ("nothing that must hold broke" if result.ok else "BROKEN: see above")
    )


def _known(result: "Result") -> str:
    """What the nodes hold at the end, in a few words."""
    from paxos.sim.result import counted

    if result.applied is None:
        names = {name for known in result.decisions.values() for name in known}
        return f"decided: {counted(len(names), 'decree')}"
    marks = sorted(set(result.applied.values()))
    return f"applied: slots up to {', '.join(map(str, marks)) or 'none'} of the log" + (
        " at every node that runs" if len(marks) == 1 else ""
    )


# --- files -------------------------------------------------------------------------------------------


def _write_files(arguments: argparse.Namespace, saved: dict[str, Any], result: "Result", out: Output) -> None:
    contents = (
        (arguments.history, result.history()),
        (arguments.trace, result.trace or b""),
        (arguments.save, json.dumps({**saved, "choices": list(result.choices)}).encode() + b"\n"),
    )
    for path, content in contents:
        if path is not None:
            try:
                path.write_bytes(content)
            except OSError as error:
                raise ConfigurationError(f"{path}: can not be written: {error.strerror}") from error
            out.say(f"wrote {path}")


def _read_saved(path: Path) -> dict[str, Any]:
    """A saved run.

    Raises:
        ConfigurationError: the file can not be read, or is no saved run.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: can not be read: {error.strerror}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise ConfigurationError(f"{path}: longer than {_MAX_FILE_BYTES} bytes, so it is no saved run")
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: no saved run: not JSON: {error}") from error
    if not isinstance(found, dict) or found.keys() != {*_SAVED, "operations", "choices"}:
        raise ConfigurationError(f"{path}: no saved run; `paxos simulate --save FILE` writes one")
    for name, kind in _SAVED.items():
        if type(found[name]) is not kind:
            raise ConfigurationError(f"{path}: {name}: expected {kind.__name__}, got {found[name]!r:.60}")
    if found["operations"] is not None and type(found["operations"]) is not int:
        raise ConfigurationError(f"{path}: operations: expected int or null, got {found['operations']!r:.60}")
    choices = found["choices"]
    if (
        not isinstance(choices, list)
        or len(choices) > _MAX_CHOICES
        or any(type(c) is not int for c in choices)
    ):
        raise ConfigurationError(f"{path}: choices: expected a list of at most {_MAX_CHOICES} whole numbers")
    return found
