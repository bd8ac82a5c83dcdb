"""docs/TUTORIAL.md and README.md, line by line, as a newcomer gives them to a shell (issue 7)."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.command_line import SECONDS, environment, processes_about

from qbft_server.local import claim_ports

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/TUTORIAL.md").read_text()
README = (ROOT / "README.md").read_text()
SETTING_UP = ("git clone ", "python3 -m venv ")
"""What the test has done already: it runs in a checkout that is installed."""

ENDING = "pkill -f mycluster/node-; pkill -f examples/judge.py; wait"
"""What the page says beside its lines."""

FAILED = "trap 'echo \"exit code $?: $BASH_COMMAND\"' ERR\n"
PATIENT = """timeout() {
    shift
    coproc "$@"
    head -2 <&"${COPROC[0]}"
    kill "$COPROC_PID"
}
"""
"""The page has a follower end after some seconds, here it ends when it has followed both."""


def _lines(page: str) -> list[str]:
    """The lines that a page gives to a shell, without those that fetch and install."""
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if not line.startswith(SETTING_UP)]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where it is run: a short path, for sockets, whose processes are ended whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="qbft-tutorial-"))
    try:
        yield folder
    finally:
        for process in processes_about(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        shutil.rmtree(folder)


@pytest.mark.e2e
def test_every_line_of_the_tutorial_does_what_it_says(folder: Path) -> None:
    """Only names, ports and patience are other than on the page. 12 s."""
    out, err = _run("\n".join(_lines(TUTORIAL)), folder)
    _check(out, err)
    assert processes_about(folder) == []


@pytest.mark.e2e
def test_the_readme_alone_is_enough(folder: Path) -> None:
    """Issue 7, done means: a decision, a node killed, `qbft why`, an application of one's own.

    Its program comes last, for it asks for what is decided by then; and all is to be had within ten
    minutes.
    """
    shell = README.partition("## From the shell")[2].partition("## From Python")[0]
    program = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    (folder / "program.py").write_text(program.replace("mycluster", str(folder / "mycluster")))
    out, err = _run("\n".join([*_lines(shell), "python program.py", ENDING]), folder)
    failed = re.findall(r"^exit code (\d+): qbft (\S+ \S+)", out, re.MULTILINE)
    assert failed == [
        ("3", "propose prices/btc/19"),
        ("1", "why prices/btc/19"),
        ("3", "propose prices/btc/21"),
        ("1", "why prices/btc/21"),
    ], err
    assert ENDING.removesuffix("; wait") in README
    assert re.search(r"btc-17\.cert +genuine", out), out
    assert "nodes 2 and 3 do not answer" in out
    assert "prices/btc/20 = 64300.00" in out
    assert re.search(r"prices/btc/21 is undecided: .*finds? invalid", out), out
    assert "b'64123.50' in round 1" in out


def test_the_links_of_the_readme_lead_somewhere() -> None:
    """The site has its own check; this page is not part of it."""
    links = re.findall(r"\]\(([^)#]+)(#[^)]*)?\)", README)
    assert len(links) > 20
    for link, anchor in links:
        if not link.startswith("http"):
            path = ROOT / link
            assert path.exists(), link
            if anchor:
                heads = re.findall(r"^#+ (.*)$", path.read_text(), re.MULTILINE)
                slugs = {re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads}
                assert anchor[1:] in slugs, link + anchor


def _run(lines: str, folder: Path) -> tuple[str, str]:
    """Give lines to a shell in a folder, names, ports and patience changed; gives what it says."""
    with contextlib.ExitStack() as claims:
        port = claim_ports(4, claims)
        here = {
            "$PWD/mycluster": str(folder / "mycluster"),
            "mycluster": str(folder / "mycluster"),  # `pkill -f` must find no other test's nodes
            "examples/judge.py": str(folder / "judge.py"),
            "examples/releases.py": str(ROOT / "examples/releases.py"),
            "/tmp/judge.sock": str(folder / "judge.sock"),  # noqa: S108 - what the page says
            "--nodes 4": f"--nodes 4 --base-port {port}",
            "--timeout 3": "--timeout 1",
        }
        found = re.compile("|".join(map(re.escape, here)))
        (folder / "judge.py").write_text((ROOT / "examples/judge.py").read_text())
        (folder / "lines.sh").write_text(
            FAILED + PATIENT + found.sub(lambda match: here[match[0]], lines)
        )
        tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "lines.sh"],
            cwd=folder,
            env=environment({"PATH": tools, "COLUMNS": "200"}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    return done.stdout, done.stderr


def _check(out: str, err: str) -> None:
    """What the comments beside the lines promise."""
    failed = re.findall(r"^exit code (\d+): qbft (\S+ \S+)", out, re.MULTILINE)
    assert failed == [
        ("3", "propose prices/btc/19"),  # two nodes are away
        ("1", "why prices/btc/19"),
        ("3", "propose prices/btc/21"),  # no number
        ("1", "why prices/btc/21"),
    ], err
    assert "another proposal than this one was decided" in out
    assert re.search(r"btc-17\.cert +genuine", out)
    assert "nodes 2 and 3 do not answer" in out
    watched = [line for line in out.splitlines() if "64250.00" in line]
    assert len(watched) >= 2, out
    assert out.count("window 0: 1.4.0\n") == out.count("window 1: 1.5.0\n") == 2, out
    assert "prices/btc/20 = 64300.00" in out
    assert re.search(r"prices/btc/21 is undecided: .*finds? invalid", out), out


def test_the_page_shows_the_programs_as_they_are() -> None:
    """What a reader copies is what the lines below run."""
    shown = re.findall(r"```python\n(.*?)```", TUTORIAL, re.DOTALL)
    examples = ("examples/releases.py", "examples/judge.py")
    assert shown == [(ROOT / example).read_text() for example in examples]
