"""The simulator's Byzantine behaviours over real links.

Each runs a shipped replica, whose frames the behaviour bends on their way out, as in a simulation;
only the keys, the links and the clock are real. Its disk is a pretended one: a liar needs no votes
that last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from attacks.liar import Liar

from qbft.core import Definition
from qbft.crypto.roster import service_leader
from qbft.replica.driver import Driver, now_ms
from qbft.replica.protocols import Record
from qbft.replica.replica import Replica
from qbft.sim.byzantine import BEHAVIOURS, Behaviour
from qbft.sim.disk import SimDisk
from qbft.transport import Batch, Frame


class BentLinks:
    """A transport whose frames a behaviour bends on their way out, and looks at on their way in."""

    def __init__(self, liar: Liar, behaviour: Behaviour) -> None:
        self._liar = liar
        self._behaviour = behaviour
        self._loop = asyncio.get_running_loop()

    async def send(self, frame: Frame, to: int | None = None) -> None:
        """Send each peer what the behaviour makes of the frame, when it wants to."""
        for peer in self._liar.peers if to is None else (to,):
            for delay_ms, said in self._behaviour.outgoing(peer, frame):
                bent = said if said.votes is frame.votes else self._liar.hands.sealed(said)
                self._loop.call_later(delay_ms / 1000, self._liar.send, peer, bent)

    async def receive(self) -> Batch:
        """Let the behaviour hear it; what its replica does not remember saying, it does not."""
        batch = await self._liar.receive()
        for peer, frame in batch.frames:
            self._behaviour.hear(peer, frame)
        own = self._liar.validator
        frames = tuple(
            (peer, replace(frame, relayed=tuple(v for v in frame.relayed if v.source != own)))
            for peer, frame in batch.frames
        )
        return Batch(frames, batch.fresh)


def behave(name: str) -> Callable[[Liar], Awaitable[None]]:
    """The attack of a validator that behaves so."""

    async def attack(liar: Liar) -> None:
        behaviour = BEHAVIOURS[name](liar.hands)
        disk = SimDisk(liar.store_id, _never_crash)
        replica = Replica(
            definition=Definition(liar.roster.nodes, service_leader(liar.roster)),
            validator=liar.validator,
            authenticator=liar.authenticator,
            journal=disk,
            store=disk,
            timers=liar.hands.timers,
            policies=liar.cluster.policy,
        )
        replica.recover(now_ms())
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Driver(replica, BentLinks(liar, behaviour), disk).run())
            if behaviour.acts_every_ms:
                tasks.create_task(_act(behaviour))

    return attack


async def _act(behaviour: Behaviour) -> None:
    """Let it say things of its own, again and again."""
    while True:
        await asyncio.sleep(behaviour.acts_every_ms / 1000)
        behaviour.act()


def _never_crash(label: str, records: Sequence[Record]) -> None:
    """A pretended disk may crash the node; this one does not."""
