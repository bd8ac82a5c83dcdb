"""The gate before any signature work: may a message of this shape exist (HARDENING U6)?

Purely a matter of the message itself; whether it is justified is Algorithm 4's business, in the
engine. A correct node sends nothing that this refuses.
"""

from __future__ import annotations

from collections.abc import Iterable

from qbft.core import Message, MessageType, Value
from qbft.core.messages import ROUND_MAX
from qbft.wire.reject import RejectReason

_PRE_PREPARE = MessageType.PRE_PREPARE
_PREPARE = MessageType.PREPARE
_COMMIT = MessageType.COMMIT
_ROUND_CHANGE = MessageType.ROUND_CHANGE
_DECIDED = MessageType.DECIDED


def check_shape(message: Message, nodes: int, quorum: int) -> RejectReason | None:
    """Why no correct node sends such a message, or None.

    Args:
        message: with fields in the ranges of the wire: a digest is None or 32 bytes, not all zero.
        nodes: how many validators there are.
        quorum: how many of them decide.
    """
    reason = _check_fields(message, nodes)
    if reason is not None:
        return reason
    if len(message.justification) > 2 * nodes:
        return RejectReason.TOO_MANY
    kind = message.type
    if kind is _PREPARE or kind is _COMMIT or (kind is _PRE_PREPARE and message.round == 1):
        return RejectReason.BAD_JUSTIFICATION if message.justification else None
    reason = _check_nested(message, nodes)
    if reason is not None:
        return reason
    if kind is _PRE_PREPARE:
        return _check_pre_prepare(message, nodes, quorum)
    if kind is _ROUND_CHANGE:
        return _check_round_change(message, nodes, quorum)
    return _check_decided(message, nodes, quorum)


def _check_fields(message: Message, nodes: int) -> RejectReason | None:
    """The fields alone, the same for a nested message."""
    if not 0 <= message.source < nodes:
        return RejectReason.BAD_SOURCE
    if not 1 <= message.round <= ROUND_MAX:
        return RejectReason.BAD_ROUND
    if message.type is _ROUND_CHANGE:
        if message.round == 1 or not 0 <= message.prepared_round < message.round:
            return RejectReason.BAD_ROUND
        if message.value is not None or (message.prepared_value is None) != (
            message.prepared_round == 0
        ):
            return RejectReason.BAD_DIGEST
        return None
    if message.prepared_round != 0:
        return RejectReason.BAD_ROUND
    if message.value is None or message.prepared_value is not None:
        return RejectReason.BAD_DIGEST
    return None


def _check_nested(message: Message, nodes: int) -> RejectReason | None:
    """Each nested message alone: of this instance, well-formed, bare, and none of them twice."""
    seen: set[tuple[MessageType, int]] = set()
    for nested in message.justification:
        if nested.justification or nested.instance != message.instance:
            return RejectReason.BAD_JUSTIFICATION
        reason = _check_fields(nested, nodes)
        if reason is not None:
            return reason
        seen.add((nested.type, nested.source))
    if len(seen) < len(message.justification):
        return RejectReason.BAD_JUSTIFICATION
    return None


def _check_pre_prepare(message: Message, nodes: int, quorum: int) -> RejectReason | None:
    """Round 2 and later: ROUND-CHANGEs of its round, and maybe PREPAREs of an earlier one."""
    round_changes = [n for n in message.justification if n.type is _ROUND_CHANGE]
    prepares = [n for n in message.justification if n.type is _PREPARE]
    if (
        len(round_changes) + len(prepares) < len(message.justification)
        or not quorum <= len(round_changes) <= nodes
        or any(n.round != message.round for n in round_changes)
    ):
        return RejectReason.BAD_JUSTIFICATION
    if prepares and not _is_prepare_quorum(
        prepares, prepares[0].round, message.value, nodes, quorum
    ):
        return RejectReason.BAD_JUSTIFICATION
    if prepares and prepares[0].round >= message.round:
        return RejectReason.BAD_JUSTIFICATION
    return None


def _check_round_change(message: Message, nodes: int, quorum: int) -> RejectReason | None:
    """Nothing prepared and nothing shown, or a quorum of PREPAREs for what is prepared."""
    if message.prepared_round == 0:
        return RejectReason.BAD_JUSTIFICATION if message.justification else None
    if _is_prepare_quorum(
        message.justification, message.prepared_round, message.prepared_value, nodes, quorum
    ):
        return None
    return RejectReason.BAD_JUSTIFICATION


def _check_decided(message: Message, nodes: int, quorum: int) -> RejectReason | None:
    """COMMITs only."""
    if quorum <= len(message.justification) <= nodes and all(
        n.type is _COMMIT for n in message.justification
    ):
        return None
    return RejectReason.BAD_JUSTIFICATION


def _is_prepare_quorum(
    messages: Iterable[Message], round_: int, value: Value | None, nodes: int, quorum: int
) -> bool:
    """Whether these are PREPAREs of one round and value, of which a quorum has been shown."""
    messages = tuple(messages)
    return quorum <= len(messages) <= nodes and all(
        n.type is _PREPARE and n.round == round_ and n.value == value for n in messages
    )
