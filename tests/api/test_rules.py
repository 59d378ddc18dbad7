"""The chart's rules in a real Prometheus, on the series that a real operator and a real agent expose."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import yaml
from lab.ports import any_free
from lab.prometheus import Prometheus
from tests.api.running_agent import Node
from tests.api.running_operator import Operator
from tests.api.server import CHART, ApiServer, Installation, eventually
from tests.api.shop import Shop, killed

RULES = CHART / "files" / "rules.yaml"


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


def test_every_rule_finds_the_series_that_it_is_about(
    api_server: ApiServer, installed: Installation, tmp_path: Path
) -> None:
    operator = Operator(installed.operator().kubeconfig, tmp_path / "operator.log", "operator-rules")
    operator.lead()
    shop = Shop(api_server)
    try:
        shop.report(redis=490, kills=[killed(shop, 1), killed(shop, 2, outcome="Miss", reason="Unexplained")])
        eventually(lambda: "scorecard" in shop.status(), "the kills are scored")
        with (
            Node("rules", installed, tmp_path).agent() as agent,
            scraping(
                tmp_path / "prometheus", operator.port, int(agent.says(r"metrics on port (\d+)")[1])
            ) as server,
        ):
            found = yaml.safe_load(RULES.read_text())["groups"]
            rules = [rule for group in found for rule in group["rules"]]
            names = {n for rule in rules for n in re.findall(r"[a-z_]*:?oomsayer[a-z0-9_:]*", rule["expr"])}
            recorded = {rule["record"] for rule in rules if "record" in rule}
            # A ratio of a week's kills needs a week with kills: promtool's test has one.
            for name in sorted((names | recorded) - {"oomsayer:forecast_right:ratio_increase7d"}):
                eventually(partial(server.series, name), f"{name} in Prometheus", seconds=60)

            def health() -> list[tuple[str, str]]:
                groups = (server.ask("rules") or {}).get("groups", [])
                return [(rule["name"], rule["health"]) for group in groups for rule in group["rules"]]

            eventually(lambda: len(health()) == len(rules), "the rules are loaded")
            eventually(lambda: {state for _, state in health()} == {"ok"}, f"all rules to work: {health()}")
            assert server.series('oomsayer_agent_self_check_mismatches{reason="unexplained"}')
            assert server.series('node_outcome:oomsayer_forecast_kills:max{outcome="Hit"} == 1')
            assert server.series('node_reason:oomsayer_forecast_misses:max{reason="Unexplained"} == 1')
    finally:
        operator.terminate()
