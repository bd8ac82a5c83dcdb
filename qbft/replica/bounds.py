"""Bounds that bite are counted, by their names (DESIGN, bounds).

A bound bites when something is dropped, refused or put off because of it. What that was is told by
the bound's own description (`qbft.replica.limits`); how often, and because of which peer, is
counted here.
"""

from __future__ import annotations

from enum import StrEnum


class Bound(StrEnum):
    """The bounds of a replica that are counted, each by the name it is set by."""

    OPEN_INSTANCES_MAX = "open_instances_max"
    OPEN_INSTANCES_PER_PEER_MAX = "open_instances_per_peer_max"
    OPEN_INSTANCES_OF_PEERS_MAX = "open_instances_of_peers_max"
    OPENING_PLACES_MIN = "opening_places_min"
    WAITING_OPENINGS_MAX = "waiting_openings_max"
    WAITING_OPENING_BYTES_MAX = "waiting_opening_bytes_max"
    KEPT_BYTES_PER_PEER_MAX = "kept_bytes_per_peer_max"
    HELD_VOTES_PER_PEER_MAX = "held_votes_per_peer_max"
    HELD_BYTES_PER_PEER_MAX = "held_bytes_per_peer_max"
    MISSED_INSTANCES_PER_PEER_MAX = "missed_instances_per_peer_max"
    LATER_VOTES_PER_SOURCE_MAX = "later_votes_per_source_max"
    SEEN_VOTES_PER_SOURCE_MAX = "seen_votes_per_source_max"
    WAITING_PER_SOURCE_MAX = "waiting_per_source_max"
    UNSOLICITED_VALUES_PER_PEER_MAX = "unsolicited_values_per_peer_max"
    BARE_CERTIFICATES_PER_PEER_MAX = "bare_certificates_per_peer_max"
    OPENED_BYTES_BURST_MAX = "opened_bytes_burst_max"
    CHECKS_PER_PROPOSER_MAX = "checks_per_proposer_max"
    FEED_ASKS_MAX = "feed_asks_max"
    WANTED_PER_FRAME_MAX = "wanted_per_frame_max"
    ASKED_VALUES_MAX = "asked_values_max"
    LATE_BURST_MAX = "late_burst_max"
    RESEND_VOTES_PER_FRAME_MAX = "resend_votes_per_frame_max"
    RESEND_VALUE_BYTES_PER_FRAME_MAX = "resend_value_bytes_per_frame_max"
    ANSWER_BURST_MAX = "answer_burst_max"
    RELAYED_VOTES_PER_TICK_MAX = "relayed_votes_per_tick_max"
    PULL_BYTES_BURST_MAX = "pull_bytes_burst_max"
    MEMORY_LISTS_BURST_MAX = "memory_lists_burst_max"
    MEMORY_INSTANCES_PER_PEER_MAX = "memory_instances_per_peer_max"
    MEMORY_MARKS_PER_PEER_MAX = "memory_marks_per_peer_max"
    MARKS_PER_PEER_MAX = "marks_per_peer_max"
    PROVIDED_VALUES_MAX = "provided_values_max"
    EVIDENCE_PER_VALIDATOR_MAX = "evidence_per_validator_max"
    TURN_WORK_MAX = "turn_work_max"
    WAITING_WORK_PER_PEER_MAX = "waiting_work_per_peer_max"
    WAITING_BYTES_PER_PEER_MAX = "waiting_bytes_per_peer_max"
    WASTE_WORK_MAX = "waste_work_max"
    HELD_WORK_AT_OPEN_MAX = "held_work_at_open_max"
    TURN_TIMERS_MAX = "turn_timers_max"
    TICK_INSTANCES_MAX = "tick_instances_max"
    TOPICS_MAX = "topics_max"
    FIFO_MESSAGES_MAX = "fifo_messages_max"
    FIRST_VOTES_PER_SOURCE_MAX = "first_votes_per_source_max"
    COMMITS_PER_SOURCE_MAX = "commits_per_source_max"
    PENDING_FRAMES_MAX = "pending_frames_max"


class Bites:
    """How often each bound has bitten: plain integers, to be read at any time.

    `peer` is the index of whoever ran into the bound, None where it is nobody's in particular or
    this node's own.
    """

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[tuple[str, int | None], int] = {}

    def note(self, bound: str, peer: int | None = None) -> None:
        """Count that a bound has bitten; `bound` is a member of a closed set."""
        key = bound, peer
        self._counts[key] = self._counts.get(key, 0) + 1

    def of(self, bound: str, peer: int | None = None) -> int:
        """How often that bound has bitten because of that peer."""
        return self._counts.get((bound, peer), 0)

    def of_peer(self, peer: int) -> dict[str, int]:
        """How often each bound has bitten because of that peer."""
        return {bound: count for (bound, whose), count in self.counts().items() if whose == peer}

    def counts(self) -> dict[tuple[str, int | None], int]:
        """A copy of all counts, by bound and peer; may be asked for from another thread."""
        return self._counts.copy()
