"""What others build on: the protobuf schema, and the names that the documentation calls public.

`schema()` and `api()` describe today's; `golden/VERSION/` holds what a released version had.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

import qbft.wire.v1

PUBLIC = (
    "qbft",
    "qbft.client",
    "qbft.cluster",
    "qbft.memory",
    "qbft.ordered",
    "qbft.timers",
    "qbft.transport",
    "qbft.verify",
)
"""The modules that docs/VERSIONS.md promises."""

Parameters = dict[str, bool]
"""By name: whether it must be given."""

Api = dict[str, Parameters | None]
"""By dotted name: how it is called; None where it is not."""


def schema() -> FileDescriptorSet:
    """Every .proto file of qbft, as it is compiled into the wire package."""
    names = sorted(m.name for m in iter_modules(qbft.wire.v1.__path__) if m.name.endswith("_pb2"))
    files = FileDescriptorSet()
    for name in names:
        import_module(f"qbft.wire.v1.{name}").DESCRIPTOR.CopyToProto(files.file.add())
    return files


def api() -> Api:
    """Every public name of the modules that are promised, and of their classes."""
    found: Api = {}
    for name in PUBLIC:
        module = import_module(name)
        for word in _public(module):
            thing = getattr(module, word)
            found[f"{name}.{word}"] = _parameters(thing)
            for member in _members(thing):
                found[f"{name}.{word}.{member}"] = _parameters(getattr(thing, member, None))
    return found


def _members(thing: Any) -> list[str]:
    """Fields, properties and methods of a class, as far as they are ours."""
    own = [c for c in getattr(thing, "__mro__", ()) if c.__module__.startswith("qbft")]
    names = {name for c in own for name in (*vars(c), *inspect.get_annotations(c))}
    return sorted(name for name in names if not name.startswith(("_", "model_")))


def _public(module: ModuleType) -> list[str]:
    own = getattr(module, "__all__", None)
    if own is not None:
        return sorted(own)
    return sorted(
        word
        for word, thing in vars(module).items()
        if not word.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    )


def _parameters(thing: Any) -> Parameters | None:
    if not callable(thing):
        return None
    try:
        given = inspect.signature(thing).parameters.values()
    except ValueError:  # a class without a signature of its own
        return None
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        p.name: p.default is inspect.Parameter.empty and p.kind not in several
        for p in given
        if p.name != "self"
    }
