"""What several tests of simulations need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dask import distributed


@pytest.fixture
def dask_cluster() -> Iterator[str]:
    """A Dask cluster of two worker processes on this machine, as `--executor` names it."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield f"dask://{cluster.scheduler_address.removeprefix('tcp://')}"
