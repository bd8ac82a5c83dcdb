"""What one turn of the driver produces, and the machine that produces it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

from qbft.replica.protocols import Record
from qbft.transport import Frame

Work = Callable[[], Coroutine[Any, Any, None]]
"""Makes a coroutine; what is never made leaves nothing behind when the driver is cancelled."""


@dataclass(slots=True)
class Turn:
    """To be performed in this order: commit `records`, send `frames`, then tell the machine.

    `frames` are (peer or None for all, frame). `work` is what the machine waits for meanwhile, such
    as an application's check; its result comes back through the machine's own methods.
    """

    records: list[Record] = field(default_factory=list)
    frames: list[tuple[int | None, Frame]] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)


class Machine(Protocol):
    """What the driver drives: a replica of many instances, or the one engine of `run()`."""

    def receive(self, peer: int, frame: Frame, now_ms: int) -> None:
        """Take what a peer sent; what is too much for one turn is gone on with in the next."""
        ...

    @property
    def is_saturated(self) -> bool:
        """Whether this turn has taken in enough: further frames should wait for the next."""
        ...

    @property
    def linger_ms(self) -> int:
        """How long a turn that is due waits for more to arrive: 0 when little is going on."""
        ...

    def link_up(self, peer: int, now_ms: int) -> None:
        """Note that a peer may have missed what was sent to it before."""
        ...

    def run_due(self, now_ms: int) -> None:
        """Do what is due."""
        ...

    @property
    def next_due_ms(self) -> int | None:
        """When something is due next, if anything is."""
        ...

    def end_turn(self, now_ms: int) -> Turn:
        """Close the turn: sign its votes and hand over what it produced."""
        ...

    def turn_done(self, now_ms: int) -> None:
        """Note that the turn's records are durable and its frames sent."""
        ...
