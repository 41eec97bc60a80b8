"""`paxos status`: how every node of a running cluster does."""

import argparse
from typing import Any, Final

from paxos.cli.arguments import Commands, add_cluster_arguments, add_command, target_of
from paxos.cli.calling import statuses
from paxos.cli.output import Output
from paxos.errors import EXIT_DONE, EXIT_UNREACHABLE

__all__ = ["add"]

_COLUMNS: Final = ("node", "address", "ready", "decided", "open", "requests", "says")
_LOG_COLUMNS: Final = (
    "node", "address", "ready", "role", "committed", "applied", "snapshot", "clients", "says"
)  # fmt: skip


def add(commands: Commands) -> None:
    """Add `paxos status`."""
    parser = add_command(
        commands,
        "status",
        run_status,
        "ask every node how it does",
        "A line for each node, the unreachable ones included, and which nodes are refused by others and why; "
        "and whether nodes that made a snapshot at one marker made different ones. Exit code 3 when none can "
        "be reached.",
        "  paxos status --config cluster.toml\n"
        "  paxos status --config cluster.toml --json | jq '.nodes[] | select(.reachable | not)'",
    )
    add_cluster_arguments(parser, timeout_s=2.0)


def run_status(arguments: argparse.Namespace, out: Output) -> int:
    """Ask all, and print a table."""
    target = target_of(arguments)
    found = statuses(target)
    in_log = any("applied" in status for status in found)
    rows = []
    for status in found:
        if status["reachable"]:
            rows.append([*(_log_cells(status) if in_log else _decree_cells(status)), _says(status)])
        else:
            blank = ["-"] * (len(_LOG_COLUMNS if in_log else _COLUMNS) - 3)
            rows.append([status["node"] or "?", status["address"], *blank, status["error"]])
    reached = sum(bool(status["reachable"]) for status in found)
    columns = _LOG_COLUMNS if in_log else _COLUMNS
    out.table(f"{reached} of {len(found)} nodes reached:", columns, rows)
    different = _different(found)
    for complaint in different:
        out.say(f"DIFFERENT: {complaint}")
    out.result({"reached": reached, "nodes": found, "different": different})
    return EXIT_DONE if reached else EXIT_UNREACHABLE


def _different(found: list[dict[str, Any]]) -> list[str]:
    """Which nodes made different snapshots at one marker: then they hold different states."""
    made: dict[int, dict[str, list[int]]] = {}
    for status in found:
        number, digest = status.get("snapshot"), status.get("snapshot_digest")
        if isinstance(number, int) and isinstance(digest, str):
            made.setdefault(number, {}).setdefault(digest, []).append(status["node"])
    return [
        f"at marker {number} nodes " + " and nodes ".join(", ".join(map(str, nodes)) for nodes in by.values())
        + " made different snapshots, so their states differ: a state machine that is not deterministic, or "
        "whose footprints leave out a key"
        for number, by in sorted(made.items())
        if len(by) > 1
    ]  # fmt: skip


def _decree_cells(status: dict[str, Any]) -> list[object]:
    ready = "yes" if status.get("ready") else "no"
    return [status.get("node", ""), status["address"], ready, *_cells(status, "decided", "open", "requests")]


def _log_cells(status: dict[str, Any]) -> list[object]:
    ready = "yes" if status.get("ready") else "no"
    return [
        status.get("node", ""),
        status["address"],
        ready,
        *_cells(status, "role", "committed", "applied", "snapshot", "sessions"),
    ]


def _cells(status: dict[str, Any], *names: str) -> list[object]:
    return [_cell(status.get(name)) for name in names]


def _cell(value: Any) -> object:
    if isinstance(value, dict):
        # One for each node, in the order of their ids.
        return " ".join(map(str, value.values()))
    return "-" if value is None else value


def _says(status: dict[str, Any]) -> str:
    """A node's summary, and which of its peers refuse it."""
    refusals = {peer: how.get("refused") for peer, how in status.get("peers", {}).items()}
    refused = [f"REFUSED by node {peer}: {why}" for peer, why in refusals.items() if why]
    return "; ".join([str(status.get("summary", "")), *refused])
