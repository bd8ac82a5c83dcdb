"""What a node says of itself; nobody proves it, it is for people and scripts to look at."""

from __future__ import annotations

from dataclasses import dataclass

from qbft.wire.v1 import decision_pb2 as pb


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """Another node as seen from one: `last_heard_ms` is how long ago, None for never."""

    validator: int
    connected: bool
    last_heard_ms: int | None


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node's own account; the fields are those of `GetStatusReply` in decision.proto."""

    node_name: str
    validator: int
    cluster_id: bytes
    nodes: int
    faulty: int
    version: str
    voting: bool
    quorum_reachable: bool
    open_instances: int
    decisions: int
    store_id: bytes
    peers: tuple[PeerStatus, ...]
    clock_zero_ms: float = 0.0
    """What the node's clock showed, in ms since 1970, when the asking loop's stood at zero: two
    nodes' clocks differ by the difference, give or take `clock_within_ms` of each."""
    why_not_voting: str = ""
    """For people; empty where it votes, or does not say."""
    clock_within_ms: float = 0.0
    """Half of what the answer took (as in NTP, RFC 5905, section 10), for nobody knows more exactly
    when it was written, and the millisecond that it is rounded to."""
    kept_out: int = 0
    """In how many undecided instances it never votes; an older node does not say."""


def status_from_pb(reply: pb.GetStatusReply, asked_s: float, answered_s: float) -> NodeStatus:
    """Read a reply; it was asked for and came at these seconds of the loop's clock."""
    peers = tuple(
        PeerStatus(
            peer.validator,
            peer.connected,
            peer.last_heard_ms if peer.HasField("last_heard_ms") else None,
        )
        for peer in reply.peers
    )
    return NodeStatus(
        node_name=reply.node_name,
        validator=reply.validator,
        cluster_id=reply.cluster_id,
        nodes=reply.nodes,
        faulty=reply.faulty,
        version=reply.version,
        voting=reply.voting,
        quorum_reachable=reply.quorum_reachable,
        open_instances=reply.open_instances,
        decisions=reply.decisions,
        store_id=reply.store_id,
        peers=peers,
        clock_zero_ms=reply.clock_unix_ms - (asked_s + answered_s) / 2 * 1000,
        why_not_voting=reply.why_not_voting,
        clock_within_ms=(answered_s - asked_s) / 2 * 1000 + 1,
        kept_out=reply.kept_out,
    )
