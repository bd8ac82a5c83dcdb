"""`qbft why`: what keeps an instance from its decision, by the word of every node."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from qbft_server.cli.asking import Asking, access_fix
from qbft_server.cli.exits import CommandError, ExitCode, one_line
from qbft_server.cli.options import (
    AccessOption,
    ClusterOption,
    InstanceArgument,
    JsonOption,
    TimeoutOption,
    read_instance,
)
from qbft_server.cli.output import console, print_json

if TYPE_CHECKING:
    from qbft.diagnosis import Diagnosis, NodeRow


_HEADINGS = (
    "node",
    "state",
    "round",
    "leads",
    "cast",
    "lacks",
    "links down",
    "refused, ever",
    "limits, ever",
    "timer",
)


def why(
    instance: InstanceArgument,
    cluster: ClusterOption,
    timeout: TimeoutOption = 5.0,
    access: AccessOption = None,
    json: JsonOption = False,
) -> None:
    """Say why an instance is stuck: who lacks what from whom; exit code 1 if it is.

    Every node is asked, and its word is taken: up to f of them may be false.

    Example: qbft why prices/btc/17 -c mycluster/cluster.toml
    """
    from qbft.diagnosis import Cause

    wanted = read_instance(instance)
    found = Asking(cluster, access).run(lambda client: client.diagnose(wanted, timeout))
    if json:
        print_json(found.record())
    else:
        _print_diagnosis(found)
    first = found.findings[0].cause
    if all(row.why_silent for row in found.rows):
        code = ExitCode.UNAVAILABLE if first is Cause.NO_ANSWER else ExitCode.REFUSED
        from qbft.client.errors import same_together

        told = same_together({row.node: row.why_silent for row in found.rows})
        raise CommandError(f"{told}{access_fix(told, access)}", code)
    if first not in (Cause.DECIDED, Cause.NOTHING):
        raise typer.Exit(ExitCode.NEGATIVE)


def _print_diagnosis(found: Diagnosis) -> None:
    from rich.table import Table as RichTable

    sys.stdout.write(f"{one_line(found.sentence)}\n")
    for finding in found.findings[1:]:
        sys.stdout.write(f"Also: {one_line(finding.text)}.\n")
    sys.stdout.flush()
    rows = [_cells(row) for row in found.rows]
    # What there is nothing of in any row would only make the others narrow.
    used = [n for n in range(len(_HEADINGS)) if any(len(row) > n and row[n] for row in rows)]
    table = RichTable(*(_HEADINGS[n] for n in used))
    for row in rows:
        table.add_row(*(row[n] for n in used if n < len(row)))
    console().print(table)


def _cells(row: NodeRow) -> tuple[str, ...]:
    if row.why_silent:
        from qbft.client.errors import without_node

        return (str(row.node), f"no answer: {one_line(without_node(row.node, row.why_silent))}")
    return (
        str(row.node),
        row.state if row.voting else f"{row.state}, does not vote",
        str(row.round or ""),
        "" if row.leader is None else str(row.leader),
        ", ".join(row.cast),
        row.lacks,
        " ".join(map(str, row.links_down)),
        one_line(row.refused),
        one_line(row.limits),
        "" if row.timer_ms is None else f"{row.timer_ms} ms",
    )
