"""Why an instance is stuck: from what every node says of it to one sentence and a table.

Pure: no node is asked here. `account` is what a node says, `causes` what keeps an instance from its
decision, `findings` the words for it.
"""

from qbft.diagnosis.account import InstanceAccount, InstanceState, NodeAccount, PeerAccount
from qbft.diagnosis.diagnose import Diagnosis, deciders, diagnose
from qbft.diagnosis.findings import Cause, Finding
from qbft.diagnosis.table import NodeRow, waits_for

__all__ = [
    "Cause",
    "Diagnosis",
    "Finding",
    "InstanceAccount",
    "InstanceState",
    "NodeAccount",
    "NodeRow",
    "PeerAccount",
    "deciders",
    "diagnose",
    "waits_for",
]
