"""The SQLite table of decisions, and the cache before it."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from store_builders import CLUSTER, VALIDATOR, decision, instance

from qbft.decision import Decision
from qbft_server.store.decisions import (
    SCHEMA_VERSION,
    TOPICS_KEPT_MAX,
    DecisionsError,
    DecisionTable,
    RecentDecisions,
)

STORE = b"s" * 16


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with an empty table."""
    DecisionTable.create(tmp_path / "decisions.sqlite3", CLUSTER, VALIDATOR, STORE)
    return tmp_path / "decisions.sqlite3"


@pytest.fixture
def table(path: Path) -> Iterator[DecisionTable]:
    """That table."""
    with closing(DecisionTable.open(path)) as opened:
        yield opened


def store(table: DecisionTable, first_position: int, *decisions: Decision) -> None:
    """Store one batch."""
    table.begin()
    table.insert(first_position, decisions)
    table.commit()


def test_what_is_stored_is_found(table: DecisionTable) -> None:
    """A decision comes back as it went in; others are not there."""
    large = decision(2**63 - 1, b"\x00" * 1_048_576, round_=2**31 - 1)
    store(table, 1, decision(7, b""), large)
    assert table.get(instance(7)) == decision(7, b"")
    assert table.get(instance(2**63 - 1)) == large
    assert table.digest(instance(7)) == decision(7, b"").certificate.value
    assert table.get(instance(8)) is None
    assert table.get(instance(7, "other")) is None
    assert table.digest(instance(8)) is None
    assert table.end == 2


def test_what_was_asked_for_too_early_is_found_once_it_is_noted(table: DecisionTable) -> None:
    """The highest height known of a topic spares queries, and must not hide what comes later."""
    assert table.get(instance(7)) is None
    store(table, 1, decision(7), decision(3))
    table.note_stored(instance(7))
    table.note_stored(instance(3))
    assert table.get(instance(7)) == decision(7)
    assert table.digest(instance(3)) is not None
    assert table.digest(instance(5)) is None
    assert table.digest(instance(9)) is None


def test_a_height_above_all_that_is_stored_costs_no_query(
    table: DecisionTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every instance is looked up when it begins; of a known topic that must cost nothing."""
    store(table, 1, decision(7))
    assert table.get(instance(8)) is None
    monkeypatch.setattr(table, "_query", lambda *_: pytest.fail("SQLite was asked"))
    assert table.get(instance(9)) is None
    assert table.digest(instance(2**63 - 1)) is None


def test_topics_whose_height_is_remembered_are_bounded(table: DecisionTable) -> None:
    """DESIGN, bounds: a client that names ever new topics fills nothing."""
    for number in range(TOPICS_KEPT_MAX + 10):
        assert table.get(instance(0, f"t{number}")) is None
    assert len(table._tops) == TOPICS_KEPT_MAX


def test_lists_and_feed_have_bounds(table: DecisionTable) -> None:
    """A topic is listed by height, the feed by position; both from a point, to a limit."""
    assert (table.end, table.feed(0, 10, 0)) == (0, [])
    heights = [5, 3, 9, 1]
    store(table, 1, *map(decision, heights))
    topic = instance(0).topic
    assert table.list_topic(topic, 2, 2, 4) == [decision(3), decision(5)]
    assert table.list_topic(topic, 0, 9, 2) == [decision(3), decision(5)]
    assert table.list_topic("other", 0, 9, 4) == []
    assert table.feed(1, 2, 4) == [(2, instance(3)), (3, instance(9))]
    assert table.feed(1, 9, 2) == [(2, instance(3))]


def test_the_highest_of_each_topic_is_found_page_by_page(table: DecisionTable) -> None:
    """Issue 6, epochs: how far each topic has come, whatever the number of its decisions."""
    assert table.highest("", 9) == []
    where = [instance(height, topic) for topic in "bca" for height in (3, 2**63 - 1, 5)]
    value, certificate = b"v", decision(0).certificate
    stored = [Decision(value, replace(certificate, instance=each)) for each in where]
    store(table, 1, *stored)
    assert table.highest("", 2) == [("a", 2**63 - 1), ("b", 2**63 - 1)]
    assert table.highest("b", 2) == [("c", 2**63 - 1)]
    assert table.highest("c", 2) == []


def test_batch_is_stored_whole_or_not_at_all(table: DecisionTable) -> None:
    """What was not committed leaves nothing behind, and does not hinder the next batch."""
    assert table.begin() == 0
    table.insert(1, [decision(1)])
    table.insert(2, [decision(2), decision(3)])
    assert (table.end, table.get(instance(1))) == (0, None)
    table.commit()
    assert table.begin() == 3
    with pytest.raises(sqlite3.IntegrityError):
        table.insert(4, [decision(4), decision(1)])
    table.abandon()
    table.abandon()
    assert (table.end, table.get(instance(4))) == (3, None)
    store(table, 4, decision(4))
    assert table.end == 4


def test_foreign_writer_does_not_hold_up_the_loop(path: Path, table: DecisionTable) -> None:
    """An operator's shell may lock the file: reads go on, a batch fails soon and is tried again."""
    store(table, 1, decision(1))
    with closing(sqlite3.connect(path, isolation_level=None)) as shell:
        shell.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            table.begin()
        table.abandon()
        assert table.get(instance(1)) == decision(1)
    store(table, 2, decision(2))


def test_batch_is_on_disk_when_commit_returns(path: Path, table: DecisionTable) -> None:
    """The rows, in the write-ahead log, survive a kill; synchronous=FULL has synced them."""
    store(table, 1, decision(1))
    copy = Path(shutil.copytree(path.parent, path.parent.with_name("after-crash")))
    with closing(DecisionTable.open(copy / path.name)) as found:
        assert found.get(instance(1)) == decision(1)
    assert table._writer.execute("PRAGMA synchronous").fetchone() == (2,)
    assert table._writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_init_makes_a_private_file_once(path: Path) -> None:
    """HARDENING W7: created by `init` alone, over nothing, for its owner alone."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(DecisionsError, match="File exists"):
        DecisionTable.create(path, CLUSTER, VALIDATOR, STORE)
    path.unlink()
    with pytest.raises(DecisionsError, match="does not exist"):
        DecisionTable.open(path)
    assert not path.exists()


def test_owner_is_checked(table: DecisionTable) -> None:
    """A table beside another node's journal is refused."""
    table.check_owner(CLUSTER, VALIDATOR, STORE)
    for owner in [(bytes(32), VALIDATOR, STORE), (CLUSTER, 3, STORE), (CLUSTER, 2, b"t" * 16)]:
        with pytest.raises(DecisionsError, match="another node's store"):
            table.check_owner(*owner)


def test_k29_another_schema_is_refused(path: Path) -> None:
    """SCENARIOS K29, for the table: a newer schema is named, not read."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(DecisionsError, match=f"schema version {SCHEMA_VERSION + 1}"):
        DecisionTable.open(path)


def test_file_that_is_no_database_is_refused(path: Path) -> None:
    """One clear error, whatever is in the file."""
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(DecisionsError, match="cannot open"):
        DecisionTable.open(path)


def test_damaged_row_is_an_error_not_an_answer(path: Path, table: DecisionTable) -> None:
    """A row that cannot be decoded is reported."""
    store(table, 1, decision(1))
    table._writer.execute("UPDATE decisions SET decision = x'ffff'")
    with pytest.raises(DecisionsError, match="cannot be read"):
        table.get(instance(1))
    table._writer.execute("DROP TABLE decisions")
    with pytest.raises(DecisionsError, match="cannot read"):
        table.get(instance(1))


def test_recent_decisions_are_bounded_in_number_and_bytes() -> None:
    """DESIGN, bounds: the least recently used go first."""
    recent = RecentDecisions(decisions_max=3, bytes_max=100)
    for height in range(3):
        recent.put(instance(height), decision(height, b"x" * 30))
    assert recent.get(instance(0)) == decision(0, b"x" * 30)
    recent.put(instance(3), decision(3, b"x" * 30))
    assert recent.get(instance(1)) is None
    recent.put(instance(4), decision(4, b"x" * 70))
    assert recent.get(instance(2)) is None
    assert recent.get(instance(0)) is None
    assert recent.get(instance(3)) is not None
    recent.put(instance(4), decision(4, b"x" * 40))
    recent.put(instance(5), decision(5, b"x" * 30))
    assert recent.get(instance(3)) is not None
    recent.put(instance(6), decision(6, b"x" * 101))
    assert all(recent.get(instance(height)) is None for height in range(7))
