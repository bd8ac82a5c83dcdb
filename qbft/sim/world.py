"""One run of a simulated cluster: shipped replicas under a plan's faults, watched by the oracle.

Two phases: while faults last only safety is demanded; then the network heals, whoever can come back
does, and every correct node must decide every instance within a bound. Liars go on lying.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import replace
from functools import partial
from random import Random

from qbft.core import Definition, InstanceId, Message
from qbft.core.messages import Leader
from qbft.crypto.evidence import Evidence
from qbft.crypto.proposal import Proposal
from qbft.decision import Decision
from qbft.errors import InvariantViolation
from qbft.replica.limits import ReplicaLimits
from qbft.replica.observer import Observer
from qbft.replica.openings import TOGETHER
from qbft.replica.policy import TopicPolicy
from qbft.replica.protocols import Standing
from qbft.sim.agenda import Agenda
from qbft.sim.authenticator import SimAuthenticator
from qbft.sim.byzantine import BEHAVIOURS, INVALID, TWINS, Behaviour, Hands, Silent
from qbft.sim.chronicle import Chronicle, Decided, Event, Report
from qbft.sim.clock import VirtualClockLoop, run_virtual
from qbft.sim.faults import NodeFaults
from qbft.sim.network import Network
from qbft.sim.node import Node, WatchedReplica
from qbft.sim.oracle import Oracle, Violation, brief
from qbft.sim.plan import Ask, Cut, LateStart, Liar, Partition, Plan, SlowType
from qbft.transport import Frame
from qbft.wire.shape import check_shape

CLIENTS_RETRY_MS = 1_000
"""How often clients ask again, once faults are over, for what is not decided."""

SMALL_LIMITS = ReplicaLimits(
    open_instances_max=8,
    open_instances_per_peer_max=4,
    open_instances_per_peer_first=2,
    open_instances_per_peer_min=1,
    opening_places_free=1,
    opening_places_min=1,
    opening_places_max=2,
    waiting_openings_max=2,
    held_votes_per_peer_max=6,
    later_votes_per_source_max=6,
    waiting_per_source_max=2,
    unsolicited_values_per_peer_max=2,
    proposal_bytes_per_frame_max=4,
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


class World:
    """One run: build it from a plan, `run()` it, read the report.

    `traced` asks for the digest of all that the nodes did, `story` collects events; both take time.
    `observe` gives who looks on at a place, in all its lives.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        traced: bool = False,
        story: list[Event] | None = None,
        observe: Callable[[int], Observer | None] = lambda _: None,
    ) -> None:
        self.plan = plan
        self._observe = observe
        self.loses_disks = bool(plan.mute)
        self.rules: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()
        self._story = story
        self._is_traced = traced
        self._instances = [InstanceId("sim", height) for height in range(plan.instances)]
        self._timers = plan.timer.policy()
        self._limits = limits = SMALL_LIMITS if plan.small_limits else ReplicaLimits()
        of_peers_max = limits.open_instances_of_peers_max // max(1, plan.nodes - 1)
        self._of_one_max = min(limits.open_instances_per_peer_max, of_peers_max)
        self._opened_max = min(limits.open_instances_max, self._of_one_max)
        self._is_healed = False
        self._deadline_ms = 0
        self._clients = self._random("clients")
        self._sync = self._random("sync")
        self._check = self._random("check")
        self._faulty, self._mute = plan.faulty, plan.mute
        self.oracle = Oracle(plan.nodes, set(range(plan.nodes)) - plan.faulty, self._is_valid)
        self._definition = Definition(plan.nodes, leader_of(plan.nodes))
        self._demanded = [v for v in range(plan.nodes) if v not in plan.faulty | plan.lost]
        self._missing = {(v, i) for v in self._demanded for i in self._instances}
        self._decisions: list[Decided] = []
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
            digest=self.chronicle.digest,
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
        self.chronicle = Chronicle(
            self.agenda, self.rules, story=self._story, traced=self._is_traced
        )
        self.network = Network(self.agenda, self._random("network"), plan.weather, self.happened)
        if self.chronicle.wants_frames:
            self.network.watch = self.chronicle
        liars = [fault for fault in plan.faults if isinstance(fault, Liar)]
        twins = sorted(liar.place for liar in liars if liar.behaviour == TWINS)
        self.nodes = [
            Node(self, place, validator)
            for place, validator in enumerate([*range(plan.nodes), *twins])
        ]
        self.network.settle(self.nodes, plan.nodes)
        self.faults = NodeFaults(
            self.nodes,
            self.agenda,
            self.chronicle,
            self.happened,
            start=self._start,
            forget=self.oracle.loses_disk,
        )
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
        self.happened.update(plan.inputs)
        for ask in plan.asks:
            self.agenda.at(ask.at_ms, self._ask, ask)
        for fault in plan.faults:
            if isinstance(fault, Cut | Partition | SlowType):
                self.happened[fault.called] += 1
                self.network.add(fault)
            else:
                self.faults.enter(fault)

    def _corrupt(self, node: Node, kind: type[Behaviour]) -> None:
        hands = Hands(
            node.validator,
            self.plan.nodes,
            random=self._random(f"liar {node.place}"),
            leader=self._definition.leader,
            timers=self._timers,
            send=lambda to, frame: self._say(node, to, frame),
            propose=self._note_proposal,
        )
        node.behaviour = kind(hands)
        if kind.acts_every_ms:
            self.agenda.after(kind.acts_every_ms, self._act, node.behaviour)

    def _say(self, node: Node, to: int, frame: Frame) -> None:
        """Let a liar say something of its own."""
        self.tells_lie(node)
        self.network.carry(node.place, to, self.gate(node, frame))

    def tells_lie(self, node: Node) -> None:
        """Count what a liar says of its own, or otherwise than its replica does."""
        self.happened[f"lie told: {type(node.behaviour).__name__}"] += 1

    def _act(self, behaviour: Behaviour) -> None:
        behaviour.act()
        self.agenda.after(behaviour.acts_every_ms, self._act, behaviour)

    def _start(self, node: Node) -> None:
        if not self.plan.journal:
            node.disk.forget()
        node.start()

    # --- clients ----------------------------------------------------------------------------------

    def _ask(self, ask: Ask) -> None:
        node = self.nodes[ask.place]
        if node.is_up:
            self._propose(node, self._instances[ask.height])

    def _propose(self, node: Node, instance: InstanceId) -> None:
        proposal = Proposal(instance, f"{instance} from {node.place} in life {node.life}".encode())
        self._note_proposal(proposal)
        self.chronicle.tell("client asks", node.place, text=str(instance))
        node.propose(proposal)

    def _note_proposal(self, proposal: Proposal) -> None:
        self.oracle.proposed(proposal.instance, proposal.value)

    def _is_valid(self, value: bytes) -> bool:
        return self.plan.check_ms_max is None or not value.startswith(INVALID)

    # --- healing ----------------------------------------------------------------------------------

    def _heal(self) -> None:
        """End all faults but the liars; all who can come back."""
        self._is_healed = True
        self.faults.end()
        self.chronicle.tell("everything heals", 0)
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
        up = [self.nodes[v] for v in self._demanded if v not in self._mute]
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
            observer=self._observe(node.place),
        )
        replica.watch = partial(self.chronicle.steps, node.place)
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
        quorum = self._definition.quorum
        for vote in (*frame.votes, *frame.relayed):
            reason = check_shape(vote, self.plan.nodes, quorum)
            if reason is not None:
                raise Violation(f"I11: a correct node sends {brief(vote)}: {reason.name}")
            if vote.source == node.validator and self._is_honest(node):
                self.oracle.signed(vote)

    def is_correct(self, node: Node) -> bool:
        """Whether it is a node that never lost anything, and lies to nobody."""
        return node.validator not in self._faulty | self._mute

    def gate(self, node: Node, frame: Frame) -> Frame:
        """Let a liar's frame through the gate of the wire, which drops what is misshapen."""
        nodes, quorum = self.plan.nodes, self._definition.quorum
        votes = tuple(
            v
            for v in frame.votes
            if v.source == node.validator and check_shape(v, nodes, quorum) is None
        )
        relayed = tuple(v for v in frame.relayed if check_shape(v, nodes, quorum) is None)
        if len(votes) == len(frame.votes) and len(relayed) == len(frame.relayed):
            return frame
        return replace(frame, votes=votes, relayed=relayed)

    def voted(self, node: Node, vote: Message) -> None:
        """Note a vote that is durable."""
        if self._is_honest(node):
            self.oracle.signed(vote)

    def accused(self, node: Node, evidence: Evidence) -> None:
        """Check the evidence that a node keeps: it is against no correct validator (B16).

        What a liar keeps is its own affair, and whose disk is lost may contradict itself (W7).
        """
        source = evidence.source
        if node.behaviour is not None or node.place >= self.plan.nodes or not self.plan.journal:
            return
        if source not in self._faulty | self._mute or evidence.contradiction is None:
            raise Violation(
                f"B16: node {node.place} accuses {source}: "
                f"{brief(evidence.first)} and {brief(evidence.second)}"
            )
        self.happened["evidence"] += 1

    def concluded(self, node: Node, decision: Decision) -> None:
        """Note a decision that is durable; that of a lying node is its own affair."""
        if node.behaviour is not None or node.place >= self.plan.nodes:
            return
        self.oracle.concluded(node.place, decision)
        instance = decision.instance
        if isinstance(instance, InstanceId):
            self.chronicle.decides(node.place, instance, decision)
            self._decisions.append(
                Decided(node.place, instance, decision.round, decision.value, self.agenda.now_ms)
            )
            self._missing.discard((node.place, instance))
            if not self._missing and self._is_healed:
                self.agenda.stop()

    def turn_over(self, node: Node) -> None:
        """Look at a node's bounds (oracle I10), and at whether it votes (I11)."""
        replica, limits = node.replica, self._limits
        if replica is None:
            return
        if len(replica.openers) > self._opened_max:
            opened = Counter(replica.openers.values())
            own = opened.pop(node.validator, 0)
            opened.pop(TOGETHER, None)  # as many as honest nodes have let in
            if (
                own > limits.open_instances_max
                or max(opened.values(), default=0) > self._of_one_max
            ):
                raise Violation(f"I10: node {node.place} has {own} own instances and {opened}")
        kept_bytes_max = limits.kept_bytes_per_peer_max if replica.has_open else 0
        over = replica.overloaded_by(limits.held_votes_per_peer_max, kept_bytes_max)
        if over is not None:
            peer, held, spent = over
            raise Violation(
                f"I10: node {node.place} keeps {spent} bytes and holds {held} votes of {peer}"
            )
        if replica.is_voting or not self.plan.journal or not self._is_honest(node):
            return
        status = replica.status()
        if node.validator not in self._mute or status.standing is not Standing.LOST:
            raise Violation(f"I11: node {node.place} has stopped voting: {status}")

    def _is_honest(self, node: Node) -> bool:
        return node.validator not in self._faulty


def leader_of(nodes: int) -> Leader:
    """Who leads in a simulated cluster: each in turn, beginning with the height."""

    def leader(instance: Hashable, round_: int) -> int:
        height = instance.height if isinstance(instance, InstanceId) else 0
        return (height + round_ - 1) % nodes

    return leader
