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

from qbft_server.cli.exits import CommandError, ExitCode

if TYPE_CHECKING:
    from rich.console import Console

    from qbft.verify import VerifiedDecision

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
    try:
        text = value.decode() if value is not None else None
    except UnicodeDecodeError:
        text = None
    record: dict[str, Any] = {
        "instance": str(decision.instance),
        "topic": decision.instance.topic,
        "height": decision.instance.height,
        "round": decision.round,
        "value": text,
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
