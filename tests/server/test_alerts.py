"""The alert rules by Prometheus's own judgement: they load, and each fires when it should."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
OBSERVABILITY = HERE.parents[1] / "server/observability"
PROMTOOL = shutil.which("promtool")

pytestmark = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not installed: it is in Debian's package prometheus"
)


def promtool(*arguments: object) -> str:
    """What it prints; it has to be content."""
    done = subprocess.run(
        [str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_prometheus_is_given_loads() -> None:
    """Issue 7: the configuration of the compose profile and all that it names."""
    assert "13 rules found" in promtool("check", "config", OBSERVABILITY / "prometheus.yml")


def test_each_alert_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    """Issue 7: one made-up series for which it has to fire, and ones for which it must not."""
    rules, cases = OBSERVABILITY / "alerts.yml", HERE / "alerts.test.yml"
    for file in (rules, cases):
        shutil.copy(file, tmp_path)
    assert "SUCCESS" in promtool("test", "rules", tmp_path / cases.name)
    names = re.findall(r"alert: (\w+)", rules.read_text())
    fires = re.findall(r"alertname: (\w+)\s+exp_alerts:", cases.read_text())
    assert sorted(fires) == sorted(names), "each has a case in which it fires"
