"""Appending: clients' entries become batches, batches are proposed until they stand (docs/adr/017).

For each topic that somebody appends to there is one task. It reads what was decided, proposes what
waits for the first undecided height, and does so again for the next height with whatever has lost:
another node's batch may have been decided instead.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from qbft.core import InstanceId
from qbft.core.messages import HEIGHT_MAX
from qbft.crypto.entries import Entry, Key, encode_batch, entries_of
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import Busy, JournalError, OtherEpoch, ProposalConflict, QbftError
from qbft.ordered import Appended
from qbft.replica.bounds import Bites
from qbft.replica.driver import now_ms
from qbft_server.bounds import NodeBound
from qbft_server.ordered.log import LogStore, TopicLog
from qbft_server.ordered.queue import AppendQueue, LostTooOften, Opener

REMEMBERED_TOPICS_MAX = 1_024
REMEMBERED_IDS_MAX = 1 << 18
"""Ordered topics, and request ids of all of them, that are in memory when a further one is begun;
those that nobody appends to now make way."""

KNOWN_ENDS_MAX = 16_384
"""Topics of which it is remembered how far they had come when somebody asked."""

RETRY_MS = 1_000

log = structlog.get_logger()


class Proposer(Protocol):
    """What is asked of the replica."""

    def propose(self, proposal: Proposal, now_ms: int) -> asyncio.Future[Decision]:
        """Have a value decided; the future gives the decision, whosever value it is."""
        ...

    def has_input(self, instance: InstanceId) -> bool:
        """Whether the instance is open and has a value to propose."""
        ...


@dataclass(frozen=True, slots=True)
class _Nobody:
    """Opens whatever there is to open: on nobody's account."""

    replica: Proposer
    wake: Callable[[], None]
    has_room: bool = True

    async def propose(self, proposal: Proposal) -> Decision:
        deciding = self.replica.propose(proposal, now_ms())
        self.wake()
        return await deciding


class Appends:
    """What the clients of one node append to ordered topics.

    Its owner keeps `run()` in a task of its own.

    Args:
        replica: proposes batches.
        store: gives what was decided.
        wake: tells the replica's driver that there is something to do for nobody's account.
        first_height: gives the first height of a topic that this epoch decides.
    """

    def __init__(
        self,
        replica: Proposer,
        store: LogStore,
        *,
        wake: Callable[[], None],
        first_height: Callable[[str], int],
        value_bytes_max: int,
    ) -> None:
        self.appended = 0
        """Entries whose clients were told where they stand."""
        self.heights_lost = 0
        """Heights that went to another node's batch while entries waited here."""
        self.bites = Bites()
        """How often which bound has bitten."""
        self._replica = replica
        self._store = store
        self._nobody = _Nobody(replica, wake)
        self._first_height = first_height
        self._value_bytes_max = value_bytes_max
        self._queues: dict[str, AppendQueue] = {}
        self._starting: asyncio.Queue[AppendQueue] = asyncio.Queue()
        self._logs: OrderedDict[str, TopicLog] = OrderedDict()
        self._ends: OrderedDict[str, int] = OrderedDict()

    async def run(self) -> None:
        """Serve, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                queue = await self._starting.get()
                if queue.pending:
                    queue.task = tasks.create_task(self._serve(queue))

    async def append(self, topic: str, entry: Entry, opener: Opener | None = None) -> Appended:
        """Wait until an entry stands; the caller has checked who may append it.

        `opener` has the batches opened that begin with it, or that nobody else in them may open.
        Cancelled, it is proposed no more; a batch that was proposed with it may still be decided.

        Raises:
            Busy: too many topics are appended to.
            LostTooOften: other nodes were quicker, again and again.
            NotStanding: it was signed for other heights.
            RequestIdUsed: its author has used its name for another value.
            QbftError: what `Replica.propose` raises.
        """
        queue = self._queues.get(topic)
        if queue is None:
            if topic not in self._logs:
                self._make_room()
            queue = self._queues[topic] = AppendQueue(topic, self._value_bytes_max)
            self._starting.put_nowait(queue)
        waiter = queue.add(entry, opener or self._nobody)
        try:
            appended = await waiter
        except LostTooOften:
            self.bites.note(NodeBound.LOSSES_MAX)
            raise
        finally:
            queue.leave(entry.key, waiter)
            if not queue.pending:
                self._end(queue)
        self.appended += 1
        return appended

    async def next_height(self, topic: str) -> int:
        """The first height of a topic that is not decided here.

        Raises:
            DecisionsError: the decisions cannot be read.
            OtherEpoch: this epoch decides none of it.
        """
        known = max(self._begin(topic), self._ends.get(topic, 0))
        height = await self._store.first_undecided(topic, known)
        self._ends[topic] = max(height, self._ends.get(topic, 0))
        self._ends.move_to_end(topic)
        if len(self._ends) > KNOWN_ENDS_MAX:
            self._ends.popitem(last=False)
        return height

    def own_input(self, instance: InstanceId) -> Proposal | None:
        """What to propose for a height that this node leads, rather than another node's batch."""
        queue, read = self._queues.get(instance.topic), self._logs.get(instance.topic)
        if queue is None or read is None:
            return None
        batch = queue.batch_ahead(instance.height, read.next.height)
        return Proposal(instance, encode_batch(batch)) if batch else None

    def _end(self, queue: AppendQueue) -> None:
        """Nobody waits: the next one begins anew."""
        if self._queues.get(queue.topic) is queue:
            del self._queues[queue.topic]
        if queue.task is not None:
            queue.task.cancel()

    def _make_room(self) -> None:
        """Forget what is not in use, above the bounds.

        Raises:
            Busy: all of it is.
        """
        idle = [topic for topic in self._logs if topic not in self._queues]
        while self._is_full() and idle:
            del self._logs[idle.pop(0)]
        if self._is_full():
            is_many = len(self._logs) >= REMEMBERED_TOPICS_MAX
            self.bites.note(
                NodeBound.REMEMBERED_TOPICS_MAX if is_many else NodeBound.REMEMBERED_IDS_MAX
            )
            raise Busy("too much is appended here at once", RETRY_MS)

    def _is_full(self) -> bool:
        ids = sum(map(len, self._logs.values()))
        return len(self._logs) >= REMEMBERED_TOPICS_MAX or ids >= REMEMBERED_IDS_MAX

    # --- one topic --------------------------------------------------------------------------------

    async def _serve(self, queue: AppendQueue) -> None:
        """Have all that waits for a topic stand; ends when nothing waits."""
        try:
            read = await self._log(queue.topic)
            while True:
                await self._read(read, queue)
                self._settle_known(read, queue)
                if not queue.pending:
                    return
                await self._decide(read.next, queue)
        except QbftError as error:
            queue.fail(error)
        except Exception as error:
            log.exception("appending failed", topic=queue.topic)
            queue.fail(error)
        finally:
            queue.fail(JournalError("this node is stopping"))  # nobody waits otherwise
            if self._queues.get(queue.topic) is queue:
                del self._queues[queue.topic]

    def _begin(self, topic: str) -> int:
        """The first height of a topic that this epoch decides.

        Raises:
            OtherEpoch: it decides none.
        """
        height = self._first_height(topic)
        if height > HEIGHT_MAX:
            raise OtherEpoch(f"another epoch decides all of {topic!r}")
        return height

    async def _log(self, topic: str) -> TopicLog:
        """Take up a topic at its end."""
        read = self._logs.get(topic)
        if read is None:
            read = TopicLog(topic, self._store, self._begin(topic))
        await read.begin(await self.next_height(topic))
        self._logs[topic] = read
        self._logs.move_to_end(topic)
        return read

    async def _read(self, read: TopicLog, queue: AppendQueue) -> None:
        """Read on, and tell whoever waits for what stands there."""
        async for decision, entries in read.read_on():
            for entry in entries:
                if entry.key in queue.pending:
                    self._settle(read, queue, entry.key, (decision, entries))

    def _settle_known(self, read: TopicLog, queue: AppendQueue) -> None:
        """Tell who sends again what stands already."""
        fresh, queue.fresh = queue.fresh, []
        for key in fresh:
            if key in queue.pending and read.place(key) is not None:
                self._settle(read, queue, key)

    def _settle(
        self,
        read: TopicLog,
        queue: AppendQueue,
        key: Key,
        last: tuple[Decision, Sequence[Entry]] | None = None,
    ) -> None:
        """Tell where a request stands; `last` is what was read last, where that is likely."""
        place = read.place(key)
        if place is None:
            return
        instance = InstanceId(queue.topic, place.height)
        if last is not None and last[0].instance == instance:
            decision, entries = last
        else:
            found = self._store.get(instance)
            if found is None:
                queue.pending.pop(key).fail(QbftError(f"it stood at {place}, kept no more"))
                return
            decision, entries = found, entries_of(found.value)
        queue.settle(key, Appended(place, entries[place.index], decision))

    async def _decide(self, instance: InstanceId, queue: AppendQueue) -> None:
        """See the next height decided, for what waits here if nothing else is proposed for it."""
        batch = queue.batch(instance.height)
        if not batch:
            return
        decision: Decision | None
        if self._replica.has_input(instance):
            decision = await self._store.wait_for(instance)
        else:
            proposal = Proposal(instance, encode_batch(batch))
            decision = await self._propose(queue.opener(batch), proposal)
        if decision is not None:
            decided = {entry.key for entry in entries_of(decision.value)}
            self.heights_lost += decided.isdisjoint(entry.key for entry in batch)

    async def _propose(self, opener: Opener, proposal: Proposal) -> Decision | None:
        """Propose, and wait for the decision; None: not now."""
        try:
            return await opener.propose(proposal)
        except ProposalConflict:  # what an earlier life proposed, or a task that was cancelled
            return await self._store.wait_for(proposal.instance)
        except Busy as busy:
            await asyncio.sleep(busy.retry_ms / 1_000)
            return None
