"""Each failure of the command line: one clear line, its exit code, nothing half-written.

Issue 2, "Bad input". Most run within this process; about 4 s together.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import stat
import tempfile
from pathlib import Path

import pytest
from command_line import qbft

from qbft_server.cli import main
from qbft_server.initialise import init_cluster

NOBODYS_PORT = 1
"""Nothing listens at these ports, whatever else runs on the machine: a cluster at the default ones
answered here once."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster's directory, and files that are no good beside it; nobody changes them."""
    root = tmp_path_factory.mktemp("made")
    init_cluster(root / "c", 4, base_port=NOBODYS_PORT)
    init_cluster(root / "other", 4, name="other", base_port=NOBODYS_PORT)
    text = (root / "c" / "cluster.toml").read_text()
    files = {
        "corrupt.toml": text[: len(text) // 2],
        "unknown.toml": text.replace("epoch", "epok"),
        "greedy.toml": text.replace("faults = 1", "faults = 2"),
        "binary.toml": "\x00\x01",
        "noise.cert": "not a certificate",
        "noise.jsonl": "{]\n",
    }
    for name, content in files.items():
        (root / name).write_text(content)
    secrets = {
        "open.toml": 'token = "0123456789abcdef"\n',
        "half.toml": 'key = "client.key"\n',
        "odd.toml": "tokens = 1\n",
        "short.key": "abcd",
    }
    for name, content in secrets.items():
        (root / name).write_text(content)
        (root / name).chmod(0o644 if name == "open.toml" else 0o600)
    return root


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster is found by itself."""
    monkeypatch.delenv("QBFT_CLUSTER", raising=False)


CLUSTER = ["--cluster", "{c}/cluster.toml"]

BAD: dict[str, tuple[list[str], int, str]] = {
    "an unknown command": (["fly"], 2, "No such command 'fly'; see `qbft --help`"),
    "a missing argument": (["doctor"], 2, "'NODE_FILE'; see `qbft doctor --help`"),
    "a wrong flag": (["get", "t/1", "--bogus"], 2, "No such option: --bogus"),
    "no number": (["init", "{root}/new", "--nodes", "many"], 2, "Invalid value for '--nodes'"),
    "no cluster": (["get", "t/1"], 2, "QBFT_CLUSTER"),
    "a cluster file that is not there": (["get", "t/1", "-c", "/nowhere"], 2, "/nowhere"),
    "a directory as cluster file": (["get", "t/1", "-c", "{c}"], 2, "Is a directory"),
    "a node file as cluster file": (
        ["status", "-c", "{c}/node-0/node.toml"],
        2,
        "this is a node's file; it names its cluster file",
    ),
    "a cut cluster file": (["get", "t/1", "-c", "{root}/corrupt.toml"], 2, "corrupt.toml"),
    "a binary cluster file": (["status", "-c", "{root}/binary.toml"], 2, "not valid TOML"),
    "an unknown key": (["status", "-c", "{root}/unknown.toml"], 2, "'epok'; allowed: name, epoch"),
    "too few nodes": (["status", "-c", "{root}/greedy.toml"], 2, "needs 7 validators (3f+1)"),
    "no instance": (["get", "topic", *CLUSTER], 2, "must be written TOPIC/HEIGHT"),
    "no topic": (["watch", "Topic", *CLUSTER], 2, "must be 1 to 128 of a-z"),
    "a negative height": (["list", "t", "--from", "-1", *CLUSTER], 2, "--from"),
    "no such node": (["get", "t/1", "--node", "4", *CLUSTER], 2, "allowed is 0 to 3"),
    "no value": (["propose", "t/1", *CLUSTER], 2, "VALUE or by --file"),
    "two values": (["propose", "t/1", "x", "-f", "y", *CLUSTER], 2, "VALUE or by --file"),
    "no value file": (["propose", "t/1", "-f", "/nowhere", *CLUSTER], 2, "cannot read the value"),
    "no request id": (["append", "t", "x", "--request-id", "", *CLUSTER], 2, "1 to 64 bytes"),
    "no position": (["entries", "t", "--after", "7", *CLUSTER], 2, "'7' is no position"),
    "no ordered prefix": (["init", "{root}/new", "--ordered", "No"], 2, "how a topic can begin"),
    "no time": (["propose", "t/1", "x", "--timeout", "0", *CLUSTER], 2, "--timeout"),
    "a key for all to read": (
        ["propose", "t/1", "x", "--proposer-key", "{root}/noise.cert", *CLUSTER],
        2,
        "allowed is 0600",
    ),
    "no key": (
        ["propose", "t/1", "x", "--proposer-key", "{root}/short.key", *CLUSTER],
        2,
        "64 hexadecimal digits",
    ),
    "a token for all to read": (
        ["get", "t/1", "--access", "{root}/open.toml", *CLUSTER],
        2,
        "allowed is 0600",
    ),
    "a key without certificate": (
        ["get", "t/1", "--access", "{root}/half.toml", *CLUSTER],
        2,
        "key and certificate go together",
    ),
    "an unknown access": (
        ["get", "t/1", "--access", "{root}/odd.toml", *CLUSTER],
        2,
        "unknown key 'tokens'",
    ),
    "nobody there": (["get", "t/1", "--timeout", "0.2", *CLUSTER], 3, "no answer in 0.2 s"),
    "nobody runs": (
        ["get", "t/1", "--timeout", "0.5", *CLUSTER],
        3,
        "nodes 0, 1, 2, 3: UNAVAILABLE: cannot connect: Connection refused; do they run (`qbft",
    ),
    "no status": (["status", "--timeout", "0.2", *CLUSTER], 3, "no node answers"),
    "a used directory": (["init", "{c}"], 2, "not empty; init never overwrites"),
    "no nodes": (["init", "{root}/new", "--nodes", "0"], 2, "nodes = 0: allowed is 1 to"),
    "too many faults": (["init", "{root}/new", "--faults", "2"], 2, "needs 7 validators"),
    "no such port": (["init", "{root}/new", "--base-port", "70000"], 2, "port"),
    "hosts and nodes differ": (
        ["init", "{root}/new", "--host", "a", "--host", "b"],
        2,
        "2 hosts for 4 nodes",
    ),
    "a key that is there": (["keygen", "{root}/short.key"], 2, "File exists; keys are never"),
    "no node file": (["node", "/nowhere/node.toml"], 2, "cannot read the node file"),
    "a cluster file as node file": (["node", "{c}/cluster.toml"], 2, "this is a cluster file"),
    "a folder as node file": (["node", "{c}/node-0"], 2, "Is a directory; name the file in it"),
    "no certificate file": (["verify", "/nowhere", *CLUSTER], 2, "cannot read the certificate"),
    "noise as certificate": (["verify", "{root}/noise.cert", *CLUSTER], 1, "malformed"),
    "noise as trace": (["parity", "{root}/noise.jsonl"], 2, "line 1 is not a trace"),
    "no trace": (["parity", "/nowhere"], 2, "/nowhere"),
    "no input": (["demo", "--input", "/nowhere"], 2, "cannot read the input"),
    "an input of noise": (["demo", "--input", "{root}/noise.jsonl"], 2, "line 1: 1 fields"),
    "a used place to keep": (["demo", "--keep", "{c}"], 2, "is not empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_failure_is_one_line(
    name: str,
    made: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Issue 2, "Bad input": one clear line on standard error, nothing else, and the exit code."""
    monkeypatch.setattr("qbft_server.node.set_up_logs", lambda *_: None)  # for good, in a process
    arguments, code, words = BAD[name]
    before = sorted(made.rglob("*"))
    told = [part.format(root=made, c=made / "c") for part in arguments]
    assert main(told) == code
    said = capfd.readouterr()
    assert said.err.startswith("qbft: ")
    assert said.err.count("\n") == 1
    assert words in said.err
    assert not said.out or arguments[0] == "status"  # its table says why none answers
    assert sorted(made.rglob("*")) == before


def test_without_a_command_there_is_help(capfd: pytest.CaptureFixture[str]) -> None:
    """It is no success: a script that forgot the command hears of it."""
    assert main([]) == 2
    assert "Commands" in capfd.readouterr().out


def test_a_bug_is_told_in_full_and_is_no_answer(
    monkeypatch: pytest.MonkeyPatch, made: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 is "no"; a bug must not be taken for it."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("qbft.verify.verify", broken)
    cluster = str(made / "c" / "cluster.toml")
    assert main(["verify", str(made / "noise.cert"), "-c", cluster]) == 5
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_foreign_cluster_file(made: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A node whose keys are of another cluster says so, and begins nothing (issue 2)."""
    foreign = made / "foreign"
    shutil.copytree(made / "c", foreign)
    shutil.copy(made / "other" / "cluster.toml", foreign / "cluster.toml")
    try:
        assert main(["node", str(foreign / "node-0" / "node.toml")]) == 2
        assert "but the cluster file has" in capfd.readouterr().err
    finally:
        shutil.rmtree(foreign)


def test_an_unreadable_key(made: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Issue 2: a key that others can read is refused by a node too."""
    place = made / "place"
    shutil.copytree(made / "c", place)
    key = place / "node-1" / "vote.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.chmod(0o640)
    try:
        assert main(["node", str(place / "node-1" / "node.toml")]) == 2
        assert "open to others; allowed is 0600: chmod 600" in capfd.readouterr().err
    finally:
        shutil.rmtree(place)


@pytest.mark.e2e
@pytest.mark.parametrize("which", ["peer", "client", "admin"])
def test_a_port_in_use(tmp_path: Path, which: str) -> None:
    """Issue 2: the line names the setting, the address and what is allowed."""
    init_cluster(tmp_path / "c", 1, base_port=7400)
    changes = {"QBFT_LOG__LEVEL": "warning"}
    with contextlib.ExitStack() as holding, contextlib.ExitStack() as looking:
        for name in ("peer", "client", "admin"):
            place = (holding if name == which else looking).enter_context(socket.socket())
            place.bind(("127.0.0.1", 0))
            changes[f"QBFT_LISTEN__{name.upper()}"] = f"127.0.0.1:{place.getsockname()[1]}"
        looking.close()
        address = changes[f"QBFT_LISTEN__{which.upper()}"]
        ended = qbft("node", tmp_path / "c" / "node-0" / "node.toml", changes=changes)
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert f"listen.{which} = '{address}': cannot listen there" in ended.err


@pytest.mark.e2e
def test_a_full_disk(tmp_path: Path) -> None:
    """Issue 2: a disk that takes no more, here at some KiB a file; nothing half-written is left."""
    ended = qbft("init", tmp_path / "c", through='ulimit -f 40; "$0" "$@"')
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert "cannot make the cluster" in ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.e2e
def test_output_that_cannot_be_written(tmp_path: Path) -> None:
    """A result that did not arrive is no success: a full disk, a reader that has left."""
    full = qbft("init", tmp_path / "a", through='exec "$0" "$@" >/dev/full')
    assert (full.code, full.err) == (5, "qbft: No space left on device\n")
    gone = qbft("init", tmp_path / "b", through='{ "$0" "$@"; echo $? >&2; } | true')
    assert gone.err == "5\n"


# --- the demo's table -----------------------------------------------------------------------------

GOOD = "".join(f"t,{height},v\n" for height in range(1, 31))

ROWS: dict[str, tuple[bytes, str]] = {
    "a missing field": (b"t,31\n", "line 31: 2 fields; a row is topic,height,value"),
    "a field too many": (b"t,31,v,w\n", "line 31: 4 fields"),
    "a bad topic": (b"T!,31,v\n", "line 31: topic 'T!' must be"),
    "no height": (b"t,high,v\n", "line 31: instance 't/high' must be written TOPIC/HEIGHT"),
    "a negative height": (b"t,-1,v\n", "line 31: instance 't/-1'"),
    "a huge height": (b"t,9223372036854775808,v\n", "line 31: height"),
    "no value": (b"t,31,\n", "line 31: the value has 0 bytes"),
    "a huge value": (b"t,31," + b"v" * (1 << 20) + b"v\n", "line 31: "),
    "twice the same": (b"t,7,w\n", "line 31: t/7 is on line 7 already"),
    "an open quote": (b't,31,"v\n', "line 31: unexpected end of data"),
    "a byte that is no text": (b"t,31,\xff\n", "line 31: not UTF-8"),
    "after blank lines": (b"\n\nt\n", "line 33: 1 fields"),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_malformed_row_is_named_before_anything_starts(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Issue 2: file, line number, and why; no process, no directory."""
    row, words = ROWS[name]
    table = tmp_path / "table.csv"
    table.write_bytes(GOOD.encode() + row)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main(["demo", "--input", str(table)]) == 2
    said = capfd.readouterr().err
    assert said.startswith(f"qbft: {table}, {words}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == [table]


def test_too_small_a_table(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An outage needs rows before, during and after it; none of them is made up."""
    table = tmp_path / "table.csv"
    table.write_text("topic,height,value\n" + GOOD)
    assert main(["demo", "--input", str(table), "--rows", "23"]) == 2
    assert "23 rows; the demo needs at least 24" in capfd.readouterr().err
