"""What a forecast was worth on nested nodes: a kill is claimed by the node that it was on, and by no other.

All nodes share one kernel: one counter of kills, and one log, which has other pids and longer paths.
"""

import pytest
from lab.provider import Provider
from tests.cluster.installation import with_values
from tests.cluster.scorecards import card, give_the_sign, near_its_limit, scored, warned
from tests.cluster.story import Json, Stage
from tests.kind.nodes import GROUP_NODE, SINGLE_NODE

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture
def source(
    cluster: Provider,
    first_forecasts: float,  # noqa: ARG001 - it has to be there
    request: pytest.FixtureRequest,
) -> str:
    """How agents know of kills."""
    name: str = request.param
    log = name == "KernelLog"
    with_values(cluster, f"agent.kernelLog={str(log).lower()}")
    return name


def claimed(stage: Stage, cluster: Provider) -> dict[str, int]:
    """How many kills each node's scorecard has."""
    return {node: card(stage, node)["kills"] for node in cluster.nodes()}


@pytest.mark.parametrize("source", ["Counters", "KernelLog"], indirect=True)
def test_a_child_is_attributed_to_its_node_alone(stage: Stage, cluster: Provider, source: str) -> None:
    before = claimed(stage, cluster)
    logged = len(stage.kills(SINGLE_NODE))
    name = f"child-{source.lower()}"
    [uid] = stage.run(near_its_limit(name, SINGLE_NODE))
    warned(stage, name)
    [risk] = [r for r in stage.get("oomforecast", SINGLE_NODE)["status"]["risks"] if r["pod"].endswith(name)]
    outer = stage.cluster.kernel_pid(SINGLE_NODE, risk["pid"])
    give_the_sign(stage, SINGLE_NODE, uid)
    kill = stage.next_kill(SINGLE_NODE, logged)

    entry: Json = scored(stage, SINGLE_NODE, name)

    assert (entry["source"], entry["outcome"], entry["comm"]) == (source, "Hit", "worker-a")
    assert (entry["pid"], outer) == (risk["pid"], kill.pid)
    assert stage.cluster.kernel_path(SINGLE_NODE, entry["cgroup"]) == kill.memcg
    assert claimed(stage, cluster) == {**before, SINGLE_NODE: before[SINGLE_NODE] + 1}
    assert before[GROUP_NODE] == card(stage, GROUP_NODE)["kills"]
