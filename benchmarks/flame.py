"""A flame graph as SVG: what calls what, as wide as it takes time, coloured by stage.

Idea: Brendan Gregg's flame graphs (2011). The outermost call is at the top; hovering tells a
frame's share. No script: it is shown wherever SVG is.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

from stages import STAGES, Frame, Sample

WIDTH, ROW, MARGIN = 1_200.0, 18.0, 10.0
NARROWEST = 0.4
"""Frames below this width are left out: nobody could see them."""

_LETTER = 6.6


def _colour(number: int) -> str:
    """Hues evenly apart, neighbours of different lightness."""
    lightness = 0.72 if number % 2 else 0.82
    rgb = colorsys.hls_to_rgb(number / len(STAGES), lightness, 0.65)
    return "#" + "".join(f"{round(part * 255):02x}" for part in rgb)


_COLOURS = {stage: _colour(number) for number, stage in enumerate(STAGES)}


@dataclass
class _Node:
    """Calls alike at one place of the stack."""

    count: int = 0
    stages: dict[str, int] = field(default_factory=dict)
    calls: dict[Frame, _Node] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        """Count a sample here and in what it calls."""
        node, stage = self, sample.stage
        node.note(stage, sample.count)
        for frame in sample.stack:
            node = node.calls.setdefault(frame, _Node())
            node.note(stage, sample.count)

    def note(self, stage: str, count: int) -> None:
        """Count here alone."""
        self.count += count
        self.stages[stage] = self.stages.get(stage, 0) + count

    @property
    def depth(self) -> int:
        """Rows that it takes."""
        return 1 + max((call.depth for call in self.calls.values()), default=0)


def draw(samples: Sequence[Sample], title: str) -> str:
    """Draw samples of at least one stack."""
    root = _Node()
    for sample in samples:
        root.add(sample)
    top = 3.5 * ROW
    height = top + root.depth * ROW + MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + 2 * MARGIN:.0f} '
        f'{height:.0f}" font-family="monospace" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{MARGIN}" y="{ROW}" font-size="14">{escape(title)}</text>',
        *_legend(root),
        *_boxes("all", root, (MARGIN, top), max(root.count, 1)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend(root: _Node) -> Iterator[str]:
    x = MARGIN
    for stage in STAGES:
        if stage in root.stages:
            words = f"{stage} {root.stages[stage] / root.count:.0%}"
            yield f'<rect x="{x:.1f}" y="{1.6 * ROW:.1f}" width="10" height="10" '
            yield f'fill="{_COLOURS[stage]}"/>'
            yield f'<text x="{x + 14:.1f}" y="{2.1 * ROW:.1f}">{escape(words)}</text>'
            x += 14 + _LETTER * (len(words) + 2)


def _boxes(name: str, node: _Node, at: tuple[float, float], total: int) -> Iterator[str]:
    x, y = at
    width = node.count / total * WIDTH
    if width < NARROWEST:
        return
    stage = max(node.stages, key=lambda one: node.stages[one])
    colour = _COLOURS[stage] if len(node.stages) == 1 else "#e4e4e4"
    letters = int((width - 4) / _LETTER)
    shown = name if len(name) <= letters else name[: max(letters - 2, 0)] + ".."
    yield f"<g><title>{escape(name)}: {node.count / total:.1%}</title>"
    yield f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{ROW - 1}" fill="{colour}"/>'
    if letters > 3:
        yield f'<text x="{x + 2:.1f}" y="{y + 0.7 * ROW:.1f}">{escape(shown)}</text>'
    yield "</g>"
    for frame, call in sorted(node.calls.items(), key=lambda item: str(item[0])):
        yield from _boxes(str(frame), call, (x, y + ROW), total)
        x += call.count / total * WIDTH
