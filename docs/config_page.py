"""Writes docs/CONFIG.md from the models of a node's settings; `--check` only compares.

What a setting is, is said by the docstring below it; default and bounds are the model's own.
"""

from __future__ import annotations

import ast
import re
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from pydantic import AnyHttpUrl, BaseModel
from pydantic.fields import FieldInfo
from written_page import write_or_check

from qbft_server import config
from qbft_server.config import NodeConfig

PAGE = Path(__file__).with_name("CONFIG.md")
HEAD = """# Settings

Written by `docs/config_page.py`. A node's settings are in its `node.toml`; any of them may be
given in the environment, which wins: `QBFT_`, the key in capitals, `__` for the dot, as in
`QBFT_LISTEN__CLIENT=0.0.0.0:7401`; lists as JSON. Paths are seen from the file's own folder.
All is checked once, at start: an unknown key or variable, or a value out of bounds, is refused
in one line."""
OTHERS = """## Other variables

`QBFT_CONFIG` is the node's file for `qbft node`, `QBFT_CLUSTER` the cluster file for every
command. `QBFT_TEST_*` belongs to the project's tests: with `QBFT_TEST_FAULTS=1` a node kills
itself on purpose, so let no such variable come near a real one."""
COLUMNS = "| key | default | allowed | what it is |\n|---|---|---|---|"
NAMES = {Path: "path", str: "text", AnyHttpUrl: "URL", bool: "true, false", tuple: "list"}
HOST_PORT = {"peer", "client", "admin", "address"}
"""Keys of `listen` and `application` whose text is an address."""

_LINK = re.compile(r"docs/(\w+\.md)(#[\w-]+)?")
_TABLES = {
    node.name: node
    for node in ast.parse(Path(config.__file__).read_text()).body
    if isinstance(node, ast.ClassDef)
}


def page() -> str:
    """The page: the settings, then the tables of which there may be several."""
    several: list[str] = []
    rows = "\n".join(_rows(NodeConfig, "", several))
    return "\n\n".join([HEAD, f"{COLUMNS}\n{rows}", *several, OTHERS]) + "\n"


def _rows(model: type[BaseModel], prefix: str, several: list[str]) -> Iterator[str]:
    """A line for each setting; what each of a list of tables has goes to `several`."""
    texts = dict(_described(model))
    for name, field in model.model_fields.items():
        kind, inside = _kind(field)
        if issubclass(kind, BaseModel):
            yield from _rows(kind, f"{prefix}{name}.", several)
            continue
        if not texts.get(name):
            raise LookupError(f"{model.__name__}.{name} has no docstring")
        cells = (f"`{prefix}{name}`", _default(field), _allowed(name, field, kind), texts[name])
        yield f"| {' | '.join(cells)} |"
        if inside is not None:
            about = " ".join((inside.__doc__ or "").split("\n\n")[0].split())
            rows = "\n".join(_rows(inside, "", several))
            several.append(f"## Each `[[{prefix}{name}]]`\n\n{about}\n\n{COLUMNS}\n{rows}")


def _kind(field: FieldInfo) -> tuple[type[Any], type[BaseModel] | None]:
    """A setting's type, and of a list of tables the table's."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    is_optional = NoneType in get_args(field.annotation)
    kind: Any = kinds[0] if is_optional else field.annotation
    inside = next(iter(get_args(kind)), None) if get_origin(kind) is tuple else None
    is_table = isinstance(inside, type) and issubclass(inside, BaseModel)
    while (origin := get_origin(kind)) is not None:
        match origin:
            case typing.Annotated:
                kind = get_args(kind)[0]
            case typing.Literal:
                kind = str
            case _:
                kind = origin
    return kind, inside if is_table else None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return "none" if field.default in (None, ()) else str(field.default)


def _allowed(name: str, field: FieldInfo, kind: type[Any]) -> str:
    choices = get_args(field.annotation)
    if choices and all(isinstance(choice, str) for choice in choices):
        return ", ".join(choices)
    bounds = {type(one): one for one in field.metadata}
    most = bounds.get(Le)
    if Ge in bounds:
        least = bounds[Ge].ge
        return f"{least} or more" if most is None else f"{least} to {most.le}"
    if Gt in bounds and most is not None:
        return f"above {bounds[Gt].gt}, to {most.le}"
    if kind is str and name in HOST_PORT:
        return "HOST:PORT"
    if kind is str and MinLen in bounds:
        return f"{bounds[MinLen].min_length} to {bounds[MaxLen].max_length} characters"
    return NAMES[kind]


def _described(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Each field with the docstring below it, in which pages of docs/ become links."""
    name = ""
    for node in _TABLES[model.__name__].body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name)):
                pass
            case ast.Expr(value=ast.Constant(value=str(text))) if name:
                text = _LINK.sub(r"[\1](\1\2)", " ".join(text.split()))
                yield name, text.replace("|", "\\|")
                name = ""
            case _:
                name = ""


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), __file__))
