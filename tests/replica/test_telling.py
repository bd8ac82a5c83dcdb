"""A program of one's own is told what was decided (docs/APPLICATIONS.md, docs/EMBEDDING.md)."""

from __future__ import annotations

import asyncio

import pytest
from replica_builders import certificate, new_disk, proposal, run_now

from qbft.core import InstanceId
from qbft.decision import Decision
from qbft.records import DecisionRecord
from qbft.replica import telling
from qbft.replica.telling import tell_decisions


class Followed:
    """A disk that says when there is more; what is `gone` retention has deleted."""

    def __init__(self) -> None:
        self.disk = new_disk()
        self.gone: set[int] = set()
        self._more = asyncio.Event()

    def decide(self, *heights: int) -> None:
        """Have these decided, in this order."""
        for height in heights:
            what = proposal(b"v%d" % height, height)
            run_now(self.disk.commit([DecisionRecord(Decision(what.value, certificate(what)))]))
        self._more.set()
        self._more = asyncio.Event()

    async def wait_for_decisions(self, after: int) -> int:
        """Wait for more."""
        while self.disk.end <= after:
            await self._more.wait()
        return self.disk.end

    def feed(self, after: int, limit: int) -> tuple[tuple[int, object], ...]:
        """What retention has left."""
        return tuple(e for e in self.disk.feed(after, limit) if e[0] not in self.gone)

    def __getattr__(self, name: str) -> object:
        return getattr(self.disk, name)


class Listener:
    """Notes what it is told; fails at a position, once."""

    def __init__(self, fails_at: int = 0) -> None:
        self.told: list[tuple[int, object]] = []
        self.fails_at = fails_at

    async def decided(self, decision: Decision, position: int) -> None:
        """Note it."""
        if position == self.fails_at:
            self.fails_at = 0
            raise OSError("not now")
        self.told.append((position, decision.value))


async def test_all_is_told_in_order_page_by_page_as_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Issue 7: decisions in this node's order; what is decided later is told later."""
    monkeypatch.setattr(telling, "PAGE_DECISIONS", 2)
    store, listener, noted = Followed(), Listener(), []

    async def note(position: int) -> None:
        noted.append(position)

    store.decide(3, 1, 2)
    task = asyncio.create_task(tell_decisions(store, listener, note=note))  # type: ignore[arg-type]
    await asyncio.sleep(1)
    assert listener.told == [(1, b"v3"), (2, b"v1"), (3, b"v2")]
    store.decide(9)
    await asyncio.sleep(1)
    assert listener.told[3:] == [(4, b"v9")]
    assert noted == [1, 2, 3, 4]
    task.cancel()


async def test_what_was_not_acknowledged_is_told_again() -> None:
    """At least once: a listener that fails ends it, and begins behind the last it has taken."""
    store, listener, noted = Followed(), Listener(fails_at=2), [0]

    async def note(position: int) -> None:
        noted.append(position)

    store.decide(0, 1, 2)
    with pytest.raises(OSError, match="not now"):
        await tell_decisions(store, listener, note=note)  # type: ignore[arg-type]
    assert noted[-1] == 1
    again = tell_decisions(store, listener, after=noted[-1], note=note)  # type: ignore[arg-type]
    task = asyncio.create_task(again)
    await asyncio.sleep(1)
    assert [position for position, _ in listener.told] == [1, 2, 3]
    task.cancel()


async def test_what_does_not_concern_it_is_not_read_and_others_have_their_turn() -> None:
    """Issue 7: nothing else stops. A backlog of other topics is passed over, a piece at a time."""
    store, told, read = Followed(), asyncio.Event(), []
    last = 10 * telling.PAGE_DECISIONS - 1
    store.decide(*range(last + 1))
    get, turns = store.disk.get, 0

    def note_read(instance: InstanceId) -> Decision | None:
        read.append(instance.height)
        return get(instance)

    class Waits(Listener):
        async def decided(self, decision: Decision, position: int) -> None:
            """Take the one."""
            told.set()

    async def take_turns() -> None:
        nonlocal turns
        while not told.is_set():
            turns += 1
            await asyncio.sleep(0)

    store.disk.get = note_read  # type: ignore[method-assign]
    following = tell_decisions(
        store,  # type: ignore[arg-type]
        Waits(),
        concerns=lambda instance: instance.height == last,
    )
    tasks = [asyncio.create_task(following), asyncio.create_task(take_turns())]
    await told.wait()
    assert read == [last]
    assert turns >= 9, "it gives way between its pages"
    for task in tasks:
        task.cancel()


async def test_what_retention_deleted_is_passed_over() -> None:
    """A place behind all that is left, or of another store, is no end."""
    store, listener = Followed(), Listener()
    store.decide(0, 1)
    store.gone = {1, 2}
    task = asyncio.create_task(tell_decisions(store, listener, after=99))  # type: ignore[arg-type]
    await asyncio.sleep(1)
    assert listener.told == []
    store.decide(2)
    await asyncio.sleep(1)
    assert listener.told == [(3, b"v2")]
    task.cancel()
