"""The demo's input: a CSV of topic, height, value, read and checked as a whole first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

from qbft.core import InstanceId
from qbft.errors import ClusterError

HEADING = ["topic", "height", "value"]
ROWS_MIN = 24
"""With fewer, all that is decided in the outage might have been proposed before it."""

ROWS_MAX = 100_000
INPUT_BYTES_MAX = 64 << 20
VALUE_BYTES_MAX = 1 << 20
"""Rows of an input file of the demo, its bytes, and those of one row."""

SAMPLE = "rates.csv"


class InputError(ClusterError):
    """The input cannot be used; the line says where and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is to be decided for one instance."""

    instance: InstanceId
    value: bytes


def read_sample(rows_max: int | None = None) -> list[Row]:
    """The table that comes with the package."""
    with as_file(files("qbft_server.demo").joinpath(SAMPLE)) as path:
        return read_rows(path, rows_max)


def read_rows(path: Path, rows_max: int | None = None) -> list[Row]:
    """Read a table, or only so many of its rows; all of the file is checked either way.

    Raises:
        InputError: it cannot be read, or a row of it cannot be used.
    """
    try:
        with path.open("rb") as file:
            data = file.read(INPUT_BYTES_MAX + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot read the input: {error.strerror}") from error
    if len(data) > INPUT_BYTES_MAX:
        raise InputError(f"{path}: an input has at most {INPUT_BYTES_MAX} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}, line {line}: not UTF-8") from error
    rows = _checked(path, text)
    if rows_max is not None:
        rows = rows[:rows_max]
    if len(rows) < ROWS_MIN:
        raise InputError(f"{path}: {len(rows)} rows; the demo needs at least {ROWS_MIN}")
    return rows


def _checked(path: Path, text: str) -> list[Row]:
    rows: list[Row] = []
    first_line: dict[InstanceId, int] = {}
    for line, fields in _lines(path, text):
        if line == 1 and fields == HEADING:
            continue
        try:
            row = _row(fields)
        except ValueError as error:
            raise InputError(f"{path}, line {line}: {error}") from None
        earlier = first_line.setdefault(row.instance, line)
        if earlier != line:
            raise InputError(f"{path}, line {line}: {row.instance} is on line {earlier} already")
        if len(rows) == ROWS_MAX:
            raise InputError(f"{path}, line {line}: more than {ROWS_MAX} rows")
        rows.append(row)
    return rows


def _lines(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{path}, line {line}: {error}") from error
        if fields:
            yield line, fields


def _row(fields: list[str]) -> Row:
    if len(fields) != len(HEADING):
        raise ValueError(f"{len(fields)} fields; a row is {','.join(HEADING)}")
    topic, height, value = fields
    instance = InstanceId.parse(f"{topic.strip()}/{height.strip()}")
    data = value.encode()
    if not 1 <= len(data) <= VALUE_BYTES_MAX:
        raise ValueError(f"the value has {len(data)} bytes; allowed is 1 to {VALUE_BYTES_MAX}")
    return Row(instance, data)
