"""How arguments are taken: parsers that teach, and the arguments that several commands have in common."""

import argparse
import difflib
import math
import textwrap
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeAlias

import attrs

from paxos.cli.output import Output
from paxos.errors import ConfigurationError

if TYPE_CHECKING:
    from paxos.runtime.config import ClusterConfig, TlsConfig

__all__ = [
    "Commands",
    "Parser",
    "RootParser",
    "Run",
    "Target",
    "UsageError",
    "add_cluster_arguments",
    "add_command",
    "count",
    "did_you_mean",
    "seconds",
    "target_of",
]

#: How wide prose in help is, columns.
_WIDTH: Final = 96

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
        #: The parsers of its subcommands, by name.
        self.commands: dict[str, Parser] = {}

    @property
    def option_names(self) -> list[str]:
        """All options that it takes."""
        return list(self._option_string_actions)

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments."""
        raise UsageError(f"{message}; see `{self.prog} --help`", self.format_usage().rstrip())


class RootParser(Parser):
    """The parser of the whole command line: its help lists commands by what they are for."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        #: Names of subcommands, by the title of their group.
        self.groups: dict[str, list[str]] = {}

    def format_help(self) -> str:
        """The help, with a heading for each group of commands."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        listed = {
            each.dest: each
            for action in self._actions
            if isinstance(action, argparse._SubParsersAction)
            for each in action._get_subactions()
        }
        formatter.start_section("commands")
        for title, names in self.groups.items():
            formatter.start_section(title)
            formatter.add_arguments(listed[name] for name in names)
            formatter.end_section()
        formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments(each for each in self._actions if each.option_strings)
        formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean ...?` when something known is near, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


def add_command(commands: Commands, name: str, run: Run, what: str, more: str, examples: str) -> Parser:
    """Add a subcommand, with the options that every one has.

    Args:
        commands: where to.
        name: what users type.
        run: what it does.
        what: one line for the list of commands.
        more: paragraphs for its own help, which are filled; one that begins with a space stays as it is.
        examples: for its own help, each with a remark.
    """
    paragraphs = [
        each.rstrip() if each.startswith(" ") else textwrap.fill(each, _WIDTH)
        for each in (f"{what[0].upper()}{what[1:]}.", *more.split("\n\n"))
    ]
    parser = commands.add_parser(
        name, help=what, description="\n\n".join(paragraphs), epilog=f"examples:\n{examples}"
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


@attrs.frozen
class Target:
    """Which cluster a client's command is about.

    Args:
        addresses: of its nodes, `host:port`.
        tls: the client's files; None for plain connections.
        timeout_s: how long to wait in all, seconds.
        config: the cluster file, when one was given.
        prefer: the node to talk to where nobody leads; None for the nearest.
    """

    addresses: tuple[str, ...]
    tls: "TlsConfig | None"
    timeout_s: float
    config: "ClusterConfig | None"
    prefer: int | None = None


def add_cluster_arguments(parser: Parser, timeout_s: float = 10.0) -> None:
    """Add the arguments that say which cluster, to a client's command.

    Args:
        parser: the command's.
        timeout_s: the default of --timeout, seconds.
    """
    group = parser.add_argument_group("the cluster")
    which = group.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", metavar="FILE", help="its cluster file")
    which.add_argument(
        "--cluster", metavar="HOST:PORT,...", help="addresses of its nodes, or of some of them"
    )
    group.add_argument(
        "--timeout",
        type=seconds,
        default=timeout_s,
        metavar="S",
        help=f"how long to wait in all, seconds ({timeout_s:g})",
    )
    group.add_argument(
        "--prefer",
        type=count(1, 2**31 - 1),
        metavar="NODE",
        help="where nobody leads (epaxos): the node to ask while it can be reached",
    )
    for name, what in (
        ("ca", "with TLS: certificates of the cluster's authority, PEM"),
        ("certificate", "with TLS: this client's certificate, PEM"),
        ("key", "with TLS: its key, PEM; --config alone takes the file's paths with `client` for {id}"),
    ):
        group.add_argument(f"--{name}", metavar="FILE", help=what)


def target_of(arguments: argparse.Namespace) -> Target:
    """The cluster that the arguments name.

    Raises:
        ConfigurationError: the file, an address, or the TLS files are not what they should be.
    """
    from paxos.runtime.config import TlsConfig, load_cluster, parse_address

    given = {name: getattr(arguments, name) for name in ("ca", "certificate", "key")}
    missing = [f"--{name}" for name, path in given.items() if path is None]
    if 0 < len(missing) < len(given):
        raise UsageError(f"--ca, --certificate and --key go together; {', '.join(missing)} missing")
    tls = None if missing else TlsConfig(**given)
    config = None
    if arguments.config is not None:
        config = load_cluster(arguments.config)
        addresses = [node.address for node in config.nodes]
        if arguments.prefer is not None:
            addresses.insert(0, config.node(arguments.prefer).address)
        if tls is None and config.tls is not None:
            tls = config.tls.for_node("client")
    else:
        addresses = [text.strip() for text in arguments.cluster.split(",") if text.strip()]
        if not addresses:
            raise UsageError("--cluster: no address given; write host:port, several with commas between")
        for address in addresses:
            parse_address(address)
    if tls is not None:
        tls.require_readable()
    return Target(tuple(dict.fromkeys(addresses)), tls, arguments.timeout, config, arguments.prefer)
