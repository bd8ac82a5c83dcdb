"""Builders of the replica's tests: one replica by hand, and the signed words of its peers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from qbft.core import Definition, InstanceId, Message, MessageType, Proof
from qbft.crypto.certificate import Certificate
from qbft.crypto.proposal import Proposal
from qbft.crypto.signing import BatchHeader
from qbft.replica.authenticator import Authenticator
from qbft.replica.epoch import Epoch
from qbft.replica.limits import ReplicaLimits
from qbft.replica.observer import Observer
from qbft.replica.policy import Policies, open_to_all
from qbft.replica.protocols import (
    Application,
    OwnInput,
    Record,
    StandingRecord,
    ValueSource,
    VoteRecord,
)
from qbft.replica.replica import Replica
from qbft.replica.turn import Turn
from qbft.sim.authenticator import SimAuthenticator, SimSignature
from qbft.sim.disk import SimDisk
from qbft.timers import TimerPolicy, exponential
from qbft.transport import Frame

PP, PREPARE, COMMIT, RC = (
    MessageType.PRE_PREPARE,
    MessageType.PREPARE,
    MessageType.COMMIT,
    MessageType.ROUND_CHANGE,
)
FIRST_ROUND_MS = 1_000


def instance(height: int = 0, topic: str = "t") -> InstanceId:
    """The instance of that height; validator height + round - 1 mod n leads it."""
    return InstanceId(topic, height)


def proposal(value: bytes = b"v", height: int = 0, topic: str = "t") -> Proposal:
    """A proposal of that value."""
    return Proposal(instance(height, topic), value)


def definition(nodes: int = 4) -> Definition:
    """A cluster of so many, whose leaders take turns."""
    return Definition(nodes, lambda which, round_: (which.height + round_ - 1) % nodes)


def signed(vote: Message, sequence: int = 1) -> Message:
    """The vote with its source's signature."""
    signature = SimSignature(vote.source, sequence, bytes([vote.source]) * 16)
    proof = Proof(signature)
    return Message(
        vote.type,
        vote.instance,
        vote.source,
        vote.round,
        vote.value,
        vote.prepared_round,
        vote.prepared_value,
        vote.justification,
        proof,
    )


def vote(
    kind: MessageType,
    source: int,
    what: Proposal,
    round_: int = 1,
    *,
    justification: Iterable[Message] = (),
    sequence: int = 1,
) -> Message:
    """A PRE-PREPARE, PREPARE or COMMIT of that source for a proposal."""
    message = Message(
        kind, what.instance, source, round_, what.digest, justification=tuple(justification)
    )
    return signed(message, sequence)


def votes(
    kind: MessageType, sources: Iterable[int], what: Proposal, round_: int = 1
) -> tuple[Message, ...]:
    """One such vote of each source."""
    return tuple(vote(kind, source, what, round_) for source in sources)


def round_change(
    source: int,
    round_: int,
    where: InstanceId | None = None,
    *,
    prepared: Proposal | None = None,
    prepared_round: int = 1,
    prepares: Iterable[int] = (1, 2, 3),
    sequence: int = 1,
) -> Message:
    """A ROUND-CHANGE of that source; with `prepared`, proven by these sources' PREPAREs."""
    if prepared is None:
        return signed(Message(RC, where or instance(), source, round_), sequence)
    return signed(
        Message(
            RC,
            prepared.instance,
            source,
            round_,
            None,
            prepared_round,
            prepared.digest,
            votes(PREPARE, prepares, prepared, prepared_round),
        ),
        sequence,
    )


def certificate(what: Proposal, sources: Iterable[int] = (1, 2, 3), round_: int = 1) -> Certificate:
    """The certificate that these sources' COMMITs make, all of journals that nobody here has.

    In its own a replica would look for its COMMIT, and find that it has never cast it (W7).
    """
    commits = votes(COMMIT, sources, what, round_)
    for commit in commits:
        assert commit.proof is not None
        commit.proof.signature = SimSignature(commit.source, 1, bytes([commit.source]) * 15 + b"c")
    return Certificate(what.instance, round_, what.digest, commits)


def own_section(*own: Message, **parts: Any) -> Frame:
    """A frame whose own-vote section has these votes."""
    return Frame(votes=own, batch=BatchHeader(b"", 1, b""), **parts)


def run_now(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits for something")


def new_disk(index: int = 0) -> SimDisk:
    """An empty disk that never crashes."""
    return SimDisk(bytes([index]) * 16, lambda label, records: None)


def replaced_disk(index: int) -> SimDisk:
    """A disk of `qbft init --replace`."""
    disk = new_disk(index)
    run_now(disk.commit([StandingRecord(lost=True)]))
    return disk


class Rig:
    """One replica, validator `index`, driven turn by turn without a loop.

    `now` is its clock, `rejected` what it counted, `told` what its operator was told, `turns` what
    it produced.
    """

    def __init__(
        self,
        index: int = 0,
        nodes: int = 4,
        *,
        limits: ReplicaLimits | None = None,
        application: Application | None = None,
        source: ValueSource | None = None,
        own_input: OwnInput | None = None,
        policies: Policies = open_to_all,
        epoch: Epoch | None = None,
        timers: TimerPolicy | None = None,
        disk: SimDisk | None = None,
        authenticator: Authenticator | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.index = index
        self.now = 0
        self.rejected: list[tuple[str, int]] = []
        self.told: list[str] = []
        self.turns: list[Turn] = []
        self.disk = disk or new_disk(index)
        self.replica = Replica(
            definition=definition(nodes),
            validator=index,
            authenticator=authenticator or SimAuthenticator(index, nodes),
            journal=self.disk,
            store=self.disk,
            timers=timers or exponential(FIRST_ROUND_MS, 60_000),
            policies=policies,
            epoch=epoch,
            application=application,
            source=source,
            own_input=own_input,
            limits=limits,
            reject=lambda reason, peer: self.rejected.append((reason, peer)),
            tell=self.told.append,
            observer=observer,
        )

    def receive(self, peer: int, frame: Frame | None = None, **parts: Any) -> Turn:
        """Take a frame and end the turn."""
        self.replica.receive(peer, frame if frame is not None else Frame(**parts), self.now)
        return self.turn()

    def turn(self) -> Turn:
        """Do what is due and end the turn: commit, hand over, go on."""
        self.replica.run_due(self.now)
        turn = self.replica.end_turn(self.now)
        if turn.records:
            run_now(self.disk.commit(turn.records))
        self.replica.turn_done(self.now)
        self.turns.append(turn)
        return turn

    def settle(self) -> list[Turn]:
        """Take turns until nothing is due now."""
        turns = [self.turn()]
        while (due := self.replica.next_due_ms) is not None and due <= self.now:
            turns.append(self.turn())
        return turns

    def wait(self, milliseconds: int) -> list[Turn]:
        """Let time pass, with a turn whenever something is due."""
        until, turns = self.now + milliseconds, []
        while (due := self.replica.next_due_ms) is not None and due <= until:
            self.now = max(self.now, due)
            turns.append(self.turn())
        self.now = until
        return turns

    def restart(self, **changes: Any) -> Rig:
        """The next life on the same disk, recovered; nothing of the old one's memory is left."""
        rig = Rig(self.index, disk=self.disk, **changes)
        rig.now = self.now
        rig.replica.recover(rig.now)
        return rig

    def propose(self, what: Proposal) -> Turn:
        """Let an own client propose and end the turn; needs a running loop."""
        self.replica.propose(what, self.now)
        return self.turn()


def lost_rig(nodes: int = 4, **options: Any) -> Rig:
    """Validator 1 after its disk was replaced, linked to all."""
    rig = Rig(1, nodes, disk=replaced_disk(1), **options)
    rig.replica.recover(0)
    for peer in range(nodes):
        if peer != 1:
            rig.replica.link_up(peer, 0)
    rig.turn()
    return rig


async def work(rig: Rig) -> None:
    """Run what the replica waits for to its end, and take a turn."""
    jobs = [job for turn in rig.turns for job in turn.work]
    for turn in rig.turns:
        turn.work.clear()
    await asyncio.gather(*(job() for job in jobs))
    rig.turn()


def signed_by(turns: Turn | Sequence[Turn]) -> list[Message]:
    """The own votes that were journaled in these turns."""
    of = [turns] if isinstance(turns, Turn) else turns
    return [r.vote for turn in of for r in turn.records if isinstance(r, VoteRecord)]


def kinds(turns: Turn | Sequence[Turn]) -> list[tuple[str, int]]:
    """(type, round) of the own votes of these turns."""
    return [(own.type.name, own.round) for own in signed_by(turns)]


def letters(turns: Turn | Sequence[Turn], peer: int) -> list[Frame]:
    """The frames for one peer alone."""
    of = [turns] if isinstance(turns, Turn) else turns
    return [frame for turn in of for to, frame in turn.frames if to == peer]


def sent_to(turns: Turn | Sequence[Turn], peer: int, part: str) -> list[Any]:
    """What the frames for one peer alone hold in one of their sections."""
    return [item for frame in letters(turns, peer) for item in getattr(frame, part)]


def records_of(turns: Turn | Sequence[Turn], kind: Callable[[Record], bool]) -> list[Record]:
    """The records of these turns that are of a kind."""
    of = [turns] if isinstance(turns, Turn) else turns
    return [record for turn in of for record in turn.records if kind(record)]


def carry(rigs: Sequence[Rig], step_ms: int, arrives: Callable[[], bool] = lambda: True) -> None:
    """Let time pass at all, take what turns are due, and carry each frame to where it goes."""
    for rig in rigs:
        rig.now += step_ms
    sent = [(rig, turn) for rig in rigs for turn in rig.settle()]
    for rig, turn in sent:
        for to, frame in turn.frames:
            for other in rigs:
                if other is not rig and to in (None, other.index) and arrives():
                    other.replica.receive(rig.index, frame, other.now)


def link_all(rigs: Sequence[Rig]) -> None:
    """Bring all links between these up."""
    for rig in rigs:
        for other in rigs:
            if other is not rig:
                rig.replica.link_up(other.index, rig.now)


def carry_until_decided(
    rigs: Sequence[Rig], which: InstanceId | None = None, step_ms: int = 250
) -> None:
    """Carry frames for at most 240 steps, a minute, until all of these have decided."""
    for _ in range(240):
        carry(rigs, step_ms)
        if all(rig.disk.get(which or instance()) is not None for rig in rigs):
            return
    raise AssertionError("undecided after 240 steps")
