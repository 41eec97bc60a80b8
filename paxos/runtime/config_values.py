"""What a cluster file says, as values: every one of them checks itself when it is made.

`ClusterConfig` holds everything; `NodeConfig`, `TlsConfig` and `QuorumSpec` are its parts.  Whatever is
wrong is a `ConfigurationError` of one line; `paxos.runtime.config` reads the values from a file and
puts the file and the place in it before the line.
"""

import difflib
import hashlib
import ipaddress
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs

from paxos.ballot import NodeId
from paxos.contract import Decides, ProtocolDescription, find_protocol
from paxos.errors import ConfigurationError
from paxos.quorum import (
    ExplicitQuorums,
    FastQuorums,
    FlexibleQuorums,
    GridQuorums,
    Majority,
    QuorumSystem,
    WeightedQuorums,
)
from paxos.service.machines import DEFAULT_MACHINE, find_machine
from paxos.service.node import MachineMaker
from paxos.service.settings import LogSettings
from paxos.wire import MAX_NODE

__all__ = [
    "MEMORY",
    "PARAMETER_NAMES",
    "Address",
    "ClusterConfig",
    "NodeConfig",
    "QuorumSpec",
    "TlsConfig",
    "did_you_mean",
    "parse_address",
    "shown",
]

#: The store that forgets: the only one that nodes may have in common.
MEMORY: Final = "memory"

_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL: Final = "[A-Za-z0-9_][A-Za-z0-9_-]{0,62}"
_HOST: Final = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*\.?")


# --- messages ----------------------------------------------------------------------------------------


def did_you_mean(key: object, known: Iterable[str]) -> str:
    """` (did you mean ...?)` when something known is near, else nothing."""
    near = difflib.get_close_matches(str(key), list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def shown(value: object) -> str:
    """A value of the file in a message: short, and on one line."""
    try:
        text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else repr(value)
    except ValueError:
        # A hexadecimal number may have any length, and not every one can be written in decimal.
        text = "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _commas(nodes: Iterable[NodeId]) -> str:
    return ", ".join(map(str, nodes))


# --- addresses ---------------------------------------------------------------------------------------


@attrs.frozen(order=True)
class Address:
    """Where a node listens.

    Args:
        host: a name, an IPv4 address, or an IPv6 address without its brackets.
        port: 1..65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: object) -> Address:
    """`host:port` or `[ipv6]:port` as an address.

    Raises:
        ConfigurationError: it is none, or the port is outside 1..65535.
    """
    if not isinstance(text, str):
        raise ConfigurationError(f'an address is a text as "127.0.0.1:7101", not {shown(text)}')
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ConfigurationError(f'address {shown(text)}: expected host:port, as in "127.0.0.1:7101"')
    if host.startswith("[") and host.endswith("]"):
        host = _ipv6(host[1:-1], text)
    elif ":" in host:
        raise ConfigurationError(
            f'address {shown(text)}: write an IPv6 address in brackets, as in "[::1]:7101"'
        )
    elif _HOST.fullmatch(host) is None:
        raise ConfigurationError(f"address {shown(text)}: {shown(host)} is no host name and no IP address")
    elif re.fullmatch(r"[0-9.]+", host) is not None:
        _ipv4(host, text)
    if re.fullmatch(r"[0-9]{1,5}", port) is None or not 1 <= int(port) <= 65535:
        raise ConfigurationError(f"address {shown(text)}: port {shown(port)} is not a number in 1..65535")
    return Address(host, int(port))


def _ipv6(host: str, text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise ConfigurationError(f"address {shown(text)}: {shown(host)} is not an IPv6 address") from None


def _ipv4(host: str, text: str) -> None:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        raise ConfigurationError(f"address {shown(text)}: {shown(host)} is not an IPv4 address") from None


# --- the parts ---------------------------------------------------------------------------------------


def _node_id(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if type(value) is not int:
        raise ConfigurationError(f"{attribute.name}: expected a whole number, got {shown(value)}")
    if not 1 <= value <= MAX_NODE:
        raise ConfigurationError(
            f"{attribute.name}: {shown(value)} is outside 1..{MAX_NODE}; nodes are 1, 2, 3, ..."
        )


def _text(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, str):
        raise ConfigurationError(f"{attribute.name}: expected a text, got {shown(value)}")
    if not value.strip() or "\0" in value:
        raise ConfigurationError(
            f"{attribute.name}: {shown(value)} says nothing; give it a value or leave it out"
        )


def _optional_text(instance: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if value is not None:
        _text(instance, attribute, value)


def _address(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    parse_address(value)


def _true_or_false(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if type(value) is not bool:
        raise ConfigurationError(f"{attribute.name}: expected true or false, got {shown(value)}")


@attrs.frozen
class NodeConfig:
    """One node of the cluster.

    Args:
        id: 1, 2, 3, ...; never reused for another disk.
        address: `host:port` where it listens for peers and clients.
        store: a directory of this node's own, `memory` for tests, or `kind:rest` for a store that
            another distribution provides.
        region: where it is, for people and for latency tables.
        observer: True for a node that learns what the others decide, answers reads, and does not vote.

    Raises:
        ConfigurationError: one of them can not be.
    """

    id: NodeId = attrs.field(validator=_node_id)
    address: str = attrs.field(validator=_address)
    store: str = attrs.field(validator=_text)
    region: str | None = attrs.field(default=None, validator=_optional_text)
    observer: bool = attrs.field(default=False, validator=_true_or_false)

    @property
    def host(self) -> str:
        """The address's host, an IPv6 address without brackets."""
        return parse_address(self.address).host

    @property
    def port(self) -> int:
        """The address's port."""
        return parse_address(self.address).port


@attrs.frozen
class TlsConfig:
    """The files of mutual TLS. `{id}` in a path stands for the node's id, or for `client`.

    Args:
        ca: certificates (PEM) of the authority that signed every node's and every client's.
        certificate: the own certificate (PEM); its subject alternative name says who one is.
        key: the private key of that certificate (PEM).

    Raises:
        ConfigurationError: a path that is no text, or has another placeholder.
    """

    ca: str = attrs.field(validator=_text)
    certificate: str = attrs.field(validator=_text)
    key: str = attrs.field(validator=_text)

    def __attrs_post_init__(self) -> None:
        for name in ("ca", "certificate", "key"):
            for found in re.findall(r"\{[^{}]*\}", getattr(self, name)):
                if found != "{id}":
                    raise ConfigurationError(
                        f"{name}: {shown(found)} stands for nothing here; the node's id is {{id}}"
                    )

    def for_node(self, who: NodeId | str) -> "TlsConfig":
        """The files of one node, or of `"client"`."""
        paths = (path.replace("{id}", str(who)) for path in (self.ca, self.certificate, self.key))
        return TlsConfig(*paths)

    def require_readable(self) -> None:
        """Make sure that every file is there and can be read.

        Raises:
            ConfigurationError: one can not; the message names it.
        """
        for name in ("ca", "certificate", "key"):
            path = getattr(self, name)
            try:
                with open(path, "rb") as file:
                    file.read(1)
            except OSError as error:
                raise ConfigurationError(
                    f"tls: {name} file {path}: can not be read: {error.strerror or error}"
                ) from error


# --- quorums -----------------------------------------------------------------------------------------

_Build = Callable[[Sequence[NodeId], Mapping[str, Any]], QuorumSystem]


def _weights(parameters: Mapping[str, Any]) -> dict[NodeId, int]:
    """Weights by node id: the keys of a TOML table are always texts."""
    given = parameters["weights"]
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"weights: expected a table as {{ 1 = 2, 2 = 1 }}, got {shown(given)}")
    weights: dict[NodeId, int] = {}
    for key, weight in given.items():
        text = str(key)
        if isinstance(key, bool) or re.fullmatch(r"[1-9][0-9]{0,9}", text) is None:
            raise ConfigurationError(f"weights: {shown(key)} is not a node's id")
        weights[int(text)] = weight
    return weights


def _rest(parameters: Mapping[str, Any], *without: str) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name not in without}


def _of_no_protocol(members: Sequence[NodeId], parameters: Mapping[str, Any]) -> QuorumSystem:
    raise ConfigurationError(
        "kind: quorums of kind failures are of protocols that name how many nodes may fail, as epaxos does; "
        "this one takes any other kind"
    )


#: Every kind: the keys it needs, those it may have, and how it is built.
_KINDS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...], _Build]]] = {
    "majority": ((), (), lambda members, _: Majority(members)),
    "flexible": (("phase1", "phase2"), ("fast",), lambda members, given: FlexibleQuorums(members, **given)),
    "fast": ((), ("classic", "fast"), lambda members, given: FastQuorums(members, **given)),
    "grid": (("rows",), (), lambda _, given: GridQuorums(given["rows"])),
    "weighted": (
        ("weights",),
        ("phase1", "phase2", "fast"),
        lambda _, given: WeightedQuorums(_weights(given), **_rest(given, "weights")),
    ),
    "explicit": (("phase1",), ("phase2", "fast"), lambda members, given: ExplicitQuorums(members, **given)),
    # Of a protocol that makes its own from them.
    "failures": ((), ("failures", "fast_failures"), _of_no_protocol),
}

#: What `ProtocolDescription.failure_quorums` is.
_ByFailures = Callable[[Sequence[NodeId], int | None, int | None], QuorumSystem]

#: What the kinds take, all together.
PARAMETER_NAMES: Final = tuple(
    dict.fromkeys(name for needed, optional, _ in _KINDS.values() for name in (*needed, *optional))
)


def _plain(value: Any) -> Any:
    """A parameter with its collections made unchangeable, so that the spec stays what was checked."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return tuple(map(_plain, value)) if isinstance(value, list | tuple | set | frozenset) else value


@attrs.frozen
class QuorumSpec:
    """Which quorum system, said in words: it becomes one when the members are known.

    Args:
        kind: majority, flexible (phase1, phase2: sizes), fast (classic, fast: sizes), grid (rows: lists
            of node ids), weighted (weights: by node id; phase1, phase2: thresholds), explicit (phase1,
            phase2: lists of sets of node ids); or failures (failures, fast_failures), the only kind of a
            protocol that has `ProtocolDescription.failure_quorums`.
        parameters: what the kind takes, by name.

    Raises:
        ConfigurationError: no such kind, or a parameter it does not take or is missing.
    """

    kind: str = "majority"
    parameters: Mapping[str, Any] = attrs.field(factory=dict, converter=_plain)

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in _KINDS:
            raise ConfigurationError(
                f"kind: there is no kind of quorums {shown(self.kind)}{did_you_mean(self.kind, _KINDS)}; "
                f"there are {', '.join(_KINDS)}"
            )
        needed, optional, _ = _KINDS[self.kind]
        for name in self.parameters:
            if name not in needed + optional:
                takes = ", ".join(needed + optional) or "nothing more"
                raise ConfigurationError(
                    f"unknown key {shown(name)}{did_you_mean(name, needed + optional)}; "
                    f"{self.kind} takes {takes}"
                )
        for name in needed:
            if name not in self.parameters:
                raise ConfigurationError(f"{name}: missing; {self.kind} quorums need it")

    def build(self, members: Sequence[NodeId], by_failures: _ByFailures | None = None) -> QuorumSystem:
        """The quorum system over these members.

        Args:
            members: ids of the nodes that vote.
            by_failures: the protocol's `failure_quorums`, if it has one.

        Raises:
            ConfigurationError: a parameter does not fit, or the quorums do not intersect, or speak of
                other nodes than `members`.
        """
        if by_failures is not None and self.kind != "failures":
            raise ConfigurationError(
                f"kind: the quorums of this protocol are named by how many nodes may fail: kind failures "
                f"(failures, fast_failures), not {self.kind}"
            )
        if by_failures is not None:
            given = self.parameters
            system = by_failures(members, given.get("failures"), given.get("fast_failures"))
        else:
            system = _KINDS[self.kind][2](members, self.parameters)
        if system.members != tuple(sorted(members)):
            raise ConfigurationError(
                f"{self.kind} quorums over nodes {_commas(system.members)}, "
                f"but the cluster has nodes {_commas(sorted(members))}; name each exactly once"
            )
        return system


# --- the cluster -------------------------------------------------------------------------------------


def _cluster_id(_: object, attribute: "attrs.Attribute[Any]", value: object) -> None:
    if not isinstance(value, str):
        raise ConfigurationError(f"cluster id: expected a text, got {shown(value)}")
    if _ID.fullmatch(value) is None:
        raise ConfigurationError(
            f"cluster id: {shown(value)}: use 1 to 64 letters, digits, dots, dashes and underscores, "
            "a letter or digit first"
        )


@attrs.frozen
class ClusterConfig:
    """A whole cluster, checked.

    Args:
        id: tells it from every other cluster.
        protocol: the protocol's name.
        nodes: the nodes, in any order; kept by ascending id.
        machine: the state machine of a protocol that decides a log: "kv" for `paxos.KeyValue`, or
            "package.module:Class"; None for "kv". A protocol that decides decrees has none.
        tls: when present, mutual TLS is required everywhere.
        quorums: which sets of nodes are enough; None for the protocol's own choice.
        settings: the protocol's settings; None for its defaults.
        log: settings of the service of a log; None for their defaults, and for a protocol that decides
            decrees. They need not be equal on all nodes.
        path: the file it came from.

    Raises:
        ConfigurationError: something is missing, double, or does not go together.
    """

    id: str = attrs.field(validator=_cluster_id)
    protocol: str = attrs.field(validator=_text)
    nodes: tuple[NodeConfig, ...] = attrs.field(converter=tuple[NodeConfig, ...])
    machine: str | None = attrs.field(default=None, validator=_optional_text)
    tls: TlsConfig | None = None
    quorums: QuorumSpec | None = None
    settings: Any = None
    log: LogSettings | None = None
    path: Path | None = attrs.field(default=None, eq=False)

    def __attrs_post_init__(self) -> None:
        protocol = self.description()
        _check_nodes(self.nodes)
        object.__setattr__(self, "nodes", tuple(sorted(self.nodes, key=lambda node: node.id)))
        if self.machine is not None and protocol.decides is Decides.DECREES:
            raise ConfigurationError(
                f"machine: {shown(self.machine)}: protocol {self.protocol} decides decrees and has "
                "its machine built in; leave it out"
            )
        if self.log is not None and protocol.decides is Decides.DECREES:
            raise ConfigurationError(
                f"log: protocol {self.protocol} decides decrees and keeps no log; leave it out"
            )
        if protocol.decides is Decides.LOG:
            object.__setattr__(self, "machine", self.machine or DEFAULT_MACHINE)
            object.__setattr__(self, "log", self.log or LogSettings())
        settings = protocol.settings() if self.settings is None else self.settings
        if not isinstance(settings, protocol.settings):
            raise ConfigurationError(
                f"settings: protocol {self.protocol} takes a {protocol.settings.__name__}, "
                f"not a {type(settings).__name__}"
            )
        object.__setattr__(self, "settings", settings)
        if self.observers and protocol.decides is Decides.DECREES:
            raise ConfigurationError(
                f"node {self.observers[0]}: observer: protocol {self.protocol} decides decrees, and has no "
                "observers"
            )
        if not self.voters:
            raise ConfigurationError("every node is an observer; at least one has to vote")
        distinguished = getattr(settings, "distinguished", None)
        if distinguished is not None and distinguished not in self.members:
            raise ConfigurationError(
                f"settings: distinguished: there is no node {distinguished}; "
                f"the nodes are {_commas(self.members)}"
            )
        self.quorum_system()

    @property
    def members(self) -> tuple[NodeId, ...]:
        """The ids of all nodes, ascending."""
        return tuple(node.id for node in self.nodes)

    @property
    def voters(self) -> tuple[NodeId, ...]:
        """The ids of the nodes that vote, ascending."""
        return tuple(node.id for node in self.nodes if not node.observer)

    @property
    def observers(self) -> tuple[NodeId, ...]:
        """The ids of the nodes that only learn, ascending."""
        return tuple(node.id for node in self.nodes if node.observer)

    def node(self, id: NodeId) -> NodeConfig:  # noqa: A002
        """The node with that id.

        Raises:
            ConfigurationError: there is none.
        """
        for node in self.nodes:
            if node.id == id:
                return node
        raise ConfigurationError(
            f"{self.where}there is no node {id!r}; the nodes are {_commas(self.members)}"
        )

    @property
    def where(self) -> str:
        """What messages about this configuration begin with: the file, or nothing."""
        return "" if self.path is None else f"{self.path}: "

    def description(self) -> ProtocolDescription:
        """The protocol. Raises ConfigurationError when none of that name is installed."""
        return find_protocol(self.protocol)

    def machine_maker(self) -> MachineMaker | None:
        """What makes the state machine; None for a protocol that decides decrees.

        Raises:
            ConfigurationError: there is no such machine.
        """
        return None if self.machine is None else find_machine(self.machine)

    def quorum_system(self) -> QuorumSystem:
        """The quorum system over the nodes that vote."""
        if self.quorums is None:
            return self.description().quorums(self.voters)
        try:
            return self.quorums.build(self.voters, self.description().failure_quorums)
        except ConfigurationError as error:
            raise ConfigurationError(f"quorums: {error}") from error

    def agreed(self) -> dict[str, str]:
        """What must be equal on all nodes, by name: nodes compare it when they meet."""
        values = {
            "members": _commas(self.voters),
            "protocol": self.protocol,
            "quorums": self.quorum_system().describe(),
            "machine": self.machine or "decrees",
        }
        if self.observers:
            values["observers"] = _commas(self.observers)
        for field in attrs.fields(type(self.settings)):
            if field.metadata.get("agreed"):
                value = getattr(self.settings, field.name)
                values[f"settings.{field.name}"] = "none" if value is None else str(value)
        return values

    def digest(self) -> str:
        """64 hexadecimal digits, equal exactly when `agreed` is."""
        return hashlib.sha256(json.dumps(self.agreed(), sort_keys=True).encode()).hexdigest()


def _check_nodes(nodes: Sequence[NodeConfig]) -> None:
    if not nodes:
        raise ConfigurationError("there are no nodes; add a [[node]] with id, address and store for each")
    seen: dict[tuple[str, object], NodeConfig] = {}
    for node in nodes:
        if not isinstance(node, NodeConfig):
            raise ConfigurationError(f"nodes: expected NodeConfig values, got {shown(node)}")
        address = parse_address(node.address)
        keys: list[tuple[str, object]] = [("id", node.id), ("address", (address.host.lower(), address.port))]
        if node.store != MEMORY:
            # `sqlite:` is what a directory is without it.
            keys.append(("store", os.path.abspath(node.store.removeprefix("sqlite:"))))
        for key in keys:
            other = seen.setdefault(key, node)
            if other is not node:
                name = key[0]
                who = "two nodes" if name == "id" else f"nodes {other.id} and {node.id}"
                raise ConfigurationError(f"{who} have {name} {getattr(node, name)}; give each its own")
