"""An image that no node has, a chart whose CRD changed, and at last an uninstall."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import rollout
from lab.errors import LabError
from lab.provider import Provider
from tests.cluster.installation import CHART, NAMESPACE, RELEASE, helm, install
from tests.cluster.story import Json, Kubectl, Stage, container, eventually

pytestmark = pytest.mark.timeout(1800)

CRDS = {"nodememoryreports.oomsayer.dev", "oomforecasts.oomsayer.dev", "oompolicies.oomsayer.dev"}
KEPT = {f"customresourcedefinition.apiextensions.k8s.io/{name}" for name in CRDS}


@pytest.fixture
def unloaded(kubectl: Kubectl) -> Iterator[str]:
    """A namespace with a Deployment whose image no node has."""
    name = "unloaded"
    pod_spec = {"containers": [container("app", "name app") | {"image": "oomsayer:none"}]}
    pod_spec["volumes"] = [{"name": "fill", "emptyDir": {}}]
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec},
        },
    }
    kubectl("create", "namespace", name)
    kubectl("--namespace", name, "apply", "-f", "-", stdin=json.dumps(deployment))
    yield name
    kubectl("delete", "namespace", name, timeout=300)


def test_an_image_that_was_not_loaded_is_named_with_the_remedy(cluster: Provider, unloaded: str) -> None:
    with pytest.raises(LabError) as caught:
        rollout.wait(cluster.kubeconfig, unloaded, seconds=240)
    print(caught.value)
    assert "image oomsayer:none is not there (ImagePullBackOff: " in str(caught.value)
    assert "`python -m lab load`" in str(caught.value)


def test_an_upgrade_of_the_chart_changes_a_crd_and_keeps_what_is_there(stage: Stage, tmp_path: Path) -> None:
    def forecasts() -> dict[str, Json]:
        return {f["metadata"]["uid"]: f["status"] for f in stage.get("oomforecasts")["items"]}

    before = forecasts()
    changed = tmp_path / "oomsayer"
    shutil.copytree(CHART, changed)
    crd = changed / "templates/crds/oomforecasts.yaml"
    crd.write_text(crd.read_text().replace("- name: Victim\n", "- name: Who-Dies\n"))
    assert crd.read_text() != (CHART / "templates/crds/oomforecasts.yaml").read_text()
    install(stage.cluster, stage.kubectl, changed)
    header = stage.kubectl("get", "oomforecasts").splitlines()[0]
    assert "WHO-DIES" in header
    assert forecasts().keys() == before.keys()
    samples = {uid: status["sampledAt"] for uid, status in before.items()}
    eventually(
        "newer forecasts of every node",
        lambda: all(status["sampledAt"] > samples[uid] for uid, status in forecasts().items()),
    )
    install(stage.cluster, stage.kubectl, new_image=False)
    assert "WHO-DIES" not in stage.kubectl("get", "oomforecasts").splitlines()[0]


def test_an_uninstall_leaves_nothing_but_the_crds_and_what_they_hold(stage: Stage) -> None:
    kinds = stage.kubectl("api-resources", "--verbs=list", "--output=name").split()
    inner = stage.kubectl("api-resources", "--verbs=list", "--namespaced", "--output=name").split()
    helm(stage.cluster, "uninstall", RELEASE, "--wait")

    def left() -> set[str]:
        labelled = ["-A", "--selector", f"app.kubernetes.io/instance={RELEASE}", "--output", "name"]
        return set(stage.kubectl("get", ",".join(kinds), *labelled).split())

    eventually("the last pods to be gone", lambda: left() <= KEPT)
    assert left() == KEPT

    def own() -> set[str]:
        inside = stage.kubectl("--namespace", NAMESPACE, "get", ",".join(inner), "--output", "name").split()
        everywhere = ("event", "configmap/kube-root-ca", "serviceaccount/default")
        return {name for name in inside if not name.startswith(everywhere)}

    eventually("what the operator itself had made to be gone", lambda: not own())
    assert {f["metadata"]["name"] for f in stage.get("oomforecasts")["items"]} == set(stage.cluster.nodes())
