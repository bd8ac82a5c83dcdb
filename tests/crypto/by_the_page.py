"""docs/PROTOCOL.md in another hand: what is signed and hashed, from the page alone.

Shares no code with the package, so that the vectors hold the page and the package to each other.
"""

from __future__ import annotations

import hashlib
from typing import Any

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey


def sha(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def u64(value: int) -> bytes:
    """8 bytes, big-endian."""
    return value.to_bytes(8, "big")


def fields(*parts: bytes) -> bytes:
    """Each field after its length in 4 bytes, big-endian."""
    out = b""
    for part in parts:
        out += len(part).to_bytes(4, "big")
        out += part
    return out


def cluster_id(name: str, epoch: int, keys: list[bytes]) -> bytes:
    """Page, "Cluster id"."""
    return sha(fields(b"qbft/cluster/v1", name.encode(), u64(epoch), u64(len(keys)), *keys))


def value_digest(value: bytes) -> bytes:
    """Page, "Value digest"."""
    return sha(b"qbft/value/v1\0" + value)


def first_leader(cluster: bytes, topic: str, height: int) -> int:
    """Page, "Leader"."""
    return int.from_bytes(
        sha(fields(b"qbft/leader/v1", cluster, topic.encode(), u64(height)))[:8], "big"
    )


def proposal_payload(cluster: bytes, topic: str, height: int, digest: bytes) -> bytes:
    """Page, "Proposal signature"."""
    return fields(b"qbft/proposal/v1", cluster, topic.encode(), u64(height), digest)


def seal(successor: bytes, default: int, first_heights: tuple[tuple[str, int], ...]) -> bytes:
    """Page, "Seals"."""
    parts = [b"qbft/seal/v1", successor, u64(default)]
    for topic, height in first_heights:
        parts += [topic.encode(), u64(height)]
    return fields(*parts)


def entry_payload(cluster: bytes, topic: str, entry: dict[str, Any]) -> bytes:
    """Page, "Entries of ordered topics": what the author signs."""
    digest = value_digest(bytes.fromhex(entry["value"]))
    name = bytes.fromhex(entry["request_id"])
    return fields(b"qbft/entry/v1", cluster, topic.encode(), name, u64(entry["until"]), digest)


def entries(batch: list[dict[str, Any]]) -> bytes:
    """Page, "Entries of ordered topics": the value that is decided."""
    parts = [b"qbft/entries/v1"]
    for entry in batch:
        parts += [bytes.fromhex(entry["request_id"]), bytes.fromhex(entry["value"])]
        parts += [u64(entry["until"]), bytes.fromhex(entry["author"])]
        parts += [bytes.fromhex(entry["signature"])]
    return fields(*parts)


def vote_bytes(cluster: bytes, vote: dict[str, Any]) -> bytes:
    """Page, "Canonical vote"; digests are given in hexadecimal, empty for none."""
    return fields(
        b"qbft/vote",
        u64(1),
        cluster,
        vote["topic"].encode(),
        u64(vote["height"]),
        u64(vote["type"]),
        u64(vote["source"]),
        u64(vote["round"]),
        bytes.fromhex(vote["digest"]),
        u64(vote["prepared_round"]),
        bytes.fromhex(vote["prepared_digest"]),
    )


def leaf(data: bytes) -> bytes:
    """Page, "Merkle tree"."""
    return sha(b"\0" + data)


def root(leaves: list[bytes]) -> bytes:
    """Page, "Merkle tree": the recursive definition of RFC 6962, 2.1."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha(b"\1" + root(leaves[:split]) + root(leaves[split:]))


def root_by_path(hash_: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """Page, "Merkle tree": the root that a path leads to, the iterative algorithm of RFC 9162."""
    if index >= size:
        return None
    last = size - 1
    for beside in path:
        if last == 0:
            return None
        if index % 2 or index == last:
            hash_ = sha(b"\1" + beside + hash_)
            while index % 2 == 0 and index:
                index, last = index // 2, last // 2
        else:
            hash_ = sha(b"\1" + hash_ + beside)
        index, last = index // 2, last // 2
    return hash_ if last == 0 else None


def batch_payload(
    cluster: bytes, validator: int, store_id: bytes, sequence: int, *, size: int, top: bytes
) -> bytes:
    """Page, "Batch signature"."""
    return fields(
        b"qbft/batch/v1", cluster, u64(validator), store_id, u64(sequence), u64(size), top
    )


def is_certificate_valid(cluster: dict[str, Any], certificate: dict[str, Any]) -> bool:
    """Page, "Verifying a certificate", step by step."""
    keys = [bytes.fromhex(key) for key in cluster["vote_keys"]]
    identity = cluster_id(cluster["name"], cluster["epoch"], keys)
    last = -1
    for commit in certificate["commits"]:
        if not last < commit["source"] < len(keys):
            return False
        last = commit["source"]
        vote = {
            "topic": certificate["topic"],
            "height": certificate["height"],
            "type": 3,
            "source": last,
            "round": certificate["round"],
            "digest": certificate["digest"],
            "prepared_round": 0,
            "prepared_digest": "",
        }
        if not _is_signed(identity, keys, {**commit, **vote}):
            return False
    return 3 * len(certificate["commits"]) >= 2 * len(keys)


def is_evidence_valid(cluster: dict[str, Any], evidence: dict[str, Any]) -> bool:
    """Page, "Verifying evidence", step by step."""
    first, second = evidence["first"], evidence["second"]
    if any(first[name] != second[name] for name in ("topic", "height", "source")):
        return False
    if not _contradict(first, second) and not _contradict(second, first):
        return False
    keys = [bytes.fromhex(key) for key in cluster["vote_keys"]]
    identity = cluster_id(cluster["name"], cluster["epoch"], keys)
    return all(_is_signed(identity, keys, vote) for vote in (first, second))


def _contradict(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one["type"] == other["type"]:
        said = ("digest", "prepared_round", "prepared_digest")
        return one["round"] == other["round"] and any(one[name] != other[name] for name in said)
    if (one["type"], other["type"]) != (3, 4) or one["round"] >= other["round"]:
        return False
    if other["prepared_round"] == one["round"]:
        return other["prepared_digest"] != one["digest"]
    return other["prepared_round"] < one["round"]


def _is_signed(identity: bytes, keys: list[bytes], vote: dict[str, Any]) -> bool:
    path = [bytes.fromhex(beside) for beside in vote["path"]]
    top = root_by_path(leaf(vote_bytes(identity, vote)), vote["index"], vote["size"], path)
    if top is None or not 1 <= vote["size"] <= 256 or not 0 <= vote["source"] < len(keys):
        return False
    store_id = bytes.fromhex(vote["store_id"])
    payload = batch_payload(
        identity, vote["source"], store_id, vote["sequence"], size=vote["size"], top=top
    )
    try:
        VerifyKey(keys[vote["source"]]).verify(payload, bytes.fromhex(vote["signature"]))
    except BadSignatureError:
        return False
    return True
