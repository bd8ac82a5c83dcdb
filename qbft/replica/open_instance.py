"""One undecided instance: its engine, and what stands around it.

Around the engine only what an asynchronous network could do is done (DESIGN, exactness): messages
wait for the bytes of their value or for a check, votes of a round come again when that round is
entered, and a quorum of COMMITs outside the engine's round comes as a DECIDED. What the engine says
passes the guard and loops back at once; the replica collects it at the end of the turn.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qbft.core import (
    Broadcast,
    Decide,
    Definition,
    Effect,
    Failed,
    Input,
    InputValue,
    Instance,
    InstanceId,
    Message,
    MessageType,
    OwnVote,
    RoundChanged,
    Start,
    StartTimer,
    StopTimer,
    TimerExpired,
    Unjustified,
    Value,
)
from qbft.crypto.proposal import Proposal
from qbft.replica.collector import CommitCollector
from qbft.replica.guard import VoteGuard
from qbft.replica.limits import ReplicaLimits
from qbft.replica.value_checks import ValueChecks
from qbft.timers import RoundTimer

Slot = tuple[int, int, int, Value | None, int, Value | None]


@dataclass(slots=True)
class CastVote:
    """An own vote with its place in the journal's numbering; 0 until it is signed."""

    own: OwnVote
    cast_ms: int
    sequence: int = 0


class OpenInstance:
    """One instance's engine with its guard, collector, held messages and known values."""

    def __init__(
        self,
        instance: InstanceId,
        definition: Definition,
        validator: int,
        timer: RoundTimer,
        limits: ReplicaLimits,
    ) -> None:
        self.instance = instance
        self.deadline_ms: int | None = None
        self.armed_ms: int | None = None
        self.decide: Decide | None = None
        self.failure: str | None = None
        self.input: Proposal | None = None
        self.proposals: dict[bytes, Proposal] = {}
        self.journaled: set[bytes] = set()
        self.votes: list[CastVote] = []
        self.collector = CommitCollector(definition.quorum)
        self.awaited: dict[bytes, OrderedDict[int, list[Message]]] = {}
        self.checks = ValueChecks()
        self._engine = Instance(definition, instance, validator)
        self._definition = definition
        self._validator = validator
        self._timer = timer
        self._limits = limits
        self._guard = VoteGuard()
        self._drained = 0
        self._later: dict[int, OrderedDict[Slot, Message]] = {}
        self._seen: set[Message] = set()

    # --- beginning --------------------------------------------------------------------------------

    def start(self, now_ms: int) -> None:
        """Begin in round 1."""
        self._feed(Start(), now_ms)

    def resume(self, votes: Sequence[CastVote], input_: Proposal | None, now_ms: int) -> None:
        """Go on after a restart, from the journaled votes and input (HARDENING W5)."""
        self.votes = list(votes)
        self._drained = len(self.votes)
        self._guard = VoteGuard(cast.own.vote for cast in votes)
        for cast in votes:
            if cast.own.vote.type is MessageType.COMMIT:
                self.collector.add(cast.own.vote)
        self.input = input_
        self._engine, effects = Instance.resume(
            self._definition,
            self.instance,
            self._validator,
            [cast.own for cast in votes],
            input_.digest if input_ is not None else None,
        )
        self._run(deque(), effects, now_ms)

    def give_input(self, proposal: Proposal, now_ms: int) -> None:
        """Give the engine its input; only the first counts (REFERENCE rule 8)."""
        if self.input is None:
            self.input = proposal
            self._feed(InputValue(proposal.digest), now_ms)

    # --- messages ---------------------------------------------------------------------------------

    def take(self, message: Message, now_ms: int) -> None:
        """Take a verified message; it may have to wait for the bytes of its value."""
        awaited = self._awaited_value(message)
        if awaited is not None:
            self._hold(awaited, message)
            return
        if message.source != self._validator and not self.checks.admit(message):
            return
        if message.type is MessageType.COMMIT:
            self.collector.add(message)
        if message.round > self.round and message.type is not MessageType.DECIDED:
            self._keep_later(message)
        self._feed(message, now_ms)
        self._collect(now_ms)

    def take_again(self, message: Message, now_ms: int) -> None:
        """Take a re-sent message, at most once in each round of the engine (DESIGN, late nodes).

        So a replayed old vote never evicts a fresh one from the engine's log (HARDENING D11).
        """
        if message in self._seen or len(self._seen) >= self._limits.seen_votes_per_instance_max:
            return
        self._seen.add(message)
        self.take(message, now_ms)

    def learn(self, proposal: Proposal, now_ms: int) -> None:
        """Take the bytes of a value; what waited for them goes on."""
        if len(self.proposals) >= self._limits.proposals_per_instance_max:
            return
        self.proposals.setdefault(proposal.digest, proposal)
        for messages in self.awaited.pop(proposal.digest, {}).values():
            for message in messages:
                self.take(message, now_ms)

    def conclude_check(self, digest: bytes, now_ms: int, *, valid: bool | None) -> None:
        """Take the application's answer; None: it gave none, and will be asked again."""
        for message in self.checks.conclude(digest, valid=valid):
            self.take(message, now_ms)

    def expire(self, now_ms: int) -> None:
        """Let the round timer run out."""
        self.deadline_ms = None
        self._feed(TimerExpired(), now_ms)
        self._collect(now_ms)

    def _awaited_value(self, message: Message) -> bytes | None:
        """The value whose bytes must be there before the engine may see this (DESIGN, values)."""
        if message.source == self._validator:
            return None
        if message.type is MessageType.PRE_PREPARE:
            value = message.value
        elif message.type is MessageType.ROUND_CHANGE and message.prepared_round:
            value = message.prepared_value
        else:
            return None
        if isinstance(value, bytes) and value not in self.proposals:
            return value
        return None

    def _hold(self, awaited: bytes, message: Message) -> None:
        waiting = self.awaited.setdefault(awaited, OrderedDict())
        of_source = waiting.setdefault(message.source, [])
        held = sum(len(w.get(message.source, ())) for w in self.awaited.values())
        if message not in of_source and held < self._limits.waiting_for_value_per_source_max:
            of_source.append(message)

    def _keep_later(self, message: Message) -> None:
        """Keep a vote of a later round for when that round is entered."""
        kept = self._later.setdefault(message.source, OrderedDict())
        slot = (
            int(message.type),
            message.source,
            message.round,
            message.value,
            message.prepared_round,
            message.prepared_value,
        )
        kept[slot] = message
        if len(kept) > self._limits.later_votes_per_source_max:
            kept.popitem(last=False)

    # --- the engine -------------------------------------------------------------------------------

    @property
    def round(self) -> int:
        """The engine's round."""
        return self._engine.round

    def _collect(self, now_ms: int) -> None:
        """Turn a quorum of COMMITs outside the engine's round into a DECIDED (HARDENING D1)."""
        if self.decide is not None:
            return
        commits = self.collector.quorum_outside(self.round)
        if commits:
            decided = Message(
                MessageType.DECIDED,
                self.instance,
                self._validator,
                commits[0].round,
                commits[0].value,
                justification=commits,
            )
            self._feed(decided, now_ms)

    def take_decided(
        self, round_: int, value: Value, commits: Iterable[Message], now_ms: int
    ) -> None:
        """Take a verified certificate as the DECIDED that it is (HARDENING U4)."""
        self._feed(
            Message(
                MessageType.DECIDED,
                self.instance,
                self._validator,
                round_,
                value,
                justification=tuple(commits),
            ),
            now_ms,
        )

    def _feed(self, input_: Input, now_ms: int) -> None:
        self._run(deque([input_]), (), now_ms)

    def _run(self, inputs: deque[Input], effects: tuple[Effect, ...], now_ms: int) -> None:
        """Step until nothing loops back any more. A decided or failed engine is left alone."""
        self._perform(effects, inputs, now_ms)
        while inputs and self.decide is None and self.failure is None:
            self._perform(self._engine.step(inputs.popleft()), inputs, now_ms)

    def _perform(self, effects: tuple[Effect, ...], inputs: deque[Input], now_ms: int) -> None:
        for effect in effects:
            match effect:
                case Broadcast(message):
                    self._cast(message, inputs, now_ms)
                case StartTimer(round_):
                    self.deadline_ms = self._timer.deadline_ms(round_, now_ms)
                case StopTimer():
                    self.deadline_ms = None
                case RoundChanged(_, round_, _):
                    self._enter(round_, inputs)
                case Decide():
                    self.decide = effect
                case Failed(reason):
                    self.failure = reason
                case Unjustified(message):
                    self._forget_later(message)
                case _:
                    pass

    def _cast(self, message: Message, inputs: deque[Input], now_ms: int) -> None:
        """Pass the guard, remember the vote for the end of the turn, and loop it back."""
        if self._guard.admit(message):
            prepares = (
                self._engine.prepared_justification if message.type is MessageType.COMMIT else ()
            )
            self.votes.append(CastVote(OwnVote(message, prepares), now_ms))
            if message.type is MessageType.COMMIT:
                self.collector.add(message)
        inputs.append(message)

    def _enter(self, round_: int, inputs: deque[Input]) -> None:
        """Re-deliver what was kept of the round now entered; what is older is of no use."""
        self._seen.clear()
        for kept in self._later.values():
            for slot in [slot for slot in kept if slot[2] <= round_]:
                message = kept.pop(slot)
                if slot[2] == round_:
                    inputs.append(message)

    def _forget_later(self, message: Message) -> None:
        """Keep nothing of what `step` called unjustified."""
        kept = self._later.get(message.source, OrderedDict())
        for slot in [slot for slot, held in kept.items() if held is message]:
            del kept[slot]

    # --- what the replica collects ----------------------------------------------------------------

    def drain_cast(self) -> list[CastVote]:
        """The votes cast since the last turn."""
        fresh = self.votes[self._drained :]
        self._drained = len(self.votes)
        return fresh

    def value_of(self, vote: Message) -> Proposal | None:
        """The bytes that a vote is for, where they are known."""
        value = vote.value if vote.value is not None else vote.prepared_value
        return self.proposals.get(value) if isinstance(value, bytes) else None

    def known_proposal(self) -> Proposal | None:
        """A proposal that opens the instance elsewhere: the input, else the first that is known."""
        if self.input is not None:
            return self.input
        return next(iter(self.proposals.values()), None)

    def current_votes(self) -> list[CastVote]:
        """What a peer that lost everything needs of this node (DESIGN, reliable links).

        The votes of the highest round, the highest ROUND-CHANGE and the highest COMMIT.
        """
        if not self.votes:
            return []
        top = max(cast.own.vote.round for cast in self.votes)
        best: dict[MessageType, CastVote] = {}
        for cast in self.votes:
            vote = cast.own.vote
            if vote.type in (MessageType.ROUND_CHANGE, MessageType.COMMIT):
                known = best.get(vote.type)
                if known is None or vote.round >= known.own.vote.round:
                    best[vote.type] = cast
        chosen = best.values()
        return [cast for cast in self.votes if cast.own.vote.round == top or cast in chosen]
