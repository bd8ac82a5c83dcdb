"""Several who look on while one replica works."""

from __future__ import annotations

from collections.abc import Sequence

from qbft.core import Effect, Input, InstanceId, Message, OwnVote, Value
from qbft.replica.observer import Observer


class Observers:
    """Shows each of them all (`qbft.replica.observer.Observer`)."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def opened(self, instance: InstanceId, opener: int, now_ms: int) -> None:
        """Show it."""
        for each in self._observers:
            each.opened(instance, opener, now_ms)

    def resumed(
        self,
        instance: InstanceId,
        votes: Sequence[OwnVote],
        input_: Value | None,
        effects: Sequence[Effect],
        now_ms: int,
    ) -> None:
        """Show it."""
        for each in self._observers:
            each.resumed(instance, votes, input_, effects, now_ms)

    def stepped(
        self,
        instance: InstanceId,
        sender: int,
        input_: Input,
        effects: tuple[Effect, ...],
        now_ms: int,
    ) -> None:
        """Show it."""
        for each in self._observers:
            each.stepped(instance, sender, input_, effects, now_ms)

    def timer_started(
        self, instance: InstanceId, round_: int, deadline_ms: int, now_ms: int
    ) -> None:
        """Show it."""
        for each in self._observers:
            each.timer_started(instance, round_, deadline_ms, now_ms)

    def put_aside(
        self, instance: InstanceId, sender: int, message: Message, why: str, now_ms: int
    ) -> None:
        """Show it."""
        for each in self._observers:
            each.put_aside(instance, sender, message, why, now_ms)

    def closed(self, instance: InstanceId, now_ms: int) -> None:
        """Show it."""
        for each in self._observers:
            each.closed(instance, now_ms)
