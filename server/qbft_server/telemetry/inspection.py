"""How this node stands in one instance, and with its peers (`qbft.diagnosis`)."""

from __future__ import annotations

from qbft.core import InstanceId
from qbft.diagnosis import NodeAccount, PeerAccount
from qbft.replica.driver import now_ms
from qbft_server.parts import NodeParts


def inspect(parts: NodeParts, instance: InstanceId) -> NodeAccount:
    """Give this node's account: what the replica says of it, the links, what was refused."""
    now, own = now_ms(), parts.config.validator
    status = parts.replica.status()
    connected = parts.links.connected
    peers = []
    for peer in range(parts.cluster.roster.nodes):
        if peer == own:
            continue
        heard_ms = status.peers_heard.get(peer)
        peers.append(
            PeerAccount(
                peer,
                peer in connected,
                None if heard_ms is None else now - heard_ms,
                tuple(sorted(parts.metrics.rejects_of(peer).items())),
                tuple(sorted(parts.replica.bites.of_peer(peer).items())),
            )
        )
    about = parts.replica.inspect(instance, now)
    return NodeAccount(own, status.voting, about, tuple(peers))
