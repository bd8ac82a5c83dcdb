"""A network between hosts of one machine, packet by packet: delay, loss, copies, cuts, partitions.

A host is a network namespace with one TUN device; a thread of the test process carries IPv4 packets
between them. Needs CAP_NET_ADMIN and /dev/net/tun, and namespaces of its own, so that nothing is
left behind and nothing gets out (see `test_network.py`).
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

SUBNET = "10.91.0"
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_PACKETS_AT_ONCE = 64
_TCP = 6


@dataclass(frozen=True, slots=True)
class Link:
    """One direction between two hosts; times in seconds, loss from 0 to 1.

    Each copy of a packet is lost or delayed by itself: with jitter they overtake one another. What
    is held arrives when the hub is told to let it go, whatever has become of the link. A link that
    is mute loses what is said and delivers the acknowledgements of TCP, so that its source hears.
    """

    delay: float = 0.0
    jitter: float = 0.0
    copies: int = 1
    loss: float = 0.0
    is_up: bool = True
    is_held: bool = False
    is_mute: bool = False


@dataclass(slots=True)
class Counts:
    """What links did to packets."""

    lost: int = 0
    """By chance; not by a link that is down, or mute."""
    copied: int = 0
    """Those that arrived once more."""
    delayed: int = 0
    overtaken: int = 0
    """Those that arrived after what was sent later from the same host to the same."""


def address_of(host: int) -> str:
    """The address of a host, from 1 to 254."""
    return f"{SUBNET}.{host}"


class Hub:
    """Carries packets between hosts, as its links say."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)
        self._devices: dict[int, int] = {}
        self._links: dict[tuple[int, int], Link] = {}
        self._counts = Counts()
        self._newest: dict[tuple[int, int], int] = {}
        self._is_stopping = False
        self._letting_go = threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)

    def add_host(self, host: int, pid: int) -> None:
        """Give the network namespace of a process a device with the address of a host."""
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        name = f"tun{host}"
        request = struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(device, _TUNSETIFF, request)
        inside = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip"]
        for command in (
            ["ip", "link", "set", name, "netns", str(pid)],
            [*inside, "link", "set", "lo", "up"],
            [*inside, "addr", "add", f"{address_of(host)}/24", "dev", name],
            [*inside, "link", "set", name, "up"],
        ):
            subprocess.run(command, check=True)
        self._devices[host] = device

    def start(self) -> None:
        """Begin to carry."""
        self._thread.start()

    def stop(self) -> None:
        """End, and take the devices down."""
        self._is_stopping = True
        self._thread.join()
        for device in self._devices.values():
            os.close(device)

    def set_one_way(self, source: int, to: int, link: Link) -> None:
        """Change one direction."""
        self._links[source, to] = link

    def set(self, hosts: Iterable[int], others: Iterable[int], link: Link) -> None:
        """Change both directions between all of these and all of those."""
        others = tuple(others)
        for a in hosts:
            for b in others:
                self._links[a, b] = self._links[b, a] = link

    def heal(self) -> None:
        """Make all links perfect again."""
        self._links = {}

    def let_go(self) -> None:
        """Deliver what was held, and nothing that is sent from now on."""
        self._letting_go.set()

    def count(self) -> Counts:
        """What was done to packets since this was last asked."""
        counts, self._counts = self._counts, Counts()
        return counts

    def _carry(self) -> None:
        host_of = {device: host for host, device in self._devices.items()}
        poll = select.epoll()
        for device in host_of:
            poll.register(device, select.EPOLLIN)
        in_flight: list[tuple[float, int, int, int, bytes]] = []
        held: list[tuple[float, int, int, int, bytes]] = []
        count = 0
        while not self._is_stopping:
            if self._letting_go.is_set():
                self._letting_go.clear()
                in_flight += held
                heapq.heapify(in_flight)
                held = []
            wait = in_flight[0][0] - time.monotonic() if in_flight else 0.1
            for device, _ in poll.poll(min(max(wait, 0.0), 0.1)):
                for packet in _packets(device):
                    source, to = host_of[device], packet[19]
                    link = self._links.get((source, to), Link())
                    if link.is_held:
                        held.append((0.0, len(held), source, to, packet))
                    elif (
                        to in self._devices
                        and link.is_up
                        and not (link.is_mute and _says_something(packet))
                    ):
                        for delay in self._delays(link):
                            count += 1
                            due = time.monotonic() + delay
                            heapq.heappush(in_flight, (due, count, source, to, packet))
            while in_flight and in_flight[0][0] <= time.monotonic():
                _, number, source, to, packet = heapq.heappop(in_flight)
                self._note_order(source, to, number)
                self._deliver(to, packet)
        poll.close()

    def _delays(self, link: Link) -> Iterable[float]:
        """Of the copies of a packet that are not lost."""
        arriving = 0
        for _ in range(link.copies):
            if self._random.random() < link.loss:
                self._counts.lost += 1
                continue
            delay = link.delay + self._random.uniform(0, link.jitter)
            self._counts.copied += arriving > 0
            self._counts.delayed += delay > 0
            arriving += 1
            yield delay

    def _note_order(self, source: int, to: int, number: int) -> None:
        """Count a packet that comes after one that was sent later."""
        newest = self._newest.get((source, to), 0)
        self._counts.overtaken += number < newest
        self._newest[source, to] = max(number, newest)

    def _deliver(self, to: int, packet: bytes) -> None:
        with contextlib.suppress(OSError):  # the host has no room: packets may get lost
            os.write(self._devices[to], packet)


def _packets(device: int) -> Iterable[bytes]:
    """The IPv4 packets that wait at a device, a few at a time."""
    for _ in range(_PACKETS_AT_ONCE):
        try:
            packet = os.read(device, 1 << 16)
        except BlockingIOError:
            return
        if packet[0] >> 4 == 4:
            yield packet


def _says_something(packet: bytes) -> bool:
    """Whether it is more than the headers of TCP."""
    ip_bytes, total_bytes = (packet[0] & 0xF) * 4, int.from_bytes(packet[2:4])
    return packet[9] != _TCP or total_bytes > ip_bytes + (packet[ip_bytes + 12] >> 4) * 4


def make_namespace() -> tuple[int, int]:
    """A new network namespace, held open by a process; gives its pid, and a pipe that ends it."""
    read, write = os.pipe()
    holder = subprocess.Popen(["unshare", "-n", "cat"], stdin=read, stdout=subprocess.DEVNULL)
    os.close(read)
    own = os.readlink("/proc/self/ns/net")
    deadline = time.monotonic() + 10
    while os.readlink(f"/proc/{holder.pid}/ns/net") == own:
        if time.monotonic() > deadline:
            raise TimeoutError("no network namespace was made")
        time.sleep(0.005)
    _HOLDERS.append(holder)
    return holder.pid, write


_HOLDERS: list[subprocess.Popen[bytes]] = []


def end_namespaces(pipes: Iterable[int]) -> None:
    """Let go of the namespaces, and wait for the processes that held them."""
    for pipe in pipes:
        os.close(pipe)
    for holder in _HOLDERS:
        holder.wait(10)
    _HOLDERS.clear()


def can_be_used() -> str | None:
    """Why namespaces cannot be made here, or None."""
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    tried = subprocess.run(
        ["unshare", "-m", "-n", "-p", "-f", "--mount-proc", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if tried.returncode == 0 else f"unshare is refused: {tried.stderr.strip()}"
