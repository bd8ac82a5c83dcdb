"""Prometheus and Grafana as docker-compose.yml runs them: all that they are given fits together."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import yaml

from qbft_server.telemetry.catalogue import METRICS

ROOT = Path(__file__).parents[2]
OBSERVABILITY = ROOT / "server/observability"
DASHBOARD = json.loads((OBSERVABILITY / "grafana/dashboard.json").read_text())
ALERTS = [
    rule
    for group in yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
SCRAPED = {"instance", "job"}
"""The labels that Prometheus adds."""

SAMPLES: dict[str, set[str]] = {
    name: {*metric.labels, *SCRAPED, *({"le"} if name.endswith("_bucket") else ())}
    for metric in METRICS
    for name in (
        [f"{metric.name}_{part}" for part in ("bucket", "count", "sum")]
        if metric.kind == "histogram"
        else [metric.told_as]
    )
} | dict.fromkeys(
    [
        "up",
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
    ],
    SCRAPED,
)
"""What Prometheus has, each with its labels."""


def targets() -> Iterator[tuple[str, str, str]]:
    """(panel, expression, legend) of the dashboard, its variables put in."""
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield (
                panel["title"],
                target["expr"].replace("$__rate_interval", "5m"),
                target["legendFormat"],
            )


def labels_of(expression: object) -> set[str]:
    """The labels of what an expression gives; each part names only what there is."""
    match expression:
        case promql.VectorSelector():
            there = SAMPLES[expression.name]
            assert {matcher.name for matcher in expression.matchers.matchers} <= there
            return there
        case promql.MatrixSelector():
            return labels_of(expression.vector_selector)
        case promql.AggregateExpr():
            kept = set(expression.modifier.labels) if expression.modifier else set()
            assert kept <= labels_of(expression.expr)
            return kept
        case promql.Call():
            found = set().union(*map(labels_of, expression.args))
            return found - ({"le"} if expression.func.name == "histogram_quantile" else set())
        case promql.BinaryExpr():
            left, right = labels_of(expression.lhs), labels_of(expression.rhs)
            both = left and right and expression.op != "or"
            assert not both or left - {"le"} == right - {"le"}, "they never match"
            return left or right
        case promql.ParenExpr():
            return labels_of(expression.expr)
        case _:
            return set()


def test_alerts_name_metrics_that_there_are() -> None:
    """Metrics and labels of each rule are a node's; the words of its summary too."""
    assert {"NodeDown", "NodeDoesNotVote", "NoQuorum"} <= {rule["alert"] for rule in ALERTS}
    for rule in ALERTS:
        labels = labels_of(promql.parse(rule["expr"]))
        summary = rule["annotations"]["summary"]
        assert set(re.findall(r"\$labels\.(\w+)", summary)) <= labels, rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
    config = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text())
    assert config["rule_files"] == ["alerts.yml"]


@pytest.mark.parametrize(
    ("expression", "error"),
    [("qbft_voting{", ValueError), ("qbft_no_such", KeyError), ("sum by (peer) (up)", Exception)],
)
def test_what_is_not_there_is_found(expression: str, error: type[Exception]) -> None:
    """The check of the two tests beside it does find what is wrong."""
    with pytest.raises((error, AssertionError)):
        labels_of(promql.parse(expression))


def test_the_dashboard_shows_metrics_that_there_are() -> None:
    """Issue "See it, run it": a dashboard that loads. Each legend names labels that are left."""
    shown = list(targets())
    assert len(shown) > 20
    for panel, expression, legend in shown:
        labels = labels_of(promql.parse(expression))
        assert set(re.findall(r"{{(\w+)}}", legend)) <= labels, panel


def test_panels_lie_beside_each_other() -> None:
    """Ids are unique, nothing covers anything, and all is read from the source that there is."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)
        assert one["x"] + one["w"] <= 24
    provisioned = yaml.safe_load((OBSERVABILITY / "grafana/datasources.yml").read_text())
    (source,) = provisioned["datasources"]
    (variable,) = DASHBOARD["templating"]["list"]
    asked = [variable, *(p for p in panels if p["type"] != "row")]
    asked += [target for panel in panels for target in panel.get("targets", ())]
    assert {each["datasource"]["uid"] for each in asked} == {source["uid"]}
    assert source["url"] == "http://prometheus:9090"


def test_the_profile_starts_what_is_provisioned() -> None:
    """DESIGN 2: the profile `observability`; each file that is mounted is there, read-only."""
    compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    services = compose["services"]
    profiled = {
        name for name, each in services.items() if "observability" in each.get("profiles", ())
    }
    assert profiled == {"prometheus", "grafana"}
    for name in profiled:
        service = services[name]
        assert service["read_only"]
        assert set(service["depends_on"]) <= services.keys()
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        for mount in service["volumes"]:
            source, target, *mode = mount.split(":")
            if source.startswith("./"):
                assert (ROOT / source).is_file()
                assert mode == ["ro"]
            else:
                assert source in compose["volumes"]
                assert target in {"/prometheus", "/var/lib/grafana"}
    given = {mount.split(":")[1] for mount in services["grafana"]["volumes"]}
    (provider,) = yaml.safe_load((OBSERVABILITY / "grafana/dashboards.yml").read_text())[
        "providers"
    ]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in given
    assert str(Path(home).parent) == provider["options"]["path"]
