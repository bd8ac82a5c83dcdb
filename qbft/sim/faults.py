"""What befalls nodes while faults last: standstills, loss of power, bad disks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from qbft.sim.agenda import Agenda
from qbft.sim.chronicle import Chronicle
from qbft.sim.disk import Crashed
from qbft.sim.node import Node
from qbft.sim.plan import Crash, DiskCorrupt, DiskLost, DiskRestored, Fault, Pause

CRASH_POINTS = ("before_commit", "syncing", "after_commit", "before_send")
"""The labels of a node's crash points."""

DOWN_MS = 500
"""How long those are down who lose power together with another."""

CORRUPT_DOWN_MS = 100
"""After which a node tries to start from a corrupt disk."""


class NodeFaults:
    """Has the faults of nodes happen at their times; once all has healed none does any more.

    Only who is up can fall. Who has not started yet, or is down already, starts when it would have.

    `start` begins a node's life again; `forget` is told whose disk is lost.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        agenda: Agenda,
        chronicle: Chronicle,
        happened: Counter[str],
        *,
        start: Callable[[Node], None],
        forget: Callable[[int], None],
    ) -> None:
        self._nodes = nodes
        self._agenda = agenda
        self._chronicle = chronicle
        self._happened = happened
        self._start = start
        self._forget = forget
        self._crashes_at: dict[tuple[int, int], Crash] = {}
        self._falling: dict[int, Crash] = {}
        self._gone: set[int] = set()
        self._are_over = False

    def enter(self, fault: Fault) -> None:
        """Have a fault happen at its time, if it is one of a node."""
        at = self._agenda.at
        match fault:
            case Pause():
                at(fault.start_ms, self._pause, fault)
            case Crash(place, at_ms, at_point):
                if at_point is not None:
                    self._crashes_at[place, at_point] = fault
                elif at_ms is not None:
                    at(at_ms, self._fall, place, fault)
            case DiskLost():
                disk = self._nodes[fault.place].disk
                anew = partial(disk.replace, bytes([fault.place + 128]) * 16)
                at(fault.at_ms, self._exchange_disk, "disk lost", fault, anew)
            case DiskRestored():
                at(fault.copied_ms, self._copy_disk, fault)
            case DiskCorrupt():
                at(fault.at_ms, self._corrupt_disk, fault)
            case _:
                pass

    def end(self) -> None:
        """Let nothing happen to anybody any more."""
        self._are_over = True

    def crash_point(self, node: Node, label: str) -> None:
        """Be at a crash point.

        Raises:
            Crashed: power is lost here.
        """
        if self._are_over:
            return
        fault = self._crashes_at.get((node.place, node.points))
        node.points += 1
        if fault is not None:
            self._happened[f"crash: {label}"] += 1
            self._falling[node.place] = fault
            raise Crashed(label)

    def power_lost(self, node: Node) -> None:
        """Take a node down that was at its crash point."""
        self._fall(node.place, self._falling.pop(node.place))

    def _pause(self, fault: Pause) -> None:
        if not self._are_over:
            self._happened["pause"] += 1
            self._chronicle.tell("pauses", fault.place)
            self._nodes[fault.place].pause(fault.end_ms)

    def _fall(self, place: int, fault: Crash) -> None:
        if self._are_over:
            return
        if fault.down_ms is None:
            self._gone.add(place)
        nodes = self._nodes if fault.everyone else [self._nodes[place]]
        fallen = [node for node in nodes if self._stop(node, kept=fault.kept)]
        if fallen and fault.at_point is None:
            self._happened["crash: between turns"] += 1
        for node in fallen:
            self._agenda.after(fault.down_ms or DOWN_MS, self._come_back, node)

    def _stop(self, node: Node, *, kept: bool = False) -> bool:
        """Take a node down; False if it is down already, and when it starts is settled."""
        if not node.is_up:
            return False
        if node.disk.is_syncing:
            self._happened["record kept" if kept else "record torn"] += 1
        self._chronicle.tell("loses power", node.place)
        node.stop(kept=kept)
        return True

    def _come_back(self, node: Node) -> None:
        if node.place not in self._gone:
            self._start(node)

    def _exchange_disk(
        self, how: str, fault: DiskLost | DiskRestored, exchange: Callable[[], None]
    ) -> None:
        if self._are_over:
            return
        node = self._nodes[fault.place]
        self._happened[how] += 1
        was_up = self._stop(node)
        self._chronicle.tell("loses its disk", fault.place)
        exchange()
        self._forget(node.validator)
        if was_up:
            self._agenda.after(fault.down_ms, self._come_back, node)

    def _copy_disk(self, fault: DiskRestored) -> None:
        restore = self._nodes[fault.place].disk.snapshot()
        self._agenda.at(fault.at_ms, self._exchange_disk, "disk restored", fault, restore)

    def _corrupt_disk(self, fault: DiskCorrupt) -> None:
        if self._are_over:
            return
        node = self._nodes[fault.place]
        self._happened["disk corrupt"] += 1
        was_up = self._stop(node)
        node.disk.corrupt()
        if was_up:
            self._agenda.after(CORRUPT_DOWN_MS, self._come_back, node)
