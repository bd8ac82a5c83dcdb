"""Cancelling `run()` at any moment leaves nothing behind (DESIGN, async).

Each test cancels after every number of the loop's steps up to a bound, so that every await that a
run goes through is hit. Nothing left means: no task, no timer, no coroutine that was never awaited
(which would warn, and warnings are errors).
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from runner_parts import COMPARING, DEFINITION, leftovers, message, part, tell

from qbft.core import Message, MessageType
from qbft.decision import Decision
from qbft.memory import MemoryNetwork
from qbft.transport import Batch, Frame

STEPS = 60
"""Steps of the loop after which four processes have long decided, and wait."""


@pytest.fixture(autouse=True)
def only_what_is_new_is_garbage() -> Iterator[None]:
    """What other tests have left need not be looked at hundreds of times."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


async def forever(_: Message) -> bool:
    """A comparison that never ends."""
    await asyncio.Event().wait()
    return True


async def reject(_: Message) -> bool:
    """A comparison that ends at once, and badly."""
    return False


Settings = Callable[[], dict[str, Any]]
SETTINGS: dict[str, Settings] = {
    "with an input": lambda: {"input_value": "v"},
    "with a late input": lambda: {"input_value": asyncio.sleep(0, "v")},
    "with an input that never comes": lambda: {"input_value": asyncio.sleep(3_600, "v")},
    "answering laggards": lambda: {"input_value": "v", "on_decision": lambda _: None},
    "with a comparison that hangs": lambda: {
        "input_value": "v",
        "definition": COMPARING,
        "compare": forever,
    },
    "with a comparison that fails": lambda: {
        "input_value": "v",
        "definition": COMPARING,
        "compare": reject,
    },
}


async def cancel_after(steps: int, *running: Coroutine[Any, Any, Decision]) -> list[bool]:
    """Start, let the loop turn so often, cancel all; tell which of them were cancelled by that."""
    tasks = [asyncio.create_task(each) for each in running]
    for _ in range(steps):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            assert task.exception() is None
    return [task.cancelled() for task in tasks]


@pytest.mark.parametrize("name", SETTINGS)
async def test_cancelling_a_cluster_at_any_step(name: str) -> None:
    """DESIGN, async: four processes, cancelled together at each of their first 60 steps."""
    outcomes = set()
    for steps in range(1, STEPS):
        network = MemoryNetwork(4)
        cancelled = await cancel_after(
            steps, *(part(network.transport(i), i, **SETTINGS[name]()) for i in range(4))
        )
        outcomes.update(cancelled)
        assert leftovers() == []
    assert True in outcomes


async def test_cancelling_before_the_first_step() -> None:
    """A run that never began leaves nothing either."""
    network = MemoryNetwork(4)
    assert await cancel_after(0, part(network.transport(0), 0, input_value="v")) == [True]
    assert leftovers() == []


async def test_cancelling_at_any_moment_of_the_clock() -> None:
    """A leader without followers, cancelled in the middle of rounds and at their very ends."""
    for milliseconds in range(0, 4_000, 250):
        running = asyncio.create_task(part(MemoryNetwork(4).transport(0), 0, input_value="v"))
        await asyncio.sleep(milliseconds / 1000)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert leftovers() == []


async def test_cancelling_while_a_send_waits() -> None:
    """The contract says that sending never waits; where a transport does all the same, no harm."""

    class SlowTransport:
        """Takes a second for each frame."""

        def __init__(self, network: MemoryNetwork) -> None:
            self._inner = network.transport(3)

        async def send(self, frame: Frame, to: int | None = None) -> None:
            await asyncio.sleep(1)

        async def receive(self) -> Batch:
            return await self._inner.receive()

    network = MemoryNetwork(4)
    running = asyncio.create_task(
        part(SlowTransport(network), 3, definition=COMPARING, compare=forever)
    )
    proposals = message(MessageType.PRE_PREPARE, 0)
    await tell(network, 3, *[message(MessageType.PREPARE, source) for source in range(3)])
    await tell(network, 3, proposals)
    await asyncio.sleep(0.5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert leftovers() == []


async def test_a_deadline_of_the_callers_works() -> None:
    """Cancelling is asyncio's own: `asyncio.timeout` around a run is a TimeoutError, in time."""
    transport = MemoryNetwork(4).transport(0)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.5):
            await part(transport, 0, definition=DEFINITION, input_value="v")
    assert loop.time() - begin == pytest.approx(2.5)
    assert leftovers() == []


async def test_a_sibling_that_fails_takes_the_run_along() -> None:
    """In a task group of the caller's, a failure elsewhere cancels the run, and that is all."""

    async def fail() -> None:
        await asyncio.sleep(0.5)
        raise ValueError("elsewhere")

    async def both() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(part(MemoryNetwork(4).transport(0), 0, input_value="v"))
            tasks.create_task(fail())

    with pytest.raises(ExceptionGroup) as caught:
        await both()
    assert [type(each) for each in caught.value.exceptions] == [ValueError]
    assert leftovers() == []
