"""`paxos backup` and `paxos restore`: the state of a running cluster as a file, and a new cluster from it."""

import argparse
import datetime
import shlex

from paxos.cli.arguments import Commands, add_cluster_arguments, add_command, count, target_of
from paxos.cli.calling import call, require_log
from paxos.cli.output import Output
from paxos.errors import EXIT_DONE, PaxosError

__all__ = ["add"]

_MIB = 1 << 20


def add(commands: Commands) -> None:
    """Add `paxos backup` and `paxos restore`."""
    parser = add_command(
        commands,
        "backup",
        run_backup,
        "write the state of a running cluster to a file",
        "Online: one node hands over its whole state as of one moment, the table of clients included, "
        "while the "
        "cluster goes on. What was acknowledged before the command was begun is in it. The file appears "
        "when it is complete, and nothing is overwritten; it carries a checksum, and says which cluster, "
        "protocol and state machine it is of.",
        "  paxos backup --out shop.backup --config cluster.toml\n"
        "  paxos backup --out monday.backup --cluster 127.0.0.1:7101,127.0.0.1:7102 --timeout 60",
    )
    parser.add_argument("--out", metavar="FILE", required=True, help="the file to write; must not be there")
    add_cluster_arguments(parser)
    parser = add_command(
        commands,
        "restore",
        run_restore,
        "make the stores of a new cluster from a backup",
        "Offline: writes stores with which the nodes of a new cluster begin. The new cluster has an id of "
        "its own "
        "(the one that was backed up is refused) and may have other members, quorums and addresses; "
        "protocol and "
        "state machine stay. Every node must begin with the backup: with --all, where all stores are on this "
        "machine, or with --node N on each machine with the same file. A node that is forgotten and starts "
        "empty "
        "is refused by the others.\n\n"
        "Nothing is overwritten. Exit code 2 when the file is damaged or a store is there already.",
        "  paxos restore --in shop.backup --config new/cluster.toml --all\n"
        "  paxos restore --in shop.backup --config new/cluster.toml --node 2    on node 2's machine",
    )
    parser.add_argument("--in", dest="source", metavar="FILE", required=True, help="the backup")
    parser.add_argument("--config", metavar="FILE", required=True, help="the new cluster's file")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--node", type=count(1, 2**31 - 1), metavar="N", help="the store of this node")
    which.add_argument("--all", action="store_true", help="the stores of all nodes")


def run_backup(arguments: argparse.Namespace, out: Output) -> int:
    """Write the file."""
    from paxos.runtime.backup_files import read_backup, write_backup

    target = target_of(arguments)
    require_log(target, "backup")
    with out.counting("backing up, MiB") as bar:
        header = call(
            target,
            lambda client: write_backup(client, arguments.out, lambda size: bar.set(size / _MIB)),
        )
    backup = read_backup(arguments.out)
    result = {
        "path": arguments.out,
        "cluster": header.cluster,
        "protocol": header.protocol,
        "machine": header.machine,
        "node": header.node,
        "applied": _plain(backup.applied),
        "bytes": backup.size_bytes,
        "sha256": backup.digest.hex(),
    }
    out.result(
        result,
        f"wrote {arguments.out}: cluster {header.cluster!r} up to {backup.applied}, "
        f"{backup.size_bytes} bytes, read back and found whole",
    )
    return EXIT_DONE


def _plain(mark: object) -> object:
    return mark if mark is None or isinstance(mark, int | str) else str(mark)


def run_restore(arguments: argparse.Namespace, out: Output) -> int:
    """Write the stores."""
    from paxos.runtime.backup_files import read_backup, require_restorable, restore_node
    from paxos.runtime.config import load_cluster

    config = load_cluster(arguments.config)
    nodes = config.members if arguments.all else (config.node(arguments.node).id,)
    backup = read_backup(arguments.source)
    require_restorable(backup, config, nodes)
    made: list[str] = []
    try:
        with out.progress("stores written", len(nodes)) as bar:
            for node in nodes:
                made.append(str(restore_node(backup, config, node)))
                bar.advance()
    except PaxosError:
        for place in made:
            out.say(f"written before: {place}")
        raise
    header = backup.header
    taken = datetime.datetime.fromtimestamp(header.taken_s, datetime.UTC).isoformat()
    lines = [
        f"cluster {config.id!r} begins with the state of {header.cluster!r} as of {taken}:",
        *(f"  {place}" for place in made),
    ]
    missing = [node for node in config.members if node not in nodes]
    if missing:
        lines.append(f"restore node {', '.join(map(str, missing))} too, before any node is started")
    lines += ["start each node:"]
    lines += [f"  paxos serve --config {shlex.quote(arguments.config)} --node {node}" for node in nodes]
    result = {
        "cluster": config.id,
        "from": header.cluster,
        "taken": taken,
        "applied": _plain(backup.applied),
        "nodes": list(nodes),
        "missing": missing,
        "stores": made,
    }
    out.result(result, "\n".join(lines))
    return EXIT_DONE
