"""A node's account of one instance: how far it is, whose votes it has, and whom it hears.

An account is a node's own word. Nobody proves it: a faulty node may tell what it likes, and mislead
whoever looks for the cause of a standstill, but change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from qbft.core import InstanceId, MessageType

Validators = tuple[int, ...]
"""Indexes of validators, in ascending order."""


class InstanceState(StrEnum):
    """How a node stands in an instance, in the words that people are shown."""

    UNKNOWN = "unknown"
    """Never heard of."""

    HELD = "held"
    """Only votes wait for it; nothing has opened it."""

    OPEN = "open"
    BARE = "decided without bytes"
    """The decision is proven, but the value's bytes are not here yet."""

    DECIDED = "decided"
    QUARANTINED = "not voting in it"
    """The node keeps out: its votes may be lost, or its engine met a bug."""

    LET_GO = "let go"
    """So many peers keep it no more that no quorum is left."""

    BELOW_MARK = "deleted"
    """Below this node's low-water mark."""


@dataclass(frozen=True, slots=True)
class InstanceAccount:
    """What one node says of one instance.

    All but `state`, `held_of` and `waits_for_place_of` is of open ones.

    `round` is the engine's, or that of the decision; `cast` are the types of the node's own votes
    of that round. `pre_prepares` to `round_changes` name the validators whose votes of that round
    the engine has, `later` those of whom it has votes of later rounds. `awaits_bytes_of` and
    `awaits_check_of` name whose messages wait for a value's bytes or for the application, or whose
    value that the node could adopt does; `found_invalid_of` whose PRE-PREPARE of that round has a
    value that the application finds invalid, `not_adopted_of` whose value it could else adopt,
    `dropped_of` of whose messages something found no room, `waits_for_place_of` whose
    proposal waits until the node may open more of that peer's. `guarded`: the topic asks for signed
    proposals; `adopts`: a node without an input takes another's. `timer_ms` is in how many
    milliseconds the round timer runs out, None if it does not run; `waits_for_company`: it has not
    begun, because no quorum is known to be in this round.
    """

    instance: InstanceId
    state: InstanceState
    round: int = 0
    cast: tuple[MessageType, ...] = ()
    pre_prepares: Validators = ()
    prepares: Validators = ()
    commits: Validators = ()
    round_changes: Validators = ()
    later: Validators = ()
    prepared_round: int = 0
    has_input: bool = False
    guarded: bool = False
    adopts: bool = True
    awaits_bytes_of: Validators = ()
    awaits_check_of: Validators = ()
    found_invalid_of: Validators = ()
    not_adopted_of: Validators = ()
    dropped_of: Validators = ()
    held_of: Validators = ()
    waits_for_place_of: Validators = ()
    timer_ms: int | None = None
    waits_for_company: bool = False
    leader: int = 0
    next_leader: int = 0


@dataclass(frozen=True, slots=True)
class PeerAccount:
    """Another node as seen from one.

    `connected`: the link over which it is told things is up. `last_heard_ms` is how long ago it
    said something, None for never. `rejects` are (reason, count) of what was refused of it and
    `bounds` (name, count) of limits that it ran into, in all instances and as long as the node has
    run.
    """

    validator: int
    connected: bool
    last_heard_ms: int | None = None
    rejects: tuple[tuple[str, int], ...] = ()
    bounds: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class NodeAccount:
    """What one node says of an instance, and of its peers in general."""

    validator: int
    voting: bool
    about: InstanceAccount
    peers: tuple[PeerAccount, ...] = ()

    def is_linked_to(self, peer: int) -> bool:
        """Whether its link to a peer is up; where it says nothing of it, that is assumed."""
        return next((each.connected for each in self.peers if each.validator == peer), True)

    def rejects_of(self, peer: int) -> tuple[tuple[str, int], ...]:
        """What it refused of a peer."""
        return next((each.rejects for each in self.peers if each.validator == peer), ())
