"""What keeps an instance from its decision: one function for each cause, in words for people.

Each takes the situation and gives its finding, or None where it is not the cause. `FINDERS` has
them in the order in which they explain: what comes first makes what follows hopeless.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from qbft.core import MessageType
from qbft.diagnosis.account import InstanceState, Validators
from qbft.diagnosis.situation import Situation
from qbft.diagnosis.words import kind_text, nodes_text, verb


class Cause(StrEnum):
    """What a standstill comes from; scripts may rely on these names."""

    DECIDED = "decided"
    DELETED = "deleted"
    KEPT_OUT = "kept_out"
    NO_ANSWER = "no_answer"
    NOT_PROPOSED = "not_proposed"
    NO_QUORUM = "no_quorum"
    LINKS_CUT = "links_cut"
    NO_PLACE = "no_place"
    PROPOSAL_MISSING = "proposal_missing"
    LEADER_DOWN = "leader_down"
    NO_VALUE = "no_value"
    BYTES_MISSING = "bytes_missing"
    APPLICATION_SILENT = "application_silent"
    VALUE_INVALID = "value_invalid"
    ROUNDS_APART = "rounds_apart"
    VOTES_MISSING = "votes_missing"
    NODE_OUT = "node_out"
    LINK_DOWN = "link_down"
    UNTOLD = "untold"
    SAID_DECIDED = "said_decided"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause, the nodes that it is about, and a clause that says it."""

    cause: Cause
    nodes: Validators
    text: str


Finder = Callable[[Situation], Finding | None]


def decided(situation: Situation) -> Finding | None:
    """It is decided at least at one node; the others learn it by themselves once they are linked.

    F nodes may say so of what is not: then only a certificate proves it (`said_decided`).
    """
    done = situation.done
    if not done or not situation.is_decided:
        return None
    text = f"it is decided, in round {min(situation.about(node).round for node in done)}"
    bare = [n for n in done if situation.about(n).state is InstanceState.BARE]
    if bare:
        text += f"; {nodes_text(bare)} {verb(bare, 'lacks', 'lack')} the bytes of the value"
    late = tuple(node for node in situation.accounts if node not in done)
    late = tuple(n for n in late if situation.about(n).state is not InstanceState.BELOW_MARK)
    if late:
        text += f"; {nodes_text(late)} {verb(late, 'has', 'have')} not learnt it yet"
    return Finding(Cause.DECIDED, late, text)


def deleted(situation: Situation) -> Finding | None:
    """Enough nodes keep it no more: it will not be decided any more."""
    gone = _gone(situation)
    if situation.nodes - len(gone) >= situation.quorum:
        return None
    return Finding(
        Cause.DELETED, gone, f"{nodes_text(gone)} {verb(gone, 'keeps', 'keep')} it no more"
    )


def kept_out(situation: Situation) -> Finding | None:
    """So many nodes never vote in it that the others are no quorum: no new vote decides it.

    An old one may that is still on its way: of a node that has lost its votes, in its round.
    """
    out = tuple(
        n for n in situation.accounts if situation.about(n).state is InstanceState.QUARANTINED
    )
    voting = situation.nodes - len(out) - len(_gone(situation))
    if not out or voting >= situation.quorum:
        return None
    text = (
        f"{nodes_text(out)} {verb(out, 'keeps', 'keep')} out of it, which leaves {voting} of "
        f"{situation.nodes} where {situation.quorum} must vote: no new vote will decide it in "
        f"this epoch; propose at another height, and abandon this one at each node"
    )
    return Finding(Cause.KEPT_OUT, out, text)


def no_answer(situation: Situation) -> Finding | None:
    """Nobody answers: nothing is known."""
    if situation.accounts or situation.untold:
        return None
    return Finding(Cause.NO_ANSWER, situation.silent, "no node answers")


def no_quorum(situation: Situation) -> Finding | None:
    """Fewer nodes than a quorum answer and vote."""
    if situation.may_be_quorum(situation.voters):
        return None
    silent = situation.silent
    mute = _mute(situation)
    parts = []
    if silent:
        parts.append(f"{nodes_text(silent)} {verb(silent, 'does', 'do')} not answer")
    if mute:
        parts.append(f"{nodes_text(mute)} {verb(mute, 'does', 'do')} not vote")
    voting = len(situation.voters)
    text = (
        f"{' and '.join(parts)}, which leaves {voting} of {situation.nodes} "
        f"where {situation.quorum} must vote"
    )
    return Finding(Cause.NO_QUORUM, (*silent, *mute), text)


def not_proposed(situation: Situation) -> Finding | None:
    """Nobody has it open: nothing was proposed, or it reached nobody that answers."""
    if situation.open or situation.untold or _waiting_for_place(situation):
        return None
    held = [node for node in situation.voters if situation.about(node).held_of]
    if held:
        votes = verb(held, "holds", "hold")
        text = (
            f"no node that answers has it open; {nodes_text(held)} {votes} votes of others for it"
        )
        return Finding(Cause.PROPOSAL_MISSING, tuple(held), text)
    return Finding(Cause.NOT_PROPOSED, (), "no node that answers has been given a proposal for it")


def links_cut(situation: Situation) -> Finding | None:
    """So many links are down that fewer than a quorum of nodes hear a quorum."""
    voters = situation.voters
    deaf = tuple(
        node
        for node in voters
        if not situation.may_be_quorum(tuple(o for o in voters if situation.hears(node, o)))
    )
    hearing = tuple(node for node in voters if node not in deaf)
    if situation.may_be_quorum(hearing) or not _voters_cut(situation):
        return None
    text = f"{nodes_text(deaf)} {verb(deaf, 'hears', 'hear')} no quorum: {_cut_text(situation)}"
    return Finding(Cause.LINKS_CUT, deaf, text)


def no_place(situation: Situation) -> Finding | None:
    """Nodes have a proposal for it, and open other instances first."""
    waiting = _waiting_for_place(situation)
    if situation.may_be_quorum(situation.open) or not waiting:
        return None
    askers = sorted({s for node in waiting for s in situation.about(node).waits_for_place_of})
    text = (
        f"{nodes_text(waiting)} {verb(waiting, 'has', 'have')} not opened it yet: the proposal "
        f"of {nodes_text(askers)} waits its turn, for {verb(askers, 'it asks', 'they ask')} for "
        f"more than others want"
    )
    return Finding(Cause.NO_PLACE, waiting, text)


def proposal_missing(situation: Situation) -> Finding | None:
    """Too few nodes have opened it: no proposal that they accept has reached the others."""
    waiting = _waiting_for_place(situation)
    without = tuple(n for n in situation.voters if n not in situation.open and n not in waiting)
    if situation.may_be_quorum(situation.open) or not without:
        return None
    kind = "signed proposal" if _is_guarded(situation) else "proposal"
    text = (
        f"{nodes_text(without)} {verb(without, 'has', 'have')} not opened it: "
        f"no {kind} for it has reached {verb(without, 'it', 'them')}"
    )
    return Finding(Cause.PROPOSAL_MISSING, without, text)


def leader_down(situation: Situation) -> Finding | None:
    """The leader of the round does not answer or vote, and its PRE-PREPARE has reached nobody."""
    if not situation.here or _is_under_way(situation):
        return None
    leader = situation.leader
    if leader in (*situation.voters, *situation.untold):
        return None
    does = "answer" if leader in situation.silent else "vote"
    text = f"node {leader}, which leads round {situation.round}, does not {does}"
    return Finding(Cause.LEADER_DOWN, (leader,), text)


def no_value(situation: Situation) -> Finding | None:
    """The leader is there and has nothing that it could propose, nor waits to be told if it may."""
    if not situation.here:
        return None
    leader = situation.leader
    if leader not in situation.here or situation.want(leader) is not None:
        return None
    about = situation.about(leader)
    if about.has_input or about.prepared_round or MessageType.PRE_PREPARE in about.cast:
        return None
    if about.awaits_check_of:
        return None
    if about.not_adopted_of:
        text = (
            f"node {leader}, which leads round {situation.round}, has no valid proposal: its "
            f"application finds invalid what came from {nodes_text(about.not_adopted_of)}"
        )
        return Finding(Cause.VALUE_INVALID, (leader,), text)
    if about.guarded:
        lacks = "has no signed proposal"
    elif about.adopts:
        lacks = "has no proposal"
    else:
        lacks = "has none of its own clients' proposals, and the topic takes no other"
    text = f"node {leader}, which leads round {situation.round}, {lacks}"
    return Finding(Cause.NO_VALUE, (leader,), text)


def bytes_missing(situation: Situation) -> Finding | None:
    """Nodes hold messages back because the bytes of their value have not come."""
    waiting = tuple(node for node in situation.here if situation.about(node).awaits_bytes_of)
    if not waiting:
        return None
    sources = sorted({s for node in waiting for s in situation.about(node).awaits_bytes_of})
    text = (
        f"{nodes_text(waiting)} {verb(waiting, 'lacks', 'lack')} the bytes of the value "
        f"that {nodes_text(sources)} {verb(sources, 'votes', 'vote')} for"
    )
    return Finding(Cause.BYTES_MISSING, waiting, text)


def application_silent(situation: Situation) -> Finding | None:
    """Nodes wait for their application to say whether the value is valid."""
    waiting = tuple(node for node in situation.here if situation.about(node).awaits_check_of)
    if not waiting:
        return None
    text = (
        f"{nodes_text(waiting)} {verb(waiting, 'waits', 'wait')} for "
        f"{verb(waiting, 'its', 'their')} application to check the value"
    )
    return Finding(Cause.APPLICATION_SILENT, waiting, text)


def value_invalid(situation: Situation) -> Finding | None:
    """So many nodes' applications find the leader's value invalid that no quorum votes for it."""
    refusing = tuple(
        n
        for n in situation.here
        if situation.about(n).leader in situation.about(n).found_invalid_of
    )
    others = tuple(node for node in situation.open if node not in refusing)
    if not refusing or situation.may_be_quorum(others):
        return None
    text = (
        f"the application of {nodes_text(refusing)} finds invalid what node {situation.leader}, "
        f"which leads round {situation.round}, proposes"
    )
    return Finding(Cause.VALUE_INVALID, refusing, text)


def rounds_apart(situation: Situation) -> Finding | None:
    """No quorum is in one round."""
    if situation.may_be_quorum(situation.here):
        return None
    rounds: dict[int, list[int]] = {}
    for node in situation.open:
        rounds.setdefault(situation.about(node).round, []).append(node)
    if len(rounds) < 2:
        return None
    where = ", ".join(
        f"{nodes_text(nodes)} in round {round_}" for round_, nodes in sorted(rounds.items())
    )
    return Finding(Cause.ROUNDS_APART, situation.open, f"no quorum is in one round: {where}")


def votes_missing(situation: Situation) -> Finding | None:
    """Votes were cast and are not where they are needed."""
    clauses: dict[tuple[int, MessageType, str], list[int]] = {}
    lacking: set[int] = set()
    for node in situation.here:
        want = situation.want(node)
        for source in want.missing if want is not None else ():
            why = situation.why_missing(node, source, want.kind) if want is not None else ""
            if want is not None and why.startswith("has cast it"):
                clauses.setdefault((node, want.kind, why), []).append(source)
                lacking.add(node)
    if not clauses:
        return None
    text = "; ".join(
        f"node {node} lacks the {kind_text(kind)} of {nodes_text(sources)}, which {why}"
        for (node, kind, why), sources in clauses.items()
    )
    return Finding(Cause.VOTES_MISSING, tuple(sorted(lacking)), text)


def node_out(situation: Situation) -> Finding | None:
    """Nodes that do not take part, where the others are enough."""
    out = (*situation.silent, *_mute(situation))
    if not out or not situation.may_be_quorum(situation.voters):
        return None
    text = f"{nodes_text(out)} {verb(out, 'takes', 'take')} no part, and the others are a quorum"
    return Finding(Cause.NODE_OUT, out, text)


def untold(situation: Situation) -> Finding | None:
    """Nodes that are there and do not tell this client how they stand."""
    nodes = situation.untold
    if not nodes:
        return None
    text = f"{nodes_text(nodes)} {verb(nodes, 'does', 'do')} not tell this client how they stand"
    return Finding(Cause.UNTOLD, nodes, text)


def said_decided(situation: Situation) -> Finding | None:
    """No more than F nodes say that it is decided, and none of them has proven it."""
    done = situation.done
    if not done or situation.is_decided:
        return None
    text = (
        f"{nodes_text(done)} {verb(done, 'says', 'say')} that it is decided, "
        f"and {verb(done, 'has', 'have')} shown no certificate"
    )
    return Finding(Cause.SAID_DECIDED, done, text)


def link_down(situation: Situation) -> Finding | None:
    """Links are down, though not so many that the others could not do without."""
    cut = situation.cut()
    if not cut or links_cut(situation) is not None:
        return None
    tellers = tuple(sorted({teller for teller, _ in cut}))
    return Finding(Cause.LINK_DOWN, tellers, _cut_text(situation))


FINAL = (Cause.NO_ANSWER, Cause.DECIDED, Cause.DELETED, Cause.KEPT_OUT, Cause.NOT_PROPOSED)
"""Where these are found, no vote is to be looked for."""

IN_PASSING = (Cause.NODE_OUT, Cause.LINK_DOWN, Cause.UNTOLD, Cause.SAID_DECIDED)
"""These keep nothing from its decision, and are told all the same."""

FINDERS: tuple[Finder, ...] = (
    no_answer,
    decided,
    deleted,
    kept_out,
    no_quorum,
    links_cut,
    not_proposed,
    no_place,
    proposal_missing,
    leader_down,
    no_value,
    bytes_missing,
    application_silent,
    value_invalid,
    rounds_apart,
    votes_missing,
    node_out,
    link_down,
    untold,
    said_decided,
)


def _mute(situation: Situation) -> Validators:
    done = situation.done
    return tuple(n for n in situation.accounts if n not in situation.voters and n not in done)


def _gone(situation: Situation) -> Validators:
    """Those that keep it no more."""
    states = (InstanceState.BELOW_MARK, InstanceState.LET_GO)
    return tuple(n for n in situation.accounts if situation.about(n).state in states)


def _waiting_for_place(situation: Situation) -> Validators:
    return tuple(n for n in situation.voters if situation.about(n).waits_for_place_of)


def _is_guarded(situation: Situation) -> bool:
    return any(situation.about(node).guarded for node in situation.open)


def _is_under_way(situation: Situation) -> bool:
    """Whether the round's PRE-PREPARE is anywhere."""
    return any(MessageType.PREPARE in situation.about(node).cast for node in situation.here)


def _voters_cut(situation: Situation) -> bool:
    return any(a in situation.voters and b in situation.voters for a, b in situation.cut())


def _cut_text(situation: Situation) -> str:
    links: dict[int, list[int]] = {}
    for teller, node in situation.cut():
        links.setdefault(teller, []).append(node)
    return "; ".join(
        f"the link from node {teller} to {nodes_text(nodes)} is down"
        for teller, nodes in links.items()
    )
