"""How what several nodes said becomes one line, and what gRPC's own words become."""

from __future__ import annotations

import grpc
import pytest

from qbft.client import Lied, Refused, Unavailable
from qbft.client.errors import same_together
from qbft.client.retrying import failure


def test_nodes_that_say_the_same_stand_together() -> None:
    """Four nodes that are down are told of once; who has lied is named by its own words."""
    said = {
        0: str(Unavailable("node 0: away", node=0)),
        1: str(Lied(1, "no proof")),
        2: str(Unavailable("node 2: away", node=2)),
        3: str(Unavailable("node 3: no answer", node=3)),
    }
    assert same_together(said) == (
        "nodes 0, 2: away; node 1 is not to be believed: no proof; node 3: no answer"
    )
    assert same_together({}) == ""


@pytest.mark.parametrize(
    ("grpc_says", "told"),
    [
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:7401: "
            "Failed to connect to remote host: Connection refused",
            "cannot connect: Connection refused",
        ),
        (
            "failed to connect to all addresses; last error: UNAVAILABLE: ipv6:%5B::1%5D:7401: "
            "Socket is gone",
            "cannot connect: Socket is gone",
        ),
        ("DNS resolution failed for a.example:7401", "DNS resolution failed for a.example:7401"),
    ],
)
def test_a_connection_that_fails_is_told_shortly(grpc_says: str, told: str) -> None:
    """The address stands in the cluster file, and `qbft status` shows it; the reason is news."""
    found = failure(2, grpc.StatusCode.UNAVAILABLE, grpc_says)
    assert str(found) == f"node 2: UNAVAILABLE: {told}"


def test_too_large_a_value_is_told_in_bytes() -> None:
    """The library refuses it before any handler of ours can, and no attempt makes it smaller."""
    words = "SERVER: Received message larger than max (2000024 vs. 1310720)"
    found = failure(1, grpc.StatusCode.RESOURCE_EXHAUSTED, words)
    assert isinstance(found, Refused)
    assert found.message == "too large: 2000024 bytes with all around it, and it takes 1310720"
