"""The five messages of the paper, the instance they belong to, and the cluster they run in.

A message is data: the engine checks no signature and no membership (REFERENCE rule 3), and what a
value is, is the caller's business: any hashable, and `None` for "no value".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import IntEnum

from qbft.core.quorum import max_faulty, quorum

HEIGHT_MAX = 2**63 - 1
ROUND_MAX = 2**31 - 1
"""The highest of an instance, and of a message."""
TOPIC_PATTERN = re.compile(r"[a-z0-9][a-z0-9._/-]{0,127}")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")

Value = Hashable
"""What is agreed on: here any hashable; in the service the 32-byte digest of the bytes."""


class MessageType(IntEnum):
    """The kinds of message, numbered as on the wire."""

    PRE_PREPARE = 1
    PREPARE = 2
    COMMIT = 3
    ROUND_CHANGE = 4
    DECIDED = 5


@dataclass(frozen=True, slots=True, order=True)
class InstanceId:
    """One agreement: a height of a topic, written TOPIC/HEIGHT (DESIGN, section 4).

    Raises:
        ValueError: the topic or the height is outside what the wire allows.
    """

    topic: str
    height: int
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not TOPIC_PATTERN.fullmatch(self.topic):
            raise ValueError(
                f"topic {self.topic[:140]!r} must be 1 to 128 of a-z 0-9 . _ / - "
                "and begin with a letter or digit"
            )
        if not 0 <= self.height <= HEIGHT_MAX:
            raise ValueError(f"height {self.height} must be from 0 to {HEIGHT_MAX}")
        object.__setattr__(self, "_hash", hash((self.topic, self.height)))

    def __hash__(self) -> int:
        """Computed once: an instance is looked up many times for each message."""
        return self._hash

    def __reduce__(self) -> tuple[type[InstanceId], tuple[str, int]]:
        """Pickle without the hash, which holds only within one process."""
        return InstanceId, (self.topic, self.height)

    @classmethod
    def parse(cls, text: str) -> InstanceId:
        """Read TOPIC/HEIGHT, split at the last slash.

        Raises:
            ValueError: it is not of that form.
        """
        topic, slash, height = text.rpartition("/")
        if not slash or not _DECIMAL.fullmatch(height):
            raise ValueError(f"instance {text[:160]!r} must be written TOPIC/HEIGHT")
        return cls(topic, int(height))

    def __str__(self) -> str:
        return f"{self.topic}/{self.height}"


class Proof:
    """The slot for a message's portable signature, shared by every copy of that message.

    An own vote loops back through the engine before the turn's signature exists; what nests it
    meanwhile shares the slot, and the signing fills it for all (DESIGN, signatures). The core never
    looks inside.
    """

    __slots__ = ("signature",)

    def __init__(self, signature: object | None = None) -> None:
        self.signature = signature


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the protocol; `source` is a validator's index, rounds count from 1.

    `prepared_round` 0 and `prepared_value` None mean "nothing prepared". `justification` is one
    level deep: nested messages carry none (REFERENCE rule 4). `proof` takes no part in equality or
    hashing.
    """

    type: MessageType
    instance: Hashable
    source: int
    round: int
    value: Value | None = None
    prepared_round: int = 0
    prepared_value: Value | None = None
    justification: tuple[Message, ...] = ()
    proof: Proof | None = field(default=None, compare=False, repr=False)

    def stripped(self) -> Message:
        """The same message without its justification, as it is nested in others."""
        if not self.justification:
            return self
        return Message(
            self.type,
            self.instance,
            self.source,
            self.round,
            self.value,
            self.prepared_round,
            self.prepared_value,
            (),
            self.proof,
        )


@dataclass(frozen=True, slots=True)
class OwnVote:
    """A vote that this process cast; with a COMMIT also the PREPAREs that led to it (W1)."""

    vote: Message
    prepares: tuple[Message, ...] = ()


Leader = Callable[[Hashable, int], int]
"""leader(instance, round) -> the index of the validator that sends that round's PRE-PREPARE."""


@dataclass(frozen=True)
class Definition:
    """What all engines of a cluster share: how many validators, and who leads.

    `fifo_messages_max` bounds the messages kept of each sender (REFERENCE rule 14); `compares`
    turns on the comparison of the leader's value with the node's own (rules 32 and 33), which must
    stay off wherever votes are journaled (HARDENING D7).
    """

    nodes: int
    leader: Leader
    fifo_messages_max: int = 100
    """Messages of one source in an engine's log; the oldest goes."""
    compares: bool = False
    quorum: int = field(init=False)
    faulty: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "quorum", quorum(self.nodes))
        object.__setattr__(self, "faulty", max_faulty(self.nodes))
