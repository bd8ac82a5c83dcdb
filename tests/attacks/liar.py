"""A Byzantine node as a program: it stands in a validator's place, with its keys, and lies.

    python tests/attacks/liar.py CLUSTER/node-3 ATTACK [--seed 1]

It has what a faulty node has: its node directory, so its vote key and its TLS identity, and what it
is sent. It speaks over the links of a node, mutual TLS included. `attacks.catalogue` says which
attacks there are; one goes on until the program is ended. A line says when it has begun.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import grpc
from grpc import aio

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from qbft.core import InstanceId
from qbft.crypto.proposal import Proposal
from qbft.crypto.roster import service_leader
from qbft.replica.authenticator import Ed25519Authenticator
from qbft.sim.byzantine import Behaviour, Hands
from qbft.sim.byzantine.behaviour import STORE_ID
from qbft.timers import exponential
from qbft.transport import Batch, Frame
from qbft.wire import Hello, encode_frame, encode_hello
from qbft_server.config import NodeConfig
from qbft_server.identity import load_tls_identity, load_vote_key
from qbft_server.peers import GrpcTransport, PeerLimits
from qbft_server.peers.stream import METHOD, SERVICE, Call
from qbft_server.peers.tls import channel_credentials, channel_options

BEGUN = "attacking"
"""What the program says once its links have been dialled, and what it prepares is there."""

MESSAGE_BYTES_MAX = 64 << 20
"""A liar's own links let it send far more than its peers take."""

AHEAD_FRAMES = 32
"""Frames that a liar has waiting on a link: more would only fill its own memory."""


class LiarLinks(GrpcTransport):
    """A node's links, over which any bytes can be sent."""

    async def push(self, peer: int, data: bytes) -> None:
        """Send bytes as a message; waits for the peer to read, and while the link is down.

        A link that is new takes frames once its owner was told of that; one that reads nothing is
        never told.
        """
        while peer not in self.connected or self.queued(peer)[0] >= AHEAD_FRAMES:  # noqa: ASYNC110
            await asyncio.sleep(0.002)
        link = self._links[peer]
        link.open()
        link.push(data)


class Liar:
    """The place of a validator, taken by somebody who follows no protocol.

    Its links are up while the `async with` block lasts.
    """

    def __init__(self, directory: Path, seed: int = 0) -> None:
        config = NodeConfig.load(directory / "node.toml")
        self.cluster, own = config.load_cluster()
        self.roster = self.cluster.roster
        self.validator = config.validator
        self.key = load_vote_key(config.vote_key, own)
        self.identity = load_tls_identity(config.tls_key, own)
        self.random = Random(seed)
        self.store_id = os.urandom(16)
        self.authenticator = Ed25519Authenticator(self.key, self.roster, self.validator)
        self.hands = Hands(
            self.validator,
            self.roster.nodes,
            random=self.random,
            leader=service_leader(self.roster),
            timers=exponential(config.timer.first_round_ms, config.timer.cap_ms),
            send=self.send,
            propose=_tell_nobody,
            authenticator=self.authenticator,
        )
        self.encode: Callable[[Frame], bytes] = encode_frame
        """How its replicas' frames become bytes."""
        self.memory = Behaviour(self.hands)
        """Of what it has heard, for attacks that need to say it again."""
        self.is_under_way = asyncio.Event()
        """Set by an attack that prepares something, once that is there."""
        self.limits = PeerLimits(message_bytes_max=MESSAGE_BYTES_MAX)
        self.links = LiarLinks(
            self.cluster,
            self.validator,
            self.identity,
            config.listen.peer,
            hello=lambda _: self.hello(),
            limits=self.limits,
        )

    @property
    def peers(self) -> list[int]:
        """The others."""
        return self.hands.peers

    async def __aenter__(self) -> Self:
        """Listen and dial, as a node does."""
        await self.links.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hang up."""
        await self.links.__aexit__(kind, error, trace)

    def hello(self, **changes: object) -> Hello:
        """What it says of itself when a stream begins; any of it may be changed."""
        fields = {
            "cluster_id": self.roster.cluster_id,
            "validator": self.validator,
            "store_id": self.store_id,
            **changes,
        }
        return Hello(**fields)  # type: ignore[arg-type]

    def send(self, to: int, frame: Frame) -> None:
        """Send a frame, as far as its own queue has room."""
        if to in self.links.connected and self.links.queued(to)[0] < AHEAD_FRAMES:
            self.links._links[to].push(self.encode(frame))

    async def flood(self, make: Callable[[int], bytes], *, pause: float = 0.0) -> None:
        """Send each peer one message after the other, as fast as it reads them, without end."""

        async def pour(peer: int) -> None:
            while True:
                await self.links.push(peer, make(peer))
                await asyncio.sleep(pause)

        async with asyncio.TaskGroup() as tasks:
            for peer in self.peers:
                tasks.create_task(pour(peer))

    async def listen(self) -> None:
        """Read what the others send, and remember some of it."""
        while True:
            for peer, frame in (await self.receive()).frames:
                self.memory.hear(peer, frame)

    async def receive(self) -> Batch:
        """Read what the others send, their votes with the signatures that let them be relayed."""
        batch = await self.links.receive()
        for peer, frame in batch.frames:
            if frame.votes:
                self.authenticator.has_signed(peer, frame.votes, frame.batch)
        return batch

    @contextlib.asynccontextmanager
    async def dial(self, peer: int, hello: bytes | None = None) -> AsyncIterator[Call]:
        """Begin one more stream to a peer, on a connection of its own."""
        credentials = channel_credentials(self.cluster, peer, self.identity)
        address = self.cluster.validators[peer].peer
        options = channel_options(self.limits)
        async with aio.secure_channel(address, credentials, options) as channel:
            call = channel.stream_stream(f"/{SERVICE}/{METHOD}", None, None)(None)
            with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
                await call.write(encode_hello(self.hello()) if hello is None else hello)
            yield call

    def plain_credentials(self, peer: int) -> grpc.ChannelCredentials:
        """What any client of a node has: trust in its certificate, and none of its own."""
        certificate = self.cluster.validators[peer].tls_certificate
        return grpc.ssl_channel_credentials(certificate.encode())

    def proposal(self, topic: str, height: int, value: bytes) -> Proposal:
        """An unsigned proposal."""
        return Proposal(InstanceId(topic, height), value)


def _tell_nobody(proposal: Proposal) -> None:
    """A simulation would tell its oracle that a member proposed this."""


__all__ = ["BEGUN", "STORE_ID", "Liar", "LiarLinks"]


async def _attack(directory: Path, name: str, seed: int) -> None:
    from attacks.catalogue import ATTACKS  # noqa: PLC0415 - it needs this module

    attack = ATTACKS[name]
    async with Liar(directory, seed) as liar, asyncio.TaskGroup() as tasks:
        if attack.listens:
            tasks.create_task(liar.listen())
        tasks.create_task(attack.run(liar))
        if attack.prepares:
            await liar.is_under_way.wait()
        print(BEGUN, flush=True)


def main() -> None:
    """Parse the command line and attack until ended."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("directory", type=Path, help="the node directory whose place it takes")
    parser.add_argument("attack", help="its name")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_attack(arguments.directory, arguments.attack, arguments.seed))


if __name__ == "__main__":
    main()
