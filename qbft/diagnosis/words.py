"""How people are told of nodes, messages and times."""

from __future__ import annotations

from collections.abc import Iterable

from qbft.core import MessageType


def nodes_text(nodes: Iterable[int]) -> str:
    """Name nodes: "node 1", "nodes 1, 2 and 3"."""
    named = [str(node) for node in nodes]
    if len(named) < 2:
        return f"node {''.join(named)}"
    return f"nodes {', '.join(named[:-1])} and {named[-1]}"


def verb(nodes: Iterable[int], one: str, many: str) -> str:
    """The verb that goes with so many nodes."""
    return one if len(list(nodes)) == 1 else many


def kind_text(kind: MessageType) -> str:
    """Name a type of message as the paper writes it."""
    return kind.name.replace("_", "-")


def seconds_text(milliseconds: int) -> str:
    """Give a time that is easily read: "850 ms", "1.5 s"."""
    return f"{milliseconds} ms" if milliseconds < 1_000 else f"{milliseconds / 1_000:.1f} s"
