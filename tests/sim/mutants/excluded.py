"""Bugs of the catalogue (SCENARIOS, section 2) that no mutant stands for."""

from __future__ import annotations

EXCLUDED = {
    "vote guard off (W2, W3)": (
        "no engine meets it, so a run is the same without it; tests/replica/test_guard.py asks it "
        "directly, and the mutants break what it guards"
    ),
    "re-sending off (D5)": (
        "who is stuck asks and is told the current votes of others (U3), and votes are relayed "
        "(U9): what is lost comes within the bound; tests/replica/test_resend.py"
    ),
    "no certificate for a late vote (#3643, D2, D3)": (
        "who is late asks as well (U3), so it comes within the bound; tests/replica/test_decided.py"
    ),
    "re-delivery on entering a round off (A19)": "as above: what is re-sent does it within 500 ms",
    "comparison of values (#4011, #4628, D7, D8, D21)": (
        "it is off wherever there is a journal; the duel has it on in a fifth of its lives"
    ),
    "two rules of one key (#1505)": (
        "the dedup key is a pair by type; leaving the round out is `rules-fire-again` or "
        "`timeout-keeps-fired`"
    ),
    "nil maps, closed channels, leaked streams (#977, #1469, #3416, #2448, #4626, GoQuorum 1516)": (
        "bugs of Go's memory and channels; what they would be here are tests of driver, runner, "
        "transports"
    ),
    "signed bytes, unknown fields, copy of the wrong hash (#1223, #1556, #1861, #2040, #2115)": (
        "the simulator hands over objects, not bytes: tests/wire and tests/crypto"
    ),
    "leader's timer at the proposal (#2096)": (
        "a property of a timer policy, not of this code: tests/timers, and the matrix of timers"
    ),
    "timers by taste (#2213, #4243, #4623, Besu 7642)": (
        "not wrong but slow, or too long at last: policies and their caps are the operator's; "
        "tests/timers and the matrix compare them"
    ),
    "who started it gets the result (#2249)": (
        "all who propose for an instance wait for its one result: the tests of G2 to G5"
    ),
    "nil where a message should be (#2338)": (
        "the gate builds whole messages or none: tests/fuzz/test_hostile_bytes.py"
    ),
    "duties that are not due (#2542)": (
        "there are no duties here; who may open what is bounded by budgets: "
        "tests/replica/test_opening.py"
    ),
    "a metric for missing ROUND-CHANGEs (#4512, issue 4478)": (
        "nothing is decided by it; the race that it counted is SCENARIOS B12"
    ),
    "races of tests and shutdown (#1989, #2869)": (
        "there is one thread; the flaky history itself is in tests/core/test_shipped_bugs.py, by "
        "its number"
    ),
    "decided of the running round (ssv #1343)": (
        "`decided-of-past-round` stands for it: what a DECIDED decides does not depend on the "
        "round of who hears it"
    ),
    "ROUND-CHANGE before there is a block (Besu 2095)": (
        "a round begins with an input or a peer's vote; no ROUND-CHANGE waits for a value"
    ),
    "restarted with empty data directories (Besu 8307)": (
        "where more than F have lost their disks none votes, by design (K25); that a new cluster "
        "begins: tests/replica/test_lost_votes.py"
    ),
    "a halt after a bad sequence of rounds (go-ibft 00f7637)": (
        "no state of its kind is here; a run that halts is I9 of every swarm run"
    ),
}
"""By bug, why not."""
