"""What clients of real nodes meet (SCENARIOS, group G): statuses, watches, access, shutdown."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from e2e.service_clients import (
    SECONDS,
    channel_to,
    proposal,
    question,
    running_cluster,
    stub_of,
)
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.rpc import error_details_pb2, status_pb2
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from qbft.crypto.certificate import verify_certificate
from qbft.wire import decision_from_pb
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1 import messages_pb2 as messages
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceStub

pytestmark = pytest.mark.e2e

TOKEN = "an-operators-own-token"  # noqa: S105 - of a test's cluster


async def test_proposals_are_decided_and_proven(tmp_path: Path) -> None:
    """SCENARIOS G1, G2, G3, G4, G5: one value per instance, a certificate that verifies offline."""
    async with running_cluster(tmp_path) as cluster, stub_of(cluster, 0) as node:
        first = (await node.Propose(proposal("t", 1, b"one"), timeout=SECONDS)).decision
        assert (first.value, first.own) == (b"one", True)
        decision = decision_from_pb(first, 4)
        verify_certificate(decision.certificate, cluster.cluster.roster, value=b"one")

        again = (await node.Propose(proposal("t", 1, b"one"), timeout=SECONDS)).decision
        assert (again.value, again.own) == (b"one", True)
        late = (await node.Propose(proposal("t", 1, b"two"), timeout=SECONDS)).decision
        assert (late.value, late.own) == (b"one", False)

        async with stub_of(cluster, 1) as b, stub_of(cluster, 2) as c, stub_of(cluster, 3) as d:
            replies = await asyncio.gather(
                *(
                    stub.Propose(proposal("t", 2, b"from %d" % index), timeout=SECONDS)
                    for index, stub in enumerate((node, b, c, d))
                )
            )
        values = {reply.decision.value for reply in replies}
        assert len(values) == 1
        assert [reply.decision.own for reply in replies].count(True) == 1


async def test_without_a_quorum_nothing_is_decided(tmp_path: Path) -> None:
    """SCENARIOS G4, G6, G7, G8, G9, G12, G15: conflict, deadline, read, limit; then the quorum."""
    limit = {
        "QBFT_LIMITS__PROPOSALS_IN_FLIGHT_MAX": "2",
        "QBFT_LIMITS__CLIENT_SHARE_PERCENT_MAX": "100",
    }
    async with running_cluster(tmp_path, limit) as cluster, stub_of(cluster, 0) as node:
        await cluster.kill(2)
        await cluster.kill(3)
        hasty = asyncio.ensure_future(node.Propose(proposal("t", 1, b"one"), timeout=3.0))
        await _until_undecided(node, "t", 1)
        with pytest.raises(aio.AioRpcError) as deadline:
            await hasty
        assert deadline.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        undecided = await node.GetDecision(question("t", 1), timeout=SECONDS)
        assert undecided.state == pb.DECISION_STATE_UNDECIDED
        unknown = await node.GetDecision(question("t", 2), timeout=SECONDS)
        assert unknown.state == pb.DECISION_STATE_UNKNOWN

        waiting = node.Propose(proposal("t", 1, b"one"), timeout=SECONDS)
        with pytest.raises(aio.AioRpcError) as conflict:
            await node.Propose(proposal("t", 1, b"two"), timeout=SECONDS)
        assert conflict.value.code() is grpc.StatusCode.ALREADY_EXISTS
        trailers = dict(conflict.value.trailing_metadata() or ())
        assert len(bytes.fromhex(str(trailers["qbft-first-digest"]))) == 32

        also = asyncio.ensure_future(node.Propose(proposal("t", 3, b"x"), timeout=SECONDS))
        await _until_undecided(node, "t", 3)
        with pytest.raises(aio.AioRpcError) as full:
            await node.Propose(proposal("t", 4, b"x"), timeout=SECONDS)
        assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        details = dict(full.value.trailing_metadata() or ())["grpc-status-details-bin"]
        retry = error_details_pb2.RetryInfo()
        assert status_pb2.Status.FromString(details).details[0].Unpack(retry)  # type: ignore[arg-type]
        assert retry.retry_delay.ToMilliseconds() > 0

        await cluster.start(2)
        assert (await waiting).decision.value == b"one"
        assert (await also).decision.value == b"x"


async def test_values_in_flight_are_bounded_in_bytes(tmp_path: Path) -> None:
    """SCENARIOS G15; DESIGN, bounds: in bytes too, for a few large values weigh as much as many."""
    limit = {"QBFT_LIMITS__PROPOSAL_BYTES_IN_FLIGHT_MAX": "1500"}
    async with running_cluster(tmp_path, limit) as cluster, stub_of(cluster, 0) as node:
        await cluster.kill(2)
        await cluster.kill(3)
        large = asyncio.ensure_future(node.Propose(proposal("t", 1, bytes(2_000)), timeout=SECONDS))
        await _until_undecided(node, "t", 1)
        with pytest.raises(aio.AioRpcError) as full:
            await node.Propose(proposal("t", 2, b"x"), timeout=SECONDS)
        assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "2000 bytes of values are in flight" in str(full.value.details())
        await cluster.start(2)
        assert (await large).decision.value == bytes(2_000)
        assert (await node.Propose(proposal("t", 2, b"x"), timeout=SECONDS)).decision.value == b"x"


async def _until_turned_away(node: DecisionServiceStub) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                await node.GetDecision(question("t", 0), timeout=SECONDS)
            except aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE:
                    return
            await asyncio.sleep(0.02)


async def _until_undecided(node: object, topic: str, height: int) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            reply = await node.GetDecision(question(topic, height), timeout=SECONDS)  # type: ignore[attr-defined]
            if reply.state == pb.DECISION_STATE_UNDECIDED:
                return
            await asyncio.sleep(0.02)


BAD_PROPOSALS = {
    "empty": (proposal("t", 1, b""), "the value is empty"),
    "oversize value": (proposal("t", 1, bytes(1_100_000)), "at most 1048576"),
    "topic": (proposal("No such topic", 1, b"x"), "topic"),
    "height": (proposal("t", 2**63, b"x"), "height"),
    "proposer": (
        pb.ProposeRequest(
            proposal=messages.Proposal(
                instance=messages.InstanceId(topic="t", height=1), value=b"x", proposer=b"short"
            )
        ),
        "a proposer is 32 bytes",
    ),
}


async def test_bad_proposals_are_refused(tmp_path: Path) -> None:
    """SCENARIOS G13, F2: INVALID_ARGUMENT with what is allowed; too large a frame is not parsed."""
    async with running_cluster(tmp_path) as cluster, stub_of(cluster, 0) as node:
        for name, (request, says) in BAD_PROPOSALS.items():
            with pytest.raises(aio.AioRpcError) as refused:
                await node.Propose(request, timeout=SECONDS)
            assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT, name
            assert says in str(refused.value.details()), name
        with pytest.raises(aio.AioRpcError) as oversize:
            await node.Propose(proposal("t", 1, bytes(2_000_000)), timeout=SECONDS)
        assert oversize.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        status = await node.GetStatus(pb.GetStatusRequest(), timeout=SECONDS)
        assert (status.open_instances, status.decisions) == (0, 0)


async def test_watches_go_on_across_a_restart(tmp_path: Path) -> None:
    """SCENARIOS G14: every decision once per cursor, in order; by height the same on each node."""
    async with running_cluster(tmp_path) as cluster:
        async with stub_of(cluster, 1) as node:
            for height in (0, 1, 2):
                await node.Propose(proposal("w", height, b"%d" % height), timeout=SECONDS)
        async with stub_of(cluster, 0) as node:
            seen = []
            async for reply in node.WatchAll(pb.WatchAllRequest(), timeout=SECONDS):
                seen.append(reply)
                if len(seen) == 3:
                    break
        cursor = seen[1].cursor
        assert await cluster.stop(0) == 0
        await cluster.start(0)
        await cluster.wait_until_ready(0)
        async with stub_of(cluster, 0) as node, stub_of(cluster, 1) as other:
            async for reply in node.WatchAll(pb.WatchAllRequest(cursor=cursor), timeout=SECONDS):
                assert reply == seen[2]
                break
            with pytest.raises(aio.AioRpcError) as foreign:
                async for _ in other.WatchAll(pb.WatchAllRequest(cursor=cursor), timeout=SECONDS):
                    pass
            assert foreign.value.code() is grpc.StatusCode.FAILED_PRECONDITION
            beyond = cursor[:16] + (99).to_bytes(8, "big")
            with pytest.raises(aio.AioRpcError) as ahead:
                async for _ in node.WatchAll(pb.WatchAllRequest(cursor=beyond), timeout=SECONDS):
                    pass
            assert ahead.value.code() is grpc.StatusCode.OUT_OF_RANGE

            watching = node.Watch(pb.WatchRequest(topic="w", from_height=1), timeout=SECONDS)
            heights = []
            await other.Propose(proposal("w", 4, b"4"), timeout=SECONDS)
            async for decision in watching:
                heights.append(decision.instance.height)
                if heights == [1, 2]:
                    await other.Propose(proposal("w", 3, b"3"), timeout=SECONDS)
                if heights[-1] == 4:
                    break
            assert heights == [1, 2, 3, 4]
            page = await node.ListDecisions(
                pb.ListDecisionsRequest(topic="w", from_height=1, limit=2), timeout=SECONDS
            )
            assert [d.instance.height for d in page.decisions] == [1, 2]
            assert page.next_height == 3


async def test_many_proposals_over_one_stream(tmp_path: Path) -> None:
    """DESIGN: ProposeStream has many in flight; each reply names its request, failures too."""
    count = 200
    async with running_cluster(tmp_path) as cluster, stub_of(cluster, 2) as node:

        async def requests() -> object:
            for number in range(count):
                yield pb.ProposeStreamRequest(
                    id=number, proposal=proposal("s", number, b"v%d" % number).proposal
                )
            yield pb.ProposeStreamRequest(id=count, proposal=proposal("s", 0, b"").proposal)

        replies = {}
        async for reply in node.ProposeStream(requests(), timeout=SECONDS):
            replies[reply.id] = reply
        assert len(replies) == count + 1
        for number in range(count):
            assert replies[number].decision.value == b"v%d" % number
        assert replies[count].failure.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


async def test_tokens_guard_the_service_and_health_and_reflection_answer(tmp_path: Path) -> None:
    """Without the token UNAUTHENTICATED; health tells of the quorum; schemas reflect."""
    tokens = {"QBFT_CLIENTS__TOKENS": f'["{TOKEN}"]'}
    async with running_cluster(tmp_path, tokens) as cluster:
        async with stub_of(cluster, 0) as node:
            for metadata in ((), (("authorization", "Bearer wrong"),)):
                for call in (
                    node.Propose(proposal("t", 1, b"x"), metadata=metadata, timeout=SECONDS),
                    node.GetStatus(pb.GetStatusRequest(), metadata=metadata, timeout=SECONDS),
                ):
                    with pytest.raises(aio.AioRpcError) as refused:
                        await call
                    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
                watch = node.WatchAll(pb.WatchAllRequest(), metadata=metadata, timeout=SECONDS)
                with pytest.raises(aio.AioRpcError) as refused:
                    await watch.read()
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            good = (("authorization", f"Bearer {TOKEN}"),)
            reply = await node.Propose(proposal("t", 1, b"x"), metadata=good, timeout=SECONDS)
            assert reply.decision.value == b"x"
        async with channel_to(cluster, 0) as channel:
            await _propose_without_the_schema(channel, good)
            health = health_pb2_grpc.HealthStub(channel)
            service = health_pb2.HealthCheckRequest(service="qbft.v1.DecisionService")
            alive = health_pb2.HealthCheckRequest()
            await cluster.kill(1)
            await cluster.kill(2)
            async for told in health.Watch(service, timeout=SECONDS):
                if told.status == health_pb2.HealthCheckResponse.NOT_SERVING:
                    break
            assert (await health.Check(alive)).status == health_pb2.HealthCheckResponse.SERVING
            names = reflection_pb2_grpc.ServerReflectionStub(channel)
            listing = reflection_pb2.ServerReflectionRequest(list_services="")
            async for answer in names.ServerReflectionInfo(iter([listing])):
                found = {service.name for service in answer.list_services_response.service}
            assert "qbft.v1.DecisionService" in found


async def _propose_without_the_schema(
    channel: aio.Channel, metadata: Sequence[tuple[str, str]]
) -> None:
    """What grpcurl does: fetch the files of a service by reflection, and call by nothing else."""
    pool = descriptor_pool.DescriptorPool()
    known: set[str] = set()
    names = reflection_pb2_grpc.ServerReflectionStub(channel)

    async def fetch(request: reflection_pb2.ServerReflectionRequest) -> None:
        async for answer in names.ServerReflectionInfo(iter([request]), timeout=SECONDS):
            for encoded in answer.file_descriptor_response.file_descriptor_proto:
                file = descriptor_pb2.FileDescriptorProto.FromString(encoded)
                if file.name not in known:
                    known.add(file.name)
                    for other in set(file.dependency) - known:
                        await fetch(reflection_pb2.ServerReflectionRequest(file_by_filename=other))
                    pool.Add(file)

    service = "qbft.v1.DecisionService"
    await fetch(reflection_pb2.ServerReflectionRequest(file_containing_symbol=service))
    propose = pool.FindServiceByName(service).methods_by_name["Propose"]
    asks, tells = map(message_factory.GetMessageClass, (propose.input_type, propose.output_type))
    request = asks()
    request.proposal.instance.topic, request.proposal.instance.height = "reflected", 1
    request.proposal.value = b"64123.50"
    call = channel.unary_unary(f"/{service}/Propose", asks.SerializeToString, tells.FromString)
    reply = await call(request, metadata=metadata, timeout=SECONDS)
    assert reply.decision.value == b"64123.50"
    assert len(reply.decision.certificate.commits) >= 3


async def test_a_node_stops_gracefully(tmp_path: Path) -> None:
    """SIGTERM: a call that runs is answered, new ones go elsewhere, the exit code is 0."""
    async with running_cluster(tmp_path) as cluster, stub_of(cluster, 0) as node:
        await cluster.kill(3)
        cluster.signal(2, signal.SIGSTOP)
        running = asyncio.ensure_future(node.Propose(proposal("t", 1, b"x"), timeout=SECONDS))
        await _until_undecided(node, "t", 1)
        cluster.signal(0, signal.SIGTERM)
        await _until_turned_away(node)
        assert not running.done()
        cluster.signal(2, signal.SIGCONT)
        assert (await running).decision.value == b"x"
        assert await cluster.wait(0) == 0
