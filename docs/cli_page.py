"""Writes docs/CLI.md from the commands themselves; with `--check` only says whether it is stale."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command
from written_page import write_or_check

from qbft_server.cli.commands import EXIT_CODES, app

COMPLETION = """`qbft --install-completion` has your shell (bash, zsh, fish, PowerShell) complete
commands and options, from the next one that you open; `qbft --show-completion` shows how."""

PAGE = Path(__file__).with_name("CLI.md")


def page() -> str:
    """The page: each command with its arguments and options."""
    root = get_command(app)
    head = "# Commands\n\nWritten by `docs/cli_page.py`; `qbft COMMAND --help` says the same."
    parts = [head, " ".join(EXIT_CODES.split()), COMPLETION, *_sections(root, "qbft")]
    return "\n\n".join(parts) + "\n"


def _sections(command: Any, path: str) -> Iterator[str]:
    """A section of each command below this one, by name."""
    for name, child in sorted(command.commands.items()):
        if hasattr(child, "commands"):
            yield from _sections(child, f"{path} {name}")
        else:
            yield _section(child, f"{path} {name}")


def _section(command: Any, path: str) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    words = " ".join([path, "[OPTIONS]", *map(_name, arguments)])
    rows = "\n".join(
        f"| `{_name(parameter)}` | {_text(parameter)} |" for parameter in command.params
    )
    text, _, example = command.help.strip().partition("Example: ")
    shown = f"{text}Example: `{' '.join(example.split())}`"
    return f"## {path}\n\n    {words}\n\n{shown}\n\n| | |\n|---|---|\n{rows}"


def _name(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper())
    return ", ".join(parameter.opts)


def _text(parameter: Any) -> str:
    text = " ".join((parameter.help or "").split()).replace("|", "\\|")
    return f"{text} Or `{parameter.envvar}`." if parameter.envvar else text


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), __file__))
