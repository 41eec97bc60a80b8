"""`paxos decide`, `decided` and `status`: a client of a running cluster, one call long.

The chosen value goes to standard output as it is, no newline added, so that any bytes pass through a pipe
unchanged.
"""

import argparse
import os
import sys
from typing import Any, Final

from paxos.cli.arguments import Commands, Target, add_cluster_arguments, add_command, target_of
from paxos.cli.output import Output, json_bytes
from paxos.command import MAX_COMMAND_BYTES
from paxos.errors import EXIT_DONE, EXIT_NO, EXIT_UNREACHABLE, ConfigurationError, PaxosError

__all__ = ["add"]

_COLUMNS: Final = ("node", "address", "ready", "decided", "open", "requests", "says")


def add(commands: Commands) -> None:
    """Add `paxos decide`, `paxos decided` and `paxos status`."""
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
    parser = add_command(
        commands,
        "status",
        run_status,
        "ask every node how it does",
        "A line for each node, the unreachable ones included, and which nodes are refused by others and why; "
        "exit code 3 when none can be reached.",
        "  paxos status --config cluster.toml\n"
        "  paxos status --config cluster.toml --json | jq '.nodes[] | select(.reachable | not)'",
    )
    add_cluster_arguments(parser, timeout_s=2.0)


def run_decide(arguments: argparse.Namespace, out: Output) -> int:
    """Decide, and print what was chosen."""
    value = _value(arguments.value)
    name = os.fsencode(arguments.name)
    chosen = _call(target_of(arguments), "decide", _shown(name), value)
    if not out.as_json:
        out.raw(chosen)
    out.result({"name": json_bytes(name), "value": json_bytes(chosen), "ours": chosen == value})
    return EXIT_DONE


def run_decided(arguments: argparse.Namespace, out: Output) -> int:
    """Read, and print what is chosen."""
    name = os.fsencode(arguments.name)
    chosen = _call(target_of(arguments), "decided", _shown(name))
    if chosen is not None and not out.as_json:
        out.raw(chosen)
    out.result({"name": json_bytes(name), "decided": chosen is not None, "value": json_bytes(chosen)})
    return EXIT_NO if chosen is None else EXIT_DONE


def run_status(arguments: argparse.Namespace, out: Output) -> int:
    """Ask all, and print a table."""
    target = target_of(arguments)
    found = _statuses(target)
    rows = []
    for status in found:
        if status["reachable"]:
            cells = [
                status.get(name, "") for name in ("node", "address", "ready", "decided", "open", "requests")
            ]
            cells[2] = "yes" if cells[2] else "no"
            rows.append([*cells, _says(status)])
        else:
            rows.append([status["node"] or "?", status["address"], "-", "-", "-", "-", status["error"]])
    reached = sum(bool(status["reachable"]) for status in found)
    out.table(f"{reached} of {len(found)} nodes reached:", _COLUMNS, rows)
    out.result({"reached": reached, "nodes": found})
    return EXIT_DONE if reached else EXIT_UNREACHABLE


def _says(status: dict[str, Any]) -> str:
    """A node's summary, and which of its peers refuse it."""
    refusals = {peer: how.get("refused") for peer, how in status.get("peers", {}).items()}
    refused = [f"REFUSED by node {peer}: {why}" for peer, why in refusals.items() if why]
    return "; ".join([str(status.get("summary", "")), *refused])


def _shown(name: bytes) -> str | bytes:
    """A name as messages show it best; the cluster sees the same bytes either way."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name


def _value(text: str) -> bytes:
    """The value that an argument stands for."""
    if text != "-":
        return os.fsencode(text)
    if sys.stdin is None:
        raise ConfigurationError("standard input is closed, and the value - is read from there")
    data = sys.stdin.buffer.read(MAX_COMMAND_BYTES + 1)
    if len(data) > MAX_COMMAND_BYTES:
        raise ConfigurationError(f"standard input: the value is longer than {MAX_COMMAND_BYTES} bytes")
    return data


def _call(target: Target, method: str, *arguments: str | bytes) -> Any:
    """One call of one client."""
    import anyio

    from paxos.runtime.opening import connect

    async def main() -> Any:
        cluster = target.config.id if target.config else None
        async with connect(
            target.addresses, tls=target.tls, cluster=cluster, timeout_s=target.timeout_s
        ) as client:
            return await getattr(client, method)(*arguments)

    return anyio.run(main)


def _statuses(target: Target) -> list[dict[str, Any]]:
    """What each node says of itself, or why it says nothing, in the order of the addresses."""
    import anyio

    from paxos.runtime.opening import connect

    ids: dict[str, int] = {node.address: node.id for node in target.config.nodes} if target.config else {}
    found: dict[str, dict[str, Any]] = {}

    async def ask(address: str) -> None:
        try:
            cluster = target.config.id if target.config else None
            async with connect(
                [address], tls=target.tls, cluster=cluster, timeout_s=target.timeout_s
            ) as client:
                found[address] = {"address": address, "reachable": True, **await client.status()}
        except PaxosError as error:
            reason = " ".join(str(error).split())
            # The address has a place of its own; what comes after it is what is wrong.
            reason = reason.partition(f"{address}: ")[2] or reason.removeprefix("status: ")
            found[address] = {
                "address": address, "reachable": False, "node": ids.get(address), "error": reason
            }  # fmt: skip

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for address in target.addresses:
                group.start_soon(ask, address)

    anyio.run(main)
    return [found[address] for address in target.addresses]
