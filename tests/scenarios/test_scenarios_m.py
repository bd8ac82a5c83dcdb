"""What the bare engine does on a broken network: the reason for the replica's cures."""

from __future__ import annotations

from scenario_cluster import Plot, for_seeds, play

from qbft.core import Message
from qbft.timers import constant

DEAD_LINKS = ({0, 2}, {1, 3})


def is_on_a_dead_link(source: int, to: int, message: Message) -> bool:
    """Whether the message would have to cross one of the two dead links."""
    return {source, to} in DEAD_LINKS


async def test_m08_two_dead_links_stall_the_bare_engine() -> None:
    """SCENARIOS M8, D28: over `run()` only the leader can prepare; no decision ever, no fork."""

    async def scenario(seed: int) -> None:
        plot = Plot(
            timer=constant(1_000),
            copy_delay_ms=(1, 30),
            drops=is_on_a_dead_link,
            rounds_max=12,
        )
        stage = await play(plot, seed)
        assert not stage.decisions

    await for_seeds(scenario)
