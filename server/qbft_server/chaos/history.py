"""What clients saw in a run, event by event: all that the checker knows.

Times are seconds of one monotonic clock. `began` is when a call was sent, `at` when its answer was
there: of two calls to a node the second is later only if it began after the first had ended.
"""

from __future__ import annotations

from dataclasses import dataclass

from qbft.core import InstanceId
from qbft.ordered import Position


@dataclass(frozen=True, slots=True)
class Proposed:
    """A client is about to ask for this value."""

    at: float
    instance: InstanceId
    value: bytes


@dataclass(frozen=True, slots=True)
class Told:
    """A decision was told: to its proposer, to a reader or to a watcher.

    `by` is the one node that must have told it, None where it may be any. `flaw` says why its
    certificate proves nothing, None where it does; `is_reply` whether a proposer was answered;
    `is_batch` that nodes made it of what clients appended, so that nobody proposed it as it is.
    """

    at: float
    instance: InstanceId
    value: bytes
    by: int | None = None
    flaw: str | None = None
    is_reply: bool = False
    is_batch: bool = False


@dataclass(frozen=True, slots=True)
class NotDecided:
    """A node said that it has no decision for this instance."""

    began: float
    at: float
    node: int
    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Listed:
    """A node listed a topic between two heights, both included; `end` None is up to its last."""

    began: float
    at: float
    node: int
    topic: str
    start: int
    end: int | None
    heights: frozenset[int]


@dataclass(frozen=True, slots=True)
class Watching:
    """A reader begins to follow a topic by height, from 0; from then on it has to get it all."""

    at: float
    reader: str
    topic: str


@dataclass(frozen=True, slots=True)
class Watched:
    """The next decision that a reader of a topic got, by height, from 0."""

    at: float
    reader: str
    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Followed:
    """The next decision that the one follower of a node's own order got, through all cursors."""

    at: float
    node: int
    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Appending:
    """A client is about to append this to the ordered topic, under its name for it."""

    at: float
    request: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A client was told, with a proof, where its entry stands."""

    at: float
    request: bytes
    position: Position


@dataclass(frozen=True, slots=True)
class Reading:
    """A reader begins to follow the ordered topic; from then on it has to get every entry."""

    at: float
    reader: str


@dataclass(frozen=True, slots=True)
class Entered:
    """The next entry that a reader of the ordered topic got, from its first one on."""

    at: float
    reader: str
    position: Position
    request: bytes
    value: bytes
    is_void: bool = False


@dataclass(frozen=True, slots=True)
class Replayed:
    """A node's whole order, read at the end from its beginning, in one go."""

    at: float
    node: int
    instances: tuple[InstanceId, ...]


@dataclass(frozen=True, slots=True)
class Wiped:
    """A node lost its data directory and got a new one: what it said before is not its word."""

    at: float
    node: int


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the faults leave from now on.

    `is_able`: no link is disturbed, and no more nodes are down or faulty than may be, so that open
    instances must be decided. `down` is how many are.
    """

    at: float
    is_able: bool
    down: int


@dataclass(frozen=True, slots=True)
class Misbehaved:
    """Something happened that never may, and that is no answer: a node ended by itself."""

    at: float
    what: str


LogEvent = Appending | Acknowledged | Reading | Entered
"""What clients of the ordered topic saw."""

Event = (
    Proposed
    | Told
    | NotDecided
    | Listed
    | Watching
    | Watched
    | Followed
    | LogEvent
    | Replayed
    | Wiped
    | Conditions
    | Misbehaved
)
