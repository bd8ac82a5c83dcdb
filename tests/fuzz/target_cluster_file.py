"""The cluster file: read, and the same when written again, or refused in one line (issue 2)."""

from __future__ import annotations

from contextlib import suppress
from random import Random

from fuzz_files import check_line
from protobuf_edits import Fill
from text_edits import edited_text

from qbft.cluster import Cluster
from qbft.errors import ClusterError


def seeds() -> list[bytes]:
    """None beside the corpus: a genuine file has certificates, which are no two times the same."""
    return []


def mutated(data: bytes, random: Random, fill: Fill) -> bytes:
    """Edit a line."""
    return edited_text(data, random, fill)


def check(data: bytes) -> None:
    """Parse it; a cluster that is taken has an id and a policy for every topic."""
    with suppress(UnicodeDecodeError):
        text = data.decode()
        try:
            cluster = Cluster.parse(text)
        except ClusterError as error:
            check_line(str(error))
            return
        assert Cluster.parse(cluster.dump()) == cluster
        assert len(cluster.roster.cluster_id) == 32
        cluster.policy("prices/btc")
