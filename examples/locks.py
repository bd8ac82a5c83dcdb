"""Locks over an ordered topic: first come, first served, and no lock server anywhere.

Whoever uses the locks reads the same log and computes the same queues. A claim's position in the
log is its token, higher for each later holder: what the lock protects can refuse one that was too
slow to notice that it had lost the lock (a fencing token).

    qbft init mycluster --ordered locks/      # and start its nodes, see the README
    python locks.py mycluster/cluster.toml backup sh -c 'echo $TOKEN holds it; sleep 5'
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator

from qbft.client import Client
from qbft.ordered import LogEntry, Position

TOPIC = "locks/all"
PATIENCE_SECONDS = 10.0
"""A holder that gives no sign of life for so long is evicted by whoever waits behind it."""


class Queues:
    """The state: who waits for which lock, the holder first. It follows from the entries alone."""

    def __init__(self) -> None:
        self._claims: dict[str, dict[str, Position]] = {}

    def apply(self, entry: LogEntry) -> str | None:
        """Take the next entry of the log; gives the claim of which it is a sign of life."""
        try:
            said = json.loads(entry.value)
            what, lock, claim = str(said["what"]), str(said["lock"]), str(said["claim"])
        except (ValueError, TypeError, LookupError, RecursionError):
            return None  # who may append may append anything: all readers pass over it alike
        queue = self._claims.setdefault(lock, {})
        if what == "claim":
            queue.setdefault(claim, entry.position)
        elif what in {"release", "evict"}:
            queue.pop(claim, None)
        return claim if what in {"claim", "alive"} else None

    def holder(self, lock: str) -> tuple[str, Position] | None:
        """The claim that holds the lock, and its token."""
        return next(iter(self._claims.get(lock, {}).items()), None)


class Locks:
    """The locks of a topic, for one process; each `hold` reads the log from its beginning."""

    def __init__(self, client: Client, topic: str = TOPIC) -> None:
        self._client = client
        self._topic = topic

    @contextlib.asynccontextmanager
    async def hold(self, lock: str, patience: float = PATIENCE_SECONDS) -> AsyncIterator[Position]:
        """Wait for a lock, and hold it while the block lasts; gives the token."""
        claim = secrets.token_hex(16)
        await self._say("claim", lock, claim)
        async with asyncio.TaskGroup() as tasks:
            living = tasks.create_task(self._live(lock, claim, patience / 3))
            try:
                yield await self._turn_of(lock, claim, patience)
            finally:
                living.cancel()
                await self._say("release", lock, claim)

    async def _say(self, what: str, lock: str, claim: str) -> None:
        said = json.dumps({"what": what, "lock": lock, "claim": claim})
        await self._client.append(self._topic, said.encode())

    async def _live(self, lock: str, claim: str, pause: float) -> None:
        """Give signs of life, waiting and holding."""
        while True:
            await asyncio.sleep(pause)
            await self._say("alive", lock, claim)

    async def _turn_of(self, lock: str, claim: str, patience: float) -> Position:
        """Read until the claim holds the lock; its own signs of life come by at the least."""
        queues, heard = Queues(), dict[str, float]()
        now = asyncio.get_running_loop().time
        async with contextlib.aclosing(self._client.watch_entries(self._topic)) as entries:
            async for entry in entries:
                alive = queues.apply(entry)
                if alive is not None:
                    heard[alive] = now()
                holder = queues.holder(lock)
                if holder is None:
                    continue
                if holder[0] == claim:
                    return holder[1]
                if now() - heard.setdefault(holder[0], now()) > patience:
                    heard[holder[0]] = now()  # once, until that is read
                    await self._say("evict", lock, holder[0])
        raise AssertionError("unreachable: the log has no end")


async def main(cluster_file: str, lock: str, *command: str) -> int:
    """Run a command while the lock is held; gives its exit code."""
    async with Client(cluster_file) as client, Locks(client).hold(lock) as token:
        environment = {**os.environ, "TOKEN": str(token)}
        process = await asyncio.create_subprocess_exec(*command, env=environment)
        return await process.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
