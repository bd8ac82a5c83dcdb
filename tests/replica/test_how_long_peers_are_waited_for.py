"""How long a peer is waited for (docs/adr/022)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qbft.replica.patience import Patience


def test_it_doubles_and_follows_the_answers() -> None:
    """Twice as long each time that nothing came; then twice what the answer took at last."""
    patience = Patience(500, 4_000)
    assert patience.is_over(0)
    waits = []
    now = 0
    for _ in range(6):
        assert patience.is_over(now)
        patience.sent(now)
        waits.append(patience.wait_ms)
        assert not patience.is_over(now + patience.wait_ms - 1)
        now += patience.wait_ms
    assert waits == [500, 1_000, 2_000, 4_000, 4_000, 4_000]
    patience.answered(now)
    assert patience.wait_ms == 4_000
    patience.sent(now)
    patience.answered(now + 700)
    assert patience.wait_ms == 1_400
    patience.answered(now + 9_000)  # an answer to nothing
    assert patience.wait_ms == 1_400
    patience.begin()
    assert patience.wait_ms == 500


@given(st.lists(st.tuples(st.sampled_from(["sent", "answered"]), st.integers(0, 10_000))))
def test_it_stays_within_its_bounds(events: list[tuple[str, int]]) -> None:
    """Whatever comes when: nobody is forgotten, and nobody pressed more than at the first pace."""
    patience = Patience(500, 4_000)
    now = 0
    for what, passed in events:
        now += passed
        getattr(patience, what)(now)
        assert 500 <= patience.wait_ms <= 4_000
        assert patience.is_over(now + 4_000)
