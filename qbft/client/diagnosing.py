"""Why an instance is not decided: every node's account of it, held together (`qbft why`).

A faulty node may say what it likes, but that the instance is decided: that is believed of F+1, or
of a certificate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from qbft.client.asking import Asking
from qbft.client.errors import ClientError, Refused
from qbft.client.node import NodeLink
from qbft.client.reading import decision_in
from qbft.core import InstanceId
from qbft.diagnosis import Diagnosis, NodeAccount, deciders, diagnose
from qbft.wire.accounts import account_from_pb


async def diagnosis(
    asking: Asking, instance: InstanceId, seconds: float, known: Mapping[int, NodeAccount]
) -> Diagnosis:
    """Ask every node how it stands in an instance, but those whose accounts are `known`."""
    nodes = asking.roster.nodes
    told: dict[int, NodeAccount | str] = dict(known)
    unwilling: dict[int, str] = {}

    async def ask(link: NodeLink) -> None:
        try:
            reply = await link.inspect(instance, seconds)
            told[link.node] = account_from_pb(reply, instance, link.node, nodes)
        except Refused as refusal:
            unwilling[link.node] = str(refusal)
        except (ClientError, ValueError) as failure:
            told[link.node] = str(failure)

    await asyncio.gather(*(ask(link) for link in asking.links if link.node not in told))
    is_proven = await _has_proof(asking, instance, deciders(told), seconds)
    return diagnose(instance, told, nodes, unwilling, is_proven=is_proven)


async def _has_proof(
    asking: Asking, instance: InstanceId, nodes: Sequence[int], seconds: float
) -> bool:
    """Whether one of F nodes that say that an instance is decided shows it; more need not."""
    for node in nodes if len(nodes) <= asking.roster.faulty else ():
        try:
            decision_in(
                await asking.links[node].get(instance, seconds), asking.belief, node, instance
            )
        except ClientError:
            continue
        return True
    return False
