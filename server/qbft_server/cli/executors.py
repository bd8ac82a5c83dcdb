"""Where simulations run: any `concurrent.futures.Executor` does; which one, an option names.

`processes` is a pool on this machine, the default. `dask://HOST:PORT` is the scheduler of a Dask
cluster that runs already and has this package on its workers.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager

from qbft_server.cli.exits import CommandError, ExitCode

PROCESSES = "processes"
DASK = "dask://"
CONNECT_SECONDS = 10
_ADDRESS = re.compile(rf"{DASK}[^:/]+:[0-9]{{1,5}}")


@contextmanager
def executor(name: str, jobs: int | None) -> Iterator[Executor]:
    """The executor of that name; what it has not begun is dropped when the block fails.

    Raises:
        CommandError: there is none of that name, or its cluster does not answer.
    """
    if name == PROCESSES:
        with _pool(jobs) as pool:
            yield pool
    elif _ADDRESS.fullmatch(name):
        with _dask(name.removeprefix(DASK)) as cluster:
            yield cluster
    else:
        message = f"--executor {name}: allowed are {PROCESSES} and {DASK}HOST:PORT"
        raise CommandError(message, ExitCode.USAGE)


@contextmanager
def _pool(jobs: int | None) -> Iterator[Executor]:
    """Processes of our own; Ctrl-C is the parent's business."""
    pool = ProcessPoolExecutor(
        jobs or os.cpu_count() or 1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _dask(address: str) -> Iterator[Executor]:
    try:
        from dask import distributed
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed, it comes with: pip install 'qbft[dask]'"
        raise CommandError(message, ExitCode.FAILED) from error
    try:
        client = distributed.Client(
            f"tcp://{address}", timeout=CONNECT_SECONDS, set_as_default=False
        )
    except (OSError, ValueError) as error:
        message = f"no Dask scheduler answers at {address}: {error}"
        raise CommandError(message, ExitCode.UNAVAILABLE) from error
    with client, client.get_executor(pure=False) as cluster:
        yield cluster
