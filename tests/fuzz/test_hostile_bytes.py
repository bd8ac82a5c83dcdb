"""Whatever the bytes are, the codecs raise nothing but what they state (SCENARIOS F1)."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from protobuf_edits import ODD_NUMBERS, delimited, varint
from target_codec import SELECTORS, check, check_frame, seeds

HOSTILE = settings(derandomize=True, deadline=None)


def mutated(genuine: bytes) -> st.SearchStrategy[bytes]:
    """The bytes after a few edits: other bytes or numbers, cuts, and pieces of itself."""
    place = st.integers(0, len(genuine))
    piece = st.one_of(
        st.binary(max_size=12),
        st.sampled_from(ODD_NUMBERS).map(varint),
        st.tuples(place, st.integers(0, 80)).map(lambda at: genuine[at[0] : at[0] + at[1]]),
    )
    edits = st.lists(st.tuples(place, st.integers(0, 12), piece), max_size=4)

    def apply(todo: list[tuple[int, int, bytes]]) -> bytes:
        data = genuine
        for at, cut, new in todo:
            data = data[:at] + new + data[at + cut :]
        return data

    return edits.map(apply)


@settings(HOSTILE, max_examples=1_200)
@given(st.one_of([mutated(seed) for seed in seeds()]))
def test_mutated_bytes(data: bytes) -> None:
    """F1: a real frame, hello, decision or journal commit with a few bytes changed."""
    check(data)


@settings(HOSTILE, max_examples=500)
@given(st.binary(max_size=300))
def test_random_bytes(data: bytes) -> None:
    """F1: as a frame, a hello, a decision and a journal commit."""
    check_frame(delimited(data, 2))
    for selector in range(SELECTORS):
        check(bytes([selector]) + data)


def test_every_truncation() -> None:
    """F1: a frame, a hello, a decision and a commit, cut at every byte."""
    for seed in seeds():
        for length in range(len(seed)):
            check(seed[:length])
