"""What the admission policies hold agent and operator to."""

import json

import pytest
from tests.api.server import NAMESPACE, Installation, Json, report

from oomsayer.api.vocabulary import Annotation

REPORTS = "/apis/oomsayer.dev/v1alpha1/nodememoryreports"
PODS = "/api/v1/namespaces/default/pods"


def owned_by(item: dict[str, Json], node: Json, **other: str) -> dict[str, Json]:
    owner = {
        "apiVersion": "v1",
        "kind": "Node",
        "name": node["metadata"]["name"],
        "uid": node["metadata"]["uid"],
    }
    item["metadata"]["ownerReferences"] = [owner | other]
    return item


def test_an_agent_writes_the_report_of_its_own_node(installed: Installation) -> None:
    agent = installed.agent("own")
    node = installed.api_server.node("own")

    agent.kubectl("create", "-f", "-", stdin=json.dumps(owned_by(report("own"), node)))
    assert agent.patch_refused(f"{REPORTS}/own", {"status": {"pageSize": 8192}}, dry_run=False) == ""

    written = installed.api_server.get("nodememoryreports", "own")
    assert written["status"]["pageSize"] == 8192
    assert written["metadata"]["ownerReferences"][0]["name"] == "own"


def test_an_agent_cannot_write_another_nodes_report(installed: Installation) -> None:
    agent = installed.agent("node-a")
    installed.api_server.apply(report("node-b"))
    reason = "the agent on node node-a may not write the NodeMemoryReport of "

    assert reason + "node-b" in agent.patch_refused(f"{REPORTS}/node-b", {"status": {"pageSize": 8192}})
    assert reason + "node-c" in agent.create_refused(report("node-c"))


def test_a_token_without_a_node_writes_nothing(installed: Installation) -> None:
    token = installed.api_server.kubectl("create", "token", "oomsayer-agent", "-n", NAMESPACE).strip()
    unbound = installed.api_server.with_token(token, "unbound")

    assert "the agent's token is not bound to a pod on a node" in unbound.create_refused(report("node-a"))


@pytest.mark.parametrize(
    "other", [{"uid": "0"}, {"name": "another"}, {"kind": "Pod"}], ids=["uid", "name", "kind"]
)
def test_an_agents_report_belongs_to_its_own_node_alone(
    installed: Installation, other: dict[str, str]
) -> None:
    agent = installed.agent("owner")
    node = installed.api_server.node("owner")

    assert "metadata.ownerReferences" in agent.create_refused(owned_by(report("owner"), node, **other))


def test_an_agent_sets_no_finalizers(installed: Installation) -> None:
    item = report("final")
    item["metadata"]["finalizers"] = ["example.com/forever"]

    assert "metadata.finalizers" in installed.agent("final").create_refused(item)


def test_the_operator_annotates_pods(installed: Installation) -> None:
    operator = installed.operator()
    installed.api_server.node("node-p")
    installed.api_server.pod("annotated", "node-p")
    installed.api_server.kubectl("annotate", "pod", "annotated", "example.com/theirs=kept")

    pod = f"{PODS}/annotated"
    set_it, remove_it = ({"metadata": {"annotations": {Annotation.RISK: value}}} for value in ("x", None))
    assert operator.patch_refused(pod, set_it, dry_run=False) == ""
    both = installed.api_server.get("pod", "annotated")["metadata"]["annotations"]
    assert operator.patch_refused(pod, remove_it, dry_run=False) == ""
    theirs = installed.api_server.get("pod", "annotated")["metadata"]["annotations"]

    assert both == {"example.com/theirs": "kept", Annotation.RISK: "x"}
    assert theirs == {"example.com/theirs": "kept"}


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"metadata": {"annotations": {"example.com/theirs": "changed"}}}, "metadata.annotations"),
        ({"metadata": {"annotations": {"example.com/theirs": None}}}, "metadata.annotations"),
        ({"metadata": {"annotations": {"example.com/new": "added"}}}, "metadata.annotations"),
        ({"metadata": {"labels": {"app": "hijacked"}}}, "metadata"),
        ({"metadata": {"finalizers": ["example.com/forever"]}}, "metadata"),
        ({"spec": {"activeDeadlineSeconds": 1}}, "spec"),
        ({"spec": {"containers": [{"name": "main", "image": "evil"}]}}, "spec"),
    ],
    ids=["change", "remove", "add", "label", "finalizer", "deadline", "image"],
)
def test_the_operator_changes_nothing_else_about_a_pod(
    installed: Installation, patch: dict[str, Json], field: str
) -> None:
    operator = installed.operator()
    installed.api_server.node("node-p")
    installed.api_server.pod("guarded", "node-p")
    installed.api_server.kubectl("annotate", "--overwrite", "pod", "guarded", "example.com/theirs=kept")

    refusal = operator.patch_refused(f"{PODS}/guarded", patch)

    assert f"{field}: the operator may" in refusal


def test_the_administrator_may_still_do_both(installed: Installation) -> None:
    admin = installed.api_server
    admin.node("node-p")
    admin.pod("free", "node-p")

    admin.patch("pod", "free", patch={"metadata": {"labels": {"app": "x"}}})

    assert admin.get("pod", "free")["metadata"]["labels"] == {"app": "x"}
    assert admin.create_refused(report("any-node")) == ""
