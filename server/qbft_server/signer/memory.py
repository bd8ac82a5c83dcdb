"""What a signer has signed, on its own disk: the guard's memory (HARDENING W2, W3)."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from qbft.core import InstanceId, Message, MessageType
from qbft.errors import JournalError
from qbft.replica.own_votes import VoteRounds

_SCHEMA = """
CREATE TABLE owner (cluster_id BLOB NOT NULL, validator INTEGER NOT NULL);
CREATE TABLE votes (
  topic TEXT NOT NULL, height INTEGER NOT NULL, type INTEGER NOT NULL, round INTEGER NOT NULL,
  digest BLOB, prepared_round INTEGER NOT NULL, prepared_digest BLOB,
  PRIMARY KEY (topic, height, type, round)
) WITHOUT ROWID;
"""


class SignerMemory:
    """The current votes of every instance that the key has signed in; one process at a time.

    They are kept for ever, some 200 bytes for each instance: a signer does not see decisions, and
    nobody else is to tell it what it may forget.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    @classmethod
    def create(cls, path: Path, cluster_id: bytes, validator: int) -> None:
        """Make the file of a key that has never signed; a signer never does that by itself.

        Raises:
            JournalError: it is there already, or the disk refuses.
        """
        try:
            path.touch(0o600, exist_ok=False)
        except FileExistsError as error:
            raise JournalError(f"{path}: is there already, and never made anew") from error
        except OSError as error:
            raise JournalError(f"{path}: cannot be made: {error.strerror}") from error
        try:
            with contextlib.closing(_connect(path)) as database, database:
                database.executescript(_SCHEMA)
                database.execute("INSERT INTO owner VALUES (?, ?)", (cluster_id, validator))
        except sqlite3.Error as error:
            path.unlink()
            raise JournalError(f"{path}: cannot be made: {error}") from error

    @classmethod
    def open(cls, path: Path, cluster_id: bytes, validator: int) -> SignerMemory:
        """Open the file that `create` has made.

        Raises:
            JournalError: there is none, another process has it, or it is another key's.
        """
        if not path.is_file():
            raise JournalError(
                f"{path}: there is no such file; for a key that has never signed anything make it "
                "by `qbft signer --create`"
            )
        with contextlib.ExitStack() as failing:
            try:
                database = failing.enter_context(contextlib.closing(_connect(path)))
                owner = database.execute("SELECT cluster_id, validator FROM owner").fetchone()
                with database:
                    database.execute("BEGIN EXCLUSIVE")  # held from here on: locking_mode
            except sqlite3.Error as error:
                raise JournalError(f"{path}: cannot be used: {error}") from error
            if owner != (cluster_id, validator):
                raise JournalError(f"{path}: is of another validator or another cluster")
            failing.pop_all()
        return cls(database)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def votes(self, instance: InstanceId, validator: int) -> list[Message]:
        """The current votes of an instance, in an order in which they can have been cast.

        Raises:
            JournalError: the file cannot be read.
        """
        try:
            rows = self._database.execute(
                "SELECT type, round, digest, prepared_round, prepared_digest FROM votes "
                "WHERE topic = ? AND height = ?",
                (instance.topic, instance.height),
            ).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"the signer's memory cannot be read: {error}") from error
        votes = [
            Message(
                MessageType(type_), instance, validator, round_, digest, prepared, prepared_digest
            )
            for type_, round_, digest, prepared, prepared_digest in rows
        ]
        return sorted(votes, key=_order)

    def remember(self, votes: Iterable[Message]) -> None:
        """Write votes that are about to be signed, all or none; durable when this returns.

        Raises:
            JournalError: the disk refuses.
        """
        try:
            with self._database as database:
                for vote in votes:
                    self._write(database, vote)
        except sqlite3.Error as error:
            raise JournalError(f"the signer's memory cannot be written: {error}") from error

    def _write(self, database: sqlite3.Connection, vote: Message) -> None:
        instance = vote.instance
        assert isinstance(instance, InstanceId)  # noqa: S101 - the service has no others
        database.execute(
            "INSERT OR IGNORE INTO votes VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                instance.topic,
                instance.height,
                int(vote.type),
                vote.round,
                vote.value,
                vote.prepared_round,
                vote.prepared_value,
            ),
        )
        kept = self.votes(instance, vote.source)
        rounds = VoteRounds(kept)
        for old in kept:
            if not rounds.is_current(old.type, old.round):
                database.execute(
                    "DELETE FROM votes WHERE topic = ? AND height = ? AND type = ? AND round = ?",
                    (instance.topic, instance.height, int(old.type), old.round),
                )


def _order(vote: Message) -> tuple[int, bool]:
    """A ROUND-CHANGE comes before all else of its round."""
    return vote.round, vote.type is not MessageType.ROUND_CHANGE


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=0)
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        database.close()
        raise
    return database
