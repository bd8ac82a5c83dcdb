"""Writes the table "scenario -> tests" into docs/TESTING.md; `--check` only compares.

A test says in its docstring which scenarios it shows: their ids after the word SCENARIOS, like
"SCENARIOS A5", "SCENARIOS F16, M15" or "SCENARIOS K1 to K6", or at its very beginning, like
"F3: ...". A module's docstring may do so for its tests together. The simulator's plans are tests as
well, `Scenario("M4", "what it shows", ...)`: each shows the scenario it is named for. So are the
programs for real nodes on a network, by their docstrings. Tests with real processes come first.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from written_page import between, write_or_check

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "TESTING.md"
BEGIN, END = "<!-- scenario table: begin -->", "<!-- scenario table: end -->"
GROUPS = {
    "A": ("Happy path, round change, timers", 22),
    "B": ("Byzantine leader", 16),
    "C": ("Byzantine replica", 24),
    "M": ("Network", 15),
    "K": ("Crash, restart, disk", 29),
    "F": ("Wire", 19),
    "G": ("Client", 16),
}
NARROW_MAX = 6
"""Who claims more scenarios than this at once shows none of them by itself, unless by processes."""

PROCESSES = ("e2e/", "attacks/", "network/", "containers/")
"""Where tests start real processes: they are few, and each goes through many scenarios."""

_RANGE = re.compile(r"\b([ABCMKFG])(\d{1,2})(?:\s*(?:-|to)\s*\1(\d{1,2}))?\b")
PLANS, PLAYED_BY = "sim/scenarios.py", "sim/test_scenarios.py::test_scenario"
"""Where the simulator's plans are, and the test that plays them."""

PROGRAMS = "network/network_scenarios.py"
RUN_BY = "network/test_network.py::test_a_network_scenario"
"""Where the programs for a real network are, and the test that runs them."""

_LEADING = re.compile(r"[ABCMKFG]\d{1,2}\b[^:]*:")
_PREFIX = re.compile(r"^(SCENARIOS )?[ABCMKFG]\d[^:]*: ")


@dataclass(frozen=True)
class Claim:
    """A test, what it shows, and whether it shows several scenarios only together."""

    test: str
    shows: str
    broad: bool


Claims = dict[str, list[Claim]]
"""By scenario."""


def scenarios_in(docstring: str) -> list[str]:
    """The ids that a docstring names, ranges spelled out, those that exist."""
    leading = _LEADING.match(docstring)
    claimed = (leading.group() if leading else "") + docstring.partition("SCENARIOS")[2]
    ids: dict[str, None] = {}
    for group, first, last in _RANGE.findall(claimed):
        for number in range(int(first), int(last or first) + 1):
            if 1 <= number <= GROUPS[group][1]:
                ids[f"{group}{number}"] = None
    return list(ids)


def docstrings_of(node: ast.AST, name: str) -> Iterator[tuple[str, str]]:
    """(name, docstring) of the tests of a module or a class."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from docstrings_of(child, f"{name}::{child.name}")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and child.name.startswith(
            "test_"
        ):
            yield f"{name}::{child.name}", ast.get_docstring(child) or ""


def summary_of(docstring: str) -> str:
    """The first paragraph, as one line, without the ids it begins with."""
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    return _PREFIX.sub("", paragraph).replace("|", "\\|")


def all_claims() -> Claims:
    """What all tests claim to show."""
    claims: Claims = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = path.relative_to(ROOT / "tests").as_posix()
        for test, docstring in [(name, ast.get_docstring(tree) or ""), *docstrings_of(tree, name)]:
            ids = scenarios_in(docstring)
            is_broad = len(ids) > NARROW_MAX and not test.startswith(PROCESSES)
            claim = Claim(test, summary_of(docstring), test == name or is_broad)
            for scenario in ids:
                claims.setdefault(scenario, []).append(claim)
    for name, shows in plans():
        claim = Claim(f"{PLAYED_BY}[{name}]", shows, broad=False)
        claims.setdefault(name.partition("-")[0], []).append(claim)
    for name, docstring in programs():
        claim = Claim(f"{RUN_BY}[{name}]", summary_of(docstring), broad=False)
        for scenario in scenarios_in(docstring):
            claims.setdefault(scenario, []).append(claim)
    for found in claims.values():
        found.sort(key=lambda claim: not claim.test.startswith(PROCESSES))
    return claims


def plans() -> Iterator[tuple[str, str]]:
    """(name, what it shows) of the simulator's plans that are named for a scenario."""
    tree = ast.parse((ROOT / "tests" / PLANS).read_text(encoding="utf-8"))
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Scenario":
            name, shows, *_ = (getattr(argument, "value", "") for argument in call.args)
            if scenarios_in(f"{name}:"):
                yield name, f"{shows}."


def programs() -> Iterator[tuple[str, str]]:
    """(name, docstring) of the programs for a real network that show a scenario."""
    tree = ast.parse((ROOT / "tests" / PROGRAMS).read_text(encoding="utf-8"))
    for child in tree.body:
        if isinstance(child, ast.AsyncFunctionDef):
            docstring = ast.get_docstring(child) or ""
            if scenarios_in(docstring):
                yield child.name, docstring


def rows_of(scenario: str, claims: list[Claim]) -> Iterator[str]:
    """The table's rows of one scenario; a summary that repeats itself is said once."""
    said = None
    for claim in claims:
        label, shows = ("" if said is not None else scenario), claim.shows
        yield f"| {label} | {'' if shows == said else shows} | `{claim.test}` |"
        said = shows


def table() -> str:
    """The whole table, group by group."""
    claims = all_claims()
    lines: list[str] = []
    for group, (title, count) in GROUPS.items():
        ids = [f"{group}{number}" for number in range(1, count + 1)]
        own = {i: [c for c in claims.get(i, []) if not c.broad] for i in ids}
        shown = [i for i in ids if own[i]]
        lines += ["", f"### {group}. {title}: {len(shown)} of {count}", ""]
        lines += ["| scenario | what its tests show | where |", "|---|---|---|"]
        for i in shown:
            lines += rows_of(i, own[i])
        together: dict[str, list[str]] = {}
        for i in ids:
            for claim in claims.get(i, []) if not own[i] else []:
                together.setdefault(claim.test, []).append(i)
        if together:
            lines += ["", "Only together with others:", ""]
            lines += [f"- {', '.join(members)} in `{test}`" for test, members in together.items()]
        missing = [i for i in ids if i not in claims]
        if missing:
            lines += ["", f"No test names these yet: {', '.join(missing)}."]
    return "\n".join(lines[1:])


if __name__ == "__main__":
    text = between(PAGE, BEGIN, END, table())
    sys.exit(write_or_check(PAGE, text, __file__))
