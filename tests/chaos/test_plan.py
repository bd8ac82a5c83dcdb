"""The plan of faults, the bound they are held to, and what is told of a run."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any, cast

import pytest
from typer.main import get_command

from qbft_server.chaos.bound import recovery_seconds
from qbft_server.chaos.history import Conditions
from qbft_server.chaos.plan import ALONE, Fault, Kind, episodes
from qbft_server.chaos.report import availability, repeat_command, report
from qbft_server.chaos.run import Outcome, Settings
from qbft_server.chaos.witness import Witness
from qbft_server.cli.commands import app
from qbft_server.initialise import init_cluster


def plan(seed: int, length: int = 60, nodes: int = 4) -> list[str]:
    """The first episodes of a seed, as they are printed."""
    return [f"{e} {e.gap} {e.hold} {e.calm}" for e in islice(episodes(seed, nodes), length)]


def test_a_seed_is_a_plan() -> None:
    """Issue 4, part 3: the same seed, the same faults; another one, others."""
    assert plan(7) == plan(7)
    assert plan(7) != plan(8)


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_comes_before_one_comes_again(seed: int) -> None:
    """A short run meets much; the kinds that stand alone do; no node has two faults at once."""
    kinds: list[Kind] = []
    for episode in islice(episodes(seed, 4), 100):
        faults = episode.faults
        kinds += [fault.kind for fault in faults]
        assert len(faults) == 1 or not {fault.kind for fault in faults} & ALONE
        hit = [node for fault in faults for node in fault.nodes]
        assert len(hit) == len(set(hit))
    for start in range(0, 60, len(Kind)):
        assert set(kinds[start : start + len(Kind)]) == set(Kind)


@pytest.mark.parametrize("nodes", [4, 7])
def test_links_are_what_their_fault_says(nodes: int) -> None:
    """A ring leaves each node all peers but one; halves have no way across; cuts go both ways."""
    drawn: dict[Kind, list[Fault]] = {}
    for episode in islice(episodes(1, nodes), 300):
        for fault in episode.faults:
            drawn.setdefault(fault.kind, []).append(fault)
    for fault in drawn[Kind.RING]:
        starts = [start for start, _ in fault.links]
        assert len(starts) == len(set(starts)) == 2 * (nodes // 2)
    for fault in drawn[Kind.HALVES]:
        assert len(fault.links) == 2 * (nodes // 2) * (nodes - nodes // 2)
    for kind in (Kind.CUT, Kind.ISOLATE, Kind.HALVES, Kind.RING):
        assert all((b, a) in f.links for f in drawn[kind] for a, b in f.links)
    for fault in drawn[Kind.ONE_WAY]:
        assert all((b, a) not in fault.links for a, b in fault.links)
    assert all(20 <= fault.ms < 600 for fault in drawn[Kind.DELAY])


@pytest.mark.parametrize(
    ("age", "down", "seconds"),
    [
        (0.0, 0, 2 * 8 + 2),  # round 1 runs; rounds of less than 8 s may be too short
        (0.0, 1, 3 * 8 + 2),
        (7.0, 0, 2 * 8 + 2),  # the end of round 3
        (7.1, 0, 2 * 16 + 2),  # round 4 runs
        (7.1, 1, 3 * 32 + 2),  # round 4 runs; round 6 is the longest that may be needed
        (500.0, 0, 2 * 60 + 2),  # at the cap
        (500.0, 1, 3 * 60 + 2),
    ],
)
def test_the_bound_is_the_stated_one(age: float, down: int, seconds: float) -> None:
    """Issue 4, part 2: (2 + d) x the capped round + 2 s."""
    assert recovery_seconds(age, down) == seconds


def test_availability_is_counted_in_slots() -> None:
    """A second in which anybody was answered; those in which a quorum was disturbed apart."""
    conditions = [
        Conditions(9.0, True, 0),
        Conditions(13.5, False, 2),
        Conditions(14.5, True, 1),
        Conditions(15.5, True, 0),
        Conditions(19.2, False, 0),
    ]
    replies = [9.5, 10.1, 10.2, 13.1, 16.0, 20.0]
    whole, disturbed = availability(replies, conditions, 10.0, 20.0)
    assert disturbed == (1, 3)  # 13, 14 and 19
    assert whole == (2, 7)
    assert availability([], [], 0.0, 2.5) == ((0, 2), (0, 0))


def test_the_command_that_repeats_a_run(tmp_path: Path) -> None:
    """What is not said is what it is by default; a run that saw nothing has its report too."""
    assert repeat_command(Settings(60, 3)) == "qbft chaos --minutes 1 --seed 3"
    other = Settings(30, 4, 7, 5.0, (Kind.KILL, Kind.WIPE), is_sabotaged=True)
    assert repeat_command(other) == (
        "qbft chaos --minutes 0.5 --seed 4 --nodes 7 --rate 5 --only kill --only wipe --sabotage"
    )
    told = report(Outcome(other, Witness(init_cluster(tmp_path / "c"), rate=5.0, seed=4)))
    assert told["ok"] is True
    assert told["repeat"] == repeat_command(other)


def test_the_help_names_every_kind() -> None:
    """What `--only` takes stands where its reader looks for it."""
    command = cast("Any", get_command(app)).commands["chaos"]
    (only,) = (option for option in command.params if option.name == "only")
    assert all(kind.name.lower() in only.help for kind in Kind)
