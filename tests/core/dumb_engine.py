"""A deliberately naive engine, to check the shipped one against.

It is written from REFERENCE.md alone and keeps nothing but the log: every question is answered by
walking all of it again, in the very words of the rules. It shares the data types with the shipped
engine and no logic.
"""

from __future__ import annotations

from collections.abc import Iterator

from qbft.core import (
    Broadcast,
    Compare,
    Compared,
    Decide,
    Definition,
    Effect,
    Failed,
    Input,
    InputValue,
    Message,
    MessageType,
    RoundChanged,
    RuleFired,
    Start,
    StartTimer,
    StopTimer,
    TimerExpired,
    Unjustified,
    UponRule,
    Value,
)

PP = MessageType.PRE_PREPARE
PREPARE = MessageType.PREPARE
COMMIT = MessageType.COMMIT
RC = MessageType.ROUND_CHANGE
DECIDED = MessageType.DECIDED

ANY = object()


class BugError(Exception):
    """What the reference calls a bug: its engine dies (rules 3 and 6)."""


class DumbEngine:
    """One process's engine for one instance, without any tally."""

    def __init__(self, definition: Definition, instance: int, process: int) -> None:
        n = definition.nodes
        self.need = (2 * n + 2) // 3
        self.faulty = (n - 1) // 3
        self.limit = definition.fifo_messages_max
        self.leader = definition.leader
        self.compares = definition.compares
        self.instance = instance
        self.me = process
        self.round = 1
        self.input: Value | None = None
        self.cache: list[Message] | None = None
        self.prepared: tuple[int, Value | None, list[Message]] = (0, None, [])
        self.compare_failure_round = 0
        self.open_compare: Message | None = None
        self.decided: Decide | None = None
        self.buffer: dict[int, list[Message]] = {}
        self.dedup: list[tuple[UponRule, int]] = []
        self.resends: dict[int, list[int]] = {}
        self.dead = False
        self.out: list[Effect] = []

    def step(self, event: Input) -> tuple[Effect, ...]:
        """Take one input; give its effects."""
        if self.dead:
            return ()
        self.out = []
        try:
            self._step(event)
        except BugError as bug:
            self.dead = True
            self.out.append(Failed(str(bug)))
        return tuple(self.out)

    def _step(self, event: Input) -> None:
        if isinstance(event, Start):
            if self.leader(self.instance, 1) == self.me:
                self.propose_own([])
            self.out.append(StartTimer(1))
        elif isinstance(event, InputValue):
            self.take_input(event.value)
        elif isinstance(event, TimerExpired):
            self.time_out()
        elif isinstance(event, Compared):
            self.verdict(matches=event.matches)
        elif self.decided is not None:
            self.after_decision(event, self.decided)
        else:
            self.before_decision(event)

    # --- rules 6 to 12 ----------------------------------------------------------------------------

    def take_input(self, value: Value | None) -> None:
        """Rules 6 and 8."""
        if self.input is not None:
            return
        if value is None:
            raise BugError("zero input value not supported")
        self.input = value
        if self.cache is not None:
            self.send(PP, value, self.cache)

    def time_out(self) -> None:
        """Rules 12 and 32."""
        if self.decided is None:
            self.open_compare = None
            self.change_round(self.round + 1, UponRule.ROUND_TIMEOUT)
            self.out.append(StartTimer(self.round))
            self.send_round_change()

    def verdict(self, *, matches: bool) -> None:
        """Rule 32."""
        if self.open_compare is None:
            return
        compared, self.open_compare = self.open_compare, None
        if matches:
            self.send(PREPARE, compared.value)
        else:
            self.compare_failure_round = compared.round

    def after_decision(self, m: Message, decided: Decide) -> None:
        """Rules 9 and 10."""
        if m.type == RC and m.source != self.me:
            served = self.resends.setdefault(m.source, [])
            if m.round > max(served, default=0) and len(served) < 16:
                served.append(m.round)
                self.send(DECIDED, decided.value, list(decided.commits))

    def before_decision(self, m: Message) -> None:
        """Rule 11."""
        if self.open_compare is not None:
            raise BugError("the driver holds messages while a comparison is open")
        if not self.is_justified(m):
            self.out.append(Unjustified(m))
            return
        if any(nested.justification for nested in m.justification):
            raise BugError("nested justification")
        fifo = self.buffer.setdefault(m.source, [])
        fifo.append(m)
        while len(fifo) > self.limit:
            fifo.pop(0)
        rule, found = self.classify(m)
        if rule is None or (rule, m.round) in self.dedup:
            return
        self.dedup.append((rule, m.round))
        self.out.append(RuleFired(rule, self.round))
        self.act(rule, m, found)

    # --- the log: rules 14 to 16 ------------------------------------------------------------------

    def flatten(self) -> Iterator[Message]:
        """Rule 15, with sources ascending (N2)."""
        for source in sorted(self.buffer):
            for m in self.buffer[source]:
                yield m
                yield from m.justification

    def votes(
        self, type_: MessageType, round_: int, value: object = ANY, null: bool = False
    ) -> list[Message]:
        """Rule 16 over the whole log."""
        return first_per_source(
            m
            for m in self.flatten()
            if m.type == type_
            and m.round == round_
            and (value is ANY or m.value == value)
            and (not null or is_null(m))
        )

    # --- Algorithm 4: rules 17 to 22 --------------------------------------------------------------

    def is_justified(self, m: Message) -> bool:
        """Rules 17 to 20."""
        if m.type in (PREPARE, COMMIT):
            return True
        if m.type == RC:
            if not m.justification:
                return is_null(m)
            return self.is_prepare_set(m.justification, m.prepared_round, m.prepared_value)
        if m.type == DECIDED:
            commits = [
                c
                for c in m.justification
                if (c.type, c.round, c.value) == (COMMIT, m.round, m.value)
            ]
            return len(first_per_source(commits)) >= self.need
        return self.is_justified_pre_prepare(m)

    def is_prepare_set(
        self, messages: tuple[Message, ...] | list[Message], round_: int, value: Value | None
    ) -> bool:
        """All PREPAREs of this round and value, of distinct sources, a quorum."""
        return (
            len(messages) >= self.need
            and len({m.source for m in messages}) == len(messages)
            and all((m.type, m.round, m.value) == (PREPARE, round_, value) for m in messages)
        )

    def is_justified_pre_prepare(self, m: Message) -> bool:
        """Rules 20 and 21."""
        if m.source != self.leader(self.instance, m.round) or m.value is None:
            return False
        if m.round == 1 or m.round == self.compare_failure_round + 1:
            return True
        qrc = first_per_source(
            rc for rc in m.justification if rc.type == RC and rc.round == m.round
        )
        if len(qrc) < self.need:
            return False
        if all(is_null(rc) for rc in qrc):
            return True
        prepares = [p for p in m.justification if p.type == PREPARE]
        if not prepares:
            return False
        pr, pv = prepares[0].round, prepares[0].value
        return (
            self.is_prepare_set(prepares, pr, pv)
            and all(rc.prepared_round <= pr for rc in qrc)
            and any((rc.prepared_round, rc.prepared_value) == (pr, pv) for rc in qrc)
            and (pv is None or m.value == pv)
        )

    def justified_qrc(self, round_: int) -> tuple[list[Message], list[Message]] | None:
        """Rule 22: the ROUND-CHANGEs, and under J2 the PREPAREs."""
        null = self.votes(RC, round_, null=True)
        if len(null) >= self.need:
            return null, []
        for pr, pv in self.prepare_quorums():
            qrc = first_per_source(
                m
                for m in self.flatten()
                if m.type == RC and m.round == round_ and m.prepared_round <= pr
            )
            exact = [rc for rc in qrc if (rc.prepared_round, rc.prepared_value) == (pr, pv)]
            if len(qrc) >= self.need and exact:
                return qrc, self.votes(PREPARE, pr, pv)
        return None

    def prepare_quorums(self) -> list[tuple[int, Value | None]]:
        """Every (round, value) with a quorum of PREPAREs; highest round first (N4)."""
        met: list[tuple[int, Value | None]] = []
        for m in self.flatten():
            if m.type == PREPARE and (m.round, m.value) not in met:
                met.append((m.round, m.value))
        quorums = [c for c in met if len(self.votes(PREPARE, *c)) >= self.need]
        return sorted(quorums, key=lambda c: -c[0])

    # --- classify: rules 23 to 26 -----------------------------------------------------------------

    def classify(self, m: Message) -> tuple[UponRule | None, list[Message]]:
        """Rules 23 to 26: the rule that the last message triggers, and what goes with it."""
        if m.type == DECIDED:
            return UponRule.JUSTIFIED_DECIDED, list(m.justification)
        if m.type == PP:
            return (None if m.round < self.round else UponRule.JUSTIFIED_PRE_PREPARE), []
        if m.type in (PREPARE, COMMIT):
            votes = self.votes(m.type, m.round, m.value)
            if m.round != self.round or len(votes) < self.need:
                return None, []
            return (
                UponRule.QUORUM_PREPARES if m.type == PREPARE else UponRule.QUORUM_COMMITS
            ), votes
        if m.round < self.round:
            return None, []
        if m.round > self.round:
            ahead = self.f_plus_1()
            return (UponRule.F_PLUS_1_ROUND_CHANGES if ahead else None), ahead
        if len(self.votes(RC, m.round)) < self.need:
            return None, []
        proof = self.justified_qrc(m.round)
        if proof is None:
            return UponRule.UNJUST_QUORUM_ROUND_CHANGES, []
        if self.leader(self.instance, m.round) != self.me:
            return None, []
        return UponRule.QUORUM_ROUND_CHANGES, proof[0] + proof[1]

    def f_plus_1(self) -> list[Message]:
        """Rule 26: of each source its highest so far, until F+1 sources are there (N3)."""
        kept: dict[int, Message] = {}
        for m in self.flatten():
            if m.type == RC and m.round > self.round:
                before = kept.get(m.source)
                if before is None or m.round > before.round:
                    kept[m.source] = m
                if len(kept) >= self.faulty + 1:
                    return list(kept.values())
        return []

    # --- actions: rules 27 to 31 ------------------------------------------------------------------

    def act(self, rule: UponRule, m: Message, found: list[Message]) -> None:
        """Rules 27 to 31."""
        if rule is UponRule.JUSTIFIED_PRE_PREPARE:
            self.change_round(m.round, rule)
            self.dedup.append((rule, m.round))
            self.out.append(StartTimer(self.round))
            if self.compares:
                self.open_compare = m
                self.out.append(Compare(m))
            else:
                self.send(PREPARE, m.value)
        elif rule is UponRule.QUORUM_PREPARES:
            self.prepared = (m.round, m.value, [bare(p) for p in found])
            self.send(COMMIT, m.value)
        elif rule in (UponRule.QUORUM_COMMITS, UponRule.JUSTIFIED_DECIDED):
            self.change_round(m.round, rule)
            self.decided = Decide(m.value, m.round, tuple(bare(c) for c in found))
            self.out += [StopTimer(), self.decided]
        elif rule is UponRule.F_PLUS_1_ROUND_CHANGES:
            self.change_round(min(rc.round for rc in found), rule)
            self.out.append(StartTimer(self.round))
            self.send_round_change()
        elif rule is UponRule.QUORUM_ROUND_CHANGES:
            prepares = [p for p in found if p.type == PREPARE]
            if prepares and self.compare_failure_round != prepares[0].round:
                self.send(PP, prepares[0].value, found)
            else:
                self.propose_own(found)

    def propose_own(self, justification: list[Message]) -> None:
        """Rules 7, 8 and 30."""
        if self.input is not None:
            self.send(PP, self.input, justification)
        elif self.cache is not None:
            raise BugError("justification already cached")
        else:
            self.cache = justification

    def change_round(self, round_: int, rule: UponRule) -> None:
        """Rule 12."""
        if round_ != self.round:
            self.out.append(RoundChanged(self.round, round_, rule))
            self.round = round_
            self.dedup = []
            self.cache = None

    def send(
        self, type_: MessageType, value: Value | None, justification: list[Message] | None = None
    ) -> None:
        """Rule 4."""
        nested = tuple(bare(m) for m in justification or [])
        self.out.append(
            Broadcast(
                Message(type_, self.instance, self.me, self.round, value, justification=nested)
            )
        )

    def send_round_change(self) -> None:
        """Rule 4: value zero, and the prepared state."""
        pr, pv, prepares = self.prepared
        self.out.append(
            Broadcast(
                Message(RC, self.instance, self.me, self.round, None, pr, pv, tuple(prepares))
            )
        )


def first_per_source(messages: Iterator[Message] | list[Message]) -> list[Message]:
    """Rule 16, the second half."""
    chosen: list[Message] = []
    for m in messages:
        if all(other.source != m.source for other in chosen):
            chosen.append(m)
    return chosen


def is_null(m: Message) -> bool:
    """Rule 18: both."""
    return m.prepared_round == 0 and m.prepared_value is None


def bare(m: Message) -> Message:
    """Without its justification."""
    fields = (m.type, m.instance, m.source, m.round, m.value, m.prepared_round, m.prepared_value)
    return Message(*fields)
