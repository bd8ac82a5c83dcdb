"""The picture of the strategy matrix: undecided, rounds and seconds by timer and profile."""

from __future__ import annotations

import io
from collections.abc import Callable
from math import nan

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qbft.sim.matrix.cells import Cell, Matrix
from qbft.sim.matrix.settings import PROFILES, TIMERS

COLOURS = ("#999999", "#56b4e9", "#0072b2", "#e69f00", "#d55e00")
"""One a timer, told apart by the colour-blind too (Okabe and Ito)."""

LABELS = {
    "inc": "inc: 750 + 250 r ms",
    "linear_1000_eager": "linear: r s",
    "exp_1000_eager": "exp: 2^(r-1) s",
    "ldouble_1000_eager": "linear, doubled once",
    "edouble_1000_eager": "exp, doubled once",
}

ROWS = (("-all", "all nodes up"), ("-min", "down to a quorum"))
"""Sizes by the end of their name, and what that means."""

Measure = Callable[[list[Cell]], float]


def picture(matrix: Matrix, kind: str) -> bytes:
    """Draw the matrix; `kind` is svg, png or pdf. The same figures give the same bytes."""
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    axes = figure.subplots(len(ROWS), len(MEASURES), sharex=True, sharey="col", squeeze=False)
    for (ending, meaning), row in zip(ROWS, axes, strict=True):
        for (title, measure), plot in zip(MEASURES, row, strict=True):
            cells = [cell for cell in matrix.cells if cell.setting.size.name.endswith(ending)]
            _draw(plot, cells, measure)
            plot.set_title(f"{title}, {meaning}", fontsize=10, loc="left")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(TIMERS), frameon=False)
    figure.suptitle(f"Round timers: {matrix.iterations} runs a cell, sizes 4, 6 and 9 pooled")
    out = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "qbft", "svg.fonttype": "path"}):
        figure.savefig(out, format=kind, dpi=150, metadata=_METADATA[kind], facecolor="white")
    return out.getvalue()


_METADATA: dict[str, dict[str, None]] = {
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
    "png": {},
}
"""No moment of drawing: a picture changes only when its figures do."""


def _draw(plot: Axes, cells: list[Cell], measure: Measure) -> None:
    """Bars: a group a profile, a bar a timer, its figure above it."""
    width = 0.8 / len(TIMERS)
    for place, (timer, colour) in enumerate(zip(TIMERS, COLOURS, strict=True)):
        heights = [
            measure([c for c in cells if c.setting.profile == profile and c.setting.timer == timer])
            for profile in PROFILES
        ]
        left = [group + (place - (len(TIMERS) - 1) / 2) * width for group in range(len(PROFILES))]
        bars = plot.bar(left, heights, width * 0.92, color=colour, label=LABELS[timer])
        plot.bar_label(bars, fmt="%.2f", fontsize=7, padding=2, rotation=90)
    plot.set_xticks(range(len(PROFILES)), [profile.name for profile in PROFILES])
    plot.spines[["top", "right"]].set_visible(False)
    plot.grid(axis="y", alpha=0.3)
    plot.set_axisbelow(True)
    plot.margins(y=0.2)


def _undecided(cells: list[Cell]) -> float:
    runs = sum(cell.figures.runs for cell in cells)
    return 100 * sum(cell.figures.undecided for cell in cells) / runs


def _round(cells: list[Cell]) -> float:
    return _mean([(cell.figures.mean_round, cell.figures.decided) for cell in cells])


def _seconds(cells: list[Cell]) -> float:
    return _mean([(cell.figures.mean_s, cell.figures.decided) for cell in cells])


def _mean(parts: list[tuple[float, int]]) -> float:
    """The mean over all decided runs of some cells."""
    decided = sum(weight for _, weight in parts)
    if not decided:
        return nan
    return sum(mean * weight for mean, weight in parts if weight) / decided


MEASURES: tuple[tuple[str, Measure], ...] = (
    ("undecided %", _undecided),
    ("mean round", _round),
    ("mean seconds", _seconds),
)
