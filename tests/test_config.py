"""The cluster file: what it gives, and the one line that says what is wrong with it.

Every bad file below is a file that a person could write; what is tested of each is the whole promise: one
line, the file's name in it, the place, and what to do.
"""

import os
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxos.basic import BasicSettings
from paxos.errors import ConfigurationError
from paxos.quorum import ExplicitQuorums, FastQuorums, FlexibleQuorums, GridQuorums, Majority, WeightedQuorums
from paxos.runtime.config import (
    MAX_FILE_BYTES,
    Address,
    ClusterConfig,
    NodeConfig,
    QuorumSpec,
    TlsConfig,
    dump_cluster,
    load_cluster,
    parse_address,
    parse_cluster,
)
from paxos.service.settings import LogSettings

HEAD = '[cluster]\nid = "shop"\nprotocol = "paxos"\n'
NODES = "".join(
    f'[[node]]\nid = {node}\naddress = "127.0.0.1:{7100 + node}"\nstore = "data/{node}"\n'
    for node in (1, 2, 3)
)
GOOD = HEAD + NODES
LOG = '[cluster]\nid = "shop"\nprotocol = "multipaxos"\n' + NODES
TLS = '[tls]\nca = "ca.pem"\ncertificate = "node-{id}.pem"\nkey = "node-{id}.key"\n'


def parsed(text: str) -> ClusterConfig:
    return parse_cluster(text, "/etc/shop/cluster.toml")


def complaint(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parsed(text)
    message = str(caught.value)
    assert message.startswith("/etc/shop/cluster.toml: ")
    assert "\n" not in message
    return message.removeprefix("/etc/shop/cluster.toml: ")


# --- what a good file gives --------------------------------------------------------------------------


def test_the_smallest_file() -> None:
    config = parsed(GOOD)
    assert (config.id, config.protocol, config.members) == ("shop", "paxos", (1, 2, 3))
    assert config.node(2) == NodeConfig(2, "127.0.0.1:7102", "/etc/shop/data/2")
    assert (config.node(2).host, config.node(2).port) == ("127.0.0.1", 7102)
    assert config.settings == BasicSettings()
    assert config.quorum_system() == Majority((1, 2, 3))
    assert config.tls is None
    assert config.machine is None
    assert config.path == Path("/etc/shop/cluster.toml")


def test_a_file_with_everything() -> None:
    text = HEAD + '[cluster.quorums]\nkind = "flexible"\nphase1 = 3\nphase2 = 1\n'
    text += "[settings]\ndistinguished = 2\nrepeat_s = 1\n" + NODES.replace("data/3", "memory") + TLS
    config = parsed(text.replace('"memory"', '"memory"\nregion = "CA"'))
    assert config.quorum_system() == FlexibleQuorums((1, 2, 3), 3, 1)
    assert config.settings == BasicSettings(distinguished=2, repeat_s=1.0)
    assert config.node(3) == NodeConfig(3, "127.0.0.1:7103", "memory", "CA")
    assert config.tls is not None
    assert config.tls.for_node(2).key == "/etc/shop/node-2.key"
    assert config.tls.for_node("client").certificate == "/etc/shop/node-client.pem"


@pytest.mark.parametrize(
    ("table", "system"),
    [
        ('kind = "majority"', Majority((1, 2, 3))),
        ('kind = "flexible"\nphase1 = 2\nphase2 = 2', FlexibleQuorums((1, 2, 3), 2, 2)),
        ('kind = "fast"\nclassic = 3', FastQuorums((1, 2, 3), 3)),
        ('kind = "grid"\nrows = [[1, 2, 3]]', GridQuorums([[1, 2, 3]])),
        (
            'kind = "weighted"\nweights = { 1 = 2, 2 = 1, 3 = 1 }\nphase1 = 3',
            WeightedQuorums({1: 2, 2: 1, 3: 1}, 3),
        ),
        ('kind = "explicit"\nphase1 = [[1, 2], [1, 3]]', ExplicitQuorums((1, 2, 3), [[1, 2], [1, 3]])),
    ],
)
def test_every_kind_of_quorums(table: str, system: object) -> None:
    config = parsed(HEAD + f"[cluster.quorums]\n{table}\n" + NODES)
    assert config.quorum_system() == system
    assert parse_cluster(dump_cluster(config), "/etc/shop/cluster.toml") == config


@pytest.mark.parametrize(
    ("store", "found"),
    [
        ("data/1", "/etc/shop/data/1"),
        ("/var/lib/1", "/var/lib/1"),
        ("sqlite:data/1", "sqlite:/etc/shop/data/1"),
        ("memory", "memory"),
        ("rocks:data/1", "rocks:data/1"),
        ("C:data", "/etc/shop/C:data"),
    ],
)
def test_where_a_store_is(store: str, found: str) -> None:
    assert parsed(GOOD.replace("data/1", store)).node(1).store == found


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:7101", Address("127.0.0.1", 7101)),
        ("[::1]:7101", Address("::1", 7101)),
        ("[0:0::1]:1", Address("::1", 1)),
        ("node-1.example.com:65535", Address("node-1.example.com", 65535)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


def test_a_file_on_disk_is_relative_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())  # as an editor on Windows saves it
    assert load_cluster(path).node(1).store == str(tmp_path / "data/1")
    assert load_cluster(str(path)) == load_cluster(path)


def test_agreed_is_what_must_be_equal_everywhere() -> None:
    config = parsed(GOOD)
    elsewhere = parsed(NODES.replace("127.0.0.1", "10.0.0.7").replace("data", "elsewhere") + HEAD)
    assert config.agreed() == elsewhere.agreed()
    assert config.digest() == elsewhere.digest()
    assert config.agreed() == {
        "members": "1, 2, 3",
        "protocol": "paxos",
        "quorums": "majority(1,2,3)",
        "machine": "decrees",
        "settings.distinguished": "none",
    }


@pytest.mark.parametrize(
    "other",
    [
        GOOD + '[[node]]\nid = 4\naddress = "127.0.0.1:7104"\nstore = "data/4"\n',
        HEAD + '[cluster.quorums]\nkind = "flexible"\nphase1 = 3\nphase2 = 1\n' + NODES,
        GOOD + "[settings]\ndistinguished = 1\n",
    ],
)
def test_a_difference_that_matters_changes_the_digest(other: str) -> None:
    assert parsed(other).digest() != parsed(GOOD).digest()


def test_a_difference_in_speed_only_does_not_change_the_digest() -> None:
    assert parsed(GOOD + "[settings]\nrepeat_s = 2.0\n").digest() == parsed(GOOD).digest()


# --- what is wrong with a bad one --------------------------------------------------------------------

BAD_FILES = {
    "not TOML": ("[cluster\nid = 1", "not TOML: ", "line 1, column 9"),
    "half a value": (HEAD + "x = ", "not TOML: ", "at end of document"),
    "deep": ("x = " + "[" * 5000, "not TOML: ", "nested too deeply"),
    "nothing at all": ("", "no [cluster] table"),
    "cluster is no table": ("cluster = 3\n" + NODES, "cluster: expected a table", "got 3"),
    "unknown table": (GOOD + "[tsl]\n", '"tsl" is not a table', "did you mean tls?"),
    "unknown key": (HEAD + 'protocl = "x"\n' + NODES, '[cluster]: "protocl"', "did you mean protocol?"),
    "unknown key of a node": (GOOD + 'stor = "x"\n', "[[node]] number 3 (id 3)", "did you mean store?"),
    "unknown setting": (GOOD + "[settings]\nrepeat = 1.0\n", "[settings]", "did you mean repeat_s?"),
    "unknown key of tls": (GOOD + TLS + 'keys = "x"\n', "[tls]", "did you mean key?"),
    "setting in the wrong place": (HEAD + "distinguished = 1\n" + NODES, "[settings]"),
    "no id": (GOOD.replace('id = "shop"\n', ""), "[cluster]: id is missing"),
    "nearly the protocol": (GOOD.replace("protocol =", "protocl ="), '"protocl"', "did you mean protocol?"),
    "nearly the kind": (
        HEAD + '[cluster.quorums]\nknd = "majority"\n' + NODES,
        '[cluster.quorums]: "knd"',
        "did you mean kind?",
    ),
    "no protocol": (GOOD.replace('protocol = "paxos"\n', ""), "[cluster]: protocol is missing"),
    "unknown protocol": (
        GOOD.replace('"paxos"', '"raft"'),
        "'raft'",
        "known here: epaxos, fastpaxos, fastpaxos-log, multipaxos",
    ),
    "protocol is no text": (GOOD.replace('"paxos"', "3"), "[cluster]: protocol: expected a text, got 3"),
    "cluster id is no text": (GOOD.replace('"shop"', "3"), "cluster id: expected a text, got 3"),
    "cluster id with spaces": (GOOD.replace('"shop"', '"my shop"'), "cluster id", "letters, digits"),
    "cluster id too long": (GOOD.replace('"shop"', f'"{"x" * 65}"'), "cluster id", "1 to 64"),
    "no nodes": (HEAD, "there are no nodes", "[[node]]"),
    "one bracket": (HEAD + '[node]\nid = 1\naddress = "h:1"\nstore = "d"\n', "[[node]]", "double brackets"),
    "node without id": (GOOD.replace("id = 2\n", ""), "[[node]] number 2: id is missing"),
    "node without address": (GOOD.replace('address = "127.0.0.1:7102"\n', ""), "(id 2): address is missing"),
    "node without store": (GOOD.replace('store = "data/2"\n', ""), "(id 2): store is missing"),
    "id is a truth": (GOOD.replace("id = 2\n", "id = true\n"), "[[node]] number 2", "got true"),
    "id is a text": (GOOD.replace("id = 2\n", 'id = "2"\n'), "[[node]] number 2", 'got "2"'),
    "id is zero": (GOOD.replace("id = 2\n", "id = 0\n"), "0 is outside 1.."),
    "id is huge": (GOOD.replace("id = 2\n", f"id = {1 << 40}\n"), "is outside 1.."),
    "id has too many digits": (GOOD.replace("id = 2\n", f"id = {'9' * 5000}\n"), "number", "too many digits"),
    "id has too many bits": (
        GOOD.replace("id = 2\n", f"id = 0x{'f' * 9000}\n"),
        "[[node]] number 2 (id a number of thousands of digits)",
        "is outside 1..",
    ),
    "setting with too many bits": (
        GOOD + f"[settings]\ndistinguished = 0x{'f' * 9000}\n",
        "too many digits",
    ),
    "quorums with too many bits": (
        HEAD + f'[cluster.quorums]\nkind = "flexible"\nphase1 = 0x{"f" * 9000}\nphase2 = 2\n' + NODES,
        "too many digits",
    ),
    "id twice": (GOOD.replace("id = 2\n", "id = 1\n"), "two nodes have id 1"),
    "address twice": (GOOD.replace("7102", "7101"), "nodes 1 and 2 have address 127.0.0.1:7101"),
    "store twice": (GOOD.replace("data/2", "./data//1"), "nodes 1 and 2 have store", "data/1"),
    "store twice, once with its kind": (
        GOOD.replace("data/2", "sqlite:data/1"),
        "nodes 1 and 2 have store",
        "data/1",
    ),
    "store is a number": (GOOD.replace('"data/2"', "2"), "(id 2): store: expected a text, got 2"),
    "store is nothing": (GOOD.replace('"data/2"', '" "'), "(id 2): store"),
    "address without port": (GOOD.replace("127.0.0.1:7102", "127.0.0.1"), "(id 2)", "expected host:port"),
    "address without host": (GOOD.replace("127.0.0.1:7102", ":7102"), "(id 2)", "expected host:port"),
    "address is a number": (GOOD.replace('"127.0.0.1:7102"', "7102"), "(id 2)", "not 7102"),
    "IPv6 without brackets": (GOOD.replace("127.0.0.1:7102", "::1:7102"), "(id 2)", "in brackets"),
    "bad IPv6": (GOOD.replace("127.0.0.1:7102", "[::g]:7102"), "(id 2)", "not an IPv6 address"),
    "bad IPv4": (GOOD.replace("127.0.0.1:7102", "127.0.0.256:7102"), "(id 2)", "not an IPv4 address"),
    "bad host": (GOOD.replace("127.0.0.1:7102", "a b:7102"), "(id 2)", "no host name"),
    "port zero": (GOOD.replace(":7102", ":0"), "(id 2)", "1..65535"),
    "port too high": (GOOD.replace(":7102", ":65536"), "(id 2)", "1..65535"),
    "port is a name": (GOOD.replace(":7102", ":http"), "(id 2)", "1..65535"),
    "port with a sign": (GOOD.replace(":7102", ":+712"), "(id 2)", "1..65535"),
    "region is no text": (GOOD + "region = 7\n", "(id 3): region: expected a text, got 7"),
    "machine for decrees": (HEAD + 'machine = "kv"\n' + NODES, "machine", "leave it out"),
    "setting of a wrong type": (
        GOOD + "[settings]\nmax_open = true\n",
        "[settings]: max_open",
        "whole number",
    ),
    "setting out of range": (GOOD + "[settings]\nrepeat_s = 0.0\n", "[settings]: repeat_s", "outside"),
    "setting infinite": (GOOD + "[settings]\nrepeat_s = inf\n", "[settings]: repeat_s", "expected seconds"),
    "setting is a text": (GOOD + '[settings]\nask_s = "1"\n', "[settings]: ask_s", "expected seconds"),
    "settings is no table": ("settings = 1\n" + GOOD, "settings: expected a table"),
    "distinguished stranger": (GOOD + "[settings]\ndistinguished = 9\n", "there is no node 9", "1, 2, 3"),
    "log of decrees": (GOOD + "[log]\nmarker_requests = 10\n", "log: protocol paxos decides decrees"),
    "log is no table": ("log = 1\n" + LOG, "log: expected a table"),
    "unknown setting of a log": (LOG + "[log]\nmarkers = 10\n", "[log]", '"markers" is not a setting of the'),
    "setting of a log out of range": (LOG + "[log]\npiece_s = 61\n", "[log]: piece_s", "seconds in 0..60"),
    "tls without key": (GOOD + '[tls]\nca = "a"\ncertificate = "b"\n', "[tls]: key is missing"),
    "tls with a number": (GOOD + TLS.replace('"ca.pem"', "1"), "[tls]: ca: expected a text"),
    "tls placeholder": (GOOD + TLS.replace("{id}", "{node}"), "[tls]", "{id}"),
    "quorums without kind": (HEAD + "[cluster.quorums]\nphase1 = 2\n" + NODES, "kind is missing"),
    "unknown quorums": (HEAD + '[cluster.quorums]\nkind = "major"\n' + NODES, "did you mean majority?"),
    "kind is a list": (HEAD + '[cluster.quorums]\nkind = ["grid"]\n' + NODES, "[cluster.quorums]", "kind"),
    "quorums with too much": (
        HEAD + '[cluster.quorums]\nkind = "majority"\nphase1 = 2\n' + NODES,
        "[cluster.quorums]",
        'unknown key "phase1"',
    ),
    "quorums with too little": (
        HEAD + '[cluster.quorums]\nkind = "flexible"\nphase1 = 2\n' + NODES,
        "[cluster.quorums]",
        "phase2: missing",
    ),
    "quorums apart": (
        HEAD + '[cluster.quorums]\nkind = "flexible"\nphase1 = 1\nphase2 = 2\n' + NODES,
        "quorums: ",
        "{1}",
        "{2, 3}",
    ),
    "quorum size is a truth": (
        HEAD + '[cluster.quorums]\nkind = "flexible"\nphase1 = true\nphase2 = 3\n' + NODES,
        "phase1 must be an int",
    ),
    "grid of other nodes": (
        HEAD + '[cluster.quorums]\nkind = "grid"\nrows = [[1, 2], [3, 4]]\n' + NODES,
        "over nodes 1, 2, 3, 4",
        "has nodes 1, 2, 3",
    ),
    "grid is no list": (HEAD + '[cluster.quorums]\nkind = "grid"\nrows = 3\n' + NODES, "quorums", "rows"),
    "weights are a list": (
        HEAD + '[cluster.quorums]\nkind = "weighted"\nweights = [1, 1, 1]\n' + NODES,
        "weights: expected a table",
    ),
    "weight of a name": (
        HEAD + '[cluster.quorums]\nkind = "weighted"\nweights = { one = 1, 2 = 1, 3 = 1 }\n' + NODES,
        'weights: "one" is not a node\'s id',
    ),
    "explicit without sets": (
        HEAD + '[cluster.quorums]\nkind = "explicit"\nphase1 = [1, 2]\n' + NODES,
        "quorums: ",
        "a collection",
    ),
}


@pytest.mark.parametrize(("text", "words"), [(bad[0], bad[1:]) for bad in BAD_FILES.values()], ids=BAD_FILES)
def test_a_bad_file_gets_one_line(text: str, words: tuple[str, ...]) -> None:
    found = complaint(text)
    for word in words:
        assert word in found


def refused(path: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_cluster(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "absent.toml")
    assert "can not be read" in refused(tmp_path)
    path = tmp_path / "cluster.toml"
    path.write_bytes(b'[cluster]\nid = "\xff"\n')
    assert "line 2: not UTF-8" in refused(path)
    path.write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    assert "longer than" in refused(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_one_may_not_read(tmp_path: Path) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text(GOOD)
    path.chmod(0)
    assert "Permission denied" in refused(path)


def test_an_unknown_node_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"/etc/shop/cluster.toml: there is no node 4; .*1, 2, 3"):
        parsed(GOOD).node(4)


def test_tls_files_must_be_readable(tmp_path: Path) -> None:
    tls = TlsConfig(str(tmp_path / "ca.pem"), str(tmp_path / "c-{id}.pem"), str(tmp_path)).for_node(1)
    with pytest.raises(ConfigurationError, match=r"tls: ca file .*ca\.pem: can not be read: No such file"):
        tls.require_readable()
    (tmp_path / "ca.pem").write_text("ca")
    (tmp_path / "c-1.pem").write_text("certificate")
    with pytest.raises(ConfigurationError, match=r"tls: key file .*: can not be read: Is a directory"):
        tls.require_readable()
    attrs.evolve(tls, key=str(tmp_path / "ca.pem")).require_readable()


def test_values_made_in_python_are_checked_too() -> None:
    nodes = (NodeConfig(1, "h:1", "memory"), NodeConfig(2, "h:2", "memory"))
    assert ClusterConfig("shop", "paxos", nodes[::-1]).nodes == nodes
    with pytest.raises(ConfigurationError, match="two nodes have id 1"):
        ClusterConfig("shop", "paxos", (nodes[0], nodes[0].__class__(1, "h:3", "memory")))
    with pytest.raises(ConfigurationError, match="takes a BasicSettings, not a dict"):
        ClusterConfig("shop", "paxos", nodes, settings={"repeat_s": 1})
    with pytest.raises(ConfigurationError, match="expected NodeConfig"):
        ClusterConfig("shop", "paxos", ("h:1",))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="no protocol named 'raft'"):
        ClusterConfig("shop", "raft", nodes)
    spec = QuorumSpec("explicit", {"phase1": [{1, 2}]})
    assert ClusterConfig("shop", "paxos", nodes, quorums=spec).quorum_system().sizes


# --- writing -----------------------------------------------------------------------------------------

TEXTS = st.text(min_size=1, max_size=12).filter(lambda text: text.strip() and "\0" not in text)


@given(
    ids=st.sets(st.integers(1, 1000), min_size=1, max_size=4),
    region=st.none() | TEXTS,
    store=TEXTS,
    settings=st.builds(
        BasicSettings,
        repeat_s=st.floats(0.001, 60),
        max_open=st.integers(1, 1_000_000),
    ),
    tls=st.booleans(),
    path=st.sampled_from(["/etc/shop/cluster.toml", "cluster.toml"]),
)
def test_what_is_written_is_read_back(
    ids: set[int], region: str | None, store: str, settings: BasicSettings, tls: bool, path: str
) -> None:
    directory = Path(path).parent
    nodes = [NodeConfig(i, f"[::1]:{i}", str(directory / f"s{i}" / f"x{store}"), region) for i in ids]
    files = (
        TlsConfig(str(directory / "ca.pem"), str(directory / "c-{id}.pem"), "/k-{id}.key") if tls else None
    )
    config = ClusterConfig("shop", "paxos", nodes, tls=files, settings=settings, path=Path(path))
    assert parse_cluster(dump_cluster(config), path) == config


def test_what_is_written_looks_like_what_people_write() -> None:
    assert dump_cluster(parsed(GOOD)) == (
        '[cluster]\nid = "shop"\nprotocol = "paxos"\n'
        + "".join(
            f'\n[[node]]\nid = {node}\naddress = "127.0.0.1:{7100 + node}"\nstore = "data/{node}"\n'
            for node in (1, 2, 3)
        )
    )


def test_settings_of_a_log() -> None:
    text = LOG + "[log]\nmarker_requests = 50\npiece_s = 0.0\n"
    config = parsed(text)
    assert config.log == LogSettings(marker_requests=50, piece_s=0.0)
    assert "\n[log]\nmarker_requests = 50\npiece_s = 0.0\n" in dump_cluster(config)
    assert parsed(dump_cluster(config)) == config
    # What they say may differ from node to node.
    assert config.agreed() == parsed(LOG).agreed()
    assert parsed(LOG).log == LogSettings()
    assert parsed(GOOD).log is None


def test_what_no_file_can_say_is_not_written() -> None:
    config = parsed(HEAD + '[cluster.quorums]\nkind = "majority"\n' + NODES)
    odd = attrs.evolve(config, settings=BasicSettings())
    object.__setattr__(odd.settings, "repeat_s", object())
    with pytest.raises(ConfigurationError, match="can not be written to a cluster file"):
        dump_cluster(odd)
