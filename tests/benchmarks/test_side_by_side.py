"""The yardstick (issue 5): the same load for all, honest medians, ratios the right way round."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from benchmark_scripts import BENCHMARKS, load_benchmark, run_benchmark
from side_by_side.etcd import encode_put
from side_by_side.load import Source, Stretch, Usage, by_workers
from side_by_side.processes import Children, cpu_seconds, free_ports
from side_by_side.report import lines, medians, plot, ratio_lines, ratios

from qbft.errors import QbftError

BRIEF = ("--concurrency", "2", "--seconds", "1", "--warm-up", "0.1", "--json")
PLAIN_KEYS = {
    "ops_s",
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "decisions",
    "frames_per_decision",
    "fsyncs_per_decision_node",
    "journal_bytes_per_decision_node",
    "wire_bytes_per_decision",
    "cpu_ms_per_decision",
}


def row(ops_s: float, p50_ms: float, frames: float | None = None) -> dict[str, float | None]:
    """Figures of one system at one concurrency."""
    return {
        "ops_s": ops_s,
        "p50_ms": p50_ms,
        "p99_ms": 2 * p50_ms,
        "cpu_ms_per_op": 1.0,
        "frames_per_op": frames,
    }


async def test_so_many_are_in_flight_and_each_is_noted_once() -> None:
    """Issue 5: the load generator keeps its concurrency, and values differ by their height."""
    source = Source("bench/x", 64)
    running, most, values = 0, 0, []

    async def propose(topic: str, height: int, value: bytes) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        values.append((topic, height, value))
        running -= 1

    source.begin(0.02)
    await by_workers(propose)(source, 8)
    assert most == 8
    assert len(source.latencies) == len(values)
    assert {topic for topic, _, _ in values} == {"bench/x"}
    assert sorted(height for _, height, _ in values) == list(range(len(values)))
    assert all(len(v) == 64 and int.from_bytes(v[:8], "big") == h for _, h, v in values)
    source.begin(0.0)
    assert source.next() is None
    assert source.latencies == []


def test_figures_are_per_operation_and_the_unknown_stays_unknown() -> None:
    """What a system does not tell is not zero."""
    used = Usage(cpu_seconds=3.0, fsyncs=30.0).since(Usage(cpu_seconds=1.0, fsyncs=10.0))
    figures = Stretch([0.001, 0.002, 0.003, 0.004], 2.0, used, 0.5).figures()
    assert figures["ops_s"] == 2.0
    assert figures["p50_ms"] == pytest.approx(2.5)
    assert figures["cpu_ms_per_op"] == pytest.approx(500.0)
    assert figures["client_cpu_ms_per_op"] == pytest.approx(125.0)
    assert figures["fsyncs_per_op"] == pytest.approx(5.0)
    assert figures["frames_per_op"] is None


def test_medians_are_of_each_figure_and_ratios_are_ours_by_theirs() -> None:
    """Issue 5: medians of the rounds, and the ratio to each peer."""
    rounds = [
        {"qbft": {"1": row(100, 9, 25.0)}, "etcd": {"1": row(300, 3)}},
        {"qbft": {"1": row(300, 8, 26.0)}, "etcd": {"1": row(200, 4)}},
        {"qbft": {"1": row(200, 7, 27.0)}, "etcd": {"1": row(400, 2)}},
    ]
    table = medians(rounds)
    assert table["qbft"]["1"] == row(200, 8, 26.0) | {"p99_ms": 16}
    assert table["etcd"]["1"]["frames_per_op"] is None
    compared = ratios(table, ["qbft"], ["etcd"])
    assert compared["qbft"]["etcd"]["1"]["ops_s"] == pytest.approx(200 / 300)
    assert compared["qbft"]["etcd"]["1"]["p50_ms"] == pytest.approx(8 / 3)
    text = "\n".join([*lines(table, {"etcd": "crash faults only"}), *ratio_lines(compared)])
    assert "etcd: crash faults only" in text
    assert "qbft to etcd, 1 in flight: ops_s 0.67 x, p50_ms 2.67 x" in text


def test_the_picture_has_every_system(tmp_path: Path) -> None:
    """One line for each, in a file of the kind that its name says."""
    pytest.importorskip("matplotlib")
    table = {name: {"1": row(100, 9), "64": row(1000, 60)} for name in ("qbft", "etcd")}
    plot(table, tmp_path / "picture.svg")
    assert "<svg" in (tmp_path / "picture.svg").read_text()


def test_etcd_reads_what_is_written() -> None:
    """PutRequest of etcd's API: key is field 1, value field 2, both bytes, by protobuf's rules."""
    assert encode_put(b"k", b"v") == b"\x0a\x01k\x12\x01v"
    assert encode_put(b"k", bytes(300)) == b"\x0a\x01k\x12\xac\x02" + bytes(300)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--peers", "zookeeper"), "'zookeeper' is none of the peers: etcd, pysyncobj"),
        (("--value-bytes", "7"), "a value has at least 8 bytes"),
        (("--concurrency", "0"), "each concurrency is at least 1"),
    ],
)
def test_a_wrong_flag_is_told(
    words: tuple[str, str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bad input: one clear line, before anything is started."""
    with pytest.raises(SystemExit) as ended:
        load_benchmark("cluster").parse(words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_the_plain_form_stays_plain() -> None:
    """Issue 2 names the plain form; any flag of issue 5 asks for the comparison."""
    cluster = load_benchmark("cluster")
    assert not cluster.parse(("--nodes", "4", "--concurrency", "1,64", "--json")).is_beside
    for words in (("--stream",), ("--peers", "etcd"), ("--rounds", "1"), ("--plot", "x.svg")):
        assert cluster.parse(words).is_beside


@pytest.mark.real_clock
async def test_a_process_that_ends_is_told_and_none_is_left(tmp_path: Path) -> None:
    """A peer that cannot start ends the benchmark with its own last words."""

    async def never() -> bool:
        return False

    pids: list[int] = []

    async def start_both() -> None:
        async with Children() as children:
            await children.start(["sleep", "60"], tmp_path / "sleeper.log")
            await children.start(["sh", "-c", "echo no luck; exit 3"], tmp_path / "talker.log")
            pids.extend(children.pids)
            assert cpu_seconds(pids[0]) >= 0
            await children.wait_until(never, "never")

    with pytest.raises(QbftError, match=r"talker ended with exit code 3; it said last:\nno luck"):
        await start_both()
    with pytest.raises(FileNotFoundError):
        cpu_seconds(pids[0])
    assert len(set(free_ports(9))) == 9


@pytest.mark.real_clock
async def test_who_is_cancelled_leaves_no_process(tmp_path: Path) -> None:
    """Ctrl-C cancels: a process is gone before the block is."""
    pids: list[int] = []
    started = asyncio.Event()

    async def hold() -> None:
        async with Children() as children:
            await children.start(["sleep", "60"], tmp_path / "sleeper.log")
            pids.extend(children.pids)
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(FileNotFoundError):
        cpu_seconds(pids[0])


@pytest.mark.e2e
def test_an_interrupted_benchmark_leaves_no_process() -> None:
    """Ctrl-C in the middle: no node is left, no traceback, the exit code says so."""
    command = [sys.executable, str(BENCHMARKS / "cluster.py"), "--seconds", "60"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
        try:
            children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
            deadline = time.monotonic() + 120
            while len(nodes := children.read_text().split()) < 4:
                assert running.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            running.send_signal(signal.SIGINT)
            _, told = running.communicate(timeout=120)
        finally:
            running.kill()
    assert running.returncode == 130
    assert "Traceback" not in told
    assert not [node for node in nodes if Path(f"/proc/{node}").exists()]


@pytest.mark.e2e
def test_the_plain_form_has_the_agreed_names() -> None:
    """Issue 2: these keys, for each concurrency, of a real cluster."""
    done = run_benchmark("cluster", "--nodes", "4", *BRIEF)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert set(figures) == {"2"}
    assert set(figures["2"]) == PLAIN_KEYS
    assert figures["2"]["decisions"] > 0


@pytest.mark.e2e
def test_all_run_beside_each_other(tmp_path: Path) -> None:
    """Issue 5: ours in all its ways, and the peers that are installed here, one short round."""
    pytest.importorskip("pysyncobj")
    peers = ["pysyncobj"] if shutil.which("etcd") is None else ["etcd", "pysyncobj"]
    picture = tmp_path / "picture.svg"
    words = ("--rounds", "1", "--stream", "--peers", ",".join(peers), "--plot", str(picture))
    done = run_benchmark("cluster", *BRIEF, *words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    ours = {"qbft", "qbft unverified", "qbft stream", "qbft stream unverified"}
    assert set(told["medians"]) == set(told["terms"]) == {*ours, *peers}
    assert set(told["ratios"]) == ours
    for way in ours:
        assert set(told["ratios"][way]) == set(peers)
        assert told["ratios"][way][peers[0]]["2"]["ops_s"] > 0
        assert told["medians"][way]["2"]["fsyncs_per_op"] > 0
    assert told["medians"]["pysyncobj"]["2"]["fsyncs_per_op"] == 0
    assert "no fsync, no TLS" in told["terms"]["pysyncobj"]
    assert len(told["rounds"]) == 1
    assert picture.exists()


@pytest.mark.e2e
def test_a_peer_that_is_not_installed_is_told() -> None:
    """Bad input: what is missing, and how to get it, in one line; ours ran before, so be brief."""
    words = ("--concurrency", "2", "--seconds", "0.5", "--warm-up", "0", "--rounds", "1")
    nowhere = {**os.environ, "PATH": "/nonexistent"}
    done = run_benchmark("cluster", *words, "--peers", "etcd", environment=nowhere)
    assert done.returncode == 1
    assert "error: there is no etcd here: install it first" in done.stderr
