"""`paxos init`: writes a cluster file to start from, and test certificates on request.

What is written teaches: the file says what each line is for, and holds the optional parts as comments.
It is read back before it is written, so that what `init` leaves behind always works.
"""

import argparse
import json
import re
import shlex
from pathlib import Path
from typing import Final

import attrs

from paxos.cli.arguments import Commands, add_command, count
from paxos.cli.output import Output
from paxos.contract import Decides, find_protocol, protocol_names
from paxos.errors import EXIT_DONE, ConfigurationError
from paxos.quorum import Phase

__all__ = ["add", "cluster_text"]

FILE_NAME: Final = "cluster.toml"
#: Where the certificates go, beside the cluster file.
TLS_DIRECTORY: Final = "tls"

_HEAD: Final = """\
# A cluster of {count} {plural}. This file is the same on every machine; each node is started with
#     paxos serve --config {name} --node N
# and looked over with
#     paxos check --config {name}
# Paths are relative to the directory this file is in.

[cluster]
{id}# told apart from every other cluster by this; never change it
protocol = {protocol}
{machine}{quorums}
# The protocol's settings; every one has a default.
# [settings]
"""
_QUORUMS: Final = """
# Which sets of nodes are enough. Without this table: the protocol's own choice, a majority.
# [cluster.quorums]
# kind = "flexible"           # also: majority, grid (rows), weighted (weights), explicit (phase1, phase2)
# phase1 = {phase1}                  # phase1 + phase2 must exceed the number of nodes
# phase2 = {phase2}
"""
_FAILURES: Final = """
# How many nodes may be down. Without this table: as many as {count} allow.
{off}[cluster.quorums]
{off}kind = "failures"
{off}{failures}# so many may be down, and the others go on
{off}{fast}# so many, and commands that do not conflict still take one round trip
"""
_SETTINGS_OF_DECREES: Final = """\
# distinguished = 1           # others hand their values to this node, so that they do not contend
# repeat_s = 0.25             # seconds until an unanswered question is repeated
"""
_SETTINGS_OF_LOG: Final = """\
# recover_s = 1.0             # seconds until others finish what a node that is gone left behind
# fast_wait_s = 0.0           # seconds to wait for a fast quorum rather than take a second round trip
# heartbeat_s = 0.1           # seconds between a leader's heartbeats
# election_min_s = 0.8        # seconds without one until another node stands for election, at least
# election_max_s = 1.6        # and at most; the difference keeps nodes from standing at once
"""
_MACHINE: Final = """\
machine = "kv"                # what the log is applied to: keys and values, or "package.module:Class"
"""
_NODE: Final = """
[[node]]
{id}# never give an id to another disk: a wiped node is refused
{address}# where it listens, for peers and clients
{store}# a directory of this node's own
"""
_ALONE: Final = """\
# With no other node nobody remembers this store: if the disk is lost, the node starts empty and unnoticed,
# and every decision is gone. With three, a wiped disk is refused. Members are fixed: begin with as many
# as you want to end with.
"""
_REGION: Final = '# region = "CA"               # optional: where it is, for people\n'
_TLS: Final = """
# Mutual TLS: with this table every node and every client must show a certificate of this authority.
# A node's certificate names its id, so none can speak for another. {{id}} is the node's id.
[tls]
ca = "{directory}/ca.pem"
certificate = "{directory}/node-{{id}}.pem"
key = "{directory}/node-{{id}}.key"
"""


def add(commands: Commands) -> None:
    """Add `paxos init`."""
    parser = add_command(
        commands,
        "init",
        run,
        "write a cluster file to start from",
        "Writes DIR/cluster.toml for nodes on this machine, explained line by line; edit the addresses for "
        "machines of their own. With --tls also certificates for trying things out. Nothing is overwritten.",
        "  paxos init shop                               three nodes on ports 7101 to 7103\n"
        "  paxos init shop --protocol multipaxos         a replicated log with a key-value store\n"
        "  paxos init shop --protocol epaxos --nodes 5   the same without a leader; any two may be down\n"
        "  paxos init shop --nodes 5 --base-port 9000 --id shop-eu\n"
        "  paxos init shop --tls                         with mutual TLS and test certificates\n"
        "  paxos init shop && paxos check --config shop/cluster.toml",
    )
    parser.add_argument("directory", metavar="DIR", type=Path, help="where to write; made if it is not there")
    parser.add_argument("--nodes", type=count(1, 1000), default=3, metavar="N", help="how many (3)")
    parser.add_argument("--protocol", default="paxos", metavar="NAME", help="what it runs (paxos)")
    parser.add_argument(
        "--failures",
        type=count(0, 1000),
        metavar="F",
        help="of a protocol whose quorums are named so (epaxos): how many nodes may be down (as many as can)",
    )
    parser.add_argument(
        "--fast-failures",
        type=count(0, 1000),
        metavar="E",
        help="likewise: how many, so that one round trip still does (half of F + 1)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="the host of every address (127.0.0.1)")
    parser.add_argument(
        "--base-port", type=count(1, 65535), default=7101, metavar="PORT", help="node 1's port (7101)"
    )
    parser.add_argument("--id", metavar="ID", help="the cluster's id (the directory's name)")
    parser.add_argument(
        "--tls", action="store_true", help="with mutual TLS, and test certificates in DIR/tls"
    )


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Write the files."""
    from paxos.runtime.config import parse_cluster

    directory: Path = arguments.directory
    path = directory / FILE_NAME
    text = cluster_text(
        identifier=_id_from(directory.resolve().name) if arguments.id is None else arguments.id,
        protocol=arguments.protocol,
        nodes=arguments.nodes,
        host=_bare(arguments.host),
        base_port=arguments.base_port,
        tls=arguments.tls,
        failures=(arguments.failures, arguments.fast_failures),
    )
    try:
        config = parse_cluster(text, path)
    except ConfigurationError as error:
        raise ConfigurationError(f"nothing was written: {str(error).removeprefix(f'{path}: ')}") from error
    for taken in (path, directory / TLS_DIRECTORY) if arguments.tls else (path,):
        if taken.exists():
            raise ConfigurationError(
                f"{taken}: is there already and is not overwritten; give another directory"
            )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if arguments.tls:
            _write_certificates(directory / TLS_DIRECTORY, config.members, _bare(arguments.host))
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or path}: can not be written: {error.strerror}") from error
    commands = [f"paxos serve --config {shlex.quote(str(path))} --node {node}" for node in config.members]
    result = {"path": str(path), "id": config.id, "nodes": list(config.members), "serve": commands}
    lines = [
        f"wrote {path}",
        "start each node in a terminal of its own:",
        *(f"  {line}" for line in commands),
    ]
    if len(config.members) == 1:
        lines.append("one node alone: if its disk is lost, every decision is, and nobody notices")
    first = "put colour blue" if config.description().decides is Decides.LOG else "decide leader node-1"
    lines += ["then:", f"  paxos {first} --config {shlex.quote(str(path))}"]
    out.result(result, "\n".join(lines))
    return EXIT_DONE


def cluster_text(
    *,
    identifier: str,
    protocol: str,
    nodes: int,
    host: str,
    base_port: int,
    tls: bool,
    failures: tuple[int | None, int | None] = (None, None),
) -> str:
    """The text of a cluster file, explained.

    Raises:
        ConfigurationError: no such protocol, or one whose quorums are not named by failures, or with which
            so many nodes can not be; or the ports do not suffice.
    """
    if protocol not in protocol_names():
        known = ", ".join(protocol_names()) or "none"
        raise ConfigurationError(f"no protocol named {protocol!r} is installed; known here: {known}")
    if base_port + nodes - 1 > 65535:
        raise ConfigurationError(
            f"{nodes} nodes from port {base_port} end above 65535; take --base-port {65536 - nodes} or lower"
        )
    keeps_log = find_protocol(protocol).decides is Decides.LOG
    parts = [
        _HEAD.format(
            count=nodes,
            plural="node" if nodes == 1 else "nodes",
            name=FILE_NAME,
            id=_line("id", identifier),
            protocol=json.dumps(protocol),
            machine=_MACHINE if keeps_log else "",
            quorums=_quorums(protocol, nodes, failures),
        )
    ]
    parts.append(_settings(protocol))
    shown = f"[{host}]" if ":" in host else host
    for node in range(1, nodes + 1):
        address = f"{shown}:{base_port + node - 1}"
        parts.append(
            _NODE.format(
                id=_line("id", node), address=_line("address", address), store=_line("store", f"data/{node}")
            )
        )
        if node == 1:
            parts.append(_REGION)
    if nodes == 1:
        parts.append(_ALONE)
    if tls:
        parts.append(_TLS.format(directory=TLS_DIRECTORY))
    return "".join(parts)


def _quorums(protocol: str, nodes: int, failures: tuple[int | None, int | None]) -> str:
    """The table of quorums, as a comment unless it says something."""
    by_failures = find_protocol(protocol).failure_quorums
    if by_failures is None:
        if failures != (None, None):
            raise ConfigurationError(
                f"--failures and --fast-failures: the quorums of protocol {protocol} are not named so; see "
                "[cluster.quorums] in the file that is written without them"
            )
        phase2 = nodes // 2 + 1
        return _QUORUMS.format(phase1=nodes + 1 - phase2, phase2=phase2)
    chosen = by_failures(range(1, nodes + 1), *failures)
    return _FAILURES.format(
        count=nodes,
        off="# " if failures == (None, None) else "",
        failures=_line("failures", chosen.survives(Phase.TWO)),
        fast=_line("fast_failures", chosen.survives(Phase.FAST)),
    )


def _settings(protocol: str) -> str:
    """Examples of settings, those that the protocol has."""
    names = {field.name for field in attrs.fields(find_protocol(protocol).settings)}
    lines = (_SETTINGS_OF_DECREES + _SETTINGS_OF_LOG).splitlines(keepends=True)
    return "".join(line for line in lines if line.split()[1] in names)


def _bare(host: str) -> str:
    """A host without the brackets that an IPv6 address has in front of a port."""
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _line(key: str, value: object) -> str:
    """A line that leaves room for a remark, where the others begin."""
    return f"{key} = {json.dumps(value, ensure_ascii=False)} ".ljust(30)


def _id_from(name: str) -> str:
    """A cluster id from a directory's name, which may hold what an id may not."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip("._-")[:64] or "cluster"


def _write_certificates(directory: Path, members: tuple[int, ...], host: str) -> None:
    from paxos.runtime.certificates import make_certificates

    make_certificates(directory, members, [host])
