"""All attacks, by name: what each does, of which family it is, and which SCENARIOS it plays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from attacks import floods, strangers
from attacks.behaving import behave, newer_version, twins
from attacks.behaviours import LastMoment, OtherBytes
from attacks.liar import Liar

from qbft.sim.byzantine import BEHAVIOURS, Behaviour

Family = Literal["votes", "bytes", "floods", "strangers"]


@dataclass(frozen=True)
class Attack:
    """`shows` is what it does, in a line; `listens`: it reads what the others send.

    `leaves`: it leaves instances open, so that what is played after it needs a fresh cluster.
    `speaks`: nodes take frames in from it, as from a member that says something.
    `prepares`: it says when it is under way.
    """

    family: Family
    shows: str
    run: Callable[[Liar], Awaitable[None]]
    rows: str = ""
    listens: bool = True
    leaves: bool = False
    speaks: bool = True
    prepares: bool = False


def _behaving(
    kind: type[Behaviour], shows: str, rows: str, *, leaves: bool = False, speaks: bool = True
) -> Attack:
    return Attack("votes", shows, behave(kind), rows, listens=False, leaves=leaves, speaks=speaks)


def _stranger(
    shows: str, run: Callable[[Liar], Awaitable[None]], *, prepares: bool = False
) -> Attack:
    return Attack("strangers", shows, run, "F16", speaks=False, prepares=prepares)


ATTACKS: dict[str, Attack] = {
    "equivocating": _behaving(
        BEHAVIOURS["EquivocatingLeader"], "two values, and votes for both", "B3, B16"
    ),
    "splitting": _behaving(BEHAVIOURS["SplitVoter"], "votes for every value it hears of", "C1"),
    "forging": _behaving(
        BEHAVIOURS["JustificationForger"], "claims that nothing proves", "C6, C21"
    ),
    "replaying": _behaving(BEHAVIOURS["Replayer"], "old votes, also as others", "C13, C14"),
    "spamming": _behaving(BEHAVIOURS["RoundSpammer"], "ROUND-CHANGEs up to the last round", "C18"),
    "withholding": _behaving(BEHAVIOURS["Withholder"], "no COMMITs or no bytes for some", "B15"),
    "delaying": _behaving(BEHAVIOURS["Delayer"], "leads at 90 % of the round", "B13, C22"),
    "last moment": _behaving(LastMoment, "leads two nodes, 10 ms before the round ends", "B12"),
    "other bytes": _behaving(OtherBytes, "values that are not what it votes for", "F11, B15"),
    "twins": Attack("votes", "two correct replicas with one key", twins, "C23", listens=False),
    "newer version": Attack(
        "votes", "a replica with fields unknown here", newer_version, "F13", listens=False
    ),
    "opening": _behaving(
        BEHAVIOURS["PhantomOpener"], "instances nobody asked for", "C17", leaves=True
    ),
    "forgetting": _behaving(BEHAVIOURS["FalseWitness"], "false marks and memories", ""),
    "silent": _behaving(BEHAVIOURS["Silent"], "nothing at all", "C22", speaks=False),
    "bad frames": Attack(
        "bytes", "each bad frame there is", floods.bad_frames, "F1 to F10, F12, F14, F15, F18, F19"
    ),
    "oversize frames": Attack(
        "bytes", "messages of 16 MiB", floods.oversize_frames, "F2", speaks=False
    ),
    "false signatures": Attack(
        "bytes", "256 votes under another's signature", floods.false_signatures, "F3, F17"
    ),
    "justification bombs": Attack(
        "bytes",
        "PREPAREs that are false, 512 sets a frame",
        floods.justification_bombs,
        "C6, F8, F17",
    ),
    "rogue certificates": Attack(
        "bytes", "certificates with a rogue COMMIT", floods.rogue_certificates, "C8, C9"
    ),
    "future rounds": Attack(
        "floods", "votes for later rounds", floods.future_rounds, "C18", leaves=True
    ),
    "many instances": Attack(
        "floods", "opens instances without end", floods.many_instances, "C17", leaves=True
    ),
    "instances of one": Attack(
        "floods", "the same, each at one node", floods.instances_of_one, "C17", leaves=True
    ),
    "large values": Attack(
        "floods", "the same with values of 1 MiB", floods.large_values, "F2", leaves=True
    ),
    "votes for nothing": Attack(
        "floods", "COMMITs of unknown instances", floods.votes_for_nothing, "C17", leaves=True
    ),
    "replays": Attack("floods", "what was heard, 200 times", floods.replays, "C12, C13, C14"),
    "resend loops": Attack("floods", "asks for everything, for ever", floods.resend_loops, "C11"),
    "deaf links": Attack(
        "floods", "asks, and reads nothing", floods.deaf_links, "F16", listens=False
    ),
    "broken links": Attack(
        "floods",
        "streams that come and go",
        floods.broken_links,
        "C16, F14, F16",
        speaks=False,
    ),
    "slow streams": _stranger("a byte a second", strangers.slow_streams),
    "half handshakes": _stranger("knock and go", strangers.half_handshakes),
    "connection storm": _stranger("connect and go", strangers.connection_storm),
    "cheap calls": _stranger("asks for the status, and again", strangers.cheap_calls),
    "unread replies": _stranger("large reads, never read", strangers.unread_replies),
    "calls without a request": _stranger(
        "begun, and no more", strangers.calls_without_a_request, prepares=True
    ),
    "unfinished requests": _stranger(
        "all but the last byte", strangers.all_but_the_last_byte, prepares=True
    ),
    "unread streams": _stranger(
        "proposals, replies never read", strangers.unread_streams, prepares=True
    ),
    "no requests": _stranger("bytes that are no message", strangers.no_requests),
}
"""By name."""
