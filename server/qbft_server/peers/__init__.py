"""Links to the peers: `qbft.transport.Transport` over gRPC streams with mutual TLS.

Every node dials every other; frames flow from the dialer to the acceptor, after a hello each way.
So a pair of nodes has two streams, either can break alone, and no tie needs breaking. `outgoing`
dials and sends, `incoming` accepts and buffers, `transport` joins them.
"""

from qbft_server.peers.events import NoEvents, PeerCounters, PeerEvents
from qbft_server.peers.limits import PeerLimits
from qbft_server.peers.transport import GrpcTransport

__all__ = ["GrpcTransport", "NoEvents", "PeerCounters", "PeerEvents", "PeerLimits"]
