"""Samples of a node's stacks, and the stage of the rhythm that each belongs to.

A stack belongs to the stage of its innermost frame that is named here: what a helper does is
charged to whoever called it. DESIGN, one driver, one rhythm, gives the stages.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

SYNC = "sync"
LOOP, IDLE = "loop", "idle"
STAGES = {
    "receive": "taking bytes from peers' streams",
    "decode": "bytes to messages, shapes and bounds checked",
    "verify": "signatures, of frames, votes, certificates and proposals",
    "step": "the engines",
    "guard": "refusing to contradict the journal",
    "sign": "one signature for the votes of a turn",
    "journal": "writing the turn's records, without the wait for the disk",
    SYNC: "waiting for the disk",
    "encode": "messages to bytes",
    "send": "queues and streams towards peers",
    "replica": "the rest of the replica: intake, opening, timers, outbox",
    "store": "decisions: index, SQLite, whoever waits for them",
    "clients": "calls of clients",
    LOOP: "event loop, gRPC, sockets",
    IDLE: "nothing to do, or no processor to be had",
}

_VERIFYING = (
    "has_signed",
    "is_genuine",
    "is_justification_genuine",
    "proves",
    "is_proposed",
)
RULES: Sequence[tuple[str, str, tuple[str, ...]]] = (
    (SYNC, "qbft_server/store/segments.py", ("sync", "sync_directory")),
    ("journal", "qbft_server/store/segments.py", ()),
    ("journal", "qbft_server/store/journal.py", ()),
    ("journal", "qbft_server/store/live.py", ()),
    ("journal", "qbft/wire/journal.py", ()),
    ("store", "qbft_server/store/", ()),
    ("verify", "qbft/replica/authenticator.py", _VERIFYING),
    ("verify", "qbft/crypto/signing.py", ("verify_section", "verify_vote", "verify_message")),
    ("verify", "qbft/crypto/certificate.py", ("verify_certificate",)),
    ("verify", "qbft/crypto/proposal.py", ("is_proposal_genuine",)),
    ("sign", "qbft/replica/authenticator.py", ("sign",)),
    ("sign", "qbft/crypto/signing.py", ("sign",)),
    ("step", "qbft/core/instance.py", ()),
    ("step", "qbft/core/justification.py", ()),
    ("step", "qbft/core/message_log.py", ()),
    ("guard", "qbft/replica/guard.py", ()),
    ("encode", "qbft/wire/frames.py", ("encode_frame",)),
    ("decode", "qbft/wire/frames.py", ("decode_in_steps", "decode_frame")),
    ("send", "qbft_server/peers/transport.py", ("send",)),
    ("send", "qbft_server/peers/outgoing.py", ()),
    ("receive", "qbft_server/peers/transport.py", ()),
    ("receive", "qbft_server/peers/incoming.py", ()),
    ("receive", "qbft/replica/driver.py", ("_pump",)),
    ("clients", "qbft_server/services/", ()),
    ("replica", "qbft/replica/", ()),
)
"""(stage, file or folder, functions or none for all); the first that fits a frame counts."""

MAIN_THREAD = "MainThread"
_FRAME = re.compile(r"^(?P<function>.+) \((?P<path>[^():]+)(?::\d+)?\)$")


@dataclass(frozen=True)
class Frame:
    """One call of a stack."""

    function: str
    path: str

    @property
    def name(self) -> str:
        """The function's own name, without its class."""
        return self.function.rpartition(".")[2]

    def __str__(self) -> str:
        """As it is shown."""
        return f"{self.function} ({self.path})"


@cache
def stage_of(frame: Frame) -> str | None:
    """The stage that a frame names, if it does."""
    for stage, path, functions in RULES:
        if _is_under(frame.path, path) and (not functions or frame.name in functions):
            return stage
    return None


def _is_under(path: str, place: str) -> bool:
    return f"/{place}" in f"/{path}" if place.endswith("/") else f"/{path}".endswith(f"/{place}")


@dataclass(frozen=True)
class Sample:
    """A stack, outermost call first, and how often it was seen."""

    stack: tuple[Frame, ...]
    count: int

    @property
    def stage(self) -> str:
        """Where its time is charged."""
        stages = map(stage_of, reversed(self.stack))
        return next((stage for stage in stages if stage is not None), LOOP)


def read_samples(text: str) -> Iterator[Sample]:
    """Read folded stacks as py-spy writes them, with threads: those of the main thread."""
    for line in text.splitlines():
        folded, _, count = line.rpartition(" ")
        thread, *calls = folded.split(";")
        if MAIN_THREAD in thread or not thread.startswith("thread ("):
            frames = [_frame(call) for call in ([thread, *calls])]
            yield Sample(tuple(frame for frame in frames if frame is not None), int(count))


def _frame(call: str) -> Frame | None:
    found = _FRAME.match(call)
    if found is None or call.startswith(("thread (", "process ")):
        return None
    return Frame(found["function"], _short(found["path"]))


def _short(path: str) -> str:
    """A path from the last folder on that says where it belongs."""
    for root in ("/site-packages/", "/server/"):
        _, found, rest = path.rpartition(root)
        if found:
            return rest
    _, found, rest = path.rpartition("/qbft/")
    return f"qbft/{rest}" if found else path.rpartition("/lib/")[2]


def by_stage(samples: Sequence[Sample], busy_share: float) -> dict[str, float]:
    """The share of the main thread's time that each stage has, in the order of the rhythm.

    From outside the loop looks the same whether it works or waits: what part of that is work comes
    from `busy_share`, the processor time that the main thread used, by what the stages leave of it.
    """
    counted: Counter[str] = Counter()
    for sample in samples:
        counted[sample.stage] += sample.count
    total = sum(counted.values())
    shares = {stage: counted[stage] / total for stage in STAGES}
    working = sum(share for stage, share in shares.items() if stage not in {SYNC, LOOP})
    looping = min(max(busy_share - working, 0.0), shares[LOOP])
    return shares | {LOOP: looping, IDLE: shares[LOOP] - looping}
