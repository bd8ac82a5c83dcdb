"""What earlier versions have written is read, and what was built on them goes on working.

docs/VERSIONS.md says what is promised; `golden/VERSION` is what `make_golden.py` has kept of each
(issue 7, part 3).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from compatibility.surface import Api, Parameters, api, schema
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from qbft.cluster import Cluster
from qbft.core import InstanceId, MessageType
from qbft.crypto.certificate import verify_certificate
from qbft.crypto.signing import Verifier
from qbft.errors import QbftError
from qbft.records import EvidenceRecord, MarkRecord, VoteRecord
from qbft.verify import verify, verify_evidence
from qbft_server.cli import main
from qbft_server.initialise import init_cluster
from qbft_server.store.store import NodeStore
from qbft_server.store.upkeep import restore_decisions
from qbft_server.version import VERSION

GOLDEN = Path(__file__).with_name("golden")
VERSIONS = sorted(path.name for path in GOLDEN.iterdir())


@pytest.fixture(params=VERSIONS)
def kept(request: pytest.FixtureRequest) -> Path:
    """What one version has left."""
    return GOLDEN / str(request.param)


@pytest.fixture
def cluster(kept: Path) -> Cluster:
    """Its cluster, whose file is read as it stands."""
    return Cluster.load(kept / "cluster.toml")


@pytest.fixture
def expected(kept: Path) -> dict[str, Any]:
    """What its cluster was told, and decided."""
    found: dict[str, Any] = json.loads((kept / "expected.json").read_text())
    return found


def test_this_version_is_kept_too() -> None:
    """A release begins with its golden files; versions are numbered as Semantic Versioning says."""
    assert VERSION.partition("+")[0] in VERSIONS or VERSION == "0+unknown"


def test_certificates_and_evidence_are_verified(
    kept: Path, cluster: Cluster, expected: dict[str, Any]
) -> None:
    """A certificate is for ever: who has kept one proves the decision with any later version."""
    for instance, value in expected["decided"].items():
        decision = verify((kept / f"{instance.replace('/', '-')}.cert").read_bytes(), cluster)
        assert str(decision.instance) == instance
        assert decision.value == value.encode()
        assert len(decision.signers) >= cluster.roster.quorum
    evidence = verify_evidence((kept / "liar.evidence").read_bytes(), cluster)
    assert evidence.validator == expected["liar"]


@pytest.mark.real_clock
async def test_a_data_directory_is_read(
    kept: Path, cluster: Cluster, expected: dict[str, Any], tmp_path: Path
) -> None:
    """A node goes on from the votes, decisions and evidence that the older program has written.

    Nothing that it has said is forgotten by an upgrade, and what this program writes behind it is
    read again.
    """
    data, node = tmp_path / "data", expected["node"]
    shutil.copytree(kept / "data", data)
    roster = cluster.roster
    undecided = _instance(expected["undecided"])
    mark = 0
    for _ in range(2):
        async with aclosing(NodeStore.open(data, roster.cluster_id, node)) as store:
            assert store.end == len(expected["decided"])
            for instance, value in expected["decided"].items():
                decision = store.get(_instance(instance))
                assert decision is not None
                assert decision.value == value.encode()
                verify_certificate(decision.certificate, roster, value.encode(), Verifier(roster))
            records = list(store.recover())
            cast = [r.vote for r in records if isinstance(r, VoteRecord)]
            assert {vote.instance for vote in cast} == {undecided}
            assert MessageType.ROUND_CHANGE in {vote.type for vote in cast}
            (against,) = [r.evidence.source for r in records if isinstance(r, EvidenceRecord)]
            assert against == expected["liar"]
            assert store.next_sequence > len(cast)
            assert store.low_water_mark("other") == mark
            mark += 1
            await store.commit([MarkRecord("other", mark)])


@pytest.mark.real_clock
async def test_a_backup_is_restored(
    kept: Path, cluster: Cluster, expected: dict[str, Any], tmp_path: Path
) -> None:
    """Each certificate in it is verified again on the way."""
    node = expected["node"]
    NodeStore.create(tmp_path / "data", cluster.roster.cluster_id, node, replaces=True)
    count = await restore_decisions(
        tmp_path / "data", kept / "backup.sqlite3", cluster.roster, node
    )
    assert count == len(expected["decided"])


def test_a_capture_is_replayed(kept: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The engine of today does what that of then has done, step by step."""
    assert main(["replay", str(kept / "capture.qbft")]) == 0
    assert "prices/btc/17" in capfd.readouterr().out


def test_the_schema_has_only_grown(kept: Path) -> None:
    """Each message, field, enumerator and call is as it was: numbers, types, names."""
    then, now = FileDescriptorSet(), _by_name(schema())
    then.ParseFromString((kept / "schema.binpb").read_bytes())
    gone = {name: kind for name, kind in _by_name(then).items() if now.get(name) != kind}
    assert not gone


def test_the_public_names_can_be_called_as_before(kept: Path) -> None:
    """No name is gone, no parameter either, and none has to be given that need not be before."""
    then: Api = json.loads((kept / "api.json").read_text())
    now = api()
    broken = [name for name, given in then.items() if not _is_kept(given, now, name)]
    assert not broken


def _is_kept(then: Parameters | None, now: Api, name: str) -> bool:
    if name not in now:
        return False
    given = now[name]
    if then is None or given is None:
        return then == given
    required = {parameter for parameter, is_required in given.items() if is_required}
    return then.keys() <= given.keys() and required <= {p for p, r in then.items() if r}


def test_a_name_or_a_field_less_is_found() -> None:
    """The two tests above fail where they should."""
    now = api()
    assert not _is_kept({}, now, "qbft.client.Client.propose_all")
    assert not _is_kept({"topic": True}, now, "qbft.client.Client.propose")
    assert not _is_kept({**(now["qbft.run"] or {}), "gone": False}, now, "qbft.run")
    assert _is_kept(now["qbft.run"], now, "qbft.run")
    files = schema()
    known = _by_name(files)
    message = next(m for f in files.file for m in f.message_type if m.name == "Proposal")
    message.field[0].number = 99
    changed = {name for name, kind in _by_name(files).items() if known.get(name) != kind}
    assert changed == {"qbft.v1.Proposal.instance"}


def test_the_golden_cluster_is_nobodys(kept: Path, tmp_path: Path) -> None:
    """No private key is kept, and a new cluster takes nothing of it for its own."""
    assert not list(kept.rglob("*.key"))
    shutil.copytree(kept / "data", tmp_path / "data")
    other = init_cluster(tmp_path / "c")
    with pytest.raises(QbftError, match="cluster"):
        NodeStore.open(tmp_path / "data", other.roster.cluster_id, 0)


def _instance(text: str) -> InstanceId:
    topic, _, height = text.rpartition("/")
    return InstanceId(topic, int(height))


def _by_name(files: FileDescriptorSet) -> dict[str, object]:
    """What matters of every part of a schema to who was built with it."""
    found: dict[str, object] = {}
    for file in files.file:
        for part in (*file.message_type, *file.enum_type, *file.service):
            found.update(_parts(part, file.package))
    return found


def _parts(
    part: DescriptorProto | EnumDescriptorProto | ServiceDescriptorProto, within: str
) -> Iterator[tuple[str, object]]:
    name = f"{within}.{part.name}"
    yield name, type(part).__name__
    match part:
        case DescriptorProto():
            for field in part.field:
                yield f"{name}.{field.name}", _field(field, part)
            for inner in (*part.nested_type, *part.enum_type):
                yield from _parts(inner, name)
        case EnumDescriptorProto():
            yield from ((f"{name}.{value.name}", value.number) for value in part.value)
        case ServiceDescriptorProto():
            yield from ((f"{name}.{method.name}", _method(method)) for method in part.method)


def _field(field: FieldDescriptorProto, message: DescriptorProto) -> object:
    one_of = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
    return field.number, field.type, field.label, field.type_name, one_of


def _method(method: MethodDescriptorProto) -> object:
    streams = method.client_streaming, method.server_streaming
    return method.input_type, method.output_type, streams
