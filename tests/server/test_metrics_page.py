"""docs/METRICS.md says what the program does. 2 s."""

from __future__ import annotations

import contextlib
import re
import urllib.request
from pathlib import Path

import grpc
import pytest
from e2e.service_clients import SECONDS, channel_to, proposal, question
from grpc import aio
from prometheus_client.parser import text_string_to_metric_families

from qbft.errors import QbftError
from qbft.replica.bounds import Bound
from qbft.wire.v1 import decision_pb2
from qbft.wire.v1.decision_pb2_grpc import DecisionServiceStub
from qbft_server.bounds import NodeBound
from qbft_server.config import NodeConfig
from qbft_server.local import LocalCluster, wait_until
from qbft_server.probe import probe
from qbft_server.services.anyone import HEALTH, REFLECTION
from qbft_server.telemetry.catalogue import BY_NAME, METRICS
from qbft_server.telemetry.metrics import TYPES
from qbft_server.version import VERSION

CHOSEN = "a-name-of-a-clients-choice"
METHODS = decision_pb2.DESCRIPTOR.services_by_name["DecisionService"].methods_by_name
ANYONES = [method for service in (HEALTH, REFLECTION) for method in service.methods_by_name]
INDEX = r"\d{1,3}"
LABELS = {
    "peer": rf"{INDEX}|stranger|",
    "validator": INDEX,
    "reason": r"[a-z_]+",  # words of this program: nothing of what a client sends
    "bound": "|".join((*Bound, *NodeBound)),
    "outcome": "ended|exported|failed",
    "by": "quorum|certificate|unopened",
    "phase": "accepted|prepared|decided",
    "type": "|".join(TYPES.values()),
    "method": "|".join((*METHODS, *ANYONES, "ProposeStream item")),
    "code": "|".join(code.name for code in grpc.StatusCode),
    "version": re.escape(VERSION),
    "le": r"[0-9.]+|\+Inf",
}
"""Every label there is, and all its values; who adds one to this list has asked who chooses it."""


@pytest.mark.e2e
async def test_every_metric_is_described(tmp_path: Path) -> None:
    """The catalogue has each metric that a node tells, and no other; so docs/METRICS.md has.

    Issue "No one let in": no label is one that a client chooses, whatever names it comes with.
    """
    async with LocalCluster.create(tmp_path / "cluster") as cluster:
        await cluster.start(0)
        node_file = cluster.directory / "node-0" / "node.toml"
        await wait_until(lambda: _answers(node_file), "a living node")
        await _call_with_names(cluster)
        admin = NodeConfig.load(node_file).listen.admin
        with urllib.request.urlopen(f"http://{admin}/metrics", timeout=60) as reply:  # noqa: ASYNC210
            text = reply.read().decode()
    told = {
        (family.name, family.type, family.documentation)
        for family in text_string_to_metric_families(text)
        if not family.name.startswith("process_")
    }
    assert told == {(each.name, each.kind, each.text) for each in METRICS}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert {*sample.labels} - {"le"} == {*labels_of(family.name)}
            for label, value in sample.labels.items():
                assert re.fullmatch(LABELS[label], value), sample
    assert CHOSEN not in text


def labels_of(family: str) -> tuple[str, ...]:
    """The labels that the catalogue says."""
    return BY_NAME[family].labels if family in BY_NAME else ()


def test_metrics_are_named_as_prometheus_wants_it() -> None:
    """Base units as the last word, `_total` for what only counts; labels all from the list."""
    assert len(BY_NAME) == len(METRICS)
    for metric in METRICS:
        assert re.fullmatch(r"qbft_[a-z_]+", metric.name)
        assert not re.search(r"_(ms|millis|kib|mib|total|count|sum|bucket)(_|$)", metric.name)
        assert metric.kind != "histogram" or re.search(r"_(seconds|round)$", metric.name)
        assert {*metric.labels} <= LABELS.keys()
        assert metric.text.endswith(".")


async def _call_with_names(cluster: LocalCluster) -> None:
    """Call a node with everything that a client can choose the text of."""
    metadata = (("authorization", f"Bearer {CHOSEN}"), (CHOSEN, CHOSEN))
    async with channel_to(cluster, 0) as channel:
        stub = DecisionServiceStub(channel)
        await stub.GetDecision(question(CHOSEN, 1), metadata=metadata, timeout=SECONDS)
        with contextlib.suppress(aio.AioRpcError):
            await stub.Propose(proposal(CHOSEN, 1, b""), metadata=metadata, timeout=SECONDS)
        unknown = channel.unary_unary(f"/qbft.v1.DecisionService/{CHOSEN}")
        with contextlib.suppress(aio.AioRpcError):
            await unknown(b"", metadata=metadata, timeout=SECONDS)


def _answers(node_file: Path) -> bool:
    try:
        probe(node_file)
    except QbftError:
        return False
    return True
