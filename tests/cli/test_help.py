"""`--help` of every command, what pages say to type, completion (issue 7, part 3)."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cli.command_line import SECONDS, environment
from typer.main import get_command

from qbft_server.cli.commands import app, main

ROOT = Path(__file__).parents[2]


def _commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, child in sorted(group.commands.items()):
        if hasattr(child, "commands"):
            yield from _commands(child, (*path, name))
        else:
            yield (*path, name), child


COMMANDS = dict(_commands(get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_that_it_understands(
    path: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last paragraph of its help, with whatever has to be given, and nothing misspelled."""
    for variable in [name for name in os.environ if name.startswith("QBFT_")]:
        monkeypatch.delenv(variable)
    command = COMMANDS[path]
    example = re.search(r"(?:^|\n\n)Example: qbft (.*)\Z", command.help.strip(), re.DOTALL)
    assert example is not None, "add to its docstring: Example: qbft ..."
    words = tuple(shlex.split(example[1]))
    assert words[: len(path)] == path
    command.make_context(path[-1], list(words[len(path) :]))


def _typed() -> Iterator[tuple[str, str]]:
    """Every `qbft ...` in a block of shell lines, with its page."""
    pages = [
        ROOT / "README.md",
        ROOT / "examples/README.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]
    for page in pages:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            lines = re.sub(r"\\\n\s*", " ", block)
            for typed in re.findall(
                r"(?:^|[;&(]|\bdo|--|/bin/)\s*(qbft\s[^;&|>)#\n]*)", lines, re.MULTILINE
            ):
                yield page.name, typed.strip()


def test_what_the_pages_say_to_type_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """No page names a command, an option or a number of arguments that there is not."""
    monkeypatch.setenv("QBFT_CLUSTER", "cluster.toml")
    typed = list(_typed())
    assert len(typed) > 50
    for page, line in typed:
        words = shlex.split(line)[1:]
        path = next((p for p in (tuple(words[:2]), tuple(words[:1])) if p in COMMANDS), None)
        assert path is not None, f"{page}: {line}"
        try:
            COMMANDS[path].make_context(path[-1], words[len(path) :])
        except typer.TyperException as error:
            pytest.fail(f"{page}: {line}: {error.format_message()}")


def test_every_target_that_a_page_names_is_there() -> None:
    """`make demo` and the others, in the pages for users."""
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {n for p in pages for n in re.findall(r"`make (\w+)", p.read_text())}
    assert named >= {"check", "test", "docs", "sbom", "wheels"}
    assert named <= targets


ASKED = {
    "bash": {"COMP_WORDS": "qbft pro", "COMP_CWORD": "1"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "qbft pro"},
    "fish": {"_TYPER_COMPLETE_ARGS": "qbft pro", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}
"""How each shell's part of `qbft --install-completion` asks the program."""


@pytest.mark.parametrize("shell", ASKED)
def test_a_shell_completes_what_was_begun(tmp_path: Path, shell: str) -> None:
    """By its first letters a command is proposed, and no other one. 1 s."""
    program = tmp_path / "qbft"
    program.write_text("from qbft_server.cli import main\nmain()\n")
    done = subprocess.run(
        [sys.executable, program],
        env=environment({"_QBFT_COMPLETE": f"complete_{shell}", **ASKED[shell]}),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert re.findall(r'(?:^|")([a-z]+)(?=["\s])', done.stdout, re.MULTILINE) == ["propose"]
    assert done.returncode == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_shown_with_success(
    shell: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`qbft --show-completion >> ~/.bashrc && ...` goes on: typer ends the process itself.

    Which shell it is, it finds out by itself; here it is told.
    """
    monkeypatch.setattr("shellingham.detect_shell", lambda *_: (shell, f"/bin/{shell}"))
    assert main(["--show-completion"]) == 0
    assert "_QBFT_COMPLETE" in capfd.readouterr().out
