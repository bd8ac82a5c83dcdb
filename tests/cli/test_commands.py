"""What the commands print and how they end, by themselves and on a real cluster (SCENARIOS G1)."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import SECONDS, Ended, environment, qbft

from qbft.client import ClientError, NodeStatus
from qbft.cluster import Cluster
from qbft.crypto.keys import VoteKey
from qbft_server.access import Gate, Permissions
from qbft_server.cli import main
from qbft_server.cli.asking import WHY_CHARACTERS_MAX, _print_status, _status_record
from qbft_server.cli.credentials import read_access
from qbft_server.cli.output import shown_value
from qbft_server.config import ClientSettings
from qbft_server.local import LocalCluster

TRACES = Path(__file__).parents[1] / "parity" / "reference-traces.jsonl.gz"


def test_init_says_what_it_made(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """--json is one object; what it names is there."""
    assert (
        main(["init", str(tmp_path / "c"), "--name", "mine", "--host", "a.example", "--json"]) == 0
    )
    told = json.loads(capfd.readouterr().out)
    assert Path(told["cluster_file"]).read_text().count("a.example:74") == 8
    assert all(Path(file).is_file() for file in told["node_files"])
    assert (told["nodes"], told["faulty"], len(told["cluster_id"])) == (4, 1, 64)
    assert (told["guarded"], told["proposer_key"]) == ("guarded/", str(tmp_path / "c/proposer.key"))


def test_status_says_why_a_node_does_not_vote(capfd: pytest.CaptureFixture[str]) -> None:
    """Docs/adr/020: what its operator has to do; the words are a node's, so one line, not long."""
    votes = NodeStatus("c/0", 0, bytes(32), 4, 1, "1", True, True, 0, 0, bytes(16), ())
    stopped = replace(votes, voting=False, why_not_voting=f"stopped:\x1b[2J\nact{'!' * 1_000}")
    _print_status(
        [
            _status_record(0, "a:1", votes),
            _status_record(1, "a:2", stopped),
            _status_record(2, "a:3", ClientError("nobody there")),
        ]
    )
    said = "".join(capfd.readouterr().out.split("version")[1].split())
    assert "node1:stopped:[2Jact!!!" in said
    assert "node0:" not in said
    assert said.count("!") < WHY_CHARACTERS_MAX


def test_init_makes_a_guarded_example(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """SCENARIOS G16: a prefix with a proposer's key of its own; what is open is called open."""
    made = tmp_path / "c"
    assert main(["init", str(made), "--nodes", "1"]) == 0
    told = capfd.readouterr().out
    key = made / "proposer.key"
    assert f"qbft propose guarded/example/1 VALUE --key {key} -c {made}/cluster.toml" in told
    assert "all others: anyone may propose, and a faulty node may choose the values" in told
    assert key.stat().st_mode & 0o777 == 0o600
    cluster = Cluster.load(made / "cluster.toml")
    proposer = VoteKey(bytes.fromhex(key.read_text().strip())).public
    assert cluster.policy("guarded/x").proposers == {proposer}
    assert cluster.policy("prices").proposers == frozenset()
    for more, says in (
        (["--open"], "open topics all topics: anyone may propose"),
        (["--guarded", ""], "guarded topics all topics (proposers: 1)"),
    ):
        other = tmp_path / f"other{len(more)}"
        assert main(["init", str(other), "--nodes", "1", *more]) == 0
        assert says in " ".join(capfd.readouterr().out.split())
        assert (other / "proposer.key").exists() == (more != ["--open"])
    assert main(["init", str(tmp_path / "bad"), "--guarded", "No"]) == 2
    assert "guarded prefix = 'No': must be how a topic can begin" in capfd.readouterr().err
    assert not (tmp_path / "bad").exists()


def test_init_takes_several_ordered_prefixes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """--ordered may be repeated, as --host: none of them is passed over in silence."""
    made = tmp_path / "c"
    several = ["--ordered", "log/", "--ordered", "locks/", "--ordered", "guarded/"]
    assert main(["init", str(made), *several, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["ordered"] == ["log/", "locks/", "guarded/"]
    policy = Cluster.load(made / "cluster.toml").policy
    assert [policy(topic).ordered for topic in ("log/a", "locks/a", "guarded/a", "a")] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "for i in 0 1 2 3; do qbft node {c}/node-$i/node.toml & done"),
        (["--nodes", "13"], "for i in $(seq 0 12); do"),
        ([], "http://127.0.0.1:7402/"),
        (["--base-port", "8000"], "http://127.0.0.1:8002/"),
        (["--host", "a.example"], "start a node    qbft node {c}/node-0/node.toml"),
        (["--nodes", "3"], "0 faulty of 3 nodes; 1 survive as many, 4 one more"),
        (["--nodes", "5"], "1 faulty of 5 nodes; 4 survive as many, 7 one more"),
        (["--nodes", "4"], "1 faulty of 4 nodes\n"),
    ],
)
def test_init_says_what_to_do_next(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    """How all nodes are started, where to look at them, and what number would be better."""
    made = tmp_path / "c"
    assert main(["init", str(made), *arguments]) == 0
    assert says.format(c=made) in capfd.readouterr().out


def test_keygen_makes_a_private_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The public half is told, for the cluster file; the private one stays private."""
    file = tmp_path / "client.key"
    assert main(["keygen", str(file), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert VoteKey(bytes.fromhex(file.read_text().strip())).public.hex() == told["public"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_token_makes_what_client_and_node_need(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The client's private file for --access; for the nodes the SHA-256, and nothing else."""
    file = tmp_path / "alice.access"
    assert main(["token", str(file), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    token = read_access(file).token
    assert token is not None
    assert told == {
        "access_file": str(file),
        "token_sha256": hashlib.sha256(token.encode()).hexdigest(),
    }
    grant = {"name": "alice", "token_sha256": told["token_sha256"], "read": [""]}
    gate = Gate(ClientSettings.model_validate({"grants": [grant]}))
    assert gate.permissions(token.encode()) == Permissions(read=("",))
    assert main(["token", str(file)]) == 2
    assert "cannot make it: File exists" in capfd.readouterr().err


def test_parity_ends_as_it_found(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Issue 2, stage 1: exit code 0 and `traces N steps M mismatches 0`, else 1."""
    with gzip.open(TRACES, "rt") as file:
        line = file.readline()
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text(line)
    assert main(["parity", str(good), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert (told["traces"], told["mismatches"], told["differences"]) == (1, 0, [])
    trace = json.loads(line)
    trace["outputs"][0] = {}  # the reference had started a timer
    bad.write_text(json.dumps(trace))
    assert main(["parity", str(bad)]) == 1
    assert "mismatches 1" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"64123.50", "64123.50"),
        ("grün".encode(), "grün"),
        (b"\x1b[2Jgone", "0x1b5b324a676f6e65"),
        (b"two\nlines", "0x74776f0a6c696e6573"),
        (b"\xff", "0xff"),
        (None, "(not in the file)"),
        (b"x" * 1_000, "x" * 200 + "… (1000 bytes)"),
    ],
)
def test_values_cannot_play_with_a_terminal(value: bytes | None, shown: str) -> None:
    """A value is anybody's bytes: what is no printable text is shown as hexadecimal."""
    assert shown_value(value) == shown


def test_verify_imports_no_grpc(tmp_path: Path) -> None:
    """DESIGN section 2: verifying a certificate needs no gRPC, nor a server's libraries."""
    assert main(["init", str(tmp_path / "c"), "--json"]) == 0
    noise = tmp_path / "noise"
    noise.write_text("no certificate")
    code = (
        "import sys; from qbft_server.cli import main; "
        f"code = main(['verify', {str(noise)!r}, '-c', {str(tmp_path / 'c' / 'cluster.toml')!r}]); "
        "heavy = {'grpc', 'cryptography', 'uvloop', 'sqlite3'} & set(sys.modules); "
        "sys.exit(9 if heavy else code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 1


@pytest.mark.e2e
async def test_all_commands_on_a_cluster(tmp_path: Path) -> None:
    """SCENARIOS G1, G2, G9, G13 by the command line: proposed, read, listed, watched, verified."""
    async with LocalCluster.create(
        tmp_path / "cluster",
        environment={"QBFT_LOG__LEVEL": "warning"},
        guarded="guarded/",
        ordered="log/",
    ) as cluster:
        await cluster.start()
        await cluster.wait_until_ready()
        _use(tmp_path, cluster.cluster_file)
        healthy = qbft("doctor", cluster.directory / "node-0" / "node.toml", "--json")
        _use_a_guarded_topic(cluster.cluster_file)
        _use_an_ordered_topic(tmp_path, cluster.cluster_file)
        await cluster.kill(2)
        await cluster.kill(3)
        away = qbft("status", "--json", "-c", cluster.cluster_file)
        _ask_why(cluster.cluster_file)
        _look_into_instances(cluster.cluster_file, tmp_path)
        running = qbft("abandon", cluster.directory / "node-0" / "node.toml", "t/7")
    assert running.code == 5
    assert "in use by another process" in running.err
    _abandon(cluster.directory / "node-0" / "node.toml")
    assert {finding["verdict"] for finding in healthy.lines()} <= {"ok", "warn"}
    assert [one["verdict"] for one in healthy.lines() if "node" in one["what"]] == ["ok"] * 3
    assert away.code == 1
    assert away.json()["quorum_reachable"] is False
    assert [node["answers"] for node in away.json()["nodes"]] == [True, True, False, False]
    offline = qbft("verify", tmp_path / "1.cert", "--json", "-c", cluster.cluster_file)
    assert (offline.code, offline.json()["valid"], offline.json()["value"]) == (0, True, "one")


def _use_a_guarded_topic(cluster_file: Path) -> None:
    """SCENARIOS G16 by the command line: refused alike before and after the decision."""
    key = cluster_file.with_name("proposer.key")
    ask = ("propose", "guarded/a/1", "mine", "-c", cluster_file)
    before = qbft(*ask)
    signed = qbft(*ask, "--key", key, "--json")
    assert (signed.code, signed.json()["own"]) == (0, True)
    after = qbft(*ask)
    assert (before.code, after.code) == (4, 4)
    assert "PERMISSION_DENIED: this topic takes only what one of its proposers" in before.err
    assert before.err.endswith("give the key of one by --key\n")
    assert before.err.split(": ", 2)[2] == after.err.split(": ", 2)[2]  # but for the node
    status = qbft("status", "-c", cluster_file)
    assert "guarded topics  guarded/* (proposers: 1)\n" in status.out
    assert "open topics     all others, log/*: anyone may propose" in status.out
    told = qbft("status", "--json", "-c", cluster_file).json()["prefixes"]
    assert told[0] == {"prefix": "", "open": True, "proposers": 0, "ordered": False}
    assert [each["prefix"] for each in told if each["ordered"]] == ["log/"]


def _use_an_ordered_topic(folder: Path, cluster_file: Path) -> None:
    """Issue 7 by the command line: appended, proven offline, read; sent again it is there once."""
    ask = ("append", "log/a", "hello", "--request-id", "mine", "-c", cluster_file)
    first = qbft(*ask, "--out", folder / "entry.cert", "--json").json()
    assert (first["position"], first["request_id"], first["value"]) == ("0.0", "mine", "hello")
    assert "position    0.0\n" in qbft(*ask).out
    assert "entry 0   hello\n" in qbft("verify", folder / "entry.cert", "-c", cluster_file).out
    told = qbft("entries", "log/a", "--count", "1", "--json", "-c", cluster_file).json()
    assert (told["topic"], told["position"], told["void"]) == ("log/a", "0.0", False)


def _ask_why(cluster_file: Path) -> None:
    """Leave an instance undecided and ask why: the nodes that are down are named."""
    undecided = qbft("propose", "t/7", "x", "--timeout", "0.5", "-c", cluster_file)
    assert undecided.code == 3
    told = qbft("why", "t/7", "--json", "-c", cluster_file)
    assert told.code == 1
    record = told.json()
    assert record["sentence"].startswith("t/7 is undecided: nodes 2 and 3 do not answer")
    assert record["findings"][0]["cause"] == "no_quorum"
    assert record["findings"][0]["nodes"] == [2, 3]
    assert [bool(row["why_silent"]) for row in record["nodes"]] == [False, False, True, True]
    words = qbft("why", "t/7", "-c", cluster_file)
    assert (words.code, words.err) == (1, "")
    assert "nodes 2 and 3 do not answer, which leaves 2 of 4" in words.out
    decided = qbft("why", "t/1", "-c", cluster_file)
    assert decided.code == 0
    assert decided.out.startswith("t/1: it is decided, in round ")


def _abandon(node_file: Path) -> None:
    """Give up t/7, which stayed undecided: once, and never what is decided."""
    given_up = qbft("abandon", node_file, "t/7", "--json")
    assert (given_up.code, given_up.err) == (0, "")
    assert given_up.json() == {"topic": "t", "height": 7, "abandoned": True}
    for named, why in (("t/7", "it has been given up before"), ("t/1", "it is decided")):
        refused = qbft("abandon", node_file, named)
        assert (refused.code, refused.out) == (5, "")
        assert f"{named}: {why}" in refused.err


def _look_into_instances(cluster_file: Path, folder: Path) -> None:
    """Save what living nodes recorded of a decided and a stuck instance, and replay it exactly."""
    for instance, sign in (("t/1", "decides"), ("t/7", "timer expired")):
        file, svg = folder / "case.qbft", folder / "case.svg"
        told = qbft("capture", instance, "--out", file, "--json", "-c", cluster_file)
        assert (told.code, told.err) == (0, "")
        assert told.json()["node 0"].endswith(" entries")
        assert told.json()["node 3"].startswith("no record: ")
        replayed = qbft("replay", file, "--svg", svg)
        assert (replayed.code, replayed.err) == (0, "")
        assert sign in replayed.out
        assert "Not all of it was kept" not in replayed.out
        assert svg.read_text().startswith("<svg")
    alone = qbft("capture", "t/1", "--node", "1", "--out", file, "--json", "-c", cluster_file)
    assert list(alone.json()) == ["node 1"]
    nothing = qbft("capture", "t/404", "--out", file, "-c", cluster_file)
    assert nothing.code == 1
    assert nothing.err == "qbft: nothing of t/404 is recorded\n"


def _use(folder: Path, cluster_file: Path) -> None:
    """Propose, read and check with a cluster that runs; it is named by the environment."""

    def ask(*arguments: object) -> Ended:
        return qbft(*arguments, changes={"QBFT_CLUSTER": str(cluster_file)})

    first = ask("propose", "t/1", "one", "--out", folder / "1.cert", "--json")
    assert (first.code, first.err) == (0, "")
    told = first.json()
    assert (told["instance"], told["value"], told["own"]) == ("t/1", "one", True)
    assert base64.b64decode(told["value_base64"]) == b"one"
    assert len(told["signers"]) == 3

    file = folder / "value"
    file.write_bytes(b"\x00\xff")
    assert ask("propose", "t/2", "--file", file).code == 0
    again = ask("propose", "t/1", "another", "--json")
    assert (again.code, again.json()["value"], again.json()["own"]) == (0, "one", False)
    refused = ask("propose", "t/3", "")
    assert refused.code == 4
    assert "INVALID_ARGUMENT: the value is empty" in refused.err

    assert ask("get", "t/1", "--quorum", "--json").json()["value"] == "one"
    unknown = ask("get", "t/9", "--json")
    assert (unknown.code, unknown.json()) == (1, {"instance": "t/9", "state": "unknown"})
    assert unknown.err == "qbft: t/9: never heard of: not proposed, or not come here yet\n"
    listed = ask("list", "t", "--json").lines()
    assert [(row["height"], row["value"]) for row in listed] == [(1, "one"), (2, None)]
    watched = ask("watch", "t", "--from", "1", "--count", "2")
    assert watched.out == "1  one\n2  0x00ff\n"
    status = ask("status", "--json")
    assert (status.code, status.json()["quorum_reachable"]) == (0, True)
    assert "3 of 3" in ask("status").out

    tampered = folder / "tampered.cert"
    data = bytearray((folder / "1.cert").read_bytes())
    data[-1] ^= 1
    tampered.write_bytes(data)
    both = ask("verify", folder / "1.cert", tampered, "--json")
    assert both.code == 1
    assert [line["valid"] for line in both.lines()] == [True, False]
    full = ask("get", "t/1", "--out", "/dev/full")
    assert (full.code, full.err) == (5, "qbft: /dev/full: cannot write: No space left on device\n")
    assert Path("/dev/full").is_char_device()
    assert full.out == ask("get", "t/1").out, "what was decided is said all the same"
    nowhere = ask("propose", "t/9", "nine", "--out", folder / "no" / "9.cert", "--json")
    assert (nowhere.code, nowhere.json()["value"]) == (5, "nine")


@pytest.mark.e2e
def test_ctrl_c_ends_a_watch(tmp_path: Path) -> None:
    """Exit code 130 and no traceback, as shells expect it."""
    assert main(["init", str(tmp_path / "c"), "--json"]) == 0
    cluster = tmp_path / "c" / "cluster.toml"
    code = (
        "import os, signal, sys, threading; from qbft_server.cli import main; "
        "import qbft_server.cli.commands, qbft.client; "
        "threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start(); "
        f"sys.exit(main(['watch', 't', '-c', {str(cluster)!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=environment(),
    )
    assert (done.returncode, done.stderr) == (130, "qbft: interrupted\n")
