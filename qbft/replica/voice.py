"""The node's one voice: a turn's votes, numbered, signed together, journaled and framed (W1)."""

from __future__ import annotations

from collections.abc import Iterable

from qbft.core import InstanceId, Message, MessageType
from qbft.crypto.proposal import Proposal
from qbft.crypto.signing import BATCH_VOTES_MAX, BatchHeader
from qbft.replica.authenticator import Authenticator
from qbft.replica.budget import cost_of
from qbft.replica.limits import ReplicaLimits
from qbft.replica.narrow import sequence_of
from qbft.replica.open_instance import OpenInstance
from qbft.replica.own_votes import CastVote
from qbft.replica.protocols import Journal, ProposalRecord, Record, VoteRecord
from qbft.replica.waiting import slot_of
from qbft.transport import Frame

VOTES_REMEMBERED_MAX = 16_384
"""So many of the first votes of its life a replica knows again by their numbers: votes that were
lost had the numbers that are given out first."""


class Voice:
    """Collects what the open instances say in a turn, and says it once."""

    def __init__(
        self, authenticator: Authenticator, journal: Journal, limits: ReplicaLimits
    ) -> None:
        self._authenticator = authenticator
        self._journal = journal
        self._limits = limits
        self._votes: list[CastVote] = []
        self._records: list[Record] = []
        self._enclosed: dict[tuple[InstanceId, bytes], Proposal] = {}
        self._next_sequence = journal.next_sequence
        self._remembered: dict[int, int] = {}

    def forward(self, proposal: Proposal) -> None:
        """Tell all peers of a client's proposal."""
        self._enclosed[proposal.instance, proposal.digest] = proposal

    def record(self, record: Record) -> None:
        """Have a record committed with this turn."""
        self._records.append(record)

    def skip_to(self, sequence: int) -> None:
        """Number the next vote so at least: the numbers below are those of lost votes."""
        self._next_sequence = max(self._next_sequence, sequence)

    @property
    def last_sequence(self) -> int:
        """The number of the last vote that was signed."""
        return self._next_sequence - 1

    def may_have_cast(self, vote: Message) -> bool:
        """Whether an own vote of this journal may be one that it holds, going by its number.

        Votes that were lost left their numbers to others. Where what this life has given a number
        to is not known any more, or was before it, the answer is yes.
        """
        number = sequence_of(vote)
        content = self._remembered.get(number)
        return number <= self.last_sequence and content in (None, _content_of(vote))

    def collect(self, opened: OpenInstance) -> bool:
        """Gather the votes an instance cast in this turn, and the bytes they are the first for.

        Whether there were any.
        """
        fresh = opened.votes.drain()
        for cast in fresh:
            self._votes.append(cast)
            vote = cast.own.vote
            proposal = opened.value_of(vote)
            if proposal is None:
                continue
            if proposal.digest not in opened.journaled:
                opened.journaled.add(proposal.digest)
                self._records.append(ProposalRecord(proposal, is_input=False))
            if vote.type is MessageType.PRE_PREPARE and (
                len(proposal.value) <= self._limits.proposal_bytes_per_frame_max
            ):
                self._enclosed[proposal.instance, proposal.digest] = proposal
        return bool(fresh)

    def speak(self) -> tuple[list[Record], list[Frame]]:
        """Sign the turn's votes; give its records, and the frames for all peers."""
        if not self._votes and not self._records and not self._enclosed:
            return [], []
        batches = list(self._sign())
        records: list[Record] = self._records
        records.extend(VoteRecord(cast.own.vote, cast.own.prepares) for cast in self._votes)
        enclosed = tuple(self._enclosed.values())
        frames = [Frame(votes=votes, batch=header) for votes, header in batches[1:]]
        if batches:
            votes, header = batches[0]
            frames.insert(0, Frame(votes=votes, batch=header, proposals=enclosed))
        elif enclosed:
            frames.append(Frame(proposals=enclosed))
        self._votes, self._records, self._enclosed = [], [], {}
        return records, frames

    def _chunks(self) -> Iterable[list[CastVote]]:
        """Cut the votes so that each part fits under one signature, and into one frame.

        What one signature covers cannot be cut any more (DESIGN, signatures).
        """
        chunk: list[CastVote] = []
        size = 0
        for cast in self._votes:
            more = cost_of(cast.own.vote)
            if chunk and (
                len(chunk) >= BATCH_VOTES_MAX or size + more > self._limits.section_bytes_max
            ):
                yield chunk
                chunk, size = [], 0
            chunk.append(cast)
            size += more
        if chunk:
            yield chunk

    def _sign(self) -> Iterable[tuple[tuple[Message, ...], BatchHeader]]:
        """Number and sign the votes, at most so many together."""
        for chunk in self._chunks():
            votes = tuple(cast.own.vote for cast in chunk)
            header = self._authenticator.sign(votes, self._journal.store_id, self._next_sequence)
            for cast in chunk:
                cast.sequence = self._next_sequence
                if len(self._remembered) < VOTES_REMEMBERED_MAX:
                    self._remembered[cast.sequence] = _content_of(cast.own.vote)
                self._next_sequence += 1
            yield votes, header


def _content_of(vote: Message) -> int:
    """What stands for a vote's content within this process."""
    return hash((vote.instance, slot_of(vote)))
