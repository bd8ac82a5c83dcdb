"""Simulated runs with a recorder at every place, and recorders that are told stories by hand."""

from __future__ import annotations

from qbft.core import Definition, InstanceId, Message, MessageType, Start
from qbft.replay.record import InstanceRecord
from qbft.sim.plan import Ask, Fault, Plan, Timer, Weather
from qbft.sim.world import World, leader_of
from qbft_server.telemetry.recorder import Recorder

ROOM = 16 << 20
FIRST = InstanceId("sim", 0)


def recorder(validator: int = 0, nodes: int = 4, bytes_max: int = ROOM) -> Recorder:
    """A node's recorder, whose clock is the one of the run."""
    return Recorder(validator, nodes, leader_of(nodes), bytes_max=bytes_max, wall_clock=lambda: 0.0)


def plan(*faults: Fault, nodes: int = 4, seed: int = 1, asked: tuple[int, ...] = ()) -> Plan:
    """A run of one instance under these faults; all are asked at once unless told."""
    places = asked or tuple(range(nodes))
    return Plan(
        seed=seed,
        nodes=nodes,
        timer=Timer("exponential", 500, 4_000),
        weather=Weather(1, 20),
        faults_ms=3_000,
        asks=tuple(Ask(10, place, 0) for place in places),
        faults=faults,
    )


def played(which: Plan) -> list[Recorder]:
    """Run it to its end; gives the recorder of each place, of its last life."""
    recorders = [recorder(place, which.nodes) for place in range(which.nodes)]

    def observe(place: int) -> Recorder:
        recorders[place] = recorder(place, which.nodes)
        return recorders[place]

    World(which, observe=observe).run()
    return recorders


def record_of(kept: Recorder, instance: InstanceId = FIRST) -> InstanceRecord:
    """What there must be of an instance."""
    record = kept.snapshot(instance, 0)
    assert record is not None
    return record


def records(which: Plan) -> list[InstanceRecord]:
    """What every place has of a run's first instance; a silent liar has nothing."""
    kept = [recorder.snapshot(FIRST, 0) for recorder in played(which)]
    return [record for record in kept if record is not None]


def vote(
    source: int,
    instance: InstanceId,
    kind: MessageType = MessageType.COMMIT,
    *,
    round_: int = 1,
    nested: tuple[Message, ...] = (),
) -> Message:
    """A vote of that source."""
    return Message(kind, instance, source, round_, b"v" * 32, justification=nested)


def tell(
    kept: Recorder, instance: InstanceId, opener: int, *, finished: bool = True, nodes: int = 4
) -> None:
    """Tell a recorder of an instance in which every validator casts two votes."""
    kept.opened(instance, opener, 0)
    kept.stepped(instance, 0, Start(), (), 0)
    for kind in (MessageType.PREPARE, MessageType.COMMIT):
        for source in range(nodes):
            kept.stepped(instance, source, vote(source, instance, kind), (), 0)
    if finished:
        kept.closed(instance, 0)


def definition_of(record: InstanceRecord) -> Definition:
    """The cluster that a record is of."""
    return Definition(record.nodes, record.leader)
