"""Asking several, and asking again, on the virtual clock: when, whom, and what is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import pairwise

import grpc
import pytest

from qbft.client.errors import ClientError, NoDecision, Refused, Unavailable, Unknown
from qbft.client.hedging import (
    PATIENCE_SECONDS_MAX,
    RECENT_ANSWERS,
    Ask,
    Patience,
    first_good,
)
from qbft.client.retrying import RETRY_SECONDS_MAX, failure, until_available
from qbft.core import InstanceId

REFUSED = Refused("no", code="INVALID_ARGUMENT", node=0)
UNAVAILABLE = Unavailable("away")
UNKNOWN = Unknown(InstanceId("t", 1))


class Asked:
    """Askings that note when they began and whether they were cancelled."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}
        self.cancelled: list[str] = []

    def ask(
        self, name: str, seconds: float, outcome: str | ClientError, *, stumbles: bool = False
    ) -> Ask[str]:
        """One that takes so long and ends so."""

        async def run(stumble: Callable[[], None]) -> str:
            self.began[name] = asyncio.get_running_loop().time()
            if stumbles:
                stumble()
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self.cancelled.append(name)
                raise
            if isinstance(outcome, ClientError):
                raise outcome
            return outcome

        return run


async def test_who_answers_in_time_is_asked_alone() -> None:
    """Everybody's work is not for every client: no hedge before the delay."""
    asked = Asked()
    asks = [asked.ask("a", 0.4, "good"), asked.ask("b", 0.0, "better")]
    assert await first_good(asks, delay=0.5) == "good"
    assert list(asked.began) == ["a"]


async def test_silence_brings_in_one_more_each_time() -> None:
    """A silent leader costs one delay, f silent nodes f of them; the losers are cancelled."""
    asked = Asked()
    asks = [asked.ask(name, 100.0, name) for name in "ab"] + [asked.ask("c", 0.2, "c")]
    asks.append(asked.ask("d", 0.0, "d"))
    assert await first_good(asks, delay=0.5) == "c"
    assert asked.began == {"a": 0.0, "b": 0.5, "c": 1.0}
    assert asked.cancelled == ["a", "b"]
    assert len(asyncio.all_tasks()) == 1


async def test_a_failure_or_a_stumble_brings_in_the_next_at_once() -> None:
    """A node that is down is no reason to wait; one that only stumbled may still win."""
    asked = Asked()
    asks = [
        asked.ask("down", 0.1, UNAVAILABLE),
        asked.ask("stumbles", 0.3, "good", stumbles=True),
        asked.ask("slow", 100.0, "late"),
    ]
    assert await first_good(asks, delay=5.0) == "good"
    assert asked.began == {"down": 0.0, "stumbles": pytest.approx(0.1), "slow": pytest.approx(0.1)}


async def test_width_is_how_many_begin() -> None:
    """A quorum read asks f+1 from the start."""
    asked = Asked()
    asks = [asked.ask(name, 1.0, name) for name in "abc"]
    assert await first_good(asks, delay=5.0, width=2) == "a"
    assert asked.began == {"a": 0.0, "b": 0.0}


async def test_the_judge_ends_it() -> None:
    """f+1 refusals settle the matter, while others still run."""
    asked = Asked()
    asks = [asked.ask("a", 0.1, REFUSED), asked.ask("b", 0.1, REFUSED), asked.ask("c", 9.0, "c")]

    def judge(failures: Sequence[ClientError]) -> None:
        if len(failures) == 2:
            raise failures[0]

    with pytest.raises(Refused):
        await first_good(asks, delay=5.0, width=3, judge=judge)
    assert asked.cancelled == ["c"]


@pytest.mark.parametrize(
    ("failures", "told"),
    [
        ([UNAVAILABLE, REFUSED, UNKNOWN], NoDecision),
        ([UNAVAILABLE, REFUSED, UNAVAILABLE], Refused),
        ([UNAVAILABLE], Unavailable),
        ([], Unavailable),
    ],
)
async def test_when_all_fail_the_plainest_is_told(
    failures: list[ClientError], told: type[ClientError]
) -> None:
    """An answer says more than a refusal, and that more than silence."""
    asked = Asked()
    asks = [asked.ask(str(n), 0.1, failure) for n, failure in enumerate(failures)]
    with pytest.raises(told):
        await first_good(asks, delay=5.0)


async def test_a_bug_is_not_swallowed() -> None:
    """Only failures of the client move on to the next node."""

    async def broken(_: Callable[[], None]) -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await first_good([broken, Asked().ask("b", 0.0, "b")], delay=1.0)


async def test_cancelling_cancels_all() -> None:
    """DESIGN, async: cancelling leaves nothing behind."""
    asked = Asked()
    asks = [asked.ask(name, 100.0, name) for name in "ab"]
    asking = asyncio.create_task(first_good(asks, delay=0.5))
    await asyncio.sleep(1.0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert sorted(asked.cancelled) == ["a", "b"]
    assert len(asyncio.all_tasks()) == 1


async def test_a_full_node_is_asked_again_when_it_said() -> None:
    """SCENARIOS G15: RESOURCE_EXHAUSTED tells when to come back; up to a tenth is added."""
    times: list[float] = []

    async def call() -> str:
        times.append(asyncio.get_running_loop().time())
        if len(times) <= 3:
            raise Unavailable("full", retry_ms=400)
        return "good"

    told: list[Unavailable] = []
    assert await until_available(call, told.append) == "good"
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert all(0.4 <= wait <= 0.4401 for wait in waits)
    assert len(told) == 3


async def test_waits_grow_up_to_a_cap_and_the_caller_ends_it() -> None:
    """A node that stays away is asked for ever, ever less often."""
    times: list[float] = []

    async def call() -> str:
        times.append(asyncio.get_running_loop().time())
        raise UNAVAILABLE

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(600.0):
            await until_available(call, lambda _: None)
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits[0] <= 0.1
    assert max(waits) <= RETRY_SECONDS_MAX
    assert 600 / RETRY_SECONDS_MAX < len(times) < 2_000


async def test_what_will_not_change_is_not_asked_again() -> None:
    """A refusal is raised at once."""
    calls = 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        raise REFUSED

    with pytest.raises(Refused):
        await until_available(call, lambda _: None)
    assert calls == 1


def test_patience_follows_what_is_usual() -> None:
    """Where all have become slow, asking more of them makes them slower: load feeds on hedges."""
    patience = Patience(0.5)
    assert patience.delay == 0.5
    for _ in range(RECENT_ANSWERS):
        patience.answered(0.01)
    assert patience.delay == 0.5
    for _ in range(RECENT_ANSWERS):
        patience.answered(2.0)
    assert patience.delay == 4.0
    for _ in range(RECENT_ANSWERS):
        patience.answered(0.01)
    assert patience.delay == 0.5


def test_patience_is_not_led_astray_by_f_of_n() -> None:
    """One of four leads a quarter of the instances, and answers each as late as it gets away with.

    However patient that makes the client: it stays as it was.
    """
    patience = Patience(0.5)
    for turn in range(1_000):
        patience.answered(0.99 * patience.delay if turn % 4 == 0 else 0.02)
        assert patience.delay == 0.5


def test_patience_has_an_end() -> None:
    """A bad hour, with answers after 25 s, leaves a client that still hedges.

    Only who asked for more patience is given more, and who asked for none is given none.
    """
    for least, delay in ((0.5, PATIENCE_SECONDS_MAX), (60.0, 60.0), (0.0, 0.0)):
        patience = Patience(least)
        for _ in range(RECENT_ANSWERS):
            patience.answered(25.0)
        assert patience.delay == delay


def test_no_node_has_itself_asked_without_a_pause() -> None:
    """SCENARIOS G15: a liar says "come back in 1 ms" as often as it is asked."""
    full = grpc.StatusCode.RESOURCE_EXHAUSTED
    for said, kept in ((1, 50), (400, 400), (10**9, 60_000)):
        told = failure(0, full, "full", retry_ms=said)
        assert isinstance(told, Unavailable)
        assert told.retry_ms == kept


async def test_a_cancellation_that_comes_while_all_is_being_ended_counts() -> None:
    """A task group that ends for an error keeps it to itself: who asks for ever would go on."""

    async def lingers(stumble: Callable[[], None]) -> str:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            raise
        return "too late"

    def judge(failures: Sequence[ClientError]) -> None:
        raise failures[0]

    asks = [Asked().ask("a", 0.0, UNKNOWN), lingers]
    asking = asyncio.create_task(first_good(asks, delay=10.0, width=2, judge=judge))
    await asyncio.sleep(0.5)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
