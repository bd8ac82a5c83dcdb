"""`qbft doctor`: what is wrong around a node, and what to do about it."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

from qbft_server.cli.exits import CommandError, ExitCode, one_line
from qbft_server.cli.options import JsonOption, NodeFileArgument
from qbft_server.cli.output import console, print_json

if TYPE_CHECKING:
    from qbft_server.doctor import Finding


def doctor(
    config: NodeFileArgument,
    json: JsonOption = False,
) -> None:
    """Check a node's keys, disk, ports, limits, clock and peers, and say what to fix.

    Exit code 1 if something would keep it from running.

    Example: qbft doctor mycluster/node-0/node.toml
    """
    from qbft_server.doctor import Verdict, examine

    findings = asyncio.run(examine(config))
    if json:
        for finding in findings:
            print_json(asdict(finding))
    else:
        _print(findings)
    failed = [finding.what for finding in findings if finding.verdict is Verdict.FAIL]
    if failed:
        raise CommandError(f"{config}: to be fixed: {', '.join(failed)}", ExitCode.NEGATIVE)


def _print(findings: list[Finding]) -> None:
    from rich.table import Table

    table = Table("what", "", "seen", "to do", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(finding.what, finding.verdict, one_line(finding.seen), finding.fix)
    console().print(table)
