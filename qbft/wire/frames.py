"""Frames: what one node tells another at once, as bytes and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar

from qbft.transport import Frame
from qbft.wire.reject import RejectReason

From = TypeVar("From", contravariant=True)
Item = TypeVar("Item")


class Repeated(Protocol[Item]):
    """A repeated field: its length is known before any of it is read."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came out of a frame's bytes: the frame, if any, and a reason per thing refused."""

    frame: Frame | None
    rejects: tuple[RejectReason, ...] = ()
