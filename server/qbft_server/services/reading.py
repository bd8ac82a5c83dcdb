"""What a node knows of instances and topics: one decision, pages of them, and how far each came."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.wire import fill_decision
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.parts import NodeParts
from qbft_server.services.admission import Caller
from qbft_server.services.unread import Making

LIST_DECISIONS_MAX = 256
LIST_BYTES_MAX = 1 << 20
"""One page of decisions."""

LIST_STEP_DECISIONS = 8
"""Decisions of a page that are read at one go: each may be as large as a value and its proof."""


def read(parts: NodeParts, instance: InstanceId, making: Making) -> pb.GetDecisionReply | None:
    """Say what is known here of an instance: decided, undecided, unknown, or not kept any more.

    None if there is no room to say it; then nothing was read.
    """
    store = parts.store
    with making as room:
        if not room(store.size(instance)):
            return None
        reply = pb.GetDecisionReply(low_water_mark=store.low_water_mark(instance.topic))
        decision = store.get(instance)
        if decision is not None:
            reply.state = pb.DECISION_STATE_DECIDED
            fill_decision(reply.decision, decision)
        elif store.is_below_mark(instance):
            reply.state = pb.DECISION_STATE_BELOW_MARK
        elif parts.replica.is_open(instance):
            reply.state = pb.DECISION_STATE_UNDECIDED
        else:
            reply.state = pb.DECISION_STATE_UNKNOWN
        return reply


async def read_page(
    parts: NodeParts, start: InstanceId, limit: int, making: Making
) -> pb.ListDecisionsReply | None:
    """Collect a page of a topic in small steps, whatever the sizes of its decisions are.

    `limit` is the most decisions of it, of which it has LIST_DECISIONS_MAX at most; 0 is that.
    None if there is no room for it; what there is none for is not read.
    """
    store, topic, height, size = parts.store, start.topic, start.height, 0
    left = min(limit or LIST_DECISIONS_MAX, LIST_DECISIONS_MAX)
    reply = pb.ListDecisionsReply()
    with making as room:
        while height <= HEIGHT_MAX and (
            listed := store.list_sizes(topic, height, LIST_STEP_DECISIONS)
        ):
            fitting, before = 0, size
            while fitting < min(len(listed), left) and size < LIST_BYTES_MAX:
                size += listed[fitting][1]
                fitting += 1
            if not fitting:
                reply.next_height = listed[0][0]
                break
            if not room(size - before):
                return None
            for decision in store.list_topic(topic, height, fitting):
                fill_decision(reply.decisions.add(), decision)
            if fitting == len(listed) < LIST_STEP_DECISIONS:
                break
            left -= fitting
            height = listed[fitting - 1][0] + 1
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
