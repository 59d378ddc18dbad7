"""The agent as the kubelet runs it, with this machine as its node and a real API server."""

import os
import signal
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

import pytest
from tests.api.running_agent import HEARTBEAT, Node, RunningAgent
from tests.api.server import NAMESPACE, ApiServer, Installation, eventually, report

from oomsayer.api.report import NodeMemoryReport

RESIDENT_LIMIT = 28 << 20
"""Bytes that the agent may keep resident with a TLS connection open, nearly half of it shared libraries."""


@pytest.fixture
def node(installed: Installation, tmp_path: Path, request: pytest.FixtureRequest) -> Node:
    name = request.node.name.removeprefix("test_").replace("_", "-")[:40].strip("-")
    return Node(name, installed, tmp_path)


def has_written_again(agent: RunningAgent) -> bool:
    return agent.metric("oomsayer_agent_reports_total", result="written") > 1


def sampled_at(found: dict[str, Any]) -> float:
    return datetime.fromisoformat(found["status"]["sampledAt"]).timestamp()


def newer_than(moment: float) -> Callable[[dict[str, Any]], bool]:
    return lambda found: sampled_at(found) > moment


def test_the_agent_reports_this_machine(node: Node) -> None:
    with node.agent() as agent:
        found = node.wait_for_report()
        understood = NodeMemoryReport.model_validate(found)
        eventually(lambda: agent.metric("oomsayer_agent_report_size_bytes") > 0, "the report's size")

        assert agent.metric("oomsayer_agent_report_size_bytes") <= 16 * 1024
        assert agent.metric("oomsayer_agent_processes") > 1
        assert agent.metric("process_resident_memory_bytes") < RESIDENT_LIMIT

    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert understood.status.memory.total_bytes == total
    assert understood.status.tasks
    assert understood.metadata.owner_references[0].uid == node.api.node(node.name)["metadata"]["uid"]


def test_what_is_no_longer_said_vanishes(node: Node) -> None:
    old = {"pid": 4_000_000, "start": 1, "comm": "old", "memcg": 0}
    node.api.apply(report(node.name, omittedDomains=77, memcgs=[{"name": ""}], tasks=[old]))
    with node.agent():
        found = node.wait_for_report(lambda found: found["status"]["kernel"] == os.uname().release)

    assert found["status"].get("omittedDomains") != 77
    assert 4_000_000 not in [task["pid"] for task in found["status"]["tasks"]]
    assert found["metadata"]["ownerReferences"][0]["name"] == node.name


def test_an_agent_that_was_killed_goes_on_with_the_same_report(node: Node) -> None:
    with node.agent() as agent:
        before = node.wait_for_report()
        agent.end(signal.SIGKILL)
    moment = time.time()
    with node.agent():
        after = node.wait_for_report(newer_than(moment))

    assert after["metadata"]["uid"] == before["metadata"]["uid"]


def test_a_deleted_report_comes_back(node: Node) -> None:
    with node.agent():
        before = node.wait_for_report()
        node.api.kubectl("delete", "nmr", node.name)
        after = node.wait_for_report()

    assert after["metadata"]["uid"] != before["metadata"]["uid"]


def test_an_api_server_that_was_away_has_the_newest_report_soon(node: Node) -> None:
    with node.agent() as agent:
        node.wait_for_report()
        with node.api.down():
            agent.says("WARNING report not written, next attempt in .* no answer from the API server")
            taken = agent.metric("oomsayer_agent_samples_total", result="taken")
            eventually(
                lambda: agent.metric("oomsayer_agent_samples_total", result="taken") > taken + 1,
                "samples go on",
            )
            assert agent.get("/healthz") == "ok\n"
            moment = time.time()
        node.wait_for_report(newer_than(moment))
        agent.says("INFO reports are written again")


def test_a_stop_does_not_wait_for_the_api_server(node: Node) -> None:
    with node.agent() as agent:
        node.wait_for_report()
        with node.api.down():
            agent.says("report not written")
            began = time.monotonic()
            assert agent.end() == 0
            assert time.monotonic() - began < 3
    assert "stopping on SIGTERM" in agent.log
    assert "Traceback" not in agent.log


def test_a_rotated_token_is_taken_up(node: Node) -> None:
    node.put_token("expired")
    with node.agent() as agent:
        agent.says("answered 401: Unauthorized.*token is expired")
        node.new_token()
        node.wait_for_report()
        agent.says("reports are written again")


def test_a_token_of_a_pod_that_is_gone_is_refused_and_said(node: Node) -> None:
    node.api.kubectl("delete", "pod", f"agent-{node.name}", "-n", NAMESPACE, "--force", "--grace-period=0")
    with node.agent() as agent:
        agent.says("answered 401")
        node.new_token()
        node.wait_for_report()


def test_the_report_of_another_node_is_refused_and_the_remedy_named(node: Node) -> None:
    with node.agent(name="another-node") as agent:
        line = agent.says("WARNING .*answered 403.*")[0]

    assert "may not write the NodeMemoryReport of another-node" in line
    assert "NODE_NAME=another-node" in line


def no_seats_for_agents(api: ApiServer) -> str:
    """Have priority and fairness serve agents one request at a time and queue none; the flow schema's uid."""
    version = "flowcontrol.apiserver.k8s.io/v1"
    limited = {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0}
    level = {
        "apiVersion": version,
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": "no-seats"},
        "spec": {"type": "Limited", "limited": limited | {"limitResponse": {"type": "Reject"}}},
    }
    account = {"name": "oomsayer-agent", "namespace": NAMESPACE}
    rule = {
        "subjects": [{"kind": "ServiceAccount", "serviceAccount": account}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True}],
    }
    schema = {
        "apiVersion": version,
        "kind": "FlowSchema",
        "metadata": {"name": "agents"},
        "spec": {
            "priorityLevelConfiguration": {"name": "no-seats"},
            "matchingPrecedence": 2,
            "rules": [rule],
        },
    }
    api.apply(level, schema)
    return str(api.get("flowschema", "agents")["metadata"]["uid"])


def begin_request(node: Node, method: str, length: int) -> HTTPSConnection:
    """Send the head of a request as the agent, and leave its body of so many bytes out."""
    context = ssl.create_default_context(cafile=str(node.account / "ca.crt"))
    connection = HTTPSConnection("127.0.0.1", node.api.port, timeout=30, context=context)
    connection.putrequest(method, "/apis/oomsayer.dev/v1alpha1/nodememoryreports")
    connection.putheader("Authorization", f"Bearer {(node.account / 'token').read_text()}")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(length))
    connection.endheaders()
    return connection


def test_too_many_requests_are_waited_out(node: Node) -> None:
    """While one request of an agent takes its time, others are answered 429."""
    schema = no_seats_for_agents(node.api)

    def in_force() -> bool:
        with closing(begin_request(node, "GET", 0)) as asked:
            return asked.getresponse().headers["X-Kubernetes-PF-FlowSchema-UID"] == schema

    try:
        eventually(in_force, "the flow schema in force")
        with closing(begin_request(node, "POST", 1000)), node.agent() as agent:
            agent.says("report not written.*answered 429: Too many requests")
    finally:
        node.api.kubectl("delete", "flowschema", "agents")
        node.api.kubectl("delete", "prioritylevelconfiguration", "no-seats")
    with node.agent():
        node.wait_for_report()


def test_two_agents_of_one_node_do_not_fail_each_other(node: Node) -> None:
    """As while a DaemonSet rolls over: whoever comes second finds the report made, and patches it."""
    with node.agent() as one, node.agent() as other:
        node.wait_for_report()
        for agent in (one, other):
            eventually(partial(has_written_again, agent), "more writes")
            assert agent.metric("oomsayer_agent_reports_total", result="failed") == 0


def test_a_cluster_without_the_crd_is_told_apart(tmp_path: Path) -> None:
    server = ApiServer.start(tmp_path / "bare")
    try:
        server.kubectl(
            "create",
            "clusterrolebinding",
            "all",
            "--clusterrole=cluster-admin",
            "--user=system:serviceaccount:default:agent",
        )
        server.kubectl("create", "serviceaccount", "agent")
        account = tmp_path / "account"
        account.mkdir()
        (account / "token").write_text(server.kubectl("create", "token", "agent").strip())
        (account / "ca.crt").write_bytes(server.ca.read_bytes())
        agent = RunningAgent(server, account, "node", HEARTBEAT)
        try:
            agent.says("answered 404.*nodememoryreports.oomsayer.dev is not installed.*crds.enabled")
        finally:
            agent.end()
    finally:
        server.stop()


def test_a_calm_agent_says_nothing_but_that_it_is_there(node: Node) -> None:
    with node.agent(heartbeat=300) as agent:
        node.wait_for_report()
        eventually(lambda: agent.metric("oomsayer_agent_samples_total", result="taken") >= 3, "samples")
        agent.end()

    assert [line.split()[1] for line in agent.log.splitlines() if " DEBUG " not in line] == ["INFO", "INFO"]
