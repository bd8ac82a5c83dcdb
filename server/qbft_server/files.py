"""How many files this process may open, and what connections may take of them.

Every connection is an open file. A node whose last file a stranger's connection took could not open
the next segment of its journal, and would have to stop voting.
"""

from __future__ import annotations

import contextlib
import resource

OWN_FILES = 128
"""Kept for the journal, SQLite, logs, listeners, and what the libraries open."""

CLIENT_CONNECTIONS_MAX = 4_096
"""Connections of clients, where the files last for so many."""

CLIENT_CONNECTIONS_MIN = 16


def raise_file_limit() -> None:
    """Take as many open files as the system grants: its lower default is for `select`."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def peer_connections_max(nodes: int) -> int:
    """Connections to the peer port: two each way for every peer, and some that turn out strangers.

    A stranger's is closed when its handshake fails or takes too long.
    """
    return 4 * nodes + 64


def client_connections_max(nodes: int) -> int:
    """Connections to the client port: what the peers and the node itself leave of the files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CLIENT_CONNECTIONS_MAX
    left = soft - OWN_FILES - nodes - peer_connections_max(nodes)
    return max(CLIENT_CONNECTIONS_MIN, min(CLIENT_CONNECTIONS_MAX, left))
