"""What the links report, as counters and, where an operator needs it, as log lines."""

from __future__ import annotations

import structlog

from qbft_server.telemetry.metrics import Metrics

log = structlog.get_logger()


class LoggedEvents:
    """`qbft_server.peers.PeerEvents`.

    What is rare is logged once; what an attacker can cause at will is only counted.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._why: dict[int, str] = {}

    def link_up(self, peer: int) -> None:
        """Log it."""
        self._why.pop(peer, None)
        log.info("link is up", peer=peer)

    def link_down(self, peer: int, why: str) -> None:
        """Log it when the reason changes."""
        if self._why.get(peer) != why:
            self._why[peer] = why
            log.info("link is down", peer=peer, why=why)

    def lagging(self, peer: int) -> None:
        """Leave it to the counters: it is told by dropped frames."""
        log.debug("peer lags", peer=peer)

    def rejected(self, reason: str, peer: int | None) -> None:
        """Count it."""
        self._metrics.reject(reason, peer)
