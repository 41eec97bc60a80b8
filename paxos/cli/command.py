"""The command itself: takes the arguments apart, runs the one that is meant, turns errors into exit codes.

Every group of commands has a function that adds its subcommands; a subcommand's parser carries `run`, a
function of the parsed arguments and the output that gives the exit code.

What goes wrong ends in one line on standard error and the exit code that the error's type carries.  An
error that nobody foresaw is a bug and ends in exit code 70, which scripts can not take for an answer;
`--debug` shows where it came from.
"""

import argparse
import contextlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, Final

from paxos.cli import (
    advise,
    backups,
    bench,
    check,
    compare,
    decrees,
    demo,
    exhaust,
    explain,
    explore,
    init,
    keys,
    log_store,
    replay,
    serve,
    simulate,
    spec,
    status,
    submissions,
    torture,
    version,
)
from paxos.cli.arguments import Parser, RootParser, UsageError, did_you_mean
from paxos.cli.output import Output
from paxos.errors import EXIT_INTERRUPTED, EXIT_USAGE, PaxosError

__all__ = ["EXIT_BUG", "build_parser", "main"]

#: An error that nobody foresaw: none of the codes that mean something to scripts.
EXIT_BUG: Final = 70

#: What adds commands, in groups that go by what somebody wants to do, in the order in which they are listed.
_GROUPS: Final[tuple[tuple[str, tuple[Any, ...]], ...]] = (
    ("begin here", (demo, init)),
    ("run nodes, and look after them", (serve, status, check, log_store, backups)),
    ("names that are decided once (protocol paxos)", (decrees,)),
    ("keys and values in a replicated log (protocol multipaxos)", (keys,)),
    ("a log, whatever its state machine", (submissions,)),
    (
        "try, measure and verify",
        (compare, advise, explain, simulate, explore, exhaust, torture, replay, spec, bench, version),
    ),
)
_EPILOG: Final = """\
first steps:
  paxos demo                                  five real processes, two of them killed; half a minute
  paxos demo --protocol multipaxos            the same with a key-value store, whose leader is killed
  paxos init shop --protocol multipaxos       write a cluster file to start from, for three nodes
  paxos serve --config shop/cluster.toml --node 1          (and 2, and 3: each in a terminal of its own)
  paxos put colour blue --config shop/cluster.toml
  paxos get colour --config shop/cluster.toml

exit codes:
  0    done
  1    a plain no: undecided, refused, no such key, another value than expected
  2    usage, configuration, or a store refused at start, one damaged beyond reading included
  3    no node could be reached, or took it, within --timeout, as without a quorum; nothing was done
  4    outcome unknown: it may or may not have happened; deciding again is safe, `increment` again is not
  5    a check failed: a violation, a difference, a damaged record
  6    a node stopped itself, because going on could lose or change a decision
  70   a bug in paxos: please report it, with what --debug shows
  130  interrupted

every command takes --json: one JSON object on standard output, nothing else. `paxos COMMAND --help` teaches.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments, without the program's name; None for those of this process.

    Returns:
        The exit code; `paxos --help` lists what each means.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that the terminal's encoding lacks is shown escaped, and ends nothing.
            stream.reconfigure(errors="backslashreplace")
    out = Output("--json" in arguments)
    debug = "--debug" in arguments
    try:
        parsed = _parsed(arguments)
        return int(parsed.run(parsed, out))
    except UsageError as error:
        if error.usage:
            out.say(error.usage)
        return _failed(out, error, str(error), EXIT_USAGE)
    except SystemExit as error:  # --help
        return error.code if isinstance(error.code, int) else EXIT_USAGE
    except BrokenPipeError:
        # Whoever read our output went away. Nothing more can be said, not even at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_INTERRUPTED
    except BaseException as error:
        return _end(out, _one_cause(error), debug)


def build_parser() -> Parser:
    """The parser of the whole command line."""
    parser = RootParser(
        prog="paxos",
        description="Let a few processes agree on values, for ever, though some of them fail.",
        epilog=_EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"paxos {version.installed_version()}")
    commands = parser.add_subparsers(
        title="commands", metavar="COMMAND", dest="command", required=True, parser_class=Parser
    )
    for title, rooms in _GROUPS:
        begun = len(commands.choices)
        for room in rooms:
            room.add(commands)
        parser.groups[title] = list(commands.choices)[begun:]
    parser.commands = dict(commands.choices)
    return parser


def _parsed(arguments: list[str]) -> argparse.Namespace:
    """The arguments, taken by the command that they name; what it does not know is refused in its name."""
    parser = build_parser()
    commands = parser.commands
    if arguments[:1] == ["help"] and set(arguments[1:2]) <= commands.keys():
        arguments = [*arguments[1:2], "--help"]
    name = next((each for each in arguments if not each.startswith("-")), None)
    if name is None or arguments[0] in ("--help", "-h", "--version"):
        return parser.parse_args(arguments)
    if name not in commands:
        parser.error(f"there is no command {name!r}{did_you_mean(name, commands)}")
    if arguments[0] != name:
        parser.error(f"options come after the command: paxos {name} {arguments[0]} ...")
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        command = commands[name]
        near = did_you_mean(unknown[0], command.option_names) if unknown[0].startswith("-") else ""
        command.error(f"unrecognized arguments: {' '.join(unknown)}{near}")
    return parsed


def _one_cause(error: BaseException) -> BaseException:
    """The error inside a group of one: tasks wrap what stopped them."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _end(out: Output, error: BaseException, debug: bool) -> int:
    if debug and not isinstance(error, KeyboardInterrupt):
        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        return _failed(out, error, "interrupted", EXIT_INTERRUPTED)
    if isinstance(error, PaxosError):
        return _failed(out, error, str(error), error.exit_code)
    if isinstance(error, OSError) and error.errno is not None:
        # No room, no right, too many files: the machine's to solve, not a bug.
        place = f"{error.filename}: " if error.filename else ""
        return _failed(out, error, f"{place}the system refused: {error.strerror}", EXIT_USAGE)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    hint = "" if debug else "; run it again with --debug to see where"
    return _failed(out, error, f"this is a bug in paxos: {what}{hint}", EXIT_BUG)


def _failed(out: Output, error: BaseException, message: str, code: int) -> int:
    message = " ".join(message.split())
    out.say(f"paxos: {message}")
    if out.as_json:
        out.result({"error": {"type": type(error).__name__, "message": message}, "exit_code": code})
    return code
