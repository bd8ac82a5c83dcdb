"""`qbft init`: a cluster's files, all or nothing, private where they must be."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path
from ssl import DER_cert_to_PEM_cert, PEM_cert_to_DER_cert

import pytest

from qbft.cluster import Cluster
from qbft.errors import ClusterError, JournalError
from qbft.records import Standing
from qbft_server import initialise
from qbft_server.config import NodeConfig
from qbft_server.identity import load_tls_identity, load_vote_key
from qbft_server.initialise import init_cluster, replace_store
from qbft_server.services.server import read_authority
from qbft_server.store.store import NodeStore


def test_every_node_can_start_from_its_folder(tmp_path: Path) -> None:
    """Issue 2, Stage 4: keys, TLS, cluster.toml, one folder for each node."""
    made = init_cluster(tmp_path / "c", 4, name="prices")
    assert Cluster.load(tmp_path / "c" / "cluster.toml") == made
    assert made.faults == 1
    addresses = [(v.peer, v.client) for v in made.validators]
    assert addresses[1] == ("127.0.0.1:7410", "127.0.0.1:7411")
    for index in range(4):
        config = NodeConfig.load(tmp_path / "c" / f"node-{index}" / "node.toml")
        cluster, own = config.load_cluster()
        assert cluster == made
        assert config.listen.peer == own.peer
        assert config.listen.admin == f"127.0.0.1:{7402 + 10 * index}"
        assert load_vote_key(config.vote_key, own).public.hex() == own.vote_key
        assert load_tls_identity(config.tls_key, own).pin == own.tls_key_sha256


@pytest.mark.real_clock
async def test_every_node_gets_an_empty_store_of_its_own(tmp_path: Path) -> None:
    """HARDENING W7: `init` alone makes data directories, each with a random store id."""
    made = init_cluster(tmp_path / "c", 2, faults=0)
    stores = set()
    for index in range(2):
        data = tmp_path / "c" / f"node-{index}" / "data"
        store = NodeStore.open(data, made.roster.cluster_id, index)
        assert list(store.recover()) == []
        stores.add(store.store_id)
        await store.aclose()
        with pytest.raises(JournalError):
            NodeStore.create(data, made.roster.cluster_id, index)
    assert len(stores) == 2


def test_secrets_are_private(tmp_path: Path) -> None:
    """No other user of the machine reads a key or a journal: files 0600, directories 0700."""
    init_cluster(tmp_path / "c", 1)
    for path in (tmp_path / "c", *(tmp_path / "c").rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode == 0o700
        elif path.suffix == ".key" or path.name == "node.toml" or "data" in path.parts:
            assert mode == 0o600


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """A second init would throw away the keys of a running cluster."""
    init_cluster(tmp_path / "c", 1)
    before = (tmp_path / "c" / "cluster.toml").read_text()
    with pytest.raises(ClusterError, match="is not empty; init never overwrites"):
        init_cluster(tmp_path / "c", 1)
    assert (tmp_path / "c" / "cluster.toml").read_text() == before
    (tmp_path / "file").touch()
    with pytest.raises(ClusterError):
        init_cluster(tmp_path / "file", 1)
    (tmp_path / "empty").mkdir()
    init_cluster(tmp_path / "empty", 1)


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 2, bad input: a full disk leaves nothing half-written."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(initialise, "write_vote_key", full)
    with pytest.raises(ClusterError, match="No space left on device"):
        init_cluster(tmp_path / "c", 4)
    assert list(tmp_path.iterdir()) == []


def test_nodes_on_hosts_of_their_own(tmp_path: Path) -> None:
    """Containers: each node has a host name, all the same ports, and listens on every interface."""
    made = init_cluster(tmp_path / "c", 2, faults=0, hosts=["node-0", "node-1"], base_port=9000)
    assert [v.peer for v in made.validators] == ["node-0:9000", "node-1:9000"]
    config = NodeConfig.load(tmp_path / "c" / "node-1" / "node.toml")
    assert config.listen.client == "0.0.0.0:9001"
    assert config.listen.admin == "127.0.0.1:9002"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"nodes": 0}, "nodes = 0: allowed is 1 to 256"),
        ({"nodes": 4, "faults": 2}, "faults = 2 needs 7 validators"),
        ({"nodes": 4, "name": "No"}, "name = 'No': must be"),
        ({"nodes": 4, "hosts": ["a", "b"]}, "2 hosts for 4 nodes: allowed is 1 or 4"),
        ({"nodes": 4, "base_port": 65_530}, "must be HOST:PORT"),
        ({"nodes": 1, "hosts": ["a b"]}, "must be HOST:PORT"),
    ],
)
def test_a_wrong_argument_is_one_line_and_no_file(
    tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    """Issue 2, bad input: one clear line, nothing written."""
    with pytest.raises(ClusterError) as caught:
        init_cluster(tmp_path / "c", **settings)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """Issue 2, bad input: an unreadable or open key is one clear line that says what to do."""
    made = init_cluster(tmp_path / "c", 1)
    key = tmp_path / "c" / "node-0" / "vote.key"
    key.chmod(0o640)
    with pytest.raises(ClusterError, match="mode 0640, open to others; allowed is 0600: chmod 600"):
        load_vote_key(key, made.validators[0])
    with pytest.raises(ClusterError, match="cannot read the vote key: No such file"):
        load_vote_key(key.with_name("none"), made.validators[0])


def test_a_key_of_another_node_is_refused(tmp_path: Path) -> None:
    """Two nodes with one key would contradict each other (HARDENING W8)."""
    made = init_cluster(tmp_path / "c", 2, faults=0)
    folder = tmp_path / "c" / "node-0"
    with pytest.raises(ClusterError, match=r"vote\.key: its public key is .* for this validator"):
        load_vote_key(folder / "vote.key", made.validators[1])
    with pytest.raises(ClusterError, match=r"tls\.key: its public key is .* for this validator"):
        load_tls_identity(folder / "tls.key", made.validators[1])
    for name, words in (("vote.key", "must be a vote key"), ("tls.key", "must be an unencrypted")):
        (folder / name).write_text("junk")
        with pytest.raises(ClusterError, match=words):
            (load_vote_key if name == "vote.key" else load_tls_identity)(
                folder / name, made.validators[0]
            )


def test_a_key_or_certificate_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    """M14: read again at SIGHUP, what the library does not know ends no node that runs.

    It says so by exceptions that are no ValueError: for a curve, and for a version of X.509.
    """
    made = init_cluster(tmp_path / "c", 1)
    path = tmp_path / "c" / "node-0" / "tls.key"
    p256, p239 = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d030104")
    key = PEM_cert_to_DER_cert(path.read_text().replace("PRIVATE KEY", "CERTIFICATE"))
    path.write_text(
        DER_cert_to_PEM_cert(key.replace(p256, p239)).replace("CERTIFICATE", "PRIVATE KEY")
    )
    with pytest.raises(ClusterError, match=r"tls\.key: must be an unencrypted private key in PEM"):
        load_tls_identity(path, made.validators[0])
    certificate = PEM_cert_to_DER_cert(made.validators[0].tls_certificate)
    third, eighth = bytes.fromhex("a003020102"), bytes.fromhex("a003020107")
    authority = tmp_path / "authority.pem"
    authority.write_text(DER_cert_to_PEM_cert(certificate.replace(third, eighth)))
    config = NodeConfig.load(path.with_name("node.toml"))
    clients = config.clients.model_copy(update={"authority": authority})
    with pytest.raises(ClusterError, match=r"authority\.pem: must be certificates in PEM"):
        read_authority(config.model_copy(update={"clients": clients}))


@pytest.mark.real_clock
async def test_a_lost_data_directory_is_replaced(tmp_path: Path) -> None:
    """HARDENING W7, K24: a new store that says that votes are lost; the keys stay, the old too."""
    made = init_cluster(tmp_path / "c", 1)
    config = NodeConfig.load(tmp_path / "c" / "node-0" / "node.toml")
    before = NodeStore.open(config.data, made.roster.cluster_id, 0)
    with pytest.raises(JournalError, match="in use by another process"):
        replace_store(config)
    await before.aclose()
    old = replace_store(config)
    assert old == config.data.with_name("data.replaced-1")
    assert (old / "decisions.sqlite3").exists()
    store = NodeStore.open(config.data, made.roster.cluster_id, 0)
    assert (store.standing, store.store_id != before.store_id) == (Standing.LOST, True)
    await store.aclose()
    assert replace_store(config) == config.data.with_name("data.replaced-2")


@pytest.mark.real_clock
async def test_a_data_directory_that_is_gone_is_replaced_too(tmp_path: Path) -> None:
    """K24: whatever is left of it, nothing too."""
    made = init_cluster(tmp_path / "c", 1)
    config = NodeConfig.load(tmp_path / "c" / "node-0" / "node.toml")
    shutil.rmtree(config.data)
    assert replace_store(config) is None
    store = NodeStore.open(config.data, made.roster.cluster_id, 0)
    assert store.standing is Standing.LOST
    await store.aclose()
    names = sorted(path.name for path in config.data.parent.iterdir())
    assert names == ["data", "node.toml", "tls.crt", "tls.key", "vote.key"]
