"""What one client may have of a node: no one takes it all (issue 6; DESIGN, bounds and opening)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbft.core import InstanceId
from qbft.crypto.entries import Entry
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import QbftError, UnauthorisedProposal
from qbft.ordered import Appended
from qbft.replica.bounds import Bites
from qbft_server.bounds import NodeBound
from qbft_server.config import LimitSettings
from qbft_server.ordered.appends import Appends, Proposer
from qbft_server.ordered.log import LogStore
from qbft_server.services.budgets import Budgets
from qbft_server.services.own_instances import OwnInstances
from qbft_server.services.refusal import Refusal
from qbft_server.services.shares import Shared, Shares
from qbft_server.services.turns import OPENING_SECONDS_MAX
from qbft_server.services.wasted import (
    WASTED_CHECKS_MAX,
    WASTED_CHECKS_PER_SECOND_MAX,
    WASTERS_KEPT_MAX,
    Wasted,
)
from qbft_server.telemetry.load import ClientLoad, Held

SHARE = "client_share_percent_max"


def greedy(shares: Shares, shared: Shared, client: str) -> int:
    """How much a client gets that takes as much as it can."""
    count = 0
    while shares.take(client, shared):
        count += 1
    return count


def things(most: int) -> Shared:
    """So many things."""
    return Shared(Held(), most, "things are in use", NodeBound.WATCHES_MAX)


# --- shares ---------------------------------------------------------------------------------------


@pytest.mark.bites(SHARE)
def test_one_greedy_client_leaves_half_to_the_others() -> None:
    """Whatever one client does: the next finds room, and gets its own share of what is left."""
    shares, shared = Shares(50, Bites()), things(1_000)
    assert greedy(shares, shared, "a") == 500
    assert greedy(shares, shared, "b") == 250
    assert shares.take("c", shared)


@given(st.integers(1, 40), st.integers(100, 10_000))
def test_greedy_clients_end_up_with_equal_shares(clients: int, most: int) -> None:
    """N that take turns get one part of N + 1 each, and that part stays free for another one."""
    shares, shared = Shares(50, Bites()), things(most)
    names = [f"client {number}" for number in range(clients)]
    while sum(shares.take(name, shared) for name in names):
        pass
    counts = [shared.held.by_client[name] for name in names]
    assert max(counts) - min(counts) <= 1
    assert most - shared.held.total >= most // (clients + 1) - 1
    assert shares.take("another", shared)


@pytest.mark.bites(SHARE, "watches_max")
def test_who_holds_nothing_is_let_in_while_there_is_room() -> None:
    """Even if its share were less than one; when all is gone it is told that, not of shares."""
    bites = Bites()
    shares, shared = Shares(50, bites), things(3)
    taken = {name: shares.take(name, shared) for name in ("a", "b", "c", "d")}
    assert taken == {"a": True, "b": True, "c": True, "d": False}
    assert not shares.take("a", shared)
    assert bites.counts() == {("watches_max", None): 2}
    shares.give_back("c", shared)
    assert not shares.take("a", shared)
    assert bites.counts()[SHARE, None] == 1


def test_an_operator_may_let_one_client_take_all() -> None:
    """With 100 percent the first to come is the first served, as for one trusted application."""
    shares, shared = Shares(100, Bites()), things(50)
    assert greedy(shares, shared, "a") == 50


def test_what_is_given_back_is_there_again() -> None:
    """Nothing of a client is remembered that holds nothing: names are as many as come."""
    shares, shared = Shares(50, Bites()), things(10)
    with shares.place("a", shared, 5), pytest.raises(Refusal, match="5 things are in use here"):
        shares.demand("a", shared)
    assert (shared.held.total, dict(shared.held.by_client)) == (0, {})


def test_what_is_larger_than_all_there_is_has_room_alone() -> None:
    """A value above the bytes that may be in flight is decided too, by itself (SCENARIOS G15)."""
    shares, shared = Shares(50, Bites()), things(10)
    assert shares.take("a", shared, 25)
    assert not shares.take("b", shared, 1)
    shares.give_back("a", shared, 25)
    assert shares.take("b", shared, 1)


def test_an_ordered_topic_counts_once_for_a_client() -> None:
    """Who appends a thousand entries to one topic has one topic, until the last of them stands."""
    load = ClientLoad()
    budgets = Budgets(LimitSettings(), load, Bites())
    with budgets.appending("a", "log/x"), budgets.appending("b", "log/x"):
        with budgets.appending("a", "log/x"), budgets.appending("a", "log/y"):
            assert dict(load.append_topics.by_client) == {"a": 2, "b": 1}
        assert dict(load.append_topics.by_client) == {"a": 1, "b": 1}
    assert load.append_topics.total == 0


# --- work for nothing -----------------------------------------------------------------------------


def refused(wasted: Wasted, client: str, size: int = 1) -> bool:
    """Whether a proposal that is not authorised was even looked at."""
    try:
        with wasted.checking(client, size):
            raise UnauthorisedProposal
    except UnauthorisedProposal:
        return True
    except Refusal:
        return False


@pytest.mark.bites("wasted_checks_max")
async def test_false_signatures_are_checked_at_a_pace() -> None:
    """Issue 6, budgets in verification time: who sends false ones is refused unseen, after some."""
    wasted = Wasted(Bites())
    count = 0
    while refused(wasted, "a"):
        count += 1
    assert WASTED_CHECKS_MAX <= count <= WASTED_CHECKS_MAX + 1
    assert refused(wasted, "b")
    await asyncio.sleep(1.01)
    again = sum(refused(wasted, "a") for _ in range(WASTED_CHECKS_MAX))
    assert WASTED_CHECKS_PER_SECOND_MAX - 1 <= again <= WASTED_CHECKS_PER_SECOND_MAX + 1


async def test_large_values_cost_more_to_refuse() -> None:
    """A value is hashed before its signature can be checked."""
    wasted = Wasted(Bites())
    count = 0
    while refused(wasted, "a", 1 << 20):
        count += 1
    assert count < WASTED_CHECKS_MAX / 10


async def test_what_is_authorised_costs_nothing() -> None:
    """An honest client that proposes much is never held up by this."""
    wasted = Wasted(Bites())
    for _ in range(10 * WASTED_CHECKS_MAX):
        with wasted.checking("a", 1 << 20):
            pass
    assert refused(wasted, "a")


async def test_wasters_are_forgotten_at_last() -> None:
    """DESIGN, bounds: who comes under ever new names fills no memory."""
    wasted = Wasted(Bites())
    for number in range(WASTERS_KEPT_MAX + 10):
        assert refused(wasted, f"connection {number}")
    assert len(wasted._buckets) == WASTERS_KEPT_MAX


# --- open instances -------------------------------------------------------------------------------


class Replica:
    """Takes proposals; the test decides."""

    def __init__(self) -> None:
        self.waiting: dict[InstanceId, asyncio.Future[Decision]] = {}
        self.refusing: QbftError | None = None
        self.decided: set[InstanceId] = set()

    def propose(self, proposal: Proposal) -> asyncio.Future[Decision]:
        """As `Replica.propose`: it opens the instance."""
        if self.refusing is not None:
            raise self.refusing
        future: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        if self.is_decided(proposal.instance):
            future.set_exception(QbftError("decided before"))
            return future
        self.waiting.setdefault(proposal.instance, future)
        return future

    def is_open(self, instance: InstanceId) -> bool:
        """Whether it waits for a decision."""
        return instance in self.waiting

    def is_decided(self, instance: InstanceId) -> bool:
        """Whether it was decided before."""
        return instance in self.decided

    def decide(self, height: int) -> None:
        """Let it be decided."""
        self.waiting.pop(InstanceId("t", height)).set_exception(QbftError("decided"))


class Clients:
    """Clients of a node that lets so many instances be open."""

    def __init__(self, open_max: int, at_once_max: int = 1_000) -> None:
        self.load = ClientLoad()
        self.replica = Replica()
        limits = LimitSettings(open_instances_max=open_max, openings_at_once_max=at_once_max)
        self.resumed = 0
        budgets = Budgets(limits, self.load, Bites(), lambda: self.resumed)
        replica = self.replica
        self.own = OwnInstances(replica.propose, replica.is_open, replica.is_decided, budgets)

    async def propose(self, client: str, height: int) -> asyncio.Task[Decision]:
        """Let a client propose; what comes of it at once has come."""
        proposal = Proposal(InstanceId("t", height), b"value")
        task = asyncio.create_task(self.own.propose(client, proposal))
        await asyncio.sleep(0)
        return task

    @property
    def held(self) -> dict[str, int]:
        """What each has open."""
        return dict(self.load.undecided.by_client)


async def hang_up(*tasks: asyncio.Task[Decision]) -> None:
    """Let calls be cancelled."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.bites(SHARE)
async def test_no_client_takes_all_open_instances() -> None:
    """DESIGN: opens are budgeted per client. `open_instances_max` was for whoever came first."""
    clients = Clients(8)
    calls = [await clients.propose("greedy", height) for height in range(5)]
    with pytest.raises(Refusal, match="4 undecided instances are open here"):
        await calls.pop()
    calls.append(await clients.propose("polite", 10))
    assert clients.held == {"greedy": 4, "polite": 1}
    await hang_up(*calls)


async def test_who_hangs_up_has_opened_it_all_the_same() -> None:
    """A client that cancels its calls would have a new budget each time, and the instances stay."""
    clients = Clients(8)
    await hang_up(*[await clients.propose("greedy", height) for height in range(4)])
    assert clients.held == {"greedy": 4}
    with pytest.raises(Refusal):
        await (await clients.propose("greedy", 4))
    clients.replica.decide(0)
    await asyncio.sleep(0)
    assert clients.held == {"greedy": 3}
    await hang_up(await clients.propose("greedy", 5))


async def test_what_an_earlier_life_left_open_leaves_less_for_all() -> None:
    """With a quorum away a client had its share anew after each restart, and all were resumed."""
    clients = Clients(16)
    clients.resumed = 12
    calls = [await clients.propose("greedy", height) for height in range(2)]
    with pytest.raises(Refusal, match="2 undecided instances are open here"):
        await (await clients.propose("greedy", 3))
    clients.resumed = 0
    calls += [await clients.propose("greedy", height) for height in range(3, 9)]
    assert clients.held == {"greedy": 8}
    await hang_up(*calls)


def entry(number: int) -> Entry:
    """What somebody appends."""
    return Entry(b"request %d" % number, b"value")


@asynccontextmanager
async def appends_of(clients: Clients) -> AsyncIterator[Callable[[str, str, int], Any]]:
    """Appends, as (client, topic, number), at a node with a replica that decides when told to."""

    def is_refused(*_: object) -> NoReturn:
        raise AssertionError

    none = SimpleNamespace(
        get=lambda _: None, low_water_mark=lambda _: 0, first_undecided=first_undecided
    )
    store = cast("LogStore", none)
    replica = cast("Proposer", SimpleNamespace(has_input=lambda _: False, propose=is_refused))
    appends = Appends(
        replica, store, wake=lambda: None, first_height=lambda _: 0, value_bytes_max=1 << 20
    )

    async def append(client: str, topic: str, number: int) -> asyncio.Task[Appended]:
        opener = clients.own.opener(client)
        task = asyncio.create_task(appends.append(topic, entry(number), opener))
        for _ in range(20):
            await asyncio.sleep(0)
        return task

    running = asyncio.create_task(appends.run())
    yield append
    running.cancel()
    await asyncio.wait([running])


async def first_undecided(_topic: str, from_height: int) -> int:
    """All topics are new."""
    return from_height


@pytest.mark.bites(SHARE)
async def test_a_batch_counts_for_the_client_that_it_begins_with() -> None:
    """Docs/adr/017: by appending and hanging up, one client could open all that a node may."""
    clients = Clients(8)
    async with appends_of(clients) as append:
        for number in range(8):
            await hang_up(await append("greedy", f"log/{number}", number))
        assert clients.held == {"greedy": 4}
        waiting = await append("greedy", "log/9", 9)
        call = await append("polite", "log/10", 10)
        assert clients.held == {"greedy": 4, "polite": 1}
        await hang_up(waiting, call)


async def test_a_batch_is_opened_by_whichever_of_its_clients_has_room() -> None:
    """Whoever appends behind a greedy client need not wait until that one may open more."""
    clients = Clients(8)
    calls = [await clients.propose("greedy", height) for height in range(4)]
    async with appends_of(clients) as append:
        calls.append(await append("greedy", "log/a", 1))
        assert clients.held == {"greedy": 4}
        calls.append(await append("polite", "log/a", 2))
        await asyncio.sleep(0.11)  # when the batch is looked at again
        assert clients.held == {"greedy": 4, "polite": 1}
        await hang_up(*calls)


async def test_an_instance_counts_for_whoever_opened_it() -> None:
    """Others that propose for it have opened nothing, and may wait with it beyond their share."""
    clients = Clients(2)
    calls = [await clients.propose("a", 1)]
    calls += [await clients.propose("b", 1) for _ in range(5)]
    assert clients.held == {"a": 1}
    clients.replica.decide(1)
    await hang_up(*calls)
    assert clients.held == {}


async def test_a_refused_proposal_opens_nothing() -> None:
    """What the replica refuses leaves nothing behind."""
    clients = Clients(8)
    clients.replica.refusing = UnauthorisedProposal()
    for height in range(10):
        with pytest.raises(UnauthorisedProposal):
            await (await clients.propose("a", height))
    assert clients.held == {}


async def test_who_hangs_up_while_it_waits_for_its_turn_holds_nothing() -> None:
    """Neither a place nor a turn."""
    clients = Clients(100, at_once_max=2)
    calls = [await clients.propose(name, height) for height, name in enumerate("ab")]
    waiting = await clients.propose("a", 10)
    assert not clients.replica.is_open(InstanceId("t", 10))
    await hang_up(waiting)
    assert clients.held == {"a": 1, "b": 1}
    await hang_up(*calls)


async def test_what_another_opened_meanwhile_is_not_opened_again() -> None:
    """Two wait for their turns to propose for one instance."""
    clients = Clients(100, at_once_max=2)
    calls = [await clients.propose(name, height) for height, name in enumerate("ab")]
    calls += [await clients.propose(name, 10) for name in "ab"]
    clients.replica.decide(0)
    clients.replica.decide(1)
    await asyncio.sleep(0.01)
    assert clients.held in ({"a": 1}, {"b": 1})
    await hang_up(*calls)


async def test_who_opens_nothing_does_not_compete() -> None:
    """Review: a proposal for a decided instance, or one refused, halved the parts of all others.

    For a second each, by a client that needed no more than that.
    """
    clients = Clients(100, at_once_max=4)
    clients.replica.decided.add(InstanceId("t", 0))
    with pytest.raises(QbftError, match="decided before"):
        await (await clients.propose("idle", 0))
    clients.replica.refusing = UnauthorisedProposal()
    with pytest.raises(UnauthorisedProposal):
        await (await clients.propose("idle", 1))
    clients.replica.refusing = None
    calls = [await clients.propose("busy", height) for height in range(10, 16)]
    assert clients.replica.is_open(InstanceId("t", 15))
    await hang_up(*calls)


async def test_what_is_decided_is_answered_out_of_turn() -> None:
    """It opens nothing, so nobody has to wait for it."""
    clients = Clients(100, at_once_max=2)
    clients.replica.decided.add(InstanceId("t", 0))
    calls = [await clients.propose(name, height) for height, name in enumerate("ab", 1)]
    calls.append(await clients.propose("a", 3))
    assert not clients.replica.is_open(InstanceId("t", 3))
    with pytest.raises(QbftError, match="decided before"):
        async with asyncio.timeout(OPENING_SECONDS_MAX / 2):
            await (await clients.propose("a", 0))
    await hang_up(*calls)
