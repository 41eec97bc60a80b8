"""Who does not belong is refused, both values named; and with TLS on, who can not prove who it is."""

import shutil
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from paxos.basic import BasicSettings
from paxos.basic import protocol as basic
from paxos.contract import Event
from paxos.errors import (
    ClusterMismatch,
    ConfigurationError,
    NodeStopped,
    PaxosError,
    StoreRefused,
    Unreachable,
)
from paxos.runtime import (
    ClusterConfig,
    MemoryDisk,
    NodeConfig,
    QuorumSpec,
    RunningNode,
    TlsConfig,
    certificates,
    connect,
    make_certificates,
    open_cluster,
    open_node,
)
from paxos.runtime.handshake import Doorkeeper, Hello, Kind, Refused, differences
from paxos.runtime.ports import free_ports
from paxos.runtime.store import Store
from paxos.runtime.tables import Tables
from paxos.runtime.tls import Security
from paxos.service import Identity
from tests.strangers import CLIENT, PATIENCE_S, peer_hello, stranger, until

pytestmark = [pytest.mark.anyio, pytest.mark.once]

STORE = b"s" * 16


class Lines:
    """What nodes said, by action."""

    def __init__(self) -> None:
        self.said: list[tuple[int, str, str]] = []

    def __call__(self, event: Event) -> None:
        if "text" in event.arguments:
            self.said.append((event.node, event.action, str(event.arguments["text"])))

    async def wait_for(self, part: str) -> str:
        """The first line that holds this."""
        await until(lambda: any(part in text for _, _, text in self.said))
        return next(text for _, _, text in self.said if part in text)


def configs(nodes: int = 3, **changed: Any) -> ClusterConfig:
    """A cluster of memory stores."""
    ports = free_ports(nodes)
    parts = [NodeConfig(node, f"127.0.0.1:{port}", "memory") for node, port in enumerate(ports, 1)]
    return attrs.evolve(ClusterConfig("shop", "paxos", tuple(parts)), **changed)


# --- the decision, as a function -----------------------------------------------------------------------


def doorkeeper() -> Doorkeeper:
    identity = Identity(1, (1, 2, 3), b"1" * 16, {}, 0.0)
    mine = peer_hello("shop", 1, {"quorums": "majority"}, store_id=b"1" * 16)
    return Doorkeeper(mine, (1, 2, 3), identity, lambda: None)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "cluster": ({"cluster": "shep"}, "node 1 refuses node 2: cluster is 'shop' here and 'shep' there"),
    "protocol": ({"protocol": "epaxos"}, "protocol is 'paxos' here and 'epaxos' there"),
    "value": ({"values": '{"quorums":"grid"}'}, "quorums is 'majority' here and 'grid' there"),
    "missing": ({"values": "{}"}, "quorums is 'majority' here and missing there"),
    "more": ({"values": '{"quorums":"majority","x":"1"}'}, "x is missing here and '1' there"),
    "oneself": ({"node": 1, "store_id": b"1" * 16}, "node 1 reached itself"),
    "same id": ({"node": 1}, "another process also runs as node 1"),
    "no member": ({"node": 4}, "node 1 refuses node 4: it is not a member"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_refused(what: str) -> None:
    changed, expected = REFUSED[what]
    refusal = doorkeeper().admit(peer_hello("shop", 2, {"quorums": "majority"})._replace(**changed))
    assert refusal is not None
    assert expected in refusal.reason


async def test_admitted_and_then_not() -> None:
    door = doorkeeper()
    two = peer_hello("shop", 2, {"quorums": "majority"}, store_id=b"2" * 16, incarnation=5)
    assert door.admit(two) is None
    assert door.admit(two) is None
    assert door.admit(two, expected=2) is None
    mixed = door.admit(two, expected=3)
    assert mixed is not None
    assert "called node 3 and reached node 2" in mixed.reason
    assert door.admit(two._replace(incarnation=6, boot=b"new boot")) is None
    older = door.admit(two)
    assert older is not None
    assert "node 2 runs on an old copy of its store: node 1 has met incarnation 6" in older.reason
    assert "this is incarnation 5" in older.reason
    copied = door.admit(two._replace(incarnation=6))
    assert copied is not None
    assert "a store was copied" in copied.reason
    assert b"new boot".hex() in copied.reason
    assert b"b".hex() * 8 in copied.reason


async def test_a_client_names_only_what_it_insists_on() -> None:
    mine = peer_hello("shop", 1, {"quorums": "majority"})
    assert differences(mine, CLIENT) == ""
    assert differences(mine, CLIENT._replace(cluster="shop", protocol="paxos")) == ""
    assert differences(mine, CLIENT._replace(cluster="x")) == "cluster is 'shop' here and 'x' there"


# --- between real nodes -------------------------------------------------------------------------------


@asynccontextmanager
async def running(
    config: ClusterConfig, nodes: Sequence[int], **options: Any
) -> AsyncIterator[list[RunningNode]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_node(config, node, **options)) for node in nodes]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"id": "shep"}, "cluster is 'shop' here and 'shep' there"),
        (
            {"quorums": QuorumSpec("flexible", {"phase1": 3, "phase2": 1})},
            "quorums is 'majority(1,2,3)' here and 'flexible(1,2,3;phase1=3,phase2=1)' there",
        ),
    ],
)
async def test_nodes_of_different_configurations(changed: dict[str, Any], expected: str) -> None:
    lines = Lines()
    config = configs()
    other = attrs.evolve(config, **changed)
    async with running(config, [1, 2], on_event=lines), open_node(other, 3, on_event=lines):
        text = await lines.wait_for(expected)
        assert text.startswith(("a connection was refused: node ", "refused by node "))
        # It is told as well.
        await lines.wait_for("refused by node ")
        # However often they try again, it is not said again and again.
        for _ in range(50):
            await anyio.sleep(0.01)
            lines.said.sort()
        assert len(lines.said) < 30
    assert all(len(text) < 700 for _, _, text in lines.said)


async def test_addresses_that_are_mixed_up() -> None:
    lines = Lines()
    config = configs()
    one, two, three = config.nodes
    swapped = (attrs.evolve(two, address=three.address), attrs.evolve(three, address=two.address))
    mixed = attrs.evolve(config, nodes=(one, *swapped))
    async with running(config, [2, 3]), open_node(mixed, 1, on_event=lines):
        assert await lines.wait_for("node 1 called node 2 and reached node 3: addresses are mixed up")


async def test_a_wiped_disk_is_refused_and_stops() -> None:
    config = configs()
    disks = {node: MemoryDisk() for node in config.members}

    def opener(config: ClusterConfig, node: int) -> Store:
        return disks[node].open(cluster=config.id, node=node, protocol=config.protocol)

    async with running(config, [1, 2], open_store=opener):
        async with open_node(config, 3, open_store=opener) as three:
            async with connect([three.address]) as client:
                assert await client.decide("x", b"1", timeout_s=PATIENCE_S) == b"1"
            old = three.status()["store_id"]
        disks[3] = MemoryDisk()
        async with open_node(config, 3, open_store=opener) as three:
            with anyio.fail_after(PATIENCE_S), pytest.raises(NodeStopped) as caught:
                await three.wait_stopped()
        text = str(caught.value)
        assert text.startswith("node 3 lost its disk: node ")
        assert f"knows it by store {old}" in text
        assert disks[3].card is not None
        assert f"this one is {disks[3].card.store_id}" in text
        assert caught.value.exit_code == 6
        # Who did not ask hears of it at the end, as one plain exception.
        with pytest.raises(NodeStopped, match="node 3 lost its disk"):
            await _run_until_it_stops(config, opener)


async def _run_until_it_stops(config: ClusterConfig, opener: Any) -> None:
    async with open_node(config, 3, open_store=opener) as three:
        with anyio.fail_after(PATIENCE_S):
            await three._server.ended.wait()


async def test_another_process_under_the_same_id() -> None:
    """A copied store: the same incarnation, elsewhere."""
    lines = Lines()
    config = configs()
    async with running(config, [1, 2, 3], on_event=lines) as nodes:
        async with connect([nodes[0].address]) as client:
            await client.decide("x", b"1", timeout_s=PATIENCE_S)
        table = Tables.of(basic).from_peer
        values = {**config.agreed(), "messages": table.digest()}
        store_id = bytes.fromhex(str(nodes[2].status()["store_id"]))
        async with stranger(nodes[0].address) as copy:
            answer = await copy.greet(peer_hello("shop", 3, values, store_id=store_id, incarnation=1))
            assert isinstance(answer, Refused)
            assert answer.code == "superseded"
        async with stranger(nodes[0].address) as other:
            answer = await other.greet(peer_hello("shop", 3, values, store_id=b"x" * 16))
            assert isinstance(answer, Refused)
            assert answer.code == "lost-disk"
            assert answer.store_id == store_id
        await lines.wait_for("another process runs as node 3")


async def test_settings_that_need_not_agree() -> None:
    config = configs(2)
    other = attrs.evolve(config, settings=BasicSettings(repeat_s=0.1))
    async with open_node(config, 1) as one, open_node(other, 2), connect([one.address]) as client:
        assert await client.decide("x", b"1", timeout_s=PATIENCE_S) == b"1"


async def test_one_store_for_one_node(tmp_path: Path) -> None:
    config = configs(2)
    one, two = config.nodes
    config = attrs.evolve(config, nodes=(attrs.evolve(one, store=str(tmp_path / "s")), two))
    async with open_node(config, 1):
        elsewhere = attrs.evolve(config, nodes=(attrs.evolve(config.nodes[0], address="127.0.0.1:7199"), two))
        with pytest.raises(StoreRefused, match="in use by this very process"):
            await _open_and_close(elsewhere, 1)
    with pytest.raises(StoreRefused, match="belongs to cluster 'shop', not 'shep'"):
        await _open_and_close(attrs.evolve(config, id="shep"), 1)


async def _open_and_close(config: ClusterConfig, node: int) -> None:
    async with open_node(config, node):
        pass


# --- TLS ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TlsConfig:
    """Certificates of three nodes and a client."""
    return make_certificates(tmp_path_factory.mktemp("tls"), [1, 2, 3], ["localhost", "127.0.0.1"])


@pytest.fixture(scope="module")
def stranger_authority(tmp_path_factory: pytest.TempPathFactory) -> TlsConfig:
    """The same names, signed by somebody else."""
    return make_certificates(tmp_path_factory.mktemp("other"), [1, 2, 3])


async def test_tls_works(authority: TlsConfig) -> None:
    async with open_cluster(tls=authority) as cluster:
        assert await cluster.client(2).decide("x", b"1") == b"1"
        async with connect(cluster.addresses, tls=authority) as client:
            assert await client.decided("x") == b"1"
            value = bytes(1 << 20)
            assert await client.decide("large", value) == value
            assert (await client.status(3))["ready"]


async def test_plain_clients_are_refused(authority: TlsConfig) -> None:
    lines = Lines()
    async with open_cluster(tls=authority, on_event=lines) as cluster:
        async with connect(cluster.addresses, timeout_s=0.5) as client:
            with pytest.raises(Unreachable, match="a node that requires TLS does that to a plain connection"):
                await client.decide("x", b"1")
        await lines.wait_for("a connection was closed: TLS: ")
        assert await cluster.client().decide("x", b"2") == b"2"


async def test_tls_clients_of_plain_nodes(authority: TlsConfig) -> None:
    async with open_cluster() as cluster, connect(cluster.addresses, tls=authority) as client:
        with pytest.raises(ClusterMismatch, match="TLS: "):
            await client.decide("x", b"1")


async def test_unknown_authorities_are_refused(authority: TlsConfig, stranger_authority: TlsConfig) -> None:
    lines = Lines()
    async with open_cluster(tls=authority, on_event=lines) as cluster:
        # The client does not know the node's authority.
        async with connect(cluster.addresses, tls=stranger_authority) as client:
            with pytest.raises(ClusterMismatch, match="TLS: CERTIFICATE_VERIFY_FAILED"):
                await client.decide("x", b"1")
        # The node does not know the client's.
        half = attrs.evolve(stranger_authority, ca=authority.ca)
        async with connect(cluster.addresses, tls=half, timeout_s=0.5) as client:
            with pytest.raises(PaxosError, match=r"in the handshake \(a node that does not accept"):
                await client.decide("x", b"1")
        await lines.wait_for("CERTIFICATE_VERIFY_FAILED")
        assert await cluster.client().decided("x") is None


async def test_no_certificate_is_refused(authority: TlsConfig) -> None:
    lines = Lines()
    async with open_cluster(nodes=1, tls=authority, on_event=lines) as cluster:
        context = ssl.create_default_context(cafile=authority.ca)
        context.check_hostname = False
        host, _, port = cluster.addresses[0].rpartition(":")
        with pytest.raises((OSError, anyio.BrokenResourceError, anyio.EndOfStream)):
            await _speak_without_a_certificate(host, int(port), context)
        await lines.wait_for("TLS: ")
        assert await cluster.client().decide("x", b"2") == b"2"


async def _speak_without_a_certificate(host: str, port: int, context: ssl.SSLContext) -> None:
    async with await anyio.connect_tcp(host, port, ssl_context=context, tls_hostname=host) as stream:
        await stream.send(b"hello")
        await stream.receive()


async def test_a_certificate_for_somebody_else_is_refused(authority: TlsConfig, tmp_path: Path) -> None:
    lines = Lines()
    config = configs(tls=authority)
    # Node 3's files are node 2's.
    for kind in ("pem", "key"):
        shutil.copy(authority.for_node(2).certificate[:-3] + kind, tmp_path / f"node-3.{kind}")
        shutil.copy(authority.for_node("client").certificate[:-3] + kind, tmp_path / f"node-2.{kind}")
    false = TlsConfig(authority.ca, str(tmp_path / "node-{id}.pem"), str(tmp_path / "node-{id}.key"))
    async with running(config, [1, 2], on_event=lines):
        async with open_node(attrs.evolve(config, tls=false), 3, on_event=lines):
            await lines.wait_for("says to be node 3 has a certificate for node-2, localhost, not node-3")
        # A node's certificate is no client's, nor the other way round.
        as_client = TlsConfig(*(str(path).replace("{id}", "1") for path in attrs.astuple(authority)))
        async with connect([config.nodes[0].address], tls=as_client) as client:
            with pytest.raises(ClusterMismatch, match="client has a certificate for node-1, localhost, not"):
                await client.decide("x", b"1")
    address = config.nodes[1].address
    async with open_node(attrs.evolve(config, tls=false), 2), connect([address], tls=authority) as client:
        with pytest.raises(ClusterMismatch, match="says to be node 2 has a certificate for client-client"):
            await client.decide("x", b"1")


async def test_files_that_can_not_be_used(authority: TlsConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"tls: certificate file .*node-9.pem: .*No such file"):
        Security(authority, 9)
    bad = tmp_path / "bad.pem"
    bad.write_text("not a certificate")
    with pytest.raises(ConfigurationError, match=r"tls: ca file .*bad.pem: no certificates in it"):
        Security(attrs.evolve(authority, ca=str(bad)), 1)
    with pytest.raises(ConfigurationError, match=r"certificate .*bad.pem with key .*can not be used"):
        Security(attrs.evolve(authority, certificate=str(bad)), 1)
    with pytest.raises(ConfigurationError, match=r"with key .*node-2.key: can not be used"):
        Security(attrs.evolve(authority, key=authority.for_node(2).key), 1)


@pytest.mark.parametrize("maker", ["cryptography", "openssl", "none"])
async def test_certificates_by_each_maker(
    maker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if maker == "openssl" and shutil.which("openssl") is None:
        pytest.skip("the program openssl is not installed")
    if maker == "cryptography":
        pytest.importorskip("cryptography")
    else:
        monkeypatch.setattr(certificates, "find_spec", lambda name: None)
    if maker == "none":
        monkeypatch.setattr(shutil, "which", lambda name: None)
        with pytest.raises(ConfigurationError, match="neither the package `cryptography`"):
            make_certificates(tmp_path / "tls", [1])
        return
    tls = make_certificates(tmp_path / "tls", [1, 2], ["localhost", "::1"])
    assert (tmp_path / "tls" / "node-1.key").stat().st_mode & 0o077 == 0
    async with open_cluster(nodes=2, tls=tls) as cluster:
        assert await cluster.client().decide("x", b"1") == b"1"


async def test_kinds() -> None:
    assert [kind.value for kind in Kind] == [1, 2]
    assert isinstance(CLIENT, Hello)
