"""`paxos check`: looks over a cluster file, a store that no node is using, or a history, and changes nothing.

Of a configuration it checks what a node would need at its start: the files of TLS (and that they belong
together), the stores, the addresses.  Of a store it reads every record the way the protocol does at a
restart, one by one, so that a damaged one is named.  Of a history: whether it is linearizable; that is in the
room next door, paxos.cli.histories.
"""

import argparse
import ast
import errno
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from paxos.cli.arguments import Commands, add_command, count
from paxos.cli.histories import add_history_arguments, check_history
from paxos.cli.log_store import LogLook, look_at_log
from paxos.cli.output import Output, json_bytes, readable
from paxos.contract import (
    Configuration,
    Decides,
    Instant,
    Orders,
    ProtocolDescription,
    Records,
    find_protocol,
)
from paxos.errors import (
    EXIT_CHECK_FAILED,
    EXIT_DONE,
    EXIT_USAGE,
    ConfigurationError,
    PaxosError,
    RecordError,
    StoreRefused,
)
from paxos.quorum import Majority, Phase, QuorumSystem
from paxos.service import (
    CHARTER_KEY,
    SUPERSEDED_KEY,
    Identity,
    Node,
    charter_record,
    read_charter,
    replica_prefix,
    require_charter,
    take_superseded,
    wipes_detected,
)
from paxos.service.identity import IDENTITY_PREFIX
from paxos.service.snapshots import SNAPSHOT_PREFIX

if TYPE_CHECKING:
    from paxos.runtime.config import ClusterConfig, NodeConfig
    from paxos.runtime.store import StoreReport

__all__ = ["Finding", "StoreLook", "add", "look_at_configuration", "look_at_store"]

_GOOD: Final = "ok"
_NOTE: Final = "note"
_BAD: Final = "bad"


@attrs.frozen
class Finding:
    """One thing that was looked at.

    Args:
        what: what it is.
        verdict: "ok", "note" (worth knowing; nothing is wrong) or "bad".
        detail: one sentence.
    """

    what: str
    verdict: str
    detail: str


def add(commands: Commands) -> None:
    """Add `paxos check`."""
    parser = add_command(
        commands,
        "check",
        run,
        "look over a cluster file, a store offline, or a history",
        "Changes nothing and starts nothing. Of a cluster file: whether it is one, whether its quorums make "
        "sense, whether TLS files can be read and belong together, whether addresses are free and stores "
        "sound. Of a store, which no node may be using: whether every record can be read back. Of a history, "
        "as `paxos simulate --history` writes it: whether it is linearizable, that is, whether one order of "
        "the operations, each between its call and its return, explains every answer; if none does, the "
        "smallest window that can not be ordered is shown.\n\n"
        "Exit code 2 when a node could not start or a history has bad lines, 4 when the search for an order "
        "was given up, 5 when a store is damaged or a history is not linearizable.",
        "  paxos check --config cluster.toml             the whole cluster, as seen from this machine\n"
        "  paxos check --config cluster.toml --node 2    what node 2 needs, on its own machine\n"
        "  paxos check --store data/2                    every record, decided and open decrees counted\n"
        "  paxos check --store data/2 --list             and every decision in it\n"
        "  paxos check --history run.jsonl --model decree\n"
        "  paxos check --history run.jsonl --model my.package:Queue --json",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="FILE", help="the cluster file")
    what.add_argument("--store", metavar="DIR", help="a node's store")
    what.add_argument("--history", metavar="FILE", help="what clients did, a JSON object a line")
    parser.add_argument("--node", type=count(1, 2**31 - 1), metavar="N", help="with --config: this node only")
    parser.add_argument("--list", action="store_true", help="with --store: every decision in it")
    add_history_arguments(parser)


def run(arguments: argparse.Namespace, out: Output) -> int:
    """Look, and say what was found."""
    if arguments.history is not None:
        if arguments.node is not None or arguments.list:
            raise ConfigurationError("--node goes with --config, --list with --store; neither with --history")
        return check_history(arguments, out)
    if arguments.model is not None or arguments.max_states is not None:
        raise ConfigurationError("--model and --max-states go with --history")
    if arguments.store is not None:
        if arguments.node is not None:
            raise ConfigurationError("--node goes with --config; a store says itself whose it is")
        return _check_store(arguments.store, arguments.list, out)
    if arguments.list:
        raise ConfigurationError("--list goes with --store")
    from paxos.runtime.config import load_cluster

    config = load_cluster(arguments.config)
    findings, damaged = look_at_configuration(config, arguments.node)
    bad = sum(finding.verdict == _BAD for finding in findings)
    shown = [(finding.verdict, finding.what, finding.detail) for finding in findings]
    out.table(f"{arguments.config}:", ("", "what", "finding"), shown)
    result = {"path": arguments.config, "findings": [attrs.asdict(finding) for finding in findings]}
    out.result({**result, "bad": bad}, f"{bad} of {len(findings)} findings are bad" if bad else "all is well")
    return EXIT_CHECK_FAILED if damaged else EXIT_USAGE if bad else EXIT_DONE


# --- a configuration ---------------------------------------------------------------------------------


def look_at_configuration(config: "ClusterConfig", only: int | None = None) -> tuple[list[Finding], bool]:
    """Everything worth saying of a cluster file that could be read, and whether a store is damaged.

    Args:
        config: what the file says.
        only: look at this node alone, and take what it needs as needed on this machine.

    Raises:
        ConfigurationError: there is no such node.
    """
    nodes = config.nodes if only is None else (config.node(only),)
    count_, names = len(config.nodes), ", ".join(map(str, config.members))
    findings = [
        Finding("cluster", _GOOD, f"{config.id!r}: protocol {config.protocol}, {count_} nodes ({names})")
    ]
    findings.append(_look_at_quorums(config))
    damaged = False
    for node in nodes:
        findings.append(_look_at_address(node, needed=only is not None))
        finding, is_damaged = _look_at_store(config, node)
        findings.append(finding)
        damaged |= is_damaged
        if config.tls is not None:
            findings.append(_look_at_tls(config, node, needed=only is not None))
    return findings, damaged


def _look_at_quorums(config: "ClusterConfig") -> Finding:
    quorums = config.quorum_system()
    least = min(quorums.survives(Phase.ONE), quorums.survives(Phase.TWO))
    detail = f"{quorums.describe()}: goes on with any {least} node{'' if least == 1 else 's'} down"
    if config.description().failure_quorums is not None:
        detail += f", in one round trip with any {quorums.survives(Phase.FAST)}"
    if len(config.nodes) == 1:
        alone = (
            "one node alone agrees only with itself, and if its disk is wiped it starts empty and unnoticed"
        )
        return Finding("quorums", _NOTE, f"{detail}; {alone}")
    if least == 0:
        return Finding("quorums", _NOTE, f"{detail}: one failure can stop it")
    if len(config.nodes) % 2 == 0 and config.quorums is None:
        return Finding("quorums", _NOTE, f"{detail}, no more than {len(config.nodes) - 1} nodes would")
    return Finding("quorums", _GOOD, detail)


def _look_at_address(node: "NodeConfig", needed: bool) -> Finding:
    what = f"node {node.id} address"
    if node.host in ("0.0.0.0", "::"):
        return Finding(
            what, _NOTE, f"{node.address}: other machines can not find a node there; name its host"
        )
    try:
        family, kind, number, _, where = socket.getaddrinfo(node.host, node.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, number) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except socket.gaierror as error:
        return Finding(what, _BAD, f"{node.address}: {node.host} is not known here: {error.strerror}")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            verdict = _BAD if needed else _NOTE
            return Finding(
                what, verdict, f"{node.address}: in use here: the node runs, or something else does"
            )
        if error.errno == errno.EADDRNOTAVAIL:
            verdict = _BAD if needed else _NOTE
            return Finding(what, verdict, f"{node.address}: not an address of this machine")
        return Finding(what, _BAD, f"{node.address}: can not be listened on: {error.strerror}")
    return Finding(what, _GOOD, f"{node.address}: free here")


def _look_at_store(config: "ClusterConfig", node: "NodeConfig") -> tuple[Finding, bool]:
    """What is to be said of a node's store, and whether it is damaged."""
    what = f"node {node.id} store"
    if node.store == "memory":
        then = "the node is refused after it"
        if not wipes_detected(len(config.nodes)):
            then = "every decision is lost: with no other node, nobody notices"
        return Finding(what, _NOTE, f"memory: forgets at every stop, and {then}"), False
    from paxos.runtime.store import split_store

    try:
        kind, rest = split_store(node.store)
    except ConfigurationError as error:
        return Finding(what, _BAD, str(error)), False
    if kind != "sqlite":
        return Finding(what, _NOTE, f"{node.store}: looked at by its own tools, not here"), False
    directory = Path(rest)
    if not directory.exists():
        return Finding(what, _GOOD, f"{directory}: not there yet; made at the node's first start"), False
    try:
        look = look_at_store(node.store)
    except PaxosError as error:
        verdict = _NOTE if "in use" in str(error) else _BAD
        return Finding(what, verdict, str(error)), False
    report, card = look.report, look.report.card
    differences = [
        f"{name} {found!r}, not {asked!r}"
        for name, found, asked in (
            ("cluster", card.cluster, config.id),
            ("node", card.node, node.id),
            ("protocol", card.protocol, config.protocol),
        )
        if found != asked
    ]
    if differences:
        return Finding(what, _BAD, f"{node.store}: belongs to {' and '.join(differences)}"), False
    if not report.sound:
        complaints = [*report.structure, *report.damaged]
        return Finding(what, _BAD, f"{node.store}: damaged: {complaints[0]}"), True
    refused = look.refused or _charter_complaint(config, node, look)
    if refused:
        return Finding(what, _BAD, f"{node.store}: {refused}"), False
    return Finding(what, _GOOD, f"{node.store}: {look.summary}"), False


def _charter_complaint(config: "ClusterConfig", node: "NodeConfig", look: "StoreLook") -> str:
    """Why a node with this configuration would refuse the store; empty if it would not."""
    asked = "the configuration" if config.path is None else config.path.name
    configuration = Configuration(node.id, config.quorum_system(), config.settings)
    try:
        require_charter(config.description(), configuration, look.charter_record, asked, config.machine or "")
    except StoreRefused as error:
        return str(error)
    return ""


def _look_at_tls(config: "ClusterConfig", node: "NodeConfig", needed: bool) -> Finding:
    from paxos.cli.tls_files import complaint_about

    what = f"node {node.id} TLS"
    assert config.tls is not None
    files = config.tls.for_node(node.id)
    missing = [path for path in (files.ca, files.certificate, files.key) if not Path(path).exists()]
    if missing and not needed:
        return Finding(what, _NOTE, f"not on this machine: {', '.join(missing)}")
    complaint = complaint_about(files, node.id)
    return Finding(what, _BAD, complaint) if complaint else Finding(what, _GOOD, f"{files.certificate}: fits")


# --- a store -----------------------------------------------------------------------------------------


@attrs.frozen
class StoreLook:
    """What an offline look at a store found.

    Args:
        report: of the store itself; damage found by the protocol is counted in it.
        decided: the decisions in it, by name.
        open: decrees voted or promised in and not known to be decided.
        charter: what must never change under it, by name; empty when it was never used.
        charter_record: the record that says so; empty when it was never used.
        refused: why no node would start with it, though it can be read; empty when one would.
        log: what it holds of its log, if its protocol keeps one; then nothing is counted as decided or open.
    """

    report: "StoreReport"
    decided: dict[bytes, bytes]
    open: int
    charter: dict[str, str]
    charter_record: dict[bytes, bytes]
    refused: str
    log: "LogLook | None" = None

    @property
    def summary(self) -> str:
        """A few words."""
        if self.log is not None:
            return f"{self.report.records} records, {self.log.summary}"
        decided = f"{len(self.decided)} decree{'' if len(self.decided) == 1 else 's'}"
        return f"{self.report.records} records, {decided} decided, {self.open} open"


def look_at_store(url: str) -> StoreLook:
    """Read every record of a store that no node is using, as its protocol does at a restart.

    Args:
        url: the store's address, as in a cluster file.

    Raises:
        StoreRefused: there is no store, it is in use, or it is damaged beyond reading.
        ConfigurationError: its protocol is not installed here.
    """
    from paxos.runtime.store import inspect_store

    records: dict[bytes, bytes] = {}

    def keep(key: bytes, value: bytes) -> None:
        # Judged below, when the store's card is known: it names the protocol.
        records[key] = value

    report = inspect_store(url, verify=keep)
    card = report.card
    protocol = find_protocol(card.protocol)
    store_id = bytes.fromhex(card.store_id)
    complaints = [_named(complaint, _key_in(complaint), protocol) for complaint in report.damaged]
    guards = {key: records.pop(key) for key in (CHARTER_KEY, SUPERSEDED_KEY) if key in records}
    charter, refused = _read_guards(guards, bool(records), complaints)
    # Any quorums will do to read what it holds, so it is read as if it had been used with these.
    configuration = Configuration(card.node, _some_quorums(protocol, card.node, charter))
    stand_in = dict([charter_record(protocol, configuration)])

    def restart(records: dict[bytes, bytes]) -> Node:
        held = {**stand_in, **records}
        return Node(protocol, configuration, store_id, held, lambda _name, _bound: 0, Instant(0.0))

    if protocol.decides is Decides.LOG:
        log = _look_at_log(protocol, configuration, store_id, records, complaints)
        found = report.damaged_count + len(complaints) - len(report.damaged)
        report = attrs.evolve(report, damaged=tuple(complaints), damaged_count=found)
        return StoreLook(report, {}, 0, charter, _only_charter(guards), refused, log)
    for key, value in list(records.items()):
        try:
            restart({key: value})
        except RecordError as error:
            del records[key]
            complaints.append(_named(str(error), key, protocol))
    node = restart(records)
    node.turn()  # applies what is decided
    found = report.damaged_count + len(complaints) - len(report.damaged)
    opened = node.status()["open"]
    return StoreLook(
        attrs.evolve(report, damaged=tuple(complaints), damaged_count=found),
        node.machine.values(),
        opened if isinstance(opened, int) else 0,
        charter,
        _only_charter(guards),
        refused,
    )


def _some_quorums(protocol: ProtocolDescription, node: int, charter: dict[str, str]) -> QuorumSystem:
    """Quorums of any kind that the protocol has; their members are those that the store names, if it does."""
    members = [int(each) for each in charter.get("members", "").split(",") if each.strip().isdecimal()]
    if protocol.failure_quorums is None or len(members) < protocol.least_nodes:
        return Majority((node,))
    return protocol.failure_quorums(members, None, None)


def _only_charter(guards: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: value for key, value in guards.items() if key == CHARTER_KEY}


def _look_at_log(
    protocol: ProtocolDescription,
    configuration: Configuration,
    store_id: bytes,
    records: dict[bytes, bytes],
    complaints: list[str],
) -> LogLook | None:
    """What a log's store holds; what is damaged is added to the complaints, and left out."""
    prefix, now = replica_prefix(0, 0), Instant(0.0)

    def restart(records: Records) -> None:
        own = {key[len(prefix) :]: value for key, value in records.items() if key.startswith(prefix)}
        protocol.replica(configuration, own, lambda _name, _bound: 0, now)
        about_node = {key: value for key, value in records.items() if key.startswith(IDENTITY_PREFIX)}
        Identity(configuration.node, configuration.members, store_id, about_node, 0.0)
        strange = [key for key in records if not key.startswith((prefix, IDENTITY_PREFIX, SNAPSHOT_PREFIX))]
        if strange:
            raise RecordError(f"record {strange[0]!r:.80}: of no replica that this node has")

    try:
        restart(records)
    except RecordError as broken:
        if protocol.orders is Orders.CONFLICTS:
            complaints.append(str(broken))  # its records belong together: it names the one
            return None
        # One by one, to name each: that takes long, and is seldom needed.
        for key, value in list(records.items()):
            try:
                restart({key: value})
            except RecordError as error:
                del records[key]
                complaints.append(_named(str(error), key, protocol))
    try:
        return look_at_log(protocol, records)
    except RecordError as error:
        complaints.append(str(error))
        return None


def _named(complaint: str, key: bytes, protocol: ProtocolDescription) -> str:
    """A complaint about the record under a key of the store, and what the protocol calls the record."""
    prefix = replica_prefix(0, 0)
    name = protocol.record_name(key.removeprefix(prefix)) if key.startswith(prefix) else ""
    return f"{name}: {complaint}" if name else complaint


def _key_in(complaint: str) -> bytes:
    """The key that a store's complaint begins with, as far as it is written there; empty if it is not."""
    found = re.match(r"""record (b'(?:[^'\\]|\\.)*'|b"(?:[^"\\]|\\.)*")""", complaint)
    return b"" if found is None else bytes(ast.literal_eval(found[1]))


def _read_guards(guards: dict[bytes, bytes], used: bool, complaints: list[str]) -> tuple[dict[str, str], str]:
    """The charter, and why no node would start with the store; what is damaged is added to the complaints."""
    charter, refused = None, ""
    try:
        charter = read_charter(guards)
        if charter is None and used:
            refused = "it does not say for which members and quorums its votes were cast"
        if SUPERSEDED_KEY in guards:
            refused = take_superseded(guards[SUPERSEDED_KEY])
    except RecordError as error:
        complaints.append(str(error))
    return charter or {}, refused


def _check_store(url: str, listed: bool, out: Output) -> int:
    look = look_at_store(url)
    report = look.report
    card = report.card
    complaints = [*report.structure, *report.damaged]
    unnamed = report.damaged_count - len(report.damaged)
    result: dict[str, object] = {
        "store": report.where,
        **attrs.asdict(card),
        "format_version": report.format_version,
        "clean": report.clean,
        "records": report.records,
        "size_bytes": report.size_bytes,
        **({"decided": len(look.decided), "open": look.open} if look.log is None else _log_json(look.log)),
        "charter": look.charter,
        "refused": look.refused or None,
        "damaged": report.damaged_count,
        "complaints": complaints,
    }
    lines = [
        f"{report.where}: node {card.node} of cluster {card.cluster!r}, protocol {card.protocol}",
        f"opened {card.incarnation} times, {'closed properly' if report.clean else 'not closed properly'}",
        *([f"made for members {look.charter['members']}: {look.charter['quorums']}"] if look.charter else []),
        f"{look.summary}; {report.size_bytes} bytes",
        *([f"refused: {look.refused}"] if look.refused else []),
        *(f"damaged: {complaint}" for complaint in complaints),
        *([f"and {unnamed} more damaged records"] if unnamed > 0 else []),
    ]
    if listed and look.log is not None:
        raise ConfigurationError(f"protocol {card.protocol} keeps a log: `paxos log --store DIR` lists it")
    if listed:
        decided = sorted(look.decided.items())
        result["decisions"] = [
            {"name": json_bytes(name), "value": json_bytes(value)} for name, value in decided
        ]
        lines += [f"{readable(name)} = {readable(value)}" for name, value in decided]
    out.result(result, "\n".join(lines))
    if complaints or not report.sound:
        return EXIT_CHECK_FAILED
    return EXIT_USAGE if look.refused else EXIT_DONE


def _log_json(log: LogLook) -> dict[str, object]:
    stored, snapshot = log.stored, None if log.snapshot is None else log.snapshot.mark
    known = {"committed": stored.committed} if stored.chosen is None else {"chosen": stored.chosen}
    return {f"{stored.place}s": stored.size, **known, "snapshot": snapshot}
