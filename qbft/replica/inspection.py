"""How a replica stands in one instance, read from what is there anyway (`qbft.diagnosis`)."""

from __future__ import annotations

from qbft.core import Definition, Message, MessageType
from qbft.diagnosis.account import InstanceAccount, InstanceState
from qbft.replica.open_instance import OpenInstance
from qbft.replica.policy import TopicPolicy


def account_of(
    opened: OpenInstance, definition: Definition, policy: TopicPolicy, now_ms: int
) -> InstanceAccount:
    """Give the account of an instance that is open.

    It walks the votes that the engine holds, of which there are so many at most from each source.
    """
    round_ = opened.round
    heard = [vote for source in range(definition.nodes) for vote in opened.heard_from(source)]
    cast = {each.own.vote.type for each in opened.votes.current if each.own.vote.round == round_}
    deadline_ms = opened.deadline_ms
    is_running = not opened.waits_for_company

    def sources(kind: MessageType) -> tuple[int, ...]:
        return _sources([vote for vote in heard if vote.type is kind and vote.round == round_])

    return InstanceAccount(
        opened.instance,
        InstanceState.OPEN,
        round=round_,
        cast=tuple(sorted(cast)),
        pre_prepares=sources(MessageType.PRE_PREPARE),
        prepares=sources(MessageType.PREPARE),
        commits=sources(MessageType.COMMIT),
        round_changes=sources(MessageType.ROUND_CHANGE),
        later=_sources([vote for vote in heard if vote.round > round_]),
        prepared_round=opened.prepared_round,
        has_input=opened.input is not None,
        guarded=bool(policy.proposers),
        adopts=policy.adopts,
        awaits_bytes_of=tuple(opened.awaited.sources()),
        awaits_check_of=tuple(opened.checks.sources()),
        found_invalid_of=opened.checks.refused_in(round_),
        not_adopted_of=tuple(opened.checks.not_adopted()),
        dropped_of=tuple(sorted(opened.lacking)),
        timer_ms=None if deadline_ms is None or not is_running else max(0, deadline_ms - now_ms),
        waits_for_company=opened.waits_for_company,
        leader=definition.leader(opened.instance, round_),
        next_leader=definition.leader(opened.instance, round_ + 1),
    )


def _sources(votes: list[Message]) -> tuple[int, ...]:
    return tuple(sorted({vote.source for vote in votes}))
