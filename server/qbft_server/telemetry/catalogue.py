"""All metrics of a node: what each is called, what it says, and when to look at it.

docs/METRICS.md is written from here (`docs/metrics_page.py`). Labels take values from closed sets:
validators' indexes, or words of this program. None is a client's choice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Described:
    """One metric; `name` is without the suffix that counters and histograms get.

    `look` says what should make an operator look at it, where something should.
    """

    name: str
    kind: Kind
    text: str
    labels: tuple[str, ...] = ()
    look: str = ""

    @property
    def told_as(self) -> str:
        """The name as it is told: counters end in `_total`."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


PEER = ("peer",)

METRICS: tuple[Described, ...] = (
    # --- is it well -------------------------------------------------------------------------------
    Described(
        "qbft_voting",
        "gauge",
        "1 while this node votes.",
        look="0: its journal has failed, or its votes are lost",
    ),
    Described(
        "qbft_behind",
        "gauge",
        "1 while a peer has told of decisions that are not here yet.",
        look="it stays 1",
    ),
    Described(
        "qbft_timer_late_seconds",
        "histogram",
        "Seconds that a due timer of the replica waited for its turn, at most, in each turn.",
        look="above 0.05: the node has too much to do, or its disk is slow",
    ),
    Described(
        "qbft_evidence",
        "counter",
        "Instances in which a validator was caught contradicting itself, by validator; those of "
        "before a restart too.",
        ("validator",),
        look="it is not 0: ask `qbft evidence`",
    ),
    Described(
        "qbft_rejects",
        "counter",
        "Messages, or parts of them, that were refused, by reason and by the peer that sent them; "
        "`stranger` is nobody of this cluster.",
        ("reason", "peer"),
        look="a peer's grows: it is broken, or lies",
    ),
    Described(
        "qbft_bounds",
        "counter",
        "Times that a bound has bitten, by its name and by the peer that ran into it; no peer: "
        "this node or its clients.",
        ("bound", "peer"),
        look="SECURITY.md says of each bound what happens then",
    ),
    Described("qbft_tasks", "gauge", "Tasks of the event loop.", look="it grows without end"),
    Described("qbft_build_info", "gauge", "Always 1; the version of the program.", ("version",)),
    # --- deciding ---------------------------------------------------------------------------------
    Described(
        "qbft_decisions",
        "gauge",
        "Decisions stored here, deleted ones included.",
        look="it stays behind the other nodes'",
    ),
    Described(
        "qbft_instances_opened",
        "counter",
        "Instances that were opened, those of the journal not included.",
    ),
    Described(
        "qbft_instances_decided",
        "counter",
        "Instances decided in this life of the process: `quorum`, by COMMITs that came here; "
        "`certificate`, an open one by somebody's certificate; `unopened`, without having been "
        "open here.",
        ("by",),
        look="most are not by `quorum`: this node is late",
    ),
    Described(
        "qbft_decision_round",
        "histogram",
        "The round in which instances were decided.",
        look="many above 1: a leader is down, or a timer too short",
    ),
    Described(
        "qbft_phase_seconds",
        "histogram",
        "How long each phase of a decision took as seen from here: `accepted`, from opening the "
        "instance to accepting the PRE-PREPARE of its last round; `prepared`, from there to a "
        "quorum of PREPAREs; `decided`, from there to a quorum of COMMITs.",
        ("phase",),
        look="`accepted` grows: leaders or rounds; the others: peers, network, disks",
    ),
    Described(
        "qbft_round_timeouts", "counter", "Round timers that ran out.", look="it grows steadily"
    ),
    Described(
        "qbft_open_instances",
        "gauge",
        "Undecided instances with an engine.",
        look="it grows and does not fall",
    ),
    Described(
        "qbft_oldest_open_seconds",
        "gauge",
        "Seconds that the oldest of them has been open, in this life of the process; 0: none is.",
        look="it grows: ask `qbft why`",
    ),
    Described(
        "qbft_kept_out_instances",
        "gauge",
        "Undecided instances in which this node never votes: its lost votes may be there, or its "
        "engine met a bug.",
        look="it stays above 0: replace no other node",
    ),
    Described(
        "qbft_bare_decisions",
        "gauge",
        "Decisions whose value's bytes are not here yet.",
        look="it does not fall",
    ),
    Described("qbft_settling_decisions", "gauge", "Decisions on their way to the journal."),
    Described(
        "qbft_topics",
        "gauge",
        "Topics of which this node keeps something.",
        look="it nears `topics_max`",
    ),
    Described("qbft_held_votes", "gauge", "Votes that wait for their instance to open."),
    # --- clients ----------------------------------------------------------------------------------
    Described(
        "qbft_propose_seconds",
        "histogram",
        "Seconds from a client's proposal to its decision.",
        look="1 s and more: rounds change",
    ),
    Described(
        "qbft_appends",
        "counter",
        "Entries of ordered topics whose clients were told their position.",
    ),
    Described(
        "qbft_append_heights_lost",
        "counter",
        "Heights of ordered topics that went to another node's batch while entries waited here.",
        look="it grows as fast as heights do: clients append at several nodes at once",
    ),
    Described(
        "qbft_client_calls",
        "counter",
        "Calls of clients that ended, by method and status code.",
        ("method", "code"),
        look="RESOURCE_EXHAUSTED: a limit bites",
    ),
    Described("qbft_client_calls_open", "gauge", "Calls of clients that run."),
    Described("qbft_proposals_in_flight", "gauge", "Proposals of clients that wait for decisions."),
    Described("qbft_proposal_bytes_in_flight", "gauge", "Bytes of the values of these proposals."),
    Described(
        "qbft_client_instances_open",
        "gauge",
        "Undecided instances that clients opened by proposing, whether or not they still wait.",
    ),
    Described("qbft_watches", "gauge", "Watches that clients have open."),
    Described("qbft_propose_streams", "gauge", "Streams of proposals that clients have open."),
    Described(
        "qbft_unread_bytes",
        "gauge",
        "Bytes of replies that their clients have not taken.",
        look="it stays high: a client does not read",
    ),
    # --- peers ------------------------------------------------------------------------------------
    Described(
        "qbft_peer_up",
        "gauge",
        "Whether the link to a peer is up.",
        PEER,
        look="fewer than n-f-1 are: nothing is decided here",
    ),
    Described(
        "qbft_peer_silent_seconds",
        "gauge",
        "Seconds since the last frame of a peer was taken in.",
        PEER,
    ),
    Described(
        "qbft_peer_links_up",
        "counter",
        "Times that the link to a peer came up.",
        PEER,
        look="it grows: the network is unsteady",
    ),
    Described("qbft_peer_dials", "counter", "Attempts to make a link to a peer.", PEER),
    Described(
        "qbft_peer_streams_accepted",
        "counter",
        "Streams of a peer that were taken after its hello.",
        PEER,
    ),
    Described("qbft_peer_streams", "gauge", "Streams of all peers that are served, hellos too."),
    Described(
        "qbft_peer_lagging",
        "counter",
        "Times that the queue to a peer was full, or lost a frame too large for it.",
        PEER,
        look="it grows: the peer lags",
    ),
    Described("qbft_peer_frames_sent", "counter", "Frames sent to a peer.", PEER),
    Described("qbft_peer_frames_received", "counter", "Frames received from a peer.", PEER),
    Described(
        "qbft_peer_frames_dropped",
        "counter",
        "Frames not sent to a peer.",
        PEER,
        look="it lags or is away",
    ),
    Described("qbft_peer_bytes_sent", "counter", "Bytes sent to a peer.", PEER),
    Described("qbft_peer_bytes_received", "counter", "Bytes received from a peer.", PEER),
    Described(
        "qbft_messages_sent",
        "counter",
        "Messages handed to the links, by type; one for all peers counts for each, `decided` are "
        "certificates, `proposal` forwards and values.",
        ("type",),
    ),
    Described(
        "qbft_messages_received",
        "counter",
        "Messages taken in, by type and peer, re-sent and relayed ones included; likewise.",
        ("type", "peer"),
    ),
    # --- what waits, by peer ----------------------------------------------------------------------
    Described(
        "qbft_peer_queue_frames",
        "gauge",
        "Frames that wait to be sent to a peer.",
        PEER,
        look="it grows: the peer lags",
    ),
    Described("qbft_peer_queue_bytes", "gauge", "Bytes of these frames.", PEER),
    Described(
        "qbft_peer_inbox_frames",
        "gauge",
        "Frames of a peer that are received and not read yet.",
        PEER,
        look="it grows: this node is too slow, or leaves a wasteful peer unread",
    ),
    Described("qbft_peer_inbox_bytes", "gauge", "Bytes of these frames.", PEER),
    Described(
        "qbft_peer_waiting_work",
        "gauge",
        "What a peer's frames will cost that are read and wait for their turn, in checks of one "
        "signature.",
        PEER,
    ),
    Described("qbft_peer_waiting_bytes", "gauge", "What these frames occupy.", PEER),
    Described(
        "qbft_peer_held_votes", "gauge", "Votes that a peer sent for instances not open here.", PEER
    ),
    Described(
        "qbft_peer_kept_bytes",
        "gauge",
        "What a peer's messages occupy in open instances, beyond what honest ones need.",
        PEER,
    ),
    Described(
        "qbft_peer_opened_instances", "gauge", "Open instances that a peer's messages opened.", PEER
    ),
    # --- catching up ------------------------------------------------------------------------------
    Described(
        "qbft_peer_feed_position",
        "gauge",
        "How far a peer's feed of decisions has been read, in its own order.",
        PEER,
        look="it stays behind the end",
    ),
    Described("qbft_peer_feed_end", "gauge", "How far that feed is known to go.", PEER),
    # --- disks ------------------------------------------------------------------------------------
    Described(
        "qbft_journal_commit_seconds",
        "histogram",
        "Seconds of each write and fsync of the journal, one a turn.",
        look="above 0.05: the disk is too slow",
    ),
    Described(
        "qbft_journal_fsync_seconds", "histogram", "Seconds of the fsync in each of these commits."
    ),
    Described(
        "qbft_journal_commit_seconds_max",
        "gauge",
        "The slowest write and fsync of the journal.",
        look="above 0.05: the disk is too slow",
    ),
    Described("qbft_journal_commits", "counter", "Turns made durable."),
    Described(
        "qbft_journal_thread_commits",
        "counter",
        "Commits that a thread made, large ones or after slow ones.",
        look="it grows: the disk is slow",
    ),
    Described("qbft_journal_fsyncs", "counter", "Times the journal made the disk write."),
    Described("qbft_journal_records", "counter", "Records in these commits."),
    Described("qbft_journal_bytes", "counter", "Bytes written to the journal."),
    Described("qbft_journal_rotations", "counter", "Segments of the journal that were begun."),
    Described(
        "qbft_journal_checkpoints",
        "counter",
        "Times that what still mattered was written once more, so that old segments could go.",
    ),
    Described("qbft_journal_retained_bytes", "gauge", "Bytes of the journal's segments."),
    Described(
        "qbft_pending_decisions",
        "gauge",
        "Decisions in the journal that wait for SQLite.",
        look="it grows: SQLite cannot write",
    ),
    Described("qbft_pending_decision_bytes", "gauge", "Bytes of the values of these."),
    Described(
        "qbft_decisions_commits",
        "counter",
        "Times decisions were synced in SQLite, each one fsync.",
    ),
    Described(
        "qbft_decisions_commit_failures",
        "counter",
        "Times SQLite could not write; it is tried again.",
        look="it grows",
    ),
    Described(
        "qbft_decisions_commit_seconds",
        "histogram",
        "Seconds to move one batch of decisions into SQLite.",
    ),
    Described(
        "qbft_decisions_deleted",
        "counter",
        "Decisions deleted because retention keeps them no longer.",
        look="a policy is set and it does not grow: something undecided is in the way",
    ),
    # --- the application --------------------------------------------------------------------------
    Described(
        "qbft_application_untold_decisions",
        "gauge",
        "Decisions behind the last one that the application has been told of.",
        look="it grows: the program is away, slow, or fails at one decision again and again",
    ),
    Described(
        "qbft_application_untold",
        "counter",
        "Times that the application could not be told of a decision; it is tried again.",
        look="it grows: the node's log has the reason",
    ),
    # --- the recorder -----------------------------------------------------------------------------
    Described("qbft_recorder_bytes", "gauge", "What the recorder occupies, by its own estimate."),
    Described("qbft_recorder_instances", "gauge", "Instances of which the recorder has something."),
    Described(
        "qbft_recorder_instances_dropped",
        "counter",
        "Instances that made way for others in the recorder.",
        look="it grows fast: raise `recorder.bytes_max` to look further back",
    ),
    Described(
        "qbft_recorder_entries_dropped",
        "counter",
        "Messages that made way for later ones of their sender in the recorder, in one instance.",
        look="a peer floods, or an instance is stuck for long",
    ),
    # --- traces -----------------------------------------------------------------------------------
    Described(
        "qbft_spans",
        "counter",
        "Spans of instances that have `ended`; of these, how many were `exported`, and how many "
        "`failed` to be. None where traces are off.",
        ("outcome",),
        look="`exported` stays behind: the collector is away or slow",
    ),
)

BY_NAME = {described.name: described for described in METRICS}
