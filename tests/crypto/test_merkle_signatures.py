"""Portable signatures: verified exactly when genuine (SCENARIOS F18)."""

from __future__ import annotations

from dataclasses import replace
from weakref import ref

import by_the_page
import pytest
from crypto_builders import KEYS, STORE, roster, sign, signature_of, vote, with_signature
from hypothesis import given
from hypothesis import strategies as st

from qbft.core import InstanceId, Message, Proof
from qbft.crypto import merkle
from qbft.crypto.encoding import number
from qbft.crypto.keys import VoteKey
from qbft.crypto.signing import BATCH_VOTES_MAX, BatchSigner, Verifier, VoteSignature

LEAVES = [merkle.leaf_hash(number(index)) for index in range(BATCH_VOTES_MAX)]


def batch(size: int, topic: str = "prices/btc") -> list[Message]:
    """Signed votes of validator 1."""
    votes = [vote(instance=InstanceId(topic, height)) for height in range(size)]
    sign(votes)
    return votes


def is_valid(message: Message) -> bool:
    """What a verifier without any memory says."""
    return Verifier(roster()).verify_vote(message)


@pytest.mark.parametrize("size", [1, 2, 3, 255, 256])
def test_every_vote_of_a_batch_proves_itself(size: int) -> None:
    """F18: 1, 2, 3, 255, 256 leaves; all of them together by one signature, each one alone."""
    votes = batch(size)
    verifier = Verifier(roster())
    assert verifier.verify_section(1, votes, signature_of(votes[0]).header)
    for index in {0, 1, size // 2, size - 1} & set(range(size)):
        assert is_valid(votes[index])
    assert all(map(verifier.verify_vote, votes))


def test_257_votes_are_refused() -> None:
    """F18: neither signed nor verified, even where 257 leaves are genuinely signed."""
    votes = [vote(instance=InstanceId("a", height)) for height in range(257)]
    with pytest.raises(ValueError, match="1 to 256"):
        sign(votes)
    with pytest.raises(ValueError, match="1 to 256"):
        sign([])
    signer = BatchSigner(KEYS[1], roster(), 1)
    header = signer.sign(votes[:256], STORE, 1)
    assert not Verifier(roster()).verify_section(1, votes, header)
    assert not Verifier(roster()).verify_section(1, [], header)
    large = replace(signature_of(votes[0]), size=257)
    assert not is_valid(with_signature(votes[0], large))


def test_a_path_is_of_one_length() -> None:
    """F18: truncated, extended or missing paths."""
    message = batch(5)[1]
    genuine = signature_of(message)
    for path in (genuine.path[:-1], genuine.path[1:], (*genuine.path, bytes(32)), ()):
        assert not is_valid(with_signature(message, replace(genuine, way=path)))
    assert is_valid(with_signature(message, replace(genuine, way=genuine.path)))
    (alone,) = batch(1)
    extended = replace(signature_of(alone), way=(bytes(32),))
    assert not is_valid(with_signature(alone, extended))


@pytest.mark.parametrize("size", [2, 3, 5, 8])
def test_index_and_size_are_what_was_signed(size: int) -> None:
    """F18: a swapped index, another tree size: also where the path has the right length."""
    message = batch(size)[1]
    genuine = replace(signature_of(message), way=signature_of(message).path)
    for index in range(-1, size + 2):
        for other in range(size + 3):
            changed = replace(genuine, index=index, size=other)
            expected = (index, other) == (1, size)
            assert is_valid(with_signature(message, changed)) == expected


def test_a_leaf_of_another_batch() -> None:
    """F18: a signature of a batch that does not hold the vote, at every place of it."""
    ours, theirs = batch(4)[2], batch(4, "other")
    for message in theirs:
        assert not is_valid(with_signature(ours, signature_of(message)))


def test_an_inner_node_is_no_leaf() -> None:
    """F18: nobody finds a vote for an inner node, since leaves and nodes are hashed apart."""
    left, right = LEAVES[:2]
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)
    tree = merkle.Tree(LEAVES[:4])
    inner = merkle.node_hash(left, right)
    beside = merkle.node_hash(*LEAVES[2:4])
    # as a hash it does lead to the root of a tree of two: the size and the index are signed too
    assert merkle.root_of_path(inner, 0, 2, (beside,)) == tree.root
    assert merkle.root_of_path(inner, 0, 4, (beside,)) is None
    message = batch(4)[0]
    genuine = signature_of(message)
    for size, path in ((2, genuine.path[1:]), (4, genuine.path[1:]), (1, ())):
        changed = VoteSignature(genuine.header, size, 0, path)
        assert not is_valid(with_signature(message, changed))


def test_no_leaf_is_doubled() -> None:
    """RFC 6962: [a, b, c] and [a, b, c, c] have different roots, and so has every size."""
    assert merkle.Tree(LEAVES[:3]).root != merkle.Tree([*LEAVES[:3], LEAVES[2]]).root
    roots = {merkle.Tree(LEAVES[:size]).root for size in range(1, 257)}
    assert len(roots) == 256


@given(st.integers(1, 256), st.data())
def test_paths_lead_to_the_root(size: int, data: st.DataObject) -> None:
    """Against the recursive definition and the iterative verifier of the page."""
    index = data.draw(st.integers(0, size - 1))
    tree = merkle.Tree(LEAVES[:size])
    path = tree.path(index)
    assert tree.root == by_the_page.root(LEAVES[:size])
    for place in {index, data.draw(st.integers(0, size))}:
        ours = merkle.root_of_path(LEAVES[index], place, size, path)
        page = by_the_page.root_by_path(LEAVES[index], place, size, list(path))
        assert ours == page
        assert (ours == tree.root) == (place == index)


def test_the_memory_of_a_verifier_is_bounded_and_exact() -> None:
    """DESIGN, signatures: an LRU of verified roots; what it knows says nothing of other votes."""
    verifier = Verifier(roster(), cached_max=2)
    votes = [batch(2, f"t{number}") for number in range(4)]
    for each in votes:
        assert all(map(verifier.verify_vote, each))
    assert len(verifier._verified) == 2
    known = signature_of(votes[-1][0])
    assert not verifier.verify_vote(with_signature(vote(), known))
    forged = replace(known, header=replace(known.header, signature=bytes(64)))
    assert not verifier.verify_vote(with_signature(votes[-1][0], forged))


def test_a_vote_that_is_kept_keeps_no_tree() -> None:
    """A kept vote is paid for as one vote: its batch may be 256 copies of it, a tree of 37 KB.

    Only the newest batches' votes may look up their way; all others have their own path.
    """
    verifier = Verifier(roster(), trees_votes_max=600)
    kept = []
    for height in range(6):
        votes = [vote(instance=InstanceId("a", height))] * BATCH_VOTES_MAX
        received = [replace(copy, proof=Proof()) for copy in votes]
        assert verifier.verify_section(1, received, sign(votes))
        kept.append(received[height])
    ways = [signature_of(message).way for message in kept]
    assert [type(way) for way in ways] == [tuple] * 4 + [merkle.Tree] * 2
    assert all(len(signature_of(message).path) == 8 for message in kept)
    assert all(map(is_valid, kept))


def test_own_votes_keep_no_tree_either() -> None:
    """Own votes of an instance that stays open are kept, and sent again."""
    signer = BatchSigner(KEYS[1], roster(), 1, trees_votes_max=4)
    old, new = ([vote(instance=InstanceId(topic, h)) for h in range(3)] for topic in ("a", "b"))
    signer.sign(old, STORE, 1)
    signer.sign(new, STORE, 4)
    assert {type(signature_of(message).way) for message in old} == {tuple}
    assert {type(signature_of(message).way) for message in new} == {merkle.Tree}
    assert all(map(is_valid, [*old, *new]))


def test_the_newest_batches_keep_no_vote_alive() -> None:
    """Whoever forgets a vote is rid of it, and of its tree with the last of its votes."""
    signer = BatchSigner(KEYS[1], roster(), 1)
    votes = [vote(instance=InstanceId("a", height)) for height in range(3)]
    signer.sign(votes, STORE, 1)
    forgotten = ref(signature_of(votes[0]))
    del votes[0]
    assert forgotten() is None


def test_what_is_signed_once_keeps_its_signature() -> None:
    """DESIGN, signatures: re-sends carry the first portable signature, and it stays valid."""
    message = batch(3)[1]
    first = signature_of(message)
    sign([message])
    assert signature_of(message) is first


def test_unsigned_and_foreign_signatures() -> None:
    """F3: no signature, another key's, and one that names another signer."""
    message = vote()
    assert not is_valid(message)
    assert not is_valid(replace(message, proof=None))
    BatchSigner(VoteKey(bytes([8]) * 32), roster(), 1).sign([message], STORE, 1)
    assert not is_valid(message)
    (genuine,) = batch(1)
    for source in (0, 2, 3, 4, -1):
        assert not is_valid(replace(genuine, source=source))
    assert not Verifier(roster()).verify_section(2, [genuine], signature_of(genuine).header)


def test_what_is_nested_is_verified_too() -> None:
    """A vote that nests an unsigned or forged one is not valid as a whole."""
    nested = vote()
    sign([nested])
    outer = vote(round=2, justification=(nested,))
    sign([outer])
    assert Verifier(roster()).verify_message(outer)
    forged = replace(outer, justification=(with_signature(nested, None),))
    assert Verifier(roster()).verify_vote(forged)  # the justification is not signed
    assert not Verifier(roster()).verify_message(forged)
