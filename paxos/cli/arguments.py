"""How arguments are taken: parsers that teach, and the arguments that several commands have in common."""

import argparse
import math
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

from paxos.cli.output import Output
from paxos.errors import ConfigurationError

__all__ = [
    "Commands",
    "Parser",
    "Run",
    "UsageError",
    "add_command",
    "count",
    "seconds",
]

#: What subcommands are added to.
Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
#: What runs a subcommand; gives the exit code.
Run: TypeAlias = Callable[[argparse.Namespace, Output], int]


class UsageError(ConfigurationError):
    """Arguments that do not go together, or are none.

    Args:
        message: what is wrong.
        usage: how the command is used.
    """

    def __init__(self, message: str, usage: str = "") -> None:
        super().__init__(message)
        self.usage = usage


class Parser(argparse.ArgumentParser):
    """A parser that raises instead of ending the process, and leaves examples as they are written."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise UsageError(f"{message}; see `{self.prog} --help`", self.format_usage().rstrip())


def add_command(commands: Commands, name: str, run: Run, what: str, more: str, examples: str) -> Parser:
    """Add a subcommand, with the options that every one has.

    Args:
        commands: where to.
        name: what users type.
        run: what it does.
        what: one line for the list of commands.
        more: a paragraph for its own help.
        examples: for its own help, each with a remark.
    """
    description = f"{what[0].upper()}{what[1:]}.\n\n{more.strip()}"
    parser = commands.add_parser(
        name, help=what, description=description, epilog=f"examples:\n{examples.strip(chr(10))}"
    )
    parser.add_argument(
        "--json", action="store_true", help="one JSON object on standard output, nothing else"
    )
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    parser.set_defaults(run=run)
    return parser


def seconds(text: str) -> float:
    """A positive, finite number of seconds."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, not {text!r}")
    return value


def count(low: int, high: int) -> Callable[[str], int]:
    """A whole number from `low` to `high`."""

    def take(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"expected a whole number in {low}..{high}, not {text!r}")
        return value

    return take
