"""The algorithm: QBFT (Moniz, arXiv 2002.03613), as a pure state machine.

Nothing here knows of time, sockets, tasks, signatures or randomness: inputs go into
`Instance.step`, effects come out, and the same inputs always give the same effects.
"""

from qbft.core.effects import (
    Broadcast,
    Compare,
    Compared,
    Decide,
    Effect,
    Failed,
    Input,
    InputValue,
    RoundChanged,
    RuleFired,
    Start,
    StartTimer,
    StopTimer,
    TimerExpired,
    Unjustified,
)
from qbft.core.instance import Instance
from qbft.core.messages import (
    Definition,
    InstanceId,
    Leader,
    Message,
    MessageType,
    OwnVote,
    Proof,
    Value,
)
from qbft.core.quorum import max_faulty, quorum
from qbft.core.rules import UponRule

__all__ = [
    "Broadcast",
    "Compare",
    "Compared",
    "Decide",
    "Definition",
    "Effect",
    "Failed",
    "Input",
    "InputValue",
    "Instance",
    "InstanceId",
    "Leader",
    "Message",
    "MessageType",
    "OwnVote",
    "Proof",
    "RoundChanged",
    "RuleFired",
    "Start",
    "StartTimer",
    "StopTimer",
    "TimerExpired",
    "Unjustified",
    "UponRule",
    "Value",
    "max_faulty",
    "quorum",
]
