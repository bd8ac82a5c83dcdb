"""The core is pure, and nothing in the library blocks or starts a thread (DESIGN, async; issue 2).

import-linter guards who imports whom; these tests read the code for what it calls.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[2] / "qbft"

PURE = {"__future__", "collections", "collections.abc", "dataclasses", "enum", "re", "typing"}
"""What the core may import from the standard library."""

BLOCKING_MODULES = {
    "concurrent", "ctypes", "multiprocessing", "queue", "requests", "sched", "select", "selectors",
    "shelve", "signal", "socket", "socketserver", "sqlite3", "subprocess", "threading", "time",
    "urllib",
}  # fmt: skip

BLOCKING_CALLS = {
    "Runner", "Thread", "ThreadPoolExecutor", "call_soon_threadsafe", "fdatasync", "fsync", "input",
    "open", "read_bytes", "read_text", "run_coroutine_threadsafe", "run_forever", "run_in_executor",
    "run_until_complete", "system", "to_thread", "urlopen", "write_bytes", "write_text",
}  # fmt: skip

EXCEPTIONS = {
    ("cluster.py", "open"): "the cluster file is read once, before any loop runs",
    ("cluster.py", "read_text"): "its own function of that name",
    ("parity.py", "open"): "a command that reads recorded traces, and runs no loop",
    ("sim/clock.py", "Runner"): "the simulator's entry: a virtual clock has no loop to share",
    ("sim/clock.py", "selectors"): "the virtual clock's selector, which never waits",
}
"""(file, call or module): why it may."""


def sources(root: Path) -> Iterator[tuple[str, ast.Module]]:
    """The library's own files; generated code is protobuf's business."""
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(LIBRARY).as_posix()
        if not name.startswith("wire/v1/"):
            yield name, ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.Module) -> Iterator[str]:
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports hide where a thing comes from"
            yield node.module or ""


def blocks(tree: ast.Module) -> Iterator[str]:
    """What in a file may block: calls by their last name, modules by their first."""
    for module in imported(tree):
        first = module.partition(".")[0]
        if first in BLOCKING_MODULES:
            yield first
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            match node.func:
                case ast.Name(id=name) | ast.Attribute(attr=name):
                    if name in BLOCKING_CALLS:
                        yield name
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("asyncio.run", "time.sleep"):
            yield ast.unparse(node)


def test_the_core_imports_the_pure_parts_of_the_standard_library_only() -> None:
    """DESIGN, section 2: no asyncio, time, random, logging, os, protobuf."""
    for name, tree in sources(LIBRARY / "core"):
        for module in imported(tree):
            assert module in PURE or module.startswith("qbft.core"), f"{name} imports {module}"


def test_the_core_awaits_nothing_and_prints_nothing() -> None:
    """DESIGN, one step: synchronous, and all it says is its effects."""
    for name, tree in sources(LIBRARY / "core"):
        for node in ast.walk(tree):
            assert not isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.Global), name
            called = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(called, ast.Name) and called.id in ("print", "id")), name


def test_nothing_in_the_library_blocks() -> None:
    """Issue 2: no thread, no blocking call, no blocking entry point, but for named exceptions."""
    found = {(name, what) for name, tree in sources(LIBRARY) for what in blocks(tree)}
    assert sorted(found - EXCEPTIONS.keys()) == []


def test_the_exceptions_are_needed() -> None:
    """An exception that nothing uses any more would hide the next offender."""
    found = {(name, what) for name, tree in sources(LIBRARY) for what in blocks(tree)}
    assert sorted(EXCEPTIONS.keys() - found) == []


@pytest.mark.parametrize(
    "offence",
    [
        "import time",
        "from threading import Thread",
        "import concurrent.futures",
        "asyncio.run(main())",
        "x = asyncio.run",
        "await asyncio.to_thread(work)",
        "loop.run_in_executor(None, work)",
        "loop.run_until_complete(work)",
        "open('file')",
        "path.open('rb')",
        "def f():\n    import socket",
    ],
)
def test_an_offence_would_be_found(offence: str) -> None:
    """A scan that finds nothing shows nothing."""
    assert list(blocks(ast.parse(offence)))


def test_no_two_test_files_have_the_same_name() -> None:
    """The suite is collected in one process, where a module's name is that of its file alone.

    Core and parity are collected apart, for their coverage.
    """
    tests = Path(__file__).parents[1]
    apart = {tests / "core", tests / "parity"}
    names = Counter(
        path.name for path in tests.rglob("*.py") if not apart.intersection(path.parents)
    )
    names.pop("conftest.py", None)
    assert [name for name, times in names.items() if times > 1] == []
