"""What the chart renders, for its defaults and for every values file in ci/."""

import json
from pathlib import Path

import pytest
import yaml
from tests.chart.rendered import Manifest, helm, one, pod, refusal, render
from tests.chart.values_table import CHART, README, leaves, with_table

from oomsayer.api import vocabulary

CRDS = CHART.parents[1] / "crds"
CASES = sorted((CHART / "ci").glob("*.yaml"))
LABELS = {
    "helm.sh/chart",
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
}
PODS = ("DaemonSet", "Deployment")


@pytest.fixture(scope="module", params=CASES, ids=lambda path: path.stem)
def case(request: pytest.FixtureRequest) -> list[Manifest]:
    return render("-f", request.param)


@pytest.fixture(scope="module")
def default() -> list[Manifest]:
    return render()


@pytest.mark.parametrize("values", CASES, ids=lambda path: path.stem)
def test_lint_finds_nothing(values: Path) -> None:
    done = helm("lint", "--strict", CHART, "-f", values)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


def test_what_people_add_wins_over_the_same_key_of_the_charts() -> None:
    key = r"kubectl\.kubernetes\.io/default-container"
    places = [
        "agent.podLabels",
        "operator.podLabels",
        "metrics.podMonitor.labels",
        "metrics.prometheusRule.labels",
    ]
    manifests = render(
        "--set", "commonLabels.team=all,metrics.podMonitor.enabled=true,metrics.prometheusRule.enabled=true",
        "--set", ",".join(f"{place}.team=one" for place in places),
        "--set", f"agent.podAnnotations.{key}=other",
    )  # fmt: skip
    pods = [pod(manifests, kind) for kind in PODS]
    others = [m for m in manifests if m["kind"] in ("PodMonitor", "PrometheusRule")]
    assert {m["metadata"]["labels"]["team"] for m in (*pods, *others)} == {"one"}
    assert pods[0]["metadata"]["annotations"] == {"kubectl.kubernetes.io/default-container": "other"}
    assert {m["metadata"]["labels"]["team"] for m in manifests if m not in others} == {"all"}


def test_every_object_carries_the_usual_labels(case: list[Manifest]) -> None:
    assert {
        m["metadata"]["name"] for m in case if not m["metadata"].get("labels", {}).keys() >= LABELS
    } == set()


def test_objects_are_unique(case: list[Manifest]) -> None:
    names = [(m["kind"], m["metadata"]["name"]) for m in case]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", PODS)
def test_pods_run_without_any_privilege(case: list[Manifest], kind: str) -> None:
    spec = pod(case, kind)["spec"]

    assert spec["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65534,
        "runAsGroup": 65534,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert [container["securityContext"] for container in spec["containers"]] == [
        {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "privileged": False,
            "capabilities": {"drop": ["ALL"]},
        }
    ]
    assert spec.keys().isdisjoint({"hostPID", "hostIPC", "hostNetwork", "initContainers"})


def test_the_kernels_log_costs_one_capability_and_the_user_that_can_have_it() -> None:
    spec = pod(render("--set", "agent.kernelLog=true"), "DaemonSet")["spec"]
    (container,) = spec["containers"]

    assert "--kernel-log=on" in container["args"]
    assert container["securityContext"] == {
        "runAsNonRoot": False,
        "runAsUser": 0,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "privileged": False,
        "capabilities": {"drop": ["ALL"], "add": ["SYSLOG"]},
    }
    assert {volume["name"] for volume in spec["volumes"]} == {"proc", "cgroup"}


def test_selinux_gets_the_type_that_people_name_for_the_agent_alone() -> None:
    manifests = render("--set", "agent.seLinuxOptions.type=spc_t")
    (agent,), (operator,) = (pod(manifests, kind)["spec"]["containers"] for kind in PODS)

    assert agent["securityContext"] == operator["securityContext"] | {"seLinuxOptions": {"type": "spc_t"}}


def test_the_agent_mounts_the_host_read_only(case: list[Manifest]) -> None:
    spec = pod(case, "DaemonSet")["spec"]
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in spec["volumes"]}
    mounts = {
        paths[m["name"]]: (m["mountPath"], m["readOnly"]) for m in spec["containers"][0]["volumeMounts"]
    }

    assert mounts == {"/proc": ("/host/proc", True), "/sys/fs/cgroup": ("/host/sys/fs/cgroup", True)}


def test_the_operator_mounts_nothing(case: list[Manifest]) -> None:
    assert "volumes" not in pod(case, "Deployment")["spec"]


def test_the_agent_runs_on_every_node_and_is_no_victim(default: list[Manifest]) -> None:
    spec = pod(default, "DaemonSet")["spec"]

    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["priorityClassName"] == "system-node-critical"
    assert "limits" in spec["containers"][0]["resources"]


@pytest.mark.parametrize("kind", PODS)
def test_a_slow_start_is_no_failure(case: list[Manifest], kind: str) -> None:
    probe = pod(case, kind)["spec"]["containers"][0]["startupProbe"]

    assert probe["periodSeconds"] * probe["failureThreshold"] >= 180


@pytest.mark.parametrize("kind", PODS)
def test_selectors_select_the_pods(case: list[Manifest], kind: str) -> None:
    labels = pod(case, kind)["metadata"]["labels"]

    assert one(case, kind)["spec"]["selector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("kind", PODS)
def test_the_metrics_port_is_the_one_that_is_served(case: list[Manifest], kind: str) -> None:
    container = pod(case, kind)["spec"]["containers"][0]
    (port,) = container["ports"]

    assert f"--metrics-address=:{port['containerPort']}" in container["args"]


@pytest.mark.parametrize("kind", PODS)
def test_pods_use_the_accounts_that_hold_the_rights(case: list[Manifest], kind: str) -> None:
    account = pod(case, kind)["spec"]["serviceAccountName"]
    role = one(case, "ClusterRoleBinding", "agent" if kind == "DaemonSet" else "operator")

    assert role["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "watch"}]


def test_all_that_an_agent_may_do(case: list[Manifest]) -> None:
    assert one(case, "ClusterRole", "agent")["rules"] == [
        {
            "apiGroups": [vocabulary.GROUP],
            "resources": [vocabulary.REPORT_PLURAL],
            "verbs": ["create", "patch"],
        }
    ]


def test_people_have_a_role_that_reads_and_is_bound_to_nobody(case: list[Manifest]) -> None:
    role = one(case, "ClusterRole", "viewer")
    verbs = {verb for rule in role["rules"] for verb in rule["verbs"]}
    bound = {m["roleRef"]["name"] for m in case if m["kind"].endswith("RoleBinding")}

    assert verbs == {"get", "list", "watch"}
    assert role["metadata"]["name"] not in bound


def test_an_agent_asks_its_kubelet_only_where_it_is_told_to() -> None:
    options = ("--set=agent.kubelet.readConfig=true", "--set=agent.kubelet.insecureTLS=true")
    manifests = render(*options)
    container = pod(manifests, "DaemonSet")["spec"]["containers"][0]

    assert one(manifests, "ClusterRole", "agent")["rules"][1:] == [
        {"apiGroups": [""], "resources": ["nodes/configz"], "verbs": ["get"]}
    ]
    assert {"--kubelet-address=$(NODE_ADDRESS)", "--kubelet-insecure-tls"} <= set(container["args"])
    address = {"name": "NODE_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}
    assert address in container["env"]
    assert (
        "--kubelet-insecure-tls" not in pod(render(options[0]), "DaemonSet")["spec"]["containers"][0]["args"]
    )


def test_no_rights_by_wildcard_and_none_on_secrets(case: list[Manifest]) -> None:
    rules = [rule for m in case if m["kind"] in {"ClusterRole", "Role"} for rule in m["rules"]]
    named = {name for rule in rules for key in ("apiGroups", "resources", "verbs") for name in rule[key]}

    assert named.isdisjoint({"*", "secrets", "configmaps", "nodes", "escalate", "bind", "impersonate"})


def test_the_role_names_the_lease_that_the_operator_takes_and_what_owns_it(default: list[Manifest]) -> None:
    deployment = one(default, "Deployment")
    named = {
        kind: rule["resourceNames"]
        for rule in one(default, "Role")["rules"]
        for kind in rule["resources"]
        if "resourceNames" in rule
    }

    assert named == {
        "leases": [vocabulary.LEASE_NAME],
        "deployments": [deployment["metadata"]["name"]],
    }
    env = pod([deployment], "Deployment")["spec"]["containers"][0]["env"]
    assert {"name": "OOMSAYER_DEPLOYMENT", "value": deployment["metadata"]["name"]} in env


@pytest.mark.parametrize("component", ["agent", "operator"])
def test_admission_policies_are_about_the_accounts_in_use(default: list[Manifest], component: str) -> None:
    policy = one(default, "ValidatingAdmissionPolicy", component)
    binding = one(default, "ValidatingAdmissionPolicyBinding", component)
    (condition,) = policy["spec"]["matchConditions"]

    expected = f'request.userInfo.username == "system:serviceaccount:watch:oomsayer-{component}"'
    assert condition["expression"] == expected
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}


def test_the_charts_crds_are_those_of_the_repository(default: list[Manifest]) -> None:
    plain = {m["metadata"]["name"]: m["spec"] for m in map(_load, CRDS.glob("*.yaml"))}

    assert {
        m["metadata"]["name"]: m["spec"] for m in default if m["kind"] == "CustomResourceDefinition"
    } == plain


def test_a_catalogue_of_charts_is_told_of_the_crds(default: list[Manifest]) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    told = yaml.safe_load(chart["annotations"]["artifacthub.io/crds"])
    crds = [m["spec"] for m in default if m["kind"] == "CustomResourceDefinition"]

    assert {(crd["kind"], crd["version"], crd["name"]) for crd in told} == {
        (crd["names"]["kind"], crd["versions"][0]["name"], f"{crd['names']['plural']}.{crd['group']}")
        for crd in crds
    }


@pytest.mark.parametrize(("keep", "kept"), [("true", {"keep"}), ("false", {None})])
def test_an_uninstall_keeps_the_crds(keep: str, kept: set[str | None]) -> None:
    crds = [m for m in render("--set", f"crds.keep={keep}") if m["kind"] == "CustomResourceDefinition"]

    assert {m["metadata"].get("annotations", {}).get("helm.sh/resource-policy") for m in crds} == kept


def test_crds_and_admission_policies_can_come_from_elsewhere() -> None:
    kinds = {m["kind"] for m in render("-f", CHART / "ci" / "services-values.yaml")}

    assert not kinds & {"CustomResourceDefinition", "ValidatingAdmissionPolicy"}


def test_monitors_select_the_pods_and_their_port() -> None:
    manifests = render("-f", CHART / "ci" / "monitoring-values.yaml")
    for kind, component in zip(PODS, ("agent", "operator"), strict=True):
        template = pod(manifests, kind)
        monitor = one(manifests, "PodMonitor", component)
        policy = one(manifests, "NetworkPolicy", component)
        labels = template["metadata"]["labels"].items()
        port = template["spec"]["containers"][0]["ports"][0]["name"]

        assert monitor["spec"]["selector"]["matchLabels"].items() <= labels
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] == port
        added = [r["targetLabel"] for r in endpoint.get("relabelings", ())]
        assert added[:1] == (["node"] if component == "agent" else [])
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels
        assert [p["port"] for p in policy["spec"]["ingress"][0]["ports"]] == [port]


def test_service_monitors_select_services_that_select_the_pods() -> None:
    manifests = render("-f", CHART / "ci" / "services-values.yaml")
    for kind, component in zip(PODS, ("agent", "operator"), strict=True):
        service = one(manifests, "Service", f"{component}-metrics")
        monitor = one(manifests, "ServiceMonitor", component)
        template = pod(manifests, kind)
        ports = template["spec"]["containers"][0]["ports"]

        assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        assert [p["port"] for p in service["spec"]["ports"]] == [p["containerPort"] for p in ports]


def test_custom_values_arrive() -> None:
    manifests = render("-f", CHART / "ci" / "custom-values.yaml")
    agent, operator = (pod(manifests, kind)["spec"] for kind in PODS)

    assert one(manifests, "DaemonSet")["metadata"]["name"] == "watch-agent"
    assert agent["containers"][0]["image"] == "registry.example.com/tools/oomsayer:1.2.3"
    assert agent["containers"][0]["args"][-2:] == ["--interval=0.5", "--log-level=debug"]
    assert agent["imagePullSecrets"] == [{"name": "registry"}]
    assert "affinity" in agent
    assert operator["serviceAccountName"] == "existing"
    assert "priorityClassName" not in operator
    assert one(manifests, "Deployment")["spec"]["replicas"] == 2
    (spread,) = operator["topologySpreadConstraints"]
    operators = one(manifests, "Deployment")["spec"]["selector"]
    assert spread["labelSelector"] == operators
    assert [m["metadata"]["name"] for m in manifests if m["kind"] == "ServiceAccount"] == ["watch-agent"]


def test_a_digest_pins_the_image() -> None:
    digest = f"sha256:{'0a' * 32}"
    manifests = render("--set", f"image.digest={digest}")
    for kind in PODS:
        assert pod(manifests, kind)["spec"]["containers"][0]["image"].endswith(f"@{digest}")


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("agent.interval=often", "/agent/interval"),
        ("agent.interval=0", "/agent/interval"),
        (r"commonLabels.app\.kubernetes\.io/name=mine", "invalid propertyName 'app.kubernetes.io/name'"),
        (
            r"operator.podLabels.app\.kubernetes\.io/component=mine",
            "propertyName 'app.kubernetes.io/component'",
        ),
        ("image.digest=0123", "/image/digest"),
        ("agent.resource.limits=1", "'resource' not allowed"),
        ("operator.replicas=0", "/operator/replicas"),
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("metrics.podMonitor.interval=soon", "/metrics/podMonitor/interval"),
        ("fullnameOverride=Not_A_Name", "/fullnameOverride"),
        ("agent.kernelLog=maybe", "/agent/kernelLog"),
        ("agent.seLinuxOptions.typ=spc_t", "'typ'"),
        ("privileged=true", "'privileged' not allowed"),
    ],
)
def test_a_bad_value_is_refused_by_name(setting: str, complaint: str) -> None:
    assert complaint in refusal("--set", setting)


def test_an_account_that_nobody_makes_is_refused() -> None:
    complaint = refusal("--set", "agent.serviceAccount.create=false")

    assert "agent.serviceAccount.name is empty and agent.serviceAccount.create is false" in complaint


def test_one_account_for_both_is_refused() -> None:
    account = "serviceAccount.create=false,{0}.serviceAccount.name=default"
    complaint = refusal("--set", ",".join(f"{c}.{account.format(c)}" for c in ("agent", "operator")))

    assert "agent.serviceAccount and operator.serviceAccount are both default" in complaint


def test_an_old_cluster_is_refused() -> None:
    assert "kubeVersion: >=1.30.0-0" in refusal("--kube-version", "1.29.9")


def test_every_value_has_a_description_and_a_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    undescribed = [path for path, _, text in leaves(schema, values) if not text.endswith(".")]

    assert undescribed == []


def test_the_readme_lists_every_value() -> None:
    text = README.read_text()

    assert with_table(text) == text, "run: make generate"


def _load(path: Path) -> Manifest:
    manifest: Manifest = yaml.safe_load(path.read_text())
    return manifest


def test_a_long_release_leaves_room_for_the_longest_name() -> None:
    done = helm("template", "r" * 53, CHART, "-n", "watch", "--set", "metrics.serviceMonitor.enabled=true")
    assert done.returncode == 0, done.stderr
    names = [m["metadata"]["name"] for m in yaml.safe_load_all(done.stdout) if m and m["kind"] == "Service"]
    assert [len(name) <= 63 for name in names] == [True, True]


def test_names_that_yaml_takes_for_numbers_or_booleans_stay_text() -> None:
    names = {
        "nameOverride": "true",
        "fullnameOverride": "12",
        "agent.serviceAccount.name": "34",
        "operator.serviceAccount.name": "1e5",
    }
    parts = ("metrics.podMonitor", "metrics.serviceMonitor", "metrics.prometheusRule", "networkPolicy")
    done = helm(
        "template", "56", CHART, "-n", "78",
        "--set-string", ",".join(f"{path}={name}" for path, name in names.items()),
        "--set-string", "metrics.podMonitor.interval=0",
        "--set", ",".join(f"{part}.enabled=true" for part in parts),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    manifests = [m for m in yaml.safe_load_all(done.stdout) if m]
    metadata = [m["metadata"] for m in manifests]
    subjects = [subject for m in manifests for subject in m.get("subjects", [])]
    monitors = [m["spec"]["podMetricsEndpoints"][0] for m in manifests if m["kind"] == "PodMonitor"]
    found = [
        *(value for data in metadata for value in data["labels"].values()),
        *(data[key] for data in metadata for key in ("name", "namespace") if key in data),
        *(subject[key] for subject in subjects for key in ("name", "namespace")),
        *(pod(manifests, kind)["spec"]["serviceAccountName"] for kind in PODS),
        *(monitor["interval"] for monitor in monitors),
    ]

    assert [text for text in found if not isinstance(text, str)] == []
