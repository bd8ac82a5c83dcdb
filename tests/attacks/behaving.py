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
from google.protobuf.message import Message as ProtobufMessage

from qbft.core import Definition
from qbft.crypto.roster import service_leader
from qbft.replica.driver import Driver, now_ms
from qbft.replica.protocols import Record
from qbft.replica.replica import Replica
from qbft.sim.byzantine import Behaviour
from qbft.sim.disk import SimDisk
from qbft.transport import Batch, Frame, Transport
from qbft.wire import encode_frame
from qbft.wire.v1 import peer_pb2

SIDES_SECONDS = 0.5
NEWER_FIELD = bytes((0xC0, 0x3E, 0x01))
"""Field 1,000, a number: 1."""


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


class TwinLinks:
    """What one of two twins has of their links: those to the peers on its side, for now."""

    def __init__(self, liar: Liar, side: set[int]) -> None:
        self._liar = liar
        self._side = side
        self._heard: asyncio.Queue[Batch] = asyncio.Queue()

    async def send(self, frame: Frame, to: int | None = None) -> None:
        """Send to those who are on this side."""
        for peer in self._liar.peers if to is None else (to,):
            if peer in self._side:
                self._liar.send(peer, frame)

    async def receive(self) -> Batch:
        """Read what those say."""
        return await self._heard.get()

    def hear(self, batch: Batch) -> None:
        """Keep what this side says, for `receive`."""
        frames = tuple((peer, frame) for peer, frame in batch.frames if peer in self._side)
        self._heard.put_nowait(Batch(frames, tuple(p for p in batch.fresh if p in self._side)))


def behave(kind: type[Behaviour]) -> Callable[[Liar], Awaitable[None]]:
    """The attack of a validator that behaves so."""

    async def attack(liar: Liar) -> None:
        behaviour = kind(liar.hands)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_replicate(liar, BentLinks(liar, behaviour), liar.store_id))
            if behaviour.acts_every_ms:
                tasks.create_task(_act(behaviour))

    return attack


async def twins(liar: Liar) -> None:
    """Two correct replicas with one key, each for some peers; these change sides now and then."""
    sides: tuple[set[int], set[int]] = (set(), set())
    links = [TwinLinks(liar, side) for side in sides]

    async def divide() -> None:
        while True:
            for side in sides:
                side.clear()
            for peer in liar.peers:
                liar.random.choice(sides).add(peer)
            await asyncio.sleep(SIDES_SECONDS)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(divide())
        for each in links:
            tasks.create_task(_replicate(liar, each, liar.random.randbytes(16)))
        while True:
            batch = await liar.receive()
            for each in links:
                each.hear(batch)


async def newer_version(liar: Liar) -> None:
    """A correct replica of a later version: each message that it sends has a field unknown here."""

    def encode(frame: Frame) -> bytes:
        message = peer_pb2.PeerMessage()
        message.MergeFromString(encode_frame(frame))
        _add_newer_fields(message)
        return message.SerializeToString()

    liar.encode = encode
    await behave(Behaviour)(liar)


def _add_newer_fields(message: ProtobufMessage) -> None:
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in value if field.is_repeated else (value,):
                _add_newer_fields(each)
    message.MergeFromString(NEWER_FIELD)


async def _replicate(liar: Liar, links: Transport, store_id: bytes) -> None:
    """Run a shipped replica, its votes those of a journal of this name."""
    disk = SimDisk(store_id, _never_crash)
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
    await Driver(replica, links, disk).run()


async def _act(behaviour: Behaviour) -> None:
    """Let it say things of its own, again and again."""
    while True:
        await asyncio.sleep(behaviour.acts_every_ms / 1000)
        behaviour.act()


def _never_crash(label: str, records: Sequence[Record]) -> None:
    """A pretended disk may crash the node; this one does not."""
