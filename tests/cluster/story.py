"""What a story needs: pods of known memory, what was foretold, and what the kernel then did."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from lab.provider import Provider
from lab.workloads import TOOLS, program

from oomsayer.agent.pace import LONGEST_CALM_SECONDS, UNEVENNESS
from oomsayer.kernel.oomlog import OomKill, oom_kills

T = TypeVar("T")
Json = dict[str, Any]
Kubectl = Callable[..., str]

SETTLED_SECONDS = LONGEST_CALM_SECONDS * (1 + UNEVENNESS) + 5
"""A forecast that did not change for so long describes what is: the agent has looked again meanwhile."""

PATIENCE_SECONDS = 240.0
"""Emulated nodes are slow: a pod takes up to a minute."""

_THRASHING = "/sys/kernel/mm/lru_gen/min_ttl_ms"

FILL = "/fill"
"""Where each story pod has a tmpfs: unmapped pages there fill a domain and leave every badness alone."""


def container(name: str, steps: str, limit: str | None = None, request: str | None = None) -> Json:
    resources: Json = {}
    if limit:
        resources["limits"] = {"memory": limit}
    if request:
        resources["requests"] = {"memory": request}
    return {
        "name": name,
        "image": TOOLS,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/memtool", *steps.split()],
        "resources": resources,
        "volumeMounts": [{"name": "fill", "mountPath": FILL}],
    }


def pod(name: str, node: str, *containers: Json, **spec: Any) -> Json:  # noqa: ANN401 - any part of a PodSpec
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"story": name}},
        "spec": {
            "nodeName": node,
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "tolerations": [{"operator": "Exists"}],
            "containers": list(containers),
            "volumes": [{"name": "fill", "emptyDir": {"medium": "Memory"}}],
            **spec,
        },
    }


def eventually(what: str, look: Callable[[], T | None], seconds: float = PATIENCE_SECONDS) -> T:
    """The first answer that is not None or empty.

    Raises:
        AssertionError: there was none in time; names `what`.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(1)


@dataclass(frozen=True)
class Stage:
    """The cluster that stories are played on."""

    cluster: Provider
    kubectl: Kubectl

    def get(self, *what: str) -> Json:
        answer: Json = json.loads(self.kubectl("get", *what, "-o", "json"))
        return answer

    def run(self, *pods: Json) -> list[str]:
        """Start pods, wait until every container says that it holds its memory; their UIDs."""
        self.kubectl(
            "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})
        )
        return [self._holding(p) for p in pods]

    def _holds(self, pod: str, container: str, times: int) -> bool:
        """Whether a container has said so often that it holds its memory."""
        return self.kubectl("logs", pod, "-c", container).count("holding") >= times

    def _holding(self, manifest: Mapping[str, Any]) -> str:
        name = manifest["metadata"]["name"]

        def ready() -> Json | None:
            seen = self.get("pod", name)
            running = [s for s in seen["status"].get("containerStatuses", ()) if "running" in s["state"]]
            return seen if len(running) == len(manifest["spec"]["containers"]) else None

        seen = eventually(f"pod {name} to run", ready)
        for part in manifest["spec"]["containers"]:
            expected = part["command"].count("say")
            eventually(
                f"container {name}/{part['name']} to hold its memory",
                partial(self._holds, name, part["name"], expected),
            )
        uid: str = seen["metadata"]["uid"]
        return uid

    def foretold(self, node: str, wanted: Callable[[Json], bool]) -> Json:
        """The verdict for a domain as `kubectl get oomforecast NODE` shows it, once it has settled."""
        last: tuple[object, float] | None = None

        def settled() -> Json | None:
            nonlocal last
            forecasts = self.get("oomforecasts")["items"]
            domains = [d for f in forecasts if f["metadata"]["name"] == node for d in _domains(f)]
            domain = next(filter(wanted, domains), None)
            if domain is None or "victim" not in domain:
                return None
            essence = (domain["victim"]["pid"], domain["killSet"], [v["pid"] for v in domain["order"]])
            now = time.monotonic()
            if last is None or last[0] != essence:
                last = (essence, now)
            return domain if now - last[1] >= SETTLED_SECONDS else None

        domain = eventually(f"a settled forecast of {node}", settled)
        print(self.kubectl("get", "oomforecasts"))
        return domain

    def in_the_kernels_terms(self, node: str, domain: Json) -> Json:
        """A verdict with the pids and the path that the kernel's log has for them, as long as they live.

        On a node that is a container of its machine the log's are others than the node's own.
        """

        def outer(pid: int) -> int | None:
            return self.cluster.kernel_pid(node, pid)

        return domain | {
            "path": self.cluster.kernel_path(node, domain["path"]),
            "victim": domain["victim"] | {"pid": outer(domain["victim"]["pid"])},
            "killSet": domain["killSet"] | {"pids": [outer(pid) for pid in domain["killSet"]["pids"]]},
        }

    def kills(self, node: str) -> list[OomKill]:
        return oom_kills(self.cluster.kernel_log(node).splitlines())

    def next_kill(self, node: str, before: int) -> OomKill:
        """The first kill after the first `before`, with all lines that belong to it."""
        eventually(f"the kernel of {node} to kill", lambda: len(self.kills(node)) > before or None)
        seen = self.kills(node)[before]
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < 3:
            time.sleep(0.5)
            now = self.kills(node)[before]
            if now != seen:
                seen, quiet_since = now, time.monotonic()
        return seen

    def touch(self, pod_name: str, container_name: str, path: str) -> None:
        self.kubectl("exec", pod_name, "-c", container_name, "--", "/bin/busybox", "touch", path)

    def memtool_on(self, node: str) -> str:
        """Put the memory tool on a node's own file system; its path there."""
        path = "/run/memtool"
        binary = program("memtool").read_bytes()
        self.cluster.node_shell(node, ["sh", "-c", f"cat > {path} && chmod 755 {path}"], stdin=binary)
        return path

    def flood_node(self, node: str) -> None:
        """Fill the node with unmapped pages, from a process never chosen, until somebody dies.

        An emulated node may otherwise read the same few pages of its programs again and again for minutes:
        each is progress to reclaim. So the kernel is told to give up once it cannot keep what was used
        within the last second (Documentation/admin-guide/mm/multigen_lru.rst); it then chooses as ever.
        """
        tool = self.memtool_on(node)
        script = (
            f"echo 1000 > {_THRASHING} && "
            "mkdir -p /run/flood && mount -t tmpfs -o size=100% tmpfs /run/flood && "
            "systemd-run --quiet --collect --unit=story-flood --property=OOMScoreAdjust=-1000 "
            f"{tool} flood /run/flood/zeros say emptied"
        )
        done = self.cluster.node_shell(node, ["sh", "-c", script])
        assert done.returncode == 0, done.stderr

    def leak_on(self, node: str) -> None:
        """Let a process outside all pods, never chosen, grow by some 20 MiB a second; see flood_node()."""
        tool = self.memtool_on(node)
        script = (
            f"echo 1000 > {_THRASHING} && "
            "systemd-run --quiet --collect --unit=story-host --property=OOMScoreAdjust=-1000 "
            f"{tool} name host-leak grow 4000 50"
        )
        done = self.cluster.node_shell(node, ["sh", "-c", script])
        assert done.returncode == 0, done.stderr

    def dry_node(self, node: str) -> None:
        stop = "systemctl stop story-flood story-host 2>/dev/null; umount /run/flood 2>/dev/null; "
        stop += f"echo 0 > {_THRASHING}"
        self.cluster.node_shell(node, ["sh", "-c", stop])

    def oom_score(self, node: str, pid: int) -> int:
        return int(self.cluster.node_shell(node, ["cat", f"/proc/{pid}/oom_score"]).stdout)

    def events(self, name: str, reason: str) -> list[Json]:
        """The Events about a pod; not those about an earlier one of its name."""
        uid = self.get("pod", name)["metadata"]["uid"]
        selector = f"involvedObject.uid={uid},reason={reason}"
        found: list[Json] = self.get("events", "-A", f"--field-selector={selector}")["items"]
        return found

    def clear(self, names: Sequence[str]) -> None:
        self.kubectl("delete", "pod", *names, "--ignore-not-found", "--force", "--grace-period=0")


class Wanted:
    """Picks the verdict for a pod's own cgroup, or for that of its one container with a limit."""

    def __init__(self, uid: str, *, container: bool) -> None:
        self.place = uid.replace("-", "_")
        self.container = container

    def __call__(self, domain: Json) -> bool:
        return self.place in domain["path"] and domain["path"].endswith(".scope") is self.container


def of_container(uid: str) -> Wanted:
    return Wanted(uid, container=True)


def of_pod(uid: str) -> Wanted:
    return Wanted(uid, container=False)


def the_node(domain: Json) -> bool:
    return bool(domain["kind"] == "node")


def _domains(forecast: Json) -> list[Json]:
    found: list[Json] = forecast.get("status", {}).get("domains", [])
    return found


def side_by_side(domain: Json, kill: OomKill) -> None:
    """Print what was said and what happened; pytest shows it with -s, and when a story fails."""
    victim = domain["victim"]
    count = domain["killSet"]["count"]
    print(f"foretold: {victim['comm']} (pid {victim['pid']}) in {domain['name']}, {count} die")
    print(f"kernel:   {kill.comm} (pid {kill.pid}) in {kill.domain}, {len(kill.killed)} died")


def came_true(domain: Json, kill: OomKill) -> None:
    """Hold the kernel's kill against what was foretold: domain, victim, and everybody who dies with it.

    A forecast counts those who die with the victim, and names those of them who could decide anything.
    """
    side_by_side(domain, kill)
    assert kill.domain == domain["path"]
    assert (kill.pid, kill.comm) == (domain["victim"]["pid"], domain["victim"]["comm"])
    assert len(kill.killed) == domain["killSet"]["count"]
    assert set(domain["killSet"]["pids"]) <= set(kill.killed)
