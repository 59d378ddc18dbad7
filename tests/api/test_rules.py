"""The chart's rules and dashboard in a real Prometheus, on the series of a real operator and a real agent."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import yaml
from lab.ports import any_free
from lab.prometheus import Prometheus
from tests.api.running_agent import Node
from tests.api.running_operator import Operator
from tests.api.server import CHART, ApiServer, Installation, Json, eventually
from tests.api.shop import MI, Container, Process, Shop, killed, node_status

RULES = CHART / "files" / "rules.yaml"
BOARD = CHART / "dashboards" / "oomsayer.json"


@contextmanager
def scraping(directory: Path, *ports: int) -> Iterator[Prometheus]:
    """A Prometheus with the chart's rules that scrapes this machine's ports every second."""
    directory.mkdir()
    server = Prometheus(directory, any_free())
    targets = [f"127.0.0.1:{port}" for port in ports]
    server.start([{"job_name": "oomsayer", "static_configs": [{"targets": targets}]}], [RULES])
    try:
        yield server
    finally:
        server.stop()


def leaking(shop: Shop) -> dict[str, Json]:
    """The report of a container with 22 MiB left that has grown by 0.1 MiB a second for ten minutes."""
    redis = Container("redis", 512, 490, (Process(101, "redis", 480), Process(102, "helper", 5)))
    status: dict[str, Json] = node_status(shop.uid, (redis,), 6000)
    growth = {"low": MI // 11, "middle": MI // 10, "high": MI // 9, "seconds": 600}
    status["memcgs"][-1]["growth"] = growth
    return status | {"kills": [killed(shop, 1), killed(shop, 2, outcome="Miss", reason="Unexplained")]}


@pytest.fixture(scope="module")
def prometheus(
    api_server: ApiServer, installed: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """One that scrapes an operator that leads, of a node that leaks and has had kills, and an agent."""
    directory = tmp_path_factory.mktemp("rules")
    operator = Operator(installed.operator().kubeconfig, directory / "operator.log", "operator-rules")
    operator.lead()
    shop = Shop(api_server)
    try:
        shop.report(**leaking(shop))
        eventually(lambda: "scorecard" in shop.status(), "the kills are scored")
        with (
            Node("rules", installed, directory).agent() as agent,
            scraping(
                directory / "prometheus", operator.port, int(agent.says(r"metrics on port (\d+)")[1])
            ) as server,
        ):
            yield server
    finally:
        operator.terminate()


def test_every_rule_finds_the_series_that_it_is_about(prometheus: Prometheus) -> None:
    found = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in found for rule in group["rules"]]
    names = {n for rule in rules for n in re.findall(r"[a-z_]*:?oomsayer[a-z0-9_:]*", rule["expr"])}
    recorded = {rule["record"] for rule in rules if "record" in rule}
    # A ratio of a week's kills needs a week with kills: promtool's test has one.
    for name in sorted((names | recorded) - {"oomsayer:forecast_right:ratio_increase7d"}):
        eventually(partial(prometheus.series, name), f"{name} in Prometheus", seconds=60)

    def health() -> list[tuple[str, str]]:
        groups = (prometheus.ask("rules") or {}).get("groups", [])
        return [(rule["name"], rule["health"]) for group in groups for rule in group["rules"]]

    eventually(lambda: len(health()) == len(rules), "the rules are loaded")
    eventually(lambda: {state for _, state in health()} == {"ok"}, f"all rules to work: {health()}")
    assert prometheus.series('oomsayer_agent_self_check_mismatches{reason="unexplained"}')
    assert prometheus.series('node_outcome:oomsayer_forecast_kills:max{outcome="Hit"} == 1')
    assert prometheus.series('node_reason:oomsayer_forecast_misses:max{reason="Unexplained"} == 1')


def test_every_query_of_the_dashboard_finds_what_its_legend_names(prometheus: Prometheus) -> None:
    panels = json.loads(BOARD.read_text())["panels"]
    for title, target in [(panel["title"], t) for panel in panels for t in panel.get("targets", [])]:
        query = target["expr"].replace("$node", ".*").replace("$__rate_interval", "20s")
        # NaN is no number to show.
        eventually(partial(prometheus.series, f"({query}) > -Inf"), f"{title}: {query}", seconds=60)
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert [series for series in prometheus.series(query) if not named <= series.keys()] == [], title


def test_the_dashboard_says_who_is_next_and_lets_people_choose_nodes(prometheus: Prometheus) -> None:
    board = json.loads(BOARD.read_text())
    table = next(panel for panel in board["panels"] if panel["type"] == "table")
    renamed = table["transformations"][1]["options"]["renameByName"]
    eventually(partial(prometheus.series, 'oomsayer_forecast_victim_info{pod!=""}'), "a victim in a pod")
    found = prometheus.series(table["targets"][0]["expr"].replace("$node", ".*"))
    in_pods = {tuple(sorted(series)) for series in found if "pod" in series}
    assert in_pods == {tuple(sorted(name for name in renamed if not name.startswith("Value")))}

    (node,) = [variable for variable in board["templating"]["list"] if variable["name"] == "node"]
    asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", node["query"])
    assert asked is not None
    assert "rules" in {series[asked[2]] for series in prometheus.series(asked[1])}
