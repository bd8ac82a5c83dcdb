"""What the links report, as counters and, where an operator needs it, as log lines."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import structlog

from qbft_server.telemetry.metrics import Metrics

log = structlog.get_logger()


LINK_LINES_MAX = 4
LINK_LINES_SECONDS = 60.0
"""Lines about the link to one peer in so long a time; further ones are logged at debug: a peer can
make its link come and go at will."""


class LoggedEvents:
    """`qbft_server.peers.PeerEvents`.

    What is rare is logged once; what an attacker can cause at will is only counted.
    """

    def __init__(self, metrics: Metrics, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._clock = clock
        self._why: dict[int, str] = {}
        self._told_at: dict[int, deque[float]] = {}

    def link_up(self, peer: int) -> None:
        """Log it."""
        self._why.pop(peer, None)
        self._tell("link is up", peer=peer)

    def link_down(self, peer: int, why: str) -> None:
        """Log it when the reason changes."""
        if self._why.get(peer) != why:
            self._why[peer] = why
            self._tell("link is down", peer=peer, why=why)

    def _tell(self, what: str, *, peer: int, **more: str) -> None:
        """Log a line about a link, so many of a peer at a time."""
        now = self._clock()
        told_at = self._told_at.setdefault(peer, deque(maxlen=LINK_LINES_MAX))
        if len(told_at) == LINK_LINES_MAX and now - told_at[0] < LINK_LINES_SECONDS:
            log.debug(what, peer=peer, **more)
            return
        told_at.append(now)
        log.info(what, peer=peer, **more)

    def lagging(self, peer: int) -> None:
        """Leave it to the counters: it is told by dropped frames."""
        log.debug("peer lags", peer=peer)

    def rejected(self, reason: str, peer: int | None) -> None:
        """Count it."""
        self._metrics.reject(reason, peer)
