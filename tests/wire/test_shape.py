"""The gate before any signature work: which messages may exist at all (HARDENING U6)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from wire_builders import (
    COMMIT,
    NODES,
    PRE_PREPARE,
    PREPARE,
    QUORUM,
    ROUND_CHANGE,
    A,
    B,
    many,
    pre_prepare,
    round_change,
    vote,
)

from qbft.core import InstanceId, Message, MessageType
from qbft.core.messages import ROUND_MAX
from qbft.wire import RejectReason, check_shape

OTHER = InstanceId("prices/btc", 8)
ALL = (0, 1, 2, 3)
LATER_ROUND = many(ROUND_CHANGE, round_=2)

GOOD: dict[str, Message] = {
    "PRE-PREPARE": vote(PRE_PREPARE),
    "PREPARE": vote(PREPARE),
    "COMMIT, highest round": vote(COMMIT, round_=ROUND_MAX),
    "PRE-PREPARE of round 2": pre_prepare(),
    "PRE-PREPARE with what is prepared": pre_prepare(5, prepared=3),
    "PRE-PREPARE with all of all": pre_prepare(
        justification=many(ROUND_CHANGE, ALL, 2) + many(PREPARE, ALL)
    ),
    "PRE-PREPARE with ROUND-CHANGEs of other prepared rounds": pre_prepare(
        3,
        justification=(
            vote(ROUND_CHANGE, 0, 3),
            vote(ROUND_CHANGE, 1, 3, prepared_round=1, prepared_value=B),
            vote(ROUND_CHANGE, 2, 3, prepared_round=2, prepared_value=A),
            *many(PREPARE, round_=2),
        ),
    ),
    "ROUND-CHANGE, nothing prepared": vote(ROUND_CHANGE, round_=2),
    "ROUND-CHANGE": round_change(),
    "ROUND-CHANGE with all PREPAREs": round_change(justification=many(PREPARE, ALL)),
    "DECIDED": vote(MessageType.DECIDED, justification=many(COMMIT)),
}

BAD: dict[str, tuple[Message, RejectReason]] = {
    # all
    "source n": (vote(PREPARE, NODES), RejectReason.BAD_SOURCE),
    "source -1": (vote(PREPARE, -1), RejectReason.BAD_SOURCE),
    "round 0": (vote(PREPARE, round_=0), RejectReason.BAD_ROUND),
    "round -1": (vote(PREPARE, round_=-1), RejectReason.BAD_ROUND),
    "round above the cap": (vote(PREPARE, round_=ROUND_MAX + 1), RejectReason.BAD_ROUND),
    # PRE-PREPARE, PREPARE, COMMIT
    "PREPARE without a value": (vote(PREPARE, value=None), RejectReason.BAD_DIGEST),
    "PRE-PREPARE without a value": (vote(PRE_PREPARE, value=None), RejectReason.BAD_DIGEST),
    "COMMIT with a prepared round": (vote(COMMIT, prepared_round=1), RejectReason.BAD_ROUND),
    "PREPARE with a prepared value": (
        vote(PREPARE, prepared_value=A),
        RejectReason.BAD_DIGEST,
    ),
    "PREPARE that carries 2n signed messages (C19)": (
        vote(PREPARE, justification=many(PREPARE, ALL) + many(COMMIT, ALL)),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "COMMIT that carries one": (
        vote(COMMIT, justification=many(PREPARE, (0,))),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "PRE-PREPARE of round 1 that carries a quorum": (
        vote(PRE_PREPARE, justification=LATER_ROUND),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "2n+1 nested (F8)": (
        pre_prepare(justification=many(ROUND_CHANGE, ALL, 2) * 2 + many(PREPARE, (0,))),
        RejectReason.TOO_MANY,
    ),
    # PRE-PREPARE of a later round
    "PRE-PREPARE with nothing": (pre_prepare(justification=()), RejectReason.BAD_JUSTIFICATION),
    "PRE-PREPARE, a quorum less one": (
        pre_prepare(justification=LATER_ROUND[:-1]),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "PRE-PREPARE, a ROUND-CHANGE twice": (
        pre_prepare(justification=(*LATER_ROUND, LATER_ROUND[0])),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "PRE-PREPARE, ROUND-CHANGEs of another round": (
        pre_prepare(3, justification=LATER_ROUND),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "PRE-PREPARE, PREPAREs for another value": (
        pre_prepare(justification=LATER_ROUND + many(PREPARE, value=B)),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "PRE-PREPARE, too few PREPAREs": (
        pre_prepare(justification=LATER_ROUND + many(PREPARE, (0, 1))),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "PRE-PREPARE, PREPAREs of two rounds": (
        pre_prepare(
            3,
            justification=many(ROUND_CHANGE, round_=3)
            + many(PREPARE, (0, 1))
            + many(PREPARE, (2,), 2),
        ),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "PRE-PREPARE, PREPAREs of its own round (C7)": (
        pre_prepare(justification=LATER_ROUND + many(PREPARE, round_=2)),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "PRE-PREPARE with a COMMIT": (
        pre_prepare(justification=LATER_ROUND + many(COMMIT, (0,))),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "PRE-PREPARE with a PRE-PREPARE": (
        pre_prepare(justification=(*LATER_ROUND, vote(PRE_PREPARE, 0))),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "PRE-PREPARE with a ROUND-CHANGE of another instance (F10)": (
        pre_prepare(justification=(*LATER_ROUND[:2], replace(LATER_ROUND[2], instance=OTHER))),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "nested twice (F12)": (
        pre_prepare(
            justification=(
                *LATER_ROUND[:2],
                replace(round_change(), source=2),
            )
        ),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "nested of no member": (
        pre_prepare(justification=(*LATER_ROUND[:2], vote(ROUND_CHANGE, 4, 2))),
        RejectReason.BAD_SOURCE,
    ),
    "nested with pr >= round (C7)": (
        pre_prepare(
            justification=(
                *LATER_ROUND[:2],
                vote(ROUND_CHANGE, 2, 2, prepared_round=2, prepared_value=A),
            )
        ),
        RejectReason.BAD_ROUND,
    ),
    # ROUND-CHANGE
    "ROUND-CHANGE of round 1": (vote(ROUND_CHANGE), RejectReason.BAD_ROUND),
    "ROUND-CHANGE, pr = round (C7, D6)": (round_change(2, prepared=2), RejectReason.BAD_ROUND),
    "ROUND-CHANGE, pr > round": (round_change(2, prepared=3), RejectReason.BAD_ROUND),
    "ROUND-CHANGE, pr -1": (round_change(2, prepared=-1), RejectReason.BAD_ROUND),
    "ROUND-CHANGE with a value": (vote(ROUND_CHANGE, round_=2, value=A), RejectReason.BAD_DIGEST),
    "ROUND-CHANGE, pr without pv": (round_change(prepared_value=None), RejectReason.BAD_DIGEST),
    "ROUND-CHANGE, pv without pr": (
        vote(ROUND_CHANGE, round_=2, prepared_value=A),
        RejectReason.BAD_DIGEST,
    ),
    "ROUND-CHANGE, nothing prepared, yet PREPAREs": (
        vote(ROUND_CHANGE, round_=2, justification=many(PREPARE)),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "ROUND-CHANGE without its PREPAREs": (
        round_change(justification=()),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "ROUND-CHANGE, a quorum less one": (
        round_change(justification=many(PREPARE, (0, 1))),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "ROUND-CHANGE, PREPAREs of another round": (
        round_change(3, prepared=2, justification=many(PREPARE, round_=1)),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "ROUND-CHANGE, PREPAREs for another value": (
        round_change(justification=many(PREPARE, value=B)),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "ROUND-CHANGE with COMMITs": (
        round_change(justification=many(COMMIT)),
        RejectReason.BAD_JUSTIFICATION,
    ),
    # DECIDED
    "DECIDED, a quorum less one": (
        vote(MessageType.DECIDED, justification=many(COMMIT, (0, 1))),
        RejectReason.BAD_JUSTIFICATION,
    ),
    "DECIDED with PREPAREs": (
        vote(MessageType.DECIDED, justification=many(PREPARE)),
        RejectReason.BAD_JUSTIFICATION,
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_what_correct_nodes_send_passes(name: str) -> None:
    """U6: every shape that the algorithm produces."""
    assert check_shape(GOOD[name], NODES, QUORUM) is None


@pytest.mark.parametrize("name", BAD)
def test_what_no_correct_node_sends_is_refused(name: str) -> None:
    """U6, D6, D10, D13, C7, C19: each with its reason."""
    message, reason = BAD[name]
    assert check_shape(message, NODES, QUORUM) is reason
