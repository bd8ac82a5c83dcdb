"""The oracle: what must hold after every step of every run (SCENARIOS, section 0)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from qbft.core import InstanceId, Message, MessageType, Value, max_faulty, quorum
from qbft.crypto.proposal import value_digest
from qbft.decision import Decision

Key = tuple[object, int, MessageType, int]
"""What an honest node says one thing for: instance, source, type, round."""

Content = tuple[Value | None, int, Value | None]
"""A vote's value, and what it says is prepared."""


class Violation(AssertionError):  # noqa: N818 - named for what it is
    """A property that must hold does not; the message names it."""


def brief(vote: Message) -> str:
    """A vote in a few words."""
    value = vote.value if vote.value is not None else vote.prepared_value
    named = value.hex()[:8] if isinstance(value, bytes) else value
    prepared = f" prepared {vote.prepared_round}" if vote.prepared_round else ""
    return (
        f"{vote.type.name} {vote.instance} round {vote.round} of {vote.source}: {named}{prepared}"
    )


class Oracle:
    """Watches every vote that leaves an honest node and every decision that becomes durable.

    `certified_by` is how many COMMITs make a certificate, where a control wants less than a quorum.
    """

    def __init__(
        self,
        nodes: int,
        honest: Iterable[int],
        is_valid: Callable[[bytes], bool] = lambda value: True,
        *,
        certified_by: int | None = None,
        digest: Callable[[bytes], Value] = value_digest,
    ) -> None:
        self._nodes = nodes
        self._certified_by = certified_by or quorum(nodes)
        self._is_valid = is_valid
        self._digest = digest
        self._honest = frozenset(honest)
        self._proposed: dict[InstanceId, set[bytes]] = {}
        self._votes: dict[Key, Content] = {}
        self._commits: set[tuple[object, int, int, Value | None]] = set()
        self._lock = quorum(nodes) - max_faulty(nodes)
        self._committed: dict[tuple[object, int, Value | None], set[int]] = {}
        self._locked: dict[object, dict[int, Value | None]] = {}
        self._prepared: dict[object, dict[tuple[int, Value | None], None]] = {}
        self._round_change_max: dict[tuple[object, int], int] = {}
        self._commit_max: dict[tuple[object, int], int] = {}
        self._faulty = max_faulty(nodes)
        self._hearers: dict[Key, set[int]] = {}
        self._lost: dict[int, set[Key]] = {}
        self._decided: dict[InstanceId, bytes] = {}
        self._concluded: set[tuple[int, InstanceId]] = set()

    @property
    def decided(self) -> dict[InstanceId, bytes]:
        """The decided value of each instance so far."""
        return self._decided

    def proposed(self, instance: InstanceId, value: bytes) -> None:
        """Note that a client proposed this value."""
        self._proposed.setdefault(instance, set()).add(value)

    def signed(self, vote: Message) -> None:
        """Check a vote that an honest node makes durable or sends: I5 to I8.

        What it made durable it may send for ever; what it sent and did not make durable it will
        contradict after some restart.
        """
        if vote.source not in self._honest or vote.type is MessageType.DECIDED:
            return
        key = (vote.instance, vote.source, vote.type, vote.round)
        content = (vote.value, vote.prepared_round, vote.prepared_value)
        if vote.type is MessageType.COMMIT:
            self._commits.add((vote.instance, vote.source, vote.round, vote.value))
        known = self._votes.get(key)
        if known is not None:
            if vote.source in self._lost:
                self._lost[vote.source].discard(key)
            if known != content:
                raise Violation(f"I5: two contents of {brief(vote)}")
            return
        self._votes[key] = content
        mine = (vote.instance, vote.source)
        if vote.type is MessageType.ROUND_CHANGE:
            if vote.prepared_round < self._commit_max.get(mine, 0):
                raise Violation(
                    f"I7: {brief(vote)} hides a COMMIT of round {self._commit_max[mine]}"
                )
            self._round_change_max[mine] = max(vote.round, self._round_change_max.get(mine, 0))
        elif vote.round < self._round_change_max.get(mine, 0):
            raise Violation(f"I6: {brief(vote)} after ROUND-CHANGE {self._round_change_max[mine]}")
        if vote.type is MessageType.COMMIT:
            self._commit_max[mine] = max(vote.round, self._commit_max.get(mine, 0))
        self._check_lock(vote)

    def heard(self, vote: Message, by: int) -> None:
        """Note that a vote has reached a node, with what it nests."""
        if by in self._honest:
            for each in (vote, *vote.justification):
                key = (each.instance, each.source, each.type, each.round)
                self._hearers.setdefault(key, set()).add(by)

    def loses_power(self, node: int) -> None:
        """Let go of what this node has heard, for it was in its memory."""
        for hearers in self._hearers.values():
            hearers.discard(node)
        for source in sorted(self._lost):
            self._forget_untold(source)

    def loses_disk(self, source: int) -> None:
        """Let go of its decisions, and of its votes that it is not sure to be told of (W7).

        It votes again when all but F nodes have answered. So what F+1 honest ones remember until
        then binds it; with less it is one of the F that are faulty, and need not be told.
        """
        self._concluded = {key for key in self._concluded if key[0] != source}
        self._lost[source] = {key for key in self._votes if key[1] == source}
        self._forget_untold(source)

    def _forget_untold(self, source: int) -> None:
        mine = [key for key in self._votes if key[1] == source]
        for key in mine:
            instance, _, kind, round_ = key
            hearers = self._hearers.get(key, set()) - {source}
            if key in self._lost[source] and len(hearers) <= self._faulty:
                value, *_ = self._votes.pop(key)
                if kind is MessageType.COMMIT:
                    voters = self._committed.get((instance, round_, value), set())
                    voters.discard(source)
                    if len(voters) < self._lock:
                        self._locked.get(instance, {}).pop(round_, None)
        for instance in {key[0] for key in mine}:
            left = [key for key in mine if key[0] == instance and key in self._votes]
            for most, kind in (
                (self._round_change_max, MessageType.ROUND_CHANGE),
                (self._commit_max, MessageType.COMMIT),
            ):
                most[instance, source] = max((key[3] for key in left if key[2] is kind), default=0)

    def _check_lock(self, vote: Message) -> None:
        """Check I8: Q-f honest COMMITs lock a value against later PREPAREs, in any order of time.

        Not F+1 of them: that would raise false alarms (HARDENING, section 4).
        """
        locked = self._locked.setdefault(vote.instance, {})
        prepared = self._prepared.setdefault(vote.instance, {})
        if vote.type is MessageType.PREPARE:
            prepared[vote.round, vote.value] = None
        elif vote.type is MessageType.COMMIT:
            voters = self._committed.setdefault((vote.instance, vote.round, vote.value), set())
            voters.add(vote.source)
            if len(voters) >= self._lock:
                locked[vote.round] = vote.value
        else:
            return
        for lock_round, lock_value in locked.items():
            for round_, value in prepared:
                if round_ > lock_round and value != lock_value:
                    raise Violation(
                        f"I8: {vote.instance} is locked in round {lock_round}, "
                        f"another value was PREPAREd in round {round_}"
                    )

    def concluded(self, node: int, decision: Decision) -> None:
        """Check a durable decision: I1 agreement, I2 validity, I3 once, I4 its certificate."""
        certificate = decision.certificate
        instance, value = certificate.instance, decision.value
        if not isinstance(instance, InstanceId) or not isinstance(value, bytes):
            raise Violation(f"I4: {decision} is not one of the service")
        if (node, instance) in self._concluded:
            raise Violation(f"I3: node {node} decided {instance} twice")
        self._concluded.add((node, instance))
        if self._decided.setdefault(instance, value) != value:
            raise Violation(f"I1: {instance} decided as {value!r} and {self._decided[instance]!r}")
        if value not in self._proposed.get(instance, set()):
            raise Violation(f"I2: nobody proposed {value!r} for {instance}")
        if not self._is_valid(value):
            raise Violation(f"I2: {value!r} is decided for {instance} and not valid")
        if certificate.value != self._digest(value):
            raise Violation(f"I4: certificate of {instance} is not for the bytes {value!r}")
        sources = {commit.source for commit in certificate.commits}
        exact = all(
            (c.type, c.instance, c.round, c.value)
            == (MessageType.COMMIT, instance, certificate.round, certificate.value)
            for c in certificate.commits
        )
        members = all(0 <= source < self._nodes for source in sources)
        if len(sources) < self._certified_by or not exact or not members:
            raise Violation(f"I4: certificate of {instance} is no quorum of its COMMITs")
        for commit in certificate.commits:
            cast = (commit.instance, commit.source, commit.round, commit.value)
            if commit.source in self._honest and cast not in self._commits:
                raise Violation(f"I4: {brief(commit)} was never cast")
