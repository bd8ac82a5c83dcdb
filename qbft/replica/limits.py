"""The replica's named limits and paces (DESIGN, bounds)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """Every bound of a replica. Counts are per node unless their name says per peer or instance."""

    open_instances_max: int = 20_000
    """Undecided instances with an engine; above it a client is told to come back."""

    open_instances_per_peer_max: int = 16_000
    """Of these, those that one peer's messages opened."""

    held_votes_per_peer_max: int = 4_096
    """Votes of one sender that wait for their instance to open; the oldest goes first."""

    held_collectors_max: int = 4_096
    """Unopened instances whose COMMITs are being counted."""

    later_votes_per_source_max: int = 64
    """Votes for later rounds that an open instance keeps of each source for re-delivery."""

    seen_votes_per_instance_max: int = 8_192
    """Re-sent votes that an open instance remembers having delivered in its round."""

    waiting_for_value_per_source_max: int = 16
    """Messages of one source that an open instance holds until their value's bytes are there."""

    proposals_per_instance_max: int = 64
    """Values whose bytes an open instance keeps."""

    proposal_bytes_per_frame_max: int = 64 * 1024
    """Values above this size are fetched by digest instead of travelling with the vote."""

    feed_page_instances_max: int = 512
    """Instance ids in one page of the decision feed."""

    wanted_per_frame_max: int = 256
    """Decisions or values asked for in one frame, and answered of one frame."""

    late_commit_ms: int = 100
    """How long after a decision a peer's missing COMMIT earns it a certificate (HARDENING U1)."""

    resend_ms: int = 500
    """How often what a peer has not acknowledged is sent again (HARDENING U5)."""

    resend_votes_per_frame_max: int = 128
    """Own votes in one re-sending frame; the rest follows at the next tick."""

    answer_every_ms: int = 200
    """A certificate for a peer's late vote at most this often ... (HARDENING U2)"""

    answer_burst_max: int = 4
    """... beyond a burst of so many."""

    check_value_ms: int = 2_000
    """How long the application may take to check a value before the PRE-PREPARE is just held."""
