"""Decisions in SQLite, for queries; the journal has made them durable before (DESIGN, retention).

WAL mode with synchronous=FULL: when `commit` returns its rows are synced, so that the segments of
the journal that hold them may go. One connection writes, another reads, both in the event loop;
only `commit` waits for a disk, and runs in a thread: docs/adr/003-where-the-commit-runs.md.
Positions are given by the caller, from 1 without gaps, in the order of the journal's commits. Where
a low-water mark has passed, rows are deleted, and their positions are never given again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from qbft.core.messages import InstanceId
from qbft.decision import Decision
from qbft.errors import QbftError
from qbft.replica.protocols import DecisionRecord
from qbft.wire.journal import decode_journal_commit, encode_journal_commit
from qbft_server.store.live import instance_of, value_bytes

SCHEMA_VERSION = 2
_UPGRADABLE_VERSION = 1
TOPICS_KEPT_MAX = 4_096
"""Topics whose highest stored height is remembered, so that a higher one costs no query."""
_APPLICATION_ID = 0x51424654  # "QBFT"
_BUSY_MS = 20  # nobody else writes; should somebody, the event loop must not wait for long
_ROWS_AT_ONCE = 256
_SINCE_2 = """
CREATE TABLE marks (topic TEXT PRIMARY KEY, height INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE reached (last_position INTEGER NOT NULL, deleted_position INTEGER NOT NULL);
INSERT INTO reached VALUES (0, 0);
"""
_UPGRADE = """
BEGIN IMMEDIATE;
{since_2}
UPDATE reached SET last_position = (SELECT coalesce(max(position), 0) FROM decisions);
ALTER TABLE decisions ADD COLUMN stored_s INTEGER NOT NULL DEFAULT {now_s};
PRAGMA user_version = {version};
COMMIT;
"""
_SCHEMA = f"""
BEGIN;
CREATE TABLE store (
    cluster_id BLOB NOT NULL,
    validator INTEGER NOT NULL,
    store_id BLOB NOT NULL
);
{_SINCE_2}
CREATE TABLE decisions (
    position INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    height INTEGER NOT NULL,
    round INTEGER NOT NULL,
    digest BLOB NOT NULL,
    decision BLOB NOT NULL,
    stored_s INTEGER NOT NULL,
    UNIQUE (topic, height)
);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""
_TOPICS = """
WITH RECURSIVE found (topic) AS (
    SELECT min(topic) FROM decisions
    UNION ALL
    SELECT (SELECT min(topic) FROM decisions WHERE topic > found.topic) FROM found
    WHERE found.topic IS NOT NULL
)
SELECT topic FROM found WHERE topic IS NOT NULL
"""


class DecisionsError(QbftError):
    """The decisions cannot be read, or are not those of this node."""


class DecisionTable:
    """The table of decisions; every call blocks, reads for tens of microseconds."""

    def __init__(self, path: Path, reader: sqlite3.Connection, writer: sqlite3.Connection) -> None:
        self._path = path
        self._reader = reader
        self._writer = writer
        self._tops: OrderedDict[str, int] = OrderedDict()

    @staticmethod
    def create(path: Path, cluster_id: bytes, validator: int, store_id: bytes) -> None:
        """Make an empty table for this store; only `init` does.

        Raises:
            DecisionsError: there is one already, or the disk refuses.
        """
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            with contextlib.closing(_connect(path)) as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_SCHEMA)
                owner = (cluster_id, validator, store_id)
                connection.execute("INSERT INTO store VALUES (?, ?, ?)", owner)
                connection.execute("COMMIT")
        except (OSError, sqlite3.Error) as error:
            raise DecisionsError(f"cannot make {path}: {error}") from error

    @staticmethod
    def is_old(path: Path) -> bool:
        """Whether there is a table of the version before, which `upgrade` makes readable."""
        if not path.is_file():
            return False
        try:
            with contextlib.closing(_connect(path)) as connection:
                version: int = connection.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error:
            return False  # `open` says what is wrong
        return version == _UPGRADABLE_VERSION

    @staticmethod
    def upgrade(path: Path) -> None:
        """Make a table of the version before one of this; no process may have it open.

        Its decisions count as stored now, so that none is deleted for its age too early.

        Raises:
            DecisionsError: the disk refuses; the table is as it was.
        """
        script = _UPGRADE.format(since_2=_SINCE_2, now_s=int(time.time()), version=SCHEMA_VERSION)
        try:
            with contextlib.closing(_connect(path)) as connection:
                connection.executescript(script)
        except sqlite3.Error as error:
            raise DecisionsError(f"cannot upgrade {path}: {error}") from error

    @classmethod
    def open(cls, path: Path) -> DecisionTable:
        """Open the table that `init` made; never makes one.

        Raises:
            DecisionsError: there is none, or it is damaged or of another version.
        """
        if not path.is_file():
            raise DecisionsError(f"{path} does not exist; `qbft init` makes it, a node never does")
        try:
            writer = _connect(path)
            application = writer.execute("PRAGMA application_id").fetchone()[0]
            version = writer.execute("PRAGMA user_version").fetchone()[0]
            if (application, version) != (_APPLICATION_ID, SCHEMA_VERSION):
                writer.close()
                raise DecisionsError(
                    f"{path} has schema version {version}, this program reads {SCHEMA_VERSION}"
                )
            reader = _connect(path)
            reader.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise DecisionsError(
                f"cannot open {path}: {error}; if it is damaged: docs/OPERATIONS.md, disks"
            ) from error
        return cls(path, reader, writer)

    @staticmethod
    def copy(source: Path, target: Path) -> None:
        """Copy a table, which may be in use, into a new file, as it is at one moment.

        Raises:
            DecisionsError: there is none, or a file is there already, or the disk refuses.
        """
        with contextlib.closing(DecisionTable.open(source)):
            pass  # it says what is wrong with the source
        try:
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except OSError as error:
            raise DecisionsError(f"cannot make {target}: {error.strerror}") from error
        try:
            with (
                contextlib.closing(_connect(source)) as live,
                contextlib.closing(_connect(target)) as copy,
            ):
                live.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
                found = copy.execute("PRAGMA integrity_check").fetchone()[0]
            if found != "ok":
                raise DecisionsError(f"{source} is damaged: {found}")
        except (sqlite3.Error, DecisionsError) as error:
            target.unlink(missing_ok=True)
            raise DecisionsError(f"cannot copy {source}: {error}") from error

    @property
    def cluster_id(self) -> bytes:
        """The cluster whose decisions these are."""
        return bytes(self._query("SELECT cluster_id FROM store", ())[0][0])

    def everything(self) -> Iterator[Decision]:
        """All decisions, in their order.

        Raises:
            DecisionsError: one of them cannot be read.
        """
        try:
            cursor = self._reader.execute("SELECT decision FROM decisions ORDER BY position")
            while rows := cursor.fetchmany(_ROWS_AT_ONCE):
                for row in rows:
                    yield _decode(row[0])
        except sqlite3.Error as error:
            raise DecisionsError(f"cannot read {self._path}: {error}") from error

    def restore(self, decisions: Iterable[Decision], marks: Mapping[str, int]) -> int:
        """Fill an empty table, all or nothing, synced when this returns; gives how many there are.

        Raises:
            DecisionsError: the disk refuses; and what `decisions` raises.
        """
        position = self.begin()
        try:
            for decision in decisions:
                position += 1
                self.insert(position, (decision,))
            self._writer.executemany("INSERT INTO marks VALUES (?, ?)", list(marks.items()))
            self.commit()
        except sqlite3.Error as error:
            raise DecisionsError(f"cannot write {self._path}: {error}") from error
        finally:
            self.abandon()
        return position

    def check_owner(self, cluster_id: bytes, validator: int, store_id: bytes) -> None:
        """See that the table belongs to this cluster, validator and journal.

        Raises:
            DecisionsError: it does not.
        """
        owner = self._query("SELECT cluster_id, validator, store_id FROM store", ())
        if owner != [(cluster_id, validator, store_id)]:
            raise DecisionsError(f"{self._path} belongs to another node's store than the journal")

    @property
    def end(self) -> int:
        """The position of the last decision ever stored; 0 when there was none."""
        return int(self._query("SELECT last_position FROM reached", ())[0][0])

    @property
    def deleted_position(self) -> int:
        """The highest position that was deleted; 0 when none was."""
        return int(self._query("SELECT deleted_position FROM reached", ())[0][0])

    def marks(self) -> dict[str, int]:
        """The low-water marks, by topic."""
        return dict(self._query("SELECT topic, height FROM marks", ()))

    def topics(self) -> list[str]:
        """The topics that have decisions here; a look into the index for each, not for each row."""
        return [topic for (topic,) in self._query(_TOPICS, ())]

    def digest(self, instance: InstanceId) -> bytes | None:
        """The digest that was decided, or None."""
        if self._is_above_all(instance):
            return None
        key = (instance.topic, instance.height)
        rows = self._query("SELECT digest FROM decisions WHERE topic = ? AND height = ?", key)
        return bytes(rows[0][0]) if rows else None

    def get(self, instance: InstanceId) -> Decision | None:
        """The decision of an instance, or None."""
        if self._is_above_all(instance):
            return None
        key = (instance.topic, instance.height)
        rows = self._query("SELECT decision FROM decisions WHERE topic = ? AND height = ?", key)
        return _decode(rows[0][0]) if rows else None

    def list_topic(
        self, topic: str, from_height: int, limit: int, position_max: int
    ) -> list[Decision]:
        """Decisions of a topic by ascending height, of those up to a position."""
        rows = self._query(
            "SELECT decision FROM decisions WHERE topic = ? AND height >= ? AND position <= ? "
            "ORDER BY height LIMIT ?",
            (topic, from_height, position_max, limit),
        )
        return [_decode(row[0]) for row in rows]

    def list_sizes(
        self, topic: str, from_height: int, limit: int, position_max: int
    ) -> list[tuple[int, int]]:
        """(height, bytes) of what `list_topic` would give; no decision is read for it."""
        return self._query(
            "SELECT height, length(decision) FROM decisions WHERE topic = ? AND height >= ? "
            "AND position <= ? ORDER BY height LIMIT ?",
            (topic, from_height, position_max, limit),
        )

    def position(self, instance: InstanceId) -> int | None:
        """Where it stands in the order of this table, or None."""
        if self._is_above_all(instance):
            return None
        key = (instance.topic, instance.height)
        sql = "SELECT position FROM decisions WHERE topic = ? AND height = ?"
        return next((position for (position,) in self._query(sql, key)), None)

    def size(self, instance: InstanceId) -> int:
        """The bytes of a decision, which is not read for it; 0 if there is none."""
        if self._is_above_all(instance):
            return 0
        key = (instance.topic, instance.height)
        sql = "SELECT length(decision) FROM decisions WHERE topic = ? AND height = ?"
        return next((size for (size,) in self._query(sql, key)), 0)

    def highest(self, after: str, limit: int) -> list[tuple[str, int]]:
        """(topic, highest height) of so many topics in order, those above `after`.

        It goes from topic to topic along the index, however many rows each has.
        """
        sql = """
            WITH RECURSIVE found(topic) AS (
                SELECT min(topic) FROM decisions WHERE topic > ?
                UNION ALL
                SELECT (SELECT min(topic) FROM decisions WHERE topic > found.topic) FROM found
                WHERE found.topic IS NOT NULL
                LIMIT ?
            )
            SELECT topic, (SELECT max(height) FROM decisions WHERE topic = found.topic)
            FROM found WHERE topic IS NOT NULL
        """
        return self._query(sql, (after, limit))

    def first_gap(self, topic: str, from_height: int, to_height: int) -> int | None:
        """The first height of a topic, of those from one up to another, without a decision.

        It counts along the index: microseconds for a thousand heights.
        """
        low, high = from_height, to_height
        if self._count(topic, low, high) == high - low + 1:
            return None
        while low < high:
            middle = (low + high) // 2
            if self._count(topic, low, middle) == middle - low + 1:
                low = middle + 1
            else:
                high = middle
        return low

    def _count(self, topic: str, from_height: int, to_height: int) -> int:
        rows = self._query(
            "SELECT count(*) FROM decisions WHERE topic = ? AND height BETWEEN ? AND ?",
            (topic, from_height, to_height),
        )
        return int(rows[0][0])

    def feed(self, after: int, limit: int, position_max: int) -> list[tuple[int, InstanceId]]:
        """(position, instance) by ascending position, of those after one and up to another."""
        rows = self._query(
            "SELECT position, topic, height FROM decisions WHERE position > ? AND position <= ? "
            "ORDER BY position LIMIT ?",
            (after, position_max, limit),
        )
        return [(position, InstanceId(topic, height)) for position, topic, height in rows]

    def begin(self) -> int:
        """Begin a batch; returns the position of the last decision stored.

        Raises:
            sqlite3.Error: SQLite cannot write now.
        """
        self._writer.execute("BEGIN IMMEDIATE")
        return int(self._writer.execute("SELECT last_position FROM reached").fetchall()[0][0])

    def insert(self, first_position: int, decisions: Sequence[Decision]) -> None:
        """Add decisions, at consecutive positions, to the batch that was begun.

        Raises:
            sqlite3.Error: SQLite cannot write now; `abandon` the batch.
        """
        now_s = int(time.time())
        rows = [
            (*_row(position, decision), now_s)
            for position, decision in enumerate(decisions, first_position)
        ]
        self._writer.executemany("INSERT INTO decisions VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        last = first_position + len(rows) - 1
        self._writer.execute("UPDATE reached SET last_position = ?", (last,))

    def commit(self) -> None:
        """End the batch: all of it is synced when this returns. For a thread: it waits for a disk.

        Raises:
            sqlite3.Error: it may be stored or not; `abandon` it, the next `begin` tells.
        """
        self._writer.execute("COMMIT")

    def abandon(self) -> None:
        """End the batch without storing it, if there still is one."""
        if self._writer.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")

    def counts(self) -> dict[str, int]:
        """How many decisions of each topic are stored. For a thread: it reads a whole index."""
        rows = self._writer.execute("SELECT topic, count(*) FROM decisions GROUP BY topic")
        return dict(rows.fetchall())

    def oldest(self, topic: str, limit: int) -> list[tuple[int, int]]:
        """(height, second it was stored) of a topic's lowest heights. For a thread."""
        sql = "SELECT height, stored_s FROM decisions WHERE topic = ? ORDER BY height LIMIT ?"
        return self._writer.execute(sql, (topic, limit)).fetchall()

    def delete_below(self, topic: str, mark: int, limit: int) -> list[int]:
        """Store the mark and delete at most so many rows below it, synced; gives their positions.

        For a thread, with no batch begun.

        Raises:
            sqlite3.Error: SQLite cannot write now; nothing has changed, or all of it.
        """
        writer = self._writer
        writer.execute("BEGIN IMMEDIATE")
        try:
            writer.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (topic, mark))
            sql = (
                "SELECT position FROM decisions WHERE topic = ? AND height < ? "
                "ORDER BY height LIMIT ?"
            )
            rows = writer.execute(sql, (topic, mark, limit)).fetchall()
            writer.executemany("DELETE FROM decisions WHERE position = ?", rows)
            if rows:
                sql = "UPDATE reached SET deleted_position = max(deleted_position, ?)"
                writer.execute(sql, max(rows))
            writer.execute("COMMIT")
        except sqlite3.Error:
            self.abandon()
            raise
        return [position for (position,) in rows]

    def note_stored(self, instance: InstanceId) -> None:
        """Take note of what is stored now; until then the owner must know it from elsewhere."""
        top = self._tops.get(instance.topic)
        if top is not None and top < instance.height:
            self._tops[instance.topic] = instance.height

    def _is_above_all(self, instance: InstanceId) -> bool:
        """Whether nothing as high is stored of its topic, as is so for nearly all that begins."""
        top = self._tops.get(instance.topic)
        if top is None:
            sql = "SELECT coalesce(max(height), -1) FROM decisions WHERE topic = ?"
            top = int(self._query(sql, (instance.topic,))[0][0])
            self._tops[instance.topic] = top
            if len(self._tops) > TOPICS_KEPT_MAX:
                self._tops.popitem(last=False)
        return instance.height > top

    def close(self) -> None:
        """Give the files back; the table is not used afterwards."""
        self._reader.close()
        self._writer.close()

    def _query(self, sql: str, parameters: tuple[object, ...]) -> list[Any]:
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise DecisionsError(f"cannot read {self._path}: {error}") from error


class RecentDecisions:
    """The decisions last stored or asked for, bounded in number and in bytes of values."""

    def __init__(self, decisions_max: int, bytes_max: int) -> None:
        self._decisions: OrderedDict[InstanceId, Decision] = OrderedDict()
        self._decisions_max = decisions_max
        self._bytes_max = bytes_max
        self._bytes = 0

    def get(self, instance: InstanceId) -> Decision | None:
        """The decision, if it is one of the recent ones."""
        decision = self._decisions.get(instance)
        if decision is not None:
            self._decisions.move_to_end(instance)
        return decision

    def peek(self, instance: InstanceId) -> Decision | None:
        """The same, without taking it for one that was asked for."""
        return self._decisions.get(instance)

    def put(self, instance: InstanceId, decision: Decision) -> None:
        """Keep a decision, and let go of the least recently used above the limits."""
        previous = self._decisions.pop(instance, None)
        self._bytes += value_bytes(decision) - (value_bytes(previous) if previous else 0)
        self._decisions[instance] = decision
        while len(self._decisions) > self._decisions_max or self._bytes > self._bytes_max:
            self._bytes -= value_bytes(self._decisions.popitem(last=False)[1])


def _connect(path: Path) -> sqlite3.Connection:
    """A connection in autocommit; used by one thread at a time, not always the same."""
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=_BUSY_MS / 1_000,
    )
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _row(position: int, decision: Decision) -> tuple[int, str, int, int, object, bytes]:
    record = DecisionRecord(decision)
    instance = instance_of(record)
    digest = decision.certificate.value
    encoded = encode_journal_commit((record,))
    return position, instance.topic, instance.height, decision.round, digest, encoded


def _decode(data: bytes) -> Decision:
    try:
        (record,) = decode_journal_commit(data)
    except ValueError as error:
        raise DecisionsError(f"a stored decision cannot be read: {error}") from error
    if not isinstance(record, DecisionRecord):
        raise DecisionsError("a stored decision is something else")
    return record.decision
