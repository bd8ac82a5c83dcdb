"""Frames that no correct node sends, one of each kind, with the reason that refuses it.

Each is made anew by a liar with its own genuine keys, so that nothing but what the name says is
wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from attacks.liar import Liar

from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.core.messages import ROUND_MAX
from qbft.crypto import merkle
from qbft.crypto.canonical import SIGNING_VERSION, VOTE_TAG, canonical_vote
from qbft.crypto.encoding import number, pack
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import value_digest
from qbft.crypto.signing import BatchHeader, VoteSignature, batch_payload
from qbft.replica.authenticator import Ed25519Authenticator
from qbft.sim.byzantine.behaviour import COMMIT, PP, PREPARE, RC
from qbft.transport import Frame
from qbft.wire import encode_frame
from qbft.wire.v1 import messages_pb2 as pb
from qbft.wire.v1 import peer_pb2

TOPIC = "attack/frames"
DIGEST = value_digest(b"a value")
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of Ed25519: its multiples may be added to S without changing what the equation says."""

MINUS_ONE = 2**64 - 1
"""As protobuf writes it where the reader expects a number without a sign."""

Change = Callable[[pb.SignedVote], None]


@dataclass(frozen=True)
class BadFrame:
    """`rows` of SCENARIOS that it belongs to, the `reason` counted, and how it is made."""

    rows: str
    reason: str
    make: Callable[[Liar], bytes]


def instance(liar: Liar) -> InstanceId:
    """One that nobody has heard of."""
    return InstanceId(TOPIC, liar.random.randrange(2**40))


def prepare(liar: Liar) -> Message:
    """A genuine vote."""
    return liar.hands.vote(PREPARE, instance(liar), 1, DIGEST)


def relaying(vote: Message, change: Change) -> bytes:
    """A frame that relays a vote whose bytes were changed after signing."""
    message = peer_pb2.PeerMessage()
    message.MergeFromString(encode_frame(Frame(relayed=(vote,))))
    change(message.frame.relayed[0])
    return message.SerializeToString()


def changed(change: Change) -> Callable[[Liar], bytes]:
    """A PREPARE of the liar's own that was changed after signing."""
    return lambda liar: relaying(prepare(liar), change)


Nested = Callable[[Liar, InstanceId], tuple[Message, ...]]


def nesting(
    kind: MessageType, nested: Nested, *, prepared_round: int = 1
) -> Callable[[Liar], bytes]:
    """A genuine vote of round 2 with these votes as its justification."""

    def make(liar: Liar) -> bytes:
        which = instance(liar)
        value, prepared = (None, (prepared_round, DIGEST)) if kind is RC else (DIGEST, (0, None))
        proofs = nested(liar, which)
        vote = liar.hands.vote(kind, which, 2, value, prepared=prepared, justification=proofs)
        return encode_frame(Frame(relayed=(vote,)))

    return make


def everybody(
    kind: MessageType, round_: int = 1, *, instance_of: InstanceId | None = None
) -> Nested:
    """One vote under each validator's name, all signed by the liar."""

    def make(liar: Liar, which: InstanceId) -> tuple[Message, ...]:
        own = liar.hands.vote(kind, instance_of or which, round_, DIGEST)
        return tuple(replace(own, source=source) for source in range(liar.roster.nodes))

    return make


def of_another_cluster(liar: Liar, which: InstanceId) -> tuple[Message, ...]:
    """PREPAREs under all names, signed for another cluster."""
    roster = replace(liar.roster, cluster_id=bytes(32))
    signer = Ed25519Authenticator(liar.key, roster, liar.validator)
    own = Message(PREPARE, which, liar.validator, 1, DIGEST, 0, None, (), Proof())
    signer.sign((own,), liar.store_id, 1)
    return tuple(replace(own, source=source) for source in range(liar.roster.nodes))


def nesting_changed(change: Change) -> Callable[[Liar], bytes]:
    """A ROUND-CHANGE with PREPAREs that was changed after signing."""

    def make(liar: Liar) -> bytes:
        which = instance(liar)
        proofs = everybody(PREPARE)(liar, which)
        vote = liar.hands.vote(RC, which, 2, prepared=(1, DIGEST), justification=proofs)
        return relaying(vote, change)

    return make


def nest_deeper(signed: pb.SignedVote) -> None:
    """Nest a vote in the first of those that are nested."""
    signed.justification[0].justification.add().CopyFrom(signed.justification[1])


def nothing(liar: Liar, which: InstanceId) -> tuple[Message, ...]:
    """No justification."""
    return ()


def set_field(name: str, value: object) -> Change:
    """Set a field of the vote."""
    return lambda signed: setattr(signed.vote, name, value)


def set_signature(name: str, value: object) -> Change:
    """Set a field of its signature."""
    return lambda signed: setattr(signed.signature, name, value)


def malleate(signed: pb.SignedVote) -> None:
    """Add the group order to S."""
    signature = signed.signature.signature
    s = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    signed.signature.signature = signature[:32] + s.to_bytes(32, "little")


def lengthen(signed: pb.SignedVote) -> None:
    """Add a hash to the path."""
    signed.signature.path.append(bytes(32))


def claim_another_place(signed: pb.SignedVote) -> None:
    """Say that it was the second of two."""
    signed.signature.size, signed.signature.index = 2, 1
    signed.signature.path.append(bytes(32))


def nest(count: int, change: Change | None = None) -> Change:
    """Nest so many copies of the vote in it."""

    def do(signed: pb.SignedVote) -> None:
        copy = pb.SignedVote()
        copy.CopyFrom(signed)
        if change is not None:
            change(copy)
        for _ in range(count):
            signed.justification.add().CopyFrom(copy)

    return do


def random_bytes(liar: Liar) -> bytes:
    """Bytes that are no message: the first is no tag."""
    return b"\xff" + liar.random.randbytes(liar.random.randrange(1, 2_000))


def truncated(liar: Liar) -> bytes:
    """A message cut in the middle."""
    data = encode_frame(Frame(relayed=(prepare(liar),)))
    return data[: len(data) // 2]


def deep(liar: Liar) -> bytes:
    """Groups within groups."""
    return b"\x0b" * 10_000


def large_value(liar: Liar) -> bytes:
    """A value of a byte more than allowed."""
    proposal = liar.proposal(TOPIC, 1, bytes((1 << 20) + 1))
    return encode_frame(Frame(proposals=(proposal,)))


def false_section(liar: Liar) -> bytes:
    """Own votes under a signature of other ones."""
    frame = liar.hands.sealed(Frame(votes=(prepare(liar),)))
    return encode_frame(replace(frame, votes=(prepare(liar),)))


def other_cluster(liar: Liar) -> bytes:
    """Own votes signed for another cluster, with the same key and index."""
    roster = replace(liar.roster, cluster_id=bytes(32))
    signer = Ed25519Authenticator(liar.key, roster, liar.validator)
    vote = Message(PREPARE, instance(liar), liar.validator, 1, DIGEST, 0, None, (), Proof())
    batch = signer.sign((vote,), liar.store_id, 1)
    return encode_frame(Frame(votes=(vote,), batch=batch))


def signature_of(length: int) -> Callable[[Liar], bytes]:
    """A section's signature of so many bytes."""

    def make(liar: Liar) -> bytes:
        message = peer_pb2.PeerMessage()
        frame = liar.hands.sealed(Frame(votes=(prepare(liar),)))
        message.MergeFromString(encode_frame(frame))
        message.frame.own.signature = bytes(length)
        return message.SerializeToString()

    return make


def other_key(liar: Liar) -> bytes:
    """Own votes signed with a key that is nobody's."""
    vote = replace(prepare(liar), proof=Proof())
    signer = Ed25519Authenticator(VoteKey.generate(), liar.roster, liar.validator)
    batch = signer.sign((vote,), liar.store_id, 1)
    return encode_frame(Frame(votes=(vote,), batch=batch))


def older_signing_version(liar: Liar) -> bytes:
    """A vote signed as if by the signing version before this one, with the genuine key."""
    vote, cluster_id = prepare(liar), liar.roster.cluster_id
    now, before = (
        pack((VOTE_TAG, number(version))) for version in (SIGNING_VERSION, SIGNING_VERSION - 1)
    )
    leaf = merkle.leaf_hash(before + canonical_vote(vote, cluster_id).removeprefix(now))
    unsigned = BatchHeader(liar.store_id, 1, b"")
    payload = batch_payload(cluster_id, liar.validator, unsigned, 1, leaf)
    header = replace(unsigned, signature=liar.key.sign(payload))
    proof = Proof(VoteSignature(header, 1, 0, ()))
    return encode_frame(Frame(relayed=(replace(vote, proof=proof),)))


def foreign_section(liar: Liar) -> bytes:
    """Another's vote among the own ones."""
    vote = replace(prepare(liar), source=liar.peers[0])
    return encode_frame(liar.hands.sealed(Frame(votes=(vote,))))


def full_section(liar: Liar) -> bytes:
    """257 votes under one signature."""
    message = peer_pb2.PeerMessage()
    frame = liar.hands.sealed(Frame(votes=(prepare(liar),)))
    message.MergeFromString(encode_frame(frame))
    for _ in range(256):
        message.frame.own.votes.add().CopyFrom(message.frame.own.votes[0])
    return message.SerializeToString()


def certificate(commits: int) -> Callable[[Liar], bytes]:
    """A certificate of so many COMMITs, under everybody's names."""

    def make(liar: Liar) -> bytes:
        which = instance(liar)
        own = liar.hands.vote(COMMIT, which, 1, DIGEST)
        message = peer_pb2.PeerMessage()
        message.MergeFromString(encode_frame(Frame(relayed=(own,))))
        signature = message.frame.relayed[0].signature
        one = message.frame.certificates.add(round=1, digest=DIGEST)
        one.instance.topic, one.instance.height = which.topic, which.height
        for source in range(commits):
            one.commits.add(source=source, signature=signature)
        del message.frame.relayed[:]
        return message.SerializeToString()

    return make


def unsorted_certificate(liar: Liar) -> bytes:
    """A certificate whose first COMMIT is repeated at its end."""
    message = peer_pb2.PeerMessage()
    message.MergeFromString(certificate(3)(liar))
    commits = message.frame.certificates[0].commits
    commits.add().CopyFrom(commits[0])
    return message.SerializeToString()


def page_beyond_its_end(liar: Liar) -> bytes:
    """A page of decisions that lies behind the end it names."""
    message = peer_pb2.PeerMessage()
    message.frame.feed_page.position, message.frame.feed_page.end = 2, 1
    return message.SerializeToString()


def bad_topic(liar: Liar) -> bytes:
    """A topic that no instance can have."""
    return relaying(prepare(liar), lambda signed: setattr(signed.vote.instance, "topic", "A/../b"))


BAD_FRAMES: dict[str, BadFrame] = {
    "random bytes": BadFrame("F1", "malformed", random_bytes),
    "a truncated message": BadFrame("F1", "malformed", truncated),
    "groups within groups": BadFrame("F1", "malformed", deep),
    "no frame at all": BadFrame("F1", "malformed", lambda _: b""),
    "a bad topic": BadFrame("F1", "bad_instance", bad_topic),
    "a value of a byte too much": BadFrame("F2", "bad_value", large_value),
    "no bytes of signature": BadFrame(
        "F3", "bad_signature_shape", changed(set_signature("signature", b""))
    ),
    "a signature of 63 bytes": BadFrame("F3", "bad_signature_shape", signature_of(63)),
    "a signature of 66 bytes": BadFrame("F3", "bad_signature_shape", signature_of(66)),
    "another key's signature": BadFrame("F3", "bad_section_signature", other_key),
    "another vote's signature": BadFrame("F3", "bad_section_signature", false_section),
    "a changed round": BadFrame("F3", "bad_vote_signature", changed(set_field("round", 7))),
    "validator -1": BadFrame("F4", "bad_source", changed(set_field("source", MINUS_ONE))),
    "validator n": BadFrame("F4", "bad_source", changed(set_field("source", 4))),
    "validator 2^63-1": BadFrame("F4", "bad_source", changed(set_field("source", 2**63 - 1))),
    "type 0": BadFrame("F5", "bad_type", changed(set_field("type", 0))),
    "type 6": BadFrame("F5", "bad_type", changed(set_field("type", 6))),
    "type -1": BadFrame("F5", "bad_type", changed(set_field("type", -1))),
    "type 2^31-1": BadFrame("F5", "bad_type", changed(set_field("type", 2**31 - 1))),
    "a DECIDED as a vote": BadFrame("F5", "bad_type", changed(set_field("type", 5))),
    "round 0": BadFrame("F6", "bad_round", changed(set_field("round", 0))),
    "round -1": BadFrame("F6", "bad_round", changed(set_field("round", MINUS_ONE))),
    "a prepared round of -1": BadFrame(
        "F6", "bad_round", nesting_changed(set_field("prepared_round", MINUS_ONE))
    ),
    "round 2^31": BadFrame("F6, C18", "bad_round", changed(set_field("round", ROUND_MAX + 1))),
    "round 2^62": BadFrame("C18", "bad_round", changed(set_field("round", 2**62))),
    "a PREPARE with a prepared round": BadFrame(
        "F6, C7", "bad_round", changed(set_field("prepared_round", 1))
    ),
    "prepared in the round itself": BadFrame(
        "F6, C7", "bad_round", nesting(RC, everybody(PREPARE, 2), prepared_round=2)
    ),
    "a digest of 31 bytes": BadFrame("F7", "bad_digest", changed(set_field("digest", b"x" * 31))),
    "a digest of 33 bytes": BadFrame("F7", "bad_digest", changed(set_field("digest", b"x" * 33))),
    "a digest of zeros": BadFrame("F7", "bad_digest", changed(set_field("digest", bytes(32)))),
    "2n+1 nested votes": BadFrame("F8", "too_many", changed(nest(9))),
    "257 own votes": BadFrame("F8, F18", "too_many", full_section),
    "a PREPARE with 2n nested votes": BadFrame("C19", "bad_justification", changed(nest(8))),
    "nested votes of another instance": BadFrame(
        "F10",
        "bad_justification",
        nesting(RC, everybody(PREPARE, instance_of=InstanceId(TOPIC, 1))),
    ),
    "nested votes of another cluster": BadFrame(
        "F10", "bad_vote_signature", nesting(RC, of_another_cluster)
    ),
    "a nested vote of no bytes": BadFrame(
        "F9", "bad_signature_shape", nesting_changed(lambda signed: signed.justification[0].Clear())
    ),
    "votes nested in nested ones": BadFrame(
        "F12", "bad_justification", nesting_changed(nest_deeper)
    ),
    "nested votes of another type": BadFrame(
        "F10", "bad_justification", nesting(RC, everybody(COMMIT))
    ),
    "nested votes that nobody signed": BadFrame(
        "C6, F10", "bad_vote_signature", nesting(RC, everybody(PREPARE))
    ),
    "a proposal without its proof": BadFrame("C21", "bad_justification", nesting(PP, nothing)),
    "another cluster's vote": BadFrame("C15, F14", "bad_section_signature", other_cluster),
    "an older signing version's vote": BadFrame("C16", "bad_vote_signature", older_signing_version),
    "another's vote as one's own": BadFrame("F15", "wrong_sender", foreign_section),
    "a path of a hash too much": BadFrame("F18", "bad_vote_signature", changed(lengthen)),
    "another place in the tree": BadFrame(
        "F18", "bad_vote_signature", changed(claim_another_place)
    ),
    "a batch of 257": BadFrame("F18", "bad_signature_shape", changed(set_signature("size", 257))),
    "S above the group order": BadFrame("F19, C20", "bad_vote_signature", changed(malleate)),
    "another instance's vote": BadFrame(
        "C14",
        "bad_vote_signature",
        changed(lambda signed: setattr(signed.vote.instance, "height", 1)),
    ),
    "a certificate of two": BadFrame("C8", "bad_certificate_shape", certificate(2)),
    "a COMMIT twice": BadFrame("C8", "bad_certificate_shape", unsorted_certificate),
    "a certificate signed by one": BadFrame("C9", "bad_certificate", certificate(4)),
    "a page beyond its end": BadFrame("F1", "malformed", page_beyond_its_end),
}
"""By what is wrong with it."""
