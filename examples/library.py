"""Agreement among asyncio tasks in one process: no node, no disk, no keys. `python library.py`."""

from __future__ import annotations

import asyncio

from qbft import Decision, Definition, run
from qbft.memory import MemoryNetwork
from qbft.timers import increasing

PROCESSES = 4


async def agree(values: list[str]) -> list[Decision]:
    """Let each process propose its own value; all return the same one."""
    definition = Definition(PROCESSES, lambda _, round_: round_ % PROCESSES)
    network = MemoryNetwork(PROCESSES)
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(
                run(
                    definition,
                    "lunch",
                    process,
                    network.transport(process),
                    timer=increasing()(),
                    input_value=value,
                )
            )
            for process, value in enumerate(values)
        ]
    return [task.result() for task in running]


if __name__ == "__main__":
    for process, decision in enumerate(asyncio.run(agree(["ramen", "pizza", "tacos", "salad"]))):
        print(f"process {process} decided {decision.value!r} in round {decision.round}")
