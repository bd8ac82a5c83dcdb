"""Where a decision's time goes in a node under load, stage by stage of the rhythm.

    python benchmarks/profile.py --concurrency 64 [--flame FILE.svg] [--samples FILE] [--json]

A cluster of real processes as in cluster.py; py-spy looks at one node's stack, from outside, while
the load lasts. A stage's share is of the main thread's time by the clock, waiting included; its
microseconds are that node's for each decision. Looking stops the node for a moment each time, so
that it is a little slower than unobserved. Docs: docs/BENCHMARKS.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import uvloop
from flame import draw
from side_by_side.load import Source
from side_by_side.ours import STREAM, UNARY, RunningOurs
from side_by_side.processes import INTERRUPTED, cpu_seconds, main_thread_cpu_seconds
from stages import LOOP, STAGES, Sample, by_stage, read_samples

from qbft.errors import QbftError, first_of
from qbft_server.local import LocalCluster

WARM_UP_SECONDS = 2.0
ATTACH_SECONDS = 1.5
"""How much longer than it is observed the load lasts: py-spy takes a moment to begin."""

RATE = 200


@dataclass(frozen=True)
class Profile:
    """What was seen of one node."""

    samples: list[Sample]
    decisions_s: float
    main_cpu_share: float
    cpu_share: float

    def rows(self) -> dict[str, dict[str, float]]:
        """By stage: the share of the main thread's time, microseconds for each decision."""
        shares = by_stage(self.samples, self.main_cpu_share)
        return {
            stage: {"share": share, "us_per_decision": share / self.decisions_s * 1e6}
            for stage, share in shares.items()
        }


def profile(arguments: argparse.Namespace, folded: Path) -> Profile:
    """Run a fresh cluster under load and observe one of its nodes; its stacks go to that file.

    Raises:
        QbftError: py-spy is not there, may not look, or has seen nothing.
    """
    seen = uvloop.run(_run(arguments, folded))
    samples = list(read_samples(folded.read_text()))
    if not samples or not seen.decisions_s:
        raise QbftError("nothing was seen: give it longer")
    return replace(seen, samples=samples)


async def _run(arguments: argparse.Namespace, folded: Path) -> Profile:
    program = _find_py_spy()
    variant = STREAM if arguments.stream else UNARY
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        async with LocalCluster.create(Path(directory) / "cluster", arguments.nodes) as local:
            await local.start()
            await local.wait_until_ready()
            pid = local.pid(arguments.node)
            source = Source("profile", arguments.value_bytes)
            async with RunningOurs(local).session(variant) as keep:
                source.begin(WARM_UP_SECONDS)
                await keep(source, arguments.concurrency)
                before, begun = _processor_times(pid), time.perf_counter()
                source.begin(arguments.seconds + ATTACH_SECONDS)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_observe(program, pid, arguments, folded))
                    tasks.create_task(_load(keep(source, arguments.concurrency)))
                elapsed = time.perf_counter() - begun
                after = _processor_times(pid)
    main, all_threads = ((b - a) / elapsed for a, b in zip(before, after, strict=True))
    return Profile([], len(source.latencies) / elapsed, main, all_threads)


def _processor_times(pid: int) -> tuple[float, float]:
    """Seconds that the main thread, and that all threads, have used."""
    return main_thread_cpu_seconds(pid), cpu_seconds(pid)


async def _load(kept: Any) -> None:
    await kept


def _find_py_spy() -> str:
    """Beside this interpreter, or on the path."""
    found = shutil.which("py-spy", path=sysconfig.get_path("scripts")) or shutil.which("py-spy")
    if found is None:
        raise QbftError("there is no py-spy here: install it first (pip install '.[bench]')")
    return found


async def _observe(program: str, pid: int, arguments: argparse.Namespace, folded: Path) -> None:
    words = ["--pid", str(pid), "--rate", str(arguments.rate), "--format", "raw"]
    words += ["--duration", str(arguments.seconds), "--output", str(folded)]
    words += ["--idle", "--threads", "--full-filenames", "--nolineno"]
    process = await asyncio.create_subprocess_exec(
        *(program, "record", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, told = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode:
        raise QbftError(f"py-spy could not look: {told.decode(errors='replace').strip()}")


def _lines(profile_: Profile, arguments: argparse.Namespace) -> Iterator[str]:
    yield f"{'stage':<9}{'share':>8}{'us a decision':>15}  what"
    for stage, row in profile_.rows().items():
        share, us = row["share"], row["us_per_decision"]
        yield f"{stage:<9}{share:>8.1%}{us:>15.1f}  {STAGES[stage]}"
    yield (
        f"node {arguments.node}, observed: {profile_.decisions_s:.1f} decisions a second, "
        f"{sum(sample.count for sample in profile_.samples)} samples; its main thread used "
        f"{profile_.main_cpu_share:.0%} of a processor, all its threads {profile_.cpu_share:.0%}"
    )


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nodes", type=int, default=4)
    parser.add_argument("--node", type=int, default=0, help="the one that is observed")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--seconds", type=int, default=10, help="observed; whole")
    parser.add_argument("--value-bytes", type=int, default=64, help="at least 8")
    parser.add_argument("--stream", action="store_true", help="by ProposeStream")
    parser.add_argument("--rate", type=int, default=RATE, help="looks a second")
    parser.add_argument("--directory", type=Path, help="where the fresh directory is made")
    parser.add_argument("--flame", type=Path, metavar="FILE", help="a flame graph, SVG")
    parser.add_argument("--samples", type=Path, metavar="FILE", help="keep the folded stacks")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(words)
    if not 0 <= arguments.node < arguments.nodes:
        parser.error(f"--node {arguments.node}: there are 0 to {arguments.nodes - 1}")
    return arguments


def show(profile_: Profile, arguments: argparse.Namespace) -> None:
    """Print the table or JSON, and draw what was asked for."""
    if arguments.flame is not None:
        working = [sample for sample in profile_.samples if sample.stage != LOOP]
        title = f"one node at {arguments.concurrency} in flight, without loop and idle"
        arguments.flame.write_text(draw(working, title))
    if arguments.json:
        told = {
            "decisions_s": round(profile_.decisions_s, 3),
            "main_cpu_share": round(profile_.main_cpu_share, 3),
            "cpu_share": round(profile_.cpu_share, 3),
            "stages": {
                stage: {name: round(value, 4) for name, value in row.items()}
                for stage, row in profile_.rows().items()
            },
        }
        print(json.dumps(told))
    else:
        print("\n".join(_lines(profile_, arguments)))


def main() -> int:
    """Parse, observe, print."""
    arguments = parse()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            folded = arguments.samples or Path(scratch) / "folded"
            show(profile(arguments, folded), arguments)
    except (QbftError, BaseExceptionGroup) as error:
        cause = first_of(error) if isinstance(error, BaseExceptionGroup) else error
        if not isinstance(cause, QbftError):
            raise
        print(f"error: {cause}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
