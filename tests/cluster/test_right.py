"""Stories of what a forecast was worth: the kernel kills, and the scorecard says what its own log says."""

from collections.abc import Iterator

import pytest
from lab.provider import Provider
from tests.cluster.installation import NAMESPACE, with_values
from tests.cluster.nodes import GROUP_NODE, SINGLE_NODE
from tests.cluster.scorecards import COUNTS, card, give_the_sign, near_its_limit, scored, warned
from tests.cluster.story import Json, Stage

from oomsayer.kernel.oomlog import OomKill

pytestmark = pytest.mark.timeout(900)

PROCESSES = 4
"""Of the container: its first one, the flooder and two workers."""


@pytest.fixture
def kernel_log(cluster: Provider, installed: None) -> Iterator[None]:  # noqa: ARG001 - it has to be there
    """Agents that read the kernel's log."""
    with_values(cluster, "agent.kernelLog=true")
    yield
    with_values(cluster, "agent.kernelLog=false")


def says_what_happened(entry: Json, kill: OomKill, warning: str) -> None:
    assert (entry["domain"], entry["cgroup"]) == (kill.domain, kill.memcg)
    assert entry["container"] == "app"
    assert entry["warning"] == f"default/{warning}"


def told_on_the_pod(stage: Stage, name: str, warning: str) -> str:
    """The note of the one Event about the kill, which is linked with the warning."""
    [event] = stage.events(name, "OOMKillObserved")
    print(event["message"])
    assert event["type"] == "Warning"
    assert event["related"]["name"] == warning
    note: str = event["message"]
    return note


def test_kills_are_scored_by_counters_across_an_operators_restart(stage: Stage) -> None:
    before = {node: card(stage, node) for node in (GROUP_NODE, SINGLE_NODE)}
    logged = {node: len(stage.kills(node)) for node in before}
    uids = stage.run(near_its_limit("whole", GROUP_NODE), near_its_limit("child", SINGLE_NODE))
    warnings = {name: warned(stage, name) for name in ("whole", "child")}

    stage.kubectl(
        "delete", "pod", "-n", NAMESPACE, "-l", "app.kubernetes.io/component=operator", "--wait=false"
    )
    for node, uid in zip((GROUP_NODE, SINGLE_NODE), uids, strict=True):
        give_the_sign(stage, node, uid)
    group, single = (stage.next_kill(node, logged[node]) for node in (GROUP_NODE, SINGLE_NODE))

    child = scored(stage, SINGLE_NODE, "child")
    says_what_happened(child, single, warnings["child"])
    assert (child["source"], child["outcome"]) == ("Counters", "Hit")
    assert (child["pid"], child["comm"], child["deaths"]) == (single.pid, single.comm, 1)
    assert (child["comm"], single.killed) == ("worker-a", (single.pid,))
    assert "its status does not show this" in told_on_the_pod(stage, "child", warnings["child"])
    [app] = [s for s in stage.get("pod", "child")["status"]["containerStatuses"] if s["name"] == "app"]
    assert ("running" in app["state"], app["restartCount"], app["lastState"]) == (True, 0, {})

    whole = scored(stage, GROUP_NODE, "whole")
    says_what_happened(whole, group, warnings["whole"])
    assert (whole["source"], whole["outcome"], whole["exitCode"]) == ("Counters", "KillSetHit", 137)
    assert whole["deaths"] == PROCESSES >= len(group.killed), "the end of a PID namespace is not logged"
    assert "exit code 137" in told_on_the_pod(stage, "whole", warnings["whole"])

    after = {node: card(stage, node) for node in before}
    for node, entry in ((GROUP_NODE, whole), (SINGLE_NODE, child)):
        # Nothing is counted twice; a kill of the story before may have been counted meanwhile.
        new = [k for k in after[node]["last"] if k["id"] not in {old["id"] for old in before[node]["last"]}]
        assert [k["id"] for k in new if k.get("podUID") == entry["podUID"]] == [entry["id"]]
        outcomes = [k["outcome"] for k in new]
        rise = {count: after[node][count] - before[node][count] for count in COUNTS}
        assert rise == {
            "kills": len(new),
            "hits": outcomes.count("Hit"),
            "killSetHits": outcomes.count("KillSetHit"),
            "misses": outcomes.count("Miss"),
            "warned": sum("warnedSince" in k for k in new),
        }


@pytest.mark.usefixtures("kernel_log")
def test_the_kernels_log_names_the_victim_of_a_container_that_died_whole(stage: Stage) -> None:
    logged = len(stage.kills(GROUP_NODE))
    [uid] = stage.run(near_its_limit("logged", GROUP_NODE))
    warning = warned(stage, "logged")

    give_the_sign(stage, GROUP_NODE, uid)
    kill = stage.next_kill(GROUP_NODE, logged)

    entry = scored(stage, GROUP_NODE, "logged")
    says_what_happened(entry, kill, warning)
    assert (entry["source"], entry["outcome"]) == ("KernelLog", "Hit")
    assert (entry["pid"], entry["comm"]) == (kill.pid, kill.comm)
    assert entry["deaths"] == len(kill.killed)
