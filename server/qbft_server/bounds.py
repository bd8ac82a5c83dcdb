"""The bounds of a node, beside those of its replica, that are counted when they bite."""

from __future__ import annotations

from enum import StrEnum


class NodeBound(StrEnum):
    """Each by the name of its setting or constant; see `qbft.replica.bounds.Bound`."""

    OUTGOING_FRAMES_MAX = "outgoing_frames_max"
    OUTGOING_BYTES_MAX = "outgoing_bytes_max"
    INCOMING_FRAMES_MAX = "incoming_frames_max"
    INCOMING_BYTES_MAX = "incoming_bytes_max"
    REJECTS_MAX = "rejects_max"
    PROPOSALS_IN_FLIGHT_MAX = "proposals_in_flight_max"
    PROPOSAL_BYTES_IN_FLIGHT_MAX = "proposal_bytes_in_flight_max"
    PROPOSE_STREAMS_MAX = "propose_streams_max"
    STREAM_IN_FLIGHT_MAX = "stream_in_flight_max"
    STREAM_WAITING_BYTES_MAX = "stream_waiting_bytes_max"
    WATCHES_MAX = "watches_max"
    UNREAD_BYTES_MAX = "unread_bytes_max"
    CLIENT_SHARE_PERCENT_MAX = "client_share_percent_max"
    OPENINGS_AT_ONCE_MAX = "openings_at_once_max"
    ARRIVALS_MAX = "arrivals_max"
    ARRIVAL_SECONDS_MAX = "arrival_seconds_max"
    CALLS_OF_ANYONE_MAX = "calls_of_anyone_max"
    HEALTH_WATCHERS_MAX = "health_watchers_max"
    REFLECTION_STREAMS_MAX = "reflection_streams_max"
    WASTED_CHECKS_MAX = "wasted_checks_max"
    ADMIN_REQUESTS_MAX = "admin_requests_max"
    ADMIN_REQUEST_SECONDS_MAX = "admin_request_seconds_max"
    ADMIN_WATCHERS_MAX = "admin_watchers_max"
    ADMIN_DIAGNOSES_MAX = "admin_diagnoses_max"
    REMEMBERED_TOPICS_MAX = "remembered_topics_max"
    REMEMBERED_IDS_MAX = "remembered_ids_max"
    LOSSES_MAX = "losses_max"
    PENDING_DECISIONS_MAX = "pending_decisions_max"
    PENDING_BYTES_MAX = "pending_bytes_max"
