"""A node with one pod on it, as a test reports it and the operator answers."""

import json
import ssl
import urllib.request
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

from tests.api.server import ApiServer, Json

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
        self._tls = ssl.create_default_context(cafile=self.server.ca)
        self._tls.load_cert_chain(self.server.certificate, self.server.key)
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

    def _get(self, path: str) -> Json:
        """Ask without a process of its own for each look: these tests look often."""
        with urllib.request.urlopen(self.server.url + path, context=self._tls, timeout=10) as answer:  # noqa: S310 - an https address of our own
            return json.load(answer)

    def forecast(self) -> Json:
        """Its OOMForecast, an empty one while there is none."""
        found = self._get("/apis/oomsayer.dev/v1alpha1/oomforecasts")["items"]
        return next((f for f in found if f["metadata"]["name"] == self.node), {})

    def status(self) -> Json:
        return self.forecast().get("status", {})

    def next(self) -> Json:
        return self.status().get("next", {})

    def risks(self) -> list[Json]:
        risks: list[Json] = self.status().get("risks", [])
        return risks

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        for condition in self.status().get("conditions", []):
            if condition["type"] == kind:
                return condition["status"], condition["reason"]
        return "", ""

    def events(self, reason: str | None = None) -> list[Json]:
        """The Events about its node and pod, those of one reason only if one is given."""
        found = self._get("/apis/events.k8s.io/v1/events")["items"]
        return [
            e
            for e in found
            if e["regarding"]["name"] in (self.pod, self.node) and reason in (None, e["reason"])
        ]

    def annotations(self) -> dict[str, str]:
        """What oomsayer has annotated the pod with."""
        pod = self._get(f"/api/v1/namespaces/{self.namespace}/pods/{self.pod}")
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


def killed(shop: Shop, number: int, **more: Json) -> Json:
    """What an agent says of redis after the kernel has taken it."""
    burstable = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable"
    pod = f"{burstable}-pod{shop.uid.replace('-', '_')}.slice"
    container = f"{pod}/cri-containerd-{Container('redis', 0, 0, ()).id}.scope"
    return {
        "id": f"19a-{number}",
        "at": datetime.now(UTC).isoformat(),
        "source": "Counters",
        "memcg": container,
        "domain": container,
        "pid": 101,
        "comm": "redis",
        "adj": 900,
        "rssBytes": 480 * MI,
        "outcome": "Hit",
        "foretoldPid": 101,
        "foretoldComm": "redis",
        "foretoldMemcg": container,
        "sampledAt": datetime.now(UTC).isoformat(),
        **more,
    }
