"""The upon rules of Algorithms 2 and 3, by the lines of the paper that state them."""

from enum import Enum


class UponRule(Enum):
    """Why an engine acted; the value is the name under which it is traced and counted."""

    # Members are singletons: their identity hashes faster than Enum's hash of their name, and the
    # hot path looks them up in a set.
    __hash__ = object.__hash__

    JUSTIFIED_PRE_PREPARE = "justified_pre_prepare"
    """Algorithm 2:1. A justified PRE-PREPARE of this round or a later one."""

    QUORUM_PREPARES = "quorum_prepares"
    """Algorithm 2:4. A quorum of PREPAREs of this round for one value."""

    QUORUM_COMMITS = "quorum_commits"
    """Algorithm 2:8. A quorum of COMMITs of this round for one value."""

    ROUND_TIMEOUT = "round_timeout"
    """Algorithm 3:1. The round timer expired."""

    F_PLUS_1_ROUND_CHANGES = "f_plus_1_round_changes"
    """Algorithm 3:5. ROUND-CHANGEs of F+1 sources for later rounds."""

    QUORUM_ROUND_CHANGES = "quorum_round_changes"
    """Algorithm 3:11. A justified quorum of ROUND-CHANGEs, at the leader."""

    UNJUST_QUORUM_ROUND_CHANGES = "unjust_quorum_round_changes"
    """A quorum of ROUND-CHANGEs that Algorithm 4 does not justify (yet): observed, not acted on."""

    JUSTIFIED_DECIDED = "justified_decided"
    """Algorithm 3:17, at the receiver. A DECIDED that carries its quorum of COMMITs."""
