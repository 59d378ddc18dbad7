"""The dashboard: whether Grafana's sidecar finds it, and whether all that it names is there.

tests/api/test_rules.py runs its queries.
"""

import json
import re
from itertools import combinations
from typing import Any

import yaml
from tests.chart.rendered import one, render
from tests.chart.values_table import CHART

from oomsayer.api.vocabulary import AgentMetric, OperatorMetric

BOARD = json.loads((CHART / "dashboards" / "oomsayer.json").read_text())
ENABLED = ("--set", "metrics.grafanaDashboard.enabled=true")


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    """Where it lies on Grafana's grid."""
    at = panel["gridPos"]
    return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}


def test_the_chart_installs_it_where_that_is_asked_for() -> None:
    assert [m for m in render() if m["kind"] == "ConfigMap"] == []
    found = one(
        render(*ENABLED, "--set", "metrics.grafanaDashboard.annotations.grafana_folder=Nodes"), "ConfigMap"
    )

    assert json.loads(found["data"]["oomsayer.json"]) == BOARD
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Nodes"}


def test_it_uses_metrics_that_are_exposed() -> None:
    used = set(re.findall(r"oomsayer_[a-z_]+", json.dumps([BOARD["panels"], BOARD["templating"]])))
    histograms = {name.removesuffix("_bucket") for name in used}

    assert histograms <= {*AgentMetric, *OperatorMetric}


def test_the_data_source_is_the_one_that_people_choose() -> None:
    queries = [target for panel in BOARD["panels"] for target in panel.get("targets", [])]

    assert {query["datasource"]["uid"] for query in queries} == {"${datasource}"}
    assert [v["name"] for v in BOARD["templating"]["list"]] == ["datasource", "node"]


def test_panels_lie_side_by_side() -> None:
    panels = BOARD["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels)
    assert [(a["title"], b["title"]) for a, b in combinations(panels, 2) if cells(a) & cells(b)] == []
    assert all(x < 24 for panel in panels for x, _ in cells(panel))


def test_the_recorded_rules_are_not_needed() -> None:
    recorded = re.findall(r"record: (\S+)", (CHART / "files" / "rules.yaml").read_text())

    assert recorded
    assert [name for name in recorded if name in yaml.safe_dump(BOARD)] == []
