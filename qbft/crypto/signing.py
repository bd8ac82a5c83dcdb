"""Batch signatures: one Ed25519 signature for all votes of a turn (DESIGN, signatures).

The votes are leaves of a Merkle tree whose root is signed. To whoever receives them together, the
one signature proves all (`BatchHeader`); a vote that travels on carries it with its way through the
tree (`VoteSignature`), and so proves itself alone, for ever.

Most votes are forgotten in a moment and never travel on, so that their ways are not looked up until
they do. One that outlives that moment gets its own: else each vote that is kept, and paid for as a
vote, could keep a tree of 256 alive.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import ref

from qbft.core import Message
from qbft.crypto import merkle
from qbft.crypto.canonical import canonical_vote
from qbft.crypto.encoding import number, pack
from qbft.crypto.keys import VoteKey, is_signature_valid
from qbft.crypto.roster import Roster

BATCH_TAG = b"qbft/batch/v1"
BATCH_VOTES_MAX = 256
"""Votes under one signature."""
STORE_ID_BYTES = 16
VERIFIED_CACHED_MAX = 8_192
"""Batches whose signature was found good: a vote of one is then checked without it."""
TREES_VOTES_MAX = 16_384
"""Votes of the newest batches, which may keep the whole trees of these alive: about 3 MB."""


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """The one signature over the own-vote section of a frame.

    `store_id` is the 16 bytes that name the signer's journal, `sequence` the number of the
    section's first vote within it, `signature` the 64 bytes of Ed25519 over the Merkle root.
    """

    store_id: bytes
    sequence: int
    signature: bytes


@dataclass(slots=True, weakref_slot=True)
class VoteSignature:
    """A vote's portable signature: its batch's, with the vote's place in the tree.

    `way` is the path from the vote to the root, or for a moment the tree from which it can be had.
    Nothing else of it ever changes; but it is not frozen, for one is made for each vote that comes,
    and to make a frozen one takes three times as long.
    """

    header: BatchHeader
    size: int
    index: int
    way: tuple[bytes, ...] | merkle.Tree = field(repr=False)

    @property
    def path(self) -> tuple[bytes, ...]:
        """The hashes beside the way from the vote to the root, the lowest first.

        Once it has been asked for, the tree is not needed any more.
        """
        way = self.way
        if isinstance(way, merkle.Tree):
            way = self.way = way.path(self.index)
        return way

    @property
    def store_id(self) -> bytes:
        """The 16 bytes that name its signer's journal."""
        return self.header.store_id

    @property
    def vote_sequence(self) -> int:
        """The vote's own number in its signer's journal."""
        return self.header.sequence + self.index

    def let_go_of_tree(self) -> None:
        """Keep the path alone."""
        self.way = self.path


class _NewestBatches:
    """The batches whose votes may keep a tree alive, up to so many votes; no vote is kept here."""

    def __init__(self, votes_max: int) -> None:
        self._votes_max = votes_max
        self._votes = 0
        self._batches: deque[tuple[int, list[ref[VoteSignature]]]] = deque()

    def fill(self, votes: Sequence[Message], header: BatchHeader, tree: merkle.Tree) -> None:
        """Put the portable signatures into the votes' proofs.

        A vote is signed once in its life: what carries a signature keeps it.
        """
        filled = []
        size = len(votes)
        for index, vote in enumerate(votes):
            proof = vote.proof
            if proof is not None and proof.signature is None:
                proof.signature = signature = VoteSignature(header, size, index, tree)
                filled.append(ref(signature))
        self._batches.append((size, filled))
        self._votes += size
        while self._votes > self._votes_max:
            self._let_go_of_oldest()

    def _let_go_of_oldest(self) -> None:
        size, filled = self._batches.popleft()
        self._votes -= size
        for reference in filled:
            signature = reference()
            if signature is not None:
                signature.let_go_of_tree()


def batch_payload(
    cluster_id: bytes, validator: int, header: BatchHeader, size: int, root: bytes
) -> bytes:
    """The bytes that a batch's signature signs."""
    return pack(
        (
            BATCH_TAG,
            cluster_id,
            number(validator),
            header.store_id,
            number(header.sequence),
            number(size),
            root,
        )
    )


class BatchSigner:
    """Signs one validator's votes."""

    def __init__(
        self, key: VoteKey, roster: Roster, validator: int, trees_votes_max: int = TREES_VOTES_MAX
    ) -> None:
        self._key = key
        self._newest = _NewestBatches(trees_votes_max)
        self._cluster_id = roster.cluster_id
        self._validator = validator

    def sign(self, votes: Sequence[Message], store_id: bytes, sequence: int) -> BatchHeader:
        """Sign votes together and fill their proofs; `sequence` is the number of the first.

        Raises:
            ValueError: there are none, or more than fit under one signature.
        """
        if not 1 <= len(votes) <= BATCH_VOTES_MAX:
            raise ValueError(f"a batch has 1 to {BATCH_VOTES_MAX} votes, not {len(votes)}")
        tree = _tree(votes, self._cluster_id)
        unsigned = BatchHeader(store_id, sequence, b"")
        payload = batch_payload(self._cluster_id, self._validator, unsigned, tree.size, tree.root)
        header = BatchHeader(store_id, sequence, self._key.sign(payload))
        self._newest.fill(votes, header, tree)
        return header


class Verifier:
    """Verifies votes of every validator; remembers roots that it has verified, up to a bound."""

    def __init__(
        self,
        roster: Roster,
        cached_max: int = VERIFIED_CACHED_MAX,
        trees_votes_max: int = TREES_VOTES_MAX,
    ) -> None:
        self._roster = roster
        self._newest = _NewestBatches(trees_votes_max)
        self._cached_max = cached_max
        self._verified: OrderedDict[tuple[int, bytes, bytes], None] = OrderedDict()

    def verify_section(self, validator: int, votes: Sequence[Message], header: BatchHeader) -> bool:
        """Whether one validator signed exactly these votes together; fills their proofs."""
        if not 1 <= len(votes) <= BATCH_VOTES_MAX or not 0 <= validator < self._roster.nodes:
            return False
        if any(vote.source != validator for vote in votes):
            return False
        tree = _tree(votes, self._roster.cluster_id)
        if not self._is_signed(validator, header, tree.size, tree.root):
            return False
        self._newest.fill(votes, header, tree)
        return True

    def verify_vote(self, vote: Message) -> bool:
        """Whether a vote has its source's portable signature."""
        signature = vote.proof.signature if vote.proof is not None else None
        if not isinstance(signature, VoteSignature) or signature.size > BATCH_VOTES_MAX:
            return False
        if not 0 <= vote.source < self._roster.nodes:
            return False
        leaf = merkle.leaf_hash(canonical_vote(vote, self._roster.cluster_id))
        root = merkle.root_of_path(leaf, signature.index, signature.size, signature.path)
        if root is None:
            return False
        return self._is_signed(vote.source, signature.header, signature.size, root)

    def verify_message(self, vote: Message) -> bool:
        """Whether a vote, and each vote nested in it, has its source's portable signature."""
        return self.verify_vote(vote) and all(map(self.verify_vote, vote.justification))

    def _is_signed(self, validator: int, header: BatchHeader, size: int, root: bytes) -> bool:
        payload = batch_payload(self._roster.cluster_id, validator, header, size, root)
        known = (validator, payload, header.signature)
        if known in self._verified:
            self._verified.move_to_end(known)
            return True
        if not is_signature_valid(self._roster.vote_keys[validator], payload, header.signature):
            return False
        self._verified[known] = None
        if len(self._verified) > self._cached_max:
            self._verified.popitem(last=False)
        return True


def _tree(votes: Sequence[Message], cluster_id: bytes) -> merkle.Tree:
    return merkle.Tree([merkle.leaf_hash(canonical_vote(vote, cluster_id)) for vote in votes])
