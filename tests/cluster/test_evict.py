"""Stories of two killers: the kubelet evicts whom was foretold, or the kernel is faster; advice is taken."""

import json
import os
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lab.native.join import Place
from lab.native.provider import NativeProvider
from lab.provider import Provider
from tests.cluster.installation import with_values
from tests.cluster.story import (
    FILL,
    Json,
    Kubectl,
    Stage,
    came_true,
    container,
    eventually,
    pod,
    the_node,
)

pytestmark = pytest.mark.timeout(900)

EVICTING_NODE, PLAIN_NODE = "node1", "node2"
"""The first gets another eviction threshold, the second keeps the kubelet's default."""

MI = 1 << 20
ROOM = 160 * MI
"""Left above the threshold that the story sets: what restarts on the node does not use it up."""
PRECIOUS = "story-precious"
SOURCES = Path(__file__).resolve().parents[2] / "operator"


@pytest.fixture
def stage(stage: Stage) -> Iterator[Stage]:
    """Where whole nodes run out, they are dried before the next story."""
    yield stage
    for node in (EVICTING_NODE, PLAIN_NODE):
        stage.dry_node(node)


@pytest.fixture
def told_kubelet(cluster: Provider, kubectl: Kubectl) -> Iterator[Callable[[int], None]]:
    """Give the first node's kubelet another hard threshold, and let agents read it; taken back at the end."""
    path = "/etc/kubernetes/kubelet.json"
    before = cluster.node_shell(EVICTING_NODE, ["cat", path]).stdout

    def restart(config: str) -> None:
        script = f"cat > {path} && systemctl restart kubelet"
        done = cluster.node_shell(EVICTING_NODE, ["sh", "-c", script], stdin=config.encode())
        assert done.returncode == 0, done.stderr

    def tell(threshold: int) -> None:
        restart(json.dumps(json.loads(before) | {"evictionHard": {"memory.available": str(threshold)}}))
        with_values(cluster, "agent.kubelet.readConfig=true")

    yield tell
    restart(before)
    with_values(cluster, "agent.kubelet.readConfig=false")
    taint = "node.kubernetes.io/memory-pressure"
    eventually("memory pressure to end", lambda: taint not in kubectl("get", "nodes", "-o", "json"))


def oomsayer(cluster: Provider, *arguments: str) -> str:
    """Run the command as a person would, who has a kubeconfig."""
    done = subprocess.run(
        [sys.executable, "-m", "oomsayer", *arguments, "--kubeconfig", str(cluster.kubeconfig)],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    print(f"$ oomsayer {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def eviction(stage: Stage, node: str) -> Json:
    found: Json = stage.get("oomforecast", node).get("status", {}).get("eviction", {})
    return found


def available_to_the_kubelet(stage: Stage, node: str) -> int:
    """What the kubelet itself says, once it says twice the same: its signal memory.available, in bytes.

    It looks every ten seconds or so: what it says at first may be from before the pods took their memory.
    """
    said: list[Json] = []

    def look() -> bool:
        memory: Json = json.loads(summary(stage, node))["node"]["memory"]
        if not said or memory["time"] != said[-1]["time"]:
            said.append(memory)
        last = [int(one["availableBytes"]) for one in said[1:]]
        return len(last) > 1 and abs(last[-1] - last[-2]) < 8 * MI

    eventually("the kubelet's measure to settle", look)
    return int(said[-1]["availableBytes"])


def summary(stage: Stage, node: str) -> str | bytes:
    """The kubelet's own /stats/summary."""
    if not isinstance(stage.cluster, NativeProvider):
        return stage.kubectl("get", "--raw", f"/api/v1/nodes/{node}/proxy/stats/summary")
    # The API server is no proxy for the loopback addresses behind which these nodes are.
    keys = stage.cluster.kubeconfig
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(keys.with_name("admin.crt"), keys.with_name("admin.key"))
    address = Place(int(node.removeprefix("node"))).host_address
    with urllib.request.urlopen(f"https://{address}:10250/stats/summary", context=context) as answer:
        return bytes(answer.read())


def test_the_kubelet_evicts_the_pod_that_was_foretold_before_the_kernel_acts(
    stage: Stage, told_kubelet: Callable[[int], None]
) -> None:
    stage.kubectl("apply", "-f", "-", stdin=json.dumps(priority_class()))
    growing = f"hold 150 say holding wait {FILL}/near hold 90 wait {FILL}/go grow 300 200"
    stage.run(
        pod("greedy", EVICTING_NODE, container("app", growing)),
        pod("modest", EVICTING_NODE, container("app", "hold 200 say holding", request="300Mi")),
        pod("precious", EVICTING_NODE, container("app", "name precious hold 350 say holding"),
            priorityClassName=PRECIOUS),
    )  # fmt: skip
    threshold = available_to_the_kubelet(stage, EVICTING_NODE) - ROOM
    told_kubelet(threshold)

    def foretold() -> Json | None:
        said = eviction(stage, EVICTING_NODE)
        first = (said.get("order") or [{}])[0].get("pod")
        return said if said.get("thresholdBytes") == threshold and first == "default/greedy" else None

    said = eventually("the eviction to be foretold", foretold)
    print(said["summary"], said["inversion"], sep="\n")
    measured = available_to_the_kubelet(stage, EVICTING_NODE)
    print(f"available: {said['availableBytes'] // MI} MiB, the kubelet says {measured // MI} MiB")
    assert said["configuration"] == "node"
    assert said["first"] != "kernel"
    assert abs(said["availableBytes"] - measured) < 64 * MI
    assert "pod default/precious (priority 1000)" in said["inversion"]
    # Less than 5 % of the node are left above the threshold then, which is the policies' default.
    stage.touch("greedy", "app", f"{FILL}/near")
    inversion = eventually("its Event", lambda: stage.events("precious", "OOMPriorityInversion"))
    warning = eventually("the warning", lambda: stage.events("greedy", "EvictionRisk"))
    print(warning[0]["message"], inversion[0]["message"], sep="\n")

    before = len(stage.kills(EVICTING_NODE))
    stage.touch("greedy", "app", f"{FILL}/go")
    evicted = eventually("an eviction", lambda: evicted_pods(stage))
    assert evicted == ["greedy"]
    assert stage.kills(EVICTING_NODE)[before:] == []


def priority_class() -> Json:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": PRECIOUS},
        "value": 1000,
    }


def evicted_pods(stage: Stage) -> list[str]:
    pods = stage.get("pods", "-n", "default")["items"]
    return [p["metadata"]["name"] for p in pods if p["status"].get("reason") == "Evicted"]


def test_the_kernel_is_faster_where_that_was_foretold(stage: Stage) -> None:
    stage.run(
        pod("modest", PLAIN_NODE, container("app", "hold 200 say holding", request="300Mi")),
        pod("tiny", PLAIN_NODE, container("app", "child name tiny hold 60 say holding end")),
        pod("small", PLAIN_NODE, container("app", "child name small hold 40 say holding end")),
    )
    domain = stage.foretold(PLAIN_NODE, the_node)
    before = len(stage.kills(PLAIN_NODE))
    stage.leak_on(PLAIN_NODE)

    def kernel_first() -> Json | None:
        said = eviction(stage, PLAIN_NODE)
        assert len(stage.kills(PLAIN_NODE)) == before, f"nobody foretold this: {said.get('summary')}"
        return said if said.get("first") == "kernel" else None

    said = eventually("a forecast that the kernel is first", kernel_first)
    print(said["summary"])
    assert said["configuration"] == "defaults"
    assert "the kernel would kill tiny" in said["summary"]
    eventually("the kernel to kill", lambda: len(stage.kills(PLAIN_NODE)) > before or None)
    stage.dry_node(PLAIN_NODE)
    assert evicted_pods(stage) == []
    came_true(domain, stage.next_kill(PLAIN_NODE, before))


def test_advice_is_taken_and_the_kernel_takes_another(stage: Stage) -> None:
    mine = container("app", "name mine hold 200 say holding", request="64Mi")
    stage.run(
        pod("mine", PLAIN_NODE, mine, restartPolicy="Always"),
        pod("other", PLAIN_NODE, container("app", "child name other hold 30 say holding end")),
    )
    assert stage.foretold(PLAIN_NODE, the_node)["victim"]["pod"] == "default/mine"

    oomsayer(stage.cluster, "advise", "--pod", "default/mine")
    advice = json.loads(oomsayer(stage.cluster, "advise", "--pod", "mine", "-n", "default", "-o", "json"))
    [change] = [a for a in advice if a["domain"] == "node" and a["field"] == "requests.memory"]
    assert (change["killer"], change["before"], change["takesEffect"]) == ("kernel", "64Mi", "restart")
    assert "default/other" in change["then"]
    question = ("--pod", "default/mine", "--request", change["value"])
    oomsayer(stage.cluster, "what-if", *question)
    answer = json.loads(oomsayer(stage.cluster, "what-if", *question, "-o", "json"))
    assert victim_of_node(answer["before"]) == "default/mine"
    assert victim_of_node(answer["after"]) == "default/other"

    take(stage, "mine", change["value"])
    domain = stage.foretold(PLAIN_NODE, lambda d: the_node(d) and d["victim"].get("pod") == "default/other")
    before = len(stage.kills(PLAIN_NODE))
    stage.flood_node(PLAIN_NODE)
    kill = stage.next_kill(PLAIN_NODE, before)
    stage.dry_node(PLAIN_NODE)
    came_true(domain, kill)
    assert kill.comm == "other"


def victim_of_node(forecast: Json) -> str:
    found: str = next(d["victim"]["pod"] for d in forecast["domains"] if d["kind"] == "node")
    return found


def take(stage: Stage, name: str, request: str) -> None:
    """Resize a pod of one container in place, and let its container start anew for its oom_score_adj."""
    patch = {"spec": {"containers": [{"name": "app", "resources": {"requests": {"memory": request}}}]}}
    stage.kubectl("patch", "pod", name, "--subresource", "resize", "--patch", json.dumps(patch))

    def status() -> Json:
        found: Json = stage.get("pod", name)["status"]["containerStatuses"][0]
        return found

    eventually(
        "the kubelet to accept the resize",
        lambda: status().get("allocatedResources", {}).get("memory") == request or None,
    )
    killed = stage.cluster.node_shell(PLAIN_NODE, ["sh", "-c", f"kill -9 $(pgrep -x {name})"])
    assert killed.returncode == 0, killed.stderr
    eventually(
        "the container to start anew",
        lambda: (status()["restartCount"] >= 1 and "running" in status()["state"]) or None,
    )
    eventually("it to hold its memory", lambda: "holding" in stage.kubectl("logs", name) or None)


def test_a_process_that_changed_its_score_is_reported(stage: Stage) -> None:
    steps = "child name raised adj 1000 hold 12 say holding end child name plain hold 10 say holding end"
    app = container("app", steps, request="64Mi")
    stage.run(pod("drifting", PLAIN_NODE, app))

    def drifted() -> list[Json] | None:
        found = stage.get("oomforecast", PLAIN_NODE).get("status", {}).get("drift", [])
        return [d for d in found if d["pod"] == "default/drifting"] or None

    [drift] = eventually("the drift", drifted)
    assert (drift["comm"], drift["oomScoreAdj"], drift["wholeContainer"]) == ("raised", 1000, False)
    total = stage.cluster.node_shell(PLAIN_NODE, ["awk", "/MemTotal/ {print $2}", "/proc/meminfo"]).stdout
    assert drift["expected"] == 1000 - 1000 * 64 * 1024 // int(total)
    # Nothing else on the node is other than the kubelet's formula has it.
    everything = stage.get("oomforecast", PLAIN_NODE)["status"]["drift"]
    assert [d["pod"] for d in everything] == ["default/drifting"]
