"""What every script here ends with: write a page made from the code, or say that it is stale."""

from __future__ import annotations

import sys
from pathlib import Path


def between(page: Path, begin: str, end: str, content: str) -> str:
    """A page's text with this content between two marks of it."""
    head, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n\n{content}\n\n{end}{tail}"


def write_or_check(page: Path, text: str, script: str) -> int:
    """Write the page, or with `--check` only compare; gives the exit code."""
    if "--check" not in sys.argv[1:]:
        page.write_text(text, encoding="utf-8")
    elif not page.exists() or page.read_text(encoding="utf-8") != text:
        sys.stderr.write(f"docs/{page.name} is stale: run `python docs/{Path(script).name}`\n")
        return 1
    return 0
