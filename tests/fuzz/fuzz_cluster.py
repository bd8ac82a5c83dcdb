"""A cluster whose keys are known, and what its validators have genuinely signed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.certificate import Certificate
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import Proposal, sign_proposal, value_digest
from qbft.crypto.roster import Roster, cluster_id
from qbft.crypto.signing import BatchHeader, BatchSigner
from qbft.decision import Decision
from qbft.transport import FeedPage, FeedRequest, Frame, Memory

NODES, QUORUM = 4, 3
NAME = "fuzz"
KEYS = tuple(VoteKey(bytes([index]) * 32) for index in range(NODES))
PUBLIC = tuple(key.public for key in KEYS)
ROSTER = Roster(cluster_id(NAME, 0, PUBLIC), PUBLIC)
CLIENT = VoteKey(b"c" * 32)
PEER = 1
"""Who sends what is fuzzed."""
PEERS = (1, 2, 3)
"""A quorum without validator 0, the node that reads it: no vote of its own comes back to it that
it has not cast, for that is how a node learns that it has lost votes."""

INSTANCE = InstanceId("prices/btc", 8)
"""Validator 0 leads its first round where leaders take turns by height, PEER the second."""
OTHER = InstanceId("0._/-", 2**63 - 1)
VALUE = b"value"
DIGEST = value_digest(VALUE)


def store_id(validator: int) -> bytes:
    """The name of a validator's journal."""
    return bytes([validator]) * 16


def vote(
    kind: MessageType,
    source: int = PEER,
    round_: int = 1,
    *,
    prepared: int = 0,
    justification: Sequence[Message] = (),
) -> Message:
    """A vote about VALUE, not yet signed."""
    is_change = kind is MessageType.ROUND_CHANGE
    return Message(
        kind,
        INSTANCE,
        source,
        round_,
        None if is_change else DIGEST,
        prepared,
        DIGEST if prepared else None,
        tuple(justification),
        Proof(),
    )


def sign(votes: Sequence[Message], sequence: int = 41) -> BatchHeader:
    """Sign votes of one validator together; their proofs are filled."""
    source = votes[0].source
    return BatchSigner(KEYS[source], ROSTER, source).sign(votes, store_id(source), sequence)


def signed(*votes: Message) -> tuple[Message, ...]:
    """The same votes, each signed alone."""
    for message in votes:
        sign([message])
    return votes


def signed_by(
    kind: MessageType, sources: Iterable[int] = PEERS, round_: int = 1
) -> tuple[Message, ...]:
    """The same vote of several validators."""
    return signed(*(vote(kind, source, round_) for source in sources))


def certificate(sources: Iterable[int] = PEERS, round_: int = 1) -> Certificate:
    """A certificate for VALUE."""
    commits = signed_by(MessageType.COMMIT, sources, round_)
    return Certificate(INSTANCE, round_, DIGEST, commits)


def decision() -> Decision:
    """The decision for VALUE."""
    return Decision(VALUE, certificate())


def own_frame() -> Frame:
    """What PEER says of its own: a section with each kind of vote."""
    prepares = signed_by(MessageType.PREPARE)
    changes = signed_by(MessageType.ROUND_CHANGE, round_=2)
    votes = (
        vote(MessageType.PREPARE),
        vote(MessageType.COMMIT),
        vote(MessageType.ROUND_CHANGE, round_=3, prepared=1, justification=prepares),
        vote(MessageType.PRE_PREPARE, round_=2, justification=changes),
    )
    return Frame(votes, sign(votes), covers=44, covers_after=40)


def relaying_frame() -> Frame:
    """What PEER hands on: votes of all, alone and justified, and a certificate."""
    prepares = signed_by(MessageType.PREPARE)
    votes = signed(
        vote(MessageType.PREPARE, 2),
        vote(MessageType.ROUND_CHANGE, 3, 2, prepared=1, justification=prepares),
        vote(MessageType.PRE_PREPARE, 3, 1),
    )
    return Frame(relayed=votes, certificates=(certificate(),), acknowledged=3)


def asking_frame() -> Frame:
    """All that a frame holds beside votes."""
    return Frame(
        proposals=(
            Proposal(INSTANCE, VALUE),
            sign_proposal(CLIENT, ROSTER.cluster_id, OTHER, b""),
        ),
        wanted_values=((INSTANCE, DIGEST), (OTHER, DIGEST)),
        wanted_decisions=(OTHER, INSTANCE),
        feed_request=FeedRequest(17, 1_000),
        feed_page=FeedPage(3, 2**63 - 1, (INSTANCE, OTHER)),
        acknowledged=40,
        memory_wanted=64,
        memory=Memory(64, 128, is_last=True, lost=True, feed_end=2**63 - 1),
        marks=(INSTANCE, OTHER),
    )
