"""The stream of proposals to one node, on the virtual clock: what waits when it does not read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from qbft.client.errors import Unavailable
from qbft.client.node import NodeLink
from qbft.client.proposals import ProposalStream
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2

PROPOSALS = 500


class PretendLink:
    """A link to node 0 that reads its requests only while `reads` is set, and decides each."""

    def __init__(self) -> None:
        self.node = 0
        self.reads = asyncio.Event()
        self.breaks = asyncio.Event()
        self.read: list[int] = []

    async def propose_stream(
        self, requests: AsyncIterator[pb.ProposeStreamRequest]
    ) -> AsyncIterator[pb.ProposeStreamReply]:
        """Answer in order, until told to break."""
        await self.reads.wait()
        async for request in requests:
            if self.breaks.is_set():
                return
            self.read.append(request.proposal.instance.height)
            decision = messages_pb2.Decision(value=request.proposal.value)
            yield pb.ProposeStreamReply(id=request.id, decision=decision)


def _proposal(height: int) -> messages_pb2.Proposal:
    instance = messages_pb2.InstanceId(topic="t", height=height)
    return messages_pb2.Proposal(instance=instance, value=b"%d" % height)


def _stream() -> tuple[PretendLink, ProposalStream]:
    link = PretendLink()
    return link, ProposalStream(cast(NodeLink, link))


async def test_what_nobody_waits_for_does_not_wait_for_the_node() -> None:
    """DESIGN, bounds: a node that reads nothing, while others answer, costs no memory.

    Each proposal is cancelled as soon as another node has decided it; when the node reads at last,
    it is given none of them.
    """
    link, stream = _stream()
    for height in range(PROPOSALS):
        proposing = asyncio.create_task(stream.propose(_proposal(height)))
        await asyncio.sleep(0)
        assert stream.unsent == 1
        proposing.cancel()
        await asyncio.gather(proposing, return_exceptions=True)
        assert stream.unsent == 0
    link.reads.set()
    assert (await stream.propose(_proposal(PROPOSALS))).value == b"%d" % PROPOSALS
    assert link.read == [PROPOSALS]
    await stream.close()


async def test_what_is_still_waited_for_is_sent_in_order() -> None:
    """Cancelled ones in between change nothing for the others."""
    link, stream = _stream()
    running = [asyncio.create_task(stream.propose(_proposal(height))) for height in range(6)]
    await asyncio.sleep(0)
    left = [running[height] for height in (0, 3, 5)]
    for proposing in left:
        proposing.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    link.reads.set()
    decided = [await running[height] for height in (1, 2, 4)]
    assert [decision.value for decision in decided] == [b"1", b"2", b"4"]
    assert link.read == [1, 2, 4]
    assert stream.unsent == 0
    await stream.close()


async def test_a_broken_stream_takes_nothing_over_to_the_next() -> None:
    """What failed with its stream is the caller's to try again, and is not sent behind its back."""
    link, stream = _stream()
    link.breaks.set()
    running = [asyncio.create_task(stream.propose(_proposal(height))) for height in range(3)]
    await asyncio.sleep(0)
    link.reads.set()
    for proposing in running:
        with pytest.raises(Unavailable, match="has ended"):
            await proposing
    link.breaks.clear()
    assert (await stream.propose(_proposal(7))).value == b"7"
    assert link.read == [7]
    assert stream.unsent == 0
    await stream.close()
