"""Bounds of the decision service that need no socket (DESIGN, bounds)."""

from __future__ import annotations

import asyncio
import gc
import sys
import traceback
import weakref
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import grpc
import pytest
from calling import Called

from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.certificate import Certificate
from qbft.crypto.signing import BatchHeader, VoteSignature
from qbft.decision import Decision
from qbft.errors import JournalError, TooManyTopics, UnauthorisedProposal
from qbft.replica.policy import open_to_all
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2
from qbft_server.config import ClientSettings, LimitSettings
from qbft_server.services.budgets import CALLS_MAX, PROPOSE_STREAMS_MAX, WATCHES_MAX
from qbft_server.services.reading import LIST_BYTES_MAX, LIST_DECISIONS_MAX, LIST_STEP_DECISIONS
from qbft_server.services.refusal import failure_of, invalid, refusal_of
from qbft_server.services.replies import (
    STREAM_IN_FLIGHT_MAX,
    STREAM_WAITING_BYTES_MAX,
    Replies,
    reply_to,
)
from qbft_server.services.unread import UNREAD_BYTES_MAX, Unread
from qbft_server.store.decisions import DecisionsError
from qbft_server.store.live import value_bytes
from qbft_server.telemetry.metrics import Metrics

DIGEST = b"d" * 32
PROOF = Proof(VoteSignature(BatchHeader(b"s" * 16, 1, b"g" * 64), 1, 0, ()))


def decided(height: int, size: int) -> Decision:
    """A decision of that height, with a value of so many bytes."""
    instance = InstanceId("t", height)
    commit = Message(MessageType.COMMIT, instance, 0, 1, DIGEST, proof=PROOF)
    return Decision(bytes(size), Certificate(instance, 1, DIGEST, (commit,)))


class Topic:
    """A store with one topic; remembers how much was read of it at one go."""

    def __init__(self, *decisions: Decision) -> None:
        self.decisions = decisions
        self.longest = 0
        self.bytes_read = 0

    def list_topic(self, _topic: str, from_height: int, limit: int) -> tuple[Decision, ...]:
        """As `NodeStore.list_topic`."""
        found = self._listed(from_height, limit)
        self.longest = max(self.longest, len(found))
        self.bytes_read += sum(map(value_bytes, found))
        return found

    def list_sizes(self, _topic: str, from_height: int, limit: int) -> tuple[tuple[int, int], ...]:
        """As `NodeStore.list_sizes`."""
        found = self._listed(from_height, limit)
        return tuple((each.instance.height, value_bytes(each)) for each in found)

    def _listed(self, from_height: int, limit: int) -> tuple[Decision, ...]:
        return tuple(
            [each for each in self.decisions if each.instance.height >= from_height][:limit]
        )

    def low_water_mark(self, _topic: str) -> int:
        """As `NodeStore.low_water_mark`."""
        return 0

    def size(self, _instance: InstanceId) -> int:
        """As `NodeStore.size`."""
        return value_bytes(self.decisions[0]) if self.decisions else 0

    def get(self, _instance: InstanceId) -> Decision | None:
        """As `NodeStore.get`."""
        self.bytes_read += self.size(_instance)
        return self.decisions[0] if self.decisions else None


class Aborted(Exception):  # noqa: N818 - what happened to a call
    """A call was ended with a status."""


class Call:
    """A call that no one has to be let in for, and that ends when the test says so."""

    def __init__(self, client: str = "ipv4:127.0.0.1:1") -> None:
        self.client = client
        self.callbacks: list[Callable[[object], None]] = []

    def invocation_metadata(self) -> tuple[()]:
        """It shows no token."""
        return ()

    def auth_context(self) -> dict[str, list[bytes]]:
        """And no certificate."""
        return {}

    def peer(self) -> str:
        """Who calls, by connection."""
        return self.client

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """As gRPC's own."""
        self.callbacks.append(callback)

    async def abort(self, code: grpc.StatusCode, message: str, *_: object) -> None:
        """End it, as gRPC does, by an exception."""
        raise Aborted(code, message)


class Replica:
    """Votes, and has decided whatever is proposed, unless there is a `failure` to raise."""

    resumed_of_clients = 0

    def __init__(
        self, failure: Callable[[], Exception] | None = None, *, is_voting: bool = True
    ) -> None:
        self.failure = failure
        self.is_voting = is_voting

    def is_open(self, _: object) -> bool:
        """As `Replica.is_open`."""
        return False

    def propose(self, *_: object) -> asyncio.Future[Decision]:
        """As `Replica.propose`."""
        if self.failure is not None:
            raise self.failure()
        deciding: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        deciding.set_result(decided(1, 2_000))
        return deciding


def service(store: Topic, replica: Replica | None = None, metrics: Metrics | None = None) -> Called:
    """A service over that store, with nothing else behind it."""
    parts = SimpleNamespace(
        config=SimpleNamespace(clients=ClientSettings(), limits=LimitSettings()),
        cluster=SimpleNamespace(policy=open_to_all),
        replica=replica or Replica(),
        driver=SimpleNamespace(wake=lambda: None),
        store=store,
        links=None,
        metrics=metrics or Metrics(),
        traces=None,
    )
    return Called(parts)


async def pages(store: Topic, limit: int = 0) -> list[list[int]]:
    """The heights of a topic, page by page."""
    found: list[list[int]] = []
    request = pb.ListDecisionsRequest(topic="t", limit=limit)
    while True:
        reply = await service(store).ListDecisions(request, cast("Any", Call()))
        found.append([each.instance.height for each in reply.decisions])
        if not reply.HasField("next_height"):
            return found
        request.from_height = reply.next_height


async def test_a_page_of_large_values_is_not_read_in_one_go() -> None:
    """A page of 256 values of 1 MiB would be read for the one or two that a reply may hold.

    Of large ones no more is read than it holds, of small ones a few at a time.
    """
    store = Topic(*(decided(height, LIST_BYTES_MAX // 2) for height in range(20)))
    assert await pages(store) == [[2 * page, 2 * page + 1] for page in range(10)]
    assert store.bytes_read == 20 * LIST_BYTES_MAX // 2
    small = Topic(*(decided(height, 10) for height in range(20)))
    assert await pages(small) == [list(range(20))]
    assert small.longest == LIST_STEP_DECISIONS


@pytest.mark.parametrize("name", ["ListDecisions", "GetDecision"])
async def test_what_there_is_no_room_for_is_not_read(name: str) -> None:
    """Hundreds of reads of 1 MiB at once, nearly all refused, took three fifths of the throughput.

    Each had been read from the disk and written out before there was found to be no room for it.
    """
    store = Topic(decided(1, 1 << 20))
    served = service(store)
    calls = [Call() for _ in range(64)]
    outcomes = await asyncio.gather(
        *(LARGE[name](served, call) for call in calls), return_exceptions=True
    )
    replies = [each for each in outcomes if not isinstance(each, Aborted)]
    assert 0 < len(replies) < len(calls)
    assert store.bytes_read <= len(replies) + 1 << 20  # one may be a little larger than it said


async def test_pages_are_whole_whatever_the_steps() -> None:
    """Heights at the edges, gaps, and counts beside the size of a step."""
    for count in (0, 1, LIST_STEP_DECISIONS, LIST_STEP_DECISIONS + 1, LIST_DECISIONS_MAX + 1):
        heights = [3 * number for number in range(count)]
        listed = await pages(Topic(*(decided(height, 10) for height in heights)))
        assert [height for page in listed for height in page] == heights
        assert len(listed) == 1 + (count > LIST_DECISIONS_MAX)
    last = 2**63 - 1
    assert await pages(Topic(*(decided(last - 7 + i, 10) for i in range(8)))) == [
        [last - 7 + i for i in range(8)]
    ]
    assert await pages(Topic(*(decided(height, 10) for height in range(5))), limit=2) == [
        [0, 1],
        [2, 3],
        [4],
    ]


async def unread_of(clients: int) -> int:
    """How many pages of 1 MiB so many clients are given that read none; the room comes back."""
    served = service(Topic(decided(1, 1 << 20)))
    request = pb.ListDecisionsRequest(topic="t")
    calls = [Call(f"ipv4:127.0.0.1:{number % clients}") for number in range(1_200)]
    given = 0
    code = None
    while code is None:
        try:
            await served.ListDecisions(request, cast("Any", calls[given]))
        except Aborted as ended:
            code = ended.args[0]
        else:
            given += 1
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    for callback in calls[0].callbacks:
        callback(None)
    assert (await served.ListDecisions(request, cast("Any", calls[0]))).decisions
    return given


@pytest.mark.bites("unread_bytes_max", "client_share_percent_max")
async def test_replies_that_nobody_reads_are_bounded_together() -> None:
    """Twelve hundred unread replies of 1 MiB took 800 MB of a real node, without any limit.

    One client takes its share of the room only, whatever it leaves unread.
    """
    assert await unread_of(64) == (UNREAD_BYTES_MAX >> 20) - 1
    assert await unread_of(1) == (UNREAD_BYTES_MAX >> 21) - 1


PROPOSAL = messages_pb2.Proposal(instance=messages_pb2.InstanceId(topic="t", height=1), value=b"v")
LARGE: dict[str, Callable[[Called, Call], Any]] = {
    "Propose": lambda s, c: s.Propose(pb.ProposeRequest(proposal=PROPOSAL), cast("Any", c)),
    "ListDecisions": lambda s, c: s.ListDecisions(
        pb.ListDecisionsRequest(topic="t"), cast("Any", c)
    ),
    "GetDecision": lambda s, c: s.GetDecision(
        pb.GetDecisionRequest(instance=PROPOSAL.instance), cast("Any", c)
    ),
}
"""Calls with large replies."""


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("is_made", [False, True])
async def test_a_reply_without_room_is_not_kept_while_its_refusal_is_told(
    name: str, *, is_made: bool
) -> None:
    """Clients that read nothing took 740 MiB of a node: telling takes as long as they like.

    The refusal has a traceback, whose frames would keep the reply that one of them has a name for.
    """
    kept: list[object] = []

    class Told(Call):
        async def abort(self, code: grpc.StatusCode, message: str, *details: object) -> None:
            refusal = sys.exc_info()[1]
            frames = traceback.walk_tb(refusal.__traceback__ if refusal is not None else None)
            kept.extend(value for frame, _ in frames for value in frame.f_locals.values())
            await super().abort(code, message, *details)

    served = service(Topic(decided(1, 2_000)))
    rooms, take = iter([is_made, False]), Unread.take
    with (
        patch.object(Unread, "take", lambda *asked: next(rooms) and take(*asked)),
        pytest.raises(Aborted) as ended,
    ):
        await LARGE[name](served, Told())
    assert ended.value.args[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert kept
    assert not [each for each in kept if type(each).__name__ == f"{name}Reply"]


async def test_a_watch_that_is_not_read_counts_as_unread() -> None:
    """Of 256 watches each held a decision of 1 MiB that nobody took, beside all other replies."""

    class Stuck(Call):
        async def write(self, message: object) -> None:
            await asyncio.Event().wait()

    class Decided(Topic):
        async def wait_for(self, instance: object) -> Decision:
            return decided(1, 1 << 20)

    served = service(Decided())
    request = pb.WatchRequest(topic="t")
    async with asyncio.TaskGroup() as tasks:
        watches = [
            tasks.create_task(served.Watch(request, cast("Any", Stuck(f"ipv4:127.0.0.1:{number}"))))
            for number in range((UNREAD_BYTES_MAX >> 20) - 1)
        ]
        await asyncio.sleep(0.01)
        with pytest.raises(Aborted) as ended:
            await served.Watch(request, cast("Any", Stuck()))
        assert ended.value.args[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
        for watch in watches:
            watch.cancel()


async def test_a_store_that_cannot_be_read_is_a_status_and_no_traceback() -> None:
    """Who asks again and again must not fill the log; paths of the machine are nobody's business.

    The status is one at which clients ask another node.
    """

    class Broken(Topic):
        def list_sizes(self, *_: object) -> tuple[tuple[int, int], ...]:
            raise DecisionsError("cannot read /var/lib/qbft/decisions.sqlite3: disk I/O error")

    with pytest.raises(Aborted) as ended:
        await pages(Broken())
    code, message = ended.value.args
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "ask another" in message
    assert "/var" not in message


async def is_blocked(replies: Replies) -> bool:
    """Whether no further proposal may be read now; takes a place if one may."""
    try:
        async with asyncio.timeout(0.001):
            await replies.place()
    except TimeoutError:
        return True
    return False


@pytest.mark.bites("stream_in_flight_max")
async def test_who_does_not_read_replies_is_not_read_from() -> None:
    """A client that proposes and never reads would have every reply kept for it."""
    replies = Replies()
    for number in range(STREAM_IN_FLIGHT_MAX):
        await replies.place()
        replies.put((number, failure_of(invalid("no"))))
    assert await is_blocked(replies)
    outcome = await replies.take()
    assert outcome is not None
    assert outcome[0] == 0
    assert await is_blocked(replies)
    replies.written(outcome)
    assert not await is_blocked(replies)
    assert await is_blocked(replies)


@pytest.mark.bites("stream_waiting_bytes_max")
async def test_waiting_replies_are_bounded_in_bytes_too() -> None:
    """A two-byte proposal for what is decided already may be answered by a value of 1 MiB."""
    replies = Replies()
    for number in range(4):
        assert not await is_blocked(replies)
        replies.put((number, decided(number, STREAM_WAITING_BYTES_MAX // 4)))
    assert await is_blocked(replies)
    outcome = await replies.take()
    assert outcome is not None
    replies.written(outcome)
    assert not await is_blocked(replies)
    replies.end()
    assert [await replies.take() for _ in range(4)][-1] is None


@pytest.mark.bites("stream_waiting_bytes_max")
async def test_refusals_that_wait_count_by_their_words() -> None:
    """They are kept as decisions are, until they are written."""
    replies = Replies()
    await replies.place()
    replies.put((1, failure_of(invalid("x" * STREAM_WAITING_BYTES_MAX))))
    assert await is_blocked(replies)


async def test_words_of_a_broken_store_are_not_told_to_who_proposes() -> None:
    """They name files of this machine; and another node can take what this one cannot."""

    def broken() -> Exception:
        return DecisionsError("cannot read /var/lib/qbft/decisions.sqlite3: disk I/O error")

    served = service(Topic(), Replica(broken))
    with pytest.raises(Aborted) as ended:
        await ASKING["proposals"](served)
    code, message = ended.value.args
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "/var" not in message


class Request:
    """A request of which one can see whether it is still kept."""

    id = 1

    def __init__(self, value: bytes) -> None:
        self.proposal = messages_pb2.Proposal(instance=PROPOSAL.instance, value=value)


class Unreading(Call):
    """A call whose client takes nothing."""

    async def write(self, _: object) -> None:
        """For ever."""
        await asyncio.Event().wait()


@pytest.mark.parametrize("voting", [True, False])
@pytest.mark.parametrize("value", [b"", b"v"])
async def test_a_refused_proposal_is_not_kept(value: bytes, *, voting: bool) -> None:
    """Review: the exception of each, in a cycle with its frames, kept proposals of 1 MiB.

    Neither while nobody reads the refusal, nor until the garbage collector comes by.
    """
    served = service(Topic(), Replica(UnauthorisedProposal, is_voting=voting))
    kept: list[weakref.ref[Request]] = []

    async def requests() -> AsyncIterator[Request]:
        for _ in range(9):
            request = Request(value)
            kept.append(weakref.ref(request))
            yield request
            del request
        yield Request(value)
        await asyncio.Event().wait()

    gc.disable()
    try:
        call = asyncio.create_task(
            served.ProposeStream(cast("Any", requests()), cast("Any", Unreading()))
        )
        await asyncio.sleep(0.01)
        assert [request() for request in kept] == [None] * 9
    finally:
        gc.enable()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


async def test_replies_of_a_stream_say_what_became_of_each() -> None:
    """A refusal keeps its code and message; grpc's own numbers stand for the codes."""
    failed = reply_to(7, failure_of(invalid("why"))).failure
    assert (failed.code, failed.message) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "why")
    assert reply_to(8, decided(1, 3)).decision.instance.height == 1


def test_a_node_whose_journal_failed_sends_clients_elsewhere() -> None:
    """SCENARIOS K23: UNAVAILABLE, for other nodes take it; FAILED_PRECONDITION would be final."""
    refusal = refusal_of(JournalError("this node has stopped voting: its journal failed"))
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
    assert "ask another node" in refusal.message


def test_that_there_are_too_many_topics_is_said_with_what_to_do() -> None:
    """DESIGN, retention. It names no time to come back, so that clients take it as final."""
    refusal = refusal_of(TooManyTopics("a/9", "a/", 10))
    assert refusal.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "topics_max = 10" in refusal.message
    assert refusal.trailers == ()


ASKING: dict[str, Callable[[Called], Any]] = {
    "calls": lambda s: s.GetStatus(pb.GetStatusRequest(), cast("Any", Call())),
    "watches": lambda s: s.Watch(pb.WatchRequest(topic="t"), cast("Any", Call())),
    "propose_streams": lambda s: s.ProposeStream(cast("Any", ()), cast("Any", Call())),
    "proposals": lambda s: s.Propose(pb.ProposeRequest(proposal=PROPOSAL), cast("Any", Call())),
}
"""What needs a place of that kind."""


@pytest.mark.parametrize(
    ("taken", "bound"),
    [
        ({"proposals": 4_096}, "proposals_in_flight_max"),
        ({"proposals": 1, "proposal_bytes": 128 << 20}, "proposal_bytes_in_flight_max"),
        ({"watches": WATCHES_MAX}, "watches_max"),
        ({"propose_streams": PROPOSE_STREAMS_MAX}, "propose_streams_max"),
    ],
)
async def test_who_finds_no_place_is_told_so_and_counted(taken: dict[str, int], bound: str) -> None:
    """SCENARIOS G15: RESOURCE_EXHAUSTED, and the operator sees which bound it was."""
    metrics = Metrics()
    served = service(Topic(), metrics=metrics)
    for slot, count in taken.items():
        getattr(metrics.clients, slot).add("others", count)
    ask = ASKING[next(iter(taken))]
    with pytest.raises(Aborted) as ended:
        await ask(served)
    assert ended.value.args[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert metrics.bites.counts() == {(bound, None): 1}
    assert metrics.clients.calls.total == 0


@pytest.mark.parametrize(
    ("slot", "most"),
    [
        ("calls", CALLS_MAX),
        ("watches", WATCHES_MAX),
        ("propose_streams", PROPOSE_STREAMS_MAX),
        ("proposals", LimitSettings().proposals_in_flight_max),
    ],
)
async def test_who_has_its_share_is_told_so_and_counted(slot: str, most: int) -> None:
    """Issue 6, budgets a client: half of each is left to the others, and no label names anybody."""
    metrics = Metrics()
    served = service(Topic(), metrics=metrics)
    getattr(metrics.clients, slot).add(Call().peer(), most // 2)
    with pytest.raises(Aborted) as ended:
        await ASKING[slot](served)
    code, message, *_ = ended.value.args
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert f"{most // 2} " in message
    assert "this client's share" in message
    assert metrics.bites.counts() == {("client_share_percent_max", None): 1}
