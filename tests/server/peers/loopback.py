"""A cluster on loopback: real sockets, mutual TLS, and one transport for each node."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
from grpc import aio

from qbft.cluster import TLS_NAME, Cluster, Validator
from qbft.crypto.keys import VoteKey
from qbft.transport import Frame
from qbft.wire import Hello, encode_hello
from qbft_server.identity import TlsIdentity, create_tls_identity
from qbft_server.listener_tls import ListenerTls
from qbft_server.peers import GrpcTransport, PeerLimits
from qbft_server.peers.stream import METHOD, SERVICE
from qbft_server.peers.tls import peer_roots

QUICK = PeerLimits(backoff_seconds_max=0.2, stable_seconds_min=0.5)


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for a condition of the real world, with a deadline."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - conditions of sockets set no event
            await asyncio.sleep(0.005)


class Inhabitant:
    """A transport, and someone who receives what it brings."""

    def __init__(self, transport: GrpcTransport) -> None:
        self.transport = transport
        self.frames: list[tuple[int, Frame]] = []
        self.fresh: list[int] = []

    async def live(self) -> None:
        """Receive for ever."""
        while True:
            batch = await self.transport.receive()
            self.frames += batch.frames
            self.fresh += batch.fresh

    def heard(self, peer: int) -> list[int]:
        """The numbers (`acknowledged`) of the frames from a peer."""
        return [frame.acknowledged for sender, frame in self.frames if sender == peer]

    def rejects(self, peer: int) -> dict[str, int]:
        """What was refused from a peer."""
        return self.transport.counters[peer].rejects


class Loopback:
    """The files of a cluster whose addresses are free ports of this machine."""

    def __init__(self, nodes: int, name: str = "loopback") -> None:
        self.identities = [
            create_tls_identity(f"validator {index} of {name}", []) for index in range(nodes)
        ]
        with free_ports(2 * nodes) as ports:
            validators = tuple(
                Validator(
                    vote_key=VoteKey.generate().public.hex(),
                    peer=f"127.0.0.1:{ports[2 * index]}",
                    client=f"127.0.0.1:{ports[2 * index + 1]}",
                    tls_key_sha256=identity.pin,
                    tls_certificate=identity.certificate_pem.decode(),
                )
                for index, identity in enumerate(self.identities)
            )
        self.cluster = Cluster(name=name, validators=validators)

    def hello(self, speaker: int, /, **changes: Any) -> Hello:
        """An honest hello of the speaker, but for the changes."""
        said: dict[str, Any] = {
            "protocol_min": 1,
            "protocol_max": 1,
            "cluster_id": self.cluster.roster.cluster_id,
            "validator": speaker,
            "store_id": bytes([speaker]) * 16,
            **changes,
        }
        return Hello(**said)

    def move(self, validator: int, address: str) -> None:
        """From now on that validator is dialled there; it listens where it did."""
        validators = list(self.cluster.validators)
        validators[validator] = validators[validator].model_copy(update={"peer": address})
        self.cluster = self.cluster.model_copy(update={"validators": tuple(validators)})

    def renew(self, validator: int, identity: TlsIdentity) -> None:
        """From now on the cluster file has this certificate and key of a validator."""
        self.identities[validator] = identity
        validators = list(self.cluster.validators)
        validators[validator] = validators[validator].model_copy(
            update={
                "tls_key_sha256": identity.pin,
                "tls_certificate": identity.certificate_pem.decode(),
            }
        )
        self.cluster = self.cluster.model_copy(update={"validators": tuple(validators)})

    def transport(
        self, validator: int, *, limits: PeerLimits = QUICK, **settings: Any
    ) -> GrpcTransport:
        """The transport of one node, not yet running."""
        settings.setdefault("hello", lambda _: self.hello(validator))
        settings.setdefault("listen", self.cluster.validators[validator].peer)
        return GrpcTransport(
            self.cluster,
            validator,
            self.identities[validator],
            limits=limits,
            **settings,
        )

    @asynccontextmanager
    async def node(self, validator: int, **settings: Any) -> AsyncIterator[Inhabitant]:
        """A node that runs, and receives."""
        async with self.transport(validator, **settings) as transport:
            inhabitant = Inhabitant(transport)
            task = asyncio.create_task(inhabitant.live())
            try:
                yield inhabitant
            finally:
                task.cancel()
                await asyncio.wait([task])

    @asynccontextmanager
    async def dialled(
        self, to: int, identity: TlsIdentity | None
    ) -> AsyncIterator[Callable[[], Any]]:
        """Opens bare streams to a node's peer port, as whoever holds that identity."""
        root = self.cluster.validators[to].tls_certificate.encode()
        shown = (identity.key_pem, identity.certificate_pem) if identity else (None, None)
        channel = aio.secure_channel(
            self.cluster.validators[to].peer,
            grpc.ssl_channel_credentials(root, *shown),
            [("grpc.ssl_target_name_override", TLS_NAME), ("grpc.use_local_subchannel_pool", 1)],
        )
        try:
            yield channel.stream_stream(f"/{SERVICE}/{METHOD}")
        finally:
            await channel.close()

    @asynccontextmanager
    async def dial(self, to: int, identity: TlsIdentity | None) -> AsyncIterator[Any]:
        """One bare stream."""
        async with self.dialled(to, identity) as open_stream:
            yield open_stream()

    async def serve(self, server: aio.Server, validator: int, exchange: Any) -> None:
        """Serve at a validator's peer address, as it, with a handler of the test's own."""
        handler = grpc.stream_stream_rpc_method_handler(exchange)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),)
        )
        identity = self.identities[validator]
        tls = ListenerTls(identity, peer_roots(self.cluster, validator, identity))
        server.add_secure_port(self.cluster.validators[validator].peer, tls.credentials())
        await server.start()

    def encoded_hello(self, speaker: int, /, **changes: Any) -> bytes:
        """The bytes of `hello`."""
        return encode_hello(self.hello(speaker, **changes))


@contextmanager
def free_ports(count: int) -> Iterator[list[int]]:
    """Ports of loopback that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
