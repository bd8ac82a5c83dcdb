"""The instances that clients of this node open: who may have how many, and whose turn it is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import Busy
from qbft_server.services.budgets import Budgets
from qbft_server.services.refusal import Refusal
from qbft_server.services.shares import RETRY_MS


class OwnInstances:
    """Proposes for clients.

    An instance counts as its opener's until it is decided, whether or not that client still waits:
    who hangs up has opened it all the same. A batch of an ordered topic is opened by one of the
    clients that have an entry in it.

    Args:
        propose: hands a proposal to the replica.
        is_open: tells whether an instance is undecided here and known.
        is_decided: tells whether it is decided here; it is asked where that saves waiting.
        budgets: what clients may have open.
    """

    def __init__(
        self,
        propose: Callable[[Proposal], asyncio.Future[Decision]],
        is_open: Callable[[InstanceId], bool],
        is_decided: Callable[[InstanceId], bool],
        budgets: Budgets,
    ) -> None:
        self._propose = propose
        self._is_open = is_open
        self._is_decided = is_decided
        self._budgets = budgets

    def opener(self, client: str) -> ClientOpener:
        """On whose account to open what a client appends."""
        return ClientOpener(self, client)

    def has_room(self, client: str) -> bool:
        """Whether a client may open one more now."""
        budgets = self._budgets
        return not budgets.turns.is_to_wait(client) and budgets.shares.has_room(
            client, budgets.undecided
        )

    async def propose(self, client: str, proposal: Proposal) -> Decision:
        """Have a value decided, and wait for the decision.

        Raises:
            QbftError: what `Replica.propose` raises.
            Refusal: the client has opened as many as it may.
        """
        turns, instance = self._budgets.turns, proposal.instance
        if self._is_open(instance) or (turns.is_to_wait(client) and self._is_decided(instance)):
            return await self._propose(proposal)
        with contextlib.ExitStack() as held:
            held.enter_context(self._budgets.shares.place(client, self._budgets.undecided))
            turn = await turns.turn(client)
            held.callback(turn.give_back)
            if self._is_open(instance):  # another was quicker
                held.close()
                return await self._propose(proposal)
            deciding = self._propose(proposal)
            if deciding.done():
                return deciding.result()
            until_decided = held.pop_all()

        def decided(future: asyncio.Future[Decision]) -> None:
            turn.end()
            until_decided.close()
            if not future.cancelled():
                future.exception()  # nobody may be left to be told

        deciding.add_done_callback(decided)
        return await asyncio.shield(deciding)


@dataclass(frozen=True, slots=True)
class ClientOpener:
    """A client that appends: the batches that begin with what it wants are its own instances."""

    own: OwnInstances
    client: str

    @property
    def has_room(self) -> bool:
        """Whether it may open one more now."""
        return self.own.has_room(self.client)

    async def propose(self, proposal: Proposal) -> Decision:
        """Have a batch decided, and wait for the decision.

        Raises:
            Busy: the client has opened as many as it may.
            QbftError: what `Replica.propose` raises.
        """
        try:
            return await self.own.propose(self.client, proposal)
        except Refusal as refusal:  # whoever else has an entry in it may come next
            raise Busy(refusal.message, RETRY_MS) from refusal
