"""`qbft simulate`: what its commands print, and how they end."""

from __future__ import annotations

import json

import pytest

from qbft_server.cli import main


def test_simulate_alone_shows_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """As `qbft` does: the help, and the exit code of wrong usage."""
    assert main(["simulate"]) == 2
    shown = capsys.readouterr()
    assert "run" in shown.out
    assert not shown.err


def test_run_plays_one_seed(capsys: pytest.CaptureFixture[str]) -> None:
    """The same seed tells the same story each time."""
    assert main(["simulate", "run", "--seed", "3", "--json"]) == 0
    first = capsys.readouterr().out
    assert main(["simulate", "run", "--seed", "3", "--json"]) == 0
    assert capsys.readouterr().out == first
    assert json.loads(first)["seed"] == 3
