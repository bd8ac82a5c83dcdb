"""Algorithm 4: which messages prove themselves, and what proof a leader may send.

The two ways to justify a PRE-PREPARE after round 1: J1, a quorum of ROUND-CHANGEs that have
nothing prepared, leaves the value free; J2, a quorum of ROUND-CHANGEs with a quorum of PREPAREs for
the highest prepared round among them, fixes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qbft.core.message_log import MessageLog, in_order, is_null
from qbft.core.messages import Definition, Message, MessageType, Value


def is_justified_round_change(message: Message, quorum: int) -> bool:
    """Algorithm 4:1-4. Nothing prepared, or proven by the quorum of PREPAREs it carries.

    One element that does not fit rejects all; that the prepared round is below the message's own is
    not asked here (REFERENCE rule 18) but before the engine (HARDENING D6).
    """
    if not message.justification:
        return is_null(message)
    return _is_quorum_of(
        message.justification,
        MessageType.PREPARE,
        message.prepared_round,
        message.prepared_value,
        quorum,
    )


def is_justified_decided(message: Message, quorum: int) -> bool:
    """Algorithm 3:17. It carries a quorum of COMMITs for its own round and value.

    What else it carries does not matter (REFERENCE rule 19).
    """
    sources = {
        nested.source
        for nested in message.justification
        if nested.type is MessageType.COMMIT
        and nested.round == message.round
        and nested.value == message.value
    }
    return len(sources) >= quorum


def is_justified_pre_prepare(
    message: Message, definition: Definition, compare_failure_round: int
) -> bool:
    """Algorithm 4:5-11. From the round's leader, with a value, and free to propose it.

    Round 1 needs no proof; nor does the round after a failed comparison (REFERENCE rule 20, and
    HARDENING D7 on why the comparison stays off).
    """
    if message.source != definition.leader(message.instance, message.round):
        return False
    if message.value is None:
        return False
    if message.round in (1, compare_failure_round + 1):
        return True
    prepared = _proven_value(message.justification, message.round, definition.quorum)
    return prepared is not None and prepared.allows(message.value)


@dataclass(frozen=True, slots=True)
class _Proven:
    """What a justified quorum of ROUND-CHANGEs leaves to propose; None: any value."""

    value: Value | None

    def allows(self, value: Value | None) -> bool:
        return self.value is None or self.value == value


def _proven_value(justification: tuple[Message, ...], round_: int, quorum: int) -> _Proven | None:
    """The receiver's side of J1 and J2 (REFERENCE rule 21); None where neither holds."""
    round_changes: dict[int, Message] = {}
    for nested in justification:
        if nested.type is MessageType.ROUND_CHANGE and nested.round == round_:
            round_changes.setdefault(nested.source, nested)
    if len(round_changes) < quorum:
        return None
    if all(is_null(change) for change in round_changes.values()):
        return _Proven(None)
    prepares = tuple(n for n in justification if n.type is MessageType.PREPARE)
    if not prepares:
        return None
    prepared_round, value = prepares[0].round, prepares[0].value
    if not _is_quorum_of(prepares, MessageType.PREPARE, prepared_round, value, quorum):
        return None
    if not _proves(round_changes.values(), prepared_round, value):
        return None
    return _Proven(value)


@dataclass(frozen=True, slots=True)
class RoundChangeProof:
    """What a leader attaches to its PRE-PREPARE: ROUND-CHANGEs, and under J2 PREPAREs."""

    round_changes: tuple[Message, ...]
    prepares: tuple[Message, ...] = ()

    @property
    def justification(self) -> tuple[Message, ...]:
        """The ROUND-CHANGEs, then the PREPAREs, all that there are."""
        return self.round_changes + self.prepares


def is_round_change_justified(log: MessageLog, round_: int) -> bool:
    """Whether the log justifies a PRE-PREPARE of this round: what a leader could build is there."""
    return log.has_null_round_change_quorum(round_) or _provable(log, round_) is not None


def round_change_proof(log: MessageLog, round_: int) -> RoundChangeProof | None:
    """The leader's side: J1 if the log has it, else J2 for the highest prepared round that has it.

    J1 comes first even where some ROUND-CHANGE is prepared, also the leader's own (REFERENCE
    rule 22). The order of filters matters: round and prepared round first, then the first of each
    source, and the one exact match must be among these.
    """
    if log.has_null_round_change_quorum(round_):
        return RoundChangeProof(log.null_round_changes(round_))
    provable = _provable(log, round_)
    if provable is None:
        return None
    prepared_round, value = provable
    return RoundChangeProof(
        in_order(log.round_changes_up_to(round_, prepared_round)),
        log.prepares(prepared_round, value),
    )


def _provable(log: MessageLog, round_: int) -> tuple[int, Value | None] | None:
    """J2 at the leader: the highest (prepared round, value) that the log proves."""
    for prepared_round, value in log.prepare_quorums():
        round_changes = log.round_changes_up_to(round_, prepared_round)
        if len(round_changes) >= log.quorum and _proves(
            round_changes.values(), prepared_round, value
        ):
            return prepared_round, value
    return None


def _proves(round_changes: Iterable[Message], prepared_round: int, value: Value | None) -> bool:
    """Whether none is prepared above that round and at least one exactly there, for that value."""
    exact = False
    for change in round_changes:
        if change.prepared_round > prepared_round:
            return False
        exact |= change.prepared_round == prepared_round and change.prepared_value == value
    return exact


def _is_quorum_of(
    messages: tuple[Message, ...],
    type_: MessageType,
    round_: int,
    value: Value | None,
    quorum: int,
) -> bool:
    """Whether all are of that type, round and value, of distinct sources, and at least a quorum."""
    if len(messages) < quorum:
        return False
    sources = set()
    for message in messages:
        if message.type is not type_ or message.round != round_ or message.value != value:
            return False
        sources.add(message.source)
    return len(sources) == len(messages)
