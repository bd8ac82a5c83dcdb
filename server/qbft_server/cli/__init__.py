"""The command line: `qbft` and `python -m qbft_server.cli`."""

from __future__ import annotations

from collections.abc import Sequence

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; gives the exit code."""
    try:
        from qbft_server.cli.commands import main as run

        return run(arguments)
    except KeyboardInterrupt:  # while it was still loading, or ending
        return INTERRUPTED
