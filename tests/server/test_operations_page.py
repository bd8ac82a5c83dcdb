"""docs/OPERATIONS.md says what the program does: settings, bounds, metrics. 2 s."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import pytest
from annotated_types import Ge, Le
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from qbft.errors import QbftError
from qbft_server.config import NodeConfig
from qbft_server.local import LocalCluster, wait_until
from qbft_server.probe import probe

PAGE = (Path(__file__).parents[2] / "docs/OPERATIONS.md").read_text()
NAMES = {Path: "path", str: "HOST:PORT", bool: "true, false", tuple: "list"}


def _rows(section: str, columns: int) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == columns for row in rows)
    return rows


def _settings(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _settings(kind, f"{name}.")
        else:
            yield prefix + name, field


def _shown_default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    return {None: "none", (): "none", True: "true", False: "false"}.get(
        field.default, str(field.default)
    )


def _shown_allowed(field: FieldInfo) -> str:
    least = [m.ge for m in field.metadata if isinstance(m, Ge)]
    most = [m.le for m in field.metadata if isinstance(m, Le)]
    if least:
        return f"{least[0]} to {most[0]}" if most else f"{least[0]} or more"
    kind: Any = field.annotation
    arguments = [a for a in get_args(kind) if a is not NoneType]
    if arguments and all(isinstance(a, str) for a in arguments):
        return ", ".join(arguments)  # a Literal
    optional = arguments[0] if NoneType in get_args(kind) else kind
    origin = getattr(optional, "__origin__", optional)
    return NAMES[origin]


def test_every_setting_is_described_as_it_is() -> None:
    """Stage 3, config: the page has each key once, with the default and bounds of the model."""
    described = [tuple(row[:3]) for row in _rows("Configuration", 4)]
    shipped = [
        (key, _shown_default(field), _shown_allowed(field)) for key, field in _settings(NodeConfig)
    ]
    assert described == shipped


@pytest.mark.e2e
async def test_every_metric_is_described(tmp_path: Path) -> None:
    """The page has each metric that a node tells, and no other."""
    async with LocalCluster.create(tmp_path / "cluster") as cluster:
        await cluster.start(0)
        node_file = cluster.directory / "node-0" / "node.toml"
        await wait_until(lambda: _answers(node_file), "a living node")
        admin = NodeConfig.load(node_file).listen.admin
        with urllib.request.urlopen(f"http://{admin}/metrics", timeout=10) as reply:  # noqa: ASYNC210
            told = re.findall(r"^# TYPE (\w+) ", reply.read().decode(), flags=re.MULTILINE)
    names = {name for name in told if not name.endswith("_created")}
    assert {row[0] for row in _rows("Metrics", 3)} == names


def _answers(node_file: Path) -> bool:
    try:
        probe(node_file)
    except QbftError:
        return False
    return True
