"""What the dashboard shows: this node in detail, and of the others what they tell any client.

No value leaves here, only digests (docs/adr/014). The other nodes are asked only while somebody
looks on, and without credentials: what the operators of other nodes ask of clients is theirs, and
no client's token is told to them.
"""

from __future__ import annotations

import asyncio
import math
import time
from itertools import islice
from types import TracebackType
from typing import Self

from qbft.client import Access, Client, ClientError, NodeStatus
from qbft.core import InstanceId
from qbft.crypto.roster import service_leader
from qbft.diagnosis import waits_for
from qbft.replay.record import InstanceRecord
from qbft.replica.driver import now_ms
from qbft_server.parts import NodeParts
from qbft_server.telemetry.inspection import inspect
from qbft_server.version import VERSION

OVERVIEW_MS = 900
"""An overview serves everyone who asks within this time."""

ASK_MS = 2_000
"""The other nodes are asked no more often than this ..."""

ASK_SECONDS = 2.0
"""... and have so long to answer."""

OPEN_SHOWN = 20
DECIDED_SHOWN = 20
REFUSED_SHOWN = 20
RECORDED_LOOKED_AT = 256
"""Instances of the recorder among which those of the decisions shown are looked for."""

CONTRADICTION = "evidence: signed two votes that exclude each other"
DIGEST_CHARACTERS = 12


class Overview:
    """Reads the node's parts, in its event loop, while the `async with` block lasts."""

    def __init__(self, parts: NodeParts) -> None:
        self._parts = parts
        self._leader = service_leader(parts.cluster.roster)
        access = Access(insecure_plaintext=parts.config.clients.insecure_plaintext)
        self._client = Client(parts.cluster, access=access)
        self._told: dict[int, NodeStatus | ClientError] = {}
        self._asking: asyncio.Task[None] | None = None
        self._asked_ms = -ASK_MS
        self._state: dict[str, object] = {}
        self._state_ms = -OVERVIEW_MS

    async def __aenter__(self) -> Self:
        """Be ready to ask the other nodes."""
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ask nobody any more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        await self._client.__aexit__(kind, error, trace)

    def why_not_ready(self) -> str:
        """Why this node should be sent no proposals; "" if it should."""
        if not self._parts.replica.is_voting:
            return "this node does not vote"
        if len(self._parts.links.connected) + 1 < self._parts.cluster.roster.quorum:
            return "no quorum can be reached"
        return ""

    async def why(self, instance: InstanceId) -> dict[str, object]:
        """Ask every node what keeps an instance from its decision."""
        known = {self._parts.config.validator: inspect(self._parts, instance)}
        return (await self._client.diagnose(instance, ASK_SECONDS, known)).record()

    async def records(self, instance: InstanceId) -> list[InstanceRecord]:
        """What was recorded of an instance: here, and by the nodes that tell."""
        recorder, own = self._parts.recorder, self._parts.config.validator
        told = await self._client.capture(instance, ASK_SECONDS)
        here = recorder.snapshot(instance, now_ms()) if recorder is not None else None
        others = [each for node, each in sorted(told.items()) if node != own]
        return [each for each in (here, *others) if isinstance(each, InstanceRecord)]

    def overview(self) -> dict[str, object]:
        """Give all that the page shows; whoever asks soon after is given the same."""
        now = now_ms()
        if now - self._state_ms >= OVERVIEW_MS:
            self._state_ms = now
            self._ask_others(now)
            self._state = {
                "node": self._node(),
                "cluster": self._cluster(),
                "open": self._open(now),
                "decided": self._decided(),
                "refused": self._refused(),
            }
        return self._state

    def _ask_others(self, now: int) -> None:
        is_asking = self._asking is not None and not self._asking.done()
        if not is_asking and now - self._asked_ms >= ASK_MS:
            self._asked_ms = now
            self._asking = asyncio.create_task(self._ask(), name="dashboard")

    async def _ask(self) -> None:
        self._told = await self._client.status(ASK_SECONDS)

    def _node(self) -> dict[str, object]:
        parts, status = self._parts, self._parts.replica.status()
        roster = parts.cluster.roster
        return {
            "name": f"{parts.cluster.name}/{parts.config.validator}",
            "validator": parts.config.validator,
            "version": VERSION,
            "nodes": roster.nodes,
            "quorum": roster.quorum,
            "voting": status.voting,
            "why_not_voting": status.why_not_voting,
            "quorum_reachable": len(parts.links.connected) + 1 >= roster.quorum,
            "open_instances": status.open_instances,
            "kept_out": status.kept_out,
            "held_votes": status.held_votes,
            "decisions": parts.store.end,
            "evidence": sum(parts.replica.misconduct.found.values()),
        }

    def _cluster(self) -> list[dict[str, object]]:
        """A row for each node: our link to it, and what it says of itself."""
        own = self._parts.config.validator
        connected = self._parts.links.connected
        zero_ms = time.time() * 1000 - asyncio.get_running_loop().time() * 1000
        rows = []
        for node in range(self._parts.cluster.roster.nodes):
            told = self._told.get(node)
            row: dict[str, object] = {
                "node": node,
                "self": node == own,
                "linked": node in connected,
                "answers": node == own or isinstance(told, NodeStatus),
                "why": str(told) if isinstance(told, ClientError) else "not asked yet",
                "connected": None,
            }
            if node == own:
                row |= {**self._node(), "connected": sorted(connected)}
            elif isinstance(told, NodeStatus):
                row |= _told_by(told, zero_ms)
            rows.append(row)
        return rows

    def _open(self, now: int) -> list[dict[str, object]]:
        replica, nodes = self._parts.replica, self._parts.cluster.roster.nodes
        rows = []
        for instance in islice(replica.undecided(), OPEN_SHOWN):
            account = inspect(self._parts, instance)
            about = account.about
            rows.append(
                {
                    "instance": str(instance),
                    "state": str(about.state),
                    "round": about.round,
                    "leader": about.leader if about.round else None,
                    "timer_ms": about.timer_ms,
                    "waits_for": waits_for(account, nodes),
                }
            )
        return rows

    def _decided(self) -> list[dict[str, object]]:
        """The newest decisions in this node's order, the newest first."""
        store, recorder = self._parts.store, self._parts.recorder
        now = now_ms()
        times = {
            each.instance: (each.closed_ms - each.opened_ms, now - each.closed_ms)
            for each in (recorder.latest(RECORDED_LOOKED_AT) if recorder is not None else ())
            if each.opened_ms is not None and each.closed_ms is not None
        }
        rows = []
        begin = max(0, store.end - DECIDED_SHOWN)
        for _, instance in reversed(store.feed(begin, DECIDED_SHOWN)):
            decision = store.get(instance)
            if decision is None:
                continue
            certificate = decision.certificate
            digest = certificate.value
            took_ms, ago_ms = times.get(instance, (None, None))
            rows.append(
                {
                    "instance": str(instance),
                    "round": certificate.round,
                    "leader": self._leader(instance, certificate.round),
                    "took_ms": took_ms,
                    "ago_ms": ago_ms,
                    "signers": [commit.source for commit in certificate.commits],
                    "digest": digest.hex()[:DIGEST_CHARACTERS] if isinstance(digest, bytes) else "",
                }
            )
        return rows

    def _refused(self) -> list[dict[str, object]]:
        """Who contradicted himself; what was refused most often, limits, and frames not sent."""
        found = self._parts.replica.misconduct.found.items()
        caught = [(count, CONTRADICTION, str(liar)) for liar, count in found if count]
        counts: list[tuple[int, str, str]] = []
        for peer in (None, *range(self._parts.cluster.roster.nodes)):
            whose = "a stranger" if peer is None else str(peer)
            rejects = self._parts.metrics.rejects_of(peer)
            counts += [(count, reason, whose) for reason, count in rejects.items()]
        for (bound, peer), count in self._parts.metrics.bitten().items():
            counts.append((count, f"limit: {bound}", "" if peer is None else str(peer)))
        for index, counted in self._parts.links.counters.items():
            if counted.frames_dropped:
                away = "frames not sent: it lags or is away"
                counts.append((counted.frames_dropped, away, str(index)))
        worst = sorted(counts, key=lambda each: -each[0])[:REFUSED_SHOWN]
        return [
            {"what": what, "whose": whose, "count": count, "proven": what == CONTRADICTION}
            for count, what, whose in [*caught, *worst]
        ]


def _told_by(told: NodeStatus, zero_ms: float) -> dict[str, object]:
    """What another node says of itself; its clock as ahead of ours by so many milliseconds.

    An offset that is no more than what the answer took says only within what it is.
    """
    offset_ms, within_ms = told.clock_zero_ms - zero_ms, told.clock_within_ms
    is_known = abs(offset_ms) > 2 * within_ms
    return {
        "version": told.version,
        "voting": told.voting,
        "quorum_reachable": told.quorum_reachable,
        "open_instances": told.open_instances,
        "kept_out": told.kept_out,
        "decisions": told.decisions,
        "clock_offset_ms": round(offset_ms) if is_known else None,
        "clock_within_ms": math.ceil(abs(offset_ms) + within_ms),
        "connected": [peer.validator for peer in told.peers if peer.connected],
    }
