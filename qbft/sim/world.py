"""One run of a simulated cluster: shipped replicas under a plan's faults, watched by the oracle.

Two phases: while faults last only safety is demanded; then the network heals, whoever can come back
does, and every correct node must decide every instance within a bound. Liars go on lying.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from functools import partial
from random import Random

from qbft.core import (
    Definition,
    InstanceId,
    Message,
    RoundChanged,
    RuleFired,
    StartTimer,
    UponRule,
    Value,
)
from qbft.core.effects import Effect, Input
from qbft.core.messages import Leader
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import InvariantViolation
from qbft.replica.limits import ReplicaLimits
from qbft.replica.open_instance import OpenInstance
from qbft.replica.policy import TopicPolicy
from qbft.sim.agenda import Agenda
from qbft.sim.authenticator import SimAuthenticator
from qbft.sim.byzantine import BEHAVIOURS, INVALID, TWINS, Behaviour, Hands, Silent
from qbft.sim.clock import VirtualClockLoop, run_virtual
from qbft.sim.disk import Crashed
from qbft.sim.network import Network
from qbft.sim.node import Node, WatchedReplica
from qbft.sim.oracle import Oracle, Violation, brief
from qbft.sim.plan import (
    Ask,
    Crash,
    Cut,
    DiskCorrupt,
    DiskLost,
    DiskRestored,
    LateStart,
    Liar,
    Partition,
    Pause,
    Plan,
    SlowType,
)
from qbft.transport import Frame
from qbft.wire.shape import check_shape

CLIENTS_RETRY_MS = 1_000
"""How often clients ask again, once faults are over, for what is not decided."""

TURNS_PER_LOOK = 16
"""Turns of a node after which the oracle looks at its bounds."""

SMALL_LIMITS = ReplicaLimits(
    open_instances_per_peer_max=12,
    held_votes_per_peer_max=24,
    later_votes_per_source_max=6,
    waiting_per_source_max=2,
    unsolicited_values_per_peer_max=2,
    resend_votes_per_frame_max=8,
    wanted_per_frame_max=4,
    turn_work_max=24,
    turn_timers_max=2,
    tick_instances_max=2,
    feed_page_instances_max=2,
    recent_decisions_max=2,
    answer_burst_max=1,
)
"""Bounds so tight that they bite in a run of a few instances."""

ADOPTING, OWN_ONLY = TopicPolicy(), TopicPolicy(adopts=False)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, for people to read and for diagrams to draw."""

    time_ms: int
    kind: str
    place: int
    peer: int | None = None
    text: str = ""
    votes: tuple[Message, ...] = ()
    delay_ms: int | None = None
    """Of a frame sent: how long it takes; None: it is lost."""
    instance: InstanceId | None = None
    round: int = 0
    deadline_ms: int | None = None
    rule: UponRule | None = None
    value: str = ""
    """The first characters of the digest that was decided."""


@dataclass(frozen=True, slots=True)
class Decided:
    """A correct node's decision, as it became durable."""

    place: int
    instance: InstanceId
    round: int
    value: Value
    time_ms: int


@dataclass(frozen=True, slots=True)
class Report:
    """What happened in one run."""

    decided: int
    """Instances."""
    decisions: tuple[Decided, ...]
    """In order of time."""
    heal_ms: int
    """How long after healing it took until all had decided."""
    took_ms: int
    frames: int
    points: tuple[int, ...]
    """How often each place was at a crash point while faults lasted."""
    rules: Counter[str]
    happened: Counter[str]
    digest: str
    """Of everything that was journaled and sent, where that was asked for."""

    @property
    def rounds_max(self) -> int:
        """The highest round in which a node decided."""
        return max((decision.round for decision in self.decisions), default=0)


class World:
    """One run: build it from a plan, `run()` it, read the report.

    `traced` asks for the digest of all that the nodes did, `story` collects events; both take time.
    """

    def __init__(
        self, plan: Plan, *, traced: bool = False, story: list[Event] | None = None
    ) -> None:
        self.plan = plan
        self.loses_disks = bool(plan.mute)
        self.rules: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()
        self._story = story
        self._trace = hashlib.sha256() if traced else None
        self._instances = [InstanceId("sim", height) for height in range(plan.instances)]
        self._timers = plan.timer.policy()
        self._limits = SMALL_LIMITS if plan.small_limits else ReplicaLimits()
        self._is_healed = False
        self._deadline_ms = 0
        self._clients = self._random("clients")
        self._sync = self._random("sync")
        self._check = self._random("check")
        self.oracle = Oracle(plan.nodes, set(range(plan.nodes)) - plan.faulty, self._is_valid)
        self._definition = Definition(plan.nodes, leader_of(plan.nodes))
        self._demanded = [
            v for v in range(plan.nodes) if v not in plan.faulty | plan.mute | plan.lost
        ]
        self._missing = {(v, i) for v in self._demanded for i in self._instances}
        self._decisions: list[Decided] = []
        self._crashes_at: dict[tuple[int, int], Crash] = {}
        self._falling: dict[int, Crash] = {}
        self.nodes: list[Node] = []

    def run(self) -> Report:
        """Run to the end on a virtual clock.

        Raises:
            Violation: a property does not hold.
        """
        try:
            return run_virtual(self._run_and_end())
        except Violation:
            raise
        except InvariantViolation as error:
            raise Violation(f"I11: a node stopped by itself: {error}") from error
        except Exception as error:
            raise Violation(f"I11: {type(error).__name__}: {error}") from error

    @classmethod
    def play(
        cls, plan: Plan, *, story: list[Event] | None = None
    ) -> tuple[Violation | None, Report | None]:
        """Run a plan; give what was violated, else the report."""
        try:
            return None, cls(plan, story=story).run()
        except Violation as violation:
            return violation, None

    async def _run_and_end(self) -> Report:
        try:
            return await self._run()
        finally:
            for node in self.nodes:
                node.stop()

    async def _run(self) -> Report:
        self._build()
        agenda = self.agenda
        agenda.run_until(self.plan.faults_ms)
        self._heal()
        healed_ms = agenda.now_ms
        self._deadline_ms = healed_ms + self.plan.bound_ms
        if self._missing:
            agenda.run_until(self._deadline_ms)
        if self._missing:
            where = [f"{instance} at {node}" for node, instance in sorted(self._missing)]
            raise Violation(
                f"I9: undecided {self.plan.bound_ms} ms after healing: {', '.join(where)}"
            )
        return Report(
            decided=len(self.oracle.decided),
            decisions=tuple(self._decisions),
            heal_ms=agenda.now_ms - healed_ms,
            took_ms=agenda.now_ms,
            frames=self.network.frames,
            points=tuple(node.points for node in self.nodes),
            rules=self.rules,
            happened=self.happened,
            digest=self._trace.hexdigest() if self._trace is not None else "",
        )

    def _random(self, component: str) -> Random:
        """The chances of one component: what another draws does not change them."""
        return Random(f"{self.plan.seed}/{component}")  # noqa: S311 - a simulation, not a secret

    # --- beginning --------------------------------------------------------------------------------

    def _build(self) -> None:
        plan = self.plan
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualClockLoop)  # noqa: S101 - `run_virtual` made it
        self.agenda = Agenda(loop)
        self.network = Network(self.agenda, self._random("network"), plan.weather, self.happened)
        if self._trace is not None or self._story is not None:
            self.network.watch = self._watch_frame
        liars = [fault for fault in plan.faults if isinstance(fault, Liar)]
        twins = sorted(liar.place for liar in liars if liar.behaviour == TWINS)
        self.nodes = [
            Node(self, place, validator)
            for place, validator in enumerate([*range(plan.nodes), *twins])
        ]
        self.network.settle(self.nodes, plan.nodes)
        for liar in liars:
            self.happened[f"liar: {liar.behaviour}"] += 1
            if liar.behaviour != TWINS:
                self._corrupt(self.nodes[liar.place], BEHAVIOURS[liar.behaviour])
        late = {
            fault.place: fault.start_ms for fault in plan.faults if isinstance(fault, LateStart)
        }
        for node in self.nodes:
            if not isinstance(node.behaviour, Silent):
                if node.place in late:
                    self.happened["late start"] += 1
                self.agenda.at(late.get(node.place, 0), self._start, node)
        for ask in plan.asks:
            self.agenda.at(ask.at_ms, self._ask, ask)
        for fault in plan.faults:
            self._enter(fault)

    def _corrupt(self, node: Node, kind: type[Behaviour]) -> None:
        hands = Hands(
            node.validator,
            self.plan.nodes,
            random=self._random(f"liar {node.place}"),
            leader=self._definition.leader,
            timers=self._timers,
            send=lambda to, frame: self.network.carry(node.place, to, self.gate(node, frame)),
            propose=self._note_proposal,
        )
        node.behaviour = kind(hands)
        if kind.acts_every_ms:
            self.agenda.after(kind.acts_every_ms, self._act, node.behaviour)

    def _act(self, behaviour: Behaviour) -> None:
        behaviour.act()
        self.agenda.after(behaviour.acts_every_ms, self._act, behaviour)

    def _enter(self, fault: object) -> None:
        """Have a fault happen at its time."""
        at = self.agenda.at
        match fault:
            case Cut() | Partition() | SlowType():
                self.happened[type(fault).__name__.lower()] += 1
                self.network.add(fault)
            case Pause():
                at(fault.start_ms, self._pause, fault)
            case Crash(place, at_ms, at_point):
                if at_point is not None:
                    self._crashes_at[place, at_point] = fault
                elif at_ms is not None:
                    at(at_ms, self._fall, place, fault)
            case DiskLost():
                disk = self.nodes[fault.place].disk
                anew = partial(disk.replace, bytes([fault.place + 128]) * 16)
                at(fault.at_ms, self._lose_disk, fault.place, fault.down_ms, anew)
            case DiskRestored():
                at(fault.copied_ms, self._copy_disk, fault)
            case DiskCorrupt():
                at(fault.at_ms, self._corrupt_disk, fault)
            case _:
                pass

    # --- faults -----------------------------------------------------------------------------------

    def _start(self, node: Node) -> None:
        if not self.plan.journal:
            node.disk.forget()
        node.start()

    def _pause(self, fault: Pause) -> None:
        if not self._is_healed:
            self.happened["pause"] += 1
            self.tell("pauses", fault.place)
            self.nodes[fault.place].pause(fault.end_ms)

    def crash_point(self, node: Node, label: str) -> None:
        """Be at a crash point.

        Raises:
            Crashed: power is lost here.
        """
        if self._is_healed:
            return
        fault = self._crashes_at.get((node.place, node.points))
        node.points += 1
        if fault is not None:
            self.happened[f"crash: {label}"] += 1
            self._falling[node.place] = fault
            raise Crashed(label)

    def power_lost(self, node: Node) -> None:
        """Take a node down that was at its crash point."""
        self._fall(node.place, self._falling.pop(node.place))

    def _fall(self, place: int, fault: Crash) -> None:
        if self._is_healed:
            return
        places = [n.place for n in self.nodes] if fault.everyone else [place]
        if fault.at_point is None:
            self.happened["crash: between turns"] += 1
        for each in places:
            node = self.nodes[each]
            self.tell("loses power", each)
            node.stop(kept=fault.kept)
            if fault.down_ms is not None or each != place:
                self.agenda.after(fault.down_ms or 500, self._start, node)

    def _lose_disk(self, place: int, down_ms: int, restore: Callable[[], None]) -> None:
        if self._is_healed:
            return
        node = self.nodes[place]
        self.happened["disk lost or restored"] += 1
        self.tell("loses its disk", place)
        node.stop()
        restore()
        self.oracle.forget_unheard(node.validator)
        self.agenda.after(down_ms, self._start, node)

    def _copy_disk(self, fault: DiskRestored) -> None:
        restore = self.nodes[fault.place].disk.snapshot()
        self.agenda.at(fault.at_ms, self._lose_disk, fault.place, fault.down_ms, restore)

    def _corrupt_disk(self, fault: DiskCorrupt) -> None:
        if self._is_healed:
            return
        node = self.nodes[fault.place]
        self.happened["disk corrupt"] += 1
        node.stop()
        node.disk.corrupt()
        self.agenda.after(100, self._start, node)

    # --- clients ----------------------------------------------------------------------------------

    def _ask(self, ask: Ask) -> None:
        node = self.nodes[ask.place]
        if node.is_up:
            self._propose(node, self._instances[ask.height])

    def _propose(self, node: Node, instance: InstanceId) -> None:
        proposal = Proposal(instance, f"{instance} from {node.place}".encode())
        self._note_proposal(proposal)
        self.tell("client asks", node.place, text=str(instance))
        node.propose(proposal)

    def _note_proposal(self, proposal: Proposal) -> None:
        self.oracle.proposed(proposal.instance, proposal.value)

    def _is_valid(self, value: bytes) -> bool:
        return self.plan.check_ms_max is None or not value.startswith(INVALID)

    # --- healing ----------------------------------------------------------------------------------

    def _heal(self) -> None:
        """End all faults but the liars; all who can come back."""
        self._is_healed = True
        self.tell("everything heals", 0)
        self.network.heal()
        for node in self.nodes:
            node.pause(0)
            if node.is_up:
                node.wake()
            elif not isinstance(node.behaviour, Silent) and node.validator not in self.plan.lost:
                self._start(node)
        self._ask_again()

    def _ask_again(self) -> None:
        """Let clients ask for what is not decided everywhere, at some correct nodes."""
        up = [self.nodes[v] for v in self._demanded]
        for instance in self._instances:
            if any((v, instance) in self._missing for v in self._demanded):
                chosen = [n for n in up if self._clients.random() < 0.5 or not self.plan.adopts]
                for node in chosen or up[:1]:
                    self._propose(node, instance)
        if self._missing:
            self.agenda.after(CLIENTS_RETRY_MS, self._ask_again)

    # --- what nodes ask ---------------------------------------------------------------------------

    def replica_of(self, node: Node) -> WatchedReplica:
        """Build the shipped replica on a node's disk."""
        plan = self.plan
        replica = WatchedReplica(
            definition=self._definition,
            validator=node.validator,
            authenticator=SimAuthenticator(node.validator, plan.nodes),
            journal=node.disk,
            store=node.disk,
            timers=self._timers,
            policies=self._policy,
            application=self if plan.check_ms_max is not None else None,
            limits=self._limits,
        )
        replica.watch = partial(self._saw, node)
        return replica

    def _policy(self, topic: str) -> TopicPolicy:
        return ADOPTING if self.plan.adopts else OWN_ONLY

    async def check_value(self, instance: InstanceId, value: bytes, proposer: int) -> bool:
        """Be the application: some values are invalid."""
        return self._is_valid(value)

    def sync_ms_of(self, place: int) -> Callable[[], int] | None:
        """How long commits take at a place."""
        longest = self.plan.sync_ms_max
        return (lambda: self._sync.randint(0, longest)) if longest else None

    def check_ms(self) -> int:
        """How long the application looks at a value."""
        return self._check.randint(0, self.plan.check_ms_max or 0)

    # --- what is watched --------------------------------------------------------------------------

    def check_sent(self, node: Node, frame: Frame) -> None:
        """Check what a node sends that runs the shipped code: well-formed, and never two things."""
        quorum, honest = self._definition.quorum, node.validator not in self.plan.faulty
        for vote in frame.votes:
            reason = check_shape(vote, self.plan.nodes, quorum)
            if reason is not None:
                raise Violation(f"shape: a correct node sends {brief(vote)}: {reason.name}")
            if honest:
                self.oracle.signed(vote)

    def is_correct(self, node: Node) -> bool:
        """Whether it is a node that never lost anything, and lies to nobody."""
        return node.validator not in self.plan.faulty | self.plan.mute

    def gate(self, node: Node, frame: Frame) -> Frame:
        """Let a liar's frame through the gate of the wire, which drops what is misshapen."""
        nodes, quorum = self.plan.nodes, self._definition.quorum
        return Frame(
            votes=tuple(
                v
                for v in frame.votes
                if v.source == node.validator and check_shape(v, nodes, quorum) is None
            ),
            batch=frame.batch,
            relayed=tuple(v for v in frame.relayed if check_shape(v, nodes, quorum) is None),
            proposals=frame.proposals,
            certificates=frame.certificates,
            wanted_values=frame.wanted_values,
            wanted_decisions=frame.wanted_decisions,
            feed_request=frame.feed_request,
            feed_page=frame.feed_page,
            acknowledged=frame.acknowledged,
            covers=frame.covers,
            covers_after=frame.covers_after,
        )

    def voted(self, node: Node, vote: Message) -> None:
        """Note a vote that is durable."""
        if node.validator not in self.plan.faulty:
            self.oracle.signed(vote)

    def concluded(self, node: Node, decision: Decision) -> None:
        """Note a decision that is durable; that of a lying node is its own affair."""
        if node.behaviour is not None or node.place >= self.plan.nodes:
            return
        self.oracle.concluded(node.place, decision)
        instance = decision.instance
        if self._story is not None and isinstance(instance, InstanceId):
            text = f"{instance} in round {decision.round}: {decision.value!r}"
            self._story.append(
                Event(
                    self.agenda.now_ms,
                    "decides",
                    node.place,
                    text=text,
                    instance=instance,
                    round=decision.round,
                    value=digest_of(decision),
                )
            )
        if isinstance(instance, InstanceId):
            self._decisions.append(
                Decided(node.place, instance, decision.round, decision.value, self.agenda.now_ms)
            )
            self._missing.discard((node.place, instance))
            if not self._missing and self._is_healed:
                self.agenda.stop()

    def turn_over(self, node: Node) -> None:
        """Look at a node's bounds now and then (oracle I10)."""
        if node.turns % TURNS_PER_LOOK or node.replica is None:
            return
        status, limits = node.replica.status(), self._limits
        peers = self.plan.nodes - 1
        opens = limits.open_instances_max + min(
            peers * limits.open_instances_per_peer_max, limits.open_instances_of_peers_max
        )
        if (
            status.open_instances > opens
            or status.held_votes > peers * limits.held_votes_per_peer_max
        ):
            raise Violation(f"I10: node {node.place} holds {status}")

    def _saw(self, node: Node, opened: OpenInstance, what: Effect | Input) -> None:
        """Count the rules that fire; tell of rounds and timers."""
        if isinstance(what, RuleFired):
            self.rules[what.rule.value] += 1
            return
        if isinstance(what, RoundChanged) and what.rule is UponRule.ROUND_TIMEOUT:
            self.rules[what.rule.value] += 1
        if self._story is None:
            return
        event = Event(
            self.agenda.now_ms,
            "timer expires",
            node.place,
            instance=opened.instance,
            text=f"{opened.instance} round {opened.round}",
            round=opened.round,
        )
        if isinstance(what, RoundChanged):
            text = f"{opened.instance} round {what.to_round}: {what.rule.value}"
            event = replace(
                event, kind="enters round", text=text, round=what.to_round, rule=what.rule
            )
        elif isinstance(what, StartTimer):
            event = replace(event, kind="timer starts", deadline_ms=opened.deadline_ms)
        self._story.append(event)

    def _watch_frame(self, source: int, to: int, frame: Frame, delay_ms: int | None) -> None:
        self.trace("sends", source, to, frame, delay_ms)
        if self._story is not None:
            votes = (*frame.votes, *frame.relayed)
            parts = [brief(vote) for vote in votes]
            parts += [f"certificate of {c.instance}" for c in frame.certificates]
            parts += [f"value for {p.instance}" for p in frame.proposals]
            text = "; ".join(parts)
            self._story.append(
                Event(self.agenda.now_ms, "sends", source, to, text, votes, delay_ms)
            )

    def tell(self, kind: str, place: int, peer: int | None = None, text: str = "") -> None:
        """Add to the story."""
        if self._story is not None:
            self._story.append(Event(self.agenda.now_ms, kind, place, peer, text))
        self.trace(kind, place, peer, text)

    def trace(self, *happened: object) -> None:
        """Add what happened, and when, to the digest."""
        if self._trace is not None:
            self._trace.update(repr((self.agenda.now_ms, *happened)).encode())


def digest_of(decision: Decision) -> str:
    """The first characters of the digest that was decided."""
    digest = decision.certificate.value
    return digest.hex()[:8] if isinstance(digest, bytes) else ""


def leader_of(nodes: int) -> Leader:
    """Who leads in a simulated cluster: each in turn, beginning with the height."""

    def leader(instance: Hashable, round_: int) -> int:
        height = instance.height if isinstance(instance, InstanceId) else 0
        return (height + round_ - 1) % nodes

    return leader
