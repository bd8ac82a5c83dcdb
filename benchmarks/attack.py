"""What attacks cost: three real nodes, a liar in the place of the fourth, honest clients.

    python benchmarks/attack.py [--only "many instances,replays"] [--runs 3] [--json] [--write]

Each attack of `tests/attacks` goes on while honest clients keep so many proposals in flight, of
instances that an honest node leads; one more always proposes where the liar leads. What is measured
is held against the same cluster, a fresh one for each attack, with nobody in the fourth place,
measured before. The liar runs on this machine too, at the least priority, so that what it costs is
what the nodes do for it; `--priority 0` lets it take as much as they do. Of several runs the table
has the median of each figure, the share of late turns in all of them, and the most memory and lines
of any.

    decisions/s   of the honest clients, and its share of the undisturbed rate: at least 50 %
    p99           of their latency, and how many times the undisturbed one it is: at most 3
    heard         frames that the nodes took in from the liar until the end of it, all together; of
                  a member that says something there have to be some, though what is left unread
                  because of what it has said already may be most of it
    led by liar   median seconds of a proposal where the liar leads: a round change
    memory        the most that any node held: at most 300 MiB
    late          the share of turns in which a due timer may have waited more than 50 ms, and the
                  least bound under which all but one in a thousand stay
    lines         written by the nodes because of the attack, above debug: none
    agreement     no two journals say different values of one instance

`--write` puts the table into docs/SECURITY.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests"))

from attacks.catalogue import ATTACKS, Attack  # noqa: E402 - found by the line above
from attacks.siege import (  # noqa: E402
    HONEST,
    LEAST_PRIORITY,
    HonestClients,
    Lines,
    MemoryWatch,
    Metrics,
    Told,
    attacked,
    besieged,
    heard_of_liar,
    read_metrics,
)
from e2e.journal_audit import audit  # noqa: E402

from qbft.errors import QbftError  # noqa: E402
from qbft_server.local import LocalCluster  # noqa: E402

PAGE = ROOT / "docs" / "SECURITY.md"
BEGIN, END = "<!-- attack table: begin -->", "<!-- attack table: end -->"
SHARE_MIN, P99_TIMES_MAX, RESIDENT_MIB_MAX, LATE_SECONDS_MAX = 0.5, 3.0, 300.0, 0.05
ALL_BUT = 0.001
PATIENCE_SECONDS = 15.0
HEARD_SECONDS_MAX = 60.0
LATE = "qbft_timer_late_seconds_bucket"


@dataclass(frozen=True)
class Lateness:
    """Turns of one stretch: how many, the share above the bound, and a bound for nearly all."""

    turns: float
    share: float
    seconds: float

    @classmethod
    def between(cls, before: Sequence[Metrics], after: Sequence[Metrics]) -> Lateness:
        """Of all nodes together, from their histograms."""
        counts: dict[float, float] = {}
        for was, now in zip(before, after, strict=True):
            for (name, labels), value in now.items():
                if name == LATE:
                    bound = float(dict(labels)["le"])
                    counts[bound] = counts.get(bound, 0.0) + value - was.get((name, labels), 0.0)
        turns = counts[float("inf")]
        enough = [
            bound for bound, count in sorted(counts.items()) if count >= turns * (1 - ALL_BUT)
        ]
        share = 1 - counts[LATE_SECONDS_MAX] / turns if turns else 0.0
        return cls(turns, share, enough[0])


@dataclass(frozen=True)
class Figures:
    """What one stretch has come to; latencies in milliseconds."""

    decisions_s: float
    p50_ms: float
    p99_ms: float
    led_by_liar_s: float
    failures: int
    resident_mib: float
    turns: float
    late_share: float
    late_ms: float
    lines: int
    heard: float = 0.0

    @classmethod
    def over(cls, runs: Sequence[Figures]) -> Figures:
        """Of several runs together."""
        turns = sum(run.turns for run in runs)
        middle = {
            name: statistics.median(getattr(run, name) for run in runs)
            for name in ("decisions_s", "p50_ms", "p99_ms", "led_by_liar_s", "late_ms", "heard")
        }
        return cls(
            **middle,
            turns=turns,
            late_share=sum(run.late_share * run.turns for run in runs) / turns,
            failures=sum(run.failures for run in runs),
            resident_mib=max(run.resident_mib for run in runs),
            lines=max(run.lines for run in runs),
        )

    @classmethod
    def of(
        cls, told: Told, seconds: float, memory: MemoryWatch, late: Lateness, lines: int
    ) -> Figures:
        """From what clients were told and what was looked at."""
        latencies = sorted(told.latencies) or [float("inf")]
        return cls(
            decisions_s=told.in_time / seconds,
            p50_ms=latencies[len(latencies) // 2] * 1_000,
            p99_ms=latencies[len(latencies) * 99 // 100] * 1_000,
            led_by_liar_s=statistics.median(told.led_by_liar) if told.led_by_liar else float("inf"),
            failures=len(told.failures),
            resident_mib=max(memory.most.values()),
            turns=late.turns,
            late_share=late.share,
            late_ms=late.seconds * 1_000,
            lines=lines,
        )


@dataclass(frozen=True)
class Result:
    """An attack's figures beside the undisturbed ones of the same cluster, in each run."""

    name: str
    shows: str
    speaks: bool
    runs: list[Figures]
    undisturbed: list[Figures]
    agreement: bool = True

    @property
    def figures(self) -> Figures:
        """Those of all runs."""
        return Figures.over(self.runs)

    @property
    def share(self) -> float:
        """Of the undisturbed rate."""
        return statistics.median(
            run.decisions_s / calm.decisions_s
            for run, calm in zip(self.runs, self.undisturbed, strict=True)
        )

    @property
    def times(self) -> float:
        """The undisturbed 99th percentile."""
        return statistics.median(
            run.p99_ms / calm.p99_ms for run, calm in zip(self.runs, self.undisturbed, strict=True)
        )

    def broken(self) -> list[str]:
        """Which of the promises did not hold."""
        figures = self.figures
        promises = {
            "throughput": self.share >= SHARE_MIN,
            "p99": self.times <= P99_TIMES_MAX,
            "memory": figures.resident_mib <= RESIDENT_MIB_MAX,
            "timers": figures.late_share <= ALL_BUT,
            "log": figures.lines == 0,
            "decided": figures.failures == 0,
            "agreement": self.agreement,
            "no attack": not self.speaks or min(run.heard for run in self.runs) > 0,
        }
        return [name for name, held in promises.items() if not held]


async def measure(
    cluster: LocalCluster, clients: HonestClients, seconds: float, in_flight: int
) -> Figures:
    """Let clients propose for so long; look at the nodes meanwhile."""
    before = [await asyncio.to_thread(read_metrics, cluster, node) for node in HONEST]
    lines, memory = Lines(cluster), MemoryWatch(cluster)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(memory.run())
        told = await clients.propose(seconds, in_flight)
        watching.cancel()
    after = [await asyncio.to_thread(read_metrics, cluster, node) for node in HONEST]
    late = Lateness.between(before, after)
    figures = Figures.of(told, seconds, memory, late, len(lines.told()))
    return replace(figures, heard=sum(map(heard_of_liar, after)))


async def until_heard(cluster: LocalCluster, attack: Attack) -> None:
    """Wait until the liar has something to say, for a while: making it takes some of them long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HEARD_SECONDS_MAX if attack.speaks else 0):
            while not heard_of_liar(await asyncio.to_thread(read_metrics, cluster, HONEST[0])):  # noqa: ASYNC110
                await asyncio.sleep(0.2)


async def run_one(name: str, arguments: argparse.Namespace) -> Result:
    """Measure an attack on a fresh cluster, after the same load without any."""
    attack = ATTACKS[name]
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        async with besieged(Path(directory)) as cluster:
            clients = HonestClients(cluster, PATIENCE_SECONDS)
            await clients.propose(arguments.warm_up, arguments.in_flight)
            calm = await measure(cluster, clients, arguments.seconds, arguments.in_flight)
            async with attacked(cluster, name, priority=arguments.priority):
                await until_heard(cluster, attack)
                await clients.propose(arguments.warm_up, arguments.in_flight)
                figures = await measure(cluster, clients, arguments.seconds, arguments.in_flight)
            await asyncio.gather(*(cluster.stop(node) for node in HONEST))
            audit(cluster.directory, cluster.cluster)
    return Result(name, attack.shows, attack.speaks, [figures], [calm])


def rows(results: Sequence[Result]) -> Iterator[str]:
    """The table, as Markdown; its first line of figures is nobody's attack."""
    yield (
        "| attack | what it does | decisions/s | of undisturbed | p99 ms | times | heard |"
        " led by liar s | memory MiB | late > 50 ms | late ms | lines | broken |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    calm = Figures.over([run for result in results for run in result.undisturbed])
    yield (
        f"| *none* | nothing | {calm.decisions_s:.0f} | | {calm.p99_ms:.0f} | | |"
        f" {calm.led_by_liar_s:.1f} | {calm.resident_mib:.0f} | {calm.late_share:.2%} |"
        f" {calm.late_ms:.0f} | {calm.lines} | |"
    )
    for result in results:
        figures = result.figures
        yield (
            f"| {result.name} | {result.shows} | {figures.decisions_s:.0f} | {result.share:.0%} |"
            f" {figures.p99_ms:.0f} | {result.times:.1f} | {figures.heard:,.0f} |"
            f" {figures.led_by_liar_s:.1f} | {figures.resident_mib:.0f} |"
            f" {figures.late_share:.2%} | {figures.late_ms:.0f} |"
            f" {figures.lines} | {', '.join(result.broken()) or 'nothing'} |"
        )


def page_with(table: str) -> str:
    """docs/SECURITY.md with this table in its place."""
    head, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n\n{table}\n\n{END}{tail}"


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ATTACKS:
            raise argparse.ArgumentTypeError(f"{name!r} is none of: {', '.join(ATTACKS)}")
    return names


async def run(arguments: argparse.Namespace) -> list[Result]:
    """All attacks, one after the other, and all again; in the order of the catalogue."""
    found: dict[str, Result] = {}
    for number in range(arguments.runs):
        print(f"run {number + 1} of {arguments.runs}", file=sys.stderr, flush=True)
        for name in arguments.only:
            print(name, file=sys.stderr, flush=True)
            result = await run_one(name, arguments)
            known = found.setdefault(name, result)
            if known is not result:
                known.runs.extend(result.runs)
                known.undisturbed.extend(result.undisturbed)
    return [found[name] for name in arguments.only]


def main() -> int:
    """Parse, measure, print; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", type=_names, default=list(ATTACKS), metavar="NAME,NAME,...")
    parser.add_argument("--runs", type=int, default=1, help="of each attack, on fresh clusters")
    parser.add_argument("--seconds", type=float, default=5.0, help="counted, of each attack")
    parser.add_argument("--warm-up", type=float, default=1.5, help="seconds before")
    parser.add_argument("--priority", type=int, default=LEAST_PRIORITY, help="the liar's")
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--directory", type=Path, help="where the fresh directories are made")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", action="store_true", help="put the table into docs/SECURITY.md")
    arguments = parser.parse_args()
    try:
        results = asyncio.run(run(arguments))
    except QbftError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    table = "\n".join(rows(results))
    if arguments.json:
        print(json.dumps([{**asdict(result), "broken": result.broken()} for result in results]))
    else:
        print(table)
    if arguments.write:
        PAGE.write_text(page_with(table), encoding="utf-8")
    return int(any(result.broken() for result in results))


if __name__ == "__main__":
    sys.exit(main())
