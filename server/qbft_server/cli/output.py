"""What commands print: JSON, one object a line, for scripts; words and tables for people."""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qbft.core import InstanceId
from qbft.crypto.entries import Entry
from qbft.ordered import Appended, LogEntry
from qbft_server.cli.exits import CommandError, ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from qbft.cluster import Cluster
    from qbft.core import Message
    from qbft.crypto.evidence import Evidence
    from qbft.verify import VerifiedDecision, VerifiedEvidence

PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe."""

VALUE_CHARACTERS_SHOWN = 200


def print_json(record: Mapping[str, Any]) -> None:
    """One object on one line, at once."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def print_facts(facts: Mapping[str, object]) -> None:
    """One fact on a line: its name, then what it is."""
    width = max(map(len, facts)) + 2
    for name, fact in facts.items():
        sys.stdout.write(f"{name:<{width}}{fact}\n")
    sys.stdout.flush()


def console(*, stderr: bool = False) -> Console:
    """A rich console; colours and progress appear on a terminal only."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else PLAIN_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, markup=False)


def shown_value(value: bytes | None) -> str:
    """A value for people: its text if it is printable text, else hexadecimal; long ones cut."""
    if value is None:
        return "(not in the file)"
    try:
        text = value.decode()
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not text:
        text = "0x" + value[:VALUE_CHARACTERS_SHOWN].hex()
    if len(text) <= VALUE_CHARACTERS_SHOWN:
        return text
    return f"{text[:VALUE_CHARACTERS_SHOWN]}… ({len(value)} bytes)"


def decision_record(decision: VerifiedDecision, own: bool | None = None) -> dict[str, Any]:
    """A decision as JSON: `value` is its text where it is text, `value_base64` the bytes."""
    value = decision.value
    record: dict[str, Any] = {
        "instance": str(decision.instance),
        "topic": decision.instance.topic,
        "height": decision.instance.height,
        "round": decision.round,
        "value": None if value is None else _text_of(value),
        "value_base64": None if value is None else base64.b64encode(value).decode(),
        "digest": decision.digest.hex(),
        "signers": list(decision.signers),
    }
    if own is not None:
        record["own"] = own
    return record


def decision_facts(decision: VerifiedDecision) -> dict[str, object]:
    """A decision for people."""
    return {
        "instance": decision.instance,
        "value": shown_value(decision.value),
        "round": decision.round,
        "digest": decision.digest.hex(),
        "signers": " ".join(map(str, decision.signers)),
    }


def batch_entry_record(entry: Entry) -> dict[str, Any]:
    """An entry as JSON; bytes as in `decision_record`."""
    return {
        "request_id": _text_of(entry.request_id),
        "request_id_base64": base64.b64encode(entry.request_id).decode(),
        "author": entry.author.hex() or None,
        "value": _text_of(entry.value),
        "value_base64": base64.b64encode(entry.value).decode(),
    }


def entry_record(appended: Appended) -> dict[str, Any]:
    """An entry at its position, as JSON."""
    decided, position = appended.decision.instance, appended.position
    record: dict[str, Any] = {
        "topic": decided.topic if isinstance(decided, InstanceId) else None,
        "position": str(position),
        "height": position.height,
        "index": position.index,
        **batch_entry_record(appended.entry),
    }
    if isinstance(appended, LogEntry):
        record["void"] = appended.is_void
    return record


def entry_facts(appended: Appended) -> dict[str, object]:
    """An entry for people."""
    facts: dict[str, object] = {
        "position": appended.position,
        "request id": shown_value(appended.request_id),
        "value": shown_value(appended.value),
    }
    if appended.entry.author:
        facts["author"] = appended.entry.author.hex()
    facts["instance"] = appended.decision.instance
    return facts


def _text_of(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def topic_facts(cluster: Cluster) -> dict[str, object]:
    """Which topics are guarded, and which are open, with what that means (SCENARIOS G16)."""
    guarded, opened = [], []
    rest = "all topics" if len(cluster.all_prefixes) == 1 else "all others"
    for prefix in cluster.all_prefixes:
        topics = f"{prefix.prefix}*" if prefix.prefix else rest
        if prefix.is_open:
            opened.append(topics)
        else:
            guarded.append(f"{topics} (proposers: {len(prefix.proposers)})")
    facts: dict[str, object] = {}
    if guarded:
        facts["guarded topics"] = ", ".join(guarded)
    ordered = [f"{prefix.prefix}*" for prefix in cluster.all_prefixes if prefix.ordered]
    if ordered:
        facts["ordered topics"] = f"{', '.join(ordered)}: appended to, with `qbft append`"
    if opened:
        warning = "anyone may propose, and a faulty node may choose the values"
        facts["open topics"] = f"{', '.join(opened)}: {warning}"
    return facts


def evidence_record(evidence: VerifiedEvidence) -> dict[str, Any]:
    """Evidence as JSON."""
    return {
        "evidence": evidence.contradiction.value,
        "epoch": evidence.epoch,
        "validator": evidence.validator,
        "instance": str(evidence.instance),
        "topic": evidence.instance.topic,
        "height": evidence.instance.height,
        "first": _vote_record(evidence.first),
        "second": _vote_record(evidence.second),
    }


def evidence_facts(evidence: VerifiedEvidence) -> dict[str, object]:
    """Evidence for people."""
    return {
        "evidence": f"against validator {evidence.validator} of epoch {evidence.epoch}",
        "instance": evidence.instance,
        "what": evidence_summary(evidence),
        "first": _vote_text(evidence.first),
        "second": _vote_text(evidence.second),
    }


def evidence_summary(evidence: Evidence | VerifiedEvidence) -> str:
    """What the validator did, in a few words."""
    first, second = evidence.first, evidence.second
    if first.type is second.type:
        return f"two {_name(first)}s in round {first.round}"
    commit, change = sorted((first, second), key=lambda vote: vote.type)
    return f"a ROUND-CHANGE for round {change.round} that hides its COMMIT of round {commit.round}"


def _name(vote: Message) -> str:
    return vote.type.name.replace("_", "-")


def _vote_record(vote: Message) -> dict[str, Any]:
    return {
        "type": _name(vote),
        "round": vote.round,
        "digest": _hex(vote.value),
        "prepared_round": vote.prepared_round,
        "prepared_digest": _hex(vote.prepared_value),
    }


def _vote_text(vote: Message) -> str:
    text = f"{_name(vote)} of round {vote.round}"
    if vote.value is not None:
        return f"{text} for {_hex(vote.value)}"
    if vote.prepared_value is None:
        return f"{text}, nothing prepared"
    return f"{text}, prepared in round {vote.prepared_round}: {_hex(vote.prepared_value)}"


def _hex(digest: object) -> str | None:
    return digest.hex() if isinstance(digest, bytes) else None


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole and synced, or not at all; a device is written to.

    Raises:
        CommandError: the disk refuses.
    """
    path = path.resolve()
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
        else:
            _replace(path, data)
    except OSError as error:
        raise CommandError(f"{path}: cannot write: {error.strerror}", ExitCode.FAILED) from error


def _replace(path: Path, data: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.fchmod(file.fileno(), 0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
