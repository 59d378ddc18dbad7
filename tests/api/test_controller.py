"""The operator as a process of its own, with the rights that the chart gives it, on a real API server."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.api.running_operator import Operator
from tests.api.server import CHART, NAMESPACE, ROOT, ApiServer, Installation, Json, eventually
from tests.api.shop import MI, Shop, killed, node_status

from oomsayer.api.vocabulary import Annotation

NO_POD_CHANGES: tuple[Json, ...] = (
    {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-pod-changes"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "resources": ["pods"],
                        "operations": ["UPDATE"],
                    }
                ]
            },
            "validations": [{"expression": "false", "message": "every container must have limits"}],
        },
    },
    {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "no-pod-changes"},
        "spec": {"policyName": "no-pod-changes", "validationActions": ["Deny"]},
    },
)
"""As clusters have them that ask something of pods which older ones do not have."""


def ready_of(server: ApiServer, node: str) -> str:
    """The reason of a forecast's Ready condition, empty without."""
    forecasts = [f for f in server.get("oomforecasts")["items"] if f["metadata"]["name"] == node]
    conditions = [c for f in forecasts for c in (f.get("status") or {}).get("conditions", [])]
    return next((c["reason"] for c in conditions if c["type"] == "Ready"), "")


@pytest.fixture(scope="module")
def shared(installed: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator of all tests here; one that ended it finds it started again by the next."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    operator = Operator(installed.operator().kubeconfig, log, "operator-0")
    yield operator
    if operator.running:
        operator.terminate()


@pytest.fixture
def operator(shared: Operator) -> Operator:
    """An operator that leads."""
    shared.lead()
    return shared


@pytest.fixture
def shop(api_server: ApiServer, installed: Installation) -> Iterator[Shop]:
    del installed
    shop = Shop(api_server)
    yield shop
    for kind in ("nodememoryreports", "oomforecasts", "node"):
        api_server.kubectl("delete", kind, shop.node, "--ignore-not-found")
    api_server.kubectl(
        "delete", "pod", shop.pod, "-n", shop.namespace, "--ignore-not-found", "--force", "--grace-period=0"
    )


def test_a_report_becomes_a_forecast(operator: Operator, shop: Shop) -> None:
    shop.report(redis=200, web=600)
    eventually(lambda: bool(shop.next()), "a forecast")

    line = shop.next()
    assert line["domain"] == f"container default/{shop.pod}/web"
    assert (line["pid"], line["comm"], line["container"]) == (102, "nginx", "web")
    assert line["pod"] == f"default/{shop.pod}"
    assert line["podUID"] == shop.uid
    assert line["headroom"] == "424Mi"
    assert shop.condition("Ready") == ("True", "ReportFresh")
    assert shop.condition("AtRisk") == ("False", "EnoughHeadroom")
    owner = shop.forecast()["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"]) == ("Node", shop.node_uid)
    names = {d["name"] for d in shop.status()["domains"]}
    assert {"node", f"pod default/{shop.pod}", f"container default/{shop.pod}/redis"} <= names
    assert (
        operator.metric(f'oomsayer_forecast_headroom_bytes{{domain="closest",node="{shop.node}"}}')
        == 424 * MI
    )
    assert operator.get("/healthz") == "ok\n"


@pytest.mark.usefixtures("operator")
def test_a_risk_is_announced_once_and_taken_back_when_it_ends(shop: Shop) -> None:
    shop.report(redis=490)
    eventually(lambda: bool(shop.events()), "the Event")
    annotations = shop.annotations()
    eventually(lambda: any(r["announced"] for r in shop.risks()), "the risk is marked as announced")

    (risk,) = shop.risks()
    assert risk["domainName"] == (f"container default/{shop.pod}/redis")
    assert annotations == {
        "oomsayer.dev/oom-risk": f"container default/{shop.pod}/redis",
        "oomsayer.dev/oom-victim": "redis/redis",
        "oomsayer.dev/oom-risk-since": risk["since"],
    }, "who reads the Event finds them on the pod"
    (event,) = shop.events()
    assert (event["type"], event["reason"], event["action"]) == ("Warning", "OOMRisk", "Forecasting")
    assert event["regarding"]["uid"] == shop.uid
    assert event["reportingController"] == "oomsayer.dev/operator"
    assert event["note"] == (
        f"With 22Mi of 512Mi left, the next OOM in container default/{shop.pod}/redis kills redis "
        f"(pid 101, container redis of pod default/{shop.pod}): "
        "it is the only process there that can be killed."
    )
    assert shop.condition("AtRisk") == ("True", "UnderThreshold")

    shop.report(redis=500)
    eventually(lambda: shop.next()["headroom"] == "12Mi", "the forecast follows")
    shop.report(redis=300)
    eventually(lambda: not shop.annotations(), "the annotations are gone")
    eventually(lambda: not shop.risks(), "the risk is gone")
    assert sorted(e["reason"] for e in shop.events()) == ["OOMRisk", "OOMRiskEnded"]


def test_a_killed_operator_goes_on_without_repeating_an_event(operator: Operator, shop: Shop) -> None:
    shop.report(redis=490)
    eventually(lambda: any(r["announced"] for r in shop.risks()), "the risk is announced")
    operator.kill()

    operator.lead()
    eventually(lambda: operator.metric('oomsayer_operator_reports_total{result="ok"}') >= 1, "looks again")
    shop.report(redis=505)
    eventually(lambda: shop.next()["headroom"] == "7Mi", "the forecast follows")
    assert len(shop.events()) == 1
    assert operator.metric('oomsayer_operator_events_total{reason="OOMRisk",result="written"}') == 0


@pytest.mark.parametrize("event_written", [True, False], ids=["after the Event", "before the Event"])
def test_an_operator_killed_while_announcing_announces_exactly_once(
    operator: Operator, shop: Shop, *, event_written: bool
) -> None:
    shop.report(redis=490)
    eventually(lambda: any(r["announced"] for r in shop.risks()), "the risk is announced")
    operator.kill()
    risks = [{**risk, "announced": False} for risk in shop.risks()]
    shop.server.kubectl(
        *("patch", "oomforecast", shop.node, "--subresource=status", "--type=merge", "-p"),
        json.dumps({"status": {"risks": risks}}),
    )
    if not event_written:
        shop.server.kubectl(
            "delete", "events.events.k8s.io", "-n", "default", shop.events()[0]["metadata"]["name"]
        )

    operator.lead()
    eventually(lambda: all(r["announced"] for r in shop.risks()), "the risk is announced again")
    assert len(shop.events()) == 1


@pytest.mark.usefixtures("operator")
def test_a_node_near_its_oom_is_announced_on_the_node(shop: Shop) -> None:
    shop.report(redis=300, web=300, free=150)
    eventually(lambda: bool(shop.events()), "an Event")

    (event,) = shop.events()
    assert (event["reason"], event["metadata"]["namespace"]) == ("NodeOOMRisk", "default")
    assert event["regarding"] == {
        "apiVersion": "v1", "kind": "Node", "name": shop.node, "uid": shop.node_uid
    }  # fmt: skip
    assert event["related"]["name"] == shop.pod
    assert event["note"].startswith(f"With 150Mi of 8Gi left, the next OOM of node {shop.node} kills worker ")
    assert "its oom_score_adj 950 outweighs that runner-up redis" in event["note"]
    eventually(lambda: shop.annotations().get("oomsayer.dev/oom-risk") == "node", "the pod is annotated")


@pytest.mark.usefixtures("operator")
def test_a_host_process_as_victim_is_announced_on_the_node(shop: Shop) -> None:
    status = node_status(shop.uid, (), free=150)
    status["memcgs"].append({"name": "backup.service", "parent": 0, "inode": 9})
    status["tasks"].append(
        {"pid": 70, "start": 70, "comm": "backup", "memcg": 5, "adj": 0, "rss": 4096 * 256}
    )
    shop.report(free=150, memcgs=status["memcgs"], tasks=status["tasks"])
    eventually(lambda: bool(shop.events("NodeOOMRisk")), "an Event")
    note = shop.events("NodeOOMRisk")[0]["note"]
    assert "kills backup (pid 70, a host process outside pods, in /backup.service)" in note


def policy(name: str, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "oomsayer.dev/v1alpha1",
        "kind": "OOMPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def accepted(shop: Shop, name: str) -> tuple[str, str] | None:
    for condition in shop.server.get("oompolicy", name).get("status", {}).get("conditions", ()):
        if condition["type"] == "Accepted":
            return condition["status"], condition["reason"]
    return None


@pytest.mark.usefixtures("operator")
def test_a_policy_takes_effect_without_a_restart_and_says_so(shop: Shop) -> None:
    shop.report(redis=490)
    eventually(lambda: bool(shop.annotations()), "annotations")
    shop.server.apply(policy("calm", thresholds={"podHeadroomPercent": 1, "clearPercent": 1}))
    try:
        eventually(lambda: not shop.risks() and not shop.annotations(), "the risk ends")
        assert accepted(shop, "calm") == ("True", "Valid")
    finally:
        shop.server.kubectl("delete", "oompolicy", "calm")
    eventually(lambda: bool(shop.annotations()), "the risk is back with the defaults")


@pytest.mark.usefixtures("operator")
def test_of_two_policies_for_all_namespaces_the_one_that_is_not_in_force_says_so(shop: Shop) -> None:
    shop.server.apply(policy("second"))
    try:
        eventually(lambda: accepted(shop, "second") == ("True", "Valid"), "the only one is in force")
        shop.server.apply(policy("first"))
        eventually(lambda: accepted(shop, "second") == ("False", "Conflict"), "another came before it")
        assert accepted(shop, "first") == ("True", "Valid")
        shop.server.kubectl("delete", "oompolicy", "first")
        eventually(lambda: accepted(shop, "second") == ("True", "Valid"), "it is in force again")
    finally:
        shop.server.kubectl("delete", "oompolicy", "first", "second", "--ignore-not-found")


@pytest.mark.usefixtures("operator")
def test_a_policy_keeps_a_namespace_silent(shop: Shop) -> None:
    shop.server.apply(policy("silent", namespaces={"exclude": ["default"]}))
    try:
        shop.report(redis=490)
        eventually(lambda: shop.next().get("headroom") == "22Mi", "a forecast")
        assert not shop.risks()
        assert not shop.events()
        assert not shop.annotations()
    finally:
        shop.server.kubectl("delete", "oompolicy", "silent")


def test_a_pod_at_risk_is_deleted(operator: Operator, shop: Shop) -> None:
    shop.report(redis=490)
    eventually(lambda: any(r["announced"] for r in shop.risks()), "the risk is announced")
    shop.server.kubectl("delete", "pod", shop.pod, "--force", "--grace-period=0")
    shop.report(memcgs=node_status(shop.uid, (), 6000)["memcgs"], tasks=[])
    eventually(lambda: not shop.risks(), "the risk ends")
    assert operator.metric("oomsayer_operator_queue_length") == 0
    assert shop.condition("Ready") == ("True", "ReportFresh")


@pytest.mark.usefixtures("operator")
def test_a_namesake_of_a_pod_at_risk_is_left_alone(shop: Shop) -> None:
    shop.report(redis=490)
    eventually(lambda: bool(shop.annotations()), "annotations")
    shop.server.kubectl("delete", "pod", shop.pod, "--force", "--grace-period=0")
    shop.make_pod()
    stamp = {"metadata": {"annotations": {"oomsayer.dev/oom-risk": "somebody else's"}}}
    shop.server.patch("pod", shop.pod, patch=stamp)
    shop.report(memcgs=node_status(shop.uid, (), 6000)["memcgs"], tasks=[])
    eventually(lambda: not shop.risks(), "the old pod's risk ends")
    assert shop.annotations() == {"oomsayer.dev/oom-risk": "somebody else's"}


@pytest.mark.usefixtures("operator")
def test_a_report_of_another_schema_is_named_in_the_ready_condition(shop: Shop) -> None:
    shop.report(redis=200)
    eventually(lambda: shop.condition("Ready")[0] == "True", "a forecast")
    shop.report(schemaVersion=2)
    eventually(lambda: shop.condition("Ready") == ("False", "ReportSchemaUnknown"), "Ready turns False")
    assert shop.condition("AtRisk")[0] == "Unknown"
    assert shop.next()["comm"] == "redis"


@pytest.mark.usefixtures("operator")
def test_a_deleted_report_empties_the_forecast(shop: Shop) -> None:
    shop.report(redis=490)
    eventually(lambda: bool(shop.annotations()), "annotations")
    shop.server.kubectl("delete", "nodememoryreport", shop.node)
    eventually(lambda: shop.condition("Ready")[0] == "False", "Ready turns False")
    assert not shop.risks()
    assert not shop.annotations()


@pytest.mark.usefixtures("operator")
def test_a_report_deleted_while_nobody_watched_empties_the_forecast(operator: Operator, shop: Shop) -> None:
    shop.report(redis=490)
    eventually(lambda: any(risk["announced"] for risk in shop.risks()), "the risk is announced")
    operator.terminate()
    shop.server.kubectl("delete", "nodememoryreport", shop.node)
    operator.lead()

    eventually(lambda: shop.condition("Ready") == ("False", "ReportStale"), "Ready turns False", seconds=60)
    assert (shop.risks(), shop.annotations()) == ([], {})


def test_an_operator_that_is_gone_leaves_annotations_that_the_readmes_command_removes(
    operator: Operator, shop: Shop
) -> None:
    shop.report(redis=490)
    eventually(lambda: bool(shop.annotations()), "annotations")
    operator.terminate()
    left = set(shop.annotations())
    readme = (CHART / "README.md").read_text()
    (command,) = re.findall(r"^kubectl (annotate (?:.+\\\n)*.+)$", readme, re.MULTILINE)
    shop.server.kubectl(*command.replace("\\\n", "").split())
    after = shop.annotations()
    operator.lead()

    assert left == set(Annotation)
    assert after == {}


def test_a_forecast_has_its_owner_though_the_first_report_was_of_no_use(shop: Shop) -> None:
    shop.report(schemaVersion=2)
    eventually(lambda: shop.condition("Ready")[0] == "False", "Ready turns False")
    shop.report(redis=200)
    eventually(lambda: shop.condition("Ready")[0] == "True", "Ready turns True")
    (owner,) = shop.forecast()["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Node", shop.node_uid)


def test_a_risk_ends_where_pods_may_not_be_changed(installed: Installation, shop: Shop) -> None:
    rights = installed.operator()
    pod = f"/api/v1/namespaces/default/pods/{shop.pod}"
    body = {"metadata": {"annotations": {"oomsayer.dev/oom-risk": "x"}}}
    shop.server.apply(*NO_POD_CHANGES)
    try:
        eventually(lambda: "must have limits" in rights.patch_refused(pod, body), "pods cannot be changed")
        shop.report(redis=490)
        eventually(lambda: any(risk["announced"] for risk in shop.risks()), "the risk is announced")
        shop.report(redis=100)
        eventually(lambda: not shop.risks(), "the risk ends")
        assert len(shop.events("OOMRiskEnded")) == 1
    finally:
        for part in NO_POD_CHANGES:
            shop.server.kubectl("delete", part["kind"], part["metadata"]["name"])


def test_a_hostile_report_is_refused_at_little_cost(
    installed: Installation, operator: Operator, shop: Shop
) -> None:
    name = f"hostile-{shop.node}"
    deep: list[Json] = [{"name": "", "inode": 1}]
    deep += [
        {"name": f"{level:x}", "parent": level, "inode": level + 2, "maxBytes": MI} for level in range(4000)
    ]
    status = node_status(shop.uid, (), 6000) | {"memcgs": deep, "tasks": []}
    report = {
        "apiVersion": "oomsayer.dev/v1alpha1",
        "kind": "NodeMemoryReport",
        "metadata": {"name": name},
        "status": status,
    }
    installed.agent(name).kubectl("create", "-f", "-", stdin=json.dumps(report))

    eventually(lambda: ready_of(shop.server, name) == "ReportInvalid", "the report is refused", seconds=60)
    assert operator.get("/healthz") == "ok\n"
    assert operator.peak_mebibytes() < 256


def test_a_deleted_forecast_is_made_again(shop: Shop) -> None:
    shop.report(redis=200)
    eventually(lambda: bool(shop.next()), "a forecast")
    shop.server.kubectl("delete", "oomforecast", shop.node)
    shop.report(redis=201)
    eventually(lambda: bool(shop.next()), "the forecast is back")


def test_an_api_server_that_is_away_for_a_while_loses_nothing(operator: Operator, shop: Shop) -> None:
    shop.report(redis=490)
    eventually(lambda: any(r["announced"] for r in shop.risks()), "the risk is announced")
    with shop.server.down():
        away_until = time.monotonic() + 8
        eventually(lambda: time.monotonic() > away_until, "the API server is away", seconds=20)
        assert operator.get("/healthz") == "ok\n"
    shop.report(redis=300)
    eventually(lambda: not shop.annotations(), "the risk ends", seconds=90)
    assert operator.running
    assert len(shop.events("OOMRisk")) == 1


def test_an_eviction_that_is_near_is_announced_once_on_the_pod(operator: Operator, shop: Shop) -> None:
    def using(mebibytes: int) -> None:
        memcgs = node_status(shop.uid, (), 6000)["memcgs"]
        memcgs[0]["workingSetBytes"] = mebibytes * MI
        memcgs[3]["workingSetBytes"] = 300 * MI
        shop.report(memcgs=memcgs, tasks=[])

    def eviction() -> Json:
        return shop.status().get("eviction", {})

    using(7000)
    eventually(lambda: eviction().get("availableBytes") == 1192 * MI, "an eviction is foretold")
    assert (eviction()["thresholdBytes"], eviction()["configuration"]) == (100 * MI, "defaults")
    assert [pod["pod"] for pod in eviction()["order"]] == [f"default/{shop.pod}"]
    assert shop.events("EvictionRisk") == []

    using(7900)
    eventually(lambda: eviction().get("announced") == ["EvictionRisk"], "it is announced")
    (event,) = shop.events("EvictionRisk")
    assert (event["type"], event["regarding"]["kind"], event["related"]["kind"]) == ("Warning", "Pod", "Node")
    assert f"The kubelet would evict pod default/{shop.pod}" in event["note"]

    operator.kill()
    operator.lead()
    using(7950)
    eventually(lambda: eviction().get("availableBytes") == 242 * MI, "the operator goes on")
    assert len(shop.events("EvictionRisk")) == 1
    using(5000)
    eventually(lambda: "nearSince" not in eviction(), "it is far again")
    assert eviction()["announced"] == []


def test_of_two_operators_only_the_leader_writes(
    installed: Installation, operator: Operator, shop: Shop, tmp_path: Path
) -> None:
    second = Operator(installed.operator().kubeconfig, tmp_path / "second.log", "operator-1")
    second.start()
    try:
        shop.report(redis=490)
        eventually(lambda: any(r["announced"] for r in shop.risks()), "the risk is announced")
        eventually(lambda: healthy(second), "the second is up", seconds=60)
        assert shop.events()[0]["reportingInstance"] == "operator-0"
        assert second.metric("oomsayer_operator_leader") == 0

        assert operator.terminate() == 0
        eventually(second.leads, "the second takes over at once", seconds=30)
        shop.report(redis=300)
        eventually(lambda: not shop.annotations(), "the second goes on")
        assert len(shop.events("OOMRisk")) == 1
    finally:
        second.terminate()


def test_a_token_that_is_refused_is_read_again(
    installed: Installation, shared: Operator, shop: Shop, tmp_path: Path
) -> None:
    if shared.running:
        shared.terminate()
    server = installed.api_server
    account = "oomsayer-operator"
    server.node("operators-node")
    server.pod("short-lived", "operators-node", NAMESPACE, account)
    bound = ("--bound-object-kind=Pod", "--bound-object-name=short-lived")
    token = server.kubectl("create", "token", account, "-n", NAMESPACE, *bound).strip()
    kubeconfig = tmp_path / "operator.kubeconfig"
    kubeconfig.write_bytes(server.with_token(token, "short-lived").kubeconfig.read_bytes())
    operator = Operator(kubeconfig, tmp_path / "operator.log", "operator-2")
    operator.lead()
    try:
        server.kubectl("delete", "pod", "short-lived", "-n", NAMESPACE, "--force", "--grace-period=0")
        refused = 'oomsayer_operator_api_failures_total{code="401",method="GET"}'
        eventually(lambda: operator.metric(refused) >= 1, "the token is refused", seconds=60)
        kubeconfig.write_bytes(installed.operator().kubeconfig.read_bytes())
        shop.report(redis=200)
        eventually(lambda: bool(shop.next()), "a forecast", seconds=60)
    finally:
        operator.terminate()


def healthy(operator: Operator) -> bool:
    try:
        return operator.get("/healthz") == "ok\n"
    except OSError:
        return False


def test_a_kill_is_scored_once_and_told_once_though_the_operator_is_killed_in_between(
    operator: Operator, shop: Shop
) -> None:
    shop.report(redis=490)
    eventually(lambda: any(r["announced"] for r in shop.risks()), "the risk is announced")
    (warning,) = shop.events("OOMRisk")
    kill = killed(shop, 1)
    shop.report(redis=490, kills=[kill])
    eventually(lambda: bool(shop.status()["scorecard"].get("last")), "the kill is scored")
    assert not shop.status()["scorecard"]["last"][0]["announced"]
    operator.kill()

    operator.lead()
    eventually(lambda: bool(shop.events("OOMKillObserved")), "the Event about the kill")
    shop.report(redis=300, kills=[kill, killed(shop, 2, outcome="Miss", reason="Unexplained", pid=999)])
    eventually(lambda: len(shop.events("OOMKillObserved")) == 2, "the second kill's Event")
    eventually(lambda: all(k["announced"] for k in shop.status()["scorecard"]["last"]), "both are told")

    card = shop.status()["scorecard"]
    assert {name: card[name] for name in ("kills", "hits", "misses", "warned", "right")} == {
        "kills": 2, "hits": 1, "misses": 1, "warned": 2, "right": "1/2"
    }  # fmt: skip
    assert card["missReasons"]["unexplained"] == 1
    first = card["last"][0]
    assert (first["pod"], first["container"]) == (f"default/{shop.pod}", "redis")
    assert first["warning"] == f"default/{warning['metadata']['name']}"
    told = {e["note"].partition(" (pid ")[2].partition(",")[0]: e for e in shop.events("OOMKillObserved")}
    assert told["101"]["related"]["name"] == warning["metadata"]["name"]
    assert told["101"]["regarding"]["uid"] == shop.uid
    assert told["101"]["note"] == (
        f"The OOM killer took redis (pid 101, container redis of pod default/{shop.pod}) when container "
        f"default/{shop.pod}/redis ran out of memory: it held 480Mi at oom_score_adj 900. This was foretold. "
        f"A warning stood since {first['warnedSince'][11:19]} UTC (Event {first['warning']}). "
        "The container goes on: its status does not show this."
    )
    assert "Missed: redis (pid 101) was foretold" in told["999"]["note"]
    printed = subprocess.run(
        [sys.executable, "-m", "oomsayer", "scorecard", shop.node, "--kubeconfig", shop.server.kubeconfig],
        env=os.environ | {"PYTHONPATH": str(ROOT / "operator")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert re.search(rf"{shop.node} +1/2 +2 +1 +0 +1 +0 +0 +2 ", printed)
    assert re.search(r"redis \(101\) +default/\S+/redis +container +480Mi +hit +redis \(101\)", printed)
    series = f'oomsayer_forecast_kills_total{{node="{shop.node}",outcome="Hit"}}'
    assert operator.metric(series) == 1
