"""Writes the tables of all bounds into docs/SECURITY.md; `--check` only compares.

A bound is a field of one of the classes of limits, or a constant of a module that ends in `_MAX`;
all modules are walked for these. What it bounds is said by the docstring below it, and below the
last one of a group that stands together. What happens when it bites is either that it is counted,
by its name, or it is said here: every bound has one of the two.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from itertools import groupby
from pathlib import Path
from typing import Any

from written_page import between, write_or_check

from qbft.replica.bounds import Bound
from qbft_server.bounds import NodeBound
from qbft_server.config import LimitSettings

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "SECURITY.md"
BEGIN, END = "<!-- bounds: begin -->", "<!-- bounds: end -->"
COUNTED = {*Bound, *NodeBound}


@dataclass(frozen=True)
class Source:
    """Where some bounds stand: a class of limits, or the constants of a module (no class).

    `prefix` is what their names begin with where they are counted; `names` are fields, where not
    all of the class are bounds. `bites` says what happens at constants that only this module has.
    """

    path: str
    class_: str = ""
    prefix: str = ""
    names: tuple[str, ...] = ()
    bites: Mapping[str, str] = field(default_factory=dict)

    @property
    def module(self) -> Any:
        """The module, imported."""
        parts = Path(self.path).with_suffix("").parts
        return importlib.import_module(".".join(parts[parts[0] == "server" :]))


def _rejects(reason: str) -> str:
    return f'`qbft_rejects_total{{reason="{reason}"}}`'


PACE = "nothing: a pace"
WEIGHT = "nothing: a weight"
PAGES = "further pages"
CACHE = "nothing: a cache"
GRPC = "gRPC refuses, unseen by the node"
BAD_FILE = "the file is refused"
REFUSED = "it is refused, and the command ends"
CUT = "the rest is not shown"

SOURCES: dict[str, tuple[Source, ...]] = {
    "What one frame may hold": (
        Source("qbft/wire/limits.py", "WireLimits"),
        Source("qbft/wire/limits.py"),
        Source("qbft/wire/accounts.py"),
        Source("qbft/crypto/signing.py"),
        Source("qbft/core/messages.py"),
        Source("qbft/crypto/entries.py", bites={"_VERIFIED_MAX": CACHE}),
        Source("qbft/crypto/canonical.py", bites={"PREFIXES_CACHED_MAX": CACHE}),
        Source("qbft/crypto/roster.py", bites={"LEADERS_CACHED_MAX": CACHE}),
    ),
    "The cluster file, the node's file, keys and epochs": (
        Source(
            "qbft/cluster.py",
            bites={
                "VALIDATORS_MAX": BAD_FILE,
                "PREFIXES_MAX": BAD_FILE,
                "PROPOSERS_PER_PREFIX_MAX": BAD_FILE,
                "CLUSTER_FILE_BYTES_MAX": BAD_FILE,
                "EPOCH_MAX": BAD_FILE,
                "OPERATORS_MAX": BAD_FILE,
                "PREDECESSORS_MAX": BAD_FILE,
                "SEAL_CHARACTERS_MAX": BAD_FILE,
                "_SHOWN_CHARACTERS_MAX": CUT,
            },
        ),
        Source(
            "server/qbft_server/config.py",
            bites={
                "RETENTION_RULES_MAX": BAD_FILE,
                "GRANTS_MAX": BAD_FILE,
                "GRANT_PREFIXES_MAX": BAD_FILE,
            },
        ),
        Source("server/qbft_server/identity.py", bites={"PRIVATE_FILE_BYTES_MAX": BAD_FILE}),
        Source("qbft/crypto/seal.py", bites={"SEAL_TOPICS_MAX": "it is no seal"}),
        Source("server/qbft_server/reconfiguring.py", bites={"ATTEMPTS_MAX": "the command fails"}),
        Source(
            "qbft/wire/signer.py",
            bites={"SIGNER_MESSAGE_BYTES_MAX": "the connection ends, and the node stops voting"},
        ),
        Source("server/qbft_server/signer/process.py", bites={"CONNECTIONS_MAX": "it is closed"}),
        Source(
            "server/qbft_server/signer/remote.py",
            bites={"SIGN_SECONDS_MAX": "the node stops voting"},
        ),
    ),
    "Instances, votes, values, answers, turns": (
        Source("qbft/replica/limits.py", "ReplicaLimits"),
        Source("qbft/core/messages.py", "Definition", names=("fifo_messages_max",)),
        Source("qbft/replica/collector.py"),
        Source("qbft/replica/misconduct.py"),
        Source("qbft/replica/outbox.py"),
        Source("qbft/replica/driver.py"),
        Source("qbft/replica/epoch.py"),
        Source("qbft/replica/voice.py"),
        Source("qbft/replica/policy.py"),
        Source("qbft/replica/relay.py", bites={"TURNS_MAX": PACE}),
        Source("qbft/replica/lateness.py", bites={"SKIPPED_MAX": PACE}),
        Source(
            "qbft/replica/recollection.py",
            bites={"PAGE_ASKS_MAX": "the list is asked for from its beginning"},
        ),
        Source("qbft/core/instance.py", bites={"DECIDED_ANSWERS_MAX": "it is answered no more"}),
        Source("qbft/timers.py", bites={"ROUNDS_KEPT_MAX": "the oldest goes"}),
        Source("server/qbft_server/node.py", bites={"GARBAGE_OBJECTS_MAX": PACE}),
        Source("server/qbft_server/allocator.py", bites={"ARENAS_MAX": "threads share them"}),
        Source("server/qbft_server/application.py", bites={"RETRY_SECONDS_MAX": PACE}),
    ),
    "Links to peers": (
        Source("server/qbft_server/peers/limits.py", "PeerLimits"),
        Source("server/qbft_server/peers/outgoing.py", bites={"_WHY_CHARACTERS_MAX": CUT}),
        Source(
            "qbft/wire/hello.py",
            bites={"PROTOCOL_MAX": "no link, where the two ends have no version in common"},
        ),
    ),
    "Clients": (
        Source(
            "server/qbft_server/config.py",
            "LimitSettings",
            names=(
                "proposals_in_flight_max",
                "proposal_bytes_in_flight_max",
                "client_share_percent_max",
                "openings_at_once_max",
            ),
        ),
        Source("server/qbft_server/services/turns.py"),
        Source("server/qbft_server/services/budgets.py"),
        Source("server/qbft_server/services/wasted.py"),
        Source("server/qbft_server/services/replies.py"),
        Source("server/qbft_server/services/reading.py"),
        Source("server/qbft_server/services/accounts.py"),
        Source("server/qbft_server/services/unread.py"),
        Source("server/qbft_server/services/appending.py"),
        Source("server/qbft_server/ordered/appends.py"),
        Source("server/qbft_server/ordered/queue.py"),
        Source("server/qbft_server/services/arrivals.py"),
        Source("server/qbft_server/services/anyone.py"),
        Source("server/qbft_server/services/server.py"),
        Source("server/qbft_server/files.py"),
    ),
    "What a client takes of nodes, any of which may lie": (
        Source("qbft/client/access.py", bites={"MESSAGE_BYTES_MAX": "the call fails"}),
        Source(
            "qbft/client/accounts.py",
            bites={
                "EVIDENCE_MAX": "no further page is asked for",
                "HEIGHTS_TOPICS_MAX": "the node has lied",
            },
        ),
        Source("qbft/client/appending.py", bites={"SIGNINGS_MAX": "`Refused` is raised"}),
        Source("qbft/client/client.py", bites={"IN_FLIGHT_MAX": "the next proposal waits"}),
        Source("qbft/client/hedging.py", bites={"PATIENCE_SECONDS_MAX": PACE}),
        Source(
            "qbft/client/retrying.py",
            bites={
                "RETRY_SECONDS_MAX": PACE,
                "PUSHBACK_MS_MAX": PACE,
                "MESSAGE_CHARACTERS_MAX": CUT,
            },
        ),
        Source("qbft/client/signing.py", bites={"TOPICS_KEPT_MAX": CACHE}),
    ),
    "People and monitoring": (
        Source("server/qbft_server/telemetry/admin.py", prefix="admin_"),
        Source("server/qbft_server/telemetry/events.py"),
        Source("server/qbft_server/telemetry/traces.py"),
        Source("server/qbft_server/config.py", "RecorderSettings", names=("bytes_max",)),
    ),
    "Disks": (
        Source("server/qbft_server/store/limits.py", "StoreLimits"),
        Source("server/qbft_server/store/journal.py", "JournalLimits"),
        Source(
            "server/qbft_server/store/journal.py",
            bites={
                "_CHECKPOINT_RECORDS_MAX": "several commits",
                "_CHECKPOINT_BYTES_MAX": "several commits",
            },
        ),
        Source(
            "server/qbft_server/store/segments.py",
            bites={"RECORD_BYTES_MAX": "the commit fails: no turn makes one of this size"},
        ),
        Source("server/qbft_server/store/decisions.py"),
        Source("server/qbft_server/store/retention.py"),
    ),
    "Embedding: one process of the engine, without a node": (
        Source("qbft/runner.py", bites={"WAITING_INPUTS_MAX": "links are not read"}),
        Source(
            "qbft/memory.py",
            bites={"QUEUE_FRAMES_MAX": "the frame is lost", "BATCH_FRAMES_MAX": PACE},
        ),
    ),
    "Commands: captures, diagrams, diagnosis": (
        Source(
            "qbft/replay/capture.py",
            bites={
                "CAPTURE_BYTES_MAX": REFUSED,
                "UNPACKED_BYTES_MAX": REFUSED,
                "RECORDS_MAX": REFUSED,
                "ENTRIES_MAX": REFUSED,
                "TIME_MS_MAX": REFUSED,
                "TEXT_MAX": f"{REFUSED}; of an own reason, {CUT}",
                "TAG_BYTES_MAX": WEIGHT,
                "AROUND_BYTES_MAX": WEIGHT,
            },
        ),
        Source("qbft/replay/charon.py", bites={"ROUNDS_SKIPPED_MAX": "no more timers expire"}),
        Source("qbft/parity.py", bites={"DIFFERENCES_MAX": CUT}),
        Source(
            "qbft/diagram/drawing.py",
            bites={"FLIGHTS_MAX": CUT, "_MARGIN_MAX": CUT, "TEXT_MAX": CUT},
        ),
        Source(
            "qbft/diagram/scale.py",
            bites={"GAP_PIXELS_MAX": "it is drawn cut", "WIDTH_MAX": "all is drawn narrower"},
        ),
        Source(
            "server/qbft_server/cli/asking.py",
            bites={"VALUE_BYTES_MAX": REFUSED, "WHY_CHARACTERS_MAX": CUT},
        ),
        Source("server/qbft_server/cli/operating.py", bites={"CERTIFICATE_BYTES_MAX": REFUSED}),
        Source("server/qbft_server/cli/replay.py", bites={"INSTANCES_NAMED_MAX": CUT}),
        Source("server/qbft_server/cli/simulating.py", bites={"SCENARIO_BYTES_MAX": REFUSED}),
        Source(
            "server/qbft_server/doctor.py",
            bites={
                "SYNC_MS_MAX": "a warning",
                "CLOCK_DRIFT_MAX": "a warning",
                "CLOCK_OFFSET_MS_MAX": "a warning",
            },
        ),
    ),
    "Simulator, chaos and demo": (
        Source("qbft/sim/agenda.py", bites={"EVENTS_PER_MS_MAX": "the run fails"}),
        Source("qbft/sim/twins.py", bites={"HEALED_ROUNDS_MAX": "the run fails"}),
        Source(
            "qbft/sim/plan.py",
            bites={"NODES_MAX": REFUSED, "INSTANCES_MAX": REFUSED, "TIME_MS_MAX": REFUSED},
        ),
        Source("qbft/sim/byzantine/behaviour.py", bites={"HEARD_MAX": "the oldest go"}),
        Source("qbft/sim/garbage.py", bites={"OBJECTS_MAX": PACE}),
        Source("qbft/sim/matrix/cells.py", bites={"RUNS_COMPARED_MAX": WEIGHT}),
        Source("qbft/sim/retold.py", bites={"MESSAGES_MAX": "later ones are not retold"}),
        Source("server/qbft_server/chaos/checker.py", bites={"VIOLATIONS_KEPT_MAX": CUT}),
        Source(
            "server/qbft_server/chaos/load.py",
            bites={
                "UNARY_IN_FLIGHT_MAX": PACE,
                "STREAM_IN_FLIGHT_MAX": PACE,
                "RECENT_MAX": "the oldest goes",
                "LIST_SPAN_MAX": PACE,
                "STREAK_MAX": PACE,
                "APPENDS_IN_FLIGHT_MAX": PACE,
            },
        ),
        Source("server/qbft_server/chaos/relays.py", bites={"QUEUE_CHUNKS_MAX": "it is not read"}),
        Source("server/qbft_server/local.py", bites={"PORT_ATTEMPTS_MAX": "the command fails"}),
        Source(
            "server/qbft_server/demo/load.py",
            bites={"IN_FLIGHT_PER_CLIENT_MAX": PACE, "PROPOSE_SECONDS_MAX": "the demo fails"},
        ),
        Source(
            "server/qbft_server/demo/rows.py",
            bites={"ROWS_MAX": REFUSED, "INPUT_BYTES_MAX": REFUSED, "VALUE_BYTES_MAX": REFUSED},
        ),
        Source(
            "server/qbft_server/demo/story.py", bites={"CATCH_UP_SECONDS_MAX": "the demo fails"}
        ),
    ),
}

SETTINGS = {
    "value_bytes_max": "value_bytes_max",
    "open_instances_max": "open_instances_max",
    "proposals_in_flight_max": "proposals_in_flight_max",
    "proposal_bytes_in_flight_max": "proposal_bytes_in_flight_max",
    "client_share_percent_max": "client_share_percent_max",
    "openings_at_once_max": "openings_at_once_max",
    "outgoing_frames_max": "peer_queue_frames_max",
    "outgoing_bytes_max": "peer_queue_bytes_max",
}
"""Bounds that an operator may set, and as what below `limits` (docs/CONFIG.md)."""


UNCOUNTED = {
    # one frame
    "value_bytes_max": _rejects("bad_value"),
    "frame_bytes_max": _rejects("too_large"),
    "votes_max": _rejects("too_many"),
    "votes_total_max": _rejects("too_many"),
    "relayed_max": _rejects("too_many"),
    "proposals_max": _rejects("too_many"),
    "certificates_max": _rejects("too_many"),
    "wanted_values_max": _rejects("too_many"),
    "wanted_decisions_max": _rejects("too_many"),
    "feed_instances_max": _rejects("too_many"),
    "marks_max": _rejects("too_many"),
    "VALIDATORS_MAX": _rejects("bad_source"),
    "PATH_HASHES_MAX": _rejects("bad_signature_shape"),
    "SEQUENCE_MAX": _rejects("malformed"),
    "HELLO_BYTES_MAX": _rejects("too_large"),
    "INSTANCES_CACHED_MAX": CACHE,
    "HEIGHT_MAX": _rejects("bad_instance"),
    "ROUND_MAX": _rejects("bad_round"),
    "BATCH_VOTES_MAX": "several signatures",
    "VERIFIED_CACHED_MAX": CACHE,
    "TREES_VOTES_MAX": CACHE,
    "BATCH_ENTRIES_MAX": _rejects("unauthorised_proposal"),
    "REQUEST_ID_BYTES_MAX": _rejects("unauthorised_proposal"),
    "ENTRY_OVERHEAD_BYTES_MAX": WEIGHT,
    # the replica
    "open_instances_per_peer_first": "above it, counted as `open_instances_per_peer_max`",
    "open_instances_per_peer_min": "above it, counted as `open_instances_per_peer_max`",
    "stuck_ms": PACE,
    "opening_places_free": "above it, counted as `opening_places_min`",
    "opening_places_max": "counted as `opening_places_min`",
    "contention_ms": PACE,
    "opening_place_ms": PACE,
    "opening_bytes_per_place": WEIGHT,
    "opened_bytes_per_ms": "counted as `opened_bytes_burst_max`",
    "opened_bytes_each": WEIGHT,
    "asked_bytes_min": WEIGHT,
    "proposal_bytes_per_frame_max": "the value is fetched",
    "section_bytes_max": "several sections",
    "feed_page_instances_max": _rejects("bad_feed_page"),
    "feed_page_bytes": WEIGHT,
    "feed_retry_ms": PACE,
    "recent_decisions_max": "the oldest goes; the store answers",
    "linger_instances": PACE,
    "linger_ms_max": PACE,
    "late_commit_ms": PACE,
    "late_every_ms": "counted as `late_burst_max`",
    "resend_ms": PACE,
    "resend_ms_max": PACE,
    "answer_every_ms": "counted as `answer_burst_max`",
    "pull_bytes_per_ms": "counted as `pull_bytes_burst_max`",
    "memory_page_max": PAGES,
    "memory_page_bytes": PAGES,
    "memory_list_every_ms": "counted as `memory_lists_burst_max`",
    "memory_entries_per_work": WEIGHT,
    "remembered_decisions_max": "older ones are left out",
    "provide_value_ms": _rejects("application_gave_no_answer"),
    "check_value_ms": _rejects("application_gave_no_answer"),
    "waste_work_per_ms": "counted as `waste_work_max`",
    "FRAME_VALUE_BYTES_MAX": "several frames",
    "FRAME_VOTES_MAX": "several frames",
    "FRAME_WANTS_MAX": "several frames",
    "SEALS_MAX": "it is invalid here",
    "VOTES_REMEMBERED_MAX": "a later lost vote is met while its number is not given out",
    # links
    "message_bytes_max": "own frames are split; of others, gRPC ends the stream",
    "batch_frames_max": PACE,
    "batch_bytes_max": PACE,
    "batch_elements_max": PACE,
    "hello_seconds_max": f"{_rejects('hello_timeout')}; whoever dials dials again",
    "backoff_seconds_min": PACE,
    "backoff_seconds_max": PACE,
    "stable_seconds_min": PACE,
    "keepalive_seconds": PACE,
    "keepalive_timeout_seconds": "the connection ends",
    "streams_per_connection_max": GRPC,
    "idle_connection_seconds_max": "the connection ends",
    "streams_extra_max": GRPC + "; see `qbft_peer_streams`",
    # clients
    "LIST_DECISIONS_MAX": PAGES,
    "LIST_BYTES_MAX": PAGES,
    "LIST_EVIDENCE_MAX": PAGES,
    "OPENING_SECONDS_MAX": PACE,
    "WASTED_CHECKS_PER_SECOND_MAX": "counted as `wasted_checks_max`",
    "WASTERS_KEPT_MAX": CACHE,
    "REQUEST_OF_ANYONE_BYTES_MAX": "`INVALID_ARGUMENT`",
    "CALLS_MAX": "counted as `client_share_percent_max`; see `qbft_client_calls_open`",
    "SLOW_ARRIVAL_SECONDS_MAX": "`RESOURCE_EXHAUSTED`",
    "ARRIVALS_OF_ANYONE_MAX": "counted as `arrivals_max`",
    "STREAM_WINDOW_BYTES_MAX": "the client's gRPC waits",
    "STREAMS_PER_CLIENT_MAX": "the client's gRPC waits",
    "HANDSHAKE_MS_MAX": "the connection ends",
    "IDLE_CONNECTION_MS_MAX": "the connection ends",
    "CLIENT_CONNECTIONS_MAX": "gRPC closes it, unseen by the node; see `process_open_fds`",
    "REPLY_VALUE_BYTES_MAX": "the client reads the decision",
    "KNOWN_ENDS_MAX": CACHE,
    "AHEAD_MAX": "others' batches are adopted",
    # people
    "DRAWN_ENTRIES_MAX": "later ones are not drawn",
    "QUEUE_SPANS_MAX": "`qbft_spans_total`: fewer are exported than ended",
    "SPAN_EVENTS_MAX": "the span tells how many",
    "SPAN_LINKS_MAX": "the span tells how many",
    "EXPORT_SECONDS_MAX": '`qbft_spans_total{outcome="failed"}`',
    "LINK_LINES_MAX": "logged at debug",
    "bytes_max": "`qbft_recorder_instances_dropped_total`, `qbft_recorder_entries_dropped_total`",
    # disks
    "flush_interval_ms": PACE,
    "flush_retry_ms": PACE,
    "flush_decisions_max": "a further transaction",
    "flush_bytes_max": "a further transaction",
    "insert_decisions_max": PACE,
    "recent_bytes_max": CACHE,
    "retain_interval_ms": PACE,
    "delete_decisions_max": PACE,
    "segment_bytes_max": "`qbft_journal_rotations_total`",
    "retained_bytes_max": "`qbft_journal_checkpoints_total`",
    "inline_bytes_max": "`qbft_journal_thread_commits_total`",
    "inline_seconds_max": "`qbft_journal_thread_commits_total`",
    "pace_window_commits": PACE,
    "TOPICS_KEPT_MAX": CACHE,
    "SLACK_MAX": PACE,
    "TOPICS_PER_PASS_MAX": PACE,
    "REASONS_MAX": "the others are left out",
    "REASON_CHARACTERS_MAX": "the others are left out",
    "NUMBER_MAX": "told as the highest",
}
"""What happens at the bounds that are not counted by their names."""


@dataclass(frozen=True)
class Row:
    """One bound."""

    name: str
    default: object
    text: str
    where: str
    counted_as: str | None
    said: str | None = None

    @property
    def bites(self) -> str:
        """What is seen when it bites.

        Raises:
            LookupError: nobody has said.
        """
        if self.said is not None:
            return self.said
        if self.counted_as is not None:
            is_own = self.counted_as == self.name.lower()
            return "counted" if is_own else f"counted as `{self.counted_as}`"
        if self.name not in UNCOUNTED:
            raise LookupError(f"{self.name} in {self.where}: count it, or say what happens")
        return UNCOUNTED[self.name]


def rows(source: Source) -> Iterator[Row]:
    """The bounds of a source, in their order."""
    module = source.module
    body = ast.parse((ROOT / source.path).read_text()).body
    if source.class_:
        class_ = getattr(module, source.class_)
        body = next(n for n in body if isinstance(n, ast.ClassDef) and n.name == source.class_).body
        defaults = _defaults(class_)
    else:
        defaults = vars(module)
    for name, text in _described(body):
        is_bound = name in defaults and (
            (not source.names or name in source.names) if source.class_ else name.endswith("_MAX")
        )
        if is_bound and not hasattr(defaults[name], "__dataclass_fields__"):
            if not text:
                raise LookupError(f"{name} in {source.path} has no docstring")
            label = f"{source.prefix}{name.lower()}"
            is_default = source.class_ != "RecorderSettings"
            said = source.bites.get(name)
            counted_as = label if label in COUNTED and is_default and said is None else None
            yield Row(name, defaults[name], text, source.path, counted_as, said)


def _defaults(class_: Any) -> dict[str, Any]:
    """A dataclass's defaults, or a model's."""
    if hasattr(class_, "model_fields"):
        return {name: field.default for name, field in class_.model_fields.items()}
    values = {}
    for each in fields(class_):
        if isinstance(each.default, (int, float)) and not isinstance(each.default, bool):
            values[each.name] = each.default
    return values


def _described(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    """Each name that is given a value, with the docstring of its group."""
    group: list[str] = []
    end = 0
    for node in body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        target = node.target if isinstance(node, ast.AnnAssign) else target
        if isinstance(target, ast.Name):
            if group and node.lineno > end + 1:
                yield from ((name, "") for name in group)
                group = []
            group.append(target.id)
        elif group:
            text = ""
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                text = " ".join(str(node.value.value).split())
            yield from ((name, text) for name in group)
            group = []
        end = node.end_lineno or 0
    yield from ((name, "") for name in group)


def _shown(row: Row) -> str:
    number = row.default
    if isinstance(number, int) and "bytes" in row.name.lower():
        for unit, size in (("MiB", 1 << 20), ("KiB", 1 << 10)):
            if number >= size and not number % (size // 4):
                return f"{number / size:g} {unit}"
    if isinstance(number, int) and number > 1 << 30:
        return f"2^{number.bit_length()}-1" if number & 1 else f"2^{number.bit_length() - 1}"
    return f"{number:,}"


def _named(row: Row) -> str:
    setting = SETTINGS.get(row.name)
    return f"`{row.name}`" + (f" (`limits.{setting}`)" if setting else "")


def _line(group: list[Row]) -> str:
    """Bounds that are described together."""
    columns = (
        map(_named, group),
        map(_shown, group),
        [group[0].text.replace("|", "\\|")],
        dict.fromkeys(row.bites for row in group),
    )
    return "| " + " | ".join(map("<br>".join, columns)) + " |"


def check_modules() -> None:
    """See that each module with such constants is in a table.

    Raises:
        LookupError: one is in none.
    """
    known = {source.path for sources in SOURCES.values() for source in sources if not source.class_}
    for top in ("qbft", "server"):
        for path in sorted((ROOT / top).rglob("*.py")):
            where = path.relative_to(ROOT).as_posix()
            body = ast.parse(path.read_text()).body
            names = [name for name, _ in _described(body) if name.endswith("_MAX")]
            if names and where not in known:
                raise LookupError(f"{', '.join(names)} in {where}: no table has them")


def tables() -> str:
    """All tables.

    Raises:
        LookupError: a constant is in no table, or of some bound it is not said what it is, or what
            happens when it bites.
    """
    check_modules()
    lines: list[str] = []
    used: set[str] = set()
    for title, sources in SOURCES.items():
        lines += ["", f"**{title}**", "", "| bound | default | what it bounds | when it bites |"]
        lines += ["|---|---|---|---|"]
        found = [row for source in sources for row in rows(source)]
        used.update(
            word for row in found if row.said is None for word in (row.name, row.counted_as or "")
        )
        said = {(source.path, name) for source in sources for name in source.bites}
        if surplus := said - {(row.where, row.name) for row in found}:
            raise LookupError(f"no bounds: {sorted(surplus)}")
        lines += [_line(list(group)) for _, group in groupby(found, lambda row: row.text)]
    surplus = {*UNCOUNTED, *map(str, COUNTED)} - used
    surplus |= {*SETTINGS.values()} - LimitSettings.model_fields.keys()
    if surplus:
        raise LookupError(f"no bounds, or said twice: {sorted(surplus)}")
    return "\n".join(lines[1:])


if __name__ == "__main__":
    text = between(PAGE, BEGIN, END, tables())
    sys.exit(write_or_check(PAGE, text, __file__))
