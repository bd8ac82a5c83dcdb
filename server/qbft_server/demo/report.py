"""What the demo prints: what happened, in figures, and each claim with its verdict."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table

from qbft_server.demo.load import Outcome
from qbft_server.demo.story import VICTIM, Outage, Story

PERCENTILES = (50, 90, 99)


def report(story: Story, seconds: float) -> dict[str, Any]:
    """The whole story as JSON; times of a single decision in milliseconds, all others in seconds.

    `silence_s` is the longest time without any decision during the outage; `recovery_s` runs from
    the restart until the node had all that had been decided by then.
    """
    outage = story.outage
    result: dict[str, Any] = {
        "ok": story.holds,
        "rows": len(story.rows),
        "seconds": round(seconds, 3),
        "rounds": {
            str(round_): count
            for round_, count in sorted(Counter(o.decision.round for o in story.outcomes).items())
        },
        "phases": {name: _figures(part) for name, part in _phases(story.outcomes, outage).items()},
        "claims": [{"claim": claim.text, "holds": claim.holds} for claim in story.claims],
    }
    if outage is not None:
        result["outage"] = {
            "node": VICTIM,
            "seconds": round(outage.restarted - outage.killed, 3),
            "in_flight_at_kill": outage.in_flight,
            "decided_meanwhile": outage.decided_meanwhile,
            "silence_s": round(_silence(story.outcomes, outage), 3),
            "recovery_s": round(outage.caught_up - outage.restarted, 3),
        }
    return result


def _phases(outcomes: Sequence[Outcome], outage: Outage | None) -> dict[str, list[Outcome]]:
    """The outcomes by when they came."""
    if outage is None:
        return {"all": list(outcomes)}
    return {
        "before": [o for o in outcomes if o.ended <= outage.killed],
        "outage": [o for o in outcomes if outage.killed < o.ended <= outage.restarted],
        "after": [o for o in outcomes if o.ended > outage.restarted],
    }


def _figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    figures: dict[str, Any] = {"decisions": len(outcomes)}
    latencies = [1_000 * (o.ended - o.began) for o in outcomes]
    if len(latencies) >= 2:
        cuts = statistics.quantiles(latencies, n=100, method="inclusive")
        figures |= {f"p{p}_ms": round(cuts[p - 1], 1) for p in PERCENTILES}
        figures["max_ms"] = round(max(latencies), 1)
    return figures


def _silence(outcomes: Sequence[Outcome], outage: Outage) -> float:
    ends = [o.ended for o in outcomes if outage.killed < o.ended < outage.restarted]
    moments = [outage.killed, *ends, outage.restarted]
    return max(later - earlier for earlier, later in pairwise(moments))


def print_report(result: dict[str, Any], console: Console) -> None:
    """The same for people."""
    phases = Table("", "decisions", "p50 ms", "p90 ms", "p99 ms", "max ms", title="Decisions")
    names = {"before": "four nodes", "outage": "three nodes", "after": "four again"}
    for name, figures in result["phases"].items():
        cells = [
            figures.get(key, "") for key in ("decisions", "p50_ms", "p90_ms", "p99_ms", "max_ms")
        ]
        phases.add_row(names.get(name, name), *map(str, cells))
    console.print(phases)
    rounds = ", ".join(f"{count} in round {round_}" for round_, count in result["rounds"].items())
    console.print(f"{result['rows']} rows in {result['seconds']:.1f} s: {rounds}")
    if outage := result.get("outage"):
        console.print(
            f"outage of node {outage['node']}: {outage['seconds']:.1f} s, "
            f"the longest time without a decision {outage['silence_s']:.2f} s; "
            f"recovery: caught up {outage['recovery_s']:.2f} s after its restart"
        )
    claims = Table("checked", "claim", title="Claims")
    for claim in result["claims"]:
        claims.add_row("yes" if claim["holds"] else "NO", claim["claim"])
    console.print(claims)
