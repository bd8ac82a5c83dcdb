"""From outcomes to figures: per cell, per timer, and whether they agree with the reference's."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt
from statistics import fmean, stdev

from qbft.sim.garbage import rare_collections
from qbft.sim.matrix.running import END_MS, Outcome, run
from qbft.sim.matrix.settings import TIMERS, Setting, all_settings

RUNS_COMPARED_MAX = 500
"""The runs of a cell of the reference: more of ours do not make shares more comparable."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some runs of one cell: a piece of work for one process, here or elsewhere."""

    setting: Setting
    first: int
    count: int
    seed: int
    end_ms: int = END_MS


@rare_collections()
def run_batch(batch: Batch) -> list[Outcome | None]:
    """The outcomes of a batch, in order of the runs' numbers."""
    numbers = range(batch.first, batch.first + batch.count)
    return [run(batch.setting, number, batch.seed, batch.end_ms) for number in numbers]


def batches(
    iterations: int,
    seed: int,
    batch_max: int = 125,
    *,
    settings: Iterable[Setting] | None = None,
    end_ms: int = END_MS,
) -> Iterator[Batch]:
    """All work of so many runs of each setting, one after the other; None: those of the matrix."""
    for setting in all_settings() if settings is None else settings:
        for first in range(0, iterations, batch_max):
            yield Batch(setting, first, min(batch_max, iterations - first), seed, end_ms)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a number of runs came to. Means are over the decided ones, NaN where there is none."""

    runs: int
    undecided: int
    mean_round: float
    sd_round: float
    mean_s: float
    sd_s: float

    @property
    def decided(self) -> int:
        """Runs that decided."""
        return self.runs - self.undecided

    @property
    def undecided_share(self) -> float:
        """Runs that did not decide, of 1."""
        return self.undecided / self.runs

    def as_record(self) -> dict[str, object]:
        """As plain data for JSON."""
        return {
            "runs": self.runs,
            "undecided": self.undecided,
            "mean_round": number_or_none(self.mean_round),
            "sd_round": number_or_none(self.sd_round),
            "mean_s": number_or_none(self.mean_s),
            "sd_s": number_or_none(self.sd_s),
        }


def figures(outcomes: Sequence[Outcome | None]) -> Figures:
    """Summarise runs."""
    decided = [outcome for outcome in outcomes if outcome is not None]
    mean_round, sd_round = _spread([float(outcome.round) for outcome in decided])
    mean_s, sd_s = _spread([outcome.at_ms / 1000 for outcome in decided])
    undecided = len(outcomes) - len(decided)
    return Figures(len(outcomes), undecided, mean_round, sd_round, mean_s, sd_s)


def _spread(numbers: Sequence[float]) -> tuple[float, float]:
    if not numbers:
        return nan, nan
    return fmean(numbers), stdev(numbers) if len(numbers) > 1 else 0.0


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the table."""

    setting: Setting
    figures: Figures


@dataclass(frozen=True, slots=True)
class Matrix:
    """All rows, and the same over everything for each timer, in the tables' order."""

    iterations: int
    seed: int
    cells: tuple[Cell, ...]
    timers: dict[str, Figures]


def gather(
    iterations: int, seed: int, done: Iterable[tuple[Batch, list[Outcome | None]]]
) -> Matrix:
    """The tables, from all batches in any order."""
    parts = sorted(done, key=lambda pair: pair[0].first)
    by_setting: dict[Setting, list[Outcome | None]] = {}
    for batch, outcomes in parts:
        by_setting.setdefault(batch.setting, []).extend(outcomes)
    cells = tuple(Cell(setting, figures(by_setting[setting])) for setting in all_settings())
    timers = {
        timer: figures([o for s in all_settings() if s.timer == timer for o in by_setting[s]])
        for timer in TIMERS
    }
    return Matrix(iterations, seed, cells, timers)


def as_record(matrix: Matrix) -> dict[str, object]:
    """The matrix as plain data for JSON: numbers that are none are null."""
    return {
        "iterations": matrix.iterations,
        "seed": matrix.seed,
        "cells": [
            {
                "size": cell.setting.size.name,
                "profile": cell.setting.profile.name,
                "timer": cell.setting.timer,
                **cell.figures.as_record(),
            }
            for cell in matrix.cells
        ],
        "timers": [{"timer": name, **of.as_record()} for name, of in matrix.timers.items()],
    }


def number_or_none(number: float) -> float | None:
    """A figure for JSON, which has no NaN."""
    return None if isnan(number) else round(number, 4)


# --- the gate -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReferenceCell:
    """What the reference came to in one cell."""

    runs: int
    undecided: int
    mean_round: float
    mean_s: float
    sd_s: float

    @property
    def decided(self) -> int:
        """Runs that decided."""
        return self.runs - self.undecided


Reference = dict[tuple[str, str, str], ReferenceCell]
"""By size, profile and timer."""


def read_reference(text: str) -> Reference:
    """The reference's figures, from their JSON.

    Raises:
        ValueError: it is not of that form, or not of every cell.
    """
    try:
        rows = json.loads(text)
        reference = {
            (row["size"], row["profile"], row["timer"]): ReferenceCell(
                row["runs"], row["undecided"], row["mean_round"], row["mean_s"], row["sd_s"]
            )
            for row in rows
        }
    except (TypeError, KeyError) as error:
        raise ValueError(f"not the reference's figures: {error!r}") from error
    missing = [str(setting) for setting in all_settings() if _key(setting) not in reference]
    if missing:
        raise ValueError(f"the reference's figures lack {', '.join(missing)}")
    return reference


def differences(cell: Cell, reference: Reference) -> list[str]:
    """In what a cell disagrees with the reference's, in words; the tolerances are MATRIX's."""
    ours, theirs = cell.figures, reference[_key(cell.setting)]
    share = theirs.undecided / theirs.runs
    pooled = (share + ours.undecided_share) / 2
    runs = min(RUNS_COMPARED_MAX, ours.runs)
    checks = [
        (
            "undecided %",
            100 * ours.undecided_share,
            100 * share,
            100 * 4 * sqrt(2 * pooled * (1 - pooled) / runs) + 0.5,
        )
    ]
    if ours.decided and theirs.decided:
        variance = theirs.sd_s**2 / theirs.decided + ours.sd_s**2 / ours.decided
        chance = sqrt(1 / theirs.decided + 1 / ours.decided)
        checks += [
            ("mean time s", ours.mean_s, theirs.mean_s, 4 * sqrt(variance) + 0.010),
            ("mean round", ours.mean_round, theirs.mean_round, 4 * ours.sd_round * chance + 0.02),
        ]
    return [
        f"{what} {was:.3f}, the reference has {expected:.3f}, allowed is a difference of {may:.3f}"
        for what, was, expected, may in checks
        if abs(was - expected) > may
    ]


def _key(setting: Setting) -> tuple[str, str, str]:
    return setting.size.name, setting.profile.name, setting.timer
