"""What an operator does to the store of a node: back it up, restore it, give instances up."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from qbft.core.messages import InstanceId
from qbft.crypto.certificate import verify_certificate
from qbft.crypto.roster import Roster
from qbft.crypto.signing import Verifier
from qbft.decision import Decision
from qbft.errors import CertificateError, QbftError
from qbft.replica.protocols import QuarantineRecord
from qbft_server.store.decisions import DecisionsError, DecisionTable
from qbft_server.store.segments import sync_directory
from qbft_server.store.store import DECISIONS_FILE, NodeStore

ABANDONED = "given up by the operator"


async def abandon_instances(
    directory: Path, cluster_id: bytes, validator: int, instances: Sequence[InstanceId]
) -> None:
    """Never vote in these undecided instances again, so that low-water marks may pass them.

    All of them or none; the node must be stopped.

    Raises:
        QbftError: one of them is decided, or this node has not voted in it; or the store cannot be
            used, or is in use.
    """
    async with contextlib.aclosing(NodeStore.open(directory, cluster_id, validator)) as store:
        for instance in instances:
            if instance not in store.journal.live.undecided(instance.topic):
                raise QbftError(f"{instance}: {_why_not(store, instance)}; nothing was changed")
        await store.commit([QuarantineRecord(i, ABANDONED, abandoned=True) for i in instances])


def _why_not(store: NodeStore, instance: InstanceId) -> str:
    if store.get(instance) is not None:
        return "it is decided"
    if store.is_below_mark(instance):
        mark = store.low_water_mark(instance.topic)
        return f"it is below the topic's low-water mark, which is {mark}"
    if store.journal.live.is_open(instance):
        return "it has been given up before"
    return "this node has no vote in it"


def back_up_decisions(directory: Path, target: Path, roster: Roster) -> int:
    """Copy the decisions of a store into a file of their own; the node may run meanwhile.

    Every certificate in the copy is verified, for a disk may have changed a value without a word.

    It is what the table holds at one moment: all but the decisions of the last second. Votes are
    not copied, for once restored they would be taken for all that the node has said (HARDENING W7).
    Gives how many decisions there are.

    Raises:
        DecisionsError: there is no such table, the file is there already, or the disk refuses.
        CertificateError: one of the decisions is not what was decided; the file is gone again.
    """
    DecisionTable.copy(directory / DECISIONS_FILE, target)
    try:
        with contextlib.closing(DecisionTable.open(target)) as table:
            count = sum(1 for _ in _verified(table.everything(), roster))
    except QbftError:
        target.unlink()
        raise
    try:
        sync_directory(target.absolute().parent)
    except OSError as error:
        raise DecisionsError(f"cannot sync {target}: {error.strerror}") from error
    return count


async def restore_decisions(directory: Path, backup: Path, roster: Roster, validator: int) -> int:
    """Put the decisions of a backup into the store of a stopped node that has never voted.

    Its votes are in no backup: `init --replace` has made the store, and the node asks its peers
    before it votes (HARDENING W7). Any node's backup of the same cluster will do, for every
    certificate in it is verified; all of it is taken or nothing. Gives how many decisions there
    are.

    Raises:
        QbftError: the store has votes or decisions already, or is in use; the backup is of another
            cluster, another version, or damaged; or one of its certificates proves nothing.
    """
    async with contextlib.aclosing(
        NodeStore.open(directory, roster.cluster_id, validator)
    ) as store:
        with contextlib.closing(DecisionTable.open(backup)) as table:
            if table.cluster_id != roster.cluster_id:
                raise DecisionsError(f"{backup} is of another cluster")
            return store.restore(_verified(table.everything(), roster), table.marks())


def _verified(decisions: Iterable[Decision], roster: Roster) -> Iterator[Decision]:
    verifier = Verifier(roster)
    for decision in decisions:
        value = decision.value if isinstance(decision.value, bytes) else None
        try:
            verify_certificate(decision.certificate, roster, value, verifier)
        except CertificateError as error:
            raise CertificateError(
                f"{decision.instance}: {error}; it was changed where it was stored: "
                "take another node's backup"
            ) from error
        yield decision
