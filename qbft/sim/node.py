"""A place where a validator stands: a disk that lasts, and lives that may end and begin again.

Its replica and the turns of its driver are the shipped ones. Only the waiting between turns is not
a task's but the agenda's, so that a run has no tasks to switch between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qbft.core import RoundChanged, RuleFired, StartTimer, TimerExpired
from qbft.core.effects import Effect, Input
from qbft.crypto.proposal import Proposal
from qbft.errors import Busy, JournalError, ProposalConflict, QbftError
from qbft.replica.driver import Driver
from qbft.replica.open_instance import OpenInstance
from qbft.replica.protocols import (
    DecisionRecord,
    EvidenceRecord,
    QuarantineRecord,
    Record,
    VoteRecord,
)
from qbft.replica.replica import Replica
from qbft.sim.agenda import Agenda
from qbft.sim.disk import Crashed, SimDisk
from qbft.sim.oracle import Violation
from qbft.transport import Batch, Frame

if TYPE_CHECKING:
    from qbft.core import InstanceId
    from qbft.decision import Decision
    from qbft.sim.byzantine import Behaviour
    from qbft.sim.world import World


Watch = Callable[[OpenInstance, Effect | Input], None]
"""Is shown what an instance's engine does and meets."""


class WatchedInstance(OpenInstance):
    """The shipped instance; it shows the rules that fire, its rounds and its timer."""

    watch: Watch

    def _step(self, input_: Input) -> tuple[Effect, ...]:
        if type(input_) is TimerExpired:
            self.watch(self, input_)
        effects = super()._step(input_)
        for effect in effects:
            if type(effect) is RuleFired or type(effect) is RoundChanged:
                self.watch(self, effect)
        return effects

    def _start_timer(self, round_: int, now_ms: int) -> None:
        """One that waits for company has not started, and a second call may keep the first."""
        before_ms = None if self._is_ahead else self.deadline_ms
        super()._start_timer(round_, now_ms)
        if not self._is_ahead and self.deadline_ms != before_ms:
            self.watch(self, StartTimer(round_))


class WatchedReplica(Replica):
    """The shipped replica; what its engines observe is shown to the world."""

    instance_type = WatchedInstance
    watch: Watch

    @property
    def openers(self) -> Mapping[InstanceId, int]:
        """Which validator's clients or messages opened each instance that is open."""
        return self._openings.openers

    @property
    def has_open(self) -> bool:
        """Whether any instance is open."""
        return bool(self._open)

    def overloaded_by(self, votes_max: int, bytes_max: int) -> tuple[int, int, int] | None:
        """(peer, votes, bytes) of a peer of whose votes more wait, or more is kept, than may."""
        count_of = self._held.count_of
        for index, account in self._accounts.items():
            if not 0 <= account.spent <= bytes_max or count_of(index) > votes_max:
                return index, count_of(index), account.spent
        return None

    def _make(self, instance: InstanceId) -> OpenInstance:
        opened = super()._make(instance)
        assert isinstance(opened, WatchedInstance)  # noqa: S101 - for the type checker
        opened.watch = self.watch
        return opened


class HeapDriver(Driver):
    """The shipped driver, its turns stepped by hand and its waiting done by the agenda."""

    def __init__(
        self, node: Node, replica: Replica, agenda: Agenda, check_ms: Callable[[], int]
    ) -> None:
        super().__init__(replica, node, node.disk)
        self._node = node
        self._agenda = agenda
        self._checks = _Checks(self, agenda, check_ms)
        self._under_way: Generator[int, None, None] | None = None
        self._generation = 0
        self._lingers = False
        self._is_prodded = False
        self._is_over = False

    def give(self, peer: int, frame: Frame) -> None:
        """Let a frame arrive."""
        self._frames.append((peer, frame))
        self.wake()

    def give_link(self, peer: int) -> None:
        """Let a link come up."""
        self._fresh[peer] = None
        self.wake()

    def wake(self) -> None:
        """Have a turn soon; the machine may want it to wait a moment for company."""
        if self._under_way is not None:
            self._is_prodded = True
        elif not self._lingers:
            self._lingers = True
            self._plan(self._agenda.now_ms + self._machine.linger_ms)

    def stop(self) -> None:
        """End here: no turn begins any more, and what is under way goes no further."""
        self._is_over = True
        self._checks.close()
        if self._under_way is not None:
            self._under_way.close()

    def _plan(self, time_ms: int) -> None:
        self._generation += 1
        self._agenda.at(time_ms, self._begin, self._generation)

    def _begin(self, generation: int) -> None:
        if self._is_over or generation != self._generation:
            return
        resumes_ms = self._node.paused_until_ms
        if resumes_ms > self._agenda.now_ms:
            self._plan(resumes_ms)
            return
        self._lingers = False
        self._under_way = self._turn(self._checks).__await__()
        self._go_on()

    def _go_on(self) -> None:
        """Step the turn; it stands still only while its commit is being synced."""
        if self._under_way is None or self._is_over:
            return
        try:
            wait_ms = next(self._under_way, None)
        except Crashed:
            self._under_way = None
            self._node.crash()
            return
        if wait_ms is not None:
            self._agenda.after(wait_ms, self._go_on)
            return
        self._under_way = None
        self._node.end_turn()
        self._wait()

    def _wait(self) -> None:
        """What `_rest` does with tasks."""
        now_ms = self._agenda.now_ms
        due_ms = self._machine.next_due_ms
        has_more = bool(self._frames) and not self._machine.is_saturated
        if has_more or (due_ms is not None and due_ms <= now_ms):
            self._lingers = True
            self._plan(now_ms)
        elif self._is_prodded:
            self._is_prodded = False
            self.wake()
        elif due_ms is not None:
            self._generation += 1
            self._agenda.at(due_ms, self._ring, self._generation)

    def _ring(self, generation: int) -> None:
        if generation == self._generation and not self._is_over:
            self.wake()


class _Checks(asyncio.TaskGroup):
    """Stands in for a task group: the application's checks, each run when its time has come."""

    def __init__(self, driver: HeapDriver, agenda: Agenda, check_ms: Callable[[], int]) -> None:
        super().__init__()
        self._driver = driver
        self._agenda = agenda
        self._check_ms = check_ms
        self._pending: dict[int, Coroutine[Any, Any, None]] = {}

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, None], **given: object
    ) -> _Checks:
        self._pending[id(coro)] = coro
        self._agenda.after(self._check_ms(), self._run, id(coro))
        return self

    def close(self) -> None:
        for check in self._pending.values():
            check.close()
        self._pending.clear()

    def add_done_callback(self, callback: object) -> None:
        """The driver is woken anyway."""

    def _run(self, number: int) -> None:
        check = self._pending.pop(number, None)
        if check is None:
            return
        try:
            check.send(None)
        except StopIteration:
            self._driver.wake()
        else:
            raise QbftError("a simulated application answers at once, when its time has come")


class Node:
    """One place. It is its driver's transport, and what the network sees of it."""

    def __init__(self, world: World, place: int, validator: int) -> None:
        self.place = place
        self.validator = validator
        self.life = 0
        self.paused_until_ms = 0
        self.behaviour: Behaviour | None = None
        self.disk = SimDisk(bytes([place]) * 16, self._at_commit, world.sync_ms_of(place))
        self.peers = [v for v in range(world.plan.nodes) if v != validator]
        self.points = 0
        """Crash points it has been at."""
        self._world = world
        self._driver: HeapDriver | None = None
        self._replica: WatchedReplica | None = None

    # --- lives ------------------------------------------------------------------------------------

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return self._replica is not None

    def start(self) -> None:
        """Begin a life with what is on the disk; a corrupt one ends it at once."""
        if self._replica is not None:
            return
        world = self._world
        self.life += 1
        replica = world.replica_of(self)
        try:
            replica.recover(world.agenda.now_ms)
        except JournalError:
            world.chronicle.tell("does not start", self.place)
            return
        self._replica = replica
        self._driver = HeapDriver(self, replica, world.agenda, world.check_ms)
        world.chronicle.tell("starts", self.place)
        world.network.connect(self.place)
        self._driver.wake()

    def stop(self, *, kept: bool = False) -> None:
        """End this life: power is gone."""
        if self._driver is not None:
            self._driver.stop()
            self._observe(self.disk.lose_power(kept=kept))
            self._world.oracle.loses_power(self.validator)
        self._driver = self._replica = None

    def crash(self) -> None:
        """Lose power; come back as the fault at work here says."""
        self._world.faults.power_lost(self)

    def pause(self, until_ms: int) -> None:
        """Stand still; frames wait and timers are late."""
        self.paused_until_ms = until_ms

    def wake(self) -> None:
        """Have a turn."""
        if self._driver is not None:
            self._driver.wake()

    def end_turn(self) -> None:
        """Note that a turn is over."""
        self._world.turn_over(self)

    # --- what the network sees --------------------------------------------------------------------

    def take(self, peer: int, frame: Frame) -> None:
        """Let a frame arrive."""
        if self._world.loses_disks and self.is_up:
            for vote in (*frame.votes, *frame.relayed):
                self._world.oracle.heard(vote, self.validator)
        if self.behaviour is not None:
            self.behaviour.hear(peer, frame)
        if self._driver is not None:
            self._driver.give(peer, frame)

    def note_fresh(self, peer: int) -> None:
        """Let a link come up."""
        if self._driver is not None:
            self._driver.give_link(peer)

    # --- what its driver sees ---------------------------------------------------------------------

    async def send(self, frame: Frame, to: int | None = None) -> None:
        """Send; the node may crash before the first copy or between two."""
        world = self._world
        if self.behaviour is None:
            world.check_sent(self, frame)
        for peer in self.peers if to is None else (to,):
            world.faults.crash_point(self, "before_send")
            if self.behaviour is None:
                world.network.carry(self.place, peer, frame)
            else:
                for extra_ms, said in self.behaviour.outgoing(peer, frame):
                    if extra_ms or (said is not frame and said != frame):
                        world.tells_lie(self)
                    world.network.carry(self.place, peer, world.gate(self, said), extra_ms)

    async def receive(self) -> Batch:
        """Never: what arrives is given to the driver at once."""
        raise NotImplementedError

    # --- what the world asks ----------------------------------------------------------------------

    def propose(self, proposal: Proposal) -> None:
        """Let a client propose here; a node that is down hears nothing."""
        if self._replica is None or self._driver is None:
            return
        try:
            deciding = self._replica.propose(proposal, self._world.agenda.now_ms)
        except (ProposalConflict, Busy, JournalError):
            return
        deciding.add_done_callback(_look_at)
        self._driver.wake()

    @property
    def replica(self) -> WatchedReplica | None:
        """The one that is running."""
        return self._replica

    def _at_commit(self, label: str, records: Sequence[Record]) -> None:
        if label == "before_commit":
            self._world.chronicle.trace("journals", self.place, records)
        elif label == "after_commit":
            self._observe(records)
        self._world.faults.crash_point(self, label)

    def _observe(self, records: Sequence[Record]) -> None:
        """Show the oracle what has become durable at once: votes, then what follows from them."""
        decisions: list[Decision] = []
        for record in records:
            if isinstance(record, VoteRecord):
                self._world.voted(self, record.vote)
            elif isinstance(record, DecisionRecord):
                decisions.append(record.decision)
            elif isinstance(record, EvidenceRecord):
                self._world.accused(self, record.evidence)
            elif isinstance(record, QuarantineRecord) and self._world.is_correct(self):
                raise Violation(f"I11: node {self.place} met a bug of its engine: {record.reason}")
        for decision in decisions:
            self._world.concluded(self, decision)


def _look_at(deciding: asyncio.Future[Decision]) -> None:
    """Be the client that reads its answer, whatever it is."""
    if not deciding.cancelled():
        deciding.exception()
