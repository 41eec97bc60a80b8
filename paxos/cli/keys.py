"""`paxos put`, `get`, `delete`, `cas`, `increment`, `scan` and `watch`: a key-value store, from the shell.

Keys and values are bytes.  A value goes to standard output as it is, no newline added, so that any bytes pass
through a pipe unchanged; what lists several, such as a scan, shows them as text, a line each.
"""

import argparse
from collections.abc import Callable
from typing import Final

from paxos.cli.arguments import (
    Commands,
    Parser,
    Run,
    Target,
    UsageError,
    add_cluster_arguments,
    add_command,
    count,
    target_of,
)
from paxos.cli.calling import call, key_of, open_client, require_log, value_of
from paxos.cli.output import Output, json_bytes, readable
from paxos.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_NO
from paxos.service.keyvalue_answers import Change, Items
from paxos.service.keyvalue_requests import MAX_DELTA, MAX_LIMIT
from paxos.service.revisions import MAX_PLACED

__all__ = ["add"]

_KEY: Final = "the key, 1 byte or more"
_ALL: Final = 1 << 40


def add(commands: Commands) -> None:
    """Add the commands of a key-value store."""
    _add_put(commands)
    _add_get(commands)
    _add_delete(commands)
    _add_cas(commands)
    _add_increment(commands)
    _add_scan(commands)
    _add_watch(commands)


def _target(arguments: argparse.Namespace) -> Target:
    target = target_of(arguments)
    require_log(target, arguments.command)
    return target


def _key_command(commands: Commands, name: str, run: Run, what: str, more: str, examples: str) -> Parser:
    """A command about one key."""
    parser = add_command(commands, name, run, what, more, examples)
    parser.add_argument("name", metavar="KEY", help=_KEY)
    return parser


# --- one key -----------------------------------------------------------------------------------------


def _add_put(commands: Commands) -> None:
    parser = _key_command(
        commands,
        "put",
        run_put,
        "store a value under a key",
        "Prints nothing. When it returns with 0 the value is on a quorum's disks. Exit code 4 says that "
        "nobody "
        "answered in time: the value may be stored, or may still be.",
        "  paxos put colour blue --config cluster.toml\n"
        "  paxos put photo - --config cluster.toml < photo.jpg      the value from standard input\n"
        "  paxos put colour blue --cluster 127.0.0.1:7101,127.0.0.1:7102 --timeout 2",
    )
    parser.add_argument("value", metavar="VALUE", help="the value; - for standard input")
    add_cluster_arguments(parser)


def run_put(arguments: argparse.Namespace, out: Output) -> int:
    """Store."""
    key, value, target = key_of(arguments.name), value_of(arguments.value), _target(arguments)
    call(target, lambda client: client.put(key, value))
    out.result({"key": json_bytes(key), "put": True})
    return EXIT_DONE


def _add_get(commands: Commands) -> None:
    parser = _key_command(
        commands,
        "get",
        run_get,
        "read the value under a key",
        "Prints the value, no newline added; exit code 1 and nothing when there is none. It reflects every "
        "write that was acknowledged before, whichever node is asked; with --stale it is what the node that "
        "answers happens to know, which costs no question to the others.",
        "  paxos get colour --config cluster.toml\n"
        "  paxos get photo --config cluster.toml > photo.jpg\n"
        "  paxos get colour --config cluster.toml --stale --json",
    )
    _add_stale(parser)
    add_cluster_arguments(parser)


def run_get(arguments: argparse.Namespace, out: Output) -> int:
    """Read."""
    key, target = key_of(arguments.name), _target(arguments)
    value = call(target, lambda client: client.get(key, stale=arguments.stale))
    if value is not None and not out.as_json:
        out.raw(value)
    out.result({"key": json_bytes(key), "found": value is not None, "value": json_bytes(value)})
    return EXIT_NO if value is None else EXIT_DONE


def _add_stale(parser: Parser) -> None:
    parser.add_argument("--stale", action="store_true", help="what one node knows, perhaps not the newest")


def _add_delete(commands: Commands) -> None:
    parser = _key_command(
        commands,
        "delete",
        run_delete,
        "remove a key",
        "Prints nothing. Exit code 1 when there was no such key.",
        "  paxos delete colour --config cluster.toml",
    )
    add_cluster_arguments(parser)


def run_delete(arguments: argparse.Namespace, out: Output) -> int:
    """Remove."""
    key, target = key_of(arguments.name), _target(arguments)
    deleted = call(target, lambda client: client.delete(key))
    out.result({"key": json_bytes(key), "deleted": deleted})
    return EXIT_DONE if deleted else EXIT_NO


def _add_cas(commands: Commands) -> None:
    parser = add_command(
        commands,
        "cas",
        run_cas,
        "replace a value if it is the one expected",
        "Compare and swap, in one step that nothing comes between. Prints nothing; exit code 0 when the "
        "value "
        "was the one expected and was replaced, 1 when it was another and stays.",
        "  paxos cas colour blue red --config cluster.toml            red, if it is blue\n"
        "  paxos cas lock $HOSTNAME --absent --config cluster.toml    take it, if nobody has it\n"
        "  paxos cas lock $HOSTNAME --delete --config cluster.toml    let go of it, if it is ours",
    )
    parser.add_argument("name", metavar="KEY", help=_KEY)
    parser.add_argument(
        "values",
        metavar="VALUE",
        nargs="+",
        help="the value expected, then the new one (- for standard input)",
    )
    parser.add_argument("--absent", action="store_true", help="expect no value; only the new one is given")
    parser.add_argument("--delete", action="store_true", help="remove it; only the expected one is given")
    add_cluster_arguments(parser)


def run_cas(arguments: argparse.Namespace, out: Output) -> int:
    """Compare and swap."""
    wanted = 2 - arguments.absent - arguments.delete
    if len(arguments.values) != wanted or wanted == 0:
        raise UsageError(
            "cas takes KEY EXPECTED VALUE, or KEY VALUE --absent, or KEY EXPECTED --delete; "
            f"{len(arguments.values)} values were given"
        )
    key, target = key_of(arguments.name), _target(arguments)
    values = [value_of(text) for text in arguments.values]
    expected = None if arguments.absent else values[0]
    value = None if arguments.delete else values[-1]
    swapped = call(target, lambda client: client.cas(key, expected, value))
    out.result({"key": json_bytes(key), "swapped": swapped})
    return EXIT_DONE if swapped else EXIT_NO


def _add_increment(commands: Commands) -> None:
    parser = _key_command(
        commands,
        "increment",
        run_increment,
        "add to the number under a key",
        "Prints the sum. A key that is not there counts as 0; a value that is no number is left alone, and "
        "the "
        "exit code is 1. Asked once, it is added once, however often a node has to be asked again.",
        "  paxos increment visits --config cluster.toml\n  paxos increment stock -3 --config cluster.toml",
    )
    parser.add_argument(
        "delta", metavar="DELTA", nargs="?", type=_delta, default=1, help="what to add; may be negative (1)"
    )
    add_cluster_arguments(parser)


def _delta(text: str) -> int:
    return count(-MAX_DELTA - 1, MAX_DELTA)(text)


def run_increment(arguments: argparse.Namespace, out: Output) -> int:
    """Add."""
    key, target = key_of(arguments.name), _target(arguments)
    number = call(target, lambda client: client.increment(key, arguments.delta))
    out.result({"key": json_bytes(key), "value": number}, str(number))
    return EXIT_DONE


# --- many keys ---------------------------------------------------------------------------------------


def _add_range(parser: Parser) -> None:
    parser.add_argument("low", metavar="LOW", nargs="?", default="", help="the first key (the lowest)")
    parser.add_argument("high", metavar="HIGH", nargs="?", help="the first key beyond (none)")


def _range(arguments: argparse.Namespace) -> tuple[bytes, bytes | None]:
    return key_of(arguments.low), None if arguments.high is None else key_of(arguments.high)


def _add_scan(commands: Commands) -> None:
    parser = add_command(
        commands,
        "scan",
        run_scan,
        "list keys and their values",
        "A line for each key from LOW up to, but not including, HIGH, in order: the key, a tab, the value. "
        "What "
        "can not be printed is shown as Python writes it; --json has it exactly. When there are more, "
        "standard "
        "error says from which key to go on.",
        "  paxos scan --config cluster.toml\n"
        "  paxos scan user/ user0 --limit 10 --config cluster.toml      all keys that begin with user/\n"
        "  paxos scan --config cluster.toml --json | jq '.items[].key'",
    )
    _add_range(parser)
    parser.add_argument("--limit", type=count(1, MAX_LIMIT), default=1000, metavar="N", help="at most (1000)")
    _add_stale(parser)
    add_cluster_arguments(parser)


def run_scan(arguments: argparse.Namespace, out: Output) -> int:
    """List."""
    (low, high), target = _range(arguments), _target(arguments)
    found: Items = call(target, lambda client: client.scan(low, high, arguments.limit, stale=arguments.stale))
    items = [{"key": json_bytes(key), "value": json_bytes(value)} for key, value in found.items]
    lines = [f"{readable(key, _ALL)}\t{readable(value, _ALL)}" for key, value in found.items]
    out.result({"items": items, "more": found.more}, "\n".join(lines))
    if found.more:
        out.say(f"there are more: go on after {readable(found.items[-1][0])}, or raise --limit")
    return EXIT_DONE


def _add_watch(commands: Commands) -> None:
    parser = add_command(
        commands,
        "watch",
        run_watch,
        "see keys change as it happens",
        "A line for each change to a key from LOW up to, but not including, HIGH: the revision, put or "
        "delete, the key and the new value, with tabs between; with --json an object a line. Runs until it "
        "is interrupted, and goes on at another node when the one it asks is gone; no change is left out or "
        "told twice. Exit code 1 when changes after --since are not kept any more; standard error says from "
        "which revision on they are. Under EPaxos each node numbers changes in its own order: a revision "
        "says at which node it holds, and a watch ends with exit code 1 when that is gone.",
        "  paxos watch --config cluster.toml\n"
        "  paxos watch user/ user0 --config cluster.toml --json\n"
        "  paxos watch --since 120 --config cluster.toml            everything after revision 120",
    )
    _add_range(parser)
    parser.add_argument(
        "--since", type=count(0, MAX_PLACED), metavar="REV", help="begin after this revision (from now on)"
    )
    parser.add_argument(
        "--changes", type=count(1, 2**31 - 1), metavar="N", help="end with exit code 0 after so many"
    )
    add_cluster_arguments(parser)


def run_watch(arguments: argparse.Namespace, out: Output) -> int:
    """Show changes until interrupted."""
    import anyio

    (low, high), target = _range(arguments), _target(arguments)
    show = _show_json(out) if out.as_json else _show_text

    async def watch() -> int:
        left = arguments.changes
        async with open_client(target) as client:
            # Who can not be reached now is told so; later, somebody is waited for.
            now = await client.revision()
            since = now if arguments.since is None else arguments.since
            out.say(f"watching from revision {since} on; now it is {now}")
            changes = client.watch(low, high, since=since)
            async for change in changes:
                show(change)
                left = None if left is None else left - 1
                if left == 0:
                    return EXIT_DONE
        return EXIT_INTERRUPTED

    return anyio.run(watch)


def _show_json(out: Output) -> Callable[[Change], None]:
    def show(change: Change) -> None:
        value = json_bytes(change.value)
        deleted = change.value is None
        out.result(
            {"revision": change.revision, "key": json_bytes(change.key), "deleted": deleted, "value": value}
        )

    return show


def _show_text(change: Change) -> None:
    key = readable(change.key, _ALL)
    what = f"delete\t{key}" if change.value is None else f"put\t{key}\t{readable(change.value, _ALL)}"
    print(f"{change.revision}\t{what}", flush=True)
