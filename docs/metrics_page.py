"""Writes docs/METRICS.md from the metrics themselves; with `--check` only says if it is stale."""

from __future__ import annotations

import sys
from pathlib import Path

from written_page import write_or_check

from qbft_server.telemetry.catalogue import METRICS, Described

PAGE = Path(__file__).with_name("METRICS.md")

HEAD = """\
# Metrics

Written by `docs/metrics_page.py` from the metrics of the node. They are at
`http://LISTEN.ADMIN/metrics`, in the format of Prometheus
([how to look at them](OPERATIONS.md#metrics)). No label has a value that a client can choose:
validators are their indexes, all other words are the program's own. Counters begin anew when the
process does, unless they say otherwise. Beside these there are the usual `process_*` of the
process: memory, processor, open files. What the bounds in `qbft_bounds_total` are is on
[another page](SECURITY.md#bounds).

| metric | type | labels | what it says | look at it when |
|---|---|---|---|---|
"""


def page() -> str:
    """The page: each metric once."""
    return HEAD + "".join(map(_row, METRICS))


def _row(metric: Described) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    cells = (f"`{metric.told_as}`", metric.kind, labels, metric.text, metric.look)
    return "| " + " | ".join(cells) + " |\n"


if __name__ == "__main__":
    sys.exit(write_or_check(PAGE, page(), __file__))
