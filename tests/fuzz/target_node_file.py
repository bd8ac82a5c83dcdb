"""The node's configuration: read, or refused in one line (issue 2)."""

from __future__ import annotations

from random import Random

from fuzz_files import check_line, scratch
from protobuf_edits import Fill
from text_edits import edited_text

from qbft.errors import ClusterError
from qbft_server.config import NodeConfig

FILE = b"""\
cluster = "../cluster.toml"
validator = 0
data = "data"
vote_key = "vote.key"
tls_key = "tls.key"

[listen]
peer = "127.0.0.1:7400"
client = "127.0.0.1:7401"
admin = "[::1]:7402"

[clients]
tokens = ["correct-horse-battery"]
authority = "authority.pem"
insecure_plaintext = false

[limits]
value_bytes_max = 1000
peer_queue_bytes_max = 33554432

[timer]
kind = "linear"
cap_ms = 60000

[log]
level = "info"
format = "json"

[[retention]]
prefix = "prices/"
keep_decisions = 1000
keep_days = 1.5
"""


def seeds() -> list[bytes]:
    """A file with all tables, and one with the least."""
    return [FILE, FILE.partition(b"[clients]")[0]]


def mutated(data: bytes, random: Random, fill: Fill) -> bytes:
    """Edit a line."""
    return edited_text(data, random, fill)


def check(data: bytes) -> None:
    """Load it; what is taken has absolute paths."""
    path = scratch() / "node.toml"
    path.write_bytes(data)
    try:
        config = NodeConfig.load(path)
    except ClusterError as error:
        check_line(str(error))
        return
    assert all(each.is_absolute() for each in (config.cluster, config.data, config.vote_key))
    for entry in config.retention:
        assert entry.rule.prefix == entry.prefix
