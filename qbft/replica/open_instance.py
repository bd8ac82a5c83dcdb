"""One undecided instance: its engine, and what stands around it.

Around the engine only what an asynchronous network could do is done (DESIGN, exactness): messages
wait for the bytes of their value or for a check, votes of a round come again when that round is
entered, and a quorum of COMMITs outside the engine's round comes as a DECIDED. What the engine says
passes the guard and loops back at once; the replica collects it at the end of the turn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence, Set

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
    RuleFired,
    Start,
    StartTimer,
    StopTimer,
    TimerExpired,
    Unjustified,
    Value,
)
from qbft.core.messages import ROUND_MAX
from qbft.crypto.proposal import Proposal
from qbft.replica.bounds import Bites, Bound
from qbft.replica.budget import Account, LogTab, Tab
from qbft.replica.collector import CommitCollector
from qbft.replica.guard import VoteGuard
from qbft.replica.limits import ReplicaLimits
from qbft.replica.misconduct import FirstVotes
from qbft.replica.observer import Observer
from qbft.replica.own_votes import CastVote, OwnVotes
from qbft.replica.value_checks import ValueChecks
from qbft.replica.waiting import LaterVotes, SeenVotes, WaitingRoom
from qbft.timers import RoundTimer


class OpenInstance:
    """One instance's engine with its guard, collector, held messages and known values.

    `accounts` are the peers' (`qbft.replica.budget`): each pays for what it sends.
    """

    __slots__ = (  # more than an instance's dictionary shares its keys for
        "_collector",
        "_definition",
        "_engine",
        "_guard",
        "_heard",
        "_is_ahead",
        "_later",
        "_limits",
        "_log_tab",
        "_observer",
        "_seen",
        "_tab",
        "_timer",
        "_unjustified",
        "_unsolicited",
        "_validator",
        "armed_ms",
        "asked_in_round",
        "awaited",
        "checks",
        "deadline_ms",
        "decide",
        "failure",
        "first_votes",
        "input",
        "instance",
        "is_learnt",
        "journaled",
        "lacking",
        "next_asked",
        "opened_ms",
        "proposals",
        "relays",
        "unrelayed",
        "votes",
    )

    def __init__(
        self,
        instance: InstanceId,
        definition: Definition,
        validator: int,
        timer: RoundTimer,
        *,
        limits: ReplicaLimits,
        accounts: Mapping[int, Account],
        observer: Observer | None = None,
        bites: Bites | None = None,
    ) -> None:
        bites = bites or Bites()
        self.instance = instance
        self.opened_ms: int | None = None
        """When it was opened; None where it went on after a restart."""
        self.deadline_ms: int | None = None
        self.armed_ms: int | None = None
        self.decide: Decide | None = None
        self.failure: str | None = None
        self.input: Proposal | None = None
        self.proposals: dict[bytes, Proposal] = {}
        self.journaled: set[bytes] = set()
        self.votes = OwnVotes()
        self.first_votes = FirstVotes(bites)
        self.lacking: set[int] = set()
        """Peers of whose messages something was dropped: they are asked for them again."""
        self.is_learnt = False
        """Whether a certificate decided it, and no COMMITs that came here one by one."""
        self.relays = False
        """Whether a round has run out, so that votes are handed on (`qbft.replica.relay`)."""
        self.asked_in_round = 0
        """The last round in which the application was asked for an input."""
        self.unrelayed: dict[tuple[int, MessageType], tuple[int, Message]] = {}
        """(sender, vote) of what came since votes were last handed on: of each source and type the
        newest, or a liar's votes of ever higher rounds would be others' work on our account."""
        self._engine = Instance(definition, instance, validator)
        self._definition = definition
        self._validator = validator
        self._timer = timer
        self._limits = limits
        self._observer = observer
        self._guard = VoteGuard()
        self._tab = Tab(accounts, bites)
        self._collector = CommitCollector(definition.quorum, bites)
        self.awaited = WaitingRoom(self._tab, limits.waiting_per_source_max)
        self.checks = ValueChecks(
            WaitingRoom(self._tab, limits.waiting_per_source_max), definition.quorum
        )
        self._later = LaterVotes(self._tab, limits.later_votes_per_source_max)
        self._seen = SeenVotes(limits.seen_votes_per_source_max, bites)
        self._log_tab = LogTab(self._tab, definition.fifo_messages_max)
        self._unsolicited: dict[int, int] = {}
        self._unjustified: Message | None = None
        self._heard: dict[tuple[int, MessageType], tuple[int, Message]] = {}
        self._is_ahead = False
        self.next_asked = 2
        """Tells whom to ask next how it stands: each time it is stuck another peer."""

    # --- beginning and end ------------------------------------------------------------------------

    def start(self, now_ms: int) -> None:
        """Begin in round 1."""
        self.opened_ms = now_ms
        self._feed(Start(), now_ms)

    def resume(self, votes: Sequence[CastVote], input_: Proposal | None, now_ms: int) -> None:
        """Go on after a restart, from the journaled votes and input (HARDENING W5)."""
        self.votes = OwnVotes(votes)
        self._guard = VoteGuard(cast.own.vote for cast in votes)
        for cast in votes:
            if cast.own.vote.type is MessageType.COMMIT:
                self._collector.add(cast.own.vote)
        self.input = input_
        try:
            self._engine, effects = Instance.resume(
                self._definition,
                self.instance,
                self._validator,
                [cast.own for cast in votes],
                input_.digest if input_ is not None else None,
            )
        except Exception as error:  # noqa: BLE001 - see `_step`
            self.failure = _describe(error)
            return
        if self._observer is not None:
            own, value = [cast.own for cast in votes], input_.digest if input_ else None
            self._observer.resumed(self.instance, own, value, effects, now_ms)
        self._run(deque(), effects, now_ms)

    def give_input(self, proposal: Proposal, now_ms: int) -> None:
        """Give the engine its input; only the first counts (REFERENCE rule 8)."""
        if self.input is None:
            self.input = proposal
            self._feed(InputValue(proposal.digest), now_ms)

    def close(self) -> None:
        """Give back what the peers have paid for here."""
        self._tab.close()

    # --- messages ---------------------------------------------------------------------------------

    def take(self, sender: int, message: Message, now_ms: int) -> bool:
        """Take a verified message; whether the engine has accepted it.

        It may have to wait for its value's bytes, or for a check.
        """
        if not self._admit(sender, message, now_ms):
            return False
        if message.type is MessageType.COMMIT:
            self._collector.add(message)
        if self.decide is not None:
            self._put_aside(sender, message, "late", now_ms)
        self._feed(message, now_ms, sender)
        if message is self._unjustified:
            self._log_tab.take_back(message)
            return False
        if message.round > 1:
            self._note_heard(sender, message, now_ms)
            if message.round > self.round:
                self._note_kept(sender, kept=self._later.keep(sender, message))
        if message.type is MessageType.COMMIT:
            self._collect(now_ms)
        return True

    def _admit(self, sender: int, message: Message, now_ms: int) -> bool:
        """Whether the engine may have it now; else it waits here, or is gone."""
        kind = message.type
        names_value = kind is MessageType.PRE_PREPARE or kind is MessageType.ROUND_CHANGE
        if names_value and not self._has_passed(sender, message, now_ms):
            return False
        if not self._log_tab.pay(sender, message):
            self.lacking.add(sender)
            self._put_aside(sender, message, "log_budget", now_ms)
            return False
        return True

    def _has_passed(self, sender: int, message: Message, now_ms: int) -> bool:
        """Whether the value is here that a message names, and passed its check."""
        awaited = self._awaited_value(message)
        if awaited is not None:
            self._note_kept(sender, kept=self.awaited.hold(awaited, sender, message))
            self._put_aside(sender, message, "awaits_value", now_ms)
            return False
        admitted = self.checks.admits(message)
        if admitted is None:
            self._note_kept(sender, kept=self.checks.wait(sender, message))
        if not admitted:
            why = "awaits_check" if admitted is None else "invalid_value"
            self._put_aside(sender, message, why, now_ms)
            return False
        return True

    def take_again(self, sender: int, message: Message, now_ms: int) -> None:
        """Take a re-sent or relayed message, once in each round (DESIGN, late nodes).

        One of an earlier round tells the engine nothing new and would only crowd its log, but a
        COMMIT counts for the collector (HARDENING D11).
        """
        round_ = self.round
        if message.round >= round_:
            if (
                self._seen.admit(sender, message)
                and self.take(sender, message, now_ms)
                and self.round == round_
            ):
                self._seen.note(sender, message)
        elif message.type is MessageType.COMMIT and not self._collector.has(message):
            self._put_aside(sender, message, "past_round", now_ms)
            if self._log_tab.pay(sender, message):
                self._collector.add(message)
                self._collect(now_ms)
            else:
                self.lacking.add(sender)

    def has_taken_again(self, sender: int, message: Message) -> bool:
        """Whether a copy of a re-sent or relayed message was taken, so that this one is not."""
        return message.round >= self.round and not self._seen.admit(sender, message)

    def take_held(self, sender: int, message: Message, now_ms: int) -> None:
        """Take a message that had to wait, as it would have been taken when it came."""
        (self.take if sender == message.source else self.take_again)(sender, message, now_ms)

    def _note_heard(self, sender: int, message: Message, now_ms: int) -> None:
        """Remember the newest vote of each source and type, to be handed on (U9).

        Nothing is handed on before a round timer has expired, and then votes of round 1 are past.
        """
        key = (message.source, message.type)
        known = self._heard.get(key)
        if known is not None and message.round <= known[1].round:
            return
        self._heard[key] = (sender, message)
        if self.relays:
            self.unrelayed[key] = sender, message
        if self._is_ahead and self._has_company(self.round):
            self._start_timer(self.round, now_ms)

    def heard_from(self, source: int) -> tuple[Message, ...]:
        """The votes of a source that the engine or the collector holds, in no certain order."""
        commits = [commit for commit in self._collector.commits() if commit.source == source]
        return (*self._engine.heard_from(source), *commits)

    def heard_round_changes(self) -> tuple[Message, ...]:
        """A ROUND-CHANGE of each source, of those that were heard."""
        heard = [vote for _, vote in self._heard.values()]
        return tuple(vote for vote in heard if vote.type is MessageType.ROUND_CHANGE)

    def relayable(self) -> list[tuple[int, Message]]:
        """(sender, vote) of all that may be handed on, COMMITs of any round among them (D1)."""
        commits = [(commit.source, commit) for commit in self._collector.commits()]
        heard = [pair for pair in self._heard.values() if pair[1].type is not MessageType.COMMIT]
        return [pair for pair in commits + heard if self.is_relayable(pair[1])]

    def is_relayable(self, vote: Message) -> bool:
        """Whether another node can still make use of a vote of another source."""
        return vote.source != self._validator and (
            vote.round >= self.round or vote.type is MessageType.COMMIT
        )

    def value_beside(self, vote: Message) -> Proposal | None:
        """The value that should travel with a vote that is handed on, unless it is too large."""
        if vote.type is not MessageType.PRE_PREPARE and vote.type is not MessageType.ROUND_CHANGE:
            return None
        proposal = self.value_of(vote)
        if proposal is None or len(proposal.value) > self._limits.proposal_bytes_per_frame_max:
            return None
        return proposal

    def learn(self, sender: int, proposal: Proposal, now_ms: int) -> bool:
        """Take the bytes of a value; what waited for them goes on. False if they were refused.

        What is waited for is always taken, and paid by whoever's messages wait for it; of what is
        not, each peer may give so much, so that nobody can keep the leader's value out.
        """
        if proposal.digest in self.proposals:
            return True
        if not self._pays(sender, proposal):
            return False
        self.proposals[proposal.digest] = proposal
        for waiting_sender, message in self.awaited.release(proposal.digest):
            self.take_held(waiting_sender, message, now_ms)
        return True

    def conclude_check(self, digest: bytes, now_ms: int, *, valid: bool | None) -> None:
        """Take the application's answer; None: it gave none, and will be asked again."""
        for sender, message in self.checks.conclude(digest, valid=valid):
            self.take_held(sender, message, now_ms)

    def expire(self, now_ms: int) -> None:
        """Let the round timer run out; one that waits for company looks about itself, and waits.

        There is no round after the last one that can be written: its timer begins anew.
        """
        if self._is_ahead:
            self.deadline_ms = now_ms + self._limits.resend_ms
            return
        if self.round >= ROUND_MAX:
            self.deadline_ms = self._timer.deadline_ms(self.round, now_ms)
            return
        self.deadline_ms = None
        self._feed(TimerExpired(), now_ms)

    def take_decided(
        self, round_: int, value: Value, commits: Iterable[Message], now_ms: int
    ) -> None:
        """Take a verified quorum of COMMITs as the DECIDED that it is (HARDENING U4)."""
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

    def _pays(self, sender: int, proposal: Proposal) -> bool:
        """Let someone pay for a value's bytes."""
        size = len(proposal.value)
        waiting = [waiting for waiting, _ in self.awaited.of(proposal.digest)]
        if waiting:
            return any(self._tab.charge(payer, size) for payer in dict.fromkeys(waiting))
        if sender == self._validator:
            return True
        given = self._unsolicited.get(sender, 0)
        if given >= self._limits.unsolicited_values_per_peer_max:
            self._tab.bites.note(Bound.UNSOLICITED_VALUES_PER_PEER_MAX, sender)
            return False
        self._unsolicited[sender] = given + 1
        return self._tab.charge(sender, size)

    def _note_kept(self, sender: int, *, kept: bool) -> None:
        if not kept:
            self.lacking.add(sender)

    def _put_aside(self, sender: int, message: Message, why: str, now_ms: int) -> None:
        if self._observer is not None:
            self._observer.put_aside(self.instance, sender, message, why, now_ms)

    # --- the engine -------------------------------------------------------------------------------

    @property
    def round(self) -> int:
        """The engine's round."""
        return self._engine.round

    @property
    def prepared_round(self) -> int:
        """The engine's prepared round; 0 for none."""
        return self._engine.prepared_round

    @property
    def waits_for_company(self) -> bool:
        """Whether the round timer has not begun, for no quorum is known to be in this round."""
        return self._is_ahead

    def has_cast(self, vote: Message) -> bool:
        """Whether this node has signed this very content, and remembers it."""
        return self._guard.has_signed(vote)

    def has_left(self, round_: int) -> bool:
        """Whether it may have voted in a round and not remember how (docs/adr/012)."""
        return round_ < self._guard.round

    def _collect(self, now_ms: int) -> None:
        """Turn a quorum of COMMITs outside the engine's round into a DECIDED (HARDENING D1)."""
        if self.decide is None and self.failure is None:
            commits = self._collector.quorum_outside(self.round)
            if commits:
                self.take_decided(commits[0].round, commits[0].value, commits, now_ms)

    def _feed(self, input_: Input, now_ms: int, sender: int | None = None) -> None:
        """Step, unless the engine has decided or failed; most votes have no effect."""
        if self.decide is not None or self.failure is not None:
            return
        engine = self._engine
        before = engine.round
        effects = self._step(input_)
        self._show(self._validator if sender is None else sender, input_, effects, now_ms)
        if effects:
            self._run(deque(), effects, now_ms)
            if engine.round != before:
                self._collect(now_ms)

    def _run(self, inputs: deque[Input], effects: tuple[Effect, ...], now_ms: int) -> None:
        """Step until nothing loops back any more. A decided or failed engine is left alone."""
        self._perform(effects, inputs, now_ms)
        while inputs and self.decide is None and self.failure is None:
            input_ = inputs.popleft()
            effects = self._step(input_)
            self._show(self._validator, input_, effects, now_ms)
            self._perform(effects, inputs, now_ms)

    def _show(self, sender: int, input_: Input, effects: tuple[Effect, ...], now_ms: int) -> None:
        """Let whoever looks on see a step: of a message, who sent it; this node, if it looped."""
        if self._observer is not None:
            self._observer.stepped(self.instance, sender, input_, effects, now_ms)

    def _step(self, input_: Input) -> tuple[Effect, ...]:
        """Step. A bug in one engine ends that instance, not the node (DESIGN, errors).

        All honest nodes may have received the same message: were it to stop one, it stopped all.
        """
        try:
            return self._engine.step(input_)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a bug of the engine
            return (Failed(_describe(error)),)

    def _perform(self, effects: tuple[Effect, ...], inputs: deque[Input], now_ms: int) -> None:
        for effect in effects:
            match effect:
                case RuleFired():
                    pass
                case Broadcast(message):
                    self._cast(message, inputs, now_ms)
                case StartTimer(round_):
                    self._start_timer(round_, now_ms)
                case StopTimer():
                    self.deadline_ms = None
                case RoundChanged(_, round_, _):
                    self._seen.clear()
                    inputs.extend(self._later.enter(round_))
                case Decide():
                    self.decide = effect
                case Failed(reason):
                    self.failure = reason
                    self.deadline_ms = None
                case Unjustified(message):
                    self._unjustified = message
                case _:
                    pass

    def _start_timer(self, round_: int, now_ms: int) -> None:
        """Start the round's timer, after round 1 only once a quorum is in it or beyond.

        Rounds that have grown to their cap do not overlap by themselves: at most F nodes that are
        ahead, which pull nobody along, would stay ahead for ever. All others are bound to follow,
        for the hindmost correct node always knows a quorum that is as far as it is.
        """
        self._is_ahead = round_ > 1 and not self._has_company(round_)
        if self._is_ahead:
            self.deadline_ms = now_ms + self._limits.resend_ms
        else:
            self.deadline_ms = self._timer.deadline_ms(round_, now_ms)
        if self._observer is not None:
            self._observer.timer_started(self.instance, round_, self.deadline_ms, now_ms)

    def _has_company(self, round_: int) -> bool:
        """Whether a quorum, this node included, has shown that it is in this round or beyond."""
        there = {key[0] for key, (_, vote) in self._heard.items() if vote.round >= round_}
        return len(there | {self._validator}) >= self._definition.quorum

    def _cast(self, message: Message, inputs: deque[Input], now_ms: int) -> None:
        """Pass the guard, remember the vote for the end of the turn, and loop it back."""
        if self._guard.admit(message):
            prepares = (
                self._engine.prepared_justification if message.type is MessageType.COMMIT else ()
            )
            self.votes.add(CastVote(OwnVote(message, prepares), now_ms))
            if message.type is MessageType.COMMIT:
                self._collector.add(message)
        inputs.append(message)

    # --- what the replica asks --------------------------------------------------------------------

    def value_of(self, vote: Message) -> Proposal | None:
        """The bytes that a vote is for, where they are known."""
        value = vote.value if vote.value is not None else vote.prepared_value
        return self.proposals.get(value) if isinstance(value, bytes) else None

    def committers(self, round_: int, value: Value | None) -> Set[int]:
        """Whose COMMITs for this have come, those after the quorum too."""
        return self._collector.voters(round_, value)

    def known_proposal(self) -> Proposal | None:
        """A proposal that opens the instance elsewhere: the input, else the first that is known."""
        if self.input is not None:
            return self.input
        return next(iter(self.proposals.values()), None)

    def proposal_for(self, peer: int) -> Proposal | None:
        """What lets a peer open the instance too, beside votes that are sent again or asked for.

        Not a large value that the peer has voted for: it has the bytes. Nodes that are late would
        send each other all their values in every round, and be later (docs/adr/021).
        """
        proposal = self.known_proposal()
        if proposal is None or len(proposal.value) <= self._limits.proposal_bytes_per_frame_max:
            return proposal
        named = {(vote.value, vote.prepared_value) for vote in self.heard_from(peer)}
        return None if any(proposal.digest in pair for pair in named) else proposal

    @property
    def is_incomplete(self) -> bool:
        """Whether something must be asked for: bytes, an answer, or what was dropped."""
        return bool(self.awaited) or bool(self.lacking) or self.checks.pending


def _describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
