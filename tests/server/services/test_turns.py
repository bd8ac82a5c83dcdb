"""Clients that compete open as many instances as one another (issue 6; DESIGN, opening)."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from typing import Any
from unittest.mock import patch

import pytest

from qbft.replica.bounds import Bites
from qbft_server.services.turns import OPENING_SECONDS_MAX, Turn, Turns


async def given(turns: Turns, client: str) -> Turn | None:
    """The turn of a client, if it comes at once."""
    task = asyncio.create_task(turns.turn(client))
    await asyncio.sleep(0)
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return None


async def test_one_client_alone_does_not_wait() -> None:
    """Nothing is set aside for others that are not there."""
    turns = Turns(4, Bites())
    assert all([await given(turns, "a") for _ in range(100)])


@pytest.mark.bites("openings_at_once_max")
async def test_two_have_half_of_the_places_each() -> None:
    """A second one does not wait for what the first has opened.

    The first does, until it has less under way than its part.
    """
    turns = Turns(4, Bites())
    first = [await given(turns, "a") for _ in range(10)]
    assert [bool(await given(turns, "b")) for _ in range(3)] == [True, True, False]
    assert await given(turns, "a") is None
    for turn in first[:9]:
        assert turn is not None
        turn.end()
    assert [bool(await given(turns, "a")) for _ in range(2)] == [True, False]


async def test_who_has_opened_nothing_for_a_while_does_not_compete() -> None:
    """One that comes and goes, as all do that wait for a decision, still counts in between."""
    turns = Turns(2, Bites())
    short = await given(turns, "b")
    assert short is not None
    short.end()
    assert await given(turns, "a")
    assert await given(turns, "a") is None
    waiting = asyncio.create_task(turns.turn("a"))
    await asyncio.sleep(OPENING_SECONDS_MAX * 0.9)
    assert not waiting.done()
    await asyncio.sleep(OPENING_SECONDS_MAX * 0.2)
    assert waiting.done()


async def test_instances_that_stay_undecided_keep_nobody_waiting() -> None:
    """Of a leader that is down, or in the minority: their places are free after a while."""
    turns = Turns(2, Bites())
    assert await given(turns, "a")
    assert await given(turns, "b")
    assert await given(turns, "a") is None
    began = asyncio.get_running_loop().time()
    await turns.turn("a")
    assert asyncio.get_running_loop().time() - began <= OPENING_SECONDS_MAX


async def test_everyone_has_a_turn_however_many_there_are() -> None:
    """More clients than places: one each, rather than none."""
    turns = Turns(4, Bites())
    assert all([await given(turns, f"client {number}") for number in range(100)])


async def test_a_turn_ends_once() -> None:
    """Decided, and late: it is one place all the same."""
    turns = Turns(2, Bites())
    assert await given(turns, "b")
    turn = await given(turns, "a")
    assert turn is not None
    turn.end()
    turn.end()
    assert [bool(await given(turns, "a")) for _ in range(2)] == [True, False]


async def test_who_stops_waiting_as_its_turn_comes_passes_it_on() -> None:
    """A call may end in the very moment in which a place becomes free."""
    turns = Turns(2, Bites())
    turn = await given(turns, "a")
    assert turn is not None
    assert await given(turns, "b")
    calls = [asyncio.create_task(turns.turn("a")) for _ in range(2)]
    await asyncio.sleep(0)
    turn.end()
    calls[0].cancel()
    await asyncio.gather(calls[0], return_exceptions=True)
    await asyncio.sleep(0)
    assert calls[1].done()


async def test_nothing_is_kept_of_clients_that_have_gone() -> None:
    """DESIGN, bounds: a connection is a name, and there are as many as come."""
    turns = Turns(4, Bites())
    for number in range(50):
        turn = await given(turns, f"client {number}")
        assert turn is not None
        turn.end()
    await asyncio.sleep(2 * OPENING_SECONDS_MAX)
    assert turns._lines == {}


async def test_a_turn_that_is_given_back_counts_for_nothing() -> None:
    """Only what was opened competes, and for as long as it did before."""
    turns = Turns(4, Bites())
    opened = await given(turns, "b")
    assert opened is not None
    opened.end()
    await asyncio.sleep(OPENING_SECONDS_MAX * 0.9)
    for client in "bc":
        turn = await given(turns, client)
        assert turn is not None
        turn.give_back()
    assert set(turns._lines) == {"b"}
    await asyncio.sleep(OPENING_SECONDS_MAX * 0.2)
    assert turns._lines == {}


async def test_leaving_looks_at_those_that_wait_alone() -> None:
    """Review: each of thousands that left in one moment walked over all that were there.

    It looks at the lines that wait, and only where there is more for each of them.
    """
    turns = Turns(4, Bites())
    names = [f"client {number}" for number in range(100)]
    held = [await given(turns, name) for name in names]
    waiting = asyncio.create_task(turns.turn(names[-1]))
    await asyncio.sleep(0)
    looked_at: list[str] = []
    go_on = Turns._go_on

    def watched(self: Turns, line: Any) -> None:
        looked_at.append(line.client)
        go_on(self, line)

    for turn in held[:-1]:
        assert turn is not None
        turn.end()
    with patch.object(Turns, "_go_on", watched):
        await asyncio.sleep(OPENING_SECONDS_MAX * 1.1)
    assert waiting.done()
    assert len(looked_at) < 10
    assert set(looked_at) == {names[-1]}


async def test_a_flood_does_not_hold_up_the_other_client() -> None:
    """One has a thousand to open, the other one at a time, at a node that keeps to their order.

    The other waits for the few that are under way, not for all.
    """
    turns = Turns(8, Bites())
    line: deque[tuple[str, Turn, asyncio.Future[None]]] = deque()
    decided: Counter[str] = Counter()

    async def propose(client: str) -> None:
        turn = await turns.turn(client)
        done = asyncio.get_running_loop().create_future()
        line.append((client, turn, done))
        await done

    async def node() -> None:
        while True:
            await asyncio.sleep(0.001)
            if line:
                client, turn, done = line.popleft()
                decided[client] += 1
                turn.end()
                done.set_result(None)

    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(node())
        await propose("polite")
        flood = [tasks.create_task(propose("greedy")) for _ in range(1_000)]
        for _ in range(100):
            await propose("polite")
        polite_while_flooded = dict(decided)
        for call in flood:
            call.cancel()
        working.cancel()
    assert polite_while_flooded["polite"] == 101
    assert 100 <= polite_while_flooded["greedy"] <= 100 * 8 / 2 + 8
