"""`oomsayer what-if` and `oomsayer advise` on the controller's test node; the cluster is a fake."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from tests.unit.controller_crowd import BATCH_ID, BATCH_UID, crowd
from tests.unit.controller_node import REDIS_ID, UID, WEB_ID

from oomsayer.agent.report import status_of
from oomsayer.cli import advise, whatif
from oomsayer.cli.cluster import ClusterError
from oomsayer.cli.main import main
from oomsayer.kernel.snapshot import Snapshot

Json = dict[str, Any]


def pod(name: str, uid: str, containers: dict[str, str], **spec: Any) -> Json:  # noqa: ANN401 - any part of a PodSpec
    resources = {"requests": {"memory": "820Mi"}} if "priority" in spec else {}
    ids = {name: f"containerd://{number}" for name, number in containers.items()}
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": uid},
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": each, "resources": resources} for each in containers],
            **spec,
        },
        "status": {
            "qosClass": "Burstable" if resources else "BestEffort",
            "containerStatuses": [{"name": each, "containerID": ids[each]} for each in containers],
        },
    }


PODS = [
    pod("cart-0", UID, {"redis": REDIS_ID, "web": WEB_ID}, priority=100),
    pod("batch-0", BATCH_UID, {"main": BATCH_ID}),
    pod("waiting", "w", {}, nodeName=None),
    pod("new", "n", {}),
]
ADVICE = {
    "pod": "shop/cart-0",
    "killer": "kernel",
    "field": "limits.memory",
    "value": "1Gi",
    "takesEffect": "resize",
    "then": "6Mi would be left there",
}


class FakeCluster:
    namespace = "shop"

    def __init__(self, snapshot: Snapshot) -> None:
        self._report: Json | None = {"metadata": {"name": "n1"}, "status": status_of(snapshot)}

    def report(self, node: str) -> Json | None:
        return self._report if node == "n1" else None

    def pod(self, namespace: str, name: str) -> Json | None:
        return next((p for p in PODS if (namespace, name) == ("shop", p["metadata"]["name"])), None)

    def pods_on(self, node: str) -> list[Json]:
        return [p for p in PODS if p["spec"].get("nodeName") == node]

    def forecasts(self) -> list[Json]:
        return [{}, {"status": {"advice": [ADVICE]}}]


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*words: str, snapshot: Snapshot | None = None) -> tuple[int, str, str]:
        for module in (whatif, advise):
            monkeypatch.setattr(module, "Cluster", lambda _: FakeCluster(snapshot or crowd()))
        status = main(words)
        said = capsys.readouterr()
        return status, said.out, said.err

    return command


def test_a_request_moves_the_nodes_choice(run: Run) -> None:
    status, out, _ = run("what-if", "--pod", "shop/batch-0", "--request", "2Gi")
    assert status == 0
    assert "  requests.memory of main: 0 -> 2Gi\n" in out
    assert "  qosClass: BestEffort -> Burstable\n" in out
    assert "  oom_score_adj of main, once started anew: 1000 -> 750\n" in out
    node = next(line for line in out.splitlines() if line.startswith("node "))
    assert node.split("  ")[0] == "node"
    assert "batch (300, shop/batch-0)" in node
    assert "nginx (102, shop/cart-0) and 1 more" in node
    assert "now: the kubelet would evict pod shop/batch-0 or the kernel would kill batch" in out
    assert "after: the kubelet would evict pod shop/cart-0" in out


def test_scripts_get_whole_verdicts(run: Run) -> None:
    words = ("what-if", "--pod", "batch-0", "--memory", "+500Mi")
    _, out, _ = run(*words, "-o", "json")
    answer = json.loads(out)
    assert (answer["pod"], answer["podUID"], answer["node"]) == ("shop/batch-0", BATCH_UID, "n1")
    assert answer["changes"] == [{"what": "memory of main", "before": "", "after": "+500Mi"}]
    before, after = (answer[when]["domains"][0] for when in ("before", "after"))
    assert before["victim"]["pod"] == after["victim"]["pod"] == "shop/batch-0"
    assert before["headroomBytes"] - after["headroomBytes"] == 500 << 20
    assert after["victim"]["points"] - before["victim"]["points"] == 500 * 256
    room = [answer[when]["eviction"]["availableBytes"] for when in ("before", "after")]
    assert room[0] - room[1] == 500 << 20
    assert yaml.safe_load(run(*words, "-o", "yaml")[1]) == answer


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--pod", "shop/cart-0", "--request", "1Gi"), "--container: which one? Those that run: redis, web"),
        (("--pod", "shop/cart-0"), "nothing to change: give --memory"),
        (("--pod", "shop/gone", "--priority", "1"), "no pod gone in namespace shop"),
        (("--pod", "shop/waiting", "--priority", "1"), "is on no node yet"),
        (("--pod", "shop/new", "--priority", "1"), "does not know pod shop/new"),
        (("--pod", "shop/cart-0", "--container", "db", "--limit", "1Gi"), "the pod has no container 'db'"),
    ],
)
def test_what_can_not_be_is_said_with_its_remedy(run: Run, words: tuple[str, ...], says: str) -> None:
    status, out, err = run("what-if", *words)
    assert (status, out) == (1, "")
    assert says in err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--request", "much"), "'much' is no quantity"),
        (("--memory=-much",), "'much' is no quantity"),
        (("--limit", "-1Gi"), "--limit"),
        (("--single-process-oom-kill", "perhaps"), "neither true nor false"),
        (("--qos", "Best"), "'Best' is none of Guaranteed, Burstable, BestEffort"),
        (("--pod", ""), "'' is not [NAMESPACE/]NAME"),
        (("--pod", "shop/"), "'shop/' is not [NAMESPACE/]NAME"),
        (("--pod", "v1/shop/cart-0"), "'v1/shop/cart-0' is not [NAMESPACE/]NAME"),
    ],
)
def test_words_that_mean_nothing_are_refused(
    run: Run, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    with pytest.raises(SystemExit) as error:
        run("what-if", "--pod", "shop/cart-0", *words)
    assert error.value.code == 2
    assert says in capsys.readouterr().err


def test_nothing_to_change_is_said_before_a_cluster_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(whatif, "Cluster", None)
    assert main(["what-if", "--pod", "shop/cart-0", "--container", "web"]) == 1
    assert "nothing to change" in capsys.readouterr().err


def test_less_memory_no_limit_and_another_class_are_understood(run: Run) -> None:
    words = ("--container", "web", "--memory=-100Mi", "--limit", "none", "--qos", "Guaranteed")
    _, out, _ = run("what-if", "--pod", "shop/cart-0", *words, "--single-process-oom-kill", "true")
    assert "memory of web: none -> -100Mi" in out
    assert "qosClass: Burstable -> Guaranteed" in out
    assert "singleProcessOOMKill: none -> true" in out
    assert "oom_score_adj of redis, once started anew: 900 -> -997" in out


def test_advice_for_one_pod_is_worked_out(run: Run) -> None:
    status, out, _ = run("advise", "--pod", "shop/batch-0")
    assert status == 0
    header, *rows = out.split("\n\n")[0].splitlines()
    assert header.split() == ["POD", "CONTAINER", "KILLER", "DOMAIN", "CHANGE", "NOW", "TO", "TAKES"]
    # The node and kubepods have the same victim.
    assert [row.split()[2] for row in rows] == ["kernel"] * 4 + ["kubelet"] * 2
    assert "qosClass Guaranteed: then the kernel would kill nginx (pid 102, pod shop/cart-0)" in out


def test_without_a_pod_it_is_what_the_forecasts_advise(run: Run) -> None:
    assert [a["pod"] for a in json.loads(run("advise", "-o", "json")[1])] == ["shop/cart-0"]
    assert "limits.memory 1Gi: then 6Mi would be left there." in run("advise", "-n", "shop")[1]
    assert run("advise", "-n", "other")[1].startswith("Nothing to advise: no killer would take a pod at risk")


def test_a_node_without_a_report_is_named(monkeypatch: pytest.MonkeyPatch, run: Run) -> None:
    monkeypatch.setattr(FakeCluster, "report", lambda *_: None)
    assert "node n1 has no NodeMemoryReport" in run("advise", "--pod", "batch-0")[2]


def test_a_cluster_that_does_not_answer_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: object) -> FakeCluster:
        raise ClusterError("no answer")

    monkeypatch.setattr(advise, "Cluster", refuse)
    assert main(["advise"]) == 1
    assert capsys.readouterr().err == "oomsayer advise: no answer\n"
