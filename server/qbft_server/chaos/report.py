"""What a run comes to, as numbers for scripts and tables for people."""

from __future__ import annotations

import shlex
import statistics
from typing import Any

from rich.console import Console
from rich.table import Table

from qbft_server.chaos.history import Conditions
from qbft_server.chaos.plan import Kind
from qbft_server.chaos.run import Outcome, Settings

SLOT_SECONDS = 1.0
"""Time is available in slots of this, in which at least one proposer was answered."""


def repeat_command(settings: Settings) -> str:
    """The one command that plays the same faults again."""
    words = ["qbft", "chaos", "--minutes", f"{settings.seconds / 60:g}"]
    words += ["--seed", str(settings.seed)]
    default = Settings(0, 0)
    if settings.nodes != default.nodes:
        words += ["--nodes", str(settings.nodes)]
    if settings.rate != default.rate:
        words += ["--rate", f"{settings.rate:g}"]
    if settings.kinds != default.kinds:
        words += [word for kind in settings.kinds for word in ("--only", kind.name.lower())]
    if settings.is_sabotaged:
        words.append("--sabotage")
    return shlex.join(words)


def report(outcome: Outcome) -> dict[str, Any]:
    """Everything that is known of a run, as one JSON object."""
    witness, settings = outcome.witness, outcome.settings
    checker, load = witness.checker, witness.load
    seconds = outcome.ended - outcome.began
    able, unable = availability(
        checker.reply_times, witness.conditions, outcome.began, outcome.ended
    )
    return {
        "ok": not checker.violations_count,
        "seed": settings.seed,
        "nodes": settings.nodes,
        "seconds": round(seconds, 1),
        "episodes": outcome.episodes,
        "faults": {kind.value: outcome.faults[kind] for kind in Kind if outcome.faults[kind]},
        "faults_total": outcome.faults.total(),
        "proposals": load.proposals,
        "decisions": len(checker.decided),
        "decisions_per_second": round(len(checker.decided) / seconds, 1) if seconds else 0.0,
        "replies": len(checker.reply_times),
        "replies_late": load.late,
        "proposals_refused": load.refused,
        "latency_ms": _latencies(load.latencies),
        "appended": checker.log.acknowledged,
        "reads": checker.reads + checker.log.reads,
        "certificates_verified": load.prover.certificates,
        "availability": {
            "all_time": _share(able[0] + unable[0], able[1] + unable[1]),
            "quorum_whole": _share(*able),
            "quorum_whole_seconds": able[1],
            "quorum_disturbed": _share(*unable),
            "quorum_disturbed_seconds": unable[1],
        },
        "votes_audited": outcome.votes_audited,
        "recoveries": checker.recoveries,
        "worst_recovery_s": round(checker.worst_recovery_s, 2),
        "worst_recovery_by_down_s": {
            str(down): round(seconds, 2)
            for down, seconds in sorted(checker.worst_recovery_of.items())
        },
        "own_lag_max_s": round(witness.lag_max, 2),
        "undecided": checker.open_instances,
        "violations": checker.violations_count,
        "violations_seen": [
            {
                "at_s": round(violation.at - outcome.began, 2),
                "promise": violation.promise.value,
                "seen": violation.seen,
            }
            for violation in checker.violations
        ],
        "repeat": repeat_command(settings),
    }


def availability(
    replies: list[float], conditions: list[Conditions], began: float, ended: float
) -> tuple[tuple[int, int], tuple[int, int]]:
    """(slots with an answer, slots) while the faults left a whole quorum, and while not.

    A slot in which that changed counts as disturbed.
    """
    answered = {int((at - began) / SLOT_SECONDS) for at in replies if began <= at < ended}
    slots = int((ended - began) / SLOT_SECONDS)
    disturbed: set[int] = set()
    since: float | None = None
    for condition in [*conditions, Conditions(ended, True, 0)]:
        if since is not None:
            first, last = ((at - began) / SLOT_SECONDS for at in (since, condition.at))
            disturbed.update(range(max(0, int(first)), int(last) + 1))
        since = None if condition.is_able else condition.at
    disturbed &= set(range(slots))
    whole = set(range(slots)) - disturbed
    return (len(answered & whole), len(whole)), (len(answered & disturbed), len(disturbed))


def _latencies(seconds: list[float]) -> dict[str, float]:
    if len(seconds) < 2:
        return {}
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    figures = {"p50": cuts[49], "p90": cuts[89], "p99": cuts[98], "max": max(seconds)}
    return {name: round(1_000 * figure, 1) for name, figure in figures.items()}


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def print_report(result: dict[str, Any], console: Console) -> None:
    """The same for people."""
    faults = Table("fault", "times", title=f"Faults in {result['episodes']} episodes")
    for kind, times in result["faults"].items():
        faults.add_row(kind, str(times))
    console.print(faults)
    share = result["availability"]
    facts = Table("", "", title="The cluster", show_header=False)
    facts.add_row("nodes, seconds", f"{result['nodes']}, {result['seconds']:.0f}")
    facts.add_row(
        "decisions", f"{result['decisions']}, {result['decisions_per_second']:g} a second"
    )
    facts.add_row(
        "proposals",
        f"{result['proposals']}; asked again after 10 s: {result['replies_late']}; "
        f"refused, another was first: {result['proposals_refused']}",
    )
    facts.add_row(
        "from proposal to decision, ms",
        ", ".join(f"{name} {figure:g}" for name, figure in result["latency_ms"].items()),
    )
    facts.add_row("entries appended", f"{result['appended']}")
    facts.add_row("reads", f"{result['reads']}")
    facts.add_row("certificates verified offline", f"{result['certificates_verified']}")
    facts.add_row("votes in journals, audited", f"{result['votes_audited']}")
    facts.add_row("seconds with a decision, of all", _percent(share["all_time"]))
    facts.add_row(
        f"... of {share['quorum_whole_seconds']} with a whole quorum",
        _percent(share["quorum_whole"]),
    )
    facts.add_row(
        f"... of {share['quorum_disturbed_seconds']} without one",
        _percent(share["quorum_disturbed"]),
    )
    facts.add_row(
        "worst recovery", f"{result['worst_recovery_s']:.2f} s, of {result['recoveries']} instances"
    )
    for down, worst in result["worst_recovery_by_down_s"].items():
        facts.add_row(f"... with {down} still away (d)", f"{worst:.2f} s")
    facts.add_row("this process was late by", f"at most {result['own_lag_max_s']:.2f} s")
    facts.add_row("never decided", f"{result['undecided']}")
    facts.add_row("violations", f"{result['violations']}")
    console.print(facts)
    for violation in result["violations_seen"]:
        console.print(f"{violation['at_s']:8.1f} s  {violation['promise']}: {violation['seen']}")
    console.print(f"repeat: {result['repeat']}")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
