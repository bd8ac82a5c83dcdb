"""What this node tells a peer that is without its votes (DESIGN, votes survive; HARDENING W7).

Page by page, its low-water marks, and each undecided instance that is open here or in which this
node holds a vote of the asker, with a reason that the asker can check: a vote of its own, the
proposal, or votes of others.
"""

from __future__ import annotations

from collections.abc import Mapping

from qbft.core import InstanceId, Message
from qbft.crypto.proposal import Proposal
from qbft.records import MarkRecord
from qbft.replica.budget import cost_of
from qbft.replica.held import HeldVotes
from qbft.replica.intake import FEED_IDS_PER_WORK
from qbft.replica.limits import ReplicaLimits
from qbft.replica.open_instance import OpenInstance
from qbft.replica.outbox import Outbox
from qbft.replica.peer import Peer
from qbft.replica.protocols import DecisionStore
from qbft.transport import Frame, Memory

Reason = tuple[tuple[Message, ...], tuple[Proposal, ...]]

MARK_BYTES = 144
"""What a mark occupies in a page, at most."""

GATHERED_BYTES = 512
"""To make an entry of the list costs what so many bytes of a page do."""


def _place(instance: InstanceId) -> tuple[str, int]:
    """The order of instances, as a key: comparing them themselves costs a multiple."""
    return instance.topic, instance.height


class Witness:
    """Answers from the open instances and the held votes."""

    def __init__(
        self,
        opens: Mapping[InstanceId, OpenInstance],
        held: HeldVotes,
        store: DecisionStore,
        limits: ReplicaLimits,
        outbox: Outbox,
    ) -> None:
        self._opens = opens
        self._held = held
        self._store = store
        self._limits = limits
        self._outbox = outbox

    def tell(self, peer: Peer, after: int, now_ms: int, *, lost: bool) -> int:
        """Send one page, of the list as it was when the first was asked for; gives what it cost.

        `lost`: this node is without its own votes too. What it costs is paced, and new lists apart:
        what is not answered has to be asked for again. A list is read to its end before there is
        another one, or pages of two would leave out what stands elsewhere in the second. Once it
        was, it is not begun anew, for the asker may have voted since.
        """
        if 0 < after >= len(peer.testimony):
            return 1  # the rest of a list of an earlier life; it is asked for anew
        if not peer.pull(now_ms, self._limits.memory_page_bytes):
            return 1
        gathered = 0
        if after == 0 and not peer.is_being_told:
            if not peer.take_list(now_ms):
                return 1
            gathered = self._make_list(peer)
            peer.pulls.overdraw(now_ms, gathered * GATHERED_BYTES)
        marks: list[InstanceId] = []
        relayed: list[Message] = []
        proposals: list[Proposal] = []
        position, size = after, 0
        while position < len(peer.testimony) and (
            size < self._limits.memory_page_bytes
            and position - after - len(marks) < self._limits.memory_page_max
        ):
            entry = peer.testimony[position]
            position += 1
            if isinstance(entry, MarkRecord):
                marks.append(InstanceId(entry.topic, entry.height))
                size += MARK_BYTES
                continue
            votes, values = self._reason(peer.index, *entry)
            relayed += votes
            proposals += values
            size += sum(map(cost_of, votes))
            size += sum(len(proposal.value) for proposal in values)
        is_last = position >= len(peer.testimony)
        peer.is_being_told = not is_last
        page = Memory(after, position, is_last, lost, self._store.end)
        frame = Frame(
            relayed=tuple(relayed), proposals=tuple(proposals), memory=page, marks=tuple(marks)
        )
        self._outbox.add(peer.index, frame)
        looked_up = position - after - len(marks) + len(marks) // FEED_IDS_PER_WORK
        return 1 + looked_up + gathered // self._limits.memory_entries_per_work

    def _make_list(self, peer: Peer) -> int:
        """List what to tell a peer of; gives how long the list is."""
        held = self._held.instances_of(peer.index)
        instances = sorted(self._opens.keys() | held.keys(), key=_place)
        marks_by_topic = sorted(self._store.low_water_marks().items())
        peer.testimony = [MarkRecord(*mark) for mark in marks_by_topic]
        peer.testimony += [(instance, held.get(instance)) for instance in instances]
        return len(peer.testimony)

    def _reason(self, asker: int, instance: InstanceId, held: Message | None) -> Reason:
        """Why the asker should be careful with an instance; nothing if it is decided by now."""
        opened = self._opens.get(instance)
        if opened is None:
            return ((held,) if held is not None else (), ())
        own = opened.heard_from(asker)
        if own:
            return (own[:1], ())
        proposal = opened.known_proposal()
        if proposal is not None:
            return ((), (proposal,))
        return (opened.heard_round_changes(), ())
