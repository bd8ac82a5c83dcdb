"""How a diagram looks: colours for light and dark, and nothing from outside the file."""

from __future__ import annotations

from qbft.core.messages import MessageType

TYPE_CLASSES = {
    MessageType.PRE_PREPARE: "pp",
    MessageType.PREPARE: "pr",
    MessageType.COMMIT: "co",
    MessageType.ROUND_CHANGE: "rc",
    MessageType.DECIDED: "de",
}
TYPE_NAMES = {type_: type_.name.replace("_", "-") for type_ in MessageType}

ROUND_TINTS = 6
"""Tints that bands of rounds take in turn."""

_LIGHT = {
    "paper": "#ffffff", "ink": "#1f2430", "faint": "#8a93a3", "line": "#b9c0cc",
    "pp": "#0b62c4", "pr": "#1a8754", "co": "#c25700", "rc": "#7c3aad", "de": "#5b6472",
    "bad": "#d11a2a", "good": "#1a8754", "timer": "#a8760a",
    "r0": "#3b82f6", "r1": "#f59e0b", "r2": "#a855f7", "r3": "#14b8a6", "r4": "#ef4444",
    "r5": "#84cc16",
}  # fmt: skip
_DARK = {
    **_LIGHT,
    "paper": "#14171d", "ink": "#e6e9ef", "faint": "#8d97a8", "line": "#4a5261",
    "pp": "#6cb0ff", "pr": "#4fd18b", "co": "#ff9c4a", "rc": "#cb93f7", "de": "#aab3c2",
    "bad": "#ff6470", "good": "#4fd18b", "timer": "#e3b341",
}  # fmt: skip

RULES = """
.qd{background:var(--paper);font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;
font-size:11px;color-scheme:light dark}
.qd text{fill:var(--ink)} .qd path,.qd line{fill:none}
.qd .paper{fill:var(--paper)} .qd .title{font-size:16px;font-weight:600}
.qd .say,.qd .tick{fill:var(--faint)} .qd .tick{font-size:10px}
.qd .name{font-size:13px;font-weight:600} .qd .liar{fill:var(--bad)}
.qd .axis{stroke:var(--line)} .qd .guide{stroke:var(--line);stroke-dasharray:2 4;opacity:.5}
.qd .life{stroke:var(--ink);stroke-width:1.5} .qd .down{stroke:var(--faint);stroke-dasharray:2 5}
.qd .band{opacity:.07} .qd .lane{opacity:.34} .qd .round{font-size:12px;font-weight:600}
.qd .in{font-size:9px;font-weight:600}
.qd .m{stroke-width:1.3;stroke-linejoin:round;opacity:.85} .qd .m:hover{stroke-width:3;opacity:1}
.qd .lost{stroke-dasharray:4 3;opacity:.75} .qd .half{stroke-dasharray:1 3}
.qd .halo{stroke:var(--bad);stroke-width:6;opacity:.22}
.qd .label{font-size:9px;font-weight:600;paint-order:stroke;stroke:var(--paper);stroke-width:3px;
stroke-linejoin:round}
.qd .cross{stroke:var(--bad);stroke-width:2} .qd .wait{stroke:var(--timer);stroke-width:1.5}
.qd .ring{fill:var(--paper);stroke:var(--timer);stroke-width:1.5}
.qd .rang{fill:var(--timer);stroke:var(--timer)} .qd .hand{stroke:var(--paper);stroke-width:1.5}
.qd .done{fill:var(--good);stroke:var(--paper);stroke-width:1.5}
.qd .tick-mark{stroke:#fff;stroke-width:2} .qd .start{fill:var(--good)}
.qd .crash{stroke:var(--bad);stroke-width:3} .qd .note{stroke:var(--faint);stroke-dasharray:3 3}
.qd .alarm{stroke:var(--bad)} .qd .alarm-text{fill:var(--bad);font-weight:600}
"""


def style() -> str:
    """The style sheet: light, and dark where the reader's system is."""
    colours = "".join(
        f".qd .{name}{{stroke:var(--{name})}}.qd text.{name}{{fill:var(--{name})}}"
        for name in TYPE_CLASSES.values()
    )
    # A label keeps its halo of paper, whatever its type's stroke is.
    colours += ".qd text.label{stroke:var(--paper)}"
    rounds = "".join(f".qd .r{n}{{fill:var(--r{n})}}" for n in range(ROUND_TINTS))
    light = f".qd{{{_variables(_LIGHT)}}}"
    dark = f"@media (prefers-color-scheme:dark){{.qd{{{_variables(_DARK)}}}}}"
    return light + dark + RULES + colours + rounds


def _variables(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())
