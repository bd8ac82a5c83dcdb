"""Byzantine proofs: claims that nothing supports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from qbft.core import InstanceId, Message
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal
from qbft.sim.byzantine.behaviour import COMMIT, PP, PREPARE, RC, Behaviour, Hands, instance_of
from qbft.transport import FeedPage, Frame


class JustificationForger(Behaviour):
    """It claims what it cannot prove: prepared rounds, free values, decisions (B7 to B11, C6)."""

    acts_every_ms = 60

    def __init__(self, hands: Hands) -> None:
        super().__init__(hands)
        self._leads = hands.random.random() < 0.5

    def outgoing(self, to: int, frame: Frame) -> Iterator[tuple[int, Frame]]:
        """Keep what it leads with, so that a forged prepared round may be the highest."""
        if not self._leads:
            votes = tuple(vote for vote in frame.votes if vote.type is not PP)
            relayed = tuple(vote for vote in frame.relayed if vote.type is not PP)
            frame = replace(frame, votes=votes, relayed=relayed)
        yield 0, frame

    def act(self) -> None:
        """Forge one thing and send it to some."""
        forge = self.hands.random.choice(
            (
                self._round_change,
                self._pre_prepare,
                self._certificate,
                self._impostor,
                self._stripped,
                self._feed,
            )
        )
        forge()

    def _round_change(self) -> None:
        """A prepared round with too few, mixed or foreign PREPAREs, or with none."""
        model = self.pick(PREPARE, COMMIT, RC, PP)
        if model is None:
            return
        hands, random = self.hands, self.hands.random
        instance = instance_of(model)
        round_ = model.round + random.randint(1, 2)
        prepared = random.randint(max(1, model.round - 1), round_)
        other = self.other_value(instance, but=model.value)
        value = other.digest if random.random() < 0.6 else model.value
        prepares = self._prepares(instance, prepared, value, random.random() < 0.6)
        if random.random() < 0.2:
            prepares = ()
        vote = hands.vote(RC, instance, round_, prepared=(prepared, value), justification=prepares)
        self._tell(vote, other)

    def _prepares(
        self,
        instance: InstanceId,
        round_: int,
        value: object,
        any_value: bool,
    ) -> tuple[Message, ...]:
        """PREPAREs that were heard, and its own; some have another round or value."""
        found: dict[int, Message] = {}
        for vote in self.heard:
            fits = vote.round == round_ and vote.value == value
            if vote.type is PREPARE and vote.instance == instance and (fits or any_value):
                found[vote.source] = vote.stripped()
        own = self.hands.vote(PREPARE, instance, round_, value or b"\1" * 32)
        found[self.hands.validator] = own
        if any_value and self.hands.random.random() < 0.7:  # copies under others' names
            found = {victim: replace(own, source=victim) for victim in self.hands.peers}
            found[self.hands.validator] = own
        return tuple(found[source] for source in sorted(found))

    def _pre_prepare(self) -> None:
        """Its own value in a later round, with the ROUND-CHANGEs that suit it."""
        model = self.pick(RC)
        if model is None:
            return
        hands, random = self.hands, self.hands.random
        instance = instance_of(model)
        changes: dict[int, Message] = {}
        for vote in self.heard:
            if vote.type is RC and vote.instance == instance and vote.round == model.round:
                known = changes.get(vote.source)
                if known is None or vote.prepared_round < known.prepared_round:
                    changes[vote.source] = vote.stripped()
        changes[hands.validator] = hands.vote(RC, instance, model.round)
        if random.random() < 0.5:
            free = {s: v for s, v in changes.items() if not v.prepared_round}
            changes = free or changes
        value = self.other_value(instance)
        prepares: tuple[Message, ...] = ()
        if random.random() < 0.5:
            prepares = self._prepares(
                instance, max(1, model.round - 1), value.digest, random.random() < 0.5
            )
        round_ = model.round + (random.random() < 0.2)
        justification = (*(changes[s] for s in sorted(changes)), *prepares)
        vote = hands.vote(PP, instance, round_, value.digest, justification=justification)
        self._tell(vote, value)

    def _certificate(self) -> None:
        """A certificate of too few, of mixed or of another's COMMITs."""
        model = self.pick(COMMIT)
        if model is None:
            return
        instance = instance_of(model)
        commits = {
            vote.source: vote
            for vote in self.heard
            if vote.type is COMMIT and vote.instance == instance
        }
        value = self.other_value(instance)
        commits[self.hands.validator] = self.hands.vote(COMMIT, instance, model.round, value.digest)
        if self.hands.random.random() < 0.5:
            for peer in self.hands.peers:
                own = commits[self.hands.validator]
                commits.setdefault(peer, replace(own, source=peer))
        certificate = Certificate(
            instance, model.round, value.digest, tuple(commits[s] for s in sorted(commits))
        )
        for peer in self.hands.some_peers():
            self.hands.send(peer, Frame(certificates=(certificate,), proposals=(value,)))

    def _impostor(self) -> None:
        """A whole round of votes for its own value, under everybody's names."""
        model = self.pick(PP, PREPARE)
        if model is None:
            return
        instance = instance_of(model)
        value = self.other_value(instance, but=model.value)
        for type_ in (PREPARE, COMMIT):
            own = self.hands.vote(type_, instance, model.round, value.digest)
            forged = [replace(own, source=victim) for victim in self.hands.peers]
            for peer in self.hands.some_peers():
                self.hands.say(peer, own, *forged, proposals=(value,))

    def _stripped(self) -> None:
        """Another's vote without its justification, or with that of another vote (C21)."""
        vote, other = self.pick(PP, RC), self.pick(PP, RC)
        if vote is None or other is None:
            return
        justification = () if self.hands.random.random() < 0.5 else other.justification
        self._tell(replace(vote, justification=justification))

    def _feed(self) -> None:
        """A page of decisions that it does not have."""
        named = tuple(sorted({instance_of(vote) for vote in self.heard}))
        position = self.hands.random.randint(0, 1_000)
        for peer in self.hands.some_peers():
            page = FeedPage(position, position + self.hands.random.randint(0, 1_000), named)
            self.hands.send(peer, Frame(feed_page=page))

    def _tell(self, vote: Message, *proposals: Proposal) -> None:
        for peer in self.hands.some_peers():
            self.hands.say(peer, vote, proposals=tuple(proposals))
