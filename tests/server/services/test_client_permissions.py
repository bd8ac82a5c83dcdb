"""What the decision service tells whom: refusals that reveal nothing (docs/adr/014)."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from socket import socket
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import grpc
import pytest
from calling import Called
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID
from grpc import aio

from qbft.client import Access
from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.certificate import Certificate
from qbft.crypto.signing import BatchHeader, VoteSignature
from qbft.decision import Decision
from qbft.replica.policy import open_to_all
from qbft.wire.v1 import capture_pb2, decision_pb2, inspection_pb2, messages_pb2
from qbft.wire.v1 import decision_pb2 as pb
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceStub
from qbft_server.access import Gate
from qbft_server.config import ClientSettings, LimitSettings, NodeConfig
from qbft_server.identity import load_tls_identity
from qbft_server.initialise import init_cluster
from qbft_server.parts import NodeParts
from qbft_server.services.reading import LIST_DECISIONS_MAX
from qbft_server.services.server import ClientServer
from qbft_server.services.unread import Unread
from qbft_server.services.watching import WATCH_STEP_DECISIONS
from qbft_server.telemetry.metrics import Metrics

ALICE, BOB, NOBODY = "alice-has-this-token", "bob-has-another-token", "nobody-has-this-token"
DIGEST = b"d" * 32
PROOF = Proof(VoteSignature(BatchHeader(b"s" * 16, 1, b"g" * 64), 1, 0, ()))


def grant(name: str, token: str, **permissions: list[str]) -> dict[str, object]:
    """What a client with this token may do."""
    return {
        "name": name,
        "token_sha256": hashlib.sha256(token.encode()).hexdigest(),
        **permissions,
    }


SETTINGS = ClientSettings.model_validate(
    {
        "grants": [
            grant("alice", ALICE, propose=["mine/"], read=["mine/", "public/"]),
            grant("bob", BOB, propose=["public/"]),
        ]
    }
)


def decided(topic: str, height: int) -> Decision:
    """A decision."""
    instance = InstanceId(topic, height)
    commit = Message(MessageType.COMMIT, instance, 0, 1, DIGEST, proof=PROOF)
    return Decision(b"value", Certificate(instance, 1, DIGEST, (commit,)))


class Store:
    """Decisions in one order, as `NodeStore` has them; `asked` is what was looked up."""

    store_id = b"s" * 16
    deleted_position = 0

    def __init__(self, *instances: InstanceId) -> None:
        self.instances = instances
        self.asked: list[str] = []

    @property
    def end(self) -> int:
        """How many there are."""
        return len(self.instances)

    def highest(self, after: str, limit: int) -> list[InstanceId]:
        """One decision of each topic, in order."""
        return [each for each in sorted(self.instances) if each.topic > after][:limit]

    def low_water_mark(self, topic: str) -> int:
        """Nothing was deleted."""
        self.asked.append(topic)
        return 0

    def is_below_mark(self, instance: InstanceId) -> bool:
        """Nothing was deleted."""
        self.asked.append(instance.topic)
        return False

    def get(self, instance: InstanceId) -> Decision | None:
        """Look one up."""
        self.asked.append(instance.topic)
        return decided(instance.topic, instance.height) if instance in self.instances else None

    def size(self, instance: InstanceId) -> int:
        """Look one up."""
        self.asked.append(instance.topic)
        return 5

    def list_sizes(self, topic: str, *_: int) -> tuple[tuple[int, int], ...]:
        """Look a topic up."""
        self.asked.append(topic)
        return tuple((i.height, 5) for i in self.instances if i.topic == topic)

    def list_topic(self, topic: str, *_: int) -> tuple[Decision, ...]:
        """Look a topic up."""
        self.asked.append(topic)
        return tuple(decided(i.topic, i.height) for i in self.instances if i.topic == topic)

    def feed(self, position: int, limit: int) -> list[tuple[int, InstanceId]]:
        """Give what is behind a position."""
        return list(enumerate(self.instances, 1))[position : position + limit]

    async def wait_for(self, instance: InstanceId) -> Decision:
        """Give one, or wait for ever."""
        self.asked.append(instance.topic)
        found = self.get(instance)
        return found if found is not None else await asyncio.Future()

    async def wait_for_decisions(self, _: int) -> None:
        """Wait for ever."""
        await asyncio.Future()


class Replica:
    """Decides nothing; `asked` is what it was asked about, `used` how far its topics have come."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.used: dict[str, int] = {}

    def highest_beside_decided(self) -> dict[str, int]:
        """As the test says."""
        return dict(self.used)

    is_voting = False

    def status(self) -> SimpleNamespace:
        """Say that it does not vote."""
        return SimpleNamespace(voting=False, open_instances=0, peers_heard={}, kept_out=0)

    def is_open(self, instance: InstanceId) -> bool:
        """Nothing is."""
        self.asked.append(instance.topic)
        return False


class Waiting(Store):
    """Nothing more is decided."""

    def feed(self, position: int, limit: int) -> list[tuple[int, InstanceId]]:
        """What is decided comes once."""
        return []

    async def wait_for(self, instance: InstanceId) -> Decision:
        """For ever."""
        return await asyncio.get_running_loop().create_future()

    async def wait_for_decisions(self, end: int) -> None:
        """For ever."""
        await asyncio.Event().wait()


class Ended(Exception):  # noqa: N818 - what happened to a call
    """A call was ended with a status."""


class Call:
    """A call of a client that shows this token, if any."""

    def __init__(self, token: str | None) -> None:
        self.metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        self.written: list[Any] = []
        self.callbacks: list[Callable[[object], None]] = []

    def invocation_metadata(self) -> Any:
        """What the client sent with it."""
        return self.metadata

    def auth_context(self) -> dict[str, list[bytes]]:
        """No certificate was shown."""
        return {}

    def peer(self) -> str:
        """Who calls, by connection."""
        return "ipv4:127.0.0.1:1"

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """As gRPC's own."""
        self.callbacks.append(callback)

    async def write(self, message: object) -> None:
        """Keep a reply."""
        self.written.append(message)

    async def abort(self, code: grpc.StatusCode, message: str, trailers: object) -> None:
        """End it, as gRPC does, by an exception."""
        raise Ended(code, message, trailers)


def service(store: Store, replica: Replica, *, metrics: Metrics | None = None) -> Called:
    """A service over these, with nothing behind it."""
    limits = LimitSettings(value_bytes_max=1_000)
    parts = SimpleNamespace(
        config=SimpleNamespace(clients=SETTINGS, limits=limits, validator=0),
        cluster=SimpleNamespace(policy=open_to_all),
        replica=replica,
        driver=None,
        store=store,
        links=None,
        metrics=metrics or Metrics(),
        traces=None,
    )
    return Called(parts)


async def stream_of(*requests: pb.ProposeStreamRequest) -> AsyncIterator[pb.ProposeStreamRequest]:
    """A stream of proposals."""
    for request in requests:
        yield request


async def for_ever() -> AsyncIterator[pb.ProposeStreamRequest]:
    """A stream that stays open and asks for nothing."""
    await asyncio.Event().wait()
    yield pb.ProposeStreamRequest()


Ask = Callable[[Called, str, Call], Any]


def proposal(topic: str) -> messages_pb2.Proposal:
    """A proposal for height 1."""
    return messages_pb2.Proposal(
        instance=messages_pb2.InstanceId(topic=topic, height=1), value=b"v"
    )


ASKED: dict[str, Ask] = {
    "Propose": lambda s, t, c: s.Propose(pb.ProposeRequest(proposal=proposal(t)), c),
    "Append": lambda s, t, c: s.Append(
        pb.AppendRequest(topic=t, entry=pb.Entry(request_id=b"1", value=b"v")), c
    ),
    "GetNextHeight": lambda s, t, c: s.GetNextHeight(pb.GetNextHeightRequest(topic=t), c),
    "GetDecision": lambda s, t, c: s.GetDecision(
        pb.GetDecisionRequest(instance=messages_pb2.InstanceId(topic=t, height=1)), c
    ),
    "ListDecisions": lambda s, t, c: s.ListDecisions(pb.ListDecisionsRequest(topic=t), c),
    "InspectInstance": lambda s, t, c: s.InspectInstance(
        inspection_pb2.InspectInstanceRequest(instance=messages_pb2.InstanceId(topic=t, height=1)),
        c,
    ),
    "CaptureInstance": lambda s, t, c: s.CaptureInstance(
        capture_pb2.CaptureInstanceRequest(instance=messages_pb2.InstanceId(topic=t, height=1)), c
    ),
    "Watch": lambda s, t, c: s.Watch(pb.WatchRequest(topic=t, from_height=1), c),
}
EVERY_CALL: dict[str, Ask] = {
    **ASKED,
    "WatchAll": lambda s, t, c: s.WatchAll(pb.WatchAllRequest(), c),
    "ProposeStream": lambda s, t, c: s.ProposeStream(
        stream_of(pb.ProposeStreamRequest(id=1, proposal=proposal(t))), c
    ),
    "GetStatus": lambda s, t, c: s.GetStatus(pb.GetStatusRequest(), c),
    "ListEvidence": lambda s, t, c: s.ListEvidence(pb.ListEvidenceRequest(), c),
    "ListHeights": lambda s, t, c: s.ListHeights(pb.ListHeightsRequest(), c),
}


async def refusal(ask: Ask, topic: str, token: str | None) -> tuple[object, ...]:
    """How a call is refused; it must not have asked anything of store or replica."""
    store, replica = Store(InstanceId("other/a", 1)), Replica()
    with pytest.raises(Ended) as ended:
        await ask(service(store, replica), topic, Call(token))
    assert store.asked == replica.asked == []
    return ended.value.args


def test_no_call_is_forgotten() -> None:
    """A new method is put here by somebody who has asked whom it tells what."""
    methods = decision_pb2.DESCRIPTOR.services_by_name["DecisionService"].methods
    assert {method.name for method in methods} == set(EVERY_CALL)


@pytest.mark.parametrize("ask", EVERY_CALL.values(), ids=EVERY_CALL)
async def test_without_credentials_every_call_is_answered_alike(ask: Ask) -> None:
    """Issue "No one let in": UNAUTHENTICATED, the same whatever there is and whatever is wrong."""
    told = {
        await refusal(ask, topic, token)
        for topic in ("other/a", "other/never", "mine/x")
        for token in (None, NOBODY, "")
    }
    assert told == {(grpc.StatusCode.UNAUTHENTICATED, "valid credentials are needed", ())}


@pytest.mark.parametrize("ask", ASKED.values(), ids=ASKED)
async def test_a_client_that_may_not_learns_nothing(ask: Ask) -> None:
    """PERMISSION_DENIED, the same whether or not there is such a topic, instance or decision."""
    told = {
        await refusal(ask, topic, token)
        for topic in ("other/a", "other/never")
        for token in (ALICE, BOB)
    }
    denied = "this client may not do that for this topic"
    assert told == {(grpc.StatusCode.PERMISSION_DENIED, denied, ())}


async def test_each_may_do_what_it_was_granted() -> None:
    """Reading is not proposing: alice reads public/ and may not propose there, bob the reverse."""
    for token, topic, code in (
        (ALICE, "mine/x", grpc.StatusCode.UNAVAILABLE),  # let in: this node does not vote
        (ALICE, "public/x", grpc.StatusCode.PERMISSION_DENIED),
        (BOB, "public/x", grpc.StatusCode.UNAVAILABLE),
    ):
        with pytest.raises(Ended) as ended:
            await ASKED["Propose"](service(Store(), Replica()), topic, Call(token))
        assert ended.value.args[0] is code
    store = Store(InstanceId("public/x", 1))
    told = await ASKED["GetDecision"](service(store, Replica()), "public/x", Call(ALICE))
    assert told.decision.value == b"value"
    for name in ("GetDecision", "ListDecisions", "Watch", "WatchAll", "ListEvidence"):
        with pytest.raises(Ended) as ended:
            await EVERY_CALL[name](service(store, Replica()), "public/x", Call(BOB))
        assert ended.value.args[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_who_may_propose_nothing_has_no_stream() -> None:
    """Review: it was read from, one refusal after another, by a node that would take none of it."""
    metrics = Metrics()
    served = service(Store(), Replica(), metrics=metrics)
    served.admission.renew(only(grant("alice", ALICE, read=[""])))
    with pytest.raises(Ended) as ended:
        await served.ProposeStream(stream_of(), cast("Any", Call(ALICE)))
    assert ended.value.args[0] is grpc.StatusCode.PERMISSION_DENIED
    assert metrics.clients.propose_streams.total == 0


async def test_a_grant_that_is_taken_back_is_gone_at_the_next_call() -> None:
    """SIGHUP: the gate is renewed in place, for the client port and the admin port together."""
    served = service(Store(InstanceId("public/x", 1)), Replica())
    assert (await ASKED["GetDecision"](served, "public/x", Call(ALICE))).decision.value == b"value"
    served.admission.renew(
        Gate(ClientSettings.model_validate({"grants": [grant("b", BOB, read=[""])]}))
    )
    with pytest.raises(Ended) as ended:
        await ASKED["GetDecision"](served, "public/x", Call(ALICE))
    assert ended.value.args[0] is grpc.StatusCode.UNAUTHENTICATED
    assert (await ASKED["GetDecision"](served, "public/x", Call(BOB))).decision.value == b"value"


def only(*grants: dict[str, object]) -> Gate:
    """A gate that knows these and nobody else."""
    return Gate(ClientSettings.model_validate({"grants": grants}))


async def test_calls_of_a_client_whose_grant_is_taken_back_end() -> None:
    """Issue 6, access: a watch lasts for ever otherwise, whatever the operator has said since.

    Unknown is UNAUTHENTICATED, narrowed is PERMISSION_DENIED; calls of others go on, and so does
    what a narrowed grant still allows, for what it allows now.
    """
    metrics = Metrics()
    store = Waiting(InstanceId("mine/x", 1), InstanceId("public/x", 1))
    served = service(store, Replica(), metrics=metrics)
    asked = {
        ("alice", "Watch mine/"): (ALICE, lambda c: ASKED["Watch"](served, "mine/x", c)),
        ("alice", "Watch public/"): (ALICE, lambda c: ASKED["Watch"](served, "public/x", c)),
        ("alice", "WatchAll"): (ALICE, lambda c: EVERY_CALL["WatchAll"](served, "", c)),
        ("bob", "ProposeStream"): (BOB, lambda c: served.ProposeStream(for_ever(), c)),
    }
    running = {
        who: asyncio.ensure_future(ask(cast("Any", Call(token))))
        for who, (token, ask) in asked.items()
    }

    async def ended() -> dict[tuple[str, str], object]:
        for _ in range(50):
            await asyncio.sleep(0)
        return {
            who: cast("Ended", call.exception()).args[0]
            for who, call in running.items()
            if call.done()
        }

    alice, bob = grant("alice", ALICE, read=["public/"]), grant("bob", BOB, propose=["public/"])
    assert await ended() == {}
    served.admission.renew(only(bob, grant("alice", ALICE, read=["mine/", "public/"])))
    assert await ended() == {}
    denied, unknown = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED
    served.admission.renew(only(alice, bob))
    assert await ended() == {("alice", "Watch mine/"): denied}
    served.admission.renew(only(bob))
    told = await ended()
    assert told.pop(("alice", "Watch mine/")) is denied
    assert told == {("alice", "Watch public/"): unknown, ("alice", "WatchAll"): unknown}
    served.admission.renew(only(grant("bob", BOB, read=["public/"])))
    assert (await ended())["bob", "ProposeStream"] is denied
    assert metrics.clients.calls.total == 0


async def test_a_client_that_hangs_up_as_its_grant_is_taken_back_has_hung_up() -> None:
    """Two reasons to end in one moment: a cancellation from outside is never made a refusal."""
    served = service(Waiting(), Replica())
    call = asyncio.ensure_future(ASKED["Watch"](served, "mine/x", cast("Any", Call(ALICE))))
    await asyncio.sleep(0)
    served.admission.renew(only(grant("bob", BOB, read=[""])))
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_each_proposal_of_a_stream_is_judged_by_itself() -> None:
    """One that is denied ends neither the stream nor the others."""
    call = Call(ALICE)
    requests = [
        pb.ProposeStreamRequest(id=number, proposal=proposal(topic))
        for number, topic in enumerate(("mine/x", "other/a", "public/x"))
    ]
    await service(Store(), Replica()).ProposeStream(stream_of(*requests), cast("Any", call))
    codes = {reply.id: reply.failure.code for reply in call.written}
    denied = grpc.StatusCode.PERMISSION_DENIED.value[0]
    assert codes == {0: grpc.StatusCode.UNAVAILABLE.value[0], 1: denied, 2: denied}


async def turns_until_written(call: Call, count: int) -> int:
    """How often the loop could do something else until so many replies were written."""
    turns = 0
    while len(call.written) < count:
        turns += 1
        await asyncio.sleep(0)
    return turns


async def test_heights_are_told_of_what_may_be_read() -> None:
    """Issue 6, epochs: how far each topic has come, decided or voted on, page by page."""
    topics = [f"mine/{number:04}" for number in range(LIST_DECISIONS_MAX)]
    store = Store(InstanceId("mine/0003", 7), InstanceId("other/a", 1), InstanceId("public/x", 8))
    replica = Replica()
    replica.used = {"mine/0003": 9, "public/x": 5, "other/b": 4, **dict.fromkeys(topics[4:], 2)}
    call = Call(ALICE)
    await service(store, replica).ListHeights(pb.ListHeightsRequest(), cast("Any", call))
    told = {each.topic: each.height for reply in call.written for each in reply.highest}
    assert told == {"mine/0003": 9, "public/x": 8, **dict.fromkeys(topics[4:], 2)}


async def test_watching_all_leaves_out_what_may_not_be_read() -> None:
    """Others' decisions are neither told nor looked up; the loop lives on while they are passed."""
    others = [InstanceId("other/a", height) for height in range(3 * WATCH_STEP_DECISIONS)]
    store = Store(InstanceId("mine/x", 7), *others, InstanceId("public/x", 8))
    call = Call(ALICE)
    served = service(store, Replica())
    watching = asyncio.create_task(served.WatchAll(pb.WatchAllRequest(), cast("Any", call)))
    assert await turns_until_written(call, 2) >= 3
    told = [
        (reply.decision.instance.topic, reply.decision.instance.height) for reply in call.written
    ]
    assert told == [("mine/x", 7), ("public/x", 8)]
    assert set(store.asked) == {"mine/x", "public/x"}
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching
    again = Call(ALICE)
    request = pb.WatchAllRequest(cursor=call.written[0].cursor)
    watching = asyncio.create_task(served.WatchAll(request, cast("Any", again)))
    await turns_until_written(again, 1)
    assert again.written == call.written[1:]
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


# --- over real sockets ----------------------------------------------------------------------------


class Authority:
    """Vouches for clients, as an operator's CA does."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
        self.pem = self._sign(self._name, self._key.public_key(), is_authority=True)

    def _sign(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool
    ) -> bytes:
        certificate = (
            x509.CertificateBuilder(self._name, name, key, x509.random_serial_number())
            .not_valid_before(dt.datetime(2000, 1, 1, tzinfo=dt.UTC))
            .not_valid_after(dt.datetime(2100, 1, 1, tzinfo=dt.UTC))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
            .sign(self._key, SHA256())
        )
        return certificate.public_bytes(serialization.Encoding.PEM)

    def client(self, name: str, token: str | None = None) -> Access:
        """What a client with a certificate of that name shows."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return Access(token, key_pem, self._sign(subject, key.public_key(), is_authority=False))


@asynccontextmanager
async def served(
    tmp_path: Path, clients: dict[str, object]
) -> AsyncIterator[Callable[[Access], aio.Channel]]:
    """A client server without a node behind it; gives channels to it."""
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cluster = init_cluster(tmp_path / "c", 1)
    config = NodeConfig.load(tmp_path / "c/node-0/node.toml")
    changes = {
        "clients": ClientSettings.model_validate(clients),
        "listen": config.listen.model_copy(update={"client": f"127.0.0.1:{port}"}),
    }
    parts = SimpleNamespace(
        config=config.model_copy(update=changes),
        cluster=cluster,
        identity=load_tls_identity(config.tls_key, cluster.validators[0]),
        replica=Replica(),
        driver=None,
        store=Store(InstanceId("mine/x", 1)),
        links=SimpleNamespace(connected=()),
        metrics=Metrics(),
        traces=None,
    )
    validator = cluster.validators[0].model_copy(update={"client": f"127.0.0.1:{port}"})
    async with ClientServer(cast("NodeParts", parts)):
        yield lambda shown: shown.channel(validator)


async def how_it_ends(channel: aio.Channel, shown: Access) -> grpc.StatusCode:
    """How reading mine/x ends for a client."""
    request = pb.GetDecisionRequest(instance=messages_pb2.InstanceId(topic="mine/x", height=1))
    async with channel:
        try:
            await DecisionServiceStub(channel).GetDecision(
                request, metadata=shown.metadata, timeout=60
            )
        except aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@pytest.mark.real_clock
async def test_a_stream_without_room_for_its_replies_is_refused_as_any_call(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Review: the client got UNKNOWN, and gRPC wrote a traceback at error, as often as it liked."""
    shown = Access(insecure_plaintext=True)
    request = pb.ProposeStreamRequest(proposal=proposal("mine/x"))
    async with served(tmp_path, {"insecure_plaintext": True}) as channel, channel(shown) as node:
        with patch.object(Unread, "take", lambda *_: False):
            call = DecisionServiceStub(node).ProposeStream(still_open(request), timeout=60)
            with pytest.raises(aio.AioRpcError) as refused:
                await call.read()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caplog.records == []


async def still_open(
    request: pb.ProposeStreamRequest,
) -> AsyncIterator[pb.ProposeStreamRequest]:
    """A stream that asks for one thing and is not ended."""
    yield request
    await asyncio.Event().wait()


@pytest.mark.real_clock
async def test_clients_are_known_by_certificate_and_token(tmp_path: Path) -> None:
    """Mutual TLS on a real port: the authority lets in, the name and the token say what for."""
    authority, stranger = Authority(), Authority()
    (tmp_path / "authority.pem").write_bytes(authority.pem)
    grants = [
        {"name": "alice", "common_name": "alice", "read": ["mine/"]},
        {"name": "bob", "common_name": "bob", "read": ["public/"]},
        {**grant("eve", ALICE, read=["mine/"]), "common_name": "eve"},
    ]
    settings = {"authority": str(tmp_path / "authority.pem"), "grants": grants}
    code = grpc.StatusCode
    async with served(tmp_path, settings) as channel:
        for shown, ends in (
            (authority.client("alice"), code.OK),
            (authority.client("bob"), code.PERMISSION_DENIED),
            (authority.client("carol"), code.UNAUTHENTICATED),
            (authority.client("eve", ALICE), code.OK),
            (authority.client("eve", BOB), code.UNAUTHENTICATED),
            (stranger.client("alice"), code.UNAVAILABLE),
            (Access(ALICE), code.UNAVAILABLE),
        ):
            assert await how_it_ends(channel(shown), shown) is ends


@pytest.mark.real_clock
async def test_tls_is_off_only_where_the_operator_says_insecure(tmp_path: Path) -> None:
    """Issue "No one let in": on by default; `insecure_plaintext` is what turns it off."""
    code = grpc.StatusCode
    plain, encrypted = Access(insecure_plaintext=True), Access()
    for folder, settings, ends in (
        ("on", {}, {plain: code.UNAVAILABLE, encrypted: code.OK}),
        ("off", {"insecure_plaintext": True}, {plain: code.OK, encrypted: code.UNAVAILABLE}),
    ):
        (tmp_path / folder).mkdir()
        async with served(tmp_path / folder, settings) as channel:
            for shown, expected in ends.items():
                assert await how_it_ends(channel(shown), shown) is expected


@pytest.mark.real_clock
async def test_bytes_that_are_no_request_are_refused_and_nothing_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Review: gRPC wrote a traceback for each, at error, before anybody was asked who he is."""
    plain, known = {"insecure_plaintext": True}, Access(insecure_plaintext=True)
    ended = {}
    async with served(tmp_path, plain) as channel_of, channel_of(known) as channel:
        for method in decision_pb2.DESCRIPTOR.services_by_name["DecisionService"].methods:
            asked = channel.stream_stream(f"/qbft.v1.DecisionService/{method.name}")(timeout=60)
            await asked.write(b"\xff\xff\xff\x0a")
            ended[method.name] = await asked.code()
    assert set(ended.values()) == {grpc.StatusCode.INVALID_ARGUMENT}
    assert not [each for each in caplog.records if each.levelno > logging.DEBUG]


@pytest.mark.real_clock
async def test_who_is_not_known_is_told_so_before_a_request_is_waited_for(tmp_path: Path) -> None:
    """Review: calls that sent none were waited for, whoever began them, until all places were gone.

    Who is known is told as soon as it ends without one.
    """
    grants = {"grants": [grant("alice", ALICE, read=["mine/"])]}
    path = "/qbft.v1.DecisionService/GetDecision"
    async with served(tmp_path, grants) as channel_of:
        async with channel_of(Access()) as channel:
            asked = channel.stream_stream(path)(timeout=60)
            assert await asked.code() is grpc.StatusCode.UNAUTHENTICATED
        known = Access(ALICE)
        async with channel_of(known) as channel:
            asked = channel.stream_stream(path)(timeout=60, metadata=known.metadata)
            await asked.done_writing()
            assert await asked.code() is grpc.StatusCode.INVALID_ARGUMENT
