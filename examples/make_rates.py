"""Makes the demo's table: daily reference rates of one euro, all of them made up.

    python examples/make_rates.py > server/qbft_server/demo/rates.csv

Height is the day, counted from the first. The walk is seeded: the same table every time, and the
rates of no real market on any day.
"""

from __future__ import annotations

import csv
import random
import sys

DAYS = 300
BEGIN = {"chf": 0.95, "gbp": 0.86, "jpy": 160.0, "usd": 1.09}


def main() -> None:
    """Write the table to standard output."""
    draw = random.Random(2002_03613)
    rates = dict(BEGIN)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["topic", "height", "value"])
    for day in range(DAYS):
        for currency, yesterday in rates.items():
            rates[currency] = yesterday * (1 + draw.gauss(0, 0.004))
            writer.writerow([f"rates/eur-{currency}", day, f"{rates[currency]:.4f}"])


if __name__ == "__main__":
    main()
