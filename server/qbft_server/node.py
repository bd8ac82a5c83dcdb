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
from typing import TYPE_CHECKING, assert_never

import structlog
import uvloop

from qbft.cluster import Cluster, Validator
from qbft.core import Definition
from qbft.core.messages import Leader
from qbft.crypto.keys import VoteKey
from qbft.crypto.roster import service_leader
from qbft.errors import ClusterError, JournalError, TransportError, first_of
from qbft.replica.authenticator import Ed25519Authenticator
from qbft.replica.driver import Driver, now_ms
from qbft.replica.limits import ReplicaLimits
from qbft.replica.narrow import sequence_of, store_of
from qbft.replica.observer import Observer
from qbft.replica.replica import Replica
from qbft.timers import TimerPolicy, exponential, increasing, linear
from qbft.wire import Hello, Remembered, WireLimits
from qbft_server.access import Gate
from qbft_server.allocator import give_back_large_buffers
from qbft_server.application import connect
from qbft_server.config import ClientSettings, LimitSettings, NodeConfig, TimerSettings
from qbft_server.epoch import epoch_of
from qbft_server.files import raise_file_limit
from qbft_server.identity import is_open_to_others, load_tls_identity, load_vote_key
from qbft_server.logs import set_up_logs
from qbft_server.ordered.appends import Appends
from qbft_server.parts import NodeParts
from qbft_server.peers import GrpcTransport, PeerLimits
from qbft_server.peers.faults import FaultyTransport
from qbft_server.services.server import ClientServer, read_authority
from qbft_server.signer.remote import RemoteSigner
from qbft_server.store.faults import fault_from_environment
from qbft_server.store.retention import Retention
from qbft_server.store.store import NodeStore
from qbft_server.store.threads import in_thread
from qbft_server.telemetry.admin import serve_admin
from qbft_server.telemetry.events import LoggedEvents
from qbft_server.telemetry.metrics import Metrics
from qbft_server.telemetry.observers import Observers
from qbft_server.telemetry.recorder import Recorder
from qbft_server.web.overview import Overview

if TYPE_CHECKING:
    from qbft_server.telemetry.traces import Traces

log = structlog.get_logger()

GARBAGE_OBJECTS_MAX = 50_000
"""Objects made and not yet freed that start the collector; by default it starts at 700."""


def main(config_path: Path, json_logs: bool | None = None) -> int:
    """Run a node until it is told to stop; the exit code of its process.

    Raises:
        QbftError: it cannot start, or must stop; one line says why.
    """
    give_back_large_buffers()
    config = NodeConfig.load(config_path)
    raise_file_limit()
    set_up_logs(config.log.level, "json" if json_logs else config.log.format)
    if config.clients.tokens and is_open_to_others(config_path):
        log.warning("others can read the file, which may hold tokens", file=str(config_path))
    return uvloop.run(_run(config, config_path))


async def _run(config: NodeConfig, config_path: Path) -> int:
    stopping, renewing = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, renewing.set)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        async with _put_together(config) as (node, clients), asyncio.TaskGroup() as tasks:
            background = [
                tasks.create_task(node.store.run(), name="store"),
                tasks.create_task(_retain(node), name="retention"),
                tasks.create_task(_vote(node, stopping), name="replica"),
                tasks.create_task(node.appends.run(), name="appends"),
                tasks.create_task(clients.watch_health(), name="health"),
                tasks.create_task(_renew(node, clients, config_path, renewing), name="renewal"),
            ]
            if node.application is not None:
                telling = node.application.tell(node.store, config.data)
                background.append(tasks.create_task(telling, name="application"))
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
    key = _vote_key(config, cluster, validator)
    identity = load_tls_identity(config.tls_key, validator)
    fault = fault_from_environment(os.environ)
    metrics = Metrics()
    _stop_the_collector()
    store = NodeStore.open(config.data, roster.cluster_id, config.validator, fault=fault)
    leader = service_leader(roster)
    recorder = _recorder(config, roster.nodes, leader)
    traces = _traces(config, cluster)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.aclose)
        if traces is not None:
            stack.push_async_callback(in_thread, traces.close)
        limits = config.limits
        application = await stack.enter_async_context(
            connect(
                config.application,
                value_bytes_max=limits.value_bytes_max,
                message_bytes_max=limits.message_bytes_max,
            )
        )
        replica = Replica(
            definition=Definition(roster.nodes, leader),
            validator=config.validator,
            authenticator=Ed25519Authenticator(key, roster, config.validator),
            journal=store,
            store=store,
            timers=_timers(config.timer),
            policies=cluster.policy,
            application=application,
            source=application,
            own_input=lambda instance: appends.own_input(instance),  # noqa: PLW0108 - made below
            epoch=epoch_of(cluster),
            limits=ReplicaLimits(
                open_instances_max=config.limits.open_instances_max,
                section_bytes_max=config.limits.message_bytes_max,
            ),
            reject=metrics.reject,
            tell=_tell_operator,
            observer=_observer(recorder, traces),
        )
        links = GrpcTransport(
            cluster,
            config.validator,
            identity,
            config.listen.peer,
            hello=lambda peer: _hello_to(peer, replica, store, roster.cluster_id, config.validator),
            heard=lambda peer, hello: _hear(peer, hello, replica, driver),
            may_read=lambda peer: replica.takes_from(peer, now_ms()),
            wasted=lambda peer, work: replica.note_waste(peer, work, now_ms()),
            limits=_peer_limits(config.limits),
            wire_limits=WireLimits(
                value_bytes_max=config.limits.value_bytes_max,
                frame_bytes_max=config.limits.message_bytes_max,
            ),
            events=LoggedEvents(metrics),
        )
        driver = Driver(
            replica,
            FaultyTransport(links, fault) if fault else links,
            store,
            metrics.timer_late_seconds.add,
        )
        appends = Appends(
            replica,
            store,
            wake=driver.wake,
            first_height=cluster.first_height,
            value_bytes_max=config.limits.value_bytes_max,
        )
        parts = NodeParts(
            config=config,
            cluster=cluster,
            identity=identity,
            replica=replica,
            driver=driver,
            store=store,
            appends=appends,
            links=links,
            metrics=metrics,
            application=application,
            recorder=recorder,
            traces=traces,
        )
        clients = ClientServer(parts)
        metrics.watch(
            replica,
            driver,
            store,
            links,
            recorder=recorder,
            appends=appends,
            application=application,
            traces=traces,
        )
        replica.recover(now_ms())
        _calm_the_collector()
        await stack.enter_async_context(links)
        await stack.enter_async_context(clients)
        if config.listen.admin is not None:
            view = await stack.enter_async_context(Overview(parts))
            stack.enter_context(
                serve_admin(
                    config.listen.admin,
                    metrics.registry,
                    clients.gate,
                    store,
                    view,
                    names=[own.rpartition(":")[0] for own in (validator.peer, validator.client)],
                    bites=metrics.bites,
                )
            )
        log.info(
            "node is up",
            validator=config.validator,
            cluster=cluster.name,
            nodes=roster.nodes,
            peer=config.listen.peer,
            client=config.listen.client,
            dashboard=f"http://{config.listen.admin}/" if config.listen.admin else None,
            decisions=store.end,
            resumed=replica.status().open_instances,
        )
        yield parts, clients


def _vote_key(config: NodeConfig, cluster: Cluster, own: Validator) -> VoteKey | RemoteSigner:
    """The vote key, or who has it and answers."""
    if config.vote_key is not None:
        return load_vote_key(config.vote_key, own)
    assert config.vote_signer is not None  # noqa: S101 - the settings have one of the two
    signer = RemoteSigner(config.vote_signer, cluster.roster, config.validator)
    signer.check()
    return signer


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


def _recorder(config: NodeConfig, nodes: int, leader: Leader) -> Recorder | None:
    bytes_max = config.recorder.bytes_max
    return Recorder(config.validator, nodes, leader, bytes_max=bytes_max) if bytes_max else None


def _traces(config: NodeConfig, cluster: Cluster) -> Traces | None:
    """Where the operator wants them; else their packages need not even be installed."""
    endpoint = config.traces.endpoint
    if endpoint is None:
        return None
    try:
        from qbft_server.telemetry.traces import exported_to  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ClusterError(f"traces.endpoint = {endpoint}: needs `qbft[otel]`: {error}") from error
    node = f"{cluster.name}/{config.validator}"
    return exported_to(str(endpoint), node=node, ratio=config.traces.ratio)


def _observer(recorder: Recorder | None, traces: Traces | None) -> Observer | None:
    """Who looks on: of two, both."""
    if recorder is not None and traces is not None:
        return Observers(recorder, traces)
    return recorder if traces is None else traces


def _tell_operator(what: str) -> None:
    """Say loudly what must not be overlooked."""
    log.warning(what)


def _stop_the_collector() -> None:
    """Let the cyclic garbage collector rest while the journal is read, which makes no garbage.

    With 20,000 open votes it took more than half of a start, walking what is kept again and again.
    """
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


async def _renew(
    node: NodeParts, clients: ClientServer, config_path: Path, renewing: asyncio.Event
) -> None:
    """Take up TLS files and grants whenever told to: all, or none if one is unusable (M14)."""
    while True:
        await renewing.wait()
        renewing.clear()
        try:
            cluster, validator = node.config.load_cluster()
            if cluster.roster.cluster_id != node.cluster.roster.cluster_id:
                raise ClusterError(f"{node.config.cluster}: is of another cluster")
            identity = load_tls_identity(node.config.tls_key, validator)
            renewed = NodeConfig.load(config_path)
            _refuse_other_tls(node.config.clients, renewed.clients)
            authority, gate = read_authority(renewed), Gate(renewed.clients)
        except ClusterError as error:
            log.error("TLS files are not taken up, the old ones stay", error=str(error))
            continue
        node.links.renew(cluster, identity)
        clients.renew(identity, authority, gate)
        log.warning("TLS files are taken up", tls_key=identity.pin)


def _refuse_other_tls(old: ClientSettings, new: ClientSettings) -> None:
    """What a port asks of a handshake is settled when it is opened."""
    for key in ("authority", "insecure_plaintext"):
        if bool(getattr(old, key)) != bool(getattr(new, key)):
            raise ClusterError(f"clients.{key}: to turn it on or off takes a restart")


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
