"""Which entries of an ordered topic count: the same for every reader (docs/adr/017)."""

from __future__ import annotations

import random

import pytest

from qbft.crypto.entries import WINDOW_HEIGHTS, Entry
from qbft.ordered import Position, Window


def entry(name: int) -> Entry:
    """The entry of that request id."""
    return Entry(b"%d" % name, b"v")


def test_a_repetition_is_void() -> None:
    """Issue 7: a retried request id lands once; it stands where it appeared first."""
    window = Window(5)
    assert window.take([entry(1), entry(2)]) == [False, False]
    assert window.take([]) == []
    assert window.take([entry(3), entry(1)]) == [False, True]
    assert window.place(entry(1).key) == Position(5, 0)
    assert window.place(entry(3).key) == Position(7, 0)
    assert window.place(entry(4).key) is None


def test_authors_do_not_take_each_others_names() -> None:
    """Who sees another's request id in a proposal cannot make the other's entry void by it."""
    window = Window(0)
    mallory = Entry(b"1", b"w", b"m" * 32, b"s" * 64, 1)
    assert window.take([mallory, entry(1)]) == [False, False]


def test_what_is_remembered_is_bounded() -> None:
    """Of 1,023 heights the requests are known; a void one is an appearance as well."""
    window = Window(0)
    window.take([entry(1), entry(2)])
    for _ in range(WINDOW_HEIGHTS - 2):
        window.take([])
    assert window.take([entry(1)]) == [True]
    assert window.take([entry(2)]) == [False]
    assert window.place(entry(1).key) == Position(0, 0)
    for _ in range(WINDOW_HEIGHTS):
        window.take([])
    assert len(window) == 0


@pytest.mark.parametrize("seed", range(4))
def test_every_reader_computes_the_same_log(seed: int) -> None:
    """Whoever begins later, and has read as much before as it has to, sees the same entries."""
    draw = random.Random(seed)
    first = draw.randrange(3)
    heights = [
        [entry(name) for name in draw.sample(range(300), draw.randrange(3))]
        for _ in range(3 * WINDOW_HEIGHTS)
    ]
    whole = Window(first)
    expected = [whole.take(batch) for batch in heights]
    assert any(any(void) for void in expected)
    assert not all(all(void) for void in expected)
    for _ in range(5):
        start = first + draw.randrange(len(heights))
        window = Window(Window.begin(start, first))
        told = [window.take(batch) for batch in heights[window.next_height - first :]]
        assert told[-(len(heights) - (start - first)) :] == expected[start - first :]
