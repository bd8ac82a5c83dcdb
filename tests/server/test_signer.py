"""A vote key in a process of its own, with the guard beside it (docs/adr/015; HARDENING W2, W3)."""

from __future__ import annotations

import asyncio
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import structlog
import structlog.testing

from qbft.core import InstanceId, Message, MessageType, Proof
from qbft.crypto.keys import VoteKey
from qbft.crypto.roster import Roster, cluster_id
from qbft.crypto.seal import Seal, seal_instance
from qbft.crypto.signing import BATCH_VOTES_MAX, BatchHeader, Verifier
from qbft.errors import ClusterError, JournalError
from qbft.replica.epoch import Epoch
from qbft.wire.reject import RejectReason
from qbft.wire.signer import (
    SIGNER_MESSAGE_BYTES_MAX,
    SignReply,
    SignRequest,
    decode_sign_reply,
    decode_sign_request,
    encode_sign_request,
)
from qbft_server.cli import main
from qbft_server.initialise import init_cluster
from qbft_server.signer import process, remote
from qbft_server.signer.guarded import GuardedKey
from qbft_server.signer.memory import SignerMemory
from qbft_server.signer.process import CONNECTIONS_MAX, served
from qbft_server.signer.remote import RemoteSigner

OWN = 1
KEYS = [VoteKey(bytes([number]) * 32) for number in range(1, 5)]
PUBLIC = tuple(key.public for key in KEYS)
ROSTER = Roster(cluster_id("signed", 0, PUBLIC), PUBLIC)
FIRST = Epoch(is_sealable=True)
"""An epoch with none before it, which an operator may end."""

STORE = b"s" * 16
A, B = b"a" * 32, b"b" * 32
PREPARE, COMMIT, CHANGE = MessageType.PREPARE, MessageType.COMMIT, MessageType.ROUND_CHANGE


def vote(
    kind: MessageType,
    round_: int,
    value: bytes | None = A,
    *,
    height: int = 0,
    prepared: tuple[int, bytes | None] = (0, None),
    source: int = OWN,
) -> Message:
    """A vote of the signer's validator, without a signature yet."""
    value = None if kind is CHANGE else value
    return Message(kind, InstanceId("t", height), source, round_, value, *prepared, proof=Proof())


def request(*votes: Message, validator: int = OWN, cluster: bytes = b"") -> SignRequest:
    """What a node asks."""
    return SignRequest(cluster or ROSTER.cluster_id, validator, STORE, 7, votes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The memory of a key that has never signed."""
    SignerMemory.create(tmp_path / "memory", ROSTER.cluster_id, OWN)
    return tmp_path / "memory"


def answers(path: Path, *requests: SignRequest, epoch: Epoch = FIRST) -> list[str]:
    """Why each is refused, or nothing; by a signer that is started again for each."""
    told = []
    for each in requests:
        memory = SignerMemory.open(path, ROSTER.cluster_id, OWN)
        with closing(memory):
            reply = GuardedKey(KEYS[OWN], ROSTER, OWN, memory, epoch).answer(each)
        assert bool(reply.signature) == (not reply.refused)
        told.append(reply.refused)
    return told


def test_a_signature_is_the_one_that_the_key_gives(path: Path) -> None:
    """The node, its peers and every verifier see no difference."""
    votes = (vote(PREPARE, 1), vote(COMMIT, 1), vote(PREPARE, 1, B, height=1))
    with closing(SignerMemory.open(path, ROSTER.cluster_id, OWN)) as memory:
        reply = GuardedKey(KEYS[OWN], ROSTER, OWN, memory, FIRST).answer(request(*votes))
    header = BatchHeader(STORE, 7, reply.signature)
    assert Verifier(ROSTER).verify_section(OWN, votes, header)


@pytest.mark.parametrize(
    ("signed", "asked"),
    [
        ([vote(PREPARE, 1)], vote(PREPARE, 1, B)),
        ([vote(COMMIT, 1)], vote(COMMIT, 1, B)),
        ([vote(MessageType.PRE_PREPARE, 1)], vote(MessageType.PRE_PREPARE, 1, B)),
        ([vote(CHANGE, 2)], vote(PREPARE, 1)),
        ([vote(CHANGE, 2)], vote(CHANGE, 2, prepared=(1, A))),
        ([vote(COMMIT, 1)], vote(CHANGE, 2)),
        ([vote(COMMIT, 1), vote(CHANGE, 2, prepared=(1, A))], vote(CHANGE, 3)),
        ([vote(COMMIT, 1), vote(CHANGE, 2, prepared=(1, A)), vote(COMMIT, 2)], vote(CHANGE, 3)),
    ],
)
def test_what_was_signed_is_never_contradicted(
    path: Path, signed: list[Message], asked: Message
) -> None:
    """HARDENING W2, W3: whatever the node has forgotten; over restarts of the signer too."""
    assert answers(path, *map(request, signed)) == [""] * len(signed)
    (why,) = answers(path, request(asked))
    assert why
    assert answers(path, request(*signed[-1:])) == [""], "the same again may be signed"


def test_of_a_batch_that_is_refused_nothing_is_kept(path: Path) -> None:
    """All or none: the part of it that could be signed binds nobody."""
    good, bad = vote(PREPARE, 1, height=1), vote(PREPARE, 1, B)
    assert answers(path, request(vote(PREPARE, 1))) == [""]
    (why,) = answers(path, request(good, bad))
    assert "two contents of PREPARE" in why
    assert answers(path, request(vote(PREPARE, 1, B, height=1))) == [""]
    (why,) = answers(path, request(vote(COMMIT, 1, height=2), vote(COMMIT, 1, B, height=2)))
    assert "two contents" in why


def seal_vote(epoch: int) -> Message:
    """A PREPARE of the seal of that epoch."""
    return Message(PREPARE, seal_instance(epoch), OWN, 1, A, proof=Proof())


def test_nothing_is_signed_that_another_epoch_decides(path: Path) -> None:
    """DESIGN and issue 6, epochs: the new one votes only from the heights that the seal names.

    A stolen node of the new epoch cannot vote in the old one's instances, nor on a seal of another
    epoch; of a batch with one such vote nothing is kept.
    """
    begins = Seal(b"c" * 32, default=100, first_heights=(("t", 5),))
    second = Epoch(1, begins, is_sealable=True)
    low, first = vote(PREPARE, 1, height=4), vote(PREPARE, 1, height=5)
    told = answers(
        path,
        request(low),
        request(first, low),
        request(seal_vote(0)),
        request(vote(PREPARE, 1, B, height=5)),
        request(seal_vote(1)),
        epoch=second,
    )
    assert ["another epoch" in why for why in told] == [True, True, True, False, False]
    assert told[3:] == ["", ""]


def test_without_operators_no_seal_is_signed(path: Path) -> None:
    """ADR 013: nobody can end such an epoch, so no correct node votes on its end."""
    (why,) = answers(path, request(seal_vote(0)), epoch=Epoch(is_sealable=False))
    assert "another epoch" in why
    assert answers(path, request(seal_vote(0))) == [""]


def test_the_key_is_of_one_validator_of_one_cluster(path: Path) -> None:
    """Nothing is signed in another's name, nor for another cluster (W8)."""
    told = answers(
        path,
        request(vote(PREPARE, 1), cluster=b"x" * 32),
        request(vote(PREPARE, 1), validator=0),
        request(vote(PREPARE, 1, source=0)),
        request(vote(PREPARE, 1, source=0), validator=0),
    )
    assert all(told)
    assert answers(path, request(vote(PREPARE, 1, B))) == [""]


def test_rounds_that_were_left_take_no_room(path: Path) -> None:
    """ADR 012: what is current is kept, however many rounds an instance has."""
    with closing(SignerMemory.open(path, ROSTER.cluster_id, OWN)) as memory:
        key = GuardedKey(KEYS[OWN], ROSTER, OWN, memory, FIRST)
        for round_ in range(2, 30):
            reply = key.answer(request(vote(CHANGE, round_), vote(PREPARE, round_)))
            assert not reply.refused
        assert len(memory.votes(InstanceId("t", 0), OWN)) == 2


def test_the_memory_is_one_process_and_is_never_made_anew(tmp_path: Path, path: Path) -> None:
    """W7, W8: two signers of one key would contradict each other, as would one that forgot."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(JournalError, match="is there already, and never made anew"):
        SignerMemory.create(path, ROSTER.cluster_id, OWN)
    with (
        closing(SignerMemory.open(path, ROSTER.cluster_id, OWN)),
        pytest.raises(JournalError, match="cannot be used: database is locked"),
    ):
        SignerMemory.open(path, ROSTER.cluster_id, OWN)
    for cluster, validator in ((b"x" * 32, OWN), (ROSTER.cluster_id, 2)):
        with pytest.raises(JournalError, match="another validator or another cluster"):
            SignerMemory.open(path, cluster, validator)
    with pytest.raises(JournalError, match="there is no such file"):
        SignerMemory.open(tmp_path / "none", ROSTER.cluster_id, OWN)
    (tmp_path / "junk").write_bytes(b"junk" * 1_000)
    with pytest.raises(JournalError, match="cannot be used"):
        SignerMemory.open(tmp_path / "junk", ROSTER.cluster_id, OWN)


def test_a_request_is_anybodys_bytes() -> None:
    """What is no request is a reason, and never an exception."""
    good = encode_sign_request(request(vote(PREPARE, 1)))
    assert decode_sign_request(good) == request(vote(PREPARE, 1))
    for cut in range(1, len(good)):
        assert isinstance(decode_sign_request(good[:cut]), RejectReason | SignRequest)
    assert decode_sign_request(b"\xff" * 40) is RejectReason.MALFORMED
    many = request(*(vote(PREPARE, 1, height=height) for height in range(BATCH_VOTES_MAX + 1)))
    assert decode_sign_request(encode_sign_request(many)) is RejectReason.TOO_MANY
    odd = SignRequest(ROSTER.cluster_id, OWN, b"short", 7, (vote(PREPARE, 1),))
    assert decode_sign_request(encode_sign_request(odd)) is RejectReason.BAD_SIGNATURE_SHAPE
    assert decode_sign_reply(b"\xff" * 40) is None


# --- over its socket ------------------------------------------------------------------------------


@asynccontextmanager
async def signer(path: Path, key: VoteKey = KEYS[OWN]) -> AsyncIterator[Path]:
    """A signer at a socket."""
    at = path.with_name("signer.sock")
    with closing(SignerMemory.open(path, ROSTER.cluster_id, OWN)) as memory:
        async with served(at, GuardedKey(key, ROSTER, OWN, memory, FIRST)):
            yield at


@pytest.mark.real_clock
async def test_a_node_has_its_votes_signed(path: Path) -> None:
    """Proofs are filled as by the key itself; a signer that was started again is found again."""
    there: RemoteSigner | None = None
    for height in (1, 2):
        async with signer(path) as at:
            assert stat.S_IMODE(at.stat().st_mode) == 0o660
            there = there or RemoteSigner(at, ROSTER, OWN)
            await asyncio.to_thread(there.check)
            mine = vote(PREPARE, 1, height=height)
            header = await asyncio.to_thread(there.sign, [mine], STORE, height)
            assert (header.store_id, header.sequence) == (STORE, height)
            assert Verifier(ROSTER).verify_vote(mine)
            with pytest.raises(JournalError, match="the signer refuses: two contents of PREPARE"):
                await asyncio.to_thread(there.sign, [vote(PREPARE, 1, B, height=height)], STORE, 9)
    assert there is not None
    there.close()
    assert not at.exists()


@pytest.mark.real_clock
async def test_without_a_signer_nothing_is_signed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not there, silent, another's, or lying: one line, in a bounded time, and no vote."""
    monkeypatch.setattr(remote, "SIGN_SECONDS_MAX", 0.2)
    nowhere = RemoteSigner(path.with_name("none"), ROSTER, OWN)
    with pytest.raises(JournalError, match=r"the signer at .*none: No such file"):
        nowhere.sign([vote(PREPARE, 1)], STORE, 1)
    with pytest.raises(ClusterError, match="vote_signer: the signer at"):
        nowhere.check()
    with closing(socket.socket(socket.AF_UNIX)) as silent:
        silent.bind(str(path.with_name("silent")))
        silent.listen()
        mute = RemoteSigner(path.with_name("silent"), ROSTER, OWN)
        with pytest.raises(JournalError, match="timed out"):
            mute.sign([vote(PREPARE, 1)], STORE, 1)
    monkeypatch.setattr(remote, "SIGN_SECONDS_MAX", 20)
    async with signer(path, KEYS[2]) as at:
        with closing(RemoteSigner(at, ROSTER, OWN)) as other:
            with pytest.raises(ClusterError, match="its key is not this validator's"):
                await asyncio.to_thread(other.check)
            with pytest.raises(JournalError, match="no signature of these votes"):
                await asyncio.to_thread(other.sign, [vote(PREPARE, 1)], STORE, 1)


@pytest.mark.real_clock
async def test_a_signer_bounds_what_it_takes(path: Path) -> None:
    """Too large a request is hung up on, what is none is refused, and connections are few."""
    async with signer(path) as at:
        reader, writer = await asyncio.open_unix_connection(at)
        writer.write((SIGNER_MESSAGE_BYTES_MAX + 1).to_bytes(4, "big"))
        assert await reader.read() == b""
        writer.close()
        opened = [await asyncio.open_unix_connection(at) for _ in range(CONNECTIONS_MAX + 1)]
        assert await opened[-1][0].read() == b""
        reader, writer = opened[0]
        writer.write((2).to_bytes(4, "big") + b"\xff\xff")
        size = int.from_bytes(await reader.readexactly(4), "big")
        reply = decode_sign_reply(await reader.readexactly(size))
        assert reply == SignReply(refused="not a request: malformed")
        for _, each in opened:
            each.close()


@pytest.mark.real_clock
async def test_refusals_do_not_fill_the_log(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a stolen node can cause at will is logged each time."""
    lines = structlog.testing.LogCapture()
    monkeypatch.setattr(process, "log", structlog.wrap_logger(None, processors=[lines]))
    async with signer(path) as at:
        with closing(RemoteSigner(at, ROSTER, OWN)) as there:
            await asyncio.to_thread(there.sign, [vote(PREPARE, 1)], STORE, 1)
            for _ in range(20):
                with pytest.raises(JournalError, match="the signer refuses"):
                    await asyncio.to_thread(there.sign, [vote(PREPARE, 1, B)], STORE, 2)
    assert [line["event"] for line in lines.entries].count("not signed") == 1


# --- its command ----------------------------------------------------------------------------------

FILE = """
cluster = "cluster.toml"
validator = 0
vote_key = "node-0/vote.key"
memory = "signer.sqlite3"
listen = "unix:signer.sock"
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster's directory, with a signer's memory."""
    folder = tmp_path_factory.mktemp("made") / "c"
    cluster = init_cluster(folder, 2, faults=0)
    SignerMemory.create(folder / "signer.sqlite3", cluster.roster.cluster_id, 0)
    (folder / "cluster.toml").chmod(0o644)
    return folder


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("validator = 0", "validator = 1", 2, "vote.key: its public key is"),
        ("validator = 0", "validator = 2", 2, "validator = 2: "),
        ("memory", "memroy", 2, "unknown key 'memroy'; allowed: cluster, validator, vote_key"),
        ("unix:signer.sock", "signer.sock", 2, "listen = 'signer.sock': must be unix:PATH"),
        ("unix:signer.sock", "unix:no/such.sock", 2, "cannot listen there: No such file"),
        ("unix:signer.sock", f"unix:{'x' * 200}", 2, "cannot listen there: AF_UNIX path too long"),
        ("signer.sqlite3", "none.sqlite3", 5, "there is no such file; for a key that has never"),
        ("cluster.toml", "none.toml", 2, "cannot read the cluster file: No such file"),
        ("node-0/vote.key", "cluster.toml", 2, "the vote key has mode 0644, open to others"),
    ],
)
def test_what_keeps_a_signer_from_starting_is_one_line(
    made: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    old: str,
    new: str,
    code: int,
    words: str,
) -> None:
    """Every error names the key, the value and what is allowed; nothing is left behind."""
    assert old in FILE
    monkeypatch.setattr(process, "set_up_logs", lambda *_: None)  # it is the process's, for good
    file = made / "signer.toml"
    file.write_text(FILE.replace(old, new, 1))
    before = sorted(made.iterdir())
    assert main(["signer", str(file)]) == code
    told = capfd.readouterr().err
    assert words in told
    assert told.count("\n") == 1
    assert sorted(made.iterdir()) == before
