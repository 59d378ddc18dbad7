"""helm install, upgrade and uninstall on a real API server, and the rights that they leave."""

import json
from collections.abc import Callable, Iterator

import pytest
from tests.api.server import NAMESPACE, RELEASE, ApiServer, Client, Installation, helm, install, report

CRDS = {"nodememoryreports.oomsayer.dev", "oomforecasts.oomsayer.dev", "oompolicies.oomsayer.dev"}
RULES_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
# What every service account may ask about itself.
SELF = {"authentication.k8s.io", "authorization.k8s.io"}


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server of one's own, to install on and uninstall from."""
    server = ApiServer.start(tmp_path_factory.mktemp("fresh"))
    yield server
    server.stop()


def rights(client: Client, namespace: str) -> set[tuple[str, str, str]]:
    """Everything a client may do in a namespace, as (group/resource, name, verb)."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    answer = json.loads(client.kubectl("create", "--raw", RULES_REVIEWS, "-f", "-", stdin=json.dumps(review)))
    return {
        (f"{group}/{resource}", name, verb)
        for rule in answer["status"]["resourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", ["*"])
        for verb in rule["verbs"]
        if group not in SELF
    }


def test_install_upgrade_uninstall_and_again(fresh: ApiServer) -> None:
    notes = install(fresh)
    fresh.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
    fresh.apply(report("node-a"))
    install(fresh, "--set", "agent.interval=5", "--set", "metrics.podMonitor.enabled=false")
    interval = fresh.get("daemonset", f"{RELEASE}-agent", "-n", NAMESPACE)
    helm(fresh.kubeconfig, "uninstall", RELEASE, "-n", NAMESPACE)

    kept = {crd["metadata"]["name"] for crd in fresh.get("crd")["items"]}
    left = fresh.kubectl("get", "ds,deploy,sa,role,rolebinding", "-n", NAMESPACE, "-o", "name").split()
    cluster_wide = "clusterrole,clusterrolebinding,validatingadmissionpolicy"
    wide = fresh.kubectl("get", cluster_wide, "-l", f"app.kubernetes.io/instance={RELEASE}", "-o", "name")
    install(fresh)

    assert "kubectl get oomforecasts" in notes
    assert f"kubectl -n {NAMESPACE} describe daemonset/{RELEASE}-agent" in notes
    assert "--interval=5" in interval["spec"]["template"]["spec"]["containers"][0]["args"]
    assert kept == CRDS
    assert (left, wide) == ([], "")
    assert fresh.get("nmr", "node-a")["status"]["schemaVersion"] == 1


def test_an_agent_may_nothing_else(installed: Installation) -> None:
    agent = installed.agent("rights")
    report_verbs = {("oomsayer.dev/nodememoryreports", "*", verb) for verb in ("create", "patch")}

    assert rights(agent, "default") == report_verbs
    assert rights(agent, NAMESPACE) == report_verbs


def test_the_operator_may_nothing_else(installed: Installation) -> None:
    operator = installed.operator()
    allowed = {
        "oomsayer.dev/nodememoryreports": "get list watch",
        "oomsayer.dev/oomforecasts": "get list create",
        "oomsayer.dev/oompolicies": "list watch",
        "oomsayer.dev/oomforecasts/status": "patch",
        "oomsayer.dev/oompolicies/status": "patch",
        "/pods": "list patch",
        "events.k8s.io/events": "create",
    }
    everywhere = {(what, "*", verb) for what, verbs in allowed.items() for verb in verbs.split()}
    lease = "coordination.k8s.io/leases"

    assert rights(operator, "default") == everywhere
    assert rights(operator, NAMESPACE) == everywhere | {
        (lease, "*", "create"),
        *((lease, "oomsayer-operator", verb) for verb in ("get", "update")),
        ("apps/deployments", "oomsayer-operator", "get"),
    }


def refused(installed: Installation, component: str) -> str:
    """Why the API server refuses a component's pod: a DaemonSet's template leaves that to its controller."""
    admin = installed.api_server
    kind = "daemonset" if component == "agent" else "deployment"
    template = admin.get(kind, f"{RELEASE}-{component}", "-n", NAMESPACE)["spec"]["template"]
    template["metadata"] |= {"name": f"admitted-{component}", "namespace": NAMESPACE}
    return admin.create_refused({"apiVersion": "v1", "kind": "Pod", **template})


@pytest.fixture
def pod_security(installed: Installation) -> Iterator[Callable[[str], None]]:
    """Enforces a standard of Pod Security in the release's namespace."""
    key = "pod-security.kubernetes.io/enforce"

    def enforce(standard: str) -> None:
        installed.api_server.kubectl("label", "--overwrite", "namespace", NAMESPACE, f"{key}={standard}")

    yield enforce
    installed.api_server.kubectl("label", "namespace", NAMESPACE, f"{key}-")


@pytest.mark.parametrize("component", ["agent", "operator"])
def test_the_pods_are_admitted(
    installed: Installation, pod_security: Callable[[str], None], component: str
) -> None:
    assert refused(installed, component) == ""
    pod_security("privileged")
    assert refused(installed, component) == ""


def test_pod_security_minds_nothing_but_the_agents_two_volumes(
    installed: Installation, pod_security: Callable[[str], None]
) -> None:
    pod_security("baseline")
    assert 'violates PodSecurity "baseline:latest": hostPath volumes (volumes' in refused(installed, "agent")
    pod_security("restricted")
    complaint = refused(installed, "agent").partition('"restricted:latest": ')[2].strip()
    assert (
        complaint
        == 'restricted volume types (volumes "proc", "cgroup" use restricted volume type "hostPath")'
    )
    assert refused(installed, "operator") == ""
