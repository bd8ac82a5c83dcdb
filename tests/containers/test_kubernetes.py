"""deploy/kubernetes and docs/KUBERNETES.md, as far as they can be tried without a Kubernetes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from qbft.cluster import Cluster
from qbft_server.config import NodeConfig
from qbft_server.identity import load_tls_identity, load_vote_key
from qbft_server.store.store import NodeStore

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy/kubernetes"
PAGE = (ROOT / "docs/KUBERNETES.md").read_text()
OLDEST, NEWEST = "1.29", "1.37"
"""The versions whose schemas are asked: the oldest that the page names, and a new one."""

NODES = range(4)
_KUBECTL = '#!/bin/sh\necho "$@" >> "$CALLS"\n'


def _documents() -> dict[str, dict[str, Any]]:
    """What `kubectl apply -k` takes, by kind."""
    kustomization = yaml.safe_load((MANIFESTS / "kustomization.yaml").read_text())
    files = kustomization["resources"]
    assert {*files, "kustomization.yaml"} == {path.name for path in MANIFESTS.iterdir()}
    documents = [yaml.safe_load((MANIFESTS / name).read_text()) for name in files]
    return {document["kind"]: document for document in documents}


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    """What the StatefulSet makes of each node."""
    template: dict[str, Any] = _documents()["StatefulSet"]["spec"]["template"]
    return template


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_the_manifests_are_what_kubernetes_takes(version: str) -> None:
    """Issue 7, part 3: each document follows its schema, without a field that there is not."""
    for document in _documents().values():
        kubernetes_validate.validate(document, version, strict=True)


def test_labels_ports_and_names_go_together(pod: dict[str, Any]) -> None:
    """What names something in another document names what is there."""
    documents = _documents()
    labels = pod["metadata"]["labels"]
    stateful, service = documents["StatefulSet"]["spec"], documents["Service"]
    selectors = [
        stateful["selector"]["matchLabels"],
        service["spec"]["selector"],
        documents["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        documents["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        pod["spec"]["affinity"]["podAntiAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ][0]["labelSelector"]["matchLabels"],
    ]
    assert all(selector == labels for selector in selectors)
    assert stateful["serviceName"] == service["metadata"]["name"]
    (node,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in node["ports"]}
    assert ports == {port["targetPort"]: port["port"] for port in service["spec"]["ports"]}
    assert {node[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "liveness")} <= {*ports}
    volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
    volumes |= {claim["metadata"]["name"] for claim in stateful["volumeClaimTemplates"]}
    for container in (node, *pod["spec"]["initContainers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_no_node_waits_for_another_to_be_ready(pod: dict[str, Any]) -> None:
    """A node is ready when it reaches a quorum: its peers start, and are found, before that."""
    documents = _documents()
    assert documents["StatefulSet"]["spec"]["podManagementPolicy"] == "Parallel"
    assert documents["Service"]["spec"]["publishNotReadyAddresses"] is True
    (node,) = pod["spec"]["containers"]
    assert node["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert node["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_only_the_first_container_sees_what_is_delivered(pod: dict[str, Any]) -> None:
    """No private key is in a ConfigMap, and the node's container has its own alone."""
    (node,), (install,) = pod["spec"]["containers"], pod["spec"]["initContainers"]
    assert "delivered" not in {mount["name"] for mount in node["volumeMounts"]}
    assert "delivered" in {mount["name"] for mount in install["volumeMounts"]}
    from_files = re.findall(r"create configmap .*--from-file=(\S+)", PAGE)
    assert set(from_files) == {"mycluster/cluster.toml"}
    (delivered,) = [v["projected"] for v in pod["spec"]["volumes"] if "projected" in v]
    paths = [source["secret"]["items"][0]["path"] for source in delivered["sources"]]
    assert paths == [f"qbft-{index}/node.tar" for index in NODES]


def test_what_the_page_delivers_is_what_a_node_starts_from(
    tmp_path: Path, pod: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's own commands, then the first container's, then the node's settings and store.

    HARDENING W7: what is delivered again does not replace what is there. 2 s.
    """
    _deliver(tmp_path)
    cluster = Cluster.load(tmp_path / "mycluster/cluster.toml")
    (node,), (install,) = pod["spec"]["containers"], pod["spec"]["initContainers"]
    ports = {port["name"]: port["containerPort"] for port in node["ports"]}
    for variable in node["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    monkeypatch.setenv("QBFT_CLUSTER", str(tmp_path / "mycluster/cluster.toml"))  # of the image
    for index in NODES:
        volume = tmp_path / f"volume-{index}"
        volume.mkdir()
        delivered = tmp_path / f"mycluster/node-{index}/node.tar"
        _install(install, volume, delivered)
        config = NodeConfig.load(volume / Path(node["args"][1]).relative_to("/var/lib/qbft"))
        _, own = config.load_cluster()
        assert config.vote_key is not None
        load_vote_key(config.vote_key, own)
        load_tls_identity(config.tls_key, own)
        assert config.listen.admin == f"0.0.0.0:{ports['admin']}"
        assert own.peer == f"qbft-{index}.qbft-nodes.qbft.svc:{ports['peer']}"
        assert own.client == f"qbft-{index}.qbft-nodes.qbft.svc:{ports['client']}"
        store = NodeStore.open(config.data, cluster.roster.cluster_id, index)
        store.journal.close()
        (volume / "node/data/said").touch()
        (volume / "node/vote.key").chmod(0o660)  # as Kubernetes may, for the volume's group
        _install(install, volume, delivered)
        assert (volume / "node/data/said").exists()
        load_vote_key(config.vote_key, own)


def test_a_lost_volume_is_not_filled_by_itself(tmp_path: Path, pod: dict[str, Any]) -> None:
    """With the secret deleted the pod does not start, and says where to read on."""
    (install,) = pod["spec"]["initContainers"]
    with pytest.raises(subprocess.CalledProcessError) as refused:
        _install(install, tmp_path, tmp_path / "node.tar")
    assert "see docs/KUBERNETES.md" in refused.value.stderr
    assert list(tmp_path.iterdir()) == []


def _deliver(directory: Path) -> None:
    """Run the commands of "Make it", with a kubectl that only writes down what it is told."""
    (lines,) = [
        text for text in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "qbft init my" in text
    ]
    tools = directory / "tools"
    tools.mkdir()
    (tools / "kubectl").write_text(_KUBECTL)
    (tools / "qbft").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m qbft_server.cli "$@"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    calls = directory / "calls"
    environment = {
        **os.environ,
        "PATH": f"{tools}:{os.environ['PATH']}",
        "CALLS": str(calls),
    }
    subprocess.run(["bash", "-euc", lines], cwd=directory, env=environment, check=True, timeout=120)
    told = calls.read_text()
    assert all(f"create secret generic qbft-node-{index} " in told for index in NODES)


def _install(container: dict[str, Any], volume: Path, delivered: Path) -> None:
    """What the first container does, on this volume."""
    environment = {**os.environ, "POD_NAME": "qbft-0", "DELIVERED": str(delivered)}
    subprocess.run(
        [*container["command"], *container["args"]],
        cwd=volume,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
