"""The replica's named limits and paces (DESIGN, bounds)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ReplicaLimits:
    """Every bound of a replica; what a name does not say is said below it.

    A peer pays for what it sends, whoever signed it, so that a liar spends only its own budget.
    """

    open_instances_max: int = 20_000
    """Undecided instances that own clients opened; above it a client is told to come back."""

    open_instances_per_peer_max: int = 256
    """Undecided instances that one peer's messages opened: no peer takes another's places. What it
    forwards, and what it leads, has a window each, of as many places at most; a large value takes
    several (`opening_bytes_per_place`). An instance whose first round runs out takes its places off
    the window, one that is decided in it adds them, ..."""

    open_instances_per_peer_first: int = 64
    """... so many there are to begin with, and always for what comes beside votes ..."""

    open_instances_per_peer_min: int = 16
    """... and so many in any case ..."""

    stuck_ms: int = 8_000
    """... without those that have been open for so long when a round runs out: they are stuck."""

    open_instances_of_peers_max: int = 64_000
    """... and all peers together, shared out equally; and again as many that F+1 validators have
    opened together."""

    opening_places_free: int = 8
    """Places for open instances that are there for everybody, first come, first served; ..."""

    opening_places_min: int = 2
    """... above them, those of one peer alone, whoever else wants some; it may have half as many as
    the busiest other, for it may ask each node ..."""

    opening_places_max: int = 256
    """... and so many while nobody else wants any ..."""

    contention_ms: int = 1_000
    """... nor own clients have opened anything for so long."""

    opening_place_ms: int = 200
    """How long an instance that is not closed has its place; one with more than
    `opening_places_free` that many times."""

    opening_bytes_per_place: int = 64 << 10
    """Bytes of a value for which its instance takes one more place."""

    waiting_openings_max: int = 1_024
    """Proposals of one peer that wait for a place, those for instances that it leads apart ..."""

    waiting_opening_bytes_max: int = 8 << 20
    """... and what their values may occupy."""

    kept_bytes_per_peer_max: int = 64 << 20
    """What one peer's messages occupy in all open instances: values, votes that wait, and what is
    in the engines' logs beyond what any honest peer's votes need."""

    held_votes_per_peer_max: int = 4_096
    """Votes of one sender that wait for their instance to open; the oldest goes first ..."""

    held_bytes_per_peer_max: int = 32 << 20
    """... and what they occupy with their justifications."""

    missed_instances_per_peer_max: int = 4_096
    """Instances of which something was dropped that the peer sent, to be asked for later."""

    later_votes_per_source_max: int = 64
    """Votes for later rounds that an open instance keeps of each source for re-delivery."""

    seen_votes_per_source_max: int = 64
    """Copies of one source's re-sent votes that an open instance takes in one round."""

    waiting_per_source_max: int = 4
    """Messages of one source, from one sender, that an open instance holds until their value's
    bytes, or the application's answer, are there; the lowest round goes first."""

    unsolicited_values_per_peer_max: int = 4
    """Values for which nothing waits that an open instance takes of one peer."""

    bare_certificates_per_peer_max: int = 4_096
    """Decisions learnt from one peer whose value's bytes are not here yet."""

    opened_bytes_burst_max: int = 16 << 20
    """Bytes of values, each with `opened_bytes_each`, with which one peer opens instances at
    once ..."""

    opened_bytes_per_ms: int = 8 << 10
    """... and per millisecond; the others are asked for later."""

    opened_bytes_each: int = 4 << 10
    """What opening an instance counts for beside its value: its votes are journaled too."""

    asked_bytes_min: int = 4 << 10
    """What looking up a decision or value counts for at least, found or not (`pull_bytes_*`)."""

    checks_per_proposer_max: int = 64
    """Values that came from one validator and that the application is looking at; others wait."""

    proposal_bytes_per_frame_max: int = 64 * 1024
    """Values above this size are fetched by digest instead of travelling with the vote."""

    section_bytes_max: int = 1 << 20
    """What the votes under one signature may occupy, at most as much as a frame may: a turn with
    more becomes several sections."""

    feed_page_instances_max: int = 512
    """Instance ids in one page of the decision feed."""

    feed_page_bytes: int = 1 << 20
    """What such a page counts for (`pull_bytes_*`): it is looked up in the store."""

    feed_asks_max: int = 8
    """Times a peer is asked for the decisions it named, without any answer, before its feed is read
    on without them ..."""

    feed_retry_ms: int = 60_000
    """... and how much later it is read from there again."""

    wanted_per_frame_max: int = 256
    """Decisions or values asked for in one frame, and answered of one frame."""

    asked_values_max: int = 4_096
    """Values of which is remembered that somebody has just been asked for them."""

    recent_decisions_max: int = 16_384
    """Decided instances whose late votes cost nothing (HARDENING U1), and certificates that wait
    for peers whose COMMIT is late: each peer has its share of so many."""

    linger_instances: int = 2
    """For each so many open instances a turn that is due waits a millisecond for company ..."""

    linger_ms_max: int = 8
    """... up to this: fewer turns, each with one commit, one signature and one frame for a peer."""

    late_commit_ms: int = 100
    """How long after a decision a peer's missing COMMIT earns it a certificate (HARDENING U1)."""

    late_burst_max: int = 64
    """So many of these certificates at once ..."""

    late_every_ms: int = 5
    """... and one more every so often, to each peer in its turn; what does not fit waits, and may
    become needless."""

    resend_ms: int = 500
    """How often what a peer has not acknowledged is sent again (HARDENING U5), where it answers
    soon; else less often ..."""

    resend_ms_max: int = 4_000
    """... but at least so often (docs/adr/022)."""

    resend_votes_per_frame_max: int = 128
    """Votes in one re-sending frame, nested ones counted; the rest follows when it is
    acknowledged."""

    resend_value_bytes_per_frame_max: int = 256 * 1024
    """Bytes of values in one re-sending frame, above which no further vote joins it."""

    answer_every_ms: int = 200
    """A certificate for a peer's late vote at most this often ... (HARDENING U2)"""

    answer_burst_max: int = 4
    """... beyond a burst of so many."""

    relayed_votes_per_tick_max: int = 512
    """Votes of others, nested ones counted, that one peer is given in one `resend_ms` (U9);
    those of an instance are not parted."""

    pull_bytes_burst_max: int = 8 << 20
    """What a peer is sent of the values and certificates that it asks for, at once ..."""

    pull_bytes_per_ms: int = 24 << 10
    """... and per millisecond; what exceeds it has to be asked for again."""

    memory_page_max: int = 64
    """Instances in one page for a node without its votes (W7) ..."""

    memory_page_bytes: int = 128 << 10
    """... and about the bytes of their reasons."""

    memory_instances_per_peer_max: int = 131_072
    """Instances that one peer may name to such a node: more than an honest one has ..."""

    memory_marks_per_peer_max: int = 65_536
    """... and topics with a mark."""

    memory_lists_burst_max: int = 4
    """Lists of them that are made for one peer at once ..."""

    memory_list_every_ms: int = 5_000
    """... and one more every so often: making one is dear, its pages are not."""

    memory_entries_per_work: int = 64
    """Entries of such a list that are made in the time of one signature check."""

    marks_per_peer_max: int = 4_096
    """Topics of which is remembered what one peer keeps no more; the oldest goes first."""

    remembered_decisions_max: int = 256
    """Decisions of which a restarted node reads who had voted how far."""

    provided_values_max: int = 64
    """Instances for which the application is asked for a value at once; the others are when they
    are looked at again."""

    provide_value_ms: int = 10_000
    """How long it may take to give one."""

    evidence_per_validator_max: int = 8
    """Records kept against each validator that contradicted itself; further ones are counted."""

    check_value_ms: int = 2_000
    """How long the application may take to check a value before the PRE-PREPARE is just held."""

    turn_work_max: int = 512
    """What one turn takes in, in checks of one signature (about 50 us each, so about 25 ms): the
    rest waits for the next turn, so that due timers do not (DESIGN, async)."""

    waiting_work_per_peer_max: int = 16_384
    """What one peer's frames that wait to be taken in may cost, in the same measure: about a
    second. Above it they are dropped, to be sent again ..."""

    waiting_bytes_per_peer_max: int = 8 << 20
    """... and above so many bytes too."""

    waste_work_max: int = 1_024
    """Work for one peer that may come to nothing at once, in the same measure (about 50 ms) ..."""

    waste_work_per_ms: float = 0.5
    """... and per millisecond: a fortieth of a processor. Who wastes more has to wait, unread."""

    held_work_at_open_max: int = 64
    """What an instance takes in of the votes that were held for it in the turn that opens it, in
    the same measure; the others follow in the next turns."""

    turn_timers_max: int = 256
    """Round timers that expire in one turn; the others follow in the next, which comes at once."""

    tick_instances_max: int = 512
    """Instances looked at in one tick of `resend_ms` for what is missing in them."""
