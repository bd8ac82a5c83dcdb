"""Many pieces of work at once: each result as it comes, however slowly new work comes."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Callable,
    Coroutine,
    Iterable,
)
from contextlib import aclosing
from typing import Any, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


async def as_they_end(
    items: Iterable[Item] | AsyncIterable[Item],
    work: Callable[[Item], Coroutine[Any, Any, Result]],
    *,
    in_flight: int,
) -> AsyncGenerator[Result, None]:
    """Work at so many items at once; give the results in the order in which they are there.

    The items are read in one task of their own, as a timeout or a task group within them needs,
    while there is room; a result makes room when it is taken. They are closed at the end.

    Raises:
        ValueError: `in_flight` is less than 1.
        Exception: the first failure, of the work or of the items, after the results that are there.
    """
    if in_flight < 1:
        raise ValueError(f"in_flight = {in_flight}: allowed is 1 or more")
    running = _Running[Result]()
    room = asyncio.Semaphore(in_flight)

    async def read() -> None:
        async with aclosing(_iterate(items)) as source:
            await room.acquire()
            async for item in source:
                running.start(work(item))
                await room.acquire()

    running.start(read())
    failed: BaseException | None = None
    try:
        while running.tasks:
            task = await running.ended()
            if (failure := task.exception()) is not None:
                failed = failed or failure
            elif (result := task.result()) is not None:
                if failed is None:
                    room.release()
                yield result
            if failed is not None and running.none_has_ended():
                raise failed
    finally:
        await running.cancel()


class _Running(Generic[Result]):
    """Tasks that are to be told of in the order in which they end."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Result | None]] = set()
        self._ended: asyncio.Queue[asyncio.Task[Result | None]] = asyncio.Queue()

    def start(self, work: Coroutine[Any, Any, Result | None]) -> None:
        """Begin one more."""
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended.put_nowait)
        self.tasks.add(task)

    async def ended(self) -> asyncio.Task[Result | None]:
        """Wait for the next to end, and take it out."""
        task = await self._ended.get()
        self.tasks.remove(task)
        return task

    def none_has_ended(self) -> bool:
        """Whether `ended` would wait."""
        return self._ended.empty()

    async def cancel(self) -> None:
        """End what still runs, and see every failure."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def _iterate(items: Iterable[Item] | AsyncIterable[Item]) -> AsyncGenerator[Item, None]:
    """The items; an asynchronous generator of them is closed when this one is."""
    if not isinstance(items, AsyncIterable):
        for item in items:
            yield item
        return
    iterator = aiter(items)
    try:
        async for item in iterator:
            yield item
    finally:
        if isinstance(iterator, AsyncGenerator):
            await iterator.aclose()
