"""The client: all that there is to ask of a cluster; how, stands in the modules beside this one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from qbft.client import accounts, diagnosing, entries, watching
from qbft.client.access import Access
from qbft.client.appending import Appending
from qbft.client.asking import Asking
from qbft.client.errors import ClientError
from qbft.client.hedging import Patience
from qbft.client.proposing import Proposing
from qbft.client.reading import Reading
from qbft.client.status import NodeStatus
from qbft.cluster import Cluster
from qbft.core import InstanceId
from qbft.crypto.evidence import Evidence
from qbft.crypto.keys import VoteKey
from qbft.decision import Decision
from qbft.diagnosis import Diagnosis, NodeAccount
from qbft.errors import QbftError
from qbft.ordered import Appended, LogEntry, Position
from qbft.replay.record import InstanceRecord

TIMEOUT_SECONDS = 30.0
HEDGE_MS = 500
STALL_SECONDS = 10.0
IN_FLIGHT_MAX = 256
"""Proposals of one `propose_many` that wait for their decisions, where its caller says nothing."""

STATUS_SECONDS = 5.0


class Client:
    """Asks a cluster, while the `async with` block lasts; for use in one event loop.

        async with Client("mycluster/cluster.toml") as client:
            decision = await client.propose("prices/btc", 17, b"64123.50")

    Whatever it gives is verified. A node that tells what it cannot prove is asked nothing more by
    this client (`liars`). Timeouts are in seconds; None is the client's own, and where that is None
    too it waits for ever.

    Args:
        cluster: a cluster file's path, or its contents.
        access: the token or certificate that the operator asks of clients.
        proposer: the key that signs proposals, for topics that are not open to all.
        timeout: that of every call that is given none of its own.
        hedge_ms: after so much silence of a node one more is asked, and under load after twice the
            time that answers usually take; but always so soon that f+1 are asked before the
            deadline. With 0 all are asked at once.

    Raises:
        ClusterError: the cluster file is not usable.
        ValueError: `hedge_ms` is negative.
    """

    def __init__(
        self,
        cluster: Cluster | Path | str,
        *,
        access: Access | None = None,
        proposer: VoteKey | None = None,
        timeout: float | None = TIMEOUT_SECONDS,
        hedge_ms: int = HEDGE_MS,
    ) -> None:
        if hedge_ms < 0:
            raise ValueError(f"hedge_ms = {hedge_ms}: allowed is 0 or more")
        self.cluster = cluster if isinstance(cluster, Cluster) else Cluster.load(Path(cluster))
        least = hedge_ms / 1000
        self._asking = Asking(self.cluster, access or Access(), timeout)
        self._proposing = Proposing(self._asking, proposer, Patience(least))
        self._reading = Reading(self._asking, Patience(least))
        self._appending = Appending(self._asking, self._reading, proposer, Patience(least))

    async def __aenter__(self) -> Self:
        """Prepare a channel to every node; none is connected before it is needed."""
        self._asking.begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the channels; calls that still run fail, as `Closed`."""
        await self._asking.close()

    @property
    def liars(self) -> dict[int, str]:
        """The nodes that this client has caught, and at what (SCENARIOS G11)."""
        return self._asking.belief.liars

    # --- proposing --------------------------------------------------------------------------------

    async def propose(
        self, topic: str, height: int, value: bytes, *, timeout: float | None = None
    ) -> Decision:
        """Have a value decided; gives what was decided, which may be another's (`Decision.own`).

        The leader of round 1 is asked first. Proposing the same again does no harm: after a failure
        that is the way to learn the outcome.

        Raises:
            ValueError: topic or height is outside what there can be.
            DeadlineExceeded: no decision came in time; there may still be one later.
            Refused: f+1 nodes will not do it (`Conflict`: for their clients proposed another
                value), so one of them is honest.
            NoNodeLeft: every node has lied.
        """
        return await self._proposing.propose(InstanceId(topic, height), value, timeout)

    def propose_many(
        self,
        proposals: Iterable[tuple[str, int, bytes]] | AsyncIterable[tuple[str, int, bytes]],
        *,
        in_flight: int = IN_FLIGHT_MAX,
        timeout: float | None = None,
    ) -> AsyncIterator[Decision]:
        """Have many values decided, so many at a time, over one stream to each node.

        Decisions come as they are made, in any order, whether or not `proposals` goes on: it is
        read, in a task of its own, as long as fewer than `in_flight` are on their way, and closed
        at the end. The first failure, see `propose`, ends it all, after the decisions that are
        there; `timeout` is that of each proposal.

        Raises:
            ValueError: `in_flight` is less than 1.
            ClientError: see `propose`.
        """
        return self._proposing.propose_many(proposals, in_flight=in_flight, seconds=timeout)

    # --- ordered topics ---------------------------------------------------------------------------

    async def append(
        self,
        topic: str,
        value: bytes,
        request_id: bytes | None = None,
        *,
        timeout: float | None = None,
    ) -> Appended:
        """Put a value at the next free position of an ordered topic; gives where it stands.

        `request_id` is the caller's name for it, 1 to 64 bytes, made up where it is left out. After
        a failure the same call with the same request id does no harm: it lands once, if the second
        call comes less than 1,024 heights after the first. That the entry stands there is proven;
        that it repeats no earlier one is what the node said, and `watch_entries` tells for sure.

        Raises:
            ValueError: the topic or the request id is none.
            DeadlineExceeded: no answer came in time; it may still land.
            Refused: f+1 nodes will not do it (`Conflict`: the request id stands for another value).
            NoNodeLeft: every node has lied.
        """
        return await self._appending.append(topic, value, request_id, timeout)

    def watch_entries(
        self,
        topic: str,
        after: Position | None = None,
        *,
        void: bool = False,
        node: int | None = None,
        stall: float = STALL_SECONDS,
    ) -> AsyncGenerator[LogEntry, None]:
        """Follow an ordered topic, entry by entry, without gaps, for ever; every reader gets alike.

        It begins after a position, or where the topic does. With `void`, entries are given too that
        repeat an earlier one, and count for nothing. What counts depends on the 1,023 heights
        before: they are read as well, and have to be kept. `node` and `stall` are as in `watch`.

        Raises:
            ValueError: topic or node is outside what there can be.
            Refused: f+1 nodes in a row will not (it begins below what is kept, no token).
            NoNodeLeft: every node has lied.
        """
        return entries.watch_entries(self._asking, topic, after, void=void, node=node, stall=stall)

    # --- reading ----------------------------------------------------------------------------------

    async def get(
        self,
        topic: str,
        height: int,
        *,
        quorum: bool = False,
        node: int | None = None,
        timeout: float | None = None,
    ) -> Decision:
        """Read a decision from one node, or with `quorum` from f+1, one of which is honest.

        A decision is beyond doubt whoever gave it; that there is none is only what was said. With
        `quorum` that is said by f+1 nodes, and where they differ the instance counts as undecided,
        and the lowest of their marks is told: an honest one's is no lower.
        `node` asks that node alone.

        Raises:
            ValueError: topic, height or node is outside what there can be.
            NoDecision: `Undecided`, `Unknown` or `BelowMark`.
            DeadlineExceeded: too few answers came in time.
            Refused: f+1 nodes will not answer.
            NoNodeLeft: every node has lied.
        """
        instance = InstanceId(topic, height)
        return await self._reading.get(instance, quorum=quorum, node=node, seconds=timeout)

    def list_decisions(
        self, topic: str, from_height: int = 0, *, node: int | None = None
    ) -> AsyncIterator[Decision]:
        """Read a topic's decisions upwards, as far as one node has them; heights may be missing.

        Each decision is verified; that none is left out is not, for an honest node may lag as well.
        `node` asks that node alone; otherwise each page comes from the first that gives it.

        Raises:
            ValueError: topic, height or node is outside what there can be.
            ClientError: see `get`.
        """
        return self._reading.list_decisions(topic, from_height, node)

    # --- watching ---------------------------------------------------------------------------------

    def watch(
        self,
        topic: str,
        from_height: int = 0,
        *,
        node: int | None = None,
        stall: float = STALL_SECONDS,
    ) -> AsyncGenerator[Decision, None]:
        """Follow a topic height by height, without gaps, for ever (SCENARIOS G14).

        A stream that breaks is taken up at the next height, at another node. One that gives nothing
        for `stall` seconds is too: perhaps there is nothing, perhaps the node lags or is silent.
        `node` keeps to that node.

        Raises:
            ValueError: topic, height or node is outside what there can be.
            Refused: f+1 nodes in a row will not (below the mark, no token), or the one asked for.
            NoNodeLeft: every node has lied.
        """
        return watching.watch(self._asking, topic, from_height, node=node, stall=stall)

    def watch_all(self, node: int, cursor: bytes = b"") -> AsyncIterator[tuple[Decision, bytes]]:
        """Follow all decisions in one node's own order; each comes with the cursor to go on from.

        A stream that breaks is taken up where it was. The order, and that none is left out, is that
        node's word.

        Raises:
            ValueError: there is no such node.
            Refused: the cursor is another node's, or beyond what it has or keeps.
            NoNodeLeft: the node has lied.
        """
        return watching.watch_all(self._asking, node, cursor)

    # --- accounts of nodes ------------------------------------------------------------------------

    async def status(self, timeout: float = STATUS_SECONDS) -> dict[int, NodeStatus | ClientError]:
        """Ask every node how it is: its account, or why there is none. Nothing of it is proven."""
        return await accounts.statuses(self._asking, timeout)

    async def diagnose(
        self,
        instance: InstanceId,
        timeout: float = STATUS_SECONDS,
        known: Mapping[int, NodeAccount] | None = None,
    ) -> Diagnosis:
        """Ask every node how it stands in an instance, and say why it is not decided.

        `known` are accounts of nodes that need not be asked. A faulty node may say what it likes,
        but that it is decided: that is believed of F+1, or of a certificate.
        """
        return await diagnosing.diagnosis(self._asking, instance, timeout, known or {})

    async def capture(
        self, instance: InstanceId, timeout: float = STATUS_SECONDS, *, node: int | None = None
    ) -> dict[int, InstanceRecord | QbftError | None]:
        """Ask every node, or this one, for what it recorded of an instance; None: it has nothing.

        Nothing of it is proven: a faulty node may say what it likes.

        Raises:
            ValueError: there is no such node.
        """
        return await accounts.records(self._asking, instance, timeout, node)

    async def heights(
        self, timeout: float = STATUS_SECONDS
    ) -> dict[int, dict[str, int] | ClientError]:
        """Ask every node how far each topic has come there, or why it does not say.

        By topic, the highest height that the node has voted at or knows to be decided. Nothing of
        it is proven.
        """
        return await accounts.heights(self._asking, timeout)

    async def evidence(
        self, *, node: int | None = None, timeout: float = STATUS_SECONDS
    ) -> dict[int, list[Evidence] | ClientError]:
        """Ask every node, or that one, what it holds against validators (SCENARIOS B16).

        Gives what each has proven, or why it has told nothing; a node that tells what proves
        nothing has lied (`liars`).

        Raises:
            ValueError: there is no such node.
        """
        return await accounts.evidence(self._asking, timeout, node)
