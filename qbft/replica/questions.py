"""What the application is asked: whether values are valid, and for a value (DESIGN, validity).

Each question is work that goes on beside the turns; its answer comes back to the replica. Whatever
an application raises, and whatever takes too long, is "no answer".
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from qbft.crypto.proposal import Proposal
from qbft.replica.bounds import Bites, Bound
from qbft.replica.limits import ReplicaLimits
from qbft.replica.open_instance import OpenInstance
from qbft.replica.protocols import Application, ValueSource
from qbft.replica.turn import Work

NO_ANSWER = "application_gave_no_answer"


@dataclass(kw_only=True, slots=True, eq=False)
class Questions:
    """Asks the application, if there is one, so much at once and no longer than its limits say.

    `judged(instance, proposal, valid)` is told each answer about a value, None for none;
    `provided(instance, proposal)` each value that was given. `reject` counts values that it finds
    invalid, of the peer that they came from, and questions without an answer, of this node.
    """

    validator: int
    application: Application | None
    source: ValueSource | None
    limits: ReplicaLimits
    judged: Callable[[OpenInstance, Proposal, bool | None], None]
    provided: Callable[[OpenInstance, Proposal], None]
    reject: Callable[[str, int], None]
    bites: Bites
    _work: list[Work] = field(default_factory=list)
    _checking: Counter[int] = field(default_factory=Counter)
    _providing: int = 0

    def ask(self, opened: OpenInstance) -> None:
        """Ask what there is to be asked of an instance now."""
        if self.application is not None:
            for digest, proposer in opened.checks.start(self._takes_check):
                proposal = opened.proposals[digest]
                self._work.append(
                    partial(self._check, self.application, opened, proposal, proposer)
                )
        if self.source is None or opened.input is not None or opened.checks.may_soon_adopt:
            return
        if self._takes_value(opened):
            self._work.append(partial(self._provide, self.source, opened))

    def drain(self) -> list[Work]:
        """Give the work that has come up, and have none left."""
        work, self._work = self._work, []
        return work

    def _takes_check(self, proposer: int) -> bool:
        """Take a place among the running checks of one proposer's values, if one is free."""
        if self._checking[proposer] >= self.limits.checks_per_proposer_max:
            self.bites.note(Bound.CHECKS_PER_PROPOSER_MAX, proposer)
            return False
        self._checking[proposer] += 1
        return True

    async def _check(
        self, application: Application, opened: OpenInstance, proposal: Proposal, proposer: int
    ) -> None:
        valid: bool | None = None
        try:
            async with asyncio.timeout(self.limits.check_value_ms / 1000):
                valid = await application.check_value(proposal.instance, proposal.value, proposer)
        except Exception:  # noqa: BLE001 - whatever an application raises is "no answer"
            self.reject(NO_ANSWER, self.validator)
        finally:
            self._checking[proposer] -= 1
        if valid is False:
            self.reject("invalid_value", proposer)
        self.judged(opened, proposal, valid)

    def _takes_value(self, opened: OpenInstance) -> bool:
        """Take a place among those for which a value is asked, once a round, if one is free."""
        if opened.asked_in_round >= opened.round:
            return False
        if self._providing >= self.limits.provided_values_max:
            self.bites.note(Bound.PROVIDED_VALUES_MAX)
            return False
        opened.asked_in_round = opened.round
        self._providing += 1
        return True

    async def _provide(self, source: ValueSource, opened: OpenInstance) -> None:
        proposal: Proposal | None = None
        try:
            async with asyncio.timeout(self.limits.provide_value_ms / 1000):
                proposal = await source.provide_value(opened.instance)
        except Exception:  # noqa: BLE001 - whatever an application raises is "no answer"
            self.reject(NO_ANSWER, self.validator)
        finally:
            self._providing -= 1
        if proposal is not None:
            self.provided(opened, proposal)
