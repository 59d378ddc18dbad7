"""Stories of what a forecast was worth: the kernel kills, and the scorecard says what its own log says."""

from collections.abc import Iterator

import pytest
from lab.provider import Provider
from tests.cluster.container_stories import FLOODER
from tests.cluster.installation import NAMESPACE, with_values
from tests.cluster.story import Json, Kubectl, Stage, container, eventually, pod

from oomsayer.kernel.oomlog import OomKill

pytestmark = pytest.mark.timeout(900)

GROUP_NODE, SINGLE_NODE = "node1", "node2"
"""On node2 the kubelet has singleProcessOOMKill: true."""

COUNTS = ("kills", "hits", "killSetHits", "misses", "warned")

WORKERS = "child name worker-a hold 54 say holding end child name worker-b hold 35 say holding end"

PROCESSES = 4
"""Of the container: its first one, the flooder and two workers."""


@pytest.fixture
def stage(cluster: Provider, kubectl: Kubectl, installed: None) -> Iterator[Stage]:  # noqa: ARG001 - it has to be there
    stage = Stage(cluster, kubectl)
    yield stage
    stage.clear(["--all", "-n", "default"])


@pytest.fixture
def kernel_log(cluster: Provider, installed: None) -> Iterator[None]:  # noqa: ARG001 - it has to be there
    """Agents that read the kernel's log."""
    with_values(cluster, "agent.kernelLog=true")
    yield
    with_values(cluster, "agent.kernelLog=false")


def near_its_limit(name: str, node: str) -> Json:
    """A pod whose container has two workers, little room, and a flood that waits for its sign."""
    app = container("app", f"{FLOODER} {WORKERS}", limit="100Mi")
    return pod(name, node, app, container("idle", "name idle"))


def give_the_sign(stage: Stage, node: str, uid: str) -> None:
    """Let a pod's flood go, from outside: a process run in the container would need the room that is left."""
    path = f"/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~empty-dir/fill/go"
    done = stage.cluster.node_shell(node, ["touch", path])
    assert done.returncode == 0, done.stderr


def card(stage: Stage, node: str) -> Json:
    """The scorecard of a node; the counts of nothing where there is none yet."""
    status = stage.get("oomforecast", node).get("status", {})
    found: Json = status.get("scorecard", {})
    return {**dict.fromkeys(COUNTS, 0), "last": [], **found}


def scored(stage: Stage, node: str, name: str) -> Json:
    """The kill of a pod's process in its node's scorecard, once its Event is written."""

    def look() -> Json | None:
        kills = [k for k in card(stage, node)["last"] if k.get("pod") == f"default/{name}"]
        return next((k for k in kills if k.get("announced")), None)

    return eventually(f"the kill in {name} to be scored and announced", look)


def warned(stage: Stage, name: str) -> str:
    """The name of the Event that warns of a pod's risk."""
    [event] = eventually(f"the warning about {name}", lambda: stage.events(name, "OOMRisk"))
    print(event["message"])
    found: str = event["metadata"]["name"]
    return found


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
