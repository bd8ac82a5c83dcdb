"""Byzantine validators, one class for each way to lie, a module each.

They stand at the network, outside the engine: each runs a shipped replica, whose frames it bends on
their way out, and says things of its own. It holds its own key and what it has received, nothing
else; what it sends passes the gate of the wire as any frame does.
"""

from __future__ import annotations

from qbft.sim.byzantine.behaviour import Behaviour, Hands
from qbft.sim.byzantine.delayer import Delayer
from qbft.sim.byzantine.equivocating_leader import EquivocatingLeader
from qbft.sim.byzantine.false_witness import FalseWitness
from qbft.sim.byzantine.invalid_proposer import INVALID, InvalidProposer
from qbft.sim.byzantine.justification_forger import JustificationForger
from qbft.sim.byzantine.phantom_opener import PhantomOpener
from qbft.sim.byzantine.replayer import Replayer
from qbft.sim.byzantine.round_spammer import RoundSpammer
from qbft.sim.byzantine.silent import Silent
from qbft.sim.byzantine.split_voter import SplitVoter
from qbft.sim.byzantine.withholder import Withholder

__all__ = ["BEHAVIOURS", "INVALID", "TWINS", "Behaviour", "Hands", "Silent"]

TWINS = "Twins"
"""The general case: one key, two correct replicas that know nothing of each other (C23). They need
no class; the world lets two nodes stand for one validator."""

BEHAVIOURS: dict[str, type[Behaviour]] = {
    kind.__name__: kind
    for kind in (
        Silent,
        EquivocatingLeader,
        SplitVoter,
        JustificationForger,
        Replayer,
        RoundSpammer,
        Withholder,
        Delayer,
        PhantomOpener,
        InvalidProposer,
        FalseWitness,
    )
}
"""By name, as `qbft.sim.plan.Liar` names them."""
