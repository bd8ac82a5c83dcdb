"""A node's account of an instance, on the wire and back (`inspection.proto`).

What is read is the word of a node that may lie: lists name known validators once, texts are cut.
"""

from __future__ import annotations

from collections.abc import Iterable

from qbft.core import InstanceId, MessageType
from qbft.core.messages import ROUND_MAX
from qbft.diagnosis.account import InstanceAccount, InstanceState, NodeAccount, PeerAccount
from qbft.wire.v1 import inspection_pb2 as pb

REASONS_MAX = 64
"""Reject reasons, and bounds, that are read of one peer; a node has fewer."""

REASON_CHARACTERS_MAX = 64
"""Of such a reason or name."""

NUMBER_MAX = 2**63 - 1
"""The highest number in an account."""

_NUMBERS = {state: number for number, state in enumerate(InstanceState, 1)}
_STATES = {number: state for state, number in _NUMBERS.items()}


def account_to_pb(account: NodeAccount) -> pb.InspectInstanceReply:
    """Write a node's account."""
    about = account.about
    message = pb.InspectInstanceReply(
        validator=account.validator,
        voting=account.voting,
        account=pb.InstanceAccount(
            state=_NUMBERS[about.state],  # type: ignore[arg-type] # an enum is a number
            round=about.round,
            cast=[int(kind) for kind in about.cast],  # type: ignore[misc]
            pre_prepares=about.pre_prepares,
            prepares=about.prepares,
            commits=about.commits,
            round_changes=about.round_changes,
            later=about.later,
            prepared_round=about.prepared_round,
            has_input=about.has_input,
            guarded=about.guarded,
            adopts=about.adopts,
            awaits_bytes_of=about.awaits_bytes_of,
            awaits_check_of=about.awaits_check_of,
            found_invalid_of=about.found_invalid_of,
            not_adopted_of=about.not_adopted_of,
            dropped_of=about.dropped_of,
            held_of=about.held_of,
            waits_for_place_of=about.waits_for_place_of,
            timer_ms=about.timer_ms,
            waits_for_company=about.waits_for_company,
            leader=about.leader,
            next_leader=about.next_leader,
        ),
    )
    for peer in account.peers:
        message.peers.add(
            validator=peer.validator,
            connected=peer.connected,
            last_heard_ms=peer.last_heard_ms,
            rejects=[pb.RejectCount(reason=reason, count=n) for reason, n in peer.rejects],
            bounds=[pb.BoundCount(bound=bound, count=n) for bound, n in peer.bounds],
        )
    return message


def account_from_pb(
    message: pb.InspectInstanceReply, instance: InstanceId, validator: int, nodes: int
) -> NodeAccount:
    """Read the account that the node `validator`, of so many, gives of an instance.

    Raises:
        ValueError: it can be none: a number in it is out of its range.
    """
    about = message.account
    state = _STATES.get(about.state)
    numbers = (about.leader, about.next_leader)
    if state is None or about.round > ROUND_MAX or max(numbers) >= nodes:
        raise ValueError("malformed account")
    account = InstanceAccount(
        instance,
        state,
        round=about.round,
        cast=tuple(kind for kind in MessageType if int(kind) in about.cast),
        pre_prepares=_validators(about.pre_prepares, nodes),
        prepares=_validators(about.prepares, nodes),
        commits=_validators(about.commits, nodes),
        round_changes=_validators(about.round_changes, nodes),
        later=_validators(about.later, nodes),
        prepared_round=min(about.prepared_round, ROUND_MAX),
        has_input=about.has_input,
        guarded=about.guarded,
        adopts=about.adopts,
        awaits_bytes_of=_validators(about.awaits_bytes_of, nodes),
        awaits_check_of=_validators(about.awaits_check_of, nodes),
        found_invalid_of=_validators(about.found_invalid_of, nodes),
        not_adopted_of=_validators(about.not_adopted_of, nodes),
        dropped_of=_validators(about.dropped_of, nodes),
        held_of=_validators(about.held_of, nodes),
        waits_for_place_of=_validators(about.waits_for_place_of, nodes),
        timer_ms=min(about.timer_ms, NUMBER_MAX) if about.HasField("timer_ms") else None,
        waits_for_company=about.waits_for_company,
        leader=about.leader,
        next_leader=about.next_leader,
    )
    peers = {peer.validator: peer for peer in message.peers if peer.validator < nodes}
    return NodeAccount(
        validator, message.voting, account, tuple(_peer(peers[index]) for index in sorted(peers))
    )


def _peer(peer: pb.PeerAccount) -> PeerAccount:
    return PeerAccount(
        peer.validator,
        peer.connected,
        min(peer.last_heard_ms, NUMBER_MAX) if peer.HasField("last_heard_ms") else None,
        _counts((each.reason, each.count) for each in peer.rejects[:REASONS_MAX]),
        _counts((each.bound, each.count) for each in peer.bounds[:REASONS_MAX]),
    )


def _counts(counts: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    return tuple((name[:REASON_CHARACTERS_MAX], min(count, NUMBER_MAX)) for name, count in counts)


def _validators(indexes: Iterable[int], nodes: int) -> tuple[int, ...]:
    return tuple(sorted({index for index in indexes if index < nodes}))
