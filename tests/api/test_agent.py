"""The agent as the kubelet runs it, with this machine as its node and a real API server."""

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.api.server import NAMESPACE, ROOT, ApiServer, Installation, eventually, report

from oomsayer.api.report import NodeMemoryReport

HEARTBEAT = 0.5
"""Seconds; so that a test need not wait for this machine to change."""

RESIDENT_LIMIT = 28 << 20
"""Bytes that the agent may keep resident with a TLS connection open, nearly half of it shared libraries."""


class RunningAgent:
    """One `oomsayer agent` process and what it writes to standard error."""

    def __init__(self, api_server: ApiServer, account: Path, node: str, heartbeat: float) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "operator"),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(api_server.port),
            "NODE_NAME": node,
            "OOMSAYER_SERVICE_ACCOUNT": str(account),
            "OOMSAYER_HEARTBEAT": str(heartbeat),
        }
        flags = ["--root=/", "--metrics-address=127.0.0.1:0", "--interval=0.2", "--log-level=debug"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "oomsayer", "agent", *flags],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def says(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Wait for a log line."""
        deadline = time.monotonic() + seconds
        while (match := re.search(pattern, self.log)) is None:
            assert time.monotonic() < deadline, f"{pattern!r} is not in:\n{self.log}"
            time.sleep(0.05)
        return match

    def get(self, path: str) -> str:
        port = self.says(r"metrics on port (\d+)")[1]
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def metric(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(self.get("/metrics"))
        samples = [s for f in families for s in f.samples if s.name == name and s.labels == labels]
        assert len(samples) == 1, name
        return samples[0].value

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop it; its exit status."""
        self.process.send_signal(how)
        status = self.process.wait(timeout=10)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line


class Node:
    """A node's name, and its agent's service account directory."""

    def __init__(self, name: str, installed: Installation, directory: Path) -> None:
        self.name = name
        self.installed = installed
        self.api = installed.api_server
        self.account = directory
        (directory / "ca.crt").write_bytes(self.api.ca.read_bytes())
        self.new_token()

    def new_token(self) -> None:
        self.put_token(self.installed.agent_token(self.name))

    def put_token(self, token: str) -> None:
        """As the kubelet does it: the new file takes the old one's place at once."""
        new = self.account / "token.new"
        new.write_text(token)
        new.rename(self.account / "token")

    @contextmanager
    def agent(self, name: str | None = None, heartbeat: float = HEARTBEAT) -> Iterator[RunningAgent]:
        running = RunningAgent(self.api, self.account, name or self.name, heartbeat)
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.end()

    def report(self) -> dict[str, Any] | None:
        found = self.api.kubectl("get", "nmr", self.name, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found else None

    def wait_for_report(self, holds: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
        """The node's report once it is there and `holds`."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            now = self.report()
            if now is not None and holds(now):
                found.append(now)
            return bool(found)

        eventually(look, f"the report of {self.name}", seconds=60)
        return found[0]


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
