"""examples/replica.py: replicas with parts of one's own (docs/EMBEDDING.md)."""

from __future__ import annotations

import runpy
from pathlib import Path

from qbft.core import InstanceId
from qbft.replica.narrow import bytes_of

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "replica.py"))
WISHES = [b"ramen", b"pizza", b"tacos", b"salad"]


async def test_each_run_goes_on_where_the_last_one_was(tmp_path: Path) -> None:
    """Issue 7: a journal of one's own; what a crash tore is let go, and heights go on."""
    for height in range(3):
        decision = await EXAMPLE["decide"](tmp_path, WISHES)
        assert decision.instance == InstanceId("lunch", height)
        assert bytes_of(decision) in WISHES
        with (tmp_path / "journal-2").open("ab") as journal:
            journal.write(b"torn")
    lines = (tmp_path / "journal-2").read_bytes().splitlines()
    assert lines[-1] == b"torn"
    assert b"torn" not in lines[:-1]


async def test_what_the_application_refuses_is_not_decided(tmp_path: Path) -> None:
    """Issue 7: an application of one's own: three leaders in turn have nothing but a blank."""
    decision = await EXAMPLE["decide"](tmp_path, [b" ", b"pizza", b" ", b" "])
    assert bytes_of(decision) == b"pizza"
