"""Golden bytes: what is signed and hashed never changes within a signing version."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import by_the_page
import pytest
from crypto_builders import VECTORS

from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto import merkle
from qbft.crypto.canonical import canonical_vote
from qbft.crypto.encoding import number
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import Proposal, is_proposal_genuine, sign_proposal, value_digest
from qbft.crypto.roster import Roster, cluster_id, first_leader, service_leader
from qbft.crypto.signing import BatchHeader, BatchSigner, Verifier, VoteSignature, batch_payload
from qbft.wire import decode_decision, encode_certificate, encode_decision

CLUSTER = VECTORS["cluster"]
BATCH = VECTORS["batch"]
CERTIFICATE = VECTORS["certificate"]
KEYS = [VoteKey(bytes.fromhex(seed)) for seed in CLUSTER["seeds"]]
ROSTER = Roster(bytes.fromhex(CLUSTER["cluster_id"]), tuple(key.public for key in KEYS))


def vote_of(vector: dict[str, Any]) -> Message:
    """The message that a vector describes."""
    return Message(
        MessageType(vector["type"]),
        InstanceId(vector["topic"], vector["height"]),
        vector["source"],
        vector["round"],
        bytes.fromhex(vector["digest"]) or None,
        vector["prepared_round"],
        bytes.fromhex(vector["prepared_digest"]) or None,
        proof=Proof(),
    )


def test_cluster_id() -> None:
    """DESIGN 4: name, epoch, n and vote keys in order make the cluster id."""
    assert [key.public.hex() for key in KEYS] == CLUSTER["vote_keys"]
    made = cluster_id(CLUSTER["name"], CLUSTER["epoch"], ROSTER.vote_keys)
    assert made == ROSTER.cluster_id
    assert made == by_the_page.cluster_id(CLUSTER["name"], CLUSTER["epoch"], list(ROSTER.vote_keys))
    others = [
        cluster_id("vector", CLUSTER["epoch"], ROSTER.vote_keys),
        cluster_id(CLUSTER["name"], CLUSTER["epoch"] + 1, ROSTER.vote_keys),
        cluster_id(CLUSTER["name"], CLUSTER["epoch"], ROSTER.vote_keys[:3]),
        cluster_id(CLUSTER["name"], CLUSTER["epoch"], ROSTER.vote_keys[::-1]),
    ]
    assert len({made, *others}) == 5


def test_cluster_file() -> None:
    """PROTOCOL.md, section 2: keys are those of the validators' tables, for any reader of TOML.

    What looks like one inside a string of many lines, or in another table, is none.
    """
    table = tomllib.loads(VECTORS["cluster_file"]["text"])
    assert (table["name"], table["epoch"]) == (CLUSTER["name"], CLUSTER["epoch"])
    assert [each["vote_key"] for each in table["validators"]] == CLUSTER["vote_keys"]
    assert [each["client"] for each in table["validators"]] == VECTORS["cluster_file"]["clients"]


@pytest.mark.parametrize("vector", VECTORS["values"])
def test_value_digest(vector: dict[str, str]) -> None:
    """DESIGN, values: SHA-256 over a tag and the bytes."""
    value = bytes.fromhex(vector["value"])
    assert value_digest(value).hex() == vector["digest"] == by_the_page.value_digest(value).hex()


@pytest.mark.parametrize("vector", VECTORS["leaders"], ids=lambda v: f"{v['topic']}/{v['height']}")
def test_leaders(vector: dict[str, Any]) -> None:
    """DESIGN 4: a hash picks the first leader, then validators take turns."""
    instance = InstanceId(vector["topic"], vector["height"])
    assert first_leader(ROSTER.cluster_id, instance) == vector["first"]
    page = by_the_page.first_leader(ROSTER.cluster_id, vector["topic"], vector["height"])
    assert page == vector["first"]
    leader = service_leader(ROSTER)
    assert [leader(instance, round_) for round_ in range(1, 6)] == vector["leaders"]


@pytest.mark.parametrize("vector", BATCH["votes"], ids=lambda v: f"{v['type']}-{v['round']}")
def test_canonical_votes(vector: dict[str, Any]) -> None:
    """DESIGN, signatures: exactly these fields are signed, each length-prefixed."""
    canonical = canonical_vote(vote_of(vector), ROSTER.cluster_id)
    assert canonical.hex() == vector["canonical"]
    assert canonical == by_the_page.vote_bytes(ROSTER.cluster_id, vector)
    assert merkle.leaf_hash(canonical).hex() == vector["leaf"]


@pytest.mark.parametrize("vector", VECTORS["merkle"], ids=lambda v: str(v["size"]))
def test_merkle_roots(vector: dict[str, Any]) -> None:
    """RFC 6962: the roots of trees whose leaves are the numbers from 0, 8 bytes each."""
    leaves = [merkle.leaf_hash(number(index)) for index in range(vector["size"])]
    assert merkle.Tree(leaves).root.hex() == vector["root"] == by_the_page.root(leaves).hex()


def test_batch_and_portable_signatures() -> None:
    """The payload, the signature (Ed25519 is deterministic) and every path of a batch of five."""
    votes = [vote_of(vector) for vector in BATCH["votes"]]
    store_id = bytes.fromhex(BATCH["store_id"])
    signer = BatchSigner(KEYS[1], ROSTER, 1)
    header = signer.sign(votes, store_id, BATCH["sequence"])
    tree = merkle.Tree([bytes.fromhex(vector["leaf"]) for vector in BATCH["votes"]])
    assert tree.root.hex() == BATCH["root"]
    payload = batch_payload(ROSTER.cluster_id, 1, header, 5, tree.root)
    assert payload.hex() == BATCH["payload"]
    assert header == BatchHeader(store_id, BATCH["sequence"], bytes.fromhex(BATCH["signature"]))
    for index, (vote, path) in enumerate(zip(votes, BATCH["paths"], strict=True)):
        assert vote.proof is not None
        signature = vote.proof.signature
        assert isinstance(signature, VoteSignature)
        assert (signature.header, signature.size, signature.index) == (header, 5, index)
        assert signature.vote_sequence == BATCH["sequence"] + index
        assert [beside.hex() for beside in signature.path] == path
        assert Verifier(ROSTER).verify_vote(vote)


def test_proposal_signature() -> None:
    """DESIGN, who may propose: the client signs cluster, topic, height and digest."""
    vector = VECTORS["proposal"]
    instance, value = InstanceId(vector["topic"], vector["height"]), bytes.fromhex(vector["value"])
    key = VoteKey(bytes.fromhex(vector["seed"]))
    proposal = sign_proposal(key, ROSTER.cluster_id, instance, value)
    assert proposal.proposer.hex() == vector["proposer"]
    assert proposal.signature.hex() == vector["signature"]
    page = by_the_page.proposal_payload(
        ROSTER.cluster_id, vector["topic"], vector["height"], value_digest(value)
    )
    assert page.hex() == vector["payload"]
    assert is_proposal_genuine(proposal, ROSTER.cluster_id)
    other = Proposal(instance, value + b"!", proposal.proposer, proposal.signature)
    assert not is_proposal_genuine(other, ROSTER.cluster_id)
    assert not is_proposal_genuine(proposal, bytes(32))


def test_certificate_files() -> None:
    """A certificate and a decision as bytes: read, written again alike, valid by the page alone."""
    data = bytes.fromhex(CERTIFICATE["decision_protobuf"])
    decision = decode_decision(data)
    assert encode_decision(decision) == data
    assert encode_certificate(decision.certificate).hex() == CERTIFICATE["protobuf"]
    assert by_the_page.is_certificate_valid(CLUSTER, CERTIFICATE)


def test_the_page_refuses_what_is_changed() -> None:
    """Negative control of the page's own verifier."""
    for key, changed in (("round", 3), ("height", 8), ("digest", "00" * 32), ("topic", "a")):
        assert not by_the_page.is_certificate_valid(CLUSTER, {**CERTIFICATE, key: changed})
    two = {**CERTIFICATE, "commits": CERTIFICATE["commits"][:2]}
    assert not by_the_page.is_certificate_valid(CLUSTER, two)


def test_the_page_names_every_vector() -> None:
    """Whoever writes a verifier from docs/PROTOCOL.md finds each group of vectors there."""
    page = (Path(__file__).parents[2] / "docs" / "PROTOCOL.md").read_text()
    assert [name for name in VECTORS if f"`{name}" not in page] == []
