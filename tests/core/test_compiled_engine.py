"""Which engine the tests run on: the source, or the compiled one (docs/adr/011-compiling.md)."""

from __future__ import annotations

import os

from qbft.core import instance


def test_the_engine_is_the_one_that_was_asked_for() -> None:
    """`make compiled` would show nothing, were the source imported after all."""
    is_compiled = not instance.__file__.endswith(".py")
    assert is_compiled == ("QBFT_COMPILED" in os.environ)
