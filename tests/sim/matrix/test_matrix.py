"""The strategy matrix: its runs, its figures, and the gate against the reference's."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest

from qbft.sim import matrix as package
from qbft.sim.matrix.cells import (
    Cell,
    Figures,
    batches,
    differences,
    figures,
    gather,
    read_reference,
    run_batch,
)
from qbft.sim.matrix.running import END_MS, Outcome, run
from qbft.sim.matrix.settings import PROFILES, SIZES, TIMERS, Setting, all_settings
from qbft.sim.matrix.tail import TAIL_END_MS, TAIL_TIMERS, tail_batches, tail_rows

REFERENCE = (Path(__file__).parent / "reference.json").read_text()
FAST_RUNS = 60
"""Runs of a cell in this suite; `qbft simulate matrix --check` makes 500.

With much fewer a rare second round may not occur at all: no spread, so no tolerance."""


def setting(size: str, profile: str, timer: str) -> Setting:
    """A cell's setting by its names."""
    by_size = {size.name: size for size in SIZES}
    by_profile = {profile.name: profile for profile in PROFILES}
    return Setting(by_size[size], by_profile[profile], timer)


def test_every_cell_agrees_with_the_reference() -> None:
    """The parity gate of MATRIX, section 2, with fewer runs a cell: all 90 cells agree."""
    work = list(batches(FAST_RUNS, 1))
    result = gather(FAST_RUNS, 1, [(batch, run_batch(batch)) for batch in work])
    reference = read_reference(REFERENCE)
    assert len(result.cells) == 90
    assert {str(c.setting): d for c in result.cells if (d := differences(c, reference))} == {}


def test_the_shipped_figures_are_the_reference_ones() -> None:
    """What `--check` compares with is byte for byte what the tests hold."""
    assert resources.files(package).joinpath("reference.json").read_text() == REFERENCE


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"mean_s": 0.3}, "mean time"),
        ({"undecided": 30}, "undecided"),
        ({"mean_round": 1.5}, "mean round"),
    ],
)
def test_a_figure_off_is_found(change: dict[str, float], what: str) -> None:
    """A cell that has the reference's figures agrees; with one of them moved it does not."""
    reference = read_reference(REFERENCE)
    of = setting("small-all", "colocated", "inc")
    theirs = reference["small-all", "colocated", "inc"]
    same = Figures(500, theirs.undecided, theirs.mean_round, 0.1, theirs.mean_s, theirs.sd_s)
    assert differences(Cell(of, same), reference) == []
    found = differences(Cell(of, replace(same, **change)), reference)
    assert len(found) == 1
    assert found[0].startswith(what)


def test_a_run_is_its_number_and_seed() -> None:
    """The same run comes out the same, another number or seed differently: the gate is fixed."""
    of = setting("large-min", "global", "exp_1000_eager")
    first = [run(of, number, 1) for number in range(10)]
    assert first == [run(of, number, 1) for number in range(10)]
    assert first != [run(of, number, 2) for number in range(10)]
    assert len(set(first)) > 5


def test_batches_cover_every_run_once() -> None:
    """However the work is cut, each of a cell's runs is made, in any order of arrival."""
    work = list(batches(10, 1, batch_max=4))
    runs = {(b.setting, n) for b in work for n in range(b.first, b.first + b.count)}
    assert len(runs) == 90 * 10 == sum(batch.count for batch in work)
    assert len(list(all_settings())) == len(SIZES) * len(PROFILES) * len(TIMERS)
    done = [(b, [Outcome(b.first + n + 1, 1000) for n in range(b.count)]) for b in work]
    assert gather(10, 1, done) == gather(10, 1, reversed(done))


def test_a_longer_run_begins_as_the_shorter_one() -> None:
    """The tail is of the same runs: what decided within 12 s does so just then, others later."""
    of = setting("large-min", "global", "exp_1000_eager")
    short = [run(of, number, 1) for number in range(60)]
    long = [run(of, number, 1, TAIL_END_MS) for number in range(60)]
    later = [after for before, after in zip(short, long, strict=True) if before is None]
    assert later
    assert all(outcome is not None and outcome.at_ms > END_MS for outcome in later)
    assert [after for before, after in zip(short, long, strict=True) if before] == [
        *filter(None, short)
    ]


def test_rows_of_the_tail_pool_the_sizes() -> None:
    """A row for latencies, who is up and timer, over three sizes; any order of arrival will do."""
    work = list(tail_batches(100, 1))
    assert {batch.end_ms for batch in work} == {TAIL_END_MS}
    done = [(b, [Outcome(1, 1_000 * (n + 1)) for n in range(b.count)]) for b in work]
    rows = tail_rows(done)
    assert rows == tail_rows(reversed(done))
    assert len(rows) == len(PROFILES) * 2 * len(TAIL_TIMERS)
    assert {row.figures.runs for row in rows} == {300}
    assert [(row.median_s, row.most_s, row.slowest_s) for row in rows[:1]] == [(50.5, 99.0, 100.0)]


def test_a_row_of_the_tail_in_which_nothing_decides() -> None:
    """Its seconds are no numbers, and null in JSON."""
    rows = tail_rows((batch, [None] * batch.count) for batch in tail_batches(2, 1))
    record = rows[-1].as_record()
    assert record["undecided"] == 6
    assert record["median_s"] is record["within_99_s"] is record["slowest_s"] is None
    assert record["up"] == "a quorum"


def test_figures_of_runs_that_did_not_decide() -> None:
    """Means are over the decided runs; where there is none they are no numbers."""
    some = figures([Outcome(1, 500), None, Outcome(2, 700), None])
    assert (some.undecided_share, some.mean_round, some.mean_s) == (0.5, 1.5, 0.6)
    none = figures([None, None])
    assert none.mean_s != none.mean_s
    assert none.decided == 0


@pytest.mark.parametrize("text", ["[]", "{}", "[1]", '[{"size": "small-all"}]', "nonsense"])
def test_a_file_that_is_no_reference_is_refused(text: str) -> None:
    """Figures that lack a cell, or are none, are said to be so."""
    with pytest.raises(ValueError, match=r"reference|Expecting"):
        read_reference(text)
