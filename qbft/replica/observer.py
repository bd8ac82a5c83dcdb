"""Whoever looks on while a replica works: it is shown what comes in and what the engine does.

A bystander: nothing depends on it, and what it is shown is frozen. It is called on the hot path, so
it should keep references and look at them later.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from qbft.core import Effect, Input, InstanceId, Message, OwnVote, Value


class Observer(Protocol):
    """Sees every instance of one replica; must return at once and not raise."""

    def opened(self, instance: InstanceId, opener: int, now_ms: int) -> None:
        """An engine starts; `opener` is whose client or message was the reason."""
        ...

    def resumed(
        self,
        instance: InstanceId,
        votes: Sequence[OwnVote],
        input_: Value | None,
        effects: Sequence[Effect],
        now_ms: int,
    ) -> None:
        """An engine went on from these journaled votes and this input (HARDENING W5)."""
        ...

    def stepped(
        self,
        instance: InstanceId,
        sender: int,
        input_: Input,
        effects: tuple[Effect, ...],
        now_ms: int,
    ) -> None:
        """The engine took an input, and this is what it did.

        `sender` is the peer that a message came from, whoever signed it, or this node itself.
        """
        ...

    def timer_started(
        self, instance: InstanceId, round_: int, deadline_ms: int, now_ms: int
    ) -> None:
        """A round's timer runs, or is looked at again, until then."""
        ...

    def put_aside(
        self, instance: InstanceId, sender: int, message: Message, why: str, now_ms: int
    ) -> None:
        """A message did not reach the engine: refused for good, or it has to wait."""
        ...

    def closed(self, instance: InstanceId, now_ms: int) -> None:
        """The engine is gone: its instance is decided, or nothing is said there any more."""
        ...
