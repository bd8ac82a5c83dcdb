"""A node that serves false records: of a decided height another value, of others a bad certificate.

    python tests/attacks/serves_false.py CLUSTER/node-3/node.toml

In all else it is an honest node, with a validator's keys.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from unittest.mock import patch

from qbft.core import InstanceId
from qbft.decision import Decision
from qbft_server.cli import main
from qbft_server.store.store import NodeStore

EVERY = 3
"""Of this many heights one has a false value, one a certificate of another round; one is true."""

true_decision = NodeStore.get


def get(store: NodeStore, instance: InstanceId) -> Decision | None:
    """What is kept, or something else in its place."""
    decision = true_decision(store, instance)
    if decision is None:
        return None
    if instance.height % EVERY == 0:
        return replace(decision, value=b"false")
    if instance.height % EVERY == 1:
        certificate = decision.certificate
        return replace(decision, certificate=replace(certificate, round=certificate.round + 1))
    return decision


if __name__ == "__main__":
    with patch.object(NodeStore, "get", get):
        sys.exit(main(["node", *sys.argv[1:]]))
