"""Which pod and container a cgroup is called by people: UIDs and container ids to names."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from oomsayer.kernel.domain import Domain, DomainKind
from oomsayer.kubelet.cgroups import Owner, owner
from oomsayer.kubelet.podspec import MIRROR, PodSpec, read_pod_spec

CONFIG_HASH = "kubernetes.io/config.hash"
"""What a static pod's cgroup carries in place of the API object's UID."""

_STATUSES = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a container ended, as the kubelet says.

    Attributes:
        exit_code: 137 for one whose first process was killed.
        reason: "OOMKilled", "Error", "Completed", ...
        at: when.
    """

    exit_code: int
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Pod:
    """What of a Pod object the operator keeps.

    Attributes:
        namespace: its namespace.
        name: its name.
        uid: metadata.uid, which for a static pod is not the UID in the cgroup path.
        containers: name by container id, init and ephemeral containers and the one before each included.
        spec: what decides about its memory.
        endings: of those that have ended, by container id.
    """

    namespace: str
    name: str
    uid: str
    containers: Mapping[str, str] = field(default_factory=dict)
    spec: PodSpec = field(default_factory=PodSpec)
    endings: Mapping[str, Ending] = field(default_factory=dict)

    @property
    def full_name(self) -> str:
        """NAMESPACE/NAME."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process or a domain is, in Kubernetes' words; empty strings for what has no name.

    Attributes:
        pod: the Pod, None outside pods and for one that the API does not know.
        pod_uid: UID of the Pod object, or the one in the cgroup path where that is all there is.
        container: the container's name.
        container_id: the runtime's id.
    """

    pod: Pod | None = None
    pod_uid: str = ""
    container: str = ""
    container_id: str = ""

    @property
    def pod_name(self) -> str:
        """NAMESPACE/NAME, or empty."""
        return self.pod.full_name if self.pod else ""

    @property
    def whose(self) -> str:
        """For a sentence: whose process is there."""
        return f"pod {self.pod_name or self.pod_uid}" if self.pod_uid else "a host process"


@dataclass(frozen=True, slots=True)
class Names:
    """The pods of one node.

    Attributes:
        pods: by the UID that their cgroups carry.
        nameless: whose names were looked for more than once in vain: a sandbox, a pod that is gone.
    """

    pods: Mapping[str, Pod] = field(default_factory=dict)
    nameless: frozenset[Owner] = frozenset()

    def place(self, path: str) -> Place:
        """Where the cgroup at `path` belongs."""
        whose = owner(path)
        if whose.pod_uid is None:
            return Place()
        container_id = whose.container_id or ""
        pod = self.pods.get(whose.pod_uid)
        if pod is None:
            return Place(None, whose.pod_uid, "", container_id)
        return Place(pod, pod.uid, pod.containers.get(container_id, ""), container_id)

    def of_uid(self, uid: str) -> str:
        """NAMESPACE/NAME of the pod with this metadata.uid, the UID itself where it is not known."""
        return next((pod.full_name for pod in self.pods.values() if pod.uid == uid), uid)

    def knows(self, whose: Owner) -> bool:
        """Whether all that has a name there is known by it."""
        if whose.pod_uid is None:
            return True
        pod = self.pods.get(whose.pod_uid)
        return pod is not None and (whose.container_id is None or whose.container_id in pod.containers)

    def settled(self, whose: Owner) -> bool:
        """Whether its names are known, or known not to be had: a name to come would change a risk's key."""
        return self.knows(whose) or whose in self.nameless

    def domain(self, domain: Domain) -> tuple[str, str]:
        """Kind ("node", "cpuset", "pod", "container", "cgroup") and name of a domain, as people read them."""
        if domain.kind is not DomainKind.MEMCG:
            return domain.kind.value, "node" if domain.kind is DomainKind.NODE else domain.path
        place = self.place(domain.path)
        if place.pod is None:
            return "cgroup", domain.path
        if not place.container_id:
            return "pod", f"pod {place.pod_name}"
        name = place.container or place.container_id[:12]
        return "container", f"container {place.pod_name}/{name}{_below(domain.path, place.container_id)}"


def cgroup_uid(pod: Mapping[str, Any]) -> str:
    """The UID in a pod's cgroup path: its own, or a static pod's hash."""
    metadata = pod["metadata"]
    annotations = metadata.get("annotations") or {}
    if MIRROR in annotations and CONFIG_HASH in annotations:
        return str(annotations[CONFIG_HASH])
    return str(metadata["uid"])


def read_pods(items: Iterable[Mapping[str, Any]]) -> dict[str, Pod]:
    """The pods of a PodList's items, by the UID that their cgroups carry."""
    return {cgroup_uid(item): _pod(item) for item in items}


def _pod(item: Mapping[str, Any]) -> Pod:
    metadata = item["metadata"]
    status = item.get("status") or {}
    entries = [entry for key in _STATUSES for entry in status.get(key) or ()]
    ended = {
        _bare_id(end["containerID"]): (str(entry["name"]), _ending(end))
        for entry in entries
        for end in _terminations(entry)
        if end.get("containerID")
    }
    now = {
        _bare_id(entry["containerID"]): str(entry["name"]) for entry in entries if entry.get("containerID")
    }
    return Pod(
        metadata["namespace"],
        metadata["name"],
        metadata["uid"],
        {container_id: name for container_id, (name, _) in ended.items()} | now,
        read_pod_spec(item),
        {container_id: ending for container_id, (_, ending) in ended.items()},
    )


def _terminations(entry: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """How a container's last run ended, and its present one, as far as they have."""
    for key in ("lastState", "state"):
        end = (entry.get(key) or {}).get("terminated")
        if end:
            yield end


def _ending(end: Mapping[str, Any]) -> Ending:
    finished = end.get("finishedAt") or "1970-01-01T00:00:00Z"
    return Ending(int(end["exitCode"]), str(end.get("reason", "")), datetime.fromisoformat(finished))


def _bare_id(container_id: str) -> str:
    """containerd://0123... without its scheme."""
    return container_id.rpartition("://")[2]


def _below(path: str, container_id: str) -> str:
    """What follows the container's own component, for cgroups that a container made within itself."""
    _, _, rest = path.partition(container_id)
    _, slash, inner = rest.partition("/")
    return slash + inner
