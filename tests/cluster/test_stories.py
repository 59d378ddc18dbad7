"""Stories: what kubectl showed before, against what the kernel's own log says after."""

from collections.abc import Iterator

import pytest
from tests.cluster.container_stories import FLOODER, a_raised_oom_score_adj, several_processes_at_their_limit
from tests.cluster.nodes import GROUP_NODE, SINGLE_NODE
from tests.cluster.story import (
    FILL,
    Stage,
    came_true,
    container,
    eventually,
    of_pod,
    pod,
    the_node,
)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def stage(stage: Stage) -> Iterator[Stage]:
    """Where whole nodes run out, they are dried before the next story."""
    yield stage
    for node in (GROUP_NODE, SINGLE_NODE):
        stage.dry_node(node)


@pytest.mark.parametrize("node", [GROUP_NODE, SINGLE_NODE])
def test_a_container_of_several_processes_at_its_limit(stage: Stage, node: str) -> None:
    several_processes_at_their_limit(stage, node, whole=node == GROUP_NODE)


def test_a_raised_oom_score_adj_does_not_outweigh_memory_in_a_small_domain(stage: Stage) -> None:
    a_raised_oom_score_adj(stage, SINGLE_NODE)


def test_a_pod_of_one_container_runs_out_at_the_pod(stage: Stage) -> None:
    steps = f"{FLOODER} child name leaky hold 40 say holding end"
    [uid] = stage.run(pod("single", GROUP_NODE, container("app", steps, limit="64Mi")))
    domain = stage.foretold(GROUP_NODE, of_pod(uid))
    before = len(stage.kills(GROUP_NODE))
    stage.touch("single", "app", f"{FILL}/go")
    came_true(domain, stage.next_kill(GROUP_NODE, before))


def test_the_smaller_container_hits_the_limit_of_its_pod(stage: Stage) -> None:
    big = container("big", "child name big hold 48 say holding end")
    small = container("small", f"{FLOODER} child name small hold 12 say holding end")
    story = pod("shared", GROUP_NODE, big, small, resources={"limits": {"memory": "96Mi"}})
    [uid] = stage.run(story)
    domain = stage.foretold(GROUP_NODE, of_pod(uid))
    before = len(stage.kills(GROUP_NODE))
    stage.touch("shared", "small", f"{FILL}/go")
    came_true(domain, stage.next_kill(GROUP_NODE, before))


def test_on_a_full_node_the_small_innocent_pod_dies_first(stage: Stage) -> None:
    guaranteed = container(
        "app", "child name precious hold 150 say holding end", limit="200Mi", request="200Mi"
    )
    guaranteed["resources"]["limits"]["cpu"] = guaranteed["resources"]["requests"]["cpu"] = "300m"
    stage.run(
        pod("guaranteed", SINGLE_NODE, guaranteed),
        pod(
            "burstable",
            SINGLE_NODE,
            container("app", "child name greedy hold 200 say holding end", request="400Mi"),
        ),
        pod("innocent", SINGLE_NODE, container("app", "child name tiny hold 4 say holding end")),
    )
    domain = stage.foretold(SINGLE_NODE, the_node)
    assert domain["victim"]["pod"] == "default/innocent"
    before = len(stage.kills(SINGLE_NODE))
    stage.flood_node(SINGLE_NODE)
    came_true(domain, stage.next_kill(SINGLE_NODE, before))


def test_on_a_full_node_a_process_outside_all_pods_can_be_the_victim(stage: Stage) -> None:
    tool = stage.memtool_on(GROUP_NODE)
    started = stage.cluster.node_shell(
        GROUP_NODE,
        ["systemd-run", "--quiet", "--collect", "--unit=story-host", "--property=OOMScoreAdjust=1000",
         tool, "name", "host-helper", "hold", "150"],
    )  # fmt: skip
    assert started.returncode == 0, started.stderr
    stage.run(pod("innocent", GROUP_NODE, container("app", "child name tiny hold 4 say holding end")))
    domain = stage.foretold(GROUP_NODE, the_node)
    assert "pod" not in domain["victim"] or domain["victim"]["pod"] == ""
    before = len(stage.kills(GROUP_NODE))
    stage.flood_node(GROUP_NODE)
    came_true(domain, stage.next_kill(GROUP_NODE, before))


def test_a_pod_near_its_limit_is_warned_once_and_the_warning_ends_with_the_risk(stage: Stage) -> None:
    steps = f"child name leaky hold 58 say holding end child name stays hold 1 wait {FILL}/go end"
    [uid] = stage.run(pod("warned", GROUP_NODE, container("app", steps, limit="64Mi")))
    stage.foretold(GROUP_NODE, of_pod(uid))
    [event] = eventually("the warning", lambda: stage.events("warned", "OOMRisk"))
    print(event["message"])
    assert event["type"] == "Warning"
    assert "leaky" in event["message"]
    annotations = stage.get("pod", "warned")["metadata"]["annotations"]
    assert annotations["oomsayer.dev/oom-victim"].startswith("app/leaky")
    victim = stage.foretold(GROUP_NODE, of_pod(uid))["victim"]["pid"]
    stage.cluster.node_shell(GROUP_NODE, ["kill", "-9", str(victim)])
    eventually(
        "the annotations to go",
        lambda: (
            "oomsayer.dev/oom-victim" not in stage.get("pod", "warned")["metadata"].get("annotations", {})
            or None
        ),
    )
    assert len(stage.events("warned", "OOMRisk")) == 1
