"""Ask one node, and others too when it is slow or says no; the first good answer wins.

With f faulty nodes, f+1 askings reach a correct one. Everybody is not asked at once, for then every
node would do every client's work, under load most of all. For the same reason silence is measured
by what is usual: where all nodes have become slow, asking more of them makes them slower still.
"""

from __future__ import annotations

import asyncio
import statistics
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from qbft.client.errors import ClientError, Closed, NoDecision, Refused, Unavailable
from qbft.errors import first_of

T = TypeVar("T")

Ask = Callable[[Callable[[], None]], Awaitable[T]]
"""Asks one node. It is given a function to call when it stumbles: then another is asked at once."""

Judge = Callable[[Sequence[ClientError]], None]
"""Looks at all failures so far, and raises when they settle the matter."""


RECENT_ANSWERS = 63
ENOUGH_ANSWERS = 8
USUAL_TIMES = 2.0
PATIENCE_SECONDS_MAX = 5.0
"""Until another node is asked too: however late answers usually are, so much silence is enough."""


class Patience:
    """How long a node may be silent before another one is asked: twice the usual, or the least.

    The usual is the median of the last answers' times. F nodes that lead at most a third of the
    instances cannot move it, however late they answer; those that never do leave no time behind.
    What a bad hour teaches is bounded, or its end would find nobody hedging. A least of 0 learns
    nothing: all are asked at once.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self._recent: deque[float] = deque(maxlen=RECENT_ANSWERS)
        self._delay = least
        self._stale = 0

    @property
    def delay(self) -> float:
        """Seconds of silence after which one more is asked."""
        return self._delay

    def answered(self, seconds: float) -> None:
        """Note how long a good answer took."""
        if not self._least:
            return
        self._recent.append(seconds)
        self._stale -= 1
        if (
            self._stale < 0 and len(self._recent) >= ENOUGH_ANSWERS
        ):  # not each time: it costs as much as a tenth of a call
            self._stale = len(self._recent) // 8
            usual = USUAL_TIMES * statistics.median(self._recent)
            self._delay = max(self._least, min(usual, PATIENCE_SECONDS_MAX))


@dataclass(frozen=True, slots=True)
class _Good(Generic[T]):
    answer: T


async def first_good(
    asks: Sequence[Ask[T]], *, delay: float, width: int = 1, judge: Judge = lambda _: None
) -> T:
    """Give the first good answer; cancel the other askings, and wait until they have ended.

    Args:
        asks: one for each node, the best first; each gives an answer or raises a `ClientError`.
        delay: seconds of silence after which one more is asked.
        width: how many are asked from the start.
        judge: ends it early by raising.

    Raises:
        Closed: at once, when one does.
        ClientError: what the judge raised; or, when all have failed, the plainest of the failures.
    """
    cancelled = _cancellations()
    news: asyncio.Queue[_Good[T] | ClientError | None] = asyncio.Queue()
    failures: list[ClientError] = []
    running: list[asyncio.Task[None]] = []

    async def run(ask: Ask[T]) -> None:
        try:
            news.put_nowait(_Good(await ask(lambda: news.put_nowait(None))))
        except ClientError as failure:
            news.put_nowait(failure)

    try:
        async with asyncio.TaskGroup() as tasks:
            wanted = width
            while len(failures) < len(asks):
                more = asks[len(running) : wanted]
                running += [tasks.create_task(run(ask)) for ask in more]
                try:
                    async with asyncio.timeout(delay if wanted < len(asks) else None):
                        told = await news.get()
                except TimeoutError:
                    told = None
                wanted += 1
                if isinstance(told, _Good):
                    for task in running:
                        task.cancel()
                    return told.answer
                if isinstance(told, Closed):
                    raise told
                if told is not None:
                    failures.append(told)
                    judge(failures)
    except BaseExceptionGroup as group:
        raise _what_ended(group, cancelled) from None
    raise _plainest(failures)


def _cancellations() -> int:
    """How often this task has been cancelled, be it by a deadline."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()


def _what_ended(group: BaseExceptionGroup[BaseException], cancelled: int) -> BaseException:
    """The error of a task group, or a cancellation: if there are more than these.

    A task group that is ending for an error of its own keeps a cancellation to itself that comes
    meanwhile (so before Python 3.13), and who asks again and again would never hear of it.
    """
    return asyncio.CancelledError() if _cancellations() > cancelled else first_of(group)


def _plainest(failures: Sequence[ClientError]) -> ClientError:
    """What to tell when all have failed: an answer before a refusal, that before anything else."""
    for kind in (NoDecision, Refused):
        for failure in failures:
            if isinstance(failure, kind):
                return failure
    told = "; ".join(map(str, failures)) or "there is none left to ask"
    return Unavailable(f"no node can answer: {told}")
