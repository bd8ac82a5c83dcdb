"""`qbft demo`: being written."""

from __future__ import annotations

from pathlib import Path

from qbft.errors import QbftError


def run_demo(input_: Path | None, rows: int | None, keep: Path | None, *, as_json: bool) -> int:
    """Not there yet.

    Raises:
        QbftError: always.
    """
    raise QbftError(f"the demo is not there yet ({input_}, {rows}, {keep}, {as_json})")
