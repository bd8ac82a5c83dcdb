"""What a node tells of itself: how it is, what it recorded, and what it holds against others."""

from __future__ import annotations

import asyncio
import time

from qbft.core import InstanceId
from qbft.replay.capture import fill_record
from qbft.replica.driver import now_ms
from qbft.replica.narrow import as_instance
from qbft.wire.evidence import fill_evidence
from qbft.wire.v1 import capture_pb2
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.parts import NodeParts
from qbft_server.services.admission import Caller
from qbft_server.services.refusal import denied
from qbft_server.version import VERSION

LIST_EVIDENCE_MAX = 256
"""One page of evidence."""


def status(parts: NodeParts) -> pb.GetStatusReply:
    """Say how this node is."""
    own, cluster = parts.config.validator, parts.cluster
    now, told = now_ms(), parts.replica.status()
    connected = parts.links.connected
    peers = [
        pb.PeerStatus(
            validator=peer,
            connected=peer in connected,
            last_heard_ms=now - heard if heard is not None else None,
        )
        for peer in range(cluster.roster.nodes)
        if peer != own
        for heard in [told.peers_heard.get(peer)]
    ]
    return pb.GetStatusReply(
        node_name=f"{cluster.name}/{own}",
        validator=own,
        cluster_id=cluster.roster.cluster_id,
        nodes=cluster.roster.nodes,
        faulty=cluster.roster.faulty,
        version=VERSION,
        voting=told.voting,
        quorum_reachable=told.voting and len(connected) + 1 >= cluster.roster.quorum,
        open_instances=told.open_instances,
        decisions=parts.store.end,
        store_id=parts.store.store_id,
        peers=peers,
        clock_unix_ms=time.time_ns() // 1_000_000,
        why_not_voting=told.why_not_voting,
        kept_out=told.kept_out,
    )


async def record(parts: NodeParts, instance: InstanceId) -> capture_pb2.CaptureInstanceReply:
    """Write down what was recorded of an instance, in small steps."""
    recorder = parts.recorder
    recorded = recorder.snapshot(instance, now_ms()) if recorder is not None else None
    reply = capture_pb2.CaptureInstanceReply()
    if recorded is not None:
        for _ in fill_record(reply.record, recorded, parts.config.limits.message_bytes_max):
            await asyncio.sleep(0)
    return reply


def evidence(parts: NodeParts, client: Caller, after: int) -> pb.ListEvidenceReply:
    """Give a page of what this node holds against validators, of topics that the client may read.

    Raises:
        Refusal: it may read none.
    """
    if not client.permissions.read:
        raise denied()
    kept = [
        held
        for held in parts.replica.misconduct.evidence
        if client.permissions.may_read(as_instance(held.first.instance).topic)
    ]
    end = after + LIST_EVIDENCE_MAX
    reply = pb.ListEvidenceReply(next=end if end < len(kept) else None)
    for held in kept[after:end]:
        fill_evidence(reply.evidence.add(), held)
    return reply
