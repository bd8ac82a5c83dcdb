"""What a cluster file says of its epoch, as node and signer hold to it (docs/adr/013)."""

from __future__ import annotations

from qbft.cluster import Cluster
from qbft.replica.epoch import Epoch


def epoch_of(cluster: Cluster) -> Epoch:
    """Where this epoch begins, and whether there is anyone to end it."""
    begins = cluster.ended[-1].seal if cluster.ended else None
    return Epoch(cluster.epoch, begins, is_sealable=bool(cluster.operators))
