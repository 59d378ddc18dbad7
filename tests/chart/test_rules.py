"""Alerts and recording rules: what promtool makes of them, and whether all that they name is there."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import prometheus
from tests.chart.rendered import one, refusal, render
from tests.chart.values_table import CHART

from oomsayer.api.vocabulary import AgentMetric, OperatorMetric

RULES = CHART / "files" / "rules.yaml"
RUNBOOKS = CHART.parents[1] / "docs" / "runbooks.md"
ENABLED = ("--set", "metrics.prometheusRule.enabled=true")


def promtool(*arguments: str | Path) -> str:
    done = subprocess.run(
        [prometheus.program("promtool"), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def rules(kind: str) -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if kind in rule]


def test_promtool_accepts_the_rules() -> None:
    assert "SUCCESS" in promtool("check", "rules", RULES)


def test_the_rules_say_what_they_should_of_series_that_tell() -> None:
    assert "SUCCESS" in promtool("test", "rules", Path(__file__).with_name("rules_test.yaml"))


def test_every_alert_is_tried() -> None:
    tried = (Path(__file__).with_name("rules_test.yaml")).read_text()

    assert [rule["alert"] for rule in rules("alert") if f"alertname: {rule['alert']}" not in tried] == []


def test_the_rules_use_metrics_that_are_exposed() -> None:
    recorded = {rule["record"] for rule in rules("record")}
    used = {
        name
        for rule in rules("expr")
        for name in re.findall(r"[a-z_]*:?oomsayer[a-z0-9_:]*", str(rule["expr"]))
    }

    assert used - recorded <= {*AgentMetric, *OperatorMetric}


def test_every_alert_has_a_runbook() -> None:
    headings = {heading.lower() for heading in re.findall(r"^## (\S+)$", RUNBOOKS.read_text(), re.MULTILINE)}
    linked = {
        rule["alert"]: rule["annotations"]["runbook_url"].partition("docs/runbooks.md#")[2]
        for rule in rules("alert")
    }

    assert linked == {alert: alert.lower() for alert in linked}
    assert set(linked.values()) == headings


def test_the_chart_installs_them_where_that_is_asked_for() -> None:
    assert [m for m in render() if m["kind"] == "PrometheusRule"] == []
    rule = one(
        render(*ENABLED, "--set", "metrics.prometheusRule.labels.release=prometheus"), "PrometheusRule"
    )

    expected = yaml.safe_load(RULES.read_text())
    for alert in (r for group in expected["groups"] for r in group["rules"] if "alert" in r):
        # Where runbooks are people have to say: a link that leads nowhere is left out.
        del alert["annotations"]["runbook_url"]
    assert rule["spec"] == expected
    assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_runbooks_can_be_where_people_read_them() -> None:
    base = "https://git.example.com/tools/oomsayer/"
    rule = one(render(*ENABLED, "--set", f"metrics.prometheusRule.runbookURL={base}"), "PrometheusRule")
    urls = {
        r["annotations"]["runbook_url"] for g in rule["spec"]["groups"] for r in g["rules"] if "alert" in r
    }

    assert {url.partition("docs/runbooks.md#")[0] for url in urls} == {base}


@pytest.mark.parametrize("url", ["docs", "https://git.example.com/tools/oomsayer"])
def test_a_runbook_url_without_a_slash_is_refused(url: str) -> None:
    complaint = refusal("--set", f"metrics.prometheusRule.runbookURL={url}")

    assert "/metrics/prometheusRule/runbookURL" in complaint
