"""Test-only faults: at a labelled point a process kills itself, or its disk fails (SCENARIOS K).

Nothing here acts unless the environment says `QBFT_TEST_FAULTS=1`.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from qbft.core.messages import MessageType
from qbft.errors import ClusterError
from qbft.replica.protocols import DecisionRecord, Record, VoteRecord

LABELS = ("before_append", "after_append", "after_fsync", "before_send", "after_first_send")
DECISION = "DECISION"
KINDS = (*(t.name for t in MessageType if t is not MessageType.DECIDED), DECISION)


class FaultHook(Protocol):
    """Told when a labelled point is passed; may kill the process, or raise OSError like a disk."""

    def __call__(self, label: str, kinds: Collection[str]) -> None:
        """`label` is one of `LABELS`, `kinds` which of `KINDS` are concerned."""
        ...


class KillAt:
    """Kills this process, as `kill -9` does, at the nth passage of a label with a matching kind."""

    def __init__(self, label: str, nth: int, kind: str | None = None) -> None:
        self._label = label
        self._remaining = nth
        self._kind = kind

    def __call__(self, label: str, kinds: Collection[str]) -> None:
        """Count this passage, and die if it is the one."""
        if label != self._label or (self._kind is not None and self._kind not in kinds):
            return
        self._remaining -= 1
        if self._remaining == 0:
            self._act()

    def _act(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class FailAt(KillAt):
    """Fails, as a broken disk does, at the nth passage of a label with a matching kind."""

    def _act(self) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def kinds_of(records: Iterable[Record]) -> frozenset[str]:
    """Which kinds of vote, and whether a decision, are among these records."""
    kinds = set()
    for record in records:
        if isinstance(record, VoteRecord):
            kinds.add(record.vote.type.name)
        elif isinstance(record, DecisionRecord):
            kinds.add(DECISION)
    return frozenset(kinds)


def fault_from_environment(environment: Mapping[str, str]) -> FaultHook | None:
    """The fault that a variable `"label:nth[:kind]"` asks for, if `QBFT_TEST_FAULTS=1`.

    `QBFT_TEST_KILL_AT` kills the process there; `QBFT_TEST_FAIL_AT` is the disk's EIO.

    Raises:
        ClusterError: faults are on and a variable cannot be understood.
    """
    if environment.get("QBFT_TEST_FAULTS") != "1":
        return None
    for variable, fault in (("QBFT_TEST_KILL_AT", KillAt), ("QBFT_TEST_FAIL_AT", FailAt)):
        if variable in environment:
            return fault(*_parse_point(variable, environment[variable]))
    return None


def _parse_point(variable: str, text: str) -> tuple[str, int, str | None]:
    label, _, rest = text.partition(":")
    nth, _, kind = rest.partition(":")
    if label not in LABELS or not nth.isdecimal() or int(nth) < 1 or kind not in ("", *KINDS):
        raise ClusterError(
            f"{variable} is {text!r}, must be LABEL:NTH[:KIND] with a label of "
            f"{', '.join(LABELS)} and a kind of {', '.join(KINDS)}"
        )
    return label, int(nth), kind or None
