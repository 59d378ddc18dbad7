"""Stories on kind's nested nodes: what kubectl showed before, against the kernel's own log after.

All nodes share one kernel, whose log has other pids and longer paths for their processes and cgroups. What
was foretold is put in its terms, while the processes live, and then compared to the letter.
"""

import json
from typing import Any

import pytest
from lab.provider import Provider
from tests.cluster.container_stories import FLOODER, a_raised_oom_score_adj, several_processes_at_their_limit
from tests.cluster.story import (
    FILL,
    Json,
    Kubectl,
    Stage,
    came_true,
    container,
    eventually,
    of_pod,
    pod,
    the_node,
)
from tests.kind.nodes import GROUP_NODE, SINGLE_NODE

pytestmark = pytest.mark.timeout(1800)


def test_from_helm_install_to_a_forecast_of_every_node(
    cluster: Provider, kubectl: Kubectl, first_forecasts: float
) -> None:
    print(f"from helm install to three forecasts: {first_forecasts:.0f} s")
    print(kubectl("get", "oomforecasts"))
    listed = json.loads(kubectl("get", "oomforecasts", "--output", "json"))["items"]
    assert {forecast["metadata"]["name"] for forecast in listed} == set(cluster.nodes())
    assert len(listed) == 3


def test_only_the_second_workers_kubelet_kills_single_processes(kubectl: Kubectl, cluster: Provider) -> None:
    def kubelet(node: str) -> Any:  # noqa: ANN401 - whatever the kubelet says
        return json.loads(kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/configz"))["kubeletconfig"]

    settings = {node: kubelet(node).get("singleProcessOOMKill", False) for node in cluster.nodes()}
    assert [node for node, single in settings.items() if single] == [SINGLE_NODE]


def test_a_nested_nodes_own_verdict_is_partial_and_says_why(stage: Stage) -> None:
    def verdicts() -> list[Json]:
        found = [f["status"].get("domains", []) for f in stage.get("oomforecasts")["items"]]
        return [domain for domains in found for domain in domains if the_node(domain)]

    domains = eventually(
        "the verdict for every node", lambda: found if len(found := verdicts()) == 3 else None
    )
    for domain in domains:
        assert domain["confidence"] == "partial"
        assert any(reason.startswith("nested node: ") for reason in domain["assumptions"])


@pytest.mark.parametrize("node", [GROUP_NODE, SINGLE_NODE])
def test_a_container_of_several_processes_at_its_limit(stage: Stage, node: str) -> None:
    foretold = several_processes_at_their_limit(stage, node, whole=node == GROUP_NODE)
    assert foretold["path"].startswith("/kubelet.slice/kubelet-kubepods.slice/")


def test_a_raised_oom_score_adj_does_not_outweigh_memory_in_a_small_domain(stage: Stage) -> None:
    a_raised_oom_score_adj(stage, SINGLE_NODE)


def test_the_kernel_takes_the_smaller_container_of_a_pod(stage: Stage) -> None:
    """The bigger one has asked for its memory, so the kubelet gave it the lower oom_score_adj."""
    big = container("big", "child name big hold 50 say holding end", request="380Mi")
    small = container("small", f"{FLOODER} child name small hold 30 say holding end")
    story = pod("shared", GROUP_NODE, big, small, resources={"limits": {"memory": "400Mi"}})
    [uid] = stage.run(story)
    foretold = stage.foretold(GROUP_NODE, of_pod(uid))
    assert (foretold["victim"]["comm"], foretold["victim"]["container"]) == ("small", "small")
    expected = stage.in_the_kernels_terms(GROUP_NODE, foretold)
    before = len(stage.kills(GROUP_NODE))
    stage.touch("shared", "small", f"{FILL}/go")
    came_true(expected, stage.next_kill(GROUP_NODE, before))


def test_of_equal_pods_on_two_nodes_only_the_one_at_risk_is_warned_about(stage: Stage) -> None:
    steps = f"child name worker hold 40 say holding end child name grower wait {FILL}/go hold 18 end"
    pods = {node: f"on-{node}" for node in (GROUP_NODE, SINGLE_NODE)}
    apps = {node: container("app", steps, limit="64Mi") for node in pods}
    uids = dict(
        zip(pods, stage.run(*(pod(name, node, apps[node]) for node, name in pods.items())), strict=True)
    )
    for node, uid in uids.items():
        assert stage.foretold(node, of_pod(uid))["victim"]["pod"] == f"default/{pods[node]}"
    risky, safe = pods[GROUP_NODE], pods[SINGLE_NODE]
    assert not stage.events(risky, "OOMRisk")
    stage.touch(risky, "app", f"{FILL}/go")
    [event] = eventually("the warning", lambda: stage.events(risky, "OOMRisk"))
    print(event["message"])
    assert "oomsayer.dev/oom-victim" in stage.get("pod", risky)["metadata"]["annotations"]
    stage.foretold(SINGLE_NODE, of_pod(uids[SINGLE_NODE]))
    assert not stage.events(safe, "OOMRisk")
    assert "oomsayer.dev/oom-victim" not in stage.get("pod", safe)["metadata"].get("annotations", {})
