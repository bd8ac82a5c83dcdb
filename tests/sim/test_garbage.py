"""Bulk runs hold the cyclic garbage collector off, and give it back as it was."""

from __future__ import annotations

import gc

import pytest

from qbft.sim.garbage import OBJECTS_MAX, rare_collections


def test_the_collector_is_rarer_meanwhile_and_then_as_before() -> None:
    """docs/SIMULATION.md, how fast: for the runs alone, whatever they raise."""
    before = gc.get_threshold()
    with rare_collections():
        assert gc.get_threshold()[0] == OBJECTS_MAX > before[0]
    assert gc.get_threshold() == before

    @rare_collections()
    def fail() -> None:
        raise RuntimeError(gc.get_threshold()[0])

    with pytest.raises(RuntimeError, match=str(OBJECTS_MAX)):
        fail()
    assert gc.get_threshold() == before
