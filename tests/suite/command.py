"""The command line of `python3 -m tests`: the order of things, and the summary.

Nothing is asked of the user and nothing outside the project's directory is changed: environments go to
`.venvs/`, built things to `build/`; both can be removed at any time. The exit code is 0 when everything that
was asked for is good, 1 when a stage failed, 2 when the command line or the machine does not allow a run, 130
when interrupted.
"""

import argparse
import os
import time
from collections.abc import Sequence

from tests.suite import environments, interpreters, stages
from tests.suite.environments import Environment, SetUpFailed
from tests.suite.interpreters import Interpreter
from tests.suite.stages import Counts, Plan, Result

STAGES = ("lint", "types", "suite", "wheel")
_EPILOG = """
Everything comes from this directory and the package index. Environments are kept in .venvs/ and used
again until the requirements in pyproject.toml change. Examples:

  python3 -m tests                                  everything, on every supported Python that is found
  python3 -m tests --quick                          the lowest Python only, without the slow tests
  python3 -m tests --python 3.12 --only suite -- -k ballot -x
"""


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, tuple[str, ...]]:
    """Take the command line apart: the options of this command, and what follows `--`, which is pytest's."""
    own = list(arguments)
    handed_on: list[str] = []
    if "--" in own:
        cut = own.index("--")
        own, handed_on = own[:cut], own[cut + 1 :]
    parser = argparse.ArgumentParser(
        prog="python3 -m tests",
        description="Install what the tests need and run them: style, types, the suite, the built wheel.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="VERSION|PATH",
        help="test this one only, as 3.12 or as the path of an executable (may be repeated)",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=STAGES,
        help="run this stage only (may be repeated)",
        metavar="STAGE",
    )
    parser.add_argument("--quick", action="store_true", help="the lowest Python only, without the slow tests")
    parser.add_argument("--fresh", action="store_true", help="make the environments anew")
    parser.add_argument(
        "--workers",
        type=int,
        default=min(_cores(), stages.WORKERS_MAX),
        metavar="N",
        help="processes that share the tests of a run (here: %(default)s)",
    )
    return parser.parse_args(own), tuple(handed_on)


def main(arguments: Sequence[str]) -> int:
    """Run the test command; give its exit code."""
    options, handed_on = parse(arguments)
    start = time.monotonic()
    try:
        chosen = _choose(options)
        results = _run(options, chosen, Plan(options.quick, options.workers, handed_on))
    except LookupError as error:
        print(f"tests: {error}", flush=True)
        return 2
    except SetUpFailed as error:
        print(f"\ntests: {error}", flush=True)
        return 1
    except KeyboardInterrupt:
        print("\ntests: interrupted", flush=True)
        return 130
    print("\n".join(summary(results, time.monotonic() - start)), flush=True)
    return 0 if results and all(result.ok for result in results) else 1


def _choose(options: argparse.Namespace) -> list[Interpreter]:
    found = interpreters.find(options.python)
    chosen = found.chosen[:1] if options.quick else found.chosen
    print("Interpreters that are tested:")
    for interpreter in chosen:
        print(f"  {interpreter}")
    if not options.python:
        for what, why in found.left_out:
            print(f"  (not {what}: {why})")
        for version in interpreters.absent_versions(found):
            print(f"  (no {version} on this machine)")
    print("", flush=True)
    return chosen


def _run(options: argparse.Namespace, chosen: Sequence[Interpreter], plan: Plan) -> list[Result]:
    wanted = options.only or STAGES
    print("Set-up:", flush=True)
    start = time.monotonic()
    primary = environments.prepare(chosen[0], ["dev"], fresh=options.fresh)
    ready = [primary]
    if "suite" in wanted or "wheel" in wanted:
        ready += [environments.prepare(one, ["test"], fresh=options.fresh) for one in chosen[1:]]
    if set(wanted) != {"lint"}:
        wheel = environments.build_wheel(primary)
        for environment in ready:
            environments.install_wheel(environment, wheel)
    results = [Result("set-up", "", True, time.monotonic() - start)]
    if "lint" in wanted:
        results.append(stages.lint(primary))
    if "types" in wanted:
        results.append(stages.types(primary))
    for environment in ready:
        again = environment is not primary
        results += _run_tests(
            environment, wanted, plan._replace(again=again, wheel_follows="wheel" in wanted)
        )
    return results


def _run_tests(environment: Environment, wanted: Sequence[str], plan: Plan) -> list[Result]:
    results = []
    if "suite" in wanted:
        results.append(stages.suite(environment, plan))
    if "wheel" in wanted:
        results.append(stages.wheel(environment, plan))
    return results


def summary(results: Sequence[Result], elapsed_s: float) -> list[str]:
    """The table at the end, and the one line that says it all."""
    lines = [
        "",
        f"{'stage':8} {'python':8} {'result':7} {'seconds':>8}  {'passed':>7} {'failed':>7} {'skipped':>7}",
    ]
    total = Counts()
    for result in results:
        verdict = "ok" if result.ok else "FAILED"
        row = f"{result.stage:8} {result.version:8} {verdict:7} {result.duration_s:8.1f}"
        if result.counts is not None:
            total += result.counts
            row += f"  {result.counts.passed:7} {result.counts.failed:7} {result.counts.skipped:7}"
        lines.append(row + (f"  {result.detail}" if result.detail else ""))
    failed = [f"{result.stage} {result.version}".strip() for result in results if not result.ok]
    whole = f"stages failed: {', '.join(failed)}" if failed else "every stage ok"
    lines += ["", f"{whole}; {elapsed_s:.0f} s"]
    lines.append(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped")
    return lines


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
