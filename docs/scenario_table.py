"""Writes the table "scenario -> tests" into docs/TESTING.md; `--check` only compares.

A test says in its docstring which scenarios it shows: their ids after the word SCENARIOS, like
"SCENARIOS A5", "SCENARIOS F16, M15" or "SCENARIOS K1 to K6", or at its very beginning, like
"F3: ...". A module's docstring may do so for its tests together.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
"""Who claims more scenarios than this at once shows none of them by itself."""

_RANGE = re.compile(r"\b([ABCMKFG])(\d{1,2})(?:\s*(?:-|to)\s*\1(\d{1,2}))?\b")
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
            claim = Claim(test, summary_of(docstring), test == name or len(ids) > NARROW_MAX)
            for scenario in ids:
                claims.setdefault(scenario, []).append(claim)
    return claims


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


def page_with(content: str) -> str:
    """The page with this table in its place."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{content}\n\n{END}{tail}"


def main(arguments: list[str]) -> int:
    """Write the page, or with `--check` say whether it is up to date."""
    page = page_with(table())
    if "--check" not in arguments:
        PAGE.write_text(page, encoding="utf-8")
        return 0
    if page == PAGE.read_text(encoding="utf-8"):
        return 0
    sys.stderr.write("docs/TESTING.md is stale: run `python docs/scenario_table.py`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
