"""Stories with a Prometheus that scrapes the cluster: it remembers what a new agent cannot have seen."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
import yaml
from lab import ports
from lab.native.controlplane import HOST_FROM_NODES
from lab.native.provider import NativeProvider
from lab.native.scraping import write_pods
from lab.prometheus import Prometheus
from lab.provider import Provider
from tests.cluster.installation import CHART, NAMESPACE, RELEASE, helm, with_values
from tests.cluster.story import Json, Kubectl, Stage, container, eventually, pod

pytestmark = pytest.mark.timeout(900)

SAWTOOTH_NODE, LEAK_NODE = "node1", "node2"
NODES = (SAWTOOTH_NODE, LEAK_NODE)
SCRAPE_SECONDS = 10

TOOTH = "tooth"
"""What the sawtooth says at the end of each tooth."""
SAWTOOTH = f"while :; do /bin/memtool grow 120 1000 exit 0; echo {TOOTH}; done"
"""Two minutes up, and all of it back: who watches for less takes it for a leak."""

CLOCK = timedelta(seconds=5)
"""By how much an agent's start, worked out from two of its reports, may differ."""

LEAK = "name leaky grow 480 1000"
"""A mebibyte a second, eight minutes long: longer than the story, and never up to the limit."""


@dataclass(frozen=True)
class Scene:
    """A sawtooth on one node and a leak on the other, under the eyes of a Prometheus."""

    stage: Stage
    prometheus: Prometheus
    tooth: str
    leak: str

    def domain(self, node: str, uid: str) -> Json:
        """What a node's forecast says of a pod, nothing while it does not."""
        return part_of(self.status("oomforecast", node).get("domains", ()), uid)

    def seen(self, node: str, uid: str) -> tuple[datetime, Json]:
        """Since when a node's agent has watched, by the node's clock, and the growth that it saw of a pod."""
        report = self.status("nodememoryreport", node)
        watched = timedelta(seconds=report.get("watchedSeconds", 0))
        began = datetime.fromisoformat(report["sampledAt"]) - watched
        return began, part_of(report.get("memcgs", ()), uid).get("growth") or {}

    def status(self, *what: str) -> Json:
        found: Json = self.stage.get(*what).get("status", {})
        return found

    def condition(self, node: str) -> Json:
        """The History condition of a node's forecast."""
        conditions: list[Json] = self.status("oomforecast", node).get("conditions", [])
        return next((c for c in conditions if c["type"] == "History"), {})


def part_of(parts: Iterable[Json], uid: str) -> Json:
    """What is about a pod among the parts of a report or a forecast, nothing while there is none."""
    end = f"pod{uid.replace('-', '_')}.slice"
    return next((part for part in parts if str(part.get("path", part["name"])).endswith(end)), {})


def pods_of(server: Prometheus) -> Path:
    """Where a server reads which pods to scrape."""
    return server.directory / f"{NAMESPACE}.json"


def rules(directory: Path, cluster: Provider) -> Path:
    """A rule file of what the chart's PrometheusRule holds."""
    template = ("template", RELEASE, CHART, "--show-only", "templates/rules.yaml")
    rule = yaml.safe_load(helm(cluster, *template, "--set", "metrics.prometheusRule.enabled=true"))
    file = directory / "rules.yaml"
    file.write_text(json.dumps(rule["spec"]))
    return file


@pytest.fixture(scope="module")
def prometheus(
    cluster: Provider,
    installed: None,  # noqa: ARG001 - it has to be there
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    """One that scrapes the cluster, and that the operator asks."""
    if not isinstance(cluster, NativeProvider):
        pytest.skip("only the native lab has a way from here to the addresses of pods")
    directory = tmp_path_factory.mktemp("prometheus")
    server = Prometheus(directory, ports.pick(19090))
    with cluster.scraped(pods_of(server)) as scrapes:
        server.start(scrapes, [rules(directory, cluster)], SCRAPE_SECONDS)
        try:
            with_values(cluster, f"operator.prometheus.url=http://{HOST_FROM_NODES}:{server.port}")
            yield server
        finally:
            server.stop()
            with_values(cluster, "operator.prometheus.url=")


@pytest.fixture(scope="module")
def scene(cluster: Provider, kubectl: Kubectl, prometheus: Prometheus) -> Iterator[Scene]:
    stage = Stage(cluster, kubectl)
    sawtooth = container("app", "", limit="224Mi")
    sawtooth["command"] = ["/bin/busybox", "sh", "-c", SAWTOOTH]
    try:
        tooth, leak = stage.run(
            pod("breathing", SAWTOOTH_NODE, sawtooth),
            pod("leaking", LEAK_NODE, container("app", LEAK, limit="512Mi")),
        )
        yield Scene(stage, prometheus, tooth, leak)
    finally:
        stage.clear(["--all", "-n", "default"])


def labels(server: Prometheus, expression: str) -> set[frozenset[tuple[str, str]]]:
    """What tells the series apart that an expression has a value for now; a record's name does not."""
    found = server.series(expression)
    return {frozenset((name, value) for name, value in each.items() if name != "__name__") for each in found}


def same_labels(server: Prometheus, one: str, other: str) -> bool:
    return labels(server, one) == labels(server, other)


def test_the_charts_rules_work_on_the_clusters_series(scene: Scene) -> None:
    server = scene.prometheus

    def all_are_up() -> bool:
        write_pods(scene.stage.cluster.kubeconfig, NAMESPACE, pods_of(server))
        up = sorted(target["job"] for target in server.series("up == 1"))
        return up == sorted(["cadvisor"] * len(NODES) + [NAMESPACE] * (len(NODES) + 1))

    eventually("every kubelet, every agent and the operator to be scraped", all_are_up)

    def all_work() -> list[Json] | None:
        groups = (server.ask("rules") or {}).get("groups", [])
        found = [rule for group in groups for rule in group["rules"]]
        return found if {rule["health"] for rule in found} == {"ok"} else None

    found = eventually("all rules to be evaluated without an error", all_work)
    for rule in (rule for rule in found if rule["type"] == "recording"):
        name, expression = rule["name"], rule["query"]
        eventually(
            f"{name} to be recorded as its expression is now", partial(same_labels, server, name, expression)
        )
        print(f"{name}: {len(server.series(name))} series")
    ages = server.series("node:oomsayer_forecast_age_seconds:min")
    assert {age["node"] for age in ages} == set(NODES)


def restart_agent(stage: Stage, node: str) -> None:
    """Have a new agent begin on a node."""
    agents = ("-n", NAMESPACE, "-l", "app.kubernetes.io/component=agent")
    stage.kubectl("delete", "pod", *agents, f"--field-selector=spec.nodeName={node}")


def returns(time_to_oom: Json) -> int:
    """How often demand came back, as a forecast says it."""
    said = " ".join(time_to_oom.get("because", ()))
    found = re.search(r"came back (?:once|(\d+) times)", said)
    return int(found[1] or 1) if found else 0


def test_what_a_new_agent_takes_for_a_leak_is_known_for_a_sawtooth(scene: Scene) -> None:
    eventually("the first tooth's end", lambda: TOOTH in scene.stage.kubectl("logs", "breathing"))
    before, _ = scene.seen(SAWTOOTH_NODE, scene.tooth)
    restart_agent(scene.stage, SAWTOOTH_NODE)

    def leak() -> Json | None:
        began, growth = scene.seen(SAWTOOTH_NODE, scene.tooth)
        return growth if began - before > CLOCK and not growth.get("returns") else None

    print("the new agent's growth:", eventually("the new agent to see a leak", leak))

    def longer_growth() -> Json | None:
        forecast = scene.status("oomforecast", SAWTOOTH_NODE)
        told = part_of(forecast["domains"], scene.tooth).get("timeToOOM", {})
        # Read after the forecast: it cannot be made of a newer report than this.
        began, growth = scene.seen(SAWTOOTH_NODE, scene.tooth)
        of_new_agent = datetime.fromisoformat(forecast["sampledAt"]) > began
        return told if of_new_agent and returns(told) > growth.get("returns", 0) else None

    told = eventually("the forecast to know of a tooth that the agent did not see", longer_growth)
    print("the forecast:", told)
    condition = scene.condition(SAWTOOTH_NODE)
    assert (condition["status"], condition["reason"]) == ("True", "PrometheusAnswers")


def test_forecasts_go_on_when_prometheus_has_gone(scene: Scene) -> None:
    scene.prometheus.stop()
    [late] = scene.stage.run(pod("late", LEAK_NODE, container("app", "hold 20 say holding", limit="64Mi")))
    eventually("a forecast of a pod that came later", lambda: scene.domain(LEAK_NODE, late).get("victim"))

    def trouble() -> Json | None:
        conditions = map(scene.condition, NODES)
        return next((c for c in conditions if c.get("status") == "False"), None)

    condition = eventually("the trouble to be told", trouble)
    print(condition["message"])
    assert condition["reason"] == "PrometheusFails"
    assert f":{scene.prometheus.port}: cannot be reached" in condition["message"]
    told = scene.domain(LEAK_NODE, scene.leak)["timeToOOM"]
    assert (told["trend"], told["confidence"]) == ("growing", "high")
