"""The shipped engine against the naive one, and the fuzz against engines known to be wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from differential_fuzz import DifferenceFound, fuzz

from qbft.core import Instance, Message, MessageType, UponRule
from qbft.core import instance as instance_module
from qbft.core import message_log as log_module
from qbft.core.message_log import MessageLog, Place, Voters

STEPS = 100_000
SEED = 20_260_821


def test_the_engine_does_what_the_naive_one_does() -> None:
    """The parity page: what traces may miss. All rules must have been reached, many times each."""
    tally = fuzz(STEPS, SEED)
    acted = {rule.value for rule in UponRule} - {UponRule.ROUND_TIMEOUT.value}
    assert min(tally.rules[rule] for rule in acted) > 20
    assert tally.decisions > 300
    assert tally.failures > 3


def forget_carried(self: MessageLog, place: Place, message: Message) -> None:
    """Carried votes stay behind when their carrier is evicted."""
    self._uncount(place, message)


def forget_references(
    tallies: dict[object, Voters], key: object, place: Place, source: int
) -> None:
    """The first eviction of a vote takes it away, whoever else holds it."""
    del place
    tallies.get(key, {}).pop(source, None)


def only_crossing(self: MessageLog, round_: int, value: object) -> bool:
    """A quorum is told when the count crosses it, not on later receipts."""
    return len(self._commits.get((round_, value), {})) == self.quorum


def latched(self: MessageLog, place: Place, vote: Message) -> None:
    """A quorum of COMMITs once reached stays so, whatever is evicted."""
    if vote.type is MessageType.COMMIT and self.has_commit_quorum(vote.round, vote.value):
        return
    uncount(self, place, vote)


def last_of_each(voters: Voters) -> dict[Place, Message]:
    """The last vote of a source stands for it, not the first."""
    return {max(held): held[max(held)] for held in voters.values()}


def wiped_log(self: Instance, round_: int, rule: UponRule) -> None:
    """A round change forgets the votes."""
    change_round(self, round_, rule)
    if round_ != 1:
        self._log = MessageLog(self._log.quorum, self._definition.fifo_messages_max)


def kept_rules(self: Instance, round_: int, rule: UponRule) -> None:
    """A round change does not clear what has fired (#628)."""
    fired = set(self._fired)
    change_round(self, round_, rule)
    self._fired |= fired


change_round = Instance._change_round
uncount = MessageLog._uncount


def exact_needless(*_: object) -> bool:
    """J2 without its exact match."""
    return True


MUTANTS: dict[str, tuple[object, str, Callable[..., object]]] = {
    "carried votes outlive their carrier": (MessageLog, "_evict", forget_carried),
    "no reference count": (log_module, "_remove", forget_references),
    "fires only when the count crosses": (MessageLog, "has_commit_quorum", only_crossing),
    "a quorum is latched": (MessageLog, "_uncount", latched),
    "the last of a source stands for it": (log_module, "first_of_each", last_of_each),
    "a round change wipes the log": (Instance, "_change_round", wiped_log),
    "a round change keeps what has fired": (Instance, "_change_round", kept_rules),
    "any round change is justified": (instance_module, "is_justified_round_change", exact_needless),
    "any DECIDED is justified": (instance_module, "is_justified_decided", exact_needless),
}


@pytest.mark.pure
@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_fuzz_finds_each_mistake(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """REFERENCE section 3: each passes some traces; a fuzz that misses them shows nothing."""
    where, name, wrong = MUTANTS[mutant]
    monkeypatch.setattr(where, name, wrong)
    with pytest.raises((DifferenceFound, KeyError)):
        fuzz(STEPS, SEED)
