"""`paxos decide` and `decided`: names that are decided once, and whose value never changes.

The chosen value goes to standard output as it is, no newline added, so that any bytes pass through a pipe
unchanged.
"""

import argparse

from paxos.cli.arguments import Commands, Target, add_cluster_arguments, add_command, target_of
from paxos.cli.calling import call, key_of, value_of
from paxos.cli.output import Output, json_bytes
from paxos.contract import Decides
from paxos.errors import EXIT_DONE, EXIT_NO, ConfigurationError

__all__ = ["add"]


def add(commands: Commands) -> None:
    """Add `paxos decide` and `paxos decided`."""
    parser = add_command(
        commands,
        "decide",
        run_decide,
        "get a value chosen for a name, and learn which",
        "Prints the chosen value, which is another's when another was first; compare it with yours to see "
        "who won. A decision never changes, so asking again is safe, whatever happened before. No newline "
        "is added.",
        "  paxos decide leader node-1 --config cluster.toml\n"
        "  paxos decide leader node-1 --cluster 127.0.0.1:7101,127.0.0.1:7102 --timeout 2\n"
        "  paxos decide config - --config cluster.toml < config.bin      the value from standard input\n"
        '  test "$(paxos decide leader "$HOSTNAME" --config cluster.toml)" = "$HOSTNAME" && lead',
    )
    parser.add_argument("name", metavar="NAME", help="what is decided, 1 to 1024 bytes")
    parser.add_argument("value", metavar="VALUE", help="what to propose; - for standard input")
    add_cluster_arguments(parser)
    parser = add_command(
        commands,
        "decided",
        run_decided,
        "read what is decided for a name",
        "Prints the chosen value, no newline added; exit code 1 and nothing when nothing is decided. "
        "Proposes no value of its own, but completes what it finds half accepted.",
        "  paxos decided leader --config cluster.toml\n  paxos decided leader --config cluster.toml --json",
    )
    parser.add_argument("name", metavar="NAME", help="what is decided")
    add_cluster_arguments(parser)


def run_decide(arguments: argparse.Namespace, out: Output) -> int:
    """Decide, and print what was chosen."""
    value = value_of(arguments.value)
    name, target = key_of(arguments.name), _target(arguments)
    chosen = call(target, lambda client: client.decide(_shown(name), value))
    if not out.as_json:
        out.raw(chosen)
    out.result({"name": json_bytes(name), "value": json_bytes(chosen), "ours": chosen == value})
    return EXIT_DONE


def run_decided(arguments: argparse.Namespace, out: Output) -> int:
    """Read, and print what is chosen."""
    name, target = key_of(arguments.name), _target(arguments)
    chosen = call(target, lambda client: client.decided(_shown(name)))
    if chosen is not None and not out.as_json:
        out.raw(chosen)
    out.result({"name": json_bytes(name), "decided": chosen is not None, "value": json_bytes(chosen)})
    return EXIT_NO if chosen is None else EXIT_DONE


def _target(arguments: argparse.Namespace) -> Target:
    """The cluster, which must decide decrees where its file says what it does."""
    target = target_of(arguments)
    config = target.config
    if config is not None and config.description().decides is not Decides.DECREES:
        raise ConfigurationError(
            f"{config.where}protocol {config.protocol} keeps a log and decides no decrees; it has `put`, "
            "`get`, "
            "`submit` and others"
        )
    return target


def _shown(name: bytes) -> str | bytes:
    """A name as messages show it best; the cluster sees the same bytes either way."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name
