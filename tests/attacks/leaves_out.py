"""A node that hides some of what was decided: its feed has gaps, and looks like any other.

    python tests/attacks/leaves_out.py CLUSTER/node-3/node.toml

In all else it is an honest node, with a validator's keys.
"""

from __future__ import annotations

import sys
from unittest.mock import patch

from qbft.core import InstanceId
from qbft_server.cli import main
from qbft_server.store.store import NodeStore

EVERY = 3
"""Of the heights it hides each one that this divides."""

whole_feed = NodeStore.feed


def feed(store: NodeStore, after: int, limit: int) -> tuple[tuple[int, InstanceId], ...]:
    """A page without what is hidden, as full as an honest one, with true positions."""
    entries = whole_feed(store, after, store.end)
    return tuple(entry for entry in entries if entry[1].height % EVERY)[:limit]


if __name__ == "__main__":
    with patch.object(NodeStore, "feed", feed):
        sys.exit(main(["node", *sys.argv[1:]]))
