"""The table beside the sentence: one row for each node, with whom it lacks what from and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from qbft.diagnosis.account import InstanceState, NodeAccount, Validators
from qbft.diagnosis.situation import Situation
from qbft.diagnosis.words import kind_text

REASONS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One node: `why_silent` is "" for one that answered, all else is empty for one that did not.

    `lacks` says in words what it needs next and from whom; `links_down` are the peers that it
    cannot tell anything; `refused` are the reject reasons of its peers that occurred most often,
    `limits` the bounds that they ran into most often, in all instances since it was started;
    `timer_ms` is when its round timer runs out, None if it does not run.
    """

    node: int
    why_silent: str = ""
    voting: bool = False
    state: str = ""
    round: int = 0
    cast: tuple[str, ...] = ()
    lacks: str = ""
    links_down: Validators = ()
    refused: str = ""
    limits: str = ""
    timer_ms: int | None = None
    leader: int | None = None


def rows_of(situation: Situation, unwilling: Mapping[int, str]) -> tuple[NodeRow, ...]:
    """Give a row for each node that was asked, those that would not tell among them."""
    whys = {**situation.why_silent, **unwilling}
    return tuple(
        NodeRow(node, why_silent=whys[node]) if node in whys else _row(situation, node)
        for node in sorted({*situation.accounts, *whys})
    )


def _row(situation: Situation, node: int) -> NodeRow:
    account = situation.accounts[node]
    about = account.about
    is_open = about.state is InstanceState.OPEN
    return NodeRow(
        node,
        voting=account.voting,
        state=str(about.state),
        round=about.round,
        cast=tuple(kind_text(kind) for kind in about.cast),
        lacks=_lacks(situation, node),
        links_down=tuple(peer.validator for peer in account.peers if not peer.connected),
        refused=_most_often({peer.validator: peer.rejects for peer in account.peers}),
        limits=_most_often({peer.validator: peer.bounds for peer in account.peers}),
        timer_ms=about.timer_ms,
        leader=about.leader if is_open else None,
    )


def _lacks(situation: Situation, node: int) -> str:
    about = situation.about(node)
    parts = []
    if about.waits_for_place_of:
        parts.append(f"a place for the proposal of {_list(about.waits_for_place_of)}")
    if about.awaits_bytes_of:
        parts.append(f"the bytes of the value of {_list(about.awaits_bytes_of)}")
    if about.awaits_check_of:
        parts.append("its application's answer")
    want = situation.want(node)
    if want is not None:
        whys: dict[str, list[int]] = {}
        for source in want.missing:
            whys.setdefault(situation.why_missing(node, source, want.kind), []).append(source)
        of = "; ".join(f"{_list(sources)}: {why}" for why, sources in whys.items())
        parts.append(f"{kind_text(want.kind)} of {of}" if of else f"{kind_text(want.kind)} of none")
    elif about.state is InstanceState.OPEN and not (about.has_input or about.prepared_round):
        parts.append("a value to propose")
    if about.waits_for_company:
        parts.append("a quorum in its round")
    return "; ".join(parts)


def _most_often(by_peer: Mapping[int, tuple[tuple[str, int], ...]]) -> str:
    counts = [(n, peer, why) for peer, told in by_peer.items() for why, n in told]
    worst = sorted(counts, key=lambda each: (-each[0], each[1], each[2]))[:REASONS_SHOWN]
    return ", ".join(f"{count} {why} of {peer}" for count, peer, why in worst)


def _list(nodes: Validators | list[int]) -> str:
    return ", ".join(map(str, nodes))


def waits_for(account: NodeAccount, nodes: int) -> str:
    """What one node of so many waits for in an instance, by its own word alone."""
    about = account.about
    if about.awaits_bytes_of:
        return f"the bytes of the value of {_list(about.awaits_bytes_of)}"
    if about.awaits_check_of:
        return "its application's answer"
    if about.state is not InstanceState.OPEN:
        return ""
    want = Situation({account.validator: account}, {}, nodes).want(account.validator)
    if want is not None:
        return f"{kind_text(want.kind)} of {_list(want.missing)}"
    return "" if about.has_input or about.prepared_round else "a value to propose"
