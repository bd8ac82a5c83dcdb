"""The pages that are written from the program itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from qbft.core.quorum import max_faulty, quorum
from qbft.diagnosis import Cause

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "script", ["cli_page", "config_page", "metrics_page", "proto_page", "bounds_table", "pictures"]
)
def test_the_page_is_fresh(script: str) -> None:
    """docs/CLI.md, CONFIG.md, METRICS.md, PROTO.md, bounds in SECURITY.md, pictures of HOW.md."""
    command = [sys.executable, str(ROOT / "docs" / f"{script}.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_table_of_f_is_that_of_the_engine() -> None:
    """docs/HOW.md, what f means."""
    page = (ROOT / "docs/HOW.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \|", page, re.MULTILINE)
    assert len(rows) > 5
    for nodes, faulty, votes in (map(int, row) for row in rows):
        assert (faulty, votes) == (max_faulty(nodes), quorum(nodes))


def test_every_decision_is_named() -> None:
    """docs/adr/index.md has each page beside it, under the title that it has."""
    folder = ROOT / "docs/adr"
    titles = {
        path.name: path.read_text().splitlines()[0].split(". ", 1)[1]
        for path in folder.glob("0*.md")
    }
    listed = re.findall(r"\[(.+)\]\((0.+\.md)\)", (folder / "index.md").read_text())
    assert {name: title for title, name in listed} == titles


def test_every_cause_of_a_standstill_is_explained() -> None:
    """docs/OPERATIONS.md says of each name that `qbft why --json` may give what it means."""
    page = (ROOT / "docs/OPERATIONS.md").read_text()
    table = page.partition("| cause | what it means")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (`[^|]+) \|", table, re.MULTILINE)
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted(Cause)
