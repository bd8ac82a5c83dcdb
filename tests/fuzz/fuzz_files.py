"""What targets that read files share."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of a random name is made in it


LINE_CHARACTERS_MAX = 2_000


def check_line(refusal: str) -> None:
    """What a file is refused with is one line, and not as long as the file."""
    assert "\n" not in refusal
    assert len(refusal) <= LINE_CHARACTERS_MAX


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)


def scratch() -> Path:
    """A folder of this process, in memory where there is such a place; gone with the process."""
    return Path(_folder().name)
