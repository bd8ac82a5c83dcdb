"""Medians over rounds, ratios to the peers, and how they are shown."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Figures = Mapping[str, float | None]
"""By name, what one system did at one concurrency."""

Table = Mapping[str, Mapping[str, Figures]]
"""Figures by system, then by concurrency."""

COMPARED = ("ops_s", "p50_ms", "p99_ms", "cpu_ms_per_op")


def medians(rounds: Sequence[Table]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Each figure's median over the rounds; what one round does not know has none."""
    return {
        system: {
            concurrency: {
                name: _median([one[system][concurrency][name] for one in rounds])
                for name in figures
            }
            for concurrency, figures in rows.items()
        }
        for system, rows in rounds[0].items()
    }


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if len(known) == len(values) else None


def ratios(
    table: Table, ours: Sequence[str], peers: Sequence[str]
) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Of each way to use ours to each peer, by concurrency: ours divided by theirs.

    More is better for operations per second, less for latencies and processor time.
    """
    return {
        way: {
            peer: {
                concurrency: {
                    name: mine / theirs
                    for name in COMPARED
                    if (mine := figures[name]) is not None
                    and (theirs := table[peer][concurrency][name])
                }
                for concurrency, figures in table[way].items()
            }
            for peer in peers
        }
        for way in ours
    }


def lines(table: Table, terms: Mapping[str, str]) -> Iterator[str]:
    """The figures as a table for people, then what each system promises."""
    names = list(next(iter(next(iter(table.values())).values())))
    width = max(len("system"), *map(len, table))
    widths = [max(len(name), 9) for name in names]
    yield "  ".join(
        [f"{'system':<{width}}", "in flight", *map("{:>{}}".format, names, widths)]
    ).rstrip()
    for system, rows in table.items():
        for concurrency, figures in rows.items():
            cells = [f"{_shown(figures[name]):>{w}}" for name, w in zip(names, widths, strict=True)]
            yield "  ".join([f"{system:<{width}}", f"{concurrency:>9}", *cells])
    yield ""
    yield from (f"{system}: {promise}" for system, promise in terms.items())


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def ratio_lines(
    compared: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]],
) -> Iterator[str]:
    """The ratios, a line for each way, peer and concurrency."""
    for way, peers in compared.items():
        for peer, rows in peers.items():
            for concurrency, row in rows.items():
                told = ", ".join(f"{name} {value:.2f} x" for name, value in row.items())
                yield f"{way} to {peer}, {concurrency} in flight: {told}"


def plot(table: Table, path: Path) -> None:
    """Operations per second and latencies over concurrency, one line for each system.

    The file's ending says what it is: .svg, .png or .pdf.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - only here, it takes a while

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    panels = figure.subplots(1, 3)
    shown = (("ops_s", "operations a second"), ("p50_ms", "p50, ms"), ("p99_ms", "p99, ms"))
    for axes, (name, title) in zip(panels, shown, strict=True):
        for system, rows in table.items():
            points = [(int(key), row[name]) for key, row in rows.items()]
            axes.plot(*zip(*points, strict=True), marker="o", label=system)
        axes.set(xscale="log", yscale="log", xlabel="in flight", title=title)
        ticks = sorted({int(key) for rows in table.values() for key in rows})
        axes.set_xticks(ticks, labels=[str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.grid(visible=True, alpha=0.3)
    panels[0].legend(fontsize="small")
    figure.savefig(path)
