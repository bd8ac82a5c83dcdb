"""Propose a value to a running cluster, and read it back from every node.

qbft init mycluster            # and start its nodes, see the README
python examples/propose.py mycluster/cluster.toml
"""

from __future__ import annotations

import asyncio
import sys

from qbft.client import Client, NoDecision


async def main(cluster_file: str) -> None:
    """Whatever the client gives has been verified; so the nodes need no trust."""
    async with Client(cluster_file) as client:
        decision = await client.propose("prices/btc", 17, b"64123.50")
        print("decided in round", decision.round, decision.value)
        for node in range(len(client.cluster.validators)):
            try:
                print("node", node, (await client.get("prices/btc", 17, node=node)).value)
            except NoDecision as answer:  # it lags; the others have the certificate
                print("node", node, answer)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
