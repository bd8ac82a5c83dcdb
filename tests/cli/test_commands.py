"""What the commands print and how they end, by themselves and on a real cluster (SCENARIOS G1)."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import SECONDS, Ended, environment, qbft

from qbft.crypto.keys import VoteKey
from qbft_server.cli import main
from qbft_server.cli.output import shown_value
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


def test_keygen_makes_a_private_key(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The public half is told, for the cluster file; the private one stays private."""
    file = tmp_path / "client.key"
    assert main(["keygen", str(file), "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert VoteKey(bytes.fromhex(file.read_text().strip())).public.hex() == told["public"]
    assert file.stat().st_mode & 0o777 == 0o600


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
        tmp_path / "cluster", environment={"QBFT_LOG__LEVEL": "warning"}
    ) as cluster:
        await cluster.start()
        await cluster.wait_until_ready()
        _use(tmp_path, cluster.cluster_file)
        await cluster.kill(2)
        await cluster.kill(3)
        away = qbft("status", "--json", "-c", cluster.cluster_file)
    assert away.code == 1
    assert away.json()["quorum_reachable"] is False
    assert [node["answers"] for node in away.json()["nodes"]] == [True, True, False, False]
    offline = qbft("verify", tmp_path / "1.cert", "--json", "-c", cluster.cluster_file)
    assert (offline.code, offline.json()["valid"], offline.json()["value"]) == (0, True, "one")


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
    assert unknown.err == "qbft: t/9: never heard of\n"
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
        "import qbft_server.cli.main, qbft.client; "
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
