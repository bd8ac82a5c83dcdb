"""The command line: `qbft` and `python -m qbft_server.cli`."""

from qbft_server.cli.main import main

__all__ = ["main"]
