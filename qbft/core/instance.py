"""Algorithms 1 to 3: one process's part in one instance, as a pure state machine.

`step` takes one input and returns the effects it has, in order; nothing else reaches in. The
behaviour is the reference's, rule by rule (docs/PAPER.md), with its nondeterminism resolved as
REFERENCE section 2 says.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import assert_never

from qbft.core.effects import (
    Broadcast,
    Compare,
    Compared,
    Decide,
    Effect,
    Failed,
    Input,
    InputValue,
    RoundChanged,
    RuleFired,
    Start,
    StartTimer,
    StopTimer,
    TimerExpired,
    Unjustified,
)
from qbft.core.justification import (
    RoundChangeProof,
    is_justified_decided,
    is_justified_pre_prepare,
    is_justified_round_change,
    is_round_change_justified,
    round_change_proof,
)
from qbft.core.message_log import MessageLog
from qbft.core.messages import Definition, Message, MessageType, OwnVote, Proof, Value
from qbft.core.rules import UponRule

DECIDED_ANSWERS_MAX = 16
"""DECIDED messages that one engine sends on behalf of one laggard (REFERENCE rule 10)."""


class Instance:
    """One process's engine for one instance.

    `round`, `prepared_round`, `prepared_value`, `prepared_justification` and `decision` may be
    read; only `step` changes them.
    """

    def __init__(self, definition: Definition, instance: Hashable, process: int) -> None:
        self.round = 1
        self.prepared_round = 0
        self.prepared_value: Value | None = None
        self.prepared_justification: tuple[Message, ...] = ()
        self.decision: Decide | None = None
        self._definition = definition
        self._instance = instance
        self._process = process
        self._quorum = definition.quorum
        self._log = MessageLog(definition.quorum, definition.fifo_messages_max)
        self._fired: set[tuple[UponRule, int]] = set()
        self._input: Value | None = None
        self._waiting_proof: tuple[Message, ...] | None = None
        self._comparing: Message | None = None
        self._compare_failure_round = 0
        self._answered: dict[int, tuple[int, int]] = {}
        self._failed = False
        self._effects: list[Effect] = []

    @classmethod
    def resume(
        cls,
        definition: Definition,
        instance: Hashable,
        process: int,
        votes: Sequence[OwnVote],
        input_value: Value | None,
    ) -> tuple[Instance, tuple[Effect, ...]]:
        """The engine of a process that restarts, from the votes it cast (HARDENING W5).

        `votes` are all own votes of the instance in the order they were cast, `input_value` the
        journaled input or None. The engine continues in the round of its highest vote, remembers
        what it sent there and what it prepared, and counts its own votes of that round again. What
        it says next contradicts none of them.
        """
        engine = cls(definition, instance, process)
        effects: tuple[Effect, ...] = ()
        if votes:
            engine._restore(votes)
            effects += (StartTimer(engine.round),)
            for own in votes:
                if own.vote.round == engine.round:
                    effects += engine.step(own.vote)
        else:
            effects += engine.step(Start())
        if input_value is not None:
            effects += engine.step(InputValue(input_value))
        return engine, effects

    def _restore(self, votes: Sequence[OwnVote]) -> None:
        self.round = max(own.vote.round for own in votes)
        for own in votes:
            vote = own.vote
            if vote.type is MessageType.COMMIT and vote.round >= self.prepared_round:
                self.prepared_round = vote.round
                self.prepared_value = vote.value
                self.prepared_justification = own.prepares
        sent = {own.vote.type for own in votes if own.vote.round == self.round}
        if MessageType.PREPARE in sent:
            self._fired.add((UponRule.JUSTIFIED_PRE_PREPARE, self.round))
        if MessageType.COMMIT in sent:
            self._fired.add((UponRule.QUORUM_PREPARES, self.round))
        if MessageType.PRE_PREPARE in sent:
            self._fired.add((UponRule.QUORUM_ROUND_CHANGES, self.round))
        elif self.round == 1 and self._leads(1):
            self._waiting_proof = ()

    def heard_from(self, source: int) -> tuple[Message, ...]:
        """The messages of a source that the log holds, the oldest first."""
        return self._log.of(source)

    def step(self, input_: Input) -> tuple[Effect, ...]:
        """Take one input; return its effects, to be performed strictly in order.

        Total: no input raises. What the reference treats as a bug of its caller gives `Failed`, and
        the engine is silent from then on (REFERENCE rule 3).
        """
        if self._failed:
            return ()
        effects = self._effects = []
        match input_:
            case Message():
                self._receive(input_)
            case Start():
                self._start()
            case InputValue(value):
                self._take_input(value)
            case TimerExpired():
                self._time_out()
            case Compared(matches):
                self._conclude_comparison(matches=matches)
            case _:
                assert_never(input_)
        return tuple(effects)

    # --- Algorithm 1: start -----------------------------------------------------------------------

    def _start(self) -> None:
        """Algorithm 1:11. Begin round 1; its leader proposes, at once or when its input comes."""
        if self._leads(1):
            self._propose_own(())
        self._effects.append(StartTimer(1))

    def _take_input(self, value: Value | None) -> None:
        """Algorithm 1:13. The input counts once; a leader that waited for it proposes (rule 8)."""
        if self._input is not None:
            return
        if value is None:
            self._fail("no value given as input")
            return
        self._input = value
        if self._waiting_proof is not None:
            self._pre_prepare(value, self._waiting_proof)

    # --- Algorithm 2: normal operation ------------------------------------------------------------

    def _receive(self, message: Message) -> None:
        """Justify, log, classify, act, in this order (REFERENCE rules 9 and 11)."""
        if self.decision is not None:
            self._answer_laggard(message, self.decision)
            return
        if self._comparing is not None:
            self._fail("a message while a comparison is open")
            return
        if (
            message.type is not MessageType.PREPARE
            and message.type is not MessageType.COMMIT
            and not self._is_justified(message)
        ):
            return
        if message.justification and _nests(message):
            self._fail("a nested justification")
            return
        self._log.add(message)
        match message.type:
            case MessageType.PREPARE:
                self._upon_prepare(message)
            case MessageType.COMMIT:
                self._upon_commit(message)
            case MessageType.PRE_PREPARE:
                self._upon_pre_prepare(message)
            case MessageType.ROUND_CHANGE:
                self._upon_round_change(message)
            case MessageType.DECIDED:
                self._upon_decided(message)
            case _:
                assert_never(message.type)

    def _is_justified(self, message: Message) -> bool:
        """Algorithm 4, for the types that need it; what fails is dropped and not logged."""
        match message.type:
            case MessageType.PRE_PREPARE:
                justified = is_justified_pre_prepare(
                    message, self._definition, self._compare_failure_round
                )
            case MessageType.ROUND_CHANGE:
                justified = is_justified_round_change(message, self._quorum)
            case MessageType.DECIDED:
                justified = is_justified_decided(message, self._quorum)
            case _:
                self._fail(f"message type {message.type!r}")
                return False
        if not justified:
            self._effects.append(Unjustified(message))
        return justified

    def _upon_pre_prepare(self, message: Message) -> None:
        """Algorithm 2:1. Upon a justified PRE-PREPARE of this round or a later one: PREPARE it.

        The move to its round wipes the memory of fired rules, which must not allow a second PREPARE
        to an equivocating leader: the rule is remembered again (REFERENCE rule 27).
        """
        if message.round < self.round:
            return
        if not self._fires(UponRule.JUSTIFIED_PRE_PREPARE, message.round):
            return
        self._change_round(message.round, UponRule.JUSTIFIED_PRE_PREPARE)
        self._fired.add((UponRule.JUSTIFIED_PRE_PREPARE, message.round))
        self._effects.append(StartTimer(self.round))
        if self._definition.compares:
            self._comparing = message
            self._effects.append(Compare(message))
        else:
            self._broadcast(MessageType.PREPARE, message.value)

    def _conclude_comparison(self, *, matches: bool) -> None:
        """The comparison's verdict: PREPARE, or stay in the round unprepared (rule 32)."""
        message, self._comparing = self._comparing, None
        if message is None:
            return
        if matches:
            self._broadcast(MessageType.PREPARE, message.value)
        else:
            self._compare_failure_round = message.round

    def _upon_prepare(self, message: Message) -> None:
        """Algorithm 2:4. Upon a quorum of PREPAREs of this round for one value: COMMIT it.

        Neither a PRE-PREPARE nor an own PREPARE is needed first (REFERENCE rule 28).
        """
        round_, value = message.round, message.value
        if round_ != self.round or not self._log.has_prepare_quorum(round_, value):
            return
        if not self._fires(UponRule.QUORUM_PREPARES, round_):
            return
        self.prepared_round = round_
        self.prepared_value = value
        self.prepared_justification = self._log.prepares(round_, value)
        self._broadcast(MessageType.COMMIT, value)

    def _upon_commit(self, message: Message) -> None:
        """Algorithm 2:8. Upon a quorum of COMMITs of this round for one value: decide it.

        Only of this round: the collector beside the engine covers the others (HARDENING D1).
        """
        round_, value = message.round, message.value
        if round_ != self.round or not self._log.has_commit_quorum(round_, value):
            return
        self._decide(round_, value, self._log.commits(round_, value), UponRule.QUORUM_COMMITS)

    def _decide(
        self, round_: int, value: Value | None, commits: tuple[Message, ...], rule: UponRule
    ) -> None:
        """The last rule to fire: once per instance, so that no memory of it is needed (rule 29)."""
        self._effects.append(RuleFired(rule, self.round))
        self._change_round(round_, rule)
        self.decision = Decide(value, round_, commits)
        self._effects.append(StopTimer())
        self._effects.append(self.decision)

    # --- Algorithm 3: round change ----------------------------------------------------------------

    def _time_out(self) -> None:
        """Algorithm 3:1. The timer expired: go to the next round and say what is prepared."""
        if self.decision is not None:
            return
        self._comparing = None
        self._change_round(self.round + 1, UponRule.ROUND_TIMEOUT)
        self._effects.append(StartTimer(self.round))
        self._broadcast_round_change()

    def _upon_round_change(self, message: Message) -> None:
        """Algorithm 3:5, 3:11. ROUND-CHANGEs of later rounds pull along, of this round gather."""
        if message.round > self.round:
            self._upon_later_round_change(message)
        elif message.round == self.round:
            self._upon_same_round_change(message)

    def _upon_later_round_change(self, message: Message) -> None:
        """Algorithm 3:5. Upon later rounds of F+1 sources: go to the lowest of them.

        Of each source the highest round met counts, and the walk ends as soon as there are F+1
        sources (REFERENCE rule 26, N3).
        """
        enough = max(1, self._definition.faulty + 1)  # without validators F is -1 (rule 2)
        if self._log.count_ahead(self.round) < enough:
            return
        if not self._fires(UponRule.F_PLUS_1_ROUND_CHANGES, message.round):
            return
        highest: dict[int, int] = {}
        walk = self._log.walk_ahead(self.round)
        while len(highest) < enough:
            change = next(walk)
            highest[change.source] = max(change.round, highest.get(change.source, 0))
        self._change_round(min(highest.values()), UponRule.F_PLUS_1_ROUND_CHANGES)
        self._effects.append(StartTimer(self.round))
        self._broadcast_round_change()

    def _upon_same_round_change(self, message: Message) -> None:
        """Algorithm 3:11. Upon a justified quorum of ROUND-CHANGEs: the round's leader proposes.

        Whether it is justified is told before asking who leads, so that every process reports the
        quorum that is not (REFERENCE rule 25). What would fire neither is not looked at.
        """
        round_ = message.round
        if not self._log.has_round_change_quorum(round_):
            return
        leads = self._leads(round_)
        if (UponRule.UNJUST_QUORUM_ROUND_CHANGES, round_) in self._fired and (
            not leads or (UponRule.QUORUM_ROUND_CHANGES, round_) in self._fired
        ):
            return
        if not leads:
            if not is_round_change_justified(self._log, round_):
                self._fires(UponRule.UNJUST_QUORUM_ROUND_CHANGES, round_)
            return
        proof = round_change_proof(self._log, round_)
        if proof is None:
            self._fires(UponRule.UNJUST_QUORUM_ROUND_CHANGES, round_)
        elif self._fires(UponRule.QUORUM_ROUND_CHANGES, round_):
            self._propose_justified(proof)

    def _propose_justified(self, proof: RoundChangeProof) -> None:
        """Algorithm 3:12-16. The prepared value if there is one, else the leader's own.

        A leader whose comparison failed in the prepared round proposes its own (REFERENCE rule 30).
        """
        if proof.prepares and self._compare_failure_round != proof.prepares[0].round:
            self._pre_prepare(proof.prepares[0].value, proof.justification)
        else:
            self._propose_own(proof.justification)

    def _upon_decided(self, message: Message) -> None:
        """Algorithm 3:17, at the receiver. Upon a justified DECIDED of any round: decide it."""
        self._decide(
            message.round, message.value, message.justification, UponRule.JUSTIFIED_DECIDED
        )

    def _answer_laggard(self, message: Message, decision: Decide) -> None:
        """Algorithm 3:17, at the sender. Upon another's ROUND-CHANGE after the decision: tell it.

        Once per rising round of a source and so many times in all (REFERENCE rules 9 and 10).
        """
        if message.type is not MessageType.ROUND_CHANGE or message.source == self._process:
            return
        served_round, served = self._answered.get(message.source, (0, 0))
        if message.round <= served_round or served >= DECIDED_ANSWERS_MAX:
            return
        self._answered[message.source] = (message.round, served + 1)
        self._broadcast(MessageType.DECIDED, decision.value, decision.commits)

    # --- what the rules share ---------------------------------------------------------------------

    def _fires(self, rule: UponRule, round_: int) -> bool:
        """Whether the rule may act: once per (rule, message's round) until the round changes."""
        if (rule, round_) in self._fired:
            return False
        self._fired.add((rule, round_))
        self._effects.append(RuleFired(rule, self.round))
        return True

    def _change_round(self, round_: int, rule: UponRule) -> None:
        """Enter a round: other rules may fire again, and what waited for the input is void."""
        if round_ == self.round:
            return
        self._effects.append(RoundChanged(self.round, round_, rule))
        self.round = round_
        self._fired.clear()
        self._waiting_proof = None

    def _leads(self, round_: int) -> bool:
        return self._definition.leader(self._instance, round_) == self._process

    def _propose_own(self, justification: tuple[Message, ...]) -> None:
        """PRE-PREPARE the own input, or remember the proof until it comes within this round."""
        if self._input is not None:
            self._pre_prepare(self._input, justification)
        elif self._waiting_proof is None:
            self._waiting_proof = justification
        else:
            self._fail("a second proof while the leader waits for its input")

    def _pre_prepare(self, value: Value | None, justification: tuple[Message, ...]) -> None:
        self._broadcast(MessageType.PRE_PREPARE, value, justification)

    def _broadcast_round_change(self) -> None:
        message = Message(
            MessageType.ROUND_CHANGE,
            self._instance,
            self._process,
            self.round,
            None,
            self.prepared_round,
            self.prepared_value,
            self.prepared_justification,
            Proof(),
        )
        self._effects.append(Broadcast(message))

    def _broadcast(
        self, type_: MessageType, value: Value | None, justification: tuple[Message, ...] = ()
    ) -> None:
        message = Message(
            type_, self._instance, self._process, self.round, value, 0, None, justification, Proof()
        )
        self._effects.append(Broadcast(message))

    def _fail(self, reason: str) -> None:
        self._failed = True
        self._effects.append(Failed(reason))


def _nests(message: Message) -> bool:
    """Whether a nested message has a justification of its own, which no honest process sends."""
    return any(nested.justification for nested in message.justification)
