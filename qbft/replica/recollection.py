"""A node without its votes asks its peers before it votes (DESIGN, votes survive; HARDENING W7).

Its key may have voted on what its journal does not hold, and must not contradict that. Each peer
tells what it has open, which votes of the asker it holds, and what it keeps no more. With n-f nodes
heard, the asker itself included, and all pulled that they had decided, it votes again, except in
the instances it was told of, and below the floors: there it takes only certificates and COMMIT
quorums.

A journal that has never voted and is not known to replace another asks too, but only for proof that
votes were lost: a cluster that was killed in its very first instance must be able to go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from qbft.core import InstanceId, Message
from qbft.crypto.proposal import Proposal
from qbft.records import Standing
from qbft.replica.bounds import Bound
from qbft.replica.intake import FEED_IDS_PER_WORK
from qbft.replica.limits import ReplicaLimits
from qbft.replica.narrow import as_instance
from qbft.replica.outbox import Outbox
from qbft.replica.peer import Peer
from qbft.transport import Frame

PAGE_ASKS_MAX = 16
"""So many times a page is asked for, once in each `resend_ms`, before its list is begun anew."""


@dataclass(slots=True)
class _Answer:
    """What one peer has told so far, page by page."""

    next: int = 0
    asked: int = 0
    """How often the next page was asked for."""
    is_whole: bool = False
    lost: bool = False
    feed_end: int = 0
    sources: dict[InstanceId, set[int]] = field(default_factory=dict)
    listed: set[InstanceId] = field(default_factory=set)
    """Instances for which it gave a reason; only they count."""
    named: set[InstanceId] = field(default_factory=set)
    """All that it named, with a reason or without."""
    marks: dict[str, int] = field(default_factory=dict)


class Recollection:
    """What the peers remember of this node's votes, while it does not vote.

    `is_genuine(vote)` and `is_authorised(proposal)` tell what counts as a reason to be careful with
    an instance, `authorising_work(proposal)` what it costs to find out, beyond the cost of any
    proposal, `has_read(peer, position)` whether that peer's feed was pulled up to there;
    `read_to(peer, position)` has it pulled.
    """

    def __init__(
        self,
        peers: Mapping[int, Peer],
        *,
        validator: int,
        faulty: int,
        limits: ReplicaLimits,
        outbox: Outbox,
        is_genuine: Callable[[Message], bool],
        is_authorised: Callable[[Proposal], bool],
        authorising_work: Callable[[Proposal], int],
        has_read: Callable[[int, int], bool],
        read_to: Callable[[int, int], None],
    ) -> None:
        self._peers = peers
        self._validator = validator
        self._faulty = faulty
        self._limits = limits
        self._outbox = outbox
        self._is_genuine = is_genuine
        self._is_authorised = is_authorised
        self._authorising_work = authorising_work
        self._has_read = has_read
        self._read_to = read_to
        self._answers: dict[int, _Answer] = {}
        self.standing = Standing.COMPLETE

    def begin(self, standing: Standing) -> None:
        """Ask everybody; this node does not vote until `is_done`."""
        self.standing = standing
        self._answers = {peer: _Answer() for peer in self._peers}
        self.ask()

    def end(self) -> None:
        """This node votes again."""
        self.standing = Standing.COMPLETE
        self._answers = {}

    @property
    def is_open(self) -> bool:
        """Whether this node must not vote."""
        return self.standing is not Standing.COMPLETE

    def ask(self) -> None:
        """Ask each peer for the next page of what it has not told yet, and at last for its feed.

        A page that does not come for long is of a list that is no more: then the first is asked
        for.
        """
        for peer, answer in list(self._answers.items()):
            answer.asked += 1
            if answer.asked > PAGE_ASKS_MAX and answer.next and not answer.is_whole:
                self._answers[peer] = _Answer()
            self._ask(peer)

    def ask_anew(self, peer: int) -> None:
        """Ask a peer from the beginning, if it has not told everything: it may have restarted.

        The rest of a list that it made in an earlier life is not the rest of its next one.
        """
        answer = self._answers.get(peer)
        if answer is not None and not answer.is_whole:
            self._answers[peer] = _Answer()
            self._ask(peer)

    def is_asking(self, peer: int) -> bool:
        """Whether this peer is being asked."""
        answer = self._answers.get(peer)
        return answer is not None and not answer.is_whole

    def take(self, peer: int, frame: Frame) -> Iterator[int]:
        """Take a page with its reasons; yields the cost of each part, in signature checks."""
        page, answer = frame.memory, self._answers.get(peer)
        if page is None or answer is None or answer.is_whole or page.after != answer.next:
            yield 1
            return
        if page.next <= page.after and not page.is_last:
            yield 1
            return  # it leads nowhere
        limits = self._limits
        is_many = len(answer.named) > limits.memory_instances_per_peer_max
        if is_many or len(answer.marks) > limits.memory_marks_per_peer_max:
            self._peers[peer].bitten(
                Bound.MEMORY_INSTANCES_PER_PEER_MAX if is_many else Bound.MEMORY_MARKS_PER_PEER_MAX
            )
            yield 1
            return  # its list is no list of what is open; it is never whole
        for mark in frame.marks:
            answer.marks[mark.topic] = max(mark.height, answer.marks.get(mark.topic, 0))
        yield len(frame.marks) // FEED_IDS_PER_WORK
        for vote in frame.relayed:
            if self._is_genuine(vote):
                self._note(answer, vote)
            yield 2 + len(vote.justification)
        for proposal in frame.proposals:
            if self._is_authorised(proposal):
                answer.named.add(proposal.instance)
                answer.listed.add(proposal.instance)
            yield 2 + self._authorising_work(proposal)
        answer.next, answer.asked = page.next, 0
        answer.is_whole = page.is_last
        answer.lost = page.lost
        answer.feed_end = max(answer.feed_end, page.feed_end)
        self._ask(peer)

    def _ask(self, peer: int) -> None:
        """Ask a peer for what it has not told; when it has, what it had decided by then is read."""
        answer = self._answers.get(peer)
        if answer is None:
            return
        if not answer.is_whole:
            self._outbox.to(peer).memory_wanted = answer.next
        elif self.standing is Standing.LOST and not answer.lost:
            self._read_to(peer, answer.feed_end)

    def _note(self, answer: _Answer, vote: Message) -> None:
        """An own vote is a reason; so are votes of F+1 others, of which one is honest."""
        instance = as_instance(vote.instance)
        answer.named.add(instance)
        sources = answer.sources.setdefault(instance, set())
        sources.add(vote.source)
        if vote.source == self._validator or len(sources) > self._faulty:
            answer.listed.add(instance)

    @property
    def is_beyond_help(self) -> bool:
        """Whether more nodes have lost their votes than may be faulty (SCENARIOS K25)."""
        whole = [answer for answer in self._answers.values() if answer.is_whole]
        lost = 1 + sum(answer.lost for answer in whole)
        return self.standing is Standing.LOST and lost > self._faulty

    def is_done(self) -> bool:
        """Whether this node may vote again, except in the instances that were `listed`."""
        nodes = len(self._peers) + 1
        return not self.is_beyond_help and 1 + len(self._counting()) >= nodes - self._faulty

    def _counting(self) -> list[_Answer]:
        """The answers that count."""
        return [
            answer
            for peer, answer in self._answers.items()
            if answer.is_whole
            and (
                self.standing is not Standing.LOST
                or (not answer.lost and self._has_read(peer, answer.feed_end))
            )
        ]

    def listed(self) -> list[InstanceId]:
        """The instances in which this node may have voted, or could have."""
        if self.standing is not Standing.LOST:
            return []
        return sorted({i for answer in self._answers.values() for i in answer.listed})

    def floors(self) -> dict[str, int]:
        """By topic, below which height this node may have voted on what its peers keep no more.

        It is the (F+1)th highest mark. At least one honest peer has let go all below it, so that
        liars cannot name heights at will. And where this node is one of the F that are faulty,
        fewer than F of the n-F-1 or more that have answered lie: it is not below the lowest mark of
        the honest among them (docs/adr/006).
        """
        if self.standing is not Standing.LOST:
            return {}
        answers = self._counting()
        floors = {}
        for topic in sorted({topic for answer in answers for topic in answer.marks}):
            marks = sorted((answer.marks.get(topic, 0) for answer in answers), reverse=True)
            if marks[self._faulty] > 0:
                floors[topic] = marks[self._faulty]
        return floors
