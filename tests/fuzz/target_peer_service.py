"""The peer service: a stream of a peer that says anything, in front of a whole node.

The node is validator 0: the shipped acceptor and inbox, the codec, and a replica with real keys and
a pretended disk. An input is a list of fields: bytes are a message of the stream, the hello first;
a number is time that passes, in milliseconds. What stands in a field of an even number is signed
anew with the peer's own key where it is a frame, for a liar can sign what it likes.

Whatever it says, nothing raises, no instance is quarantined, no vote of the node contradicts
another (SCENARIOS I5), and the node still decides what its client proposes with its other peers.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

from fuzz_cluster import (
    INSTANCE,
    KEYS,
    NAME,
    NODES,
    PEER,
    ROSTER,
    VALUE,
    asking_frame,
    own_frame,
    relaying_frame,
    sign,
    signed_by,
    store_id,
)
from grpc import aio
from protobuf_edits import Fill, delimited, edited, fields_of, varint
from replica_builders import COMMIT, PREPARE, Rig

from qbft.cluster import Cluster, Validator
from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.proposal import Proposal
from qbft.replica.authenticator import Ed25519Authenticator
from qbft.sim.clock import VirtualClockLoop
from qbft.transport import Frame
from qbft.wire import Hello, Remembered, decode_frame, encode_frame, encode_hello
from qbft_server.identity import create_tls_identity
from qbft_server.peers import GrpcTransport

NODE = 0
AS_IT_IS, SIGNED_ANEW = 1, 2
WAIT_MS_MAX = 5_000
HONEST = Proposal(InstanceId("honest", NODE), b"a client's")
"""An instance that the node leads, and that no input is about."""


def hello(validator: int) -> Hello:
    """A hello of that validator, of which nothing is known yet."""
    return Hello(cluster_id=ROSTER.cluster_id, validator=validator, store_id=store_id(validator))


def seeds() -> list[bytes]:
    """A hello with frames of all kinds after it, alone and with time between them.

    And one that would have the node remember a vote, which the peer has signed in its name; one
    that comes twice, with frames of nothing; and one in the middle of frames.
    """
    greeting = delimited(encode_hello(hello(PEER)))
    (false,) = signed_by(MessageType.PREPARE, [PEER])
    remembered = Remembered(store_id(NODE), 41, replace(false, source=NODE))
    reminding = delimited(
        encode_hello(replace(hello(PEER), vote_sequence=7, acknowledged=40, remembered=remembered))
    )
    frames = [encode_frame(make()) for make in (own_frame, relaying_frame, asking_frame)]
    opening = encode_frame(Frame(proposals=(Proposal(INSTANCE, VALUE),)))
    changes = signed_by(MessageType.ROUND_CHANGE, (2, 3), 2)
    changing = encode_frame(Frame(relayed=changes))
    pause = varint(AS_IT_IS << 3) + varint(1_200)
    return [
        greeting,
        *(greeting + delimited(frame, SIGNED_ANEW) for frame in frames),
        greeting + pause.join(map(delimited, (opening, changing, *frames))),
        greeting + delimited(opening) + delimited(frames[0], SIGNED_ANEW),
        reminding + b"".join(map(delimited, frames)),
        greeting + greeting + delimited(b"") + pause + delimited(b"", SIGNED_ANEW),
        greeting + delimited(opening) + reminding + delimited(frames[0], SIGNED_ANEW),
    ]


def mutated(data: bytes, random: Random, fill: Fill) -> bytes:
    """Edit the list, or a message of it."""
    return edited(data, random, fill)


def check(data: bytes) -> None:
    """Let the peer say it all, then let the others decide something with the node."""
    _LOOP.run_until_complete(_play(data))


async def _play(data: bytes) -> None:
    node = _Node()
    await _serve(node, data)
    node.rig.wait(WAIT_MS_MAX)
    decided = node.rig.replica.propose(HONEST, node.rig.now)
    node.rig.settle()
    for votes in _honest_votes():
        node.rig.receive(votes[0].source, relayed=votes)
        node.rig.settle()
    assert decided.done()
    assert decided.result().value == HONEST.value
    assert ("instance_quarantined", NODE) not in node.rig.rejected
    node.check_votes()


class _Node:
    """The node's replica, and what it has said."""

    def __init__(self) -> None:
        self.rig = Rig(NODE, NODES, authenticator=Ed25519Authenticator(KEYS[NODE], ROSTER, NODE))

    def hear(self, peer: int, said: Hello) -> None:
        """As the node does when a stream begins."""
        vote = said.remembered.vote if said.remembered is not None else None
        self.rig.replica.hear_hello(peer, said.store_id, said.acknowledged, vote, self.rig.now)

    def take(self, transport: GrpcTransport) -> None:
        """Hand over what the transport has, and do what follows."""
        while (batch := transport._take()).frames or transport._reading is not None:
            for peer, frame in batch.frames:
                self.rig.receive(peer, frame)
        self.rig.settle()

    def check_votes(self) -> None:
        """No vote contradicts another of its instance, type and round."""
        said: dict[object, object] = {}
        for turn in self.rig.turns:
            for _, frame in turn.frames:
                for vote in frame.votes:
                    what = (vote.value, vote.prepared_round, vote.prepared_value)
                    place = (vote.instance, vote.type, vote.round)
                    assert said.setdefault(place, what) == what


class _EndedError(Exception):
    """The service has ended the stream."""


class _Stream:
    """The acceptor's end of a stream whose other end says what the input has."""

    def __init__(self, node: _Node, transport: GrpcTransport, data: bytes) -> None:
        self._node = node
        self._transport = transport
        self._fields = fields_of(data) or []
        self.is_read = asyncio.Event()

    def auth_context(self) -> dict[str, list[bytes]]:
        """It is the peer's."""
        return {"x509_pem_cert": [_cluster().validators[PEER].tls_certificate.encode()]}

    async def read(self) -> Any:
        """The next message, once what came before it has been taken in."""
        self._node.take(self._transport)
        while self._fields:
            field = self._fields.pop(0)
            if isinstance(field.content, bytes):
                return field.content if field.number % 2 else _signed_anew(field.content)
            self._node.rig.wait(field.content % WAIT_MS_MAX)
        self.is_read.set()
        return aio.EOF

    async def write(self, message: bytes) -> None:
        """Where the node's hello goes."""
        assert message == encode_hello(hello(NODE))

    async def abort(self, code: object, details: str) -> None:
        """The end of it, for a reason that names nothing of the peer's."""
        assert details.isprintable()
        raise _EndedError


async def _serve(node: _Node, data: bytes) -> None:
    """Serve the stream until it has been read or refused."""
    transport = _transport()
    transport._heard = node.hear
    stream = _Stream(node, transport, data)
    serving = asyncio.ensure_future(transport._acceptor._exchange(None, stream))
    reading = asyncio.ensure_future(stream.is_read.wait())
    await asyncio.wait([serving, reading], return_when=asyncio.FIRST_COMPLETED)
    for task in (serving, reading):
        task.cancel()
    ends = await asyncio.gather(serving, reading, return_exceptions=True)
    assert isinstance(ends[0], _EndedError | asyncio.CancelledError)
    node.take(transport)
    assert transport.streams == 0


def _signed_anew(data: bytes) -> bytes:
    """The same frame with the peer's genuine signatures, where it is a frame at all."""
    frame = decode_frame(data, PEER, ROSTER).frame
    if frame is None:
        return data
    own = tuple(replace(vote, proof=Proof()) for vote in frame.votes)
    relayed = [
        replace(vote, proof=Proof()) if vote.source == PEER else vote for vote in frame.relayed
    ]
    for vote in relayed:
        if vote.source == PEER:
            sign([vote])
    batch = sign(own) if own else None
    return encode_frame(replace(frame, votes=own, batch=batch, relayed=tuple(relayed)))


@cache
def _cluster() -> Cluster:
    """The cluster of these keys; nothing is dialled."""
    validators = []
    for index, key in enumerate(KEYS):
        identity = create_tls_identity(f"validator {index}", [])
        validators.append(
            Validator(
                vote_key=key.public.hex(),
                peer=f"127.0.0.1:{index + 1}",
                client=f"127.0.0.1:{index + 11}",
                tls_key_sha256=identity.pin,
                tls_certificate=identity.certificate_pem.decode(),
            )
        )
    return Cluster(name=NAME, validators=tuple(validators))


@cache
def _transport() -> GrpcTransport:
    """The node's links; they are never opened."""
    identity = create_tls_identity("validator 0", [])
    return GrpcTransport(
        _cluster(), NODE, identity, "127.0.0.1:0", hello=lambda _: hello(NODE), heard=None
    )


@cache
def _honest_votes() -> tuple[tuple[Message, ...], ...]:
    """What validators 2 and 3 say in the honest instance."""
    kinds: tuple[MessageType, ...] = (PREPARE, COMMIT)
    return tuple(
        tuple(_honest_vote(kind, source) for kind in kinds) for source in range(NODES) if source > 1
    )


def _honest_vote(kind: MessageType, source: int) -> Message:
    vote = Message(kind, HONEST.instance, source, 1, HONEST.digest, proof=Proof())
    sign([vote], sequence=1)
    return vote


_LOOP = VirtualClockLoop()
