"""From every node's account to the diagnosis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from qbft.core import InstanceId
from qbft.diagnosis.account import InstanceState, NodeAccount
from qbft.diagnosis.findings import FINAL, FINDERS, IN_PASSING, Cause, Finding
from qbft.diagnosis.situation import Situation
from qbft.diagnosis.table import NodeRow, rows_of
from qbft.diagnosis.words import nodes_text, seconds_text, verb


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why an instance stands where it stands.

    `sentence` names the first cause and what comes next; `findings` are all causes, the first being
    the one that matters most; `rows` are the nodes.
    """

    instance: InstanceId
    is_decided: bool
    sentence: str
    findings: tuple[Finding, ...]
    rows: tuple[NodeRow, ...]

    def record(self) -> dict[str, object]:
        """The same as JSON can hold it."""
        return {
            "instance": str(self.instance),
            "decided": self.is_decided,
            "sentence": self.sentence,
            "findings": [asdict(finding) for finding in self.findings],
            "nodes": [asdict(row) for row in self.rows],
        }


def deciders(told: Mapping[int, NodeAccount | str]) -> tuple[int, ...]:
    """The nodes that say that they have the instance's decision, so that they can show it."""
    accounts = {node: each for node, each in told.items() if isinstance(each, NodeAccount)}
    return tuple(n for n in sorted(accounts) if accounts[n].about.state is InstanceState.DECIDED)


def diagnose(
    instance: InstanceId,
    told: Mapping[int, NodeAccount | str],
    nodes: int,
    unwilling: Mapping[int, str] | None = None,
    *,
    is_proven: bool = False,
) -> Diagnosis:
    """Say why an instance of a cluster of so many nodes is stuck.

    `told` are the accounts of the nodes that answered, and why others did not; `unwilling` says why
    nodes answered that they will not tell. `is_proven`: a certificate shows that it is decided, as
    the word of F nodes does not. All else is believed: up to F accounts may be false
    (SECURITY.md).
    """
    accounts = {node: each for node, each in told.items() if isinstance(each, NodeAccount)}
    silent = {node: each for node, each in told.items() if isinstance(each, str)}
    situation = Situation(accounts, silent, nodes, is_proven=is_proven)
    findings = [found for finder in FINDERS if (found := finder(situation)) is not None]
    if not findings or findings[0].cause in IN_PASSING:
        findings.insert(0, Finding(Cause.NOTHING, (), _under_way(situation)))
    first = findings[0]
    if first.cause in FINAL:
        findings[1:] = [finding for finding in findings if finding.cause in IN_PASSING]
    is_decided = first.cause is Cause.DECIDED
    if is_decided:
        sentence = f"{instance}: {first.text}."
    else:
        then = "" if first.cause in FINAL else _next(situation)
        sentence = f"{instance} is undecided: {first.text}{then}."
    rows = rows_of(situation, unwilling or {})
    return Diagnosis(instance, is_decided, sentence, tuple(findings), rows)


def _under_way(situation: Situation) -> str:
    here = situation.here
    if not here:
        return "nothing is known of it"
    where = f"{nodes_text(here)} {verb(here, 'is', 'are')} in round {situation.round}"
    return f"nothing is in its way, {where}"


def _next(situation: Situation) -> str:
    """When the next round timer runs out, and who leads then."""
    timers = [
        (account.about.timer_ms, node)
        for node, account in situation.accounts.items()
        if account.about.timer_ms is not None
    ]
    if timers:
        first_ms, node = min(timers)
        about = situation.about(node)
        return (
            f"; the next round timer runs out in {seconds_text(first_ms)} at node {node}, "
            f"and node {about.next_leader} leads round {about.round + 1}"
        )
    ahead = [node for node in situation.open if situation.about(node).waits_for_company]
    if not ahead:
        return ""
    waits = verb(ahead, "waits", "wait")
    return f"; {nodes_text(ahead)} {waits} with the next round until a quorum is as far"
