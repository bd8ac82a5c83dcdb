"""What `run()` promises: its result, its errors, and what it does with hooks and late inputs."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Generator
from itertools import count

import pytest
from runner_parts import (
    COMPARING,
    DEFINITION,
    ROUND_MS,
    FailingTransport,
    leftovers,
    message,
    others,
    part,
    tell,
)

import qbft
from qbft.core import Broadcast, Decide, Effect, Message, MessageType, RoundChanged
from qbft.decision import Decision
from qbft.errors import EngineFailed, QbftError, TransportError
from qbft.memory import BATCH_FRAMES_MAX, MemoryNetwork
from qbft.replica.driver import PENDING_FRAMES_MAX
from qbft.runner import WAITING_INPUTS_MAX, run
from qbft.timers import constant
from qbft.transport import Frame


def now_ms() -> float:
    """The virtual clock."""
    return asyncio.get_running_loop().time() * 1000


# --- the decision ---------------------------------------------------------------------------------


async def test_everybody_gets_the_decision_and_its_certificate() -> None:
    """Issue 2, stage 1: `run()` returns a Decision; the certificate is a quorum of COMMITs."""
    network = MemoryNetwork(4)
    decisions = await asyncio.gather(
        *(part(network.transport(i), i, input_value=f"of {i}") for i in range(4))
    )
    for decision in decisions:
        assert (decision.value, decision.round, decision.instance) == ("of 0", 1, "here")
        commits = decision.certificate.commits
        assert len({each.source for each in commits}) >= DEFINITION.quorum
        assert {(each.type, each.round, each.value) for each in commits} == {
            (MessageType.COMMIT, 1, "of 0")
        }


async def test_a_lone_process_decides_alone() -> None:
    """REFERENCE rule 2: of n=1 one vote is a quorum; its own messages loop back."""
    decision = await part(
        MemoryNetwork(1).transport(0),
        0,
        input_value="v",
        definition=type(DEFINITION)(1, lambda instance, round_: 0),
    )
    assert decision.value == "v"


async def test_after_the_decision_laggards_are_answered_until_cancelled() -> None:
    """Algorithm 3:17, D2: with `on_decision` a process goes on; a late starter learns from it."""
    network = MemoryNetwork(4)
    async with others(network, 0, 1, 2, input_value="v") as decisions:
        await asyncio.sleep(10)
        assert len(decisions) == 3
        while True:  # what came before it started is lost on it
            batch = await network.transport(3).receive()
            if len(batch.frames) < BATCH_FRAMES_MAX:
                break
        late = await part(network.transport(3), 3)
        assert (late.value, late.round) == ("v", 1)


async def test_without_on_decision_nobody_answers() -> None:
    """Issue 2: going on is the caller's choice; without it the run ends at the decision."""
    network = MemoryNetwork(4)
    await asyncio.gather(*(part(network.transport(i), i, input_value="v") for i in range(3)))
    network.transport(3).close()
    assert leftovers() == []


async def test_other_instances_are_ignored() -> None:
    """DESIGN, instances are independent: two runs share a transport's network, not their votes."""
    network = MemoryNetwork(4)
    strange = [Message(MessageType.COMMIT, "there", source, 1, "w") for source in range(3)]
    running = asyncio.create_task(part(network.transport(3), 3))
    await tell(network, 3, *strange)
    await asyncio.sleep(0.5)
    assert not running.done()
    await tell(network, 3, *[message(MessageType.COMMIT, source) for source in range(3)])
    assert (await running).value == "v"


async def test_every_effect_is_observed_in_order() -> None:
    """`observe` is shown what the engine does, the decision last but for nothing."""
    network = MemoryNetwork(4)
    seen: list[Effect] = []
    async with others(network, 1, 2, 3):
        decision = await part(network.transport(0), 0, input_value="v", observe=seen.append)
    types = [effect.message.type for effect in seen if isinstance(effect, Broadcast)]
    assert types == [MessageType.PRE_PREPARE, MessageType.PREPARE, MessageType.COMMIT]
    assert isinstance(seen[-1], Decide)
    assert seen[-1].commits == decision.certificate.commits


# --- what fails -----------------------------------------------------------------------------------


async def test_a_transport_closed_for_sending_is_a_transport_error() -> None:
    """Issue 2: `run()` raises QbftError or a subclass; here the leader cannot send."""
    transport = MemoryNetwork(4).transport(0)
    transport.close()
    with pytest.raises(TransportError):
        await part(transport, 0, input_value="v")
    assert leftovers() == []


async def test_a_transport_closed_while_it_receives_is_a_transport_error() -> None:
    """A process that waits for messages hears at once that none will ever come."""
    transport = MemoryNetwork(4).transport(3)
    running = asyncio.create_task(part(transport, 3))
    await asyncio.sleep(0.5)
    transport.close()
    with pytest.raises(TransportError):
        await running
    assert now_ms() == pytest.approx(500)
    assert leftovers() == []


@pytest.mark.parametrize("side", ["send_error", "receive_error"])
async def test_an_operating_error_is_wrapped_with_its_cause(side: str) -> None:
    """DESIGN, errors: what is not a QbftError comes as one, and its cause is kept."""
    transport = FailingTransport(MemoryNetwork(4).transport(0))
    failure = OSError("cable cut")
    setattr(transport, side, failure)
    with pytest.raises(QbftError, match="cable cut") as caught:
        await part(transport, 0, input_value="v")
    assert caught.value.__cause__ is failure
    assert leftovers() == []


async def test_an_error_of_ours_keeps_its_own_cause() -> None:
    """DESIGN, errors: a TransportError comes as it is, with what led to it."""
    failure = TransportError("gone")
    failure.__cause__ = OSError("cable cut")
    transport = FailingTransport(MemoryNetwork(4).transport(0))
    transport.send_error = failure
    with pytest.raises(TransportError) as caught:
        await part(transport, 0, input_value="v")
    assert caught.value is failure
    assert isinstance(caught.value.__cause__, OSError)


async def test_what_breaks_after_the_decision_takes_nothing_back() -> None:
    """A decision that is made is returned, though the transport fails in the same breath."""
    network = MemoryNetwork(4)
    transport = network.transport(3)

    def cut(effect: Effect) -> None:
        if isinstance(effect, Decide):
            transport.close()

    running = asyncio.create_task(part(transport, 3, observe=cut))
    await tell(network, 3, *[message(MessageType.COMMIT, source) for source in range(3)])
    assert (await running).value == "v"
    assert leftovers() == []


async def test_a_nested_justification_is_an_engine_failure() -> None:
    """REFERENCE rule 3: it is the caller's to keep out; the instance is dead."""
    network = MemoryNetwork(4)
    inner = Message(
        MessageType.COMMIT, "here", 1, 1, "v", justification=(message(MessageType.COMMIT, 0),)
    )
    outer = Message(MessageType.COMMIT, "here", 1, 1, "v", justification=(inner,))
    await tell(network, 3, outer)
    with pytest.raises(EngineFailed, match="nested"):
        await part(network.transport(3), 3)
    assert leftovers() == []


@pytest.mark.parametrize("hook", ["observe", "on_decision"])
async def test_a_hook_that_raises_ends_the_run(hook: str) -> None:
    """DESIGN, errors: the caller's own mistake is not swallowed."""
    network = MemoryNetwork(4)

    def fail(_: object) -> None:
        raise ValueError("not today")

    async with others(network, 0, 1, 2, input_value="v"):
        with pytest.raises(QbftError, match="not today") as caught:
            await part(network.transport(3), 3, **{hook: fail})
    assert isinstance(caught.value.__cause__, ValueError)
    assert leftovers() == []


# --- the input ------------------------------------------------------------------------------------


class Promise:
    """An awaitable that is neither a coroutine nor a future."""

    def __await__(self) -> Generator[object, None, str]:
        yield from asyncio.sleep(0.3).__await__()
        return "promised"


async def test_a_late_input_is_proposed_when_it_comes() -> None:
    """REFERENCE rule 8: the leader of round 1 waits for its input, whatever kind of awaitable."""
    for promise in (lambda: asyncio.sleep(0.3, "promised"), Promise, lambda: _in(0.3, "promised")):
        network = MemoryNetwork(4)
        begin = now_ms()
        async with others(network, 1, 2, 3):
            decision = await part(network.transport(0), 0, input_value=promise())
        assert (decision.value, decision.round) == ("promised", 1)
        assert now_ms() - begin == pytest.approx(300)
        assert leftovers() == []


def _in(seconds: float, value: str) -> asyncio.Future[str]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[str] = loop.create_future()
    loop.call_later(seconds, future.set_result, value)
    return future


async def test_an_input_that_fails_ends_the_run() -> None:
    """DESIGN, errors: as a QbftError with its cause, however it was given."""

    async def fail() -> str:
        await asyncio.sleep(0.1)
        raise ValueError("no input today")

    for source in (fail(), asyncio.create_task(fail())):
        with pytest.raises(QbftError, match="no input today") as caught:
            await part(MemoryNetwork(4).transport(0), 0, input_value=source)
        assert isinstance(caught.value.__cause__, ValueError)
        assert leftovers() == []


async def test_an_input_that_is_cancelled_ends_the_run() -> None:
    """A process told to wait for an input must not go on silently without one."""
    future = _in(60, "never")
    asyncio.get_running_loop().call_later(0.1, future.cancel)
    with pytest.raises(QbftError, match="cancelled"):
        await part(MemoryNetwork(4).transport(0), 0, input_value=future)


async def test_none_as_a_late_input_is_an_engine_failure() -> None:
    """REFERENCE rule 6: a zero input value ends the run."""
    with pytest.raises(EngineFailed, match="no value"):
        await part(MemoryNetwork(4).transport(0), 0, input_value=asyncio.sleep(0.1, None))


async def test_a_shared_input_stays_the_callers() -> None:
    """Four processes wait for one future; that one of them ends does not cancel it."""
    network = MemoryNetwork(4)
    future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    leaving = asyncio.create_task(part(network.transport(3), 3, input_value=future))
    await asyncio.sleep(0.1)
    leaving.cancel()
    async with others(network, 1, 2, input_value=future):
        running = asyncio.create_task(part(network.transport(0), 0, input_value=future))
        await asyncio.sleep(0.1)
        assert not future.done()
        future.set_result("shared")
        assert (await running).value == "shared"


async def test_an_input_is_not_waited_for_after_the_decision() -> None:
    """D25: an input that comes after the decision is never proposed; its coroutine is cancelled."""
    network = MemoryNetwork(4)
    async with others(network, 0, 1, 2, input_value="v"):
        decision = await part(network.transport(3), 3, input_value=asyncio.sleep(3_600, "late"))
    assert decision.value == "v"
    assert leftovers() == []
    assert now_ms() < ROUND_MS


# --- the comparison hook --------------------------------------------------------------------------


async def test_the_definition_and_the_hook_go_together() -> None:
    """REFERENCE rule 32: comparing is off by default, and never half on."""

    async def accept(_: Message) -> bool:
        return True

    transport = MemoryNetwork(4).transport(0)
    for settings in ({"compare": accept}, {"definition": COMPARING}):
        with pytest.raises(QbftError, match="must go together"):
            await part(transport, 0, **settings)


async def test_arguments_that_are_refused_leave_no_coroutine_behind() -> None:
    """DESIGN, async: an input never awaited would warn; a future's stays the caller's to use."""
    transport = MemoryNetwork(4).transport(0)
    given = asyncio.sleep(0.3, "late")
    with pytest.raises(QbftError, match="must go together"):
        await part(transport, 0, definition=COMPARING, input_value=given)
    assert inspect.getcoroutinestate(given) == inspect.CORO_CLOSED
    future = _in(0.1, "later")
    with pytest.raises(QbftError, match="must go together"):
        await part(transport, 0, definition=COMPARING, input_value=future)
    assert await future == "later"
    assert leftovers() == []


async def test_a_comparison_that_raises_ends_the_run() -> None:
    """DESIGN, errors: a hook's failure comes as a QbftError with its cause."""
    network = MemoryNetwork(4)

    async def fail(_: Message) -> bool:
        raise LookupError("no view of my own")

    await tell(network, 3, message(MessageType.PRE_PREPARE, 0))
    with pytest.raises(QbftError, match="no view") as caught:
        await part(network.transport(3), 3, definition=COMPARING, compare=fail)
    assert isinstance(caught.value.__cause__, LookupError)
    assert leftovers() == []


async def test_a_comparison_that_hangs_ends_with_its_round() -> None:
    """REFERENCE rule 32: it blocks the engine till the round timer, and is then cancelled."""
    network = MemoryNetwork(4)
    seen: list[Effect] = []
    open_comparisons = []

    async def hang(compared: Message) -> bool:
        open_comparisons.append(compared)
        try:
            await asyncio.Event().wait()
        finally:
            open_comparisons.remove(compared)
        return True

    running = asyncio.create_task(
        part(network.transport(3), 3, definition=COMPARING, compare=hang, observe=seen.append)
    )
    await tell(network, 3, message(MessageType.PRE_PREPARE, 0))
    await asyncio.sleep(0.5)
    assert len(open_comparisons) == 1
    await tell(network, 3, *[message(MessageType.PREPARE, source) for source in range(3)])
    await asyncio.sleep(1)
    assert not open_comparisons
    assert [each.to_round for each in seen if isinstance(each, RoundChanged)] == [2]
    assert [each.message.type for each in seen if isinstance(each, Broadcast)] == [
        MessageType.ROUND_CHANGE
    ]
    running.cancel()
    await asyncio.wait([running])
    assert leftovers() == []


async def test_a_late_verdict_is_nobodys() -> None:
    """REFERENCE rule 32: a hook that resists its cancellation answers into the void."""
    network = MemoryNetwork(4)
    seen: list[Effect] = []

    async def stubborn(_: Message) -> bool:
        try:
            await asyncio.sleep(3_600)
        except asyncio.CancelledError:
            await asyncio.sleep(0.2)
        return True

    running = asyncio.create_task(
        part(network.transport(3), 3, definition=COMPARING, compare=stubborn, observe=seen.append)
    )
    await tell(network, 3, message(MessageType.PRE_PREPARE, 0))
    await asyncio.sleep(1.5)
    sent = [each.message.type for each in seen if isinstance(each, Broadcast)]
    assert sent == [MessageType.ROUND_CHANGE]
    running.cancel()
    await asyncio.wait([running])


async def test_what_arrived_during_a_comparison_is_taken_after_it() -> None:
    """DESIGN, one step: the driver holds every input meanwhile, and loses none."""
    network = MemoryNetwork(4)
    ready = asyncio.Event()

    async def compare(_: Message) -> bool:
        await ready.wait()
        return True

    running = asyncio.create_task(
        part(network.transport(3), 3, definition=COMPARING, compare=compare)
    )
    await tell(network, 3, message(MessageType.PRE_PREPARE, 0))
    await tell(network, 3, *[message(MessageType.COMMIT, source) for source in range(3)])
    await asyncio.sleep(0.5)
    assert not running.done()
    ready.set()
    assert (await running).value == "v"


async def test_what_arrives_while_a_comparison_hangs_waits_at_its_link() -> None:
    """DESIGN, bounds: an open comparison makes no queue grow but the sender's own, which is full.

    A flood of one peer costs another nothing: its votes decide once the comparison is over.
    """
    network = MemoryNetwork(4, queue_frames_max=200)
    taken = count()
    ready = asyncio.Event()

    async def compare(_: Message) -> bool:
        await ready.wait()
        return True

    transport = FailingTransport(network.transport(3))
    running = asyncio.create_task(part(transport, 3, definition=COMPARING, compare=compare))
    await tell(network, 3, message(MessageType.PRE_PREPARE, 0))
    await asyncio.sleep(0.1)
    for _ in range(50):
        await tell(network, 3, *[message(MessageType.PREPARE, 1, next(taken) + 2)] * 40)
        await asyncio.sleep(0.01)
    await tell(network, 3, *[message(MessageType.COMMIT, source) for source in (0, 2)])
    assert transport.frames_received <= PENDING_FRAMES_MAX + BATCH_FRAMES_MAX
    ready.set()
    async with asyncio.timeout(1):
        while 3 not in (await network.transport(1).receive()).fresh:
            pass
    await tell(network, 3, message(MessageType.COMMIT, 1))
    assert (await running).value == "v"


async def test_a_turn_takes_a_bounded_number_of_messages() -> None:
    """DESIGN, bounds: many messages at once are taken over several turns, and none is lost."""
    network = MemoryNetwork(4)
    votes = [message(MessageType.PREPARE, 1, round_) for round_ in range(2, 2 + WAITING_INPUTS_MAX)]
    for _ in range(2):
        await network.transport(1).send(Frame(votes=tuple(votes)), 3)
    await tell(network, 3, *[message(MessageType.COMMIT, source) for source in range(3)])
    decision = await run(DEFINITION, "here", 3, network.transport(3), timer=constant(ROUND_MS)())
    assert decision.value == "v"


async def test_decision_type_is_the_librarys() -> None:
    """DESIGN 2: `qbft.Decision` and `qbft.run` are what this file tests."""
    assert qbft.Decision is Decision
    assert qbft.run is run
