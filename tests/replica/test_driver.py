"""The driver's rhythm: commit before send, bounded turns, nothing left behind (W1, U7, DESIGN)."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest
from replica_builders import (
    PP,
    PREPARE,
    Rig,
    certificate,
    kinds,
    own_section,
    proposal,
    vote,
)

from qbft.errors import InvariantViolation, JournalError, TransportError
from qbft.replica.driver import PENDING_FRAMES_MAX, Driver, now_ms
from qbft.replica.limits import ReplicaLimits
from qbft.replica.protocols import QuarantineRecord, Record
from qbft.replica.turn import Turn, Work
from qbft.transport import Batch, Frame

RECORD = QuarantineRecord(proposal().instance, "a record")


class Diary:
    """A machine, a journal and a transport that write down what happens, in order."""

    store_id = bytes(16)
    next_sequence = 1

    def __init__(self) -> None:
        self.events: list[object] = []
        self.batches: asyncio.Queue[Batch] = asyncio.Queue()
        self.due: list[int] = []
        self.work: list[Work] = []
        self.records: list[Record] = []
        self.capacity = 10**9
        self.taken = 0
        self.commit_ms = 0
        self.company_ms = 0
        self.fails: dict[str, Exception] = {}

    def note(self, event: object) -> None:
        """Write it down; fail here if told to."""
        self.events.append(event)
        if event in self.fails:
            raise self.fails[event]  # type: ignore[index]

    # the machine

    def receive(self, peer: int, frame: Frame, at_ms: int) -> None:
        """Take a frame."""
        self.taken += 1
        self.note(f"frame of {peer}")

    @property
    def is_saturated(self) -> bool:
        """Whether a turn has had its frames."""
        return self.taken >= self.capacity

    @property
    def linger_ms(self) -> int:
        """Wait for company for so long."""
        return self.company_ms

    def link_up(self, peer: int, at_ms: int) -> None:
        """Note it."""
        self.note(f"link of {peer}")

    def run_due(self, at_ms: int) -> None:
        """Do what is due."""
        while self.due and self.due[0] <= at_ms:
            self.note(f"due {self.due.pop(0)} at {at_ms}")

    @property
    def next_due_ms(self) -> int | None:
        """The next of what is due."""
        return self.due[0] if self.due else None

    def end_turn(self, at_ms: int) -> Turn:
        """Give what was prepared."""
        self.taken = 0
        frames = [(None, Frame())] if self.records else []
        turn = Turn(self.records, frames, self.work)
        self.records, self.work = [], []
        return turn

    def turn_done(self, at_ms: int) -> None:
        """Note it, where there was something."""

    # the journal

    async def commit(self, records: Sequence[Record]) -> None:
        """Take a while."""
        self.note("commit begins")
        await asyncio.sleep(self.commit_ms / 1000)
        self.note("commit ends")

    def recover(self) -> list[Record]:
        """Nothing."""
        return []

    # the transport

    async def send(self, frame: Frame, to: int | None = None) -> None:
        """Note it."""
        self.note("send")

    async def batch(self) -> Batch:
        """Wait for the next."""
        return await self.batches.get()


class Links:
    """The transport's side of a diary, whose `receive` is not the machine's."""

    def __init__(self, diary: Diary) -> None:
        self._diary = diary

    async def send(self, frame: Frame, to: int | None = None) -> None:
        """Note it."""
        await self._diary.send(frame, to)

    async def receive(self) -> Batch:
        """Wait for the next batch."""
        batch = await self._diary.batch()
        if isinstance(batch, Exception):
            raise batch
        return batch


def driver_of(diary: Diary) -> Driver:
    """A driver with this diary as all of its parts."""
    return Driver(diary, Links(diary), diary)


def batch(*peers: int, fresh: tuple[int, ...] = ()) -> Batch:
    """A frame of each of these peers."""
    return Batch(tuple((peer, Frame()) for peer in peers), fresh)


async def end(task: asyncio.Task[None]) -> None:
    """Cancel, and see that nothing of it is left."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}
    gc.collect()


async def test_nothing_leaves_before_the_commit() -> None:
    """W1: step, guard, sign, journal, fsync once for the whole turn, send."""
    diary = Diary()
    diary.commit_ms = 20
    diary.records = [RECORD]
    task = asyncio.create_task(driver_of(diary).run())
    await asyncio.sleep(0.019)
    assert diary.events == ["commit begins"]
    await asyncio.sleep(0.01)
    assert diary.events == ["commit begins", "commit ends", "send"]
    await end(task)


async def test_a_journal_that_fails_stops_before_the_send() -> None:
    """W7: fsync errors stop the voting; no vote has left that is not durable."""
    diary = Diary()
    diary.records = [RECORD]
    diary.fails["commit ends"] = JournalError("EIO")
    with pytest.raises(JournalError, match="EIO"):
        await driver_of(diary).run()
    assert "send" not in diary.events


async def test_a_dead_transport_ends_the_run() -> None:
    """What fails in the pump comes out as itself."""
    diary = Diary()
    diary.batches.put_nowait(TransportError("gone"))  # type: ignore[arg-type]
    with pytest.raises(TransportError, match="gone"):
        await driver_of(diary).run()


async def test_links_come_first_and_frames_in_order() -> None:
    """A batch's fresh peers, then its frames as the transport gave them."""
    diary = Diary()
    diary.batches.put_nowait(batch(2, 3, 2, fresh=(1, 3)))
    task = asyncio.create_task(driver_of(diary).run())
    await asyncio.sleep(0.001)
    assert diary.events == ["link of 1", "link of 3", "frame of 2", "frame of 3", "frame of 2"]
    await end(task)


async def test_a_large_batch_is_taken_in_slices_with_timers_in_between() -> None:
    """U7, DESIGN async: a due timer does not wait for the whole batch."""
    diary = Diary()
    diary.capacity = 2
    diary.due = [0]
    diary.batches.put_nowait(batch(1, 1, 1, 1, 1))
    diary.batches.put_nowait(batch(2))
    task = asyncio.create_task(driver_of(diary).run())
    await asyncio.sleep(0.001)
    assert diary.events == ["due 0 at 0", *["frame of 1"] * 5, "frame of 2"]
    diary.events.clear()
    diary.batches.put_nowait(batch(1, 1, 1, 1))
    await asyncio.sleep(0)
    diary.due = [now_ms()]
    await asyncio.sleep(0.001)
    assert diary.events.index(f"due {now_ms() - 1} at {now_ms() - 1}") == 2
    await end(task)


@pytest.mark.bites("pending_frames_max")
async def test_so_many_frames_wait_and_the_rest_stays_at_its_links() -> None:
    """DESIGN, bounds: what a saturated machine cannot take is not fetched without end."""
    diary = Diary()
    diary.capacity = 0
    for _ in range(10):
        diary.batches.put_nowait(batch(*[1] * (PENDING_FRAMES_MAX // 2)))
    task = asyncio.create_task(driver_of(diary).run())
    await asyncio.sleep(1)
    assert diary.batches.qsize() == 8
    await end(task)


async def test_a_busy_machine_waits_for_company() -> None:
    """DESIGN, one rhythm: frames that come within a moment share a turn; alone none waits."""
    diary = Diary()
    diary.company_ms = 2
    task = asyncio.create_task(driver_of(diary).run())
    await asyncio.sleep(0.001)
    diary.batches.put_nowait(batch(1))
    await asyncio.sleep(0.001)
    diary.batches.put_nowait(batch(2))
    await asyncio.sleep(0.0005)
    assert diary.events == []
    await asyncio.sleep(0.001)
    assert diary.events == ["frame of 1", "frame of 2"]
    diary.company_ms = 0
    diary.batches.put_nowait(batch(3))
    await asyncio.sleep(0.003)
    diary.batches.put_nowait(batch(3))
    await asyncio.sleep(0.0001)
    assert diary.events == ["frame of 1", "frame of 2", "frame of 3", "frame of 3"]
    await end(task)


async def test_a_machine_that_takes_nothing_more_is_left_alone_until_it_is_woken() -> None:
    """It may wait for work of its own (REFERENCE rule 32): the driver must not spin meanwhile."""
    diary = Diary()
    diary.capacity = 0
    driver = driver_of(diary)
    diary.batches.put_nowait(batch(1))
    task = asyncio.create_task(driver.run())
    await asyncio.sleep(10)
    assert diary.events == []
    diary.capacity = 1
    driver.wake()
    await asyncio.sleep(0.001)
    assert diary.events == ["frame of 1"]
    await end(task)


async def test_timers_fire_at_their_millisecond() -> None:
    """DESIGN, time: integers of milliseconds on the loop's clock, neither early nor late."""
    diary = Diary()
    diary.due = [7, 7, 123, 60_001]
    task = asyncio.create_task(driver_of(diary).run())
    await asyncio.sleep(61)
    assert diary.events == ["due 7 at 7", "due 7 at 7", "due 123 at 123", "due 60001 at 60001"]
    await end(task)


async def test_others_run_while_the_driver_has_plenty_to_do() -> None:
    """Under load the loop's other tasks still get their turns."""
    diary = Diary()
    diary.capacity = 1
    diary.batches.put_nowait(batch(*[1] * 50))
    seen: list[int] = []

    async def neighbour() -> None:
        for _ in range(20):
            seen.append(diary.events.count("frame of 1"))
            await asyncio.sleep(0)

    task = asyncio.create_task(driver_of(diary).run())
    await neighbour()
    assert len(set(seen)) > 10
    await end(task)


async def test_work_is_done_beside_the_turns_and_wakes_the_driver() -> None:
    """An application's check takes no time of a turn; its end gives another one."""
    diary = Diary()
    done = asyncio.Event()

    async def check() -> None:
        await asyncio.sleep(1)
        diary.records = [RECORD]
        done.set()

    diary.work = [check]
    task = asyncio.create_task(driver_of(diary).run())
    await done.wait()
    await asyncio.sleep(0.001)
    assert diary.events == ["commit begins", "commit ends", "send"]
    await end(task)


async def test_work_that_fails_ends_the_run() -> None:
    """A bug in it is not swallowed."""
    diary = Diary()

    async def broken() -> None:
        raise InvariantViolation("broken")

    diary.work = [broken]
    with pytest.raises(InvariantViolation, match="broken"):
        await driver_of(diary).run()


@pytest.mark.parametrize("steps", range(12))
async def test_cancelling_at_any_point_leaves_nothing_behind(steps: int) -> None:
    """DESIGN, async: no task, no timer, no coroutine that was never awaited (warnings are errors).

    Cancelled after every so many steps of the loop: before the first, in the commit, in the work.
    """
    diary = Diary()
    diary.commit_ms = 1
    diary.due = [5]

    async def forever() -> None:
        await asyncio.Event().wait()

    diary.work = [forever] * 3
    diary.records = [RECORD]
    diary.batches.put_nowait(batch(1, fresh=(2,)))
    task = asyncio.create_task(driver_of(diary).run())
    for _ in range(steps):
        await asyncio.sleep(0 if steps % 2 else 0.001)
    await end(task)
    events = list(diary.events)
    await asyncio.sleep(10)
    assert diary.events == events


async def test_how_long_a_due_timer_waited_is_told() -> None:
    """DESIGN, async: a due timer waits at most 50 ms, so that has to be known of every turn.

    One that falls due while the driver rests waits for nothing; one that falls due during a commit
    of 70 ms waits for its end.
    """
    diary, told = Diary(), list[float]()
    driver = Driver(diary, Links(diary), diary, told.append)
    diary.due = [now_ms() + 10]
    task = asyncio.create_task(driver.run())
    await asyncio.sleep(0.05)
    assert max(told) < 0.001
    diary.commit_ms = 70
    diary.records = [RECORD]
    diary.due = [now_ms() + 5]
    driver.wake()
    await asyncio.sleep(1)
    assert max(told) == pytest.approx(0.07)
    await end(task)


async def test_cancelling_a_replica_with_checks_leaves_nothing_behind() -> None:
    """The same with the shipped machine: checks that were begun, and one that never was."""

    class Silent:
        async def check_value(self, which: object, value: bytes, proposer: int) -> bool:
            await asyncio.Event().wait()
            return True

    rig = Rig(1, application=Silent())
    diary = Diary()
    diary.batches.put_nowait(
        Batch(((0, own_section(vote_of_leader(0), proposals=(proposal(),))),), (0, 2, 3))
    )
    task = asyncio.create_task(Driver(rig.replica, Links(diary), rig.disk).run())
    await asyncio.sleep(0.01)
    rig.replica.receive(0, own_section(vote_of_leader(4), proposals=(proposal(height=4),)), 10)
    await end(task)
    assert rig.replica.status().open_instances == 2


def vote_of_leader(height: int) -> object:
    """The PRE-PREPARE of validator 0."""
    return vote(PP, 0, proposal(height=height))


# --- what one turn of a replica takes in ----------------------------------------------------------


def junk(source: int, count: int) -> Frame:
    """A frame of so many votes of that source, each for another value."""
    return own_section(*(vote(PREPARE, source, proposal(b"x%d" % i)) for i in range(count)))


def has_more(rig: Rig) -> bool:
    """Whether something is due at once."""
    due = rig.replica.next_due_ms
    return due is not None and due <= rig.now


@pytest.mark.bites("turn_work_max")
def test_one_frame_is_taken_in_over_several_turns() -> None:
    """DESIGN, async: a frame of 256 votes, each with proofs, must not hold up a due timer.

    Nothing of it is lost, and its order stays.
    """
    rig = Rig(1, limits=ReplicaLimits(turn_work_max=50))
    rig.receive(2, proposals=(proposal(),))
    last = vote(PREPARE, 3, proposal())
    rig.receive(0, own_section(vote(PP, 0, proposal()), vote(PREPARE, 0, proposal())))
    rig.replica.receive(3, own_section(*junk(3, 199).votes, last), rig.now)
    turns = rig.settle()
    assert len(turns) == 5
    assert [kinds(turn) for turn in turns] == [[], [], [], [], [("COMMIT", 1)]]
    assert not has_more(rig)


def test_timers_expire_between_the_slices_of_a_frame() -> None:
    """A round timer that is due runs in the next turn, whatever is left of the frame."""
    rig = Rig(1, limits=ReplicaLimits(turn_work_max=10))
    rig.receive(2, proposals=(proposal(),))
    rig.wait(999)
    rig.replica.receive(3, junk(3, 100), rig.now)
    rig.now += 1
    assert kinds(rig.turn()) == [("ROUND_CHANGE", 2)]
    assert has_more(rig)


def test_a_peers_frames_follow_each_other_in_order() -> None:
    """What is handed over while a frame of the same peer is unfinished waits behind it."""
    rig = Rig(1, limits=ReplicaLimits(turn_work_max=10))
    rig.receive(2, proposals=(proposal(),))
    rig.replica.receive(0, junk(0, 50), rig.now)
    rig.replica.receive(0, own_section(vote_of_leader(0)), rig.now)
    turns = rig.settle()
    assert [kinds(turn) for turn in turns if kinds(turn)] == [[("PREPARE", 1)]]
    assert kinds(turns[-1]) == [("PREPARE", 1)]


def test_a_costly_frame_delays_its_sender_and_not_the_others() -> None:
    """DESIGN, bounds: a liar's frames of thousands of checks leave half of each turn to others."""
    rig = Rig(1, limits=ReplicaLimits(turn_work_max=20))
    rig.receive(2, proposals=(proposal(),))
    for _ in range(10):
        rig.replica.receive(3, junk(3, 100), rig.now)
    rig.replica.receive(0, own_section(vote_of_leader(0)), rig.now)
    assert kinds(rig.turn()) == [("PREPARE", 1)]
    assert has_more(rig)


@pytest.mark.bites("waiting_work_per_peer_max")
def test_what_one_peer_may_have_waiting_is_bounded() -> None:
    """Bounds: the rest is dropped and counted; an honest sender sends it again (U5)."""
    rig = Rig(1, limits=ReplicaLimits(turn_work_max=10, waiting_work_per_peer_max=300))
    for _ in range(10):
        rig.replica.receive(3, junk(3, 100), rig.now)
    assert rig.rejected == [("overloaded", 3)] * 8
    rig.settle()
    rig.receive(3, junk(3, 1_000))
    assert len(rig.rejected) == 8


@pytest.mark.bites("waiting_bytes_per_peer_max")
def test_what_one_peer_may_have_waiting_is_bounded_in_bytes() -> None:
    """Bounds: large values are cheap to take in, so that their bytes are counted too."""
    rig = Rig(1, limits=ReplicaLimits(turn_work_max=10))
    large = Frame(proposals=(proposal(bytes(1 << 20), 5),))
    rig.replica.receive(3, junk(3, 100), rig.now)
    for _ in range(20):
        rig.replica.receive(3, large, rig.now)
    assert rig.rejected == [("overloaded", 3)] * (20 - 7)
    rig.settle()
    assert rig.replica._intake._waiting == {}


@pytest.mark.bites("turn_timers_max")
def test_many_timers_expire_over_several_turns() -> None:
    """Ten thousand instances that stall together must not make one turn of a second."""
    limits = ReplicaLimits(turn_timers_max=16, open_instances_per_peer_first=100)
    rig = Rig(1, limits=limits)
    for height in range(100):
        rig.receive(2, proposals=(proposal(height=height),))
    rig.now = 1_000
    turns = rig.settle()
    expired = [len([k for k in kinds(turn) if k == ("ROUND_CHANGE", 2)]) for turn in turns]
    assert sum(expired) == 100
    assert max(expired) == 16


def test_stale_deadlines_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds: decided instances leave their deadline behind only up to a limit."""
    monkeypatch.setattr("qbft.replica.deadlines.STALE_MIN", 32)
    rig = Rig(1)
    for height in range(200):
        what = proposal(height=height)
        rig.receive(2, proposals=(what,))
        rig.receive(2, certificates=(certificate(what, (0, 2, 3)),))
    assert rig.disk.end == 200
    assert len(rig.replica._deadlines._heap) <= 34
