"""What one turn sends besides its votes: to each peer its own frames, bounded in size."""

from __future__ import annotations

from dataclasses import dataclass, field

from qbft.core import InstanceId, Message
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal
from qbft.transport import FeedPage, FeedRequest, Frame

FRAME_VALUE_BYTES_MAX = 256 * 1024
FRAME_VOTES_MAX = 256
FRAME_WANTS_MAX = 256
"""What one frame to one peer is filled with, beside the votes of the turn."""


@dataclass(slots=True)
class Letter:
    """One peer's frame in the making."""

    relayed: list[Message] = field(default_factory=list)
    proposals: dict[tuple[InstanceId, bytes], Proposal] = field(default_factory=dict)
    certificates: list[Certificate] = field(default_factory=list)
    wanted_values: dict[tuple[InstanceId, bytes], None] = field(default_factory=dict)
    wanted_decisions: dict[InstanceId, None] = field(default_factory=dict)
    feed_request: FeedRequest | None = None
    feed_page: FeedPage | None = None
    memory_wanted: int | None = None
    marks: dict[str, int] = field(default_factory=dict)
    acknowledged: int = 0
    covers: int = 0
    covers_after: int = 0
    value_bytes: int = 0

    def is_full(self) -> bool:
        """Whether nothing more should be put in."""
        return (
            self.value_bytes >= FRAME_VALUE_BYTES_MAX
            or len(self.relayed) >= FRAME_VOTES_MAX
            or len(self.proposals) >= FRAME_VOTES_MAX
            or len(self.certificates) >= FRAME_VOTES_MAX
            or len(self.wanted_values) >= FRAME_WANTS_MAX
            or len(self.wanted_decisions) >= FRAME_WANTS_MAX
            or len(self.marks) >= FRAME_WANTS_MAX
        )

    def seal(self) -> Frame:
        """Make it a frame."""
        return Frame(
            relayed=tuple(self.relayed),
            proposals=tuple(self.proposals.values()),
            certificates=tuple(self.certificates),
            wanted_values=tuple(self.wanted_values),
            wanted_decisions=tuple(self.wanted_decisions),
            feed_request=self.feed_request,
            feed_page=self.feed_page,
            acknowledged=self.acknowledged,
            covers=self.covers,
            covers_after=self.covers_after,
            memory_wanted=self.memory_wanted,
            marks=tuple([InstanceId(topic, height) for topic, height in self.marks.items()]),
        )

    def promise(self, after: int, up_to: int) -> None:
        """Promise that the current votes in this range are all in here; ranges that meet join."""
        if not self.covers:
            self.covers_after, self.covers = after, up_to
        elif after <= self.covers and self.covers_after <= up_to:
            self.covers_after = min(self.covers_after, after)
            self.covers = max(self.covers, up_to)


class Outbox:
    """The letters of one turn, by peer."""

    def __init__(self) -> None:
        self._letters: dict[int, list[Letter]] = {}
        self._frames: list[tuple[int | None, Frame]] = []

    def to(self, peer: int) -> Letter:
        """Give the letter to that peer which still has room."""
        letters = self._letters.setdefault(peer, [])
        if not letters or letters[-1].is_full():
            letters.append(Letter())
        return letters[-1]

    def enclose(self, peer: int, proposal: Proposal) -> Letter:
        """Put a value into the peer's letter, once; gives the letter, for the votes about it.

        A value may fill it: votes in the next one would look as if somebody had sent them for
        nothing, and the value as if nobody had voted for it. A large one has a letter of its own,
        or what does not fit into a frame would part them.
        """
        letter = self.to(peer)
        key = (proposal.instance, proposal.digest)
        size = letter.value_bytes + len(proposal.value)
        if key not in letter.proposals and letter.value_bytes and size > FRAME_VALUE_BYTES_MAX:
            letter = Letter()
            self._letters[peer].append(letter)
        if key not in letter.proposals:
            letter.proposals[key] = proposal
            letter.value_bytes += len(proposal.value)
        return letter

    def add(self, peer: int, frame: Frame) -> None:
        """Send a peer this very frame."""
        self._frames.append((peer, frame))

    def __bool__(self) -> bool:
        return bool(self._letters) or bool(self._frames)

    def seal(self) -> list[tuple[int | None, Frame]]:
        """Give all frames, by peer, and begin anew."""
        if not self:
            return []
        sealed: list[tuple[int | None, Frame]] = [
            (peer, letter.seal())
            for peer in sorted(self._letters)
            for letter in self._letters[peer]
        ]
        sealed += self._frames
        self._letters.clear()
        self._frames.clear()
        return sealed
