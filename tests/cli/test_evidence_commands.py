"""`qbft verify` on evidence, offline, and what `qbft evidence` prints of it (SCENARIOS B16)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qbft.client import ClientError, Unavailable
from qbft.cluster import Cluster
from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.evidence import Evidence
from qbft.crypto.proposal import value_digest
from qbft.crypto.signing import BatchSigner
from qbft.wire import encode_evidence
from qbft_server.cli import evidence as command
from qbft_server.cli import main
from qbft_server.identity import load_vote_key

INSTANCE = InstanceId("a/b", 7)
ONE, TWO = value_digest(b"one"), value_digest(b"two")
PREPARE, COMMIT, RC = MessageType.PREPARE, MessageType.COMMIT, MessageType.ROUND_CHANGE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster's files; nothing of it runs."""
    made = tmp_path_factory.mktemp("evidence") / "c"
    assert main(["init", str(made), "--json"]) == 0
    return made


def signed(folder: Path, source: int, *votes: Message) -> Evidence:
    """Evidence of votes that the validator's key of that cluster signs."""
    cluster = Cluster.load(folder / "cluster.toml")
    key = load_vote_key(folder / f"node-{source}" / "vote.key", cluster.validators[source])
    BatchSigner(key, cluster.roster, source).sign(votes, bytes(16), 1)
    return Evidence(*votes)


def vote(
    kind: MessageType, source: int, round_: int, value: bytes | None, prepared: int = 0
) -> Message:
    """A vote, not yet signed; of a ROUND-CHANGE what it says is prepared there."""
    if kind is RC:
        return Message(kind, INSTANCE, source, round_, None, prepared, value, proof=Proof())
    return Message(kind, INSTANCE, source, round_, value, proof=Proof())


def equivocation(folder: Path) -> Evidence:
    """Validator 2 PREPAREs two values."""
    return signed(folder, 2, vote(PREPARE, 2, 1, ONE), vote(PREPARE, 2, 1, TWO))


def hidden(folder: Path) -> Evidence:
    """Validator 1 hides a COMMIT behind an older prepared round."""
    return signed(folder, 1, vote(RC, 1, 4, TWO, prepared=1), vote(COMMIT, 1, 2, ONE))


def test_verify_tells_evidence_from_certificates(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """B16: the file and the cluster file are enough; exit code 1 where it proves nothing."""
    cluster = str(folder / "cluster.toml")
    good, bad = tmp_path / "good.evidence", tmp_path / "bad.evidence"
    genuine = equivocation(folder)
    good.write_bytes(encode_evidence(genuine))
    bad.write_bytes(encode_evidence(Evidence(genuine.first, genuine.first)))
    capfd.readouterr()
    assert main(["verify", str(good), "-c", cluster]) == 0
    told = capfd.readouterr().out
    assert f"{good}  genuine" in told
    assert "against validator 2" in told
    assert "two PREPAREs in round 1" in told
    assert f"PREPARE of round 1 for {ONE.hex()}" in told
    assert main(["verify", str(good), str(bad), "-c", cluster, "--json"]) == 1
    out, err = capfd.readouterr()
    first, second = map(json.loads, out.splitlines())
    assert (first["valid"], first["evidence"], first["validator"]) == (True, "two_contents", 2)
    assert (first["instance"], first["height"]) == ("a/b/7", 7)
    assert [first["first"]["digest"], first["second"]["digest"]] == [ONE.hex(), TWO.hex()]
    assert (second["valid"], second["reason"]) == (False, "a correct validator may sign both votes")
    assert err == f"qbft: {bad}: a correct validator may sign both votes\n"


def test_what_nodes_hold_is_listed_once_and_saved(
    folder: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A table for people, JSON for scripts, and files that `qbft verify` takes."""
    one, other = equivocation(folder), hidden(folder)
    swapped = Evidence(one.second, one.first)
    told: dict[int, list[Evidence] | ClientError] = {
        0: [one, other],
        1: [swapped],
        2: [],
        3: Unavailable("node 3: away", node=3),
    }
    monkeypatch.setattr(command.Asking, "run", lambda *_: told)
    cluster = str(folder / "cluster.toml")
    save = tmp_path / "saved"
    capfd.readouterr()
    assert main(["evidence", "-c", cluster, "--json", "--save", str(save)]) == 0
    out, err = capfd.readouterr()
    assert err == "node 3: away\n"
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["validator"], row["held_by"]) for row in rows] == [(1, [0]), (2, [0, 1])]
    assert [row["evidence"] for row in rows] == ["hidden_commit", "two_contents"]
    files = sorted(str(path) for path in save.iterdir())
    assert [row["file"] for row in rows] == files
    assert files[0].startswith(f"{save}/validator-1-a_b_7-")
    assert main(["verify", *files, "-c", cluster]) == 0
    assert "ROUND-CHANGE of round 4, prepared in round 1" in capfd.readouterr().out
    assert main(["evidence", "-c", cluster]) == 0
    table = capfd.readouterr().out
    assert "a ROUND-CHANGE for round 4 that hides its COMMIT of round 2" in table
    told.clear()
    told[0] = []
    assert main(["evidence", "-c", cluster]) == 0
    assert capfd.readouterr().out == "no evidence\n"
    told[0] = Unavailable("node 0: away", node=0)
    assert main(["evidence", "-c", cluster]) == 3
    assert capfd.readouterr().err == "qbft: node 0: away\n"
