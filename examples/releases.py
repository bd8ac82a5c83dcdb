"""Which release runs in each window? Several programs propose, and all learn the one answer.

python releases.py mycluster/cluster.toml propose 1.4.0    # in the next window that is free
python releases.py mycluster/cluster.toml follow           # what is to run, window by window
"""

import asyncio
import sys

from qbft.client import Client

TOPIC = "releases/fleet"


async def propose(client: Client, release: str) -> None:
    """Propose for one window after the other, until this release is what was decided."""
    window = 0
    async for decision in client.list_decisions(TOPIC):
        window = decision.instance.height + 1
    while True:
        decision = await client.propose(TOPIC, window, release.encode())
        print(f"window {window}: {decision.value.decode()}")
        if decision.value == release.encode():
            return
        window += 1  # another's was decided: that is an answer, and no error


async def follow(client: Client) -> None:
    """Print what is decided, without gaps, as long as it runs."""
    async for decision in client.watch(TOPIC):
        print(f"window {decision.instance.height}: {decision.value.decode()}", flush=True)


async def main(cluster_file: str, what: str, *release: str) -> None:
    """Whatever the client gives is verified: no node is believed."""
    async with Client(cluster_file) as client:
        await (propose(client, *release) if what == "propose" else follow(client))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
