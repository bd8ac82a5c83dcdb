"""Entries of ordered topics, as clients send them; in what is decided they are no protobuf."""

from __future__ import annotations

from qbft.crypto.entries import Entry
from qbft.wire.v1 import decision_pb2 as pb


def entry_to_pb(entry: Entry) -> pb.Entry:
    """Write an entry."""
    return pb.Entry(
        request_id=entry.request_id,
        value=entry.value,
        until=entry.until,
        author=entry.author,
        signature=entry.signature,
    )


def entry_from_pb(message: pb.Entry) -> Entry:
    """Read an entry; nothing of it is verified, not even its lengths."""
    return Entry(
        message.request_id, message.value, message.author, message.signature, message.until
    )
