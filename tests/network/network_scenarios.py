"""What is done to the network of four real nodes, one program for each scenario (SCENARIOS, M).

    python -m network.network_scenarios NAME DIRECTORY

Runs in namespaces of its own, which `test_network.py` makes. Validator i is host i + 1, the clients
are host 10. It ends with 0 if all that is claimed held.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from itertools import count, islice
from pathlib import Path

from e2e.crash_cluster import votes_so_far
from e2e.service_clients import proposal, question, stub_of
from network.hub import Hub, Link, address_of, end_namespaces, make_namespace

from qbft.client import Client, NodeStatus
from qbft.core import InstanceId, MessageType
from qbft.crypto.roster import service_leader
from qbft.wire.v1 import decision_pb2 as pb
from qbft_server.initialise import init_cluster
from qbft_server.local import LocalCluster
from qbft_server.peers.limits import PeerLimits

NODES = range(4)
CLIENTS = 10
TOPIC = "network"
SECONDS = 90.0
AT_FIRST = 8
AT_ONCE = 200
LINKS = PeerLimits()
FOUND_SECONDS = LINKS.keepalive_seconds + LINKS.keepalive_timeout_seconds + 5
DIALLED_SECONDS = LINKS.backoff_seconds_max + LINKS.hello_seconds_max + 5
HALVED_SECONDS = 60.0
FIRST_ROUND_MS = 500
ROUND_CAP_MS = 60_000
PATIENT_ROUND_MS = 20_000
STEPS = 3
"""Messages that follow one another before anything is decided: PRE-PREPARE, PREPARE, COMMIT."""

CUT = Link(is_up=False)
HELD = Link(is_held=True)
MUTE = Link(is_mute=True)
ENVIRONMENT = {
    "QBFT_TIMER__FIRST_ROUND_MS": str(FIRST_ROUND_MS),
    "QBFT_TIMER__CAP_MS": str(ROUND_CAP_MS),
    "QBFT_LOG__LEVEL": "warning",
}


class Network(LocalCluster):
    """Four nodes, each on a host of its own."""

    hub: Hub
    namespaces: dict[int, int]
    begun: float
    """When the scenario began, on the monotonic clock."""

    def _command(self, node: int) -> list[str]:
        inside = ["nsenter", f"--net=/proc/{self.namespaces[node]}/ns/net"]
        return [*inside, *super()._command(node)]

    def cut(self, sources: Iterable[int], others: Iterable[int]) -> None:
        """Cut all links between these nodes and those, both ways."""
        self.hub.set([n + 1 for n in sources], [n + 1 for n in others], CUT)

    def cut_one_way(self, source: int, others: Iterable[int]) -> None:
        """Let nothing that this node says reach those."""
        for other in others:
            self.hub.set_one_way(source + 1, other + 1, CUT)

    def mute(self, source: int) -> None:
        """Let nothing that this node says reach another one, while it hears all of them."""
        for other in set(NODES) - {source}:
            self.hub.set_one_way(source + 1, other + 1, MUTE)

    def bound(self, down: int = 0) -> float:
        """Seconds within which all decide once the network has healed (docs/RELIABILITY.md).

        (2 + d) times the longest round, and 2 s. Rounds double up to their cap, so that none is
        longer than all that went before it together, and the first one.
        """
        so_far = time.monotonic() - self.begun + FIRST_ROUND_MS / 1_000
        return (2 + down) * min(so_far, ROUND_CAP_MS / 1_000) + 2

    def heights_led_by(self, node: int) -> Iterable[int]:
        """Heights whose first round this node leads."""
        leader = service_leader(self.cluster.roster)
        return (height for height in count() if leader(InstanceId(TOPIC, height), 1) == node)


@asynccontextmanager
async def network(
    directory: Path, environment: dict[str, str]
) -> AsyncIterator[tuple[Network, Client]]:
    """Four nodes that are ready, and a client that reaches all of them."""
    hub = Hub()
    holders = {node: make_namespace() for node in NODES}
    try:
        for node, (pid, _) in holders.items():
            hub.add_host(node + 1, pid)
        hub.add_host(CLIENTS, os.getpid())
        hub.start()
        hosts = [address_of(node + 1) for node in NODES]
        init_cluster(directory / "cluster", 4, hosts=hosts)
        async with Network(directory / "cluster", environment) as nodes:
            nodes.hub, nodes.namespaces = hub, {node: pid for node, (pid, _) in holders.items()}
            await nodes.start()
            await nodes.wait_until_ready()
            async with Client(nodes.cluster) as client:
                await decide(client, range(1_000, 1_004))
                yield nodes, client
        hub.stop()
    finally:
        end_namespaces(pipe for _, pipe in holders.values())


async def decide(client: Client, heights: Iterable[int]) -> list[float]:
    """Decide these heights one after the other; gives how long each took."""
    took = []
    for height in heights:
        begin = time.monotonic()
        decision = await client.propose(TOPIC, height, b"%d" % height, timeout=SECONDS)
        assert decision.value == b"%d" % height
        took.append(time.monotonic() - begin)
    return took


async def propose_at(
    nodes: Network, node: int, height: int, value: bytes, within: float = SECONDS
) -> bytes:
    """Propose at one node only; gives what was decided."""
    async with stub_of(nodes, node) as stub:
        reply = await stub.Propose(
            proposal(TOPIC, height, value), timeout=within, wait_for_ready=True
        )
    return bytes(reply.decision.value)


async def has_decided(nodes: Network, node: int, height: int) -> bytes | None:
    """What one node has for a height."""
    async with stub_of(nodes, node) as stub:
        reply = await stub.GetDecision(
            question(TOPIC, height), timeout=SECONDS, wait_for_ready=True
        )
    return reply.decision.value if reply.state == pb.DECISION_STATE_DECIDED else None


async def all_decide(
    nodes: Network, height: int, within: float, which: Iterable[int] = NODES
) -> bytes:
    """Wait until each of these has decided, all the same, within so many seconds."""
    values = set()
    async with asyncio.timeout(within):
        for node in which:
            while (value := await has_decided(nodes, node, height)) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            values.add(value)
    (value,) = values
    return value


# --- scenarios ------------------------------------------------------------------------------------


async def loss(nodes: Network, client: Client) -> None:
    """M1: 10 and 30 % of all packets between the nodes are lost, and they decide."""
    for share, heights in ((0.1, range(10)), (0.3, range(10, 15))):
        nodes.hub.set(range(1, 5), range(1, 5), Link(loss=share))
        nodes.hub.count()
        await decide(client, heights)
        counts = nodes.hub.count()
        print(f"{share:.0%}: {counts}")
        assert counts.lost > 0


async def heavy_loss_then_healed(nodes: Network, client: Client) -> None:
    """M2: half of all packets are lost for ten seconds; then all decide within the bound.

    At that moment some are undecided, proposed two seconds ago or more: healing lets them decide.
    """
    nodes.hub.set(range(1, 5), range(1, 5), Link(loss=0.5))
    heights = range(16)
    proposing = []
    for height in heights:
        if height >= AT_FIRST:
            await asyncio.sleep(1)
        deciding = client.propose(TOPIC, height, b"%d" % height, timeout=SECONDS)
        proposing.append(asyncio.create_task(deciding))
    await asyncio.sleep(2)
    told = await asyncio.gather(
        *(has_decided(nodes, node, height) for node in NODES for height in heights)
    )
    nodes.hub.heal()
    healed, within = time.monotonic(), nodes.bound()
    counts = nodes.hub.count()
    print(f"{counts}; undecided at healing {told.count(None)} of {len(told)}")
    assert counts.lost > 0
    assert None in told
    await asyncio.gather(*proposing)
    for height in heights:
        await all_decide(nodes, height, within - (time.monotonic() - healed))


async def copies_in_disorder(nodes: Network, client: Client) -> None:
    """M3: every packet comes twice, and late ones first: all decide, and no slot is voted in twice.

    TCP hides it from the nodes: what they feel is its delays.
    """
    nodes.hub.set(range(1, 5), range(1, 5), Link(jitter=0.05, copies=2))
    await decide(client, range(10))
    counts = nodes.hub.count()
    print(counts)
    assert min(counts.copied, counts.delayed, counts.overtaken) > 0, counts
    for height in range(10):
        assert await all_decide(nodes, height, SECONDS) == b"%d" % height
    for node in NODES:
        slots = [(v.instance, v.round, v.type) for v in votes_so_far(nodes, node)]
        assert len(slots) == len(set(slots)), slots


async def two_and_two(nodes: Network, client: Client) -> None:
    """M4: no decision in a 2/2 partition of 60 s; one value within the bound after it heals."""
    nodes.cut((0, 1), (2, 3))
    within = 4 * HALVED_SECONDS
    proposing = [
        asyncio.create_task(propose_at(nodes, node, 7, value, within))
        for node, value in ((0, b"left"), (2, b"right"))
    ]
    await asyncio.sleep(HALVED_SECONDS)
    assert not any(task.done() for task in proposing)
    assert [await has_decided(nodes, node, 7) for node in NODES] == [None] * len(NODES)
    nodes.hub.heal()
    healed = time.monotonic()
    within = nodes.bound()
    value = await all_decide(nodes, 7, within)
    print(f"decided everywhere {time.monotonic() - healed:.2f} s after healing, of {within:.0f} s")
    assert value in {b"left", b"right"}
    assert set(await asyncio.gather(*proposing)) == {value}


async def three_and_one(nodes: Network, client: Client) -> None:
    """M5: three decide; the fourth pulls what it missed when it is back."""
    nodes.cut((3,), (0, 1, 2))
    await decide(client, range(30))
    assert await has_decided(nodes, 3, 29) is None
    nodes.hub.heal()
    for height in (0, 15, 29):
        assert await all_decide(nodes, height, nodes.bound()) == b"%d" % height


async def leader_that_is_not_heard(nodes: Network, client: Client) -> None:
    """M6: the leader's words are lost and it hears all: another round, and it decides too.

    While they are lost: by what the others say, for it cannot ask them.
    """
    height = next(iter(nodes.heights_led_by(1)))
    nodes.mute(1)
    decision = await client.propose(TOPIC, height, b"v", timeout=SECONDS)
    assert decision.round > 1
    assert await all_decide(nodes, height, SECONDS) == b"v"
    assert has_voted(nodes, 1, height, MessageType.PRE_PREPARE)


async def leader_that_hears_nothing(nodes: Network, client: Client) -> None:
    """M7: the others decide its value; it learns of it by pulling, when it hears again."""
    height = next(iter(nodes.heights_led_by(1)))
    for other in (0, 2, 3):
        nodes.cut_one_way(other, (1,))
    proposing = asyncio.create_task(propose_at(nodes, 1, height, b"v"))
    assert await propose_at(nodes, 0, height, b"v") == b"v"
    await all_decide(nodes, height, SECONDS, (0, 2, 3))
    nodes.hub.heal()
    assert await all_decide(nodes, height, nodes.bound()) == b"v"
    assert await proposing == b"v"


async def ring(nodes: Network, client: Client) -> None:
    """M8, D28: two links are dead for good, every node misses one other, and all decide."""
    nodes.cut((0,), (2,))
    nodes.cut((1,), (3,))
    proposing = [
        client.propose(TOPIC, height, b"%d" % height, timeout=SECONDS) for height in range(4)
    ]
    await asyncio.gather(*proposing)
    for height in range(4):
        assert await all_decide(nodes, height, SECONDS) == b"%d" % height


async def commits_that_do_not_arrive(nodes: Network, client: Client) -> None:
    """M11: nothing said to one node from the COMMITs on arrives; later it decides within a timeout.

    The others have decided meanwhile, and it has not.
    """
    height = next(iter(nodes.heights_led_by(0)))
    proposing = await all_prepares_held(nodes, height)
    nodes.hub.heal()
    for other in (0, 1, 2):
        nodes.cut_one_way(other, (3,))
    nodes.hub.let_go()
    assert await proposing == b"prepared"
    assert await all_decide(nodes, height, SECONDS, (0, 1, 2)) == b"prepared"
    assert await has_decided(nodes, 3, height) is None
    nodes.hub.heal()
    assert await all_decide(nodes, height, PATIENT_ROUND_MS / 1_000) == b"prepared"


async def commits_lost(nodes: Network, client: Client) -> None:
    """M9: all have prepared, no COMMIT arrives, rounds change: decided is what was prepared.

    By a later round, or by the COMMITs that are sent again: either way by no other value.
    """
    height = next(iter(nodes.heights_led_by(0)))
    proposing = await all_prepares_held(nodes, height)
    nodes.cut(NODES, NODES)
    nodes.hub.let_go()
    await until_voted(nodes, height, MessageType.COMMIT)
    await until_voted(nodes, height, MessageType.ROUND_CHANGE)
    assert [await has_decided(nodes, node, height) for node in NODES] == [None] * len(NODES)
    nodes.hub.heal()
    assert await all_decide(nodes, height, nodes.bound()) == b"prepared"
    assert await proposing == b"prepared"


async def all_prepares_held(nodes: Network, height: int) -> asyncio.Task[bytes]:
    """Have node 0 propose and all PREPARE, but hold what the others say: nobody can COMMIT.

    Gives the proposal, which waits.
    """
    for source in (1, 2, 3):
        for to in NODES:
            nodes.hub.set_one_way(source + 1, to + 1, HELD)
    proposing = asyncio.create_task(propose_at(nodes, 0, height, b"prepared"))
    await until_voted(nodes, height, MessageType.PREPARE)
    await asyncio.sleep(1)  # from the journal to the network
    assert not any(has_voted(nodes, node, height, MessageType.COMMIT) for node in NODES)
    return proposing


def has_voted(nodes: Network, node: int, height: int, kind: MessageType) -> bool:
    """Whether a node's journal has a vote of that kind."""
    instance = InstanceId(TOPIC, height)
    return any(v.instance == instance and v.type is kind for v in votes_so_far(nodes, node))


async def until_voted(nodes: Network, height: int, kind: MessageType) -> None:
    """Wait until all have voted so."""
    async with asyncio.timeout(SECONDS):
        for node in NODES:
            while not has_voted(nodes, node, height, kind):  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)


async def slow_links(nodes: Network, client: Client) -> None:
    """M10: a one-way delay above the first round's time; the rounds grow until it fits.

    PRE-PREPARE, PREPARE and COMMIT follow one another, so that none is decided sooner than that.
    """
    delay = 0.7
    assert delay > FIRST_ROUND_MS / 1_000
    nodes.hub.set(range(1, 5), range(1, 5), Link(delay=delay))
    took = await decide(client, range(3))
    counts = nodes.hub.count()
    print(f"{counts}; took {min(took):.2f} to {max(took):.2f} s")
    assert counts.delayed > 0
    assert min(took) >= STEPS * delay, took
    for height in range(3):
        assert (await client.get(TOPIC, height)).round > 1


async def unequal_links(nodes: Network, client: Client) -> None:
    """M12: one node is 750 ms away, the others 20 ms: they decide, and it keeps up."""
    nodes.hub.set(range(1, 4), range(1, 4), Link(delay=0.02))
    nodes.hub.set((4,), range(1, 4), Link(delay=0.75))
    *heights, last = nodes_heights(nodes, (0, 1, 2), 10)
    took = await decide(client, heights)
    counts = nodes.hub.count()
    print(f"{counts}; took {min(took):.3f} to {max(took):.3f} s")
    assert counts.delayed > 0
    assert min(took) >= STEPS * 0.02, took
    assert sorted(took)[len(took) // 2] < 2.0, took
    for height in heights:
        await all_decide(nodes, height, nodes.bound())
    begin = time.monotonic()
    await decide(client, [last])
    await all_decide(nodes, last, nodes.bound(), (3,))
    assert time.monotonic() - begin >= 0.75, "it is not far away"


def nodes_heights(nodes: Network, leaders: Iterable[int], each: int) -> list[int]:
    """The first heights that these lead."""
    return sorted(
        height
        for leader in leaders
        for height, _ in zip(nodes.heights_led_by(leader), range(each), strict=False)
    )


async def stopped_process(nodes: Network, client: Client) -> None:
    """M13: a node stands still for 30 s (SIGSTOP), and joins again when it goes on."""
    nodes.signal(2, signal.SIGSTOP)
    try:
        await decide(client, range(10))
        await asyncio.sleep(30)
    finally:
        nodes.signal(2, signal.SIGCONT)
    assert await all_decide(nodes, 9, nodes.bound()) == b"9"
    await nodes.kill(3)
    await decide(client, range(10, 14))  # the one that stood still is needed now
    await nodes.start(3)


async def half_open(nodes: Network, client: Client) -> None:
    """M14: packets vanish without a word: found on both sides by keepalive, and dialled again."""
    nodes.cut((1,), (0, 2, 3))
    cut = time.monotonic()
    deciding = asyncio.create_task(decide(client, range(5)))
    await until_connected(client, {0: {2, 3}, 1: set(), 2: {0, 3}, 3: {0, 2}}, FOUND_SECONDS)
    print(f"found on both sides {time.monotonic() - cut:.2f} s after the cut")
    await deciding
    nodes.hub.heal()
    healed = time.monotonic()
    await until_connected(client, {node: set(NODES) - {node} for node in NODES}, DIALLED_SECONDS)
    print(f"connected again {time.monotonic() - healed:.2f} s after healing")
    assert await all_decide(nodes, 4, nodes.bound()) == b"4"
    await nodes.kill(0)
    await decide(client, range(5, 8))
    await nodes.start(0)


async def until_connected(client: Client, peers: dict[int, set[int]], within: float) -> None:
    """Wait until each node says that its links to these peers are up, and no others."""
    async with asyncio.timeout(within):
        while True:
            told = await client.status()
            if peers == {
                node: {peer.validator for peer in account.peers if peer.connected}
                for node, account in told.items()
                if isinstance(account, NodeStatus)
            }:
                return
            await asyncio.sleep(0.05)


async def dead_peer(nodes: Network, client: Client) -> None:
    """M15: 200 instances at once with one node unreachable: nobody waits for it.

    All are decided in their first round, half and 95 % of them no later than before, by the best of
    three times each: what else the machine does only makes them slower.
    """
    heights = iter(nodes_heights(nodes, (0, 1, 2), 2 * 3 * AT_ONCE // 3))

    async def all_at_once() -> list[float]:
        begin = time.monotonic()

        async def one(height: int) -> float:
            decision = await client.propose(TOPIC, height, b"v", timeout=SECONDS)
            assert decision.round == 1
            return time.monotonic() - begin

        return sorted(await asyncio.gather(*map(one, islice(heights, AT_ONCE))))

    undisturbed = [await all_at_once() for _ in range(3)]
    nodes.cut((3,), (0, 1, 2))
    disturbed = [await all_at_once() for _ in range(3)]
    for what, percent in (("p50", 50), ("p95", 95)):
        with_all, with_dead = (
            min(took[AT_ONCE * percent // 100 - 1] for took in runs)
            for runs in (undisturbed, disturbed)
        )
        print(f"{what} {with_all:.3f} s with all, {with_dead:.3f} s with a dead peer")
        assert with_dead < 1.5 * with_all, what


SCENARIOS: dict[str, Callable[[Network, Client], Awaitable[None]]] = {
    scenario.__name__: scenario
    for scenario in (
        loss,
        heavy_loss_then_healed,
        copies_in_disorder,
        two_and_two,
        three_and_one,
        leader_that_is_not_heard,
        leader_that_hears_nothing,
        ring,
        slow_links,
        commits_lost,
        commits_that_do_not_arrive,
        unequal_links,
        stopped_process,
        half_open,
        dead_peer,
    )
}


FIRST_ROUNDS_MS = {
    commits_lost: 8_000,
    dead_peer: PATIENT_ROUND_MS,
    commits_that_do_not_arrive: PATIENT_ROUND_MS,
}
"""Where it is about something else than round changes, which a busy machine may cause too."""


async def run(name: str, directory: Path) -> None:
    """Run one scenario, and see that no two nodes disagree at the end."""
    first_round_ms = FIRST_ROUNDS_MS.get(SCENARIOS[name], FIRST_ROUND_MS)
    environment = ENVIRONMENT | {"QBFT_TIMER__FIRST_ROUND_MS": str(first_round_ms)}
    async with network(directory, environment) as (nodes, client):
        nodes.begun = time.monotonic()
        await SCENARIOS[name](nodes, client)
        nodes.hub.heal()
        for height in range(1_000, 1_004):
            await all_decide(nodes, height, SECONDS)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], Path(sys.argv[2])))
