"""Killed by the kernel at each labelled point: what the next process finds (SCENARIOS K)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from store_builders import CLUSTER, VALIDATOR, commit, decided, decision, instance, prepare

from qbft.errors import ClusterError
from qbft.replica.protocols import QuarantineRecord, Record
from qbft_server.store.faults import FailAt, KillAt, fault_from_environment, kinds_of
from qbft_server.store.journal import VoteJournal
from qbft_server.store.store import JOURNAL_DIRECTORY, NodeStore

_VICTIM = """
import asyncio, os, sys
from pathlib import Path
from qbft_server.store.faults import fault_from_environment
from qbft_server.store.store import NodeStore
from store_builders import CLUSTER, VALIDATOR, commit, decided, prepare
async def main():
    fault = fault_from_environment(os.environ)
    store = NodeStore.open(Path(sys.argv[1]), CLUSTER, VALIDATOR, fault=fault)
    for record in (prepare(1), commit(1), prepare(2), decided(1)):
        await store.commit([record])
        print("sent", flush=True)
asyncio.run(main())
"""


def run_victim(directory: Path, kill_at: str) -> tuple[int, int]:
    """Run a process that commits four times; returns its exit code and how often it went on."""
    search = os.pathsep.join(filter(None, sys.path))
    environment = {
        **os.environ,
        "PYTHONPATH": search,
        "QBFT_TEST_FAULTS": "1",
        "QBFT_TEST_KILL_AT": kill_at,
    }
    command = [sys.executable, "-c", _VICTIM, str(directory)]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    return done.returncode, done.stdout.count(b"sent")


@pytest.mark.parametrize(
    ("kill_at", "sent", "found"),
    [
        ("before_append:1", 0, []),
        ("after_fsync:1", 0, [prepare(1)]),
        ("before_append:1:COMMIT", 1, [prepare(1)]),
        ("after_append:1:COMMIT", 1, [prepare(1), commit(1)]),
        ("after_fsync:1:COMMIT", 1, [prepare(1), commit(1)]),
        ("before_append:2:PREPARE", 2, [prepare(1), commit(1)]),
        ("after_fsync:2:PREPARE", 2, [prepare(1), commit(1), prepare(2)]),
        ("before_append:1:DECISION", 3, [prepare(1), commit(1), prepare(2)]),
        ("after_fsync:1:DECISION", 3, [prepare(2)]),
    ],
)
def test_killed_at_a_label(tmp_path: Path, kill_at: str, sent: int, found: list[Record]) -> None:
    """K1, K2, K4, K5, K13, K14: nothing is said before it is found again, nothing found is lost.

    What is written and not synced survives a kill (not a power cut): it was never said, and may
    be said later.
    """
    directory = tmp_path / "node"
    NodeStore.create(directory, CLUSTER, VALIDATOR)
    assert run_victim(directory, kill_at) == (-signal.SIGKILL, sent)
    with closing(VoteJournal.open(directory / JOURNAL_DIRECTORY, CLUSTER, VALIDATOR)) as journal:
        assert list(journal.recover()) == found
        is_decided = journal.live.pending(instance(1)) == decision(1)
        assert is_decided is (kill_at == "after_fsync:1:DECISION")


def test_nothing_happens_unless_faults_are_on() -> None:
    """A variable alone must not kill a node in production."""
    assert fault_from_environment({}) is None
    assert fault_from_environment({"QBFT_TEST_KILL_AT": "before_send:1"}) is None
    assert fault_from_environment({"QBFT_TEST_FAULTS": "1"}) is None
    on = {"QBFT_TEST_FAULTS": "1", "QBFT_TEST_KILL_AT": "before_send:1:COMMIT"}
    assert isinstance(fault_from_environment(on), KillAt)


def test_a_disk_can_be_made_to_fail() -> None:
    """SCENARIOS K23: EIO at the nth passage with that kind, and never again."""
    on = {"QBFT_TEST_FAULTS": "1", "QBFT_TEST_FAIL_AT": "after_append:2:COMMIT"}
    fault = fault_from_environment(on)
    assert isinstance(fault, FailAt)
    for kind in ("COMMIT", "PREPARE"):
        fault("after_append", [kind])
    with pytest.raises(OSError, match="Input/output error"):
        fault("after_append", ["COMMIT"])
    fault("after_append", ["COMMIT"])


@pytest.mark.parametrize("variable", ["QBFT_TEST_KILL_AT", "QBFT_TEST_FAIL_AT"])
@pytest.mark.parametrize("text", ["", "never:1", "before_send", "before_send:0", "before_send:1:X"])
def test_a_fault_that_cannot_be_understood_is_an_error(text: str, variable: str) -> None:
    """A test that kills nobody would pass for the wrong reason."""
    with pytest.raises(ClusterError, match=variable):
        fault_from_environment({"QBFT_TEST_FAULTS": "1", variable: text})


def test_kinds_name_votes_and_decisions() -> None:
    """The hook can be asked for a kind of record."""
    records: list[Record] = [
        prepare(1),
        commit(1),
        decided(1),
        QuarantineRecord(instance(1), "a bug"),
    ]
    assert kinds_of(records) == {"PREPARE", "COMMIT", "DECISION"}
