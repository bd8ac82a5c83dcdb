"""Having values decided: one, or many over one stream to each node."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from contextlib import aclosing

from qbft.client.asking import Asking
from qbft.client.hedging import Patience
from qbft.client.in_flight import as_they_end
from qbft.client.node import NodeLink, instance_to_pb
from qbft.client.proposals import ProposalStream
from qbft.core import InstanceId
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import sign_proposal
from qbft.decision import Decision
from qbft.wire.v1 import messages_pb2


class Proposing:
    """Proposes, with the `key` that signs proposals where there is one."""

    def __init__(self, asking: Asking, key: VoteKey | None, patience: Patience) -> None:
        self._asking = asking
        self._key = key
        self._patience = patience

    async def propose(
        self,
        instance: InstanceId,
        value: bytes,
        seconds: float | None,
        streams: Sequence[ProposalStream] | None = None,
    ) -> Decision:
        """Have a value decided; the leader of round 1 is asked first.

        By a call of its own, or over these streams, one to each node.

        Raises:
            ClientError: see `Client.propose`.
        """
        asking = self._asking
        proposal = self._proposal(instance, value)

        async def ask(link: NodeLink, seconds: float | None) -> Decision:
            if streams is None:
                told = await link.propose(proposal, seconds)
            else:
                told = await streams[link.node].propose(proposal)
            return asking.belief.check(link.node, told, instance, value)

        return await asking.ask(
            f"proposing {instance}",
            asking.order(instance),
            ask,
            seconds,
            patience=self._patience,
            learns=True,
        )

    async def propose_many(
        self,
        proposals: Iterable[tuple[str, int, bytes]] | AsyncIterable[tuple[str, int, bytes]],
        *,
        in_flight: int,
        seconds: float | None,
    ) -> AsyncGenerator[Decision, None]:
        """Have many decided, so many at a time, each in so many seconds.

        Raises:
            ValueError: `in_flight` is less than 1.
            ClientError: see `Client.propose`.
        """
        streams = [ProposalStream(link) for link in self._asking.links]

        async def decided(proposal: tuple[str, int, bytes]) -> Decision:
            topic, height, value = proposal
            return await self.propose(InstanceId(topic, height), value, seconds, streams)

        try:
            async with aclosing(as_they_end(proposals, decided, in_flight=in_flight)) as decisions:
                async for decision in decisions:
                    yield decision
        finally:
            for stream in streams:
                await stream.close()

    def _proposal(self, instance: InstanceId, value: bytes) -> messages_pb2.Proposal:
        message = messages_pb2.Proposal(instance=instance_to_pb(instance), value=value)
        if self._key is not None:
            signed = sign_proposal(self._key, self._asking.roster.cluster_id, instance, value)
            message.proposer, message.signature = signed.proposer, signed.signature
        return message
