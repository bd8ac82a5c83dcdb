"""How long an open instance may take after the faults have ended.

(2 + d) x the capped round + 2 s, where d is how many nodes are still down or faulty: the rest of
the round that runs, then at most d rounds whose leaders are silent, then one with a leader that
speaks; and 2 s to connect again and to have every vote sent again. The capped round is the longest
of these: rounds double up to the cap, so that an instance that is young is far from it. A round has
to be long enough for a decision, or it does not count: on a machine that is busy with other things
a second may not be, so that no bound is drawn from rounds shorter than `USEFUL_ROUND_MS`.
"""

from __future__ import annotations

from qbft.timers import exponential_ms

FIRST_ROUND_MS = 1_000
CAP_MS = 60_000
"""What a node has unless its operator says otherwise."""

USEFUL_ROUND_MS = 8_000
"""A round in which four processes on two shared cores surely get a decision done."""

SLACK_SECONDS = 2.0


def recovery_seconds(
    age: float, down: int, *, first_ms: int = FIRST_ROUND_MS, cap_ms: int = CAP_MS
) -> float:
    """The bound for an instance that is so many seconds old when it can go on."""
    duration = exponential_ms(first_ms, cap_ms)
    round_, ends_ms = 1, duration(1)
    while ends_ms < age * 1_000:
        round_ += 1
        ends_ms += duration(round_)
    longest_ms = max(duration(round_ + 1 + down), min(USEFUL_ROUND_MS, cap_ms))
    return (2 + down) * longest_ms / 1_000 + SLACK_SECONDS
