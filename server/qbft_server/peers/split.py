"""A frame that is larger than one message, sent as several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from qbft.transport import Frame

_EMPTY: dict[str, Any] = {
    "votes": (),
    "batch": None,
    "relayed": (),
    "proposals": (),
    "certificates": (),
    "covers": 0,
    "covers_after": 0,
}
"""What is left of a frame when all that may be large was taken out of it."""


def split_frame(
    frame: Frame, encode: Callable[[Frame], bytes], bytes_max: int
) -> Iterator[bytes | None]:
    """The frame's contents as encoded frames of at most `bytes_max`; None for what no frame holds.

    Proposals come first, for votes wait for their values. The own votes stand under one signature
    and stay together. `covers` is about the relayed votes and goes with them; where they must be
    parted its promise is dropped, for any part may be lost. A page of `memory` is small enough.
    """
    sections = (
        Frame(proposals=frame.proposals),
        Frame(votes=frame.votes, batch=frame.batch),
        Frame(relayed=frame.relayed, covers=frame.covers, covers_after=frame.covers_after),
        Frame(certificates=frame.certificates),
        replace(frame, **_EMPTY),
    )
    for section in sections:
        if section != Frame():
            yield from _halve(section, encode, bytes_max)


def _halve(
    frame: Frame, encode: Callable[[Frame], bytes], bytes_max: int
) -> Iterator[bytes | None]:
    data = encode(frame)
    if len(data) <= bytes_max:
        yield data
        return
    for name in ("proposals", "relayed", "certificates"):
        items = getattr(frame, name)
        if len(items) > 1:
            middle = len(items) // 2
            for half in (items[:middle], items[middle:]):
                yield from _halve(Frame(**{name: half}), encode, bytes_max)
            return
    yield None
