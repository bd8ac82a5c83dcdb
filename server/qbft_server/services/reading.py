"""What a node knows of instances and topics: one decision, pages of them, and how far each came."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.replica.narrow import as_instance
from qbft.wire import decision_to_pb
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.parts import NodeParts
from qbft_server.services.admission import Caller

LIST_DECISIONS_MAX = 256
LIST_BYTES_MAX = 1 << 20
"""One page of decisions."""

LIST_STEP_DECISIONS = 8
"""Decisions of a page that are read at one go: each may be as large as a value and its proof."""


def read(parts: NodeParts, instance: InstanceId) -> pb.GetDecisionReply:
    """Say what is known here of an instance: decided, undecided, unknown, or not kept any more."""
    store = parts.store
    reply = pb.GetDecisionReply(low_water_mark=store.low_water_mark(instance.topic))
    decision = store.get(instance)
    if decision is not None:
        reply.state = pb.DECISION_STATE_DECIDED
        reply.decision.CopyFrom(decision_to_pb(decision))
    elif store.is_below_mark(instance):
        reply.state = pb.DECISION_STATE_BELOW_MARK
    elif parts.replica.is_open(instance):
        reply.state = pb.DECISION_STATE_UNDECIDED
    else:
        reply.state = pb.DECISION_STATE_UNKNOWN
    return reply


async def read_page(parts: NodeParts, start: InstanceId, limit: int) -> pb.ListDecisionsReply:
    """Collect a page of a topic in small steps, whatever the sizes of its decisions are.

    `limit` is the most decisions of it, of which it has LIST_DECISIONS_MAX at most; 0 is that.
    """
    limit = min(limit or LIST_DECISIONS_MAX, LIST_DECISIONS_MAX)
    reply = pb.ListDecisionsReply()
    height, size = start.height, 0
    while height <= HEIGHT_MAX:
        found = parts.store.list_topic(start.topic, height, LIST_STEP_DECISIONS)
        for decision in found:
            height = as_instance(decision.instance).height
            if len(reply.decisions) >= limit or size >= LIST_BYTES_MAX:
                reply.next_height = height
                return reply
            reply.decisions.append(decision_to_pb(decision))
            size += reply.decisions[-1].ByteSize()
        if len(found) < LIST_STEP_DECISIONS:
            break
        height += 1
        await asyncio.sleep(0)
    return reply


def heights(parts: NodeParts, client: Caller) -> Iterator[pb.ListHeightsReply]:
    """Say how far each topic has come that the client may read, some topics at a time."""
    for page in _highest(parts):
        reply = pb.ListHeightsReply()
        for topic, height in page.items():
            if client.permissions.may_read(topic):
                reply.highest.add(topic=topic, height=height)
        yield reply


def _highest(parts: NodeParts) -> Iterator[dict[str, int]]:
    """The highest height of each topic, decided or used otherwise, some topics at a time."""
    beside = parts.replica.highest_beside_decided()
    after = ""
    while found := parts.store.highest(after, LIST_DECISIONS_MAX):
        after = found[-1].topic
        yield {each.topic: max(each.height, beside.pop(each.topic, 0)) for each in found}
    rest = sorted(beside)
    for start in range(0, len(rest), LIST_DECISIONS_MAX):
        yield {topic: beside[topic] for topic in rest[start : start + LIST_DECISIONS_MAX]}
