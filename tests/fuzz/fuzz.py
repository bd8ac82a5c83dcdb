"""Fuzzes each target for a while, guided by coverage, and prints what it came to (`make fuzz`).

python tests/fuzz/fuzz.py --minutes 10               # all targets, ten minutes together
python tests/fuzz/fuzz.py --minutes 60 codec         # one of them
python tests/fuzz/fuzz.py --play FILE codec          # one input again, such as the one of a crash

Needs the extra `fuzz`. Each target runs in a process of its own until the fuzzer finds an input for
which its check raises, or that takes too long or too much memory; that input is kept. What reached
something new is kept too, and the next run goes on from there.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzz_targets import TARGETS, load

WORK = Path(__file__).parents[2] / "build" / "fuzz"
INPUT_BYTES_MAX = 8_192
"""Unless `--bytes` says otherwise: short inputs are tried several times as fast."""
INPUT_SECONDS_MAX = 30
"""An input that takes longer is a finding: not because it is slow, but as work without end."""
MEMORY_MIB_MAX = 2_048
RAW = 0.4
"""So much of the inputs are edited by the fuzzer alone, without regard to what they mean."""

_COVERAGE = re.compile(r"^#\d+\s.* cov: (\d+) ft: \d+ corp: (\d+)/", re.MULTILINE)
_INPUTS = re.compile(r"^(?:#|stat::number_of_executed_units: )(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What fuzzing a target came to: inputs tried, edges reached, inputs kept, and the crash."""

    target: str
    inputs: int
    edges: int
    kept: int
    seconds: float
    crash: Path | None


def main() -> int:
    """Fuzz what was asked for; 1 if there was a crash."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--minutes", type=float, default=1.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    parser.add_argument("--bytes", type=int, default=INPUT_BYTES_MAX, help="of an input, at most")
    parser.add_argument("--play", type=Path, metavar="FILE", help="check this one input")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.targets or list(TARGETS)
    if unknown := set(names) - set(TARGETS):
        parser.error(f"no target {', '.join(sorted(unknown))}: there are {', '.join(TARGETS)}")
    if options.play is not None:
        for name in names:
            load(name).check(options.play.read_bytes())
        return 0
    seconds = options.minutes * 60 / len(names)
    if options.child:
        fuzz(names[0], seconds, options.seed, options.bytes)
    outcomes = [
        watch(name, options.minutes / len(names), options.seed, options.bytes) for name in names
    ]
    print(f"{'target':<14} {'inputs':>12} {'edges':>7} {'kept':>6} {'seconds':>8}  crashes")
    for each in outcomes:
        print(
            f"{each.target:<14} {each.inputs:>12,} {each.edges:>7,} {each.kept:>6,}"
            f" {each.seconds:>8.0f}  {each.crash or 0}"
        )
    return any(each.crash for each in outcomes)


def watch(name: str, minutes: float, seed: int, bytes_max: int) -> Outcome:
    """Fuzz one target in a process of its own, and read what it says at its end."""
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, __file__, name, "--child", "--minutes", str(minutes)]
    command += ["--seed", str(seed), "--bytes", str(bytes_max)]
    begun = time.time()
    with (folder / "log").open("w+b") as log:
        ended = subprocess.run(command, check=False, stderr=log)
        log.seek(0)
        inputs, edges, kept = figures(log.read().decode(errors="replace"))
    seconds = time.time() - begun
    crash = None
    if ended.returncode:
        found = [path for path in folder.glob("*-*") if path.stat().st_mtime >= begun]
        crash = max(found, key=lambda path: path.stat().st_mtime, default=folder / "log")
    return Outcome(name, inputs, edges, kept, seconds, crash)


def figures(said: str) -> tuple[int, int, int]:
    """(inputs, edges, inputs kept) of what the fuzzer said of itself, up to its end or a crash."""
    reached = _COVERAGE.findall(said)[-1:] or [("0", "0")]
    inputs = max(map(int, _INPUTS.findall(said)), default=0)
    return inputs, int(reached[0][0]), int(reached[0][1])


def fuzz(name: str, seconds: float, seed: int, bytes_max: int) -> None:
    """Fuzz one target, from its seeds and what was kept; ends this process."""
    import atheris  # noqa: PLC0415 - installed where one fuzzes, and for nothing else

    with atheris.instrument_imports(include=["qbft", "qbft_server"], exclude=["qbft.wire.v1"]):
        target = load(name)
    kept = WORK / name / "corpus"
    kept.mkdir(parents=True, exist_ok=True)
    for index, data in enumerate(target.inputs):
        (kept / f"known-{index}").write_bytes(data)

    def check(data: bytes) -> None:
        try:
            target.check(data)
        except Exception:
            # as the fuzzer names it, which does not always come to that
            digest = hashlib.sha1(data, usedforsecurity=False).hexdigest()
            (WORK / name / f"crash-{digest}").write_bytes(data)
            raise

    def mutate(data: bytes, room: int, draw: int) -> bytes:
        random = Random(draw)
        if random.random() < RAW:
            return bytes(atheris.Mutate(data, room))
        return target.mutated(
            data, random, lambda some: bytes(atheris.Mutate(some, len(some) + 16))
        )[:room]

    arguments = [
        f"-max_total_time={max(1, round(seconds))}",
        f"-max_len={bytes_max}",
        f"-timeout={INPUT_SECONDS_MAX}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}",
        f"-artifact_prefix={WORK / name}/",
        f"-seed={seed}",
        "-print_final_stats=1",
        "-reload=0",
    ]
    atheris.Setup([name, *arguments, str(kept)], check, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
