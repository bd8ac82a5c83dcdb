"""What a member of the cluster can pour over the links of its peers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, cycle

from attacks.bad_frames import BAD_FRAMES
from attacks.liar import Liar
from grpc import aio

from qbft.core import InstanceId, Message
from qbft.core.messages import ROUND_MAX
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import value_digest
from qbft.sim.byzantine.behaviour import COMMIT, PP, PREPARE, RC, instance_of
from qbft.transport import FeedRequest, Frame
from qbft.wire import encode_frame, encode_hello
from qbft.wire.v1 import peer_pb2

DIGEST = value_digest(b"a value that nobody has")
SECTION_VOTES = 256
BOMB_VOTES = 512
FRAMES_MADE = 64
"""Frames that are costly to make are made once, so many of them, and sent in turn."""

QUICK_CHANGES = 64
"""Heard votes that one frame sends again."""


def _topic(liar: Liar, what: str) -> str:
    """A topic that no earlier life of the liar has used."""
    return f"attack/{what}/{liar.store_id[:4].hex()}"


def _others(liar: Liar, own: Message) -> tuple[Message, ...]:
    """Copies of an own vote under the others' names: a quorum that is no quorum."""
    return tuple(replace(own, source=source) for source in range(liar.roster.nodes))


async def bad_frames(liar: Liar) -> None:
    """Each bad frame in turn, to each peer, as fast as they are read."""
    kinds = {peer: cycle(BAD_FRAMES.values()) for peer in liar.peers}
    await liar.flood(lambda peer: next(kinds[peer]).make(liar))


async def oversize_frames(liar: Liar) -> None:
    """Messages of 16 MiB, and after each one a new stream, for the peer ends the old one."""
    data = encode_frame(Frame(proposals=(liar.proposal("attack/oversize", 1, bytes(16 << 20)),)))
    await liar.flood(lambda _: data, pause=0.1)


async def false_signatures(liar: Liar) -> None:
    """Sections of 256 votes, and as many relayed ones, under signatures of other votes."""
    topic = _topic(liar, "false")
    instances = (InstanceId(topic, height) for height in count())

    def make() -> bytes:
        votes = [liar.hands.vote(COMMIT, next(instances), 1, DIGEST) for _ in range(SECTION_VOTES)]
        frame = liar.hands.sealed(Frame(votes=tuple(votes)))
        false = tuple(replace(vote, round=2) for vote in votes)
        return encode_frame(replace(frame, votes=false, relayed=false))

    made = cycle([make() for _ in range(FRAMES_MADE // 8)])
    await liar.flood(lambda _: next(made))


async def justification_bombs(liar: Liar) -> None:
    """ROUND-CHANGEs whose PREPAREs are all false but the first, as many as a frame takes."""
    topic = _topic(liar, "bomb")
    heights = count()

    def bomb() -> Message:
        which = InstanceId(topic, next(heights))
        own = liar.hands.vote(PREPARE, which, 1, DIGEST)
        proofs = sorted(_others(liar, own), key=lambda vote: vote.source != liar.validator)
        return liar.hands.vote(RC, which, 2, prepared=(1, DIGEST), justification=tuple(proofs))

    made = cycle(
        [
            encode_frame(Frame(relayed=tuple(bomb() for _ in range(BOMB_VOTES))))
            for _ in range(FRAMES_MADE // 16)
        ]
    )
    await liar.flood(lambda _: next(made))


async def future_rounds(liar: Liar) -> None:
    """Votes of all types for later rounds, near ones and the last, of instances that go on."""
    random = liar.random

    def make(_: int) -> bytes:
        votes = []
        for _ in range(QUICK_CHANGES):
            model = liar.memory.pick(PP, PREPARE, COMMIT)
            if model is None:
                break
            round_ = min(ROUND_MAX, model.round + random.choice((1, 2, 3, 40, ROUND_MAX)))
            kind = random.choice((PREPARE, COMMIT, RC))
            value = None if kind is RC else random.randbytes(32)
            votes.append(liar.hands.vote(kind, instance_of(model), round_, value))
        return encode_frame(liar.hands.sealed(Frame(votes=tuple(votes))))

    await liar.flood(make, pause=0.002)


async def many_instances(liar: Liar) -> None:
    """Small values for instances without end, forwarded to all, in a topic that is open."""
    topic = _topic(liar, "many")
    made: dict[int, Iterator[int]] = {peer: count() for peer in liar.peers}

    def make(peer: int) -> bytes:
        heights = [next(made[peer]) for _ in range(SECTION_VOTES)]
        return encode_frame(
            Frame(proposals=tuple(liar.proposal(topic, height, b"v") for height in heights))
        )

    await liar.flood(make)


async def instances_of_one(liar: Liar) -> None:
    """The same, but each instance is told to one node only, with a value of its own."""
    topic = _topic(liar, "one")
    heights = count()

    def make(peer: int) -> bytes:
        some = [liar.proposal(topic, next(heights), b"%d" % peer) for _ in range(SECTION_VOTES)]
        return encode_frame(Frame(proposals=tuple(some)))

    await liar.flood(make)


async def large_values(liar: Liar) -> None:
    """Values of 1 MiB for instances without end."""
    topic = _topic(liar, "large")
    made: dict[int, Iterator[int]] = {peer: count() for peer in liar.peers}
    value = liar.random.randbytes((1 << 20) - 8)

    def make(peer: int) -> bytes:
        height = next(made[peer])
        one = liar.proposal(topic, height, value + height.to_bytes(8, "big"))
        return encode_frame(Frame(proposals=(one,)))

    await liar.flood(make)


async def votes_for_nothing(liar: Liar) -> None:
    """Genuine votes for instances that are never opened, each with its own (C17)."""
    topic = _topic(liar, "nothing")
    heights = count()

    def make() -> bytes:
        instances = [InstanceId(topic, next(heights)) for _ in range(SECTION_VOTES)]
        votes = tuple(liar.hands.vote(COMMIT, which, 1, DIGEST) for which in instances)
        return encode_frame(liar.hands.sealed(Frame(votes=votes)))

    made = cycle([make() for _ in range(FRAMES_MADE)])
    await liar.flood(lambda _: next(made))


async def replays(liar: Liar) -> None:
    """Whatever was heard, 200 times each; some of it as of another instance or round (C13, C14)."""
    random = liar.random

    def make(_: int) -> bytes:
        vote = liar.memory.pick(PP, PREPARE, COMMIT, RC)
        other = liar.memory.pick(PP, PREPARE, COMMIT, RC)
        if vote is None or other is None:
            return encode_frame(Frame())
        bent = random.choice(
            (
                vote,
                vote,
                replace(vote, instance=other.instance),
                replace(vote, round=vote.round + 1),
            )
        )
        return encode_frame(Frame(relayed=(bent,) * 200))

    await liar.flood(make, pause=0.002)


async def rogue_certificates(liar: Liar) -> None:
    """Quorums of heard COMMITs with one rogue more or instead: first, in the middle, last (C9)."""
    random = liar.random

    def make(_: int) -> bytes:
        model = liar.memory.pick(COMMIT)
        if model is None:
            return encode_frame(Frame())
        which = instance_of(model)
        commits = {
            vote.source: vote
            for vote in liar.memory.heard
            if vote.type is COMMIT and vote.instance == which and vote.round == model.round
        }
        rogue = liar.hands.vote(COMMIT, which, model.round, DIGEST)
        commits[liar.validator] = rogue
        for source in range(liar.roster.nodes):
            commits.setdefault(source, replace(rogue, source=source))
        value = random.choice((model.value, DIGEST))
        certificate = Certificate(
            which, model.round, value, tuple(commits[source] for source in sorted(commits))
        )
        return encode_frame(Frame(certificates=(certificate,) * 8))

    await liar.flood(make, pause=0.002)


async def resend_loops(liar: Liar) -> None:
    """Ask for everything that can be asked for, again and again, and acknowledge nothing."""
    random = liar.random

    def make(_: int) -> bytes:
        heard = liar.memory.heard[-QUICK_CHANGES:]
        known = sorted({instance_of(vote) for vote in heard})
        values = [
            (instance_of(vote), vote.value) for vote in heard if isinstance(vote.value, bytes)
        ]
        frame = Frame(
            wanted_decisions=tuple(known) * 8,
            wanted_values=tuple(values) * 8,
            feed_request=FeedRequest(random.randrange(100), 512),
            memory_wanted=0,
        )
        return encode_frame(frame)

    await liar.flood(make, pause=0.002)


async def broken_links(liar: Liar) -> None:
    """One stream after the other, each on its own connection, some in a wrong language (F14)."""
    greetings = cycle(
        (
            encode_hello(liar.hello()),
            encode_hello(liar.hello(cluster_id=bytes(32))),
            encode_hello(liar.hello(protocol_min=1_000, protocol_max=1_001)),
            encode_hello(liar.hello(validator=liar.peers[0])),
            peer_pb2.PeerMessage().SerializeToString() + b"\xff",
        )
    )

    async def come_and_go(peer: int) -> None:
        while True:
            async with liar.dial(peer, next(greetings)) as call:
                with contextlib.suppress(aio.AioRpcError, asyncio.InvalidStateError):
                    await call.read()

    async with asyncio.TaskGroup() as tasks:
        for peer in liar.peers * 4:
            tasks.create_task(come_and_go(peer))


async def deaf_links(liar: Liar) -> None:
    """Ask for as much as can be asked for, and read nothing of what comes."""
    asking = Frame(feed_request=FeedRequest(0, 512), memory_wanted=0)
    await liar.flood(lambda _: encode_frame(asking), pause=0.002)
