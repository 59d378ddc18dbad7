"""The operator as a process of its own, with the rights that the chart gives it, on a real API server."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.api.server import NAMESPACE, ROOT, ApiServer, Installation, Json, eventually

MI = 1 << 20
_NUMBERS = count(1)


@dataclass(frozen=True)
class Process:
    """One process of a report. Memory in MiB."""

    pid: int
    comm: str
    mebibytes: int
    adj: int = 900


@dataclass(frozen=True)
class Container:
    """One container: its limit, and how much of it is used, in MiB."""

    name: str
    limit: int
    used: int
    processes: tuple[Process, ...]

    @property
    def id(self) -> str:
        return (self.name.encode().hex() * 64)[:64]


@dataclass
class Shop:
    """A node of the test's own with one pod on it, as the API server knows them."""

    server: ApiServer
    node: str = field(default_factory=lambda: f"node-{next(_NUMBERS)}")
    namespace: str = "default"

    def __post_init__(self) -> None:
        self.node_uid = self.server.node(self.node)["metadata"]["uid"]
        self.pod = f"cart-{self.node}"
        self.make_pod("redis", "web")

    def make_pod(self, *containers: str) -> None:
        """The pod, running: kubelets are not here to say so."""
        self.uid = self.server.pod(self.pod, self.node, self.namespace)["metadata"]["uid"]
        statuses = [
            {
                "name": name,
                "containerID": f"containerd://{Container(name, 0, 0, ()).id}",
                "image": "none",
                "imageID": "none",
                "ready": True,
                "restartCount": 0,
            }
            for name in containers
        ]
        status = json.dumps({"status": {"containerStatuses": statuses}})
        self.server.kubectl(
            "patch",
            "pod",
            self.pod,
            "-n",
            self.namespace,
            "--subresource=status",
            "--type=merge",
            "-p",
            status,
        )

    def report(self, redis: int = 100, web: int = 100, free: int = 6000, **status: Json) -> None:
        """Write the node's report: two containers of 512 and 1024 MiB, this much of them used, in MiB."""
        containers = (
            Container("redis", 512, redis, (Process(101, "redis", redis - 10),)),
            Container(
                "web", 1024, web, (Process(102, "nginx", web // 2), Process(103, "worker", web // 3, adj=950))
            ),
        )
        body = {
            "apiVersion": "oomsayer.dev/v1alpha1",
            "kind": "NodeMemoryReport",
            "metadata": {
                "name": self.node,
                "ownerReferences": [
                    {"apiVersion": "v1", "kind": "Node", "name": self.node, "uid": self.node_uid}
                ],
            },
            "status": node_status(self.uid, containers, free) | status,
        }
        self.server.apply(body)

    def forecast(self) -> Json:
        """Its OOMForecast, an empty one while there is none."""
        found = self.server.get("oomforecasts")["items"]
        return next((f for f in found if f["metadata"]["name"] == self.node), {})

    def status(self) -> Json:
        return self.forecast().get("status", {})

    def next(self) -> Json:
        return self.status().get("next", {})

    def risks(self) -> list[Json]:
        return self.status().get("risks", [])

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        for condition in self.status().get("conditions", []):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    def events(self, reason: str | None = None) -> list[Json]:
        """The Events about its node and pod, those of one reason only if one is given."""
        found = self.server.get("events.events.k8s.io", "-A")["items"]
        return [
            e
            for e in found
            if e["regarding"]["name"] in (self.pod, self.node) and reason in (None, e["reason"])
        ]

    def annotations(self) -> dict[str, str]:
        """What oomsayer has annotated the pod with."""
        pod = self.server.get("pod", self.pod, "-n", self.namespace)
        return {
            k: v for k, v in pod["metadata"].get("annotations", {}).items() if k.startswith("oomsayer.dev/")
        }


def node_status(uid: str, containers: tuple[Container, ...], free: int) -> Json:
    """What an agent would say of a node of 8 GiB with one burstable pod on it and a kubelet beside."""
    burstable = "kubepods-burstable"
    memcgs: list[Json] = [
        {"name": "", "inode": 1},
        {"name": "kubepods.slice", "parent": 0, "inode": 2, "maxBytes": 8192 * MI, "usageBytes": 1000 * MI},
        {"name": f"{burstable}.slice", "parent": 1, "inode": 3, "usageBytes": 1000 * MI},
        {
            "name": f"{burstable}-pod{uid.replace('-', '_')}.slice",
            "parent": 2,
            "inode": 4,
            "maxBytes": 2048 * MI,
            "usageBytes": sum(c.used for c in containers) * MI,
        },
        {"name": "kubelet.service", "parent": 0, "inode": 5, "usageBytes": 80 * MI},
    ]
    tasks: list[Json] = [
        {"pid": 50, "start": 10, "comm": "kubelet", "memcg": 4, "adj": -999, "rss": 80 * 256}
    ]
    for container in containers:
        memcgs.append(
            {
                "name": f"cri-containerd-{container.id}.scope",
                "parent": 3,
                "inode": len(memcgs) + 1,
                "maxBytes": container.limit * MI,
                "usageBytes": container.used * MI,
                "oomGroup": True,
            }
        )
        tasks += [
            {
                "pid": p.pid,
                "start": p.pid,
                "comm": p.comm,
                "memcg": len(memcgs) - 1,
                "adj": p.adj,
                "rss": p.mebibytes * 256,
                "order": n,
            }
            for n, p in enumerate(container.processes)
        ]
    return {
        "schemaVersion": 1,
        "agentVersion": "0.1.0",
        "sampledAt": datetime.now(UTC).isoformat(),
        "kernel": "6.12.117",
        "era": "E6",
        "cgroupVersion": 2,
        "cpus": 2,
        "memory": {
            "totalBytes": 8192 * MI,
            "freeBytes": free * MI,
            "availableBytes": free * MI,
            "fileBytes": 0,
            "anonBytes": (8192 - free) * MI,
        },
        "memcgs": memcgs,
        "tasks": tasks,
    }


class OperatorProcess:
    """`oomsayer operator`, started and ended as a kubelet would."""

    def __init__(self, kubeconfig: Path, log: Path, identity: str) -> None:
        self.port = free_port()
        self.log = log
        self._file = log.open("ab")
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "oomsayer", "operator"),
                *(
                    "--metrics-address",
                    f"127.0.0.1:{self.port}",
                    "--namespace",
                    NAMESPACE,
                    "--identity",
                    identity,
                ),
            ],
            env=os.environ | {"KUBECONFIG": str(kubeconfig), "PYTHONPATH": str(ROOT / "operator")},
            stdout=self._file,
            stderr=self._file,
        )

    def kill(self) -> None:
        """As the OOM killer would."""
        self.process.kill()
        self._ended()

    def terminate(self) -> int:
        """As the kubelet does; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def metric(self, series: str) -> float | None:
        """The value of one series."""
        match = re.search(rf"^{re.escape(series)} (\S+)$", self.get("/metrics"), re.MULTILINE)
        return float(match[1]) if match else None

    def leads(self) -> bool:
        try:
            return self.metric("oomsayer_operator_leader") == 1
        except OSError:
            return False

    def _ended(self) -> int:
        status = self.process.wait(timeout=30)
        self._file.close()
        return status


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


Start = Callable[..., OperatorProcess]


@pytest.fixture
def start(installed: Installation, tmp_path: Path) -> Iterator[Start]:
    """Starts operators, waits until they lead, and ends them with the test."""
    kubeconfig = installed.operator().kubeconfig
    started: list[OperatorProcess] = []

    def start_one(identity: str = "operator-0", *, leads: bool = True) -> OperatorProcess:
        operator = OperatorProcess(kubeconfig, tmp_path / f"{identity}.log", identity)
        started.append(operator)
        if leads:
            eventually(operator.leads, f"{identity} leads", seconds=60)
        return operator

    yield start_one
    for operator in started:
        if operator.process.poll() is None:
            operator.terminate()


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


def test_a_report_becomes_a_forecast(start: Start, shop: Shop) -> None:
    operator = start()
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
    assert operator.terminate() == 0
