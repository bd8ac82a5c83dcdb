"""A node: the composition root, the only place that knows all the parts.

Store, keys, links, replica, driver and services are put together here; each part is described where
it lives. A journal that fails ends the voting, not the node: it goes on serving reads (SCENARIOS
K23).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import assert_never

import structlog
import uvloop

from qbft.core import Definition
from qbft.crypto.roster import service_leader
from qbft.errors import JournalError, TransportError, first_of
from qbft.replica.authenticator import Ed25519Authenticator
from qbft.replica.driver import Driver, now_ms
from qbft.replica.limits import ReplicaLimits
from qbft.replica.narrow import sequence_of, store_of
from qbft.replica.replica import Replica
from qbft.timers import TimerPolicy, exponential, increasing, linear
from qbft.wire import Hello, Remembered, WireLimits
from qbft_server.config import LimitSettings, NodeConfig, TimerSettings
from qbft_server.files import raise_file_limit
from qbft_server.identity import load_tls_identity, load_vote_key
from qbft_server.logs import set_up_logs
from qbft_server.parts import NodeParts
from qbft_server.peers import GrpcTransport, PeerLimits
from qbft_server.peers.faults import FaultyTransport
from qbft_server.services.server import ClientServer
from qbft_server.store.faults import fault_from_environment
from qbft_server.store.retention import Retention
from qbft_server.store.store import NodeStore
from qbft_server.telemetry.admin import serve_admin
from qbft_server.telemetry.events import LoggedEvents
from qbft_server.telemetry.metrics import Metrics

log = structlog.get_logger()

GARBAGE_OBJECTS_MAX = 50_000
"""Objects made and not yet freed that start the collector; by default it starts at 700."""


def main(config_path: Path, json_logs: bool | None = None) -> int:
    """Run a node until it is told to stop; the exit code of its process.

    Raises:
        QbftError: it cannot start, or must stop; one line says why.
    """
    config = NodeConfig.load(config_path)
    raise_file_limit()
    set_up_logs(config.log.level, "json" if json_logs else config.log.format)
    return uvloop.run(_run(config))


async def _run(config: NodeConfig) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        async with _put_together(config) as (node, clients), asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(node.store.run(), name="store"),
                tasks.create_task(_retain(node), name="retention"),
                tasks.create_task(_vote(node, stopping), name="replica"),
                tasks.create_task(clients.watch_health(), name="health"),
            ]
            await stopping.wait()
            log.info("stopping")
            await clients.drain()
            for task in background:
                task.cancel()
    except BaseExceptionGroup as group:
        raise first_of(group) from group
    log.info("stopped")
    return 0


@contextlib.asynccontextmanager
async def _put_together(config: NodeConfig) -> AsyncIterator[tuple[NodeParts, ClientServer]]:
    """Put the parts together; sockets are open while the block lasts."""
    cluster, validator = config.load_cluster()
    roster = cluster.roster
    key = load_vote_key(config.vote_key, validator)
    identity = load_tls_identity(config.tls_key, validator)
    fault = fault_from_environment(os.environ)
    metrics = Metrics()
    _stop_the_collector()
    store = NodeStore.open(config.data, roster.cluster_id, config.validator, fault=fault)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.aclose)
        replica = Replica(
            definition=Definition(roster.nodes, service_leader(roster)),
            validator=config.validator,
            authenticator=Ed25519Authenticator(key, roster, config.validator),
            journal=store,
            store=store,
            timers=_timers(config.timer),
            policies=cluster.policy,
            limits=ReplicaLimits(
                open_instances_max=config.limits.open_instances_max,
                section_bytes_max=config.limits.message_bytes_max,
            ),
            reject=metrics.reject,
            tell=_tell_operator,
        )
        links = GrpcTransport(
            cluster,
            config.validator,
            identity,
            config.listen.peer,
            hello=lambda peer: _hello_to(peer, replica, store, roster.cluster_id, config.validator),
            heard=lambda peer, hello: _hear(peer, hello, replica, driver),
            limits=_peer_limits(config.limits),
            wire_limits=WireLimits(
                value_bytes_max=config.limits.value_bytes_max,
                frame_bytes_max=config.limits.message_bytes_max,
            ),
            events=LoggedEvents(metrics),
        )
        driver = Driver(replica, FaultyTransport(links, fault) if fault else links, store)
        parts = NodeParts(config, cluster, identity, replica, driver, store, links, metrics)
        clients = ClientServer(parts)
        metrics.watch(replica, store, links)
        replica.recover(now_ms())
        _calm_the_collector()
        await stack.enter_async_context(links)
        await stack.enter_async_context(clients)
        if config.listen.admin is not None:
            stack.enter_context(serve_admin(config.listen.admin, metrics))
        log.info(
            "node is up",
            validator=config.validator,
            cluster=cluster.name,
            nodes=roster.nodes,
            peer=config.listen.peer,
            client=config.listen.client,
            decisions=store.end,
            resumed=replica.status().open_instances,
        )
        yield parts, clients


def _hello_to(
    peer: int, replica: Replica, store: NodeStore, cluster_id: bytes, validator: int
) -> Hello:
    """What to tell a peer when a stream begins: who speaks, and what is known of it here."""
    acknowledged, newest = replica.known_of(peer)
    remembered = None
    if newest is not None:
        remembered = Remembered(store_of(newest), sequence_of(newest), newest)
    return Hello(
        cluster_id=cluster_id,
        validator=validator,
        store_id=store.store_id,
        vote_sequence=store.next_sequence - 1,
        acknowledged=acknowledged,
        remembered=remembered,
    )


def _hear(peer: int, hello: Hello, replica: Replica, driver: Driver) -> None:
    """Take what a peer says when a stream begins."""
    vote = hello.remembered.vote if hello.remembered is not None else None
    replica.hear_hello(peer, hello.store_id, hello.acknowledged, vote, now_ms())
    driver.wake()


def _tell_operator(what: str) -> None:
    """Say loudly what must not be overlooked."""
    log.warning(what)


def _stop_the_collector() -> None:
    """Let the cyclic garbage collector rest while the journal is read, which makes no garbage.

    With 20,000 open votes it took more than half of a start, walking what is kept again and again.
    """
    gc.collect()
    gc.disable()


def _calm_the_collector() -> None:
    """Keep the cyclic garbage collector from holding up due timers.

    What was loaded so far lives as long as the node and need not be walked again; nearly all that
    is made later is freed by its count, so that cycles may wait longer. With 10,000 open instances
    a full collection took more than 100 ms, which is above what a timer may wait (DESIGN, async).
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(GARBAGE_OBJECTS_MAX, 20, 50)


def _peer_limits(limits: LimitSettings) -> PeerLimits:
    return PeerLimits(
        message_bytes_max=limits.message_bytes_max,
        outgoing_frames_max=limits.peer_queue_frames_max,
        outgoing_bytes_max=limits.peer_queue_bytes_max,
    )


async def _retain(node: NodeParts) -> None:
    """Delete what the operator's policy does not keep."""
    retention = Retention(entry.rule for entry in node.config.retention)
    await node.store.retain(retention, node.replica.undecided)


async def _vote(node: NodeParts, stopping: asyncio.Event) -> None:
    """Drive the replica; without a journal the node stops voting and keeps serving reads."""
    try:
        await node.driver.run()
    except JournalError as error:
        node.replica.stop_voting()
        log.error("voting has stopped: the journal failed", error=str(error))
    except TransportError:
        if not stopping.is_set():
            raise


def _timers(settings: TimerSettings) -> TimerPolicy:
    match settings.kind:
        case "exponential":
            return exponential(settings.first_round_ms, settings.cap_ms)
        case "linear":
            return linear(settings.first_round_ms)
        case "increasing":
            return increasing()
        case _:
            assert_never(settings.kind)
