"""The lab itself: its nodes work as nodes do, and its kernel log holds whole OOM reports."""

import json
import re
from collections.abc import Iterator
from functools import partial

import pytest
from lab.provider import Provider
from tests.cluster.story import FILL, Json, Kubectl, container, eventually, pod

pytestmark = pytest.mark.timeout(900)

NAMESPACE = "lab-test"


@pytest.fixture
def play(kubectl: Kubectl) -> Iterator[Kubectl]:
    """Kubectl in a namespace of the test's own."""

    def there(*arguments: str, stdin: str | None = None) -> str:
        return kubectl("--namespace", NAMESPACE, *arguments, stdin=stdin, timeout=300)

    kubectl("create", "namespace", NAMESPACE)
    eventually(
        "the default service account",
        lambda: "default" in there("get", "serviceaccounts", "--output", "name"),
    )
    yield there
    kubectl("delete", "namespace", NAMESPACE, timeout=300)


def start(play: Kubectl, *pods: Json) -> None:
    play("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))


def test_every_node_is_ready(cluster: Provider, kubectl: Kubectl) -> None:
    ready = {
        node["metadata"]["name"]
        for node in json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready" and condition["status"] == "True"
    }
    assert ready == set(cluster.nodes())
    assert len(ready) == 2


def test_pods_run_on_every_node_and_answer_logs_and_exec(cluster: Provider, play: Kubectl) -> None:
    names = {node: f"on-{node}" for node in cluster.nodes()}
    start(play, *(pod(name, node, container("app", "hold 8 say holding")) for node, name in names.items()))
    for name in names.values():
        play("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=240s")
        assert "holding" in eventually("a line of its log", partial(play, "logs", name))
        assert play("exec", name, "--", "cat", "/proc/1/comm").strip() == "memtool"


def test_pods_of_different_nodes_reach_each_other(cluster: Provider, play: Kubectl) -> None:
    first, second = cluster.nodes()
    server = container("app", "hold 1") | {
        "command": ["sh", "-c", "while true; do echo hello | nc -l -p 8080; done"]
    }
    start(play, pod("server", first, server), pod("client", second, container("app", "hold 1")))
    play("wait", "--for=condition=Ready", "pod/server", "pod/client", "--timeout=240s")
    address = json.loads(play("get", "pod", "server", "-o", "json"))["status"]["podIP"]
    assert "hello" in play("exec", "client", "--", "sh", "-c", f"sleep 2 | nc -w 10 {address} 8080")


def test_only_the_second_nodes_kubelet_kills_single_processes(cluster: Provider) -> None:
    settings = [
        json.loads(cluster.node_shell(node, ["cat", "/etc/kubernetes/kubelet.json"]).stdout)
        for node in cluster.nodes()
    ]
    assert [setting["singleProcessOOMKill"] for setting in settings] == [False, True]


def test_the_kernel_log_holds_a_whole_oom_report(cluster: Provider, play: Kubectl) -> None:
    node = cluster.nodes()[0]
    steps = f"child name bigger hold 30 end child name smaller hold 10 end sleep 3000 fill {FILL}/zeros 64"
    before = len(cluster.kernel_log(node))
    start(play, pod("full", node, container("app", steps, limit="70Mi")))

    def reported() -> str | None:
        log = cluster.kernel_log(node)[before:]
        return log if re.search(r"Killed process \d+ \(bigger\)", log) else None

    log = eventually("the OOM report", reported)
    uid = json.loads(play("get", "pod", "full", "-o", "json"))["metadata"]["uid"].replace("-", "_")
    assert "memtool invoked oom-killer: gfp_mask=" in log
    assert re.search(rf"oom-kill:constraint=CONSTRAINT_MEMCG,.*,oom_memcg=\S*pod{uid}", log)
    table = re.findall(r"\] +\[ *\d+\] .* (\S+)$", log, re.MULTILINE)
    assert {"bigger", "smaller", "memtool"} <= set(table)


def test_a_node_takes_an_image_once(cluster: Provider) -> None:
    listed = cluster.node_shell(cluster.nodes()[0], ["ctr", "-n", "k8s.io", "images", "list", "--quiet"])
    assert listed.returncode == 0
    assert "oomsayer.lab/tools:1" in listed.stdout.split()
