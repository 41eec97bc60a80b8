"""The cluster file: who is in the cluster, what it runs, and where each node listens and keeps its data.

One TOML file describes the whole cluster and is the same on every machine:

    [cluster]
    id = "shop"                     # told apart from every other cluster by this
    protocol = "paxos"
    [cluster.quorums]               # optional; the protocol's own choice without it
    kind = "majority"
    [settings]                      # optional; the protocol's own settings, by name
    distinguished = 1
    [log]                           # optional; settings of the service of a log: `paxos.LogSettings`, by name
    marker_requests = 100_000
    [[node]]                        # once for each node
    id = 1
    address = "127.0.0.1:7101"      # for peers and clients
    store = "data/1"                # "memory" for tests
    region = "CA"                   # optional
    observer = true                 # optional: it learns and does not vote
    [tls]                           # optional; when present, mutual TLS is required everywhere
    ca = "ca.pem"
    certificate = "node-{id}.pem"
    key = "node-{id}.key"

The same can be built in Python: every value here checks itself when it is made.  Whatever is wrong is a
`ConfigurationError` of one line that says where, what, and what to do.  Paths in a file are relative to
the directory the file is in.
"""

import json
import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs

from paxos.contract import find_protocol
from paxos.errors import ConfigurationError
from paxos.runtime.config_values import (
    MEMORY,
    PARAMETER_NAMES,
    Address,
    ClusterConfig,
    NodeConfig,
    QuorumSpec,
    TlsConfig,
    did_you_mean,
    parse_address,
    shown,
)
from paxos.service.settings import LogSettings

__all__ = [
    "MAX_FILE_BYTES",
    "Address",
    "ClusterConfig",
    "NodeConfig",
    "QuorumSpec",
    "TlsConfig",
    "dump_cluster",
    "load_cluster",
    "parse_address",
    "parse_cluster",
]

#: The longest cluster file that is read, bytes.
MAX_FILE_BYTES: Final = 4 * 1024 * 1024

#: A store of a kind: `kind:rest`. One letter before the colon is a drive, and so a directory.
_KIND_OF_STORE: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]+):(.*)", re.DOTALL)

_Made = TypeVar("_Made")


# --- reading -----------------------------------------------------------------------------------------

_CLUSTER_KEYS: Final = ("id", "protocol", "machine", "quorums")
_NODE_KEYS: Final = ("id", "address", "store", "region", "observer")
_TLS_KEYS: Final = ("ca", "certificate", "key")
_TABLES: Final = ("cluster", "node", "settings", "log", "tls")
#: Python neither reads nor shows a decimal number of thousands of digits, since that takes too long.
_TOO_LONG: Final = "a number has too many digits"


def load_cluster(path: str | os.PathLike[str]) -> ClusterConfig:
    """The cluster described by a TOML file; paths in it become relative to where this process runs.

    Raises:
        ConfigurationError: the file can not be read, or is not a cluster file: one line with the file,
            the place in it, and what to do.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigurationError(f"{file}: no such file; `paxos init DIR` writes one") from error
    except OSError as error:
        raise ConfigurationError(f"{file}: can not be read: {error.strerror or error}") from error
    if len(data) > MAX_FILE_BYTES:
        raise ConfigurationError(f"{file}: longer than {MAX_FILE_BYTES} bytes, so it is no cluster file")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{file}: line {line}: not UTF-8 text; save it as UTF-8") from error
    return parse_cluster(text, file)


def parse_cluster(text: str, where: str | os.PathLike[str]) -> ClusterConfig:
    """The cluster described by the text of a TOML file.

    Args:
        text: the TOML.
        where: the file's path: for messages, and what paths in the text are relative to.

    Raises:
        ConfigurationError: see `load_cluster`.
    """
    path = Path(where)
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        if isinstance(error, tomllib.TOMLDecodeError):
            reason = str(error)
        else:
            reason = "nested too deeply" if isinstance(error, RecursionError) else _TOO_LONG
        raise ConfigurationError(f"{path}: not TOML: {_one_line(reason)}") from error
    try:
        return _cluster(document, path)
    except ValueError as error:
        reason = str(error) if isinstance(error, ConfigurationError) else _TOO_LONG
        raise ConfigurationError(f"{path}: {_one_line(reason)}") from error


def _cluster(document: dict[str, Any], path: Path) -> ClusterConfig:
    _known_keys(document, _TABLES, "the file", "a table of a cluster file")
    cluster = _table(document, "cluster", needed=True)
    if "protocol" not in cluster:
        # A key that is nearly right is told before the one that is missing for it.
        _known_keys(cluster, _CLUSTER_KEYS, "[cluster]")
    name = _need(cluster, "protocol", "[cluster]")
    if not isinstance(name, str):
        raise ConfigurationError(f"[cluster]: protocol: expected a text, got {shown(name)}")
    protocol = _placed("[cluster]", lambda: find_protocol(name))
    settings_names = tuple(field.name for field in attrs.fields(protocol.settings))
    for key in cluster:
        if key in settings_names and key not in _CLUSTER_KEYS:
            raise ConfigurationError(
                f"[cluster]: {key} is a setting of the protocol; put it under [settings]"
            )
    _known_keys(cluster, _CLUSTER_KEYS, "[cluster]")
    settings = _table(document, "settings")
    _known_keys(settings, settings_names, "[settings]", f"a setting of protocol {name}")
    made = _placed("[settings]", lambda: protocol.settings(**settings))
    nodes = _nodes(document, path.parent)
    return ClusterConfig(
        id=_need(cluster, "id", "[cluster]"),
        protocol=name,
        nodes=nodes,
        machine=cluster.get("machine"),
        tls=_tls(document, path.parent),
        quorums=_quorums(cluster),
        settings=made,
        log=_log(document),
        path=path,
    )


def _log(document: dict[str, Any]) -> LogSettings | None:
    if "log" not in document:
        return None
    table = _table(document, "log")
    names = tuple(field.name for field in attrs.fields(LogSettings))
    _known_keys(table, names, "[log]", "a setting of the service of a log")
    return _placed("[log]", lambda: LogSettings(**table))


def _nodes(document: dict[str, Any], directory: Path) -> tuple[NodeConfig, ...]:
    tables = document.get("node", [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise ConfigurationError("node: expected [[node]] tables, in double brackets, one for each node")
    nodes = []
    for number, table in enumerate(tables, 1):
        known = type(table.get("id")) is int
        place = f"[[node]] number {number}" + (f" (id {shown(table['id'])})" if known else "")
        _known_keys(table, _NODE_KEYS, place)
        for key in ("id", "address", "store"):
            _need(table, key, place)
        node = _placed(place, lambda table=table: NodeConfig(**table))  # type: ignore[misc]
        nodes.append(attrs.evolve(node, store=_store_in(directory, node.store)))
    return tuple(nodes)


def _store_in(directory: Path, store: str) -> str:
    """A store's address with a relative directory taken from where the file is."""
    match = _KIND_OF_STORE.fullmatch(store)
    if store == MEMORY or (match is not None and match[1] != "sqlite"):
        return store
    if match is not None:
        return f"sqlite:{directory / match[2]}"
    return str(directory / store)


def _tls(document: dict[str, Any], directory: Path) -> TlsConfig | None:
    if "tls" not in document:
        return None
    table = _table(document, "tls")
    _known_keys(table, _TLS_KEYS, "[tls]")
    for key in _TLS_KEYS:
        _need(table, key, "[tls]")
    tls = _placed("[tls]", lambda: TlsConfig(**table))
    return TlsConfig(*(str(directory / path) for path in (tls.ca, tls.certificate, tls.key)))


def _quorums(cluster: dict[str, Any]) -> QuorumSpec | None:
    if "quorums" not in cluster:
        return None
    table = _table(cluster, "quorums", "cluster.")
    if "kind" not in table:
        _known_keys(table, ("kind", *PARAMETER_NAMES), "[cluster.quorums]")
    kind = _need(table, "kind", "[cluster.quorums]")
    parameters = {name: value for name, value in table.items() if name != "kind"}
    return _placed("[cluster.quorums]", lambda: QuorumSpec(kind, parameters))


def _table(document: dict[str, Any], name: str, prefix: str = "", needed: bool = False) -> dict[str, Any]:
    if name not in document and needed:
        raise ConfigurationError(f"no [{prefix}{name}] table; it gives the cluster's id and protocol")
    table = document.get(name, {})
    if not isinstance(table, dict):
        raise ConfigurationError(f"{prefix}{name}: expected a table [{prefix}{name}], got {shown(table)}")
    return table


def _need(table: Mapping[str, Any], key: str, place: str) -> Any:
    if key not in table:
        raise ConfigurationError(f"{place}: {key} is missing")
    return table[key]


def _known_keys(table: Iterable[str], known: Collection[str], place: str, what: str = "a key") -> None:
    for key in table:
        if key not in known:
            raise ConfigurationError(
                f"{place}: {shown(key)} is not {what}{did_you_mean(key, known)}; known are {', '.join(known)}"
            )


def _placed(place: str, make: Callable[[], _Made]) -> _Made:
    """What `make` makes; an error of its gets the place in the file."""
    try:
        return make()
    except (ConfigurationError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{place}: {error}") from error


def _one_line(text: str) -> str:
    return " ".join(text.split())


# --- writing -----------------------------------------------------------------------------------------


def dump_cluster(config: ClusterConfig) -> str:
    """The text of a cluster file that `parse_cluster` reads as `config`.

    Paths below the directory of `config.path` are written relative to it; settings that have their
    default are left out.
    """
    base = None if config.path is None else config.path.parent
    lines = ["[cluster]", f"id = {_toml(config.id)}", f"protocol = {_toml(config.protocol)}"]
    if config.machine is not None:
        lines.append(f"machine = {_toml(config.machine)}")
    if config.quorums is not None:
        lines += ["", "[cluster.quorums]", f"kind = {_toml(config.quorums.kind)}"]
        lines += [f"{name} = {_toml(value)}" for name, value in config.quorums.parameters.items()]
    for table, settings in (("settings", config.settings), ("log", config.log)):
        changed = _changed(settings)
        if changed:
            lines += ["", f"[{table}]", *(f"{name} = {_toml(value)}" for name, value in changed.items())]
    for node in config.nodes:
        store = node.store if node.store == MEMORY else _relative(node.store, base)
        lines += [
            "",
            "[[node]]",
            f"id = {node.id}",
            f"address = {_toml(node.address)}",
            f"store = {_toml(store)}",
        ]
        if node.region is not None:
            lines.append(f"region = {_toml(node.region)}")
        if node.observer:
            lines.append("observer = true")
    if config.tls is not None:
        lines += ["", "[tls]"]
        for name in _TLS_KEYS:
            lines.append(f"{name} = {_toml(_relative(getattr(config.tls, name), base))}")
    return "\n".join(lines) + "\n"


def _changed(settings: Any) -> dict[str, object]:
    """The settings that do not have their default, by name."""
    if settings is None:
        return {}
    return {
        field.name: getattr(settings, field.name)
        for field in attrs.fields(type(settings))
        if getattr(settings, field.name) != field.default
    }


def _relative(path: str, base: Path | None) -> str:
    match = _KIND_OF_STORE.fullmatch(path)
    kind, rest = (f"{match[1]}:", match[2]) if match is not None else ("", path)
    if base is not None and kind in ("", "sqlite:") and Path(rest).is_relative_to(base):
        rest = str(Path(rest).relative_to(base))
    return kind + rest


def _toml(value: object) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    raise ConfigurationError(f"{shown(value)} can not be written to a cluster file")
