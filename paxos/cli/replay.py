"""`paxos replay`: runs a saved scenario again, exactly, and says whether the same breaks."""

import argparse
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from paxos.cli.arguments import Commands, UsageError, add_command
from paxos.cli.explore import look_here
from paxos.cli.output import Output
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, ConfigurationError

if TYPE_CHECKING:
    from paxos.check.scenario import Played, Scenario

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Add `paxos replay`."""
    parser = add_command(
        commands,
        "replay",
        run,
        "run a saved scenario again",
        "A scenario holds a run's inputs and its choices, or a list of moves, so it gives the same run "
        "anywhere and in later versions, as long as the protocol's messages are the same; if they are "
        "not, it says so. Exit code 5 when something breaks, 0 when nothing does.\n\n"
        "Moves that can not be made any more, because the code does something else now, are skipped and "
        "named.",
        "  paxos replay explored/paxos-0-17-Agreement.json\n"
        "  paxos replay failure.json --chart text\n"
        "  paxos replay failure.json --chart svg --out failure.svg\n"
        "  paxos replay failure.json --json | jq .got",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the scenario")
    parser.add_argument("--chart", choices=("text", "svg"), help="show the run, node by node")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the chart there")
    parser.add_argument("--strict", action="store_true", help="a move that can not be made is an error")


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Run it, and compare."""
    if arguments.out is not None and arguments.chart is None:
        raise UsageError("--out is where the chart goes; say which one with --chart text or --chart svg")
    scenario = _load(arguments.file)
    _warn(scenario, out)
    played = scenario.run(record=arguments.chart is not None)
    schedule = scenario.schedule or ()
    skipped = [f"line {number}, {schedule[number - 1]!r}" for number in played.skipped]
    if skipped and arguments.strict:
        raise ConfigurationError(f"{arguments.file}: {skipped[0]}: it can not be made here")
    for each in skipped:
        out.say(f"paxos: skipped: {each}: it can not be made here")
    got = played.violation
    if arguments.chart is not None:
        _chart(arguments, out, scenario, played)
    value = {
        "file": str(arguments.file),
        "protocol": scenario.protocol,
        "kind": scenario.kind,
        "nodes": scenario.nodes,
        "expected": scenario.violation or None,
        "got": None if got is None else got.name,
        "sentence": None if got is None else got.sentence,
        "step": None if got is None else got.step,
        "skipped": list(played.skipped),
        "run": played.result.to_json(),
    }
    out.result(value, _verdict(scenario, played))
    return EXIT_DONE if got is None else EXIT_CHECK_FAILED


def _warn(scenario: "Scenario", out: Output) -> None:
    """Before it is too late to say so."""
    from paxos.check.scenario import FATAL

    for name, meaning in FATAL.items():
        if scenario.violation == name or scenario.remark.endswith(meaning):
            next_time = {
                "Killed": "if this command ends without another word, it did so again",
                "OutOfTime": "here nothing ends it but Ctrl-C",
            }[name]
            out.say(f"paxos: this schedule was given up when it was found: {meaning}; {next_time}")


def _load(path: Path) -> "Scenario":
    from paxos.check.scenario import load_scenario

    # The protocol may lie beside whoever asks; who it is stands in the file.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        look_here(str(json.loads(path.read_bytes())["protocol"]))
    return load_scenario(path)


def _verdict(scenario: "Scenario", played: "Played") -> str:
    from paxos.sim.result import counted

    got = played.violation
    result = played.result
    what = f"{scenario.protocol}, {counted(scenario.nodes, 'node')}, {scenario.kind}"
    lines = [f"{what}: {counted(result.deliveries, 'message')} delivered, {counted(result.steps, 'step')}"]
    if scenario.remark:
        lines.append(f"remark: {scenario.remark}")
    if got is not None:
        lines.append(f"violated: {got}")
    expected, name = scenario.violation or "nothing", "nothing" if got is None else got.name
    lines.append(
        f"as expected: {name} broke" if expected == name else f"expected {expected} to break, got {name}"
    )
    return "\n".join(lines)


def _chart(arguments: argparse.Namespace, out: Output, scenario: "Scenario", played: "Played") -> None:
    from paxos.check.chart import chart_of, text_chart
    from paxos.check.chart_svg import svg_chart

    title = f"{scenario.protocol}: {scenario.violation}" if scenario.violation else scenario.protocol
    chart = chart_of(played, title=title, disks=not scenario.eager)
    text = text_chart(chart) if arguments.chart == "text" else svg_chart(chart)
    if arguments.out is None:
        if out.as_json:
            raise UsageError("--json leaves no room for a chart; write it to a file with --out")
        print(text, end="")
        return
    try:
        arguments.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{arguments.out}: can not be written: {error.strerror}") from error
    out.say(f"wrote {arguments.out}")
