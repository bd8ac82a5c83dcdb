"""Clients of a cluster under chaos: they propose, read, list, watch, and write down what they see.

They are ordinary clients: what they are told they have verified, they go to other nodes when one is
silent, and they ask again until they know. Each decision that is told is verified once more as a
file would be, from the cluster file alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from itertools import count
from typing import Any, TypeVar, cast

from qbft.client import Client, ClientError, Conflict, DeadlineExceeded, NoDecision, Refused
from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft.decision import Decision
from qbft.errors import CertificateError
from qbft.ordered import Position
from qbft.verify import verify
from qbft.wire import encode_decision
from qbft_server.chaos.clock import now
from qbft_server.chaos.history import (
    Acknowledged,
    Appending,
    Entered,
    Event,
    Followed,
    Listed,
    Misbehaved,
    NotDecided,
    Proposed,
    Reading,
    Told,
    Watched,
    Watching,
)

T = TypeVar("T")

PROPOSE_SECONDS = 10.0
READ_SECONDS = 3.0
PAUSE_SECONDS = 0.2
UNARY_IN_FLIGHT_MAX = 16
STREAM_IN_FLIGHT_MAX = 8
"""Proposals of a chaos run that wait for their decisions: in calls, and on its stream."""

RECENT_MAX = 2_000
"""Decisions of which one is read again."""

LIST_SPAN_MAX = 200
"""Decisions that are listed at once."""

STREAK_MAX = 400
"""Decisions that a watcher takes before it goes away and comes back with its place."""

UNARY, STREAM, CONFLICT = "chaos/unary", "chaos/stream", "chaos/conflict"
LOG = "chaos/log"
"""The ordered topic, where the cluster has one of that name."""

SHARES = {UNARY: 0.45, STREAM: 0.3, CONFLICT: 0.15, LOG: 0.1}
"""Of the rate of proposals, and of what is appended."""

APPENDS_IN_FLIGHT_MAX = 8
"""Entries of a chaos run that wait for their position."""

APPENDED_AGAIN = 0.2
"""So many appends are asked for once more, as by a client that did not get the answer."""


class Prover:
    """Verifies each decision once, as `qbft verify` does with a file."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._proven: set[bytes] = set()
        self.certificates = 0

    def flaw(self, encoded: bytes) -> str | None:
        """Why a decision's bytes prove nothing; None where they do."""
        digest = hashlib.sha256(encoded).digest()[:16]
        if digest in self._proven:
            return None
        try:
            verify(encoded, self._cluster)
        except CertificateError as error:
            return str(error)
        self._proven.add(digest)
        self.certificates += 1
        return None


class Load:
    """Everything that clients do while the chaos lasts.

    Args:
        cluster: whom to ask.
        see: is told every event.
        rate: proposals a second, all topics together.
        seed: what is asked of whom is drawn from it.
    """

    def __init__(
        self, cluster: Cluster, see: Callable[[Event], None], *, rate: float, seed: int
    ) -> None:
        self.prover = Prover(cluster)
        self.proposals = 0
        self.late = 0
        self.refused = 0
        self.latencies: list[float] = []
        self._cluster = cluster
        self._see = see
        self._rate = rate
        self._draw = random.Random(seed)  # noqa: S311 - no secret
        self._recent: deque[InstanceId] = deque(maxlen=RECENT_MAX)
        self._stopping = asyncio.Event()
        self._nodes = len(cluster.validators)
        self.has_log = cluster.policy(LOG).ordered

    async def run(self) -> None:
        """Propose until `stop`, and then until all that was proposed is decided."""
        async with asyncio.TaskGroup() as tasks:
            for work in (
                self._propose_unary(),
                self._propose_stream(),
                self._propose_conflicting(),
                self._propose_again(),
            ):
                tasks.create_task(work)
            if self.has_log:
                tasks.create_task(self._append())

    async def read(self) -> None:
        """Read, list and watch, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._forever(self._get))
            tasks.create_task(self._forever(self._list))
            for topic in (UNARY, STREAM):
                tasks.create_task(self._watch(topic))
            for node in range(self._nodes):
                tasks.create_task(self._follow(node))
            if self.has_log:
                for reader in ("one", "another"):
                    tasks.create_task(self._read_log(reader))

    def is_batch(self, instance: InstanceId) -> bool:
        """Whether nodes make its value of what clients append."""
        return self.has_log and instance.topic == LOG

    def stop(self) -> None:
        """Propose nothing new."""
        self._stopping.set()

    # --- proposing --------------------------------------------------------------------------------

    async def _pace(self, topic: str) -> AsyncIterator[int]:
        """Heights of a topic, at its share of the rate; none is made up for what was missed."""
        clock = asyncio.get_running_loop().time
        due = clock()
        for height in count():
            if self._stopping.is_set():
                return
            yield height
            due = max(due + 1 / (self._rate * SHARES[topic]), clock() - 1.0)
            await asyncio.sleep(max(0.0, due - clock()))

    async def _propose_unary(self) -> None:
        """One call for each proposal, so many at once."""
        places = asyncio.Semaphore(UNARY_IN_FLIGHT_MAX)
        async with Client(self._cluster) as client, asyncio.TaskGroup() as tasks:
            async for height in self._pace(UNARY):
                await places.acquire()
                work = self._decide(client, InstanceId(UNARY, height), b"unary %d" % height)
                tasks.create_task(work).add_done_callback(lambda _: places.release())

    async def _propose_stream(self) -> None:
        """Many over one stream to each node; their clients wait as long as it takes."""

        async def proposals() -> AsyncIterator[tuple[str, int, bytes]]:
            async for height in self._pace(STREAM):
                value = b"stream %d" % height
                self._proposed(InstanceId(STREAM, height), value)
                yield STREAM, height, value

        async with Client(self._cluster, timeout=None) as client:
            decisions = client.propose_many(proposals(), in_flight=STREAM_IN_FLIGHT_MAX)
            try:
                async with _closing(decisions):
                    async for decision in decisions:
                        self._told(decision, is_reply=True)
            except ClientError as error:
                self._failed(f"proposing over a stream: {error}")

    async def _propose_conflicting(self) -> None:
        """Two clients want different values for one instance; one of the two is decided."""
        places = asyncio.Semaphore(UNARY_IN_FLIGHT_MAX)
        async with (
            Client(self._cluster) as one,
            Client(self._cluster) as other,
            asyncio.TaskGroup() as tasks,
        ):
            async for height in self._pace(CONFLICT):
                for client, value in ((one, b"one %d" % height), (other, b"other %d" % height)):
                    await places.acquire()
                    work = self._decide(client, InstanceId(CONFLICT, height), value)
                    tasks.create_task(work).add_done_callback(lambda _: places.release())

    async def _propose_again(self) -> None:
        """A client that wants another value where one is decided: it must get that one."""
        async with Client(self._cluster, timeout=PROPOSE_SECONDS) as client:
            while not self._stopping.is_set():
                await asyncio.sleep(PAUSE_SECONDS)
                if self._recent:
                    instance = self._draw.choice(self._recent)
                    await self._decide(client, instance, b"again %d" % instance.height)

    async def _decide(self, client: Client, instance: InstanceId, value: bytes) -> None:
        """Ask until it is decided, whosever value it is."""
        self._proposed(instance, value)
        began = now()
        while True:
            try:
                decision = await client.propose(
                    instance.topic, instance.height, value, timeout=PROPOSE_SECONDS
                )
            except DeadlineExceeded:
                self.late += 1
                continue
            except Conflict:
                self.refused += 1
                await self._await_other(client, instance)
                return
            except ClientError as error:
                self._failed(f"proposing {instance}: {error}")
                return
            self._told(decision, is_reply=True)
            self.latencies.append(now() - began)
            return

    async def _await_other(self, client: Client, instance: InstanceId) -> None:
        """Another client was first at enough nodes: what is decided has to be read."""
        while True:
            try:
                decision = await client.get(instance.topic, instance.height, timeout=READ_SECONDS)
            except (NoDecision, DeadlineExceeded):
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            except ClientError as error:
                self._failed(f"reading {instance}: {error}")
                return
            self._told(decision, is_reply=True)
            return

    # --- appending --------------------------------------------------------------------------------

    async def _append(self) -> None:
        """Put entries at the next free position of the ordered topic, several at once."""
        places = asyncio.Semaphore(APPENDS_IN_FLIGHT_MAX)
        async with Client(self._cluster) as client, asyncio.TaskGroup() as tasks:
            async for number in self._pace(LOG):
                await places.acquire()
                work = self._append_one(client, b"request %d" % number, b"order %d" % number)
                tasks.create_task(work).add_done_callback(lambda _: places.release())

    async def _append_one(self, client: Client, request: bytes, value: bytes) -> None:
        """Ask until it stands, under the same name each time; now and then once more."""
        self._see(Appending(now(), request, value))
        again = self._draw.random() < APPENDED_AGAIN
        while True:
            try:
                appended = await client.append(LOG, value, request, timeout=PROPOSE_SECONDS)
            except DeadlineExceeded:
                self.late += 1
                continue
            except ClientError as error:
                self._failed(f"appending {request!r}: {error}")
                return
            self._see(Acknowledged(now(), request, appended.position))
            if not again:
                return
            again = False

    async def _read_log(self, reader: str) -> None:
        """Follow the ordered topic entry by entry, going away and coming back with the place."""
        after: Position | None = None
        self._see(Reading(now(), reader))
        async with Client(self._cluster) as client:
            while True:
                streak = self._draw.randint(1, STREAK_MAX)
                try:
                    async with _closing(self._entries(client, reader, after)) as entries:
                        async for position in entries:
                            after = position
                            streak -= 1
                            if not streak:
                                break
                except ClientError as error:
                    self._failed(f"reading {LOG}: {error}")
                    await asyncio.sleep(PAUSE_SECONDS)

    async def read_log_back(self, client: Client, end: Position) -> None:
        """Read the ordered topic once more, from its first entry to the last that is known of."""
        async with _closing(self._entries(client, "the last reader", None)) as entries:
            async for position in entries:
                if position >= end:
                    return

    async def _entries(
        self, client: Client, reader: str, after: Position | None
    ) -> AsyncIterator[Position]:
        """The positions that a reader gets, void ones too; what stands there is written down."""
        async with aclosing(client.watch_entries(LOG, after, void=True)) as entries:
            async for entry in entries:
                seen = Entered(
                    now(), reader, entry.position, entry.request_id, entry.value, entry.is_void
                )
                self._see(seen)
                yield entry.position

    # --- reading ----------------------------------------------------------------------------------

    async def _forever(self, read: Callable[[Client, int], Coroutine[Any, Any, None]]) -> None:
        """Ask one node after another, whether they answer or not."""
        async with Client(self._cluster, timeout=READ_SECONDS) as client:
            while True:
                await asyncio.sleep(PAUSE_SECONDS)
                try:
                    await read(client, self._draw.randrange(self._nodes))
                except (DeadlineExceeded, NoDecision):
                    continue
                except ClientError as error:
                    self._failed(f"reading: {error}")

    async def _get(self, client: Client, node: int) -> None:
        """Read one instance from one node, and another from f+1 nodes."""
        if not self._recent:
            return
        instance = self._draw.choice(self._recent)
        began = now()
        try:
            decision = await client.get(instance.topic, instance.height, node=node)
        except NoDecision:
            self._see(NotDecided(began, now(), node, instance))
        else:
            self._told(decision, by=node)
        instance = self._draw.choice(self._recent)
        self._told(await client.get(instance.topic, instance.height, quorum=True))

    async def _list(self, client: Client, node: int) -> None:
        """List a stretch of a topic, as one node has it."""
        topic = self._draw.choice(list(SHARES))
        newest = max((i.height for i in self._recent if i.topic == topic), default=0)
        start = self._draw.randrange(newest + 1)
        began, heights = now(), set()
        end = None
        decisions = client.list_decisions(topic, start, node=node)
        async with _closing(decisions):
            async for decision in decisions:
                self._told(decision, by=node)
                height = _instance(decision).height
                heights.add(height)
                if len(heights) == LIST_SPAN_MAX:
                    end = height
                    break
        self._see(Listed(began, now(), node, topic, start, end, frozenset(heights)))

    async def _watch(self, topic: str) -> None:
        """Follow a topic by height, going away and coming back."""
        height = 0
        self._see(Watching(now(), topic, topic))
        async with Client(self._cluster) as client:
            while True:
                streak = self._draw.randint(1, STREAK_MAX)
                decisions = client.watch(topic, height)
                try:
                    async with _closing(decisions):
                        async for decision in decisions:
                            self._told(decision)
                            self._see(Watched(now(), topic, _instance(decision)))
                            height += 1
                            streak -= 1
                            if not streak:
                                break
                except ClientError as error:
                    self._failed(f"watching {topic}: {error}")
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _follow(self, node: int) -> None:
        """Follow a node's own order, going away and coming back with the last cursor.

        A cursor of a store that was wiped is refused; then all begins anew.
        """
        cursor = b""
        async with Client(self._cluster) as client:
            while True:
                streak = self._draw.randint(1, STREAK_MAX)
                decisions = client.watch_all(node, cursor)
                try:
                    async with _closing(decisions):
                        async for decision, after in decisions:
                            cursor = after
                            self._told(decision, by=node)
                            self._see(Followed(now(), node, _instance(decision)))
                            streak -= 1
                            if not streak:
                                break
                except Refused as error:
                    if error.code != "FAILED_PRECONDITION":
                        self._failed(f"following node {node}: {error}")
                        await asyncio.sleep(PAUSE_SECONDS)
                    cursor = b""
                except ClientError as error:
                    self._failed(f"following node {node}: {error}")
                    await asyncio.sleep(PAUSE_SECONDS)

    # --- what was seen ----------------------------------------------------------------------------

    def _proposed(self, instance: InstanceId, value: bytes) -> None:
        self.proposals += 1
        self._see(Proposed(now(), instance, value))

    def _told(self, decision: Decision, *, by: int | None = None, is_reply: bool = False) -> None:
        instance, value = _instance(decision), decision.value
        flaw = self.prover.flaw(encode_decision(Decision(value, decision.certificate)))
        shown = value if isinstance(value, bytes) else b""
        self._see(Told(now(), instance, shown, by, flaw, is_reply, self.is_batch(instance)))
        if is_reply:
            self._recent.append(instance)

    def _failed(self, what: str) -> None:
        """A client met what it never should: a lie, a refusal without a reason."""
        self._see(Misbehaved(now(), what))


def _closing(iterator: AsyncIterator[T]) -> aclosing[AsyncGenerator[T, None]]:
    """End a client's iterator with the block, and not when the garbage collector finds it."""
    return aclosing(cast("AsyncGenerator[T, None]", iterator))


def _instance(decision: Decision) -> InstanceId:
    instance = decision.instance
    if not isinstance(instance, InstanceId):
        raise TypeError(f"{instance!r} is no instance of the service")
    return instance
