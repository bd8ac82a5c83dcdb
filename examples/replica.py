"""Replicas with parts of one's own: journal and decisions in a file, an application, a listener.

python examples/replica.py DIRECTORY: four replicas in one process decide the next height; run it
again, or kill it at any moment and run it again, and it goes on where it was.
"""

from __future__ import annotations

import asyncio
import os
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from qbft import Decision, Definition, InstanceId
from qbft.core import Value
from qbft.crypto.certificate import verify_certificate
from qbft.crypto.keys import VoteKey
from qbft.crypto.proposal import Proposal
from qbft.crypto.roster import Roster, cluster_id, service_leader
from qbft.memory import MemoryNetwork
from qbft.replica.authenticator import Ed25519Authenticator
from qbft.replica.driver import Driver, now_ms
from qbft.replica.narrow import as_instance, bytes_of
from qbft.replica.protocols import DecisionRecord, Record, Standing, VoteRecord
from qbft.replica.replica import Replica
from qbft.replica.telling import tell_decisions
from qbft.timers import exponential
from qbft.wire.journal import decode_journal_commit, encode_journal_commit

TOPIC = "lunch"
NODES = 4


class FileJournal:
    """`Journal` and `DecisionStore` in one: its name, then a commit in each line, for ever.

    A line that was torn by a crash ends without its newline: nothing that follows from it has left
    this process, so that it may go. Deleting the file makes its node a liar: it forgets its votes.
    """

    standing = Standing.COMPLETE

    def __init__(self, path: Path) -> None:
        self.next_sequence = 1
        self._records: list[Record] = []
        self._decisions: dict[InstanceId, Decision] = {}
        self._order: list[InstanceId] = []
        self._more = asyncio.Event()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        whole, newline, _ = path.read_bytes().rpartition(b"\n")
        os.truncate(self._file, len(whole) + len(newline))
        os.lseek(self._file, 0, os.SEEK_END)
        name, *commits = whole.splitlines() or [self._write(os.urandom(16))]
        self.store_id = b64decode(name)
        for commit in commits:
            self._keep(decode_journal_commit(b64decode(commit)))

    def _write(self, data: bytes) -> bytes:
        line = b64encode(data)
        os.write(self._file, line + b"\n")
        os.fdatasync(self._file)
        return line

    def recover(self) -> Iterable[Record]:
        """What is still undecided."""
        return [record for record in self._records if _instance(record) not in self._decisions]

    async def commit(self, records: Sequence[Record]) -> None:
        """Write the line and wait for the disk: before that no vote leaves."""
        self._write(encode_journal_commit(records))
        self._keep(records)

    def get(self, instance: InstanceId) -> Decision | None:
        """The decision of an instance."""
        return self._decisions.get(instance)

    def digest(self, instance: InstanceId) -> Value | None:
        """What was decided of an instance."""
        decision = self.get(instance)
        return None if decision is None else decision.certificate.value

    def size(self, instance: InstanceId) -> int:
        """The length of its value: what a peer may be sent is paced by it."""
        decision = self.get(instance)
        return 0 if decision is None else len(bytes_of(decision))

    def position(self, instance: InstanceId) -> int | None:
        """Where it stands in the order."""
        return None if self.get(instance) is None else self._order.index(instance) + 1

    def add(self, decisions: Sequence[Decision]) -> None:
        """The commit has them."""

    def feed(self, after: int, limit: int) -> tuple[tuple[int, InstanceId], ...]:
        """Decided instances in order, numbered from 1."""
        return tuple(enumerate(self._order, 1))[after : after + limit]

    @property
    def end(self) -> int:
        """How many there are."""
        return len(self._order)

    async def wait_for_decisions(self, after: int) -> int:
        """Wait for one more."""
        while self.end <= after:
            self._more.clear()
            await self._more.wait()
        return self.end

    def topics(self) -> Iterable[str]:
        """All that were decided on."""
        return {instance.topic for instance in self._order}

    def highest(self, after: str, limit: int) -> tuple[InstanceId, ...]:
        """The highest instance of each topic."""
        highest = {instance.topic: instance for instance in sorted(self._order)}
        return tuple(highest[topic] for topic in sorted(highest) if topic > after)[:limit]

    def low_water_mark(self, topic: str) -> int:
        """Nothing is ever deleted."""
        return 0

    def low_water_marks(self) -> Mapping[str, int]:
        """So there are no marks."""
        return {}

    def _keep(self, records: Sequence[Record]) -> None:
        for record in records:
            self.next_sequence += isinstance(record, VoteRecord)
            if isinstance(record, DecisionRecord):
                instance = as_instance(record.decision.instance)
                if instance not in self._decisions:
                    self._order.append(instance)
                self._decisions[instance] = record.decision
        self._records.extend(records)
        self._more.set()


def _instance(record: Record) -> InstanceId | None:
    """Whose instance a record is; evidence is of none."""
    part = getattr(record, "vote", None) or getattr(record, "proposal", None)
    part = part or getattr(record, "decision", None) or record
    instance = getattr(part, "instance", None)
    return instance if isinstance(instance, InstanceId) else None


class Waiter:
    """An application and a listener: no lunch without a name; who was told, wakes."""

    def __init__(self) -> None:
        self._served: asyncio.Queue[Decision] = asyncio.Queue()

    async def check_value(self, instance: InstanceId, value: bytes, proposer: int) -> bool:
        """Whether a value may be decided."""
        return bool(value.strip())

    async def decided(self, decision: Decision, position: int) -> None:
        """Take a decision."""
        self._served.put_nowait(decision)

    async def serve(self, instance: InstanceId) -> Decision:
        """Wait until one instance was decided; those before it may come first."""
        while (decision := await self._served.get()).instance != instance:
            pass
        return decision


def load_keys(directory: Path) -> list[VoteKey]:
    """Each validator's vote key, made at the first run. Real nodes have theirs alone."""
    keys = []
    for node in range(NODES):
        path = directory / f"vote-{node}.key"
        if not path.exists():
            path.touch(0o600)
            path.write_bytes(VoteKey.generate().seed)
        keys.append(VoteKey(path.read_bytes()))
    return keys


async def decide(directory: Path, wishes: Sequence[bytes]) -> Decision:
    """Let each replica's client have a wish for the next height; give what is decided."""
    keys = load_keys(directory)
    public = tuple(key.public for key in keys)
    roster = Roster(cluster_id("example", 0, public), public)
    leader = service_leader(roster)
    network = MemoryNetwork(NODES)
    journals = [FileJournal(directory / f"journal-{node}") for node in range(NODES)]
    height = max(journal.end for journal in journals)
    instance = InstanceId(TOPIC, height)
    waiters = [Waiter() for _ in journals]
    tasks: list[asyncio.Future[object]] = []
    for node, (journal, waiter) in enumerate(zip(journals, waiters, strict=True)):
        replica = Replica(
            definition=Definition(NODES, leader),
            validator=node,
            authenticator=Ed25519Authenticator(keys[node], roster, node),
            journal=journal,
            store=journal,
            timers=exponential(1_000, 60_000),
            application=waiter,
        )
        replica.recover(now_ms())
        replica.propose(Proposal(instance, wishes[node]), now_ms())
        driver = Driver(replica, network.transport(node), journal)
        tasks.append(asyncio.ensure_future(driver.run()))
        tasks.append(asyncio.ensure_future(tell_decisions(journal, waiter, after=journal.end)))
    try:
        told = await asyncio.gather(*(waiter.serve(instance) for waiter in waiters))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for decision in told:
        verify_certificate(decision.certificate, roster, bytes_of(decision))
    return told[0]


if __name__ == "__main__":
    home = Path(sys.argv[1])
    home.mkdir(exist_ok=True)
    lunch = asyncio.run(decide(home, [b"ramen", b"pizza", b"tacos", b"salad"]))
    print(
        f"{lunch.instance}: {bytes_of(lunch).decode()} in round {lunch.round}, signed by a quorum"
    )
