"""Which pod and container a cgroup belongs to, by its path alone.

The kubelet names pod cgroups by UID and QoS class, the runtime names container cgroups by container id.
Both drivers (cgroupfs, systemd), any --cgroup-root in front (kind: /kubelet), any depth below.

Source: pkg/kubelet/cm/cgroup_manager_linux.go and pod_container_manager_linux.go; containerd, CRI-O and
cri-dockerd for the container's part.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

_UID = r"[0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32}"
_POD = re.compile(
    rf"(?:(?:[^-]+-)*kubepods(?:-(?P<qos>burstable|besteffort))?-)?pod(?P<uid>{_UID})(?:\.slice)?"
    r"(?::cri-containerd:(?P<id>[0-9a-f]{64}))?"
)
_CONTAINER = re.compile(r"(?:(?:cri-containerd|crio|docker|libpod)-)?(?P<id>[0-9a-f]{64})(?:\.scope)?")
_KUBEPODS = re.compile(r"(?:[^-]+-)*kubepods(?:\.slice)?")
_QOS_COMPONENT = re.compile(r"(?:(?:[^-]+-)*kubepods-)?(?P<qos>burstable|besteffort)(?:\.slice)?")


class Qos(StrEnum):
    """A pod's quality of service class."""

    GUARANTEED = "Guaranteed"
    BURSTABLE = "Burstable"
    BEST_EFFORT = "BestEffort"


_QOS = {None: Qos.GUARANTEED, "burstable": Qos.BURSTABLE, "besteffort": Qos.BEST_EFFORT}


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose cgroup it is; all None for one outside pods.

    Attributes:
        pod_uid: with dashes; for a static pod the 32 hex digits that its mirror pod carries in the
            annotation kubernetes.io/config.hash.
        qos: from the path.
        container_id: 64 hex digits; None at the pod's own level, and for the runtime's conmon.
    """

    pod_uid: str | None = None
    qos: Qos | None = None
    container_id: str | None = None


_NOBODY = Owner()


@lru_cache(maxsize=4096)
def owner(path: str) -> Owner:
    """The pod and container of the cgroup at `path`; whatever lies below the container is the container's."""
    components = path.split("/")
    for index, component in enumerate(components):
        pod = _POD.fullmatch(component)
        if pod is None:
            continue
        uid = pod["uid"].replace("_", "-")
        qos = _QOS[pod["qos"] or _qos_above(components[:index])]
        if pod["id"]:
            return Owner(uid, qos, pod["id"])
        below = components[index + 1] if index + 1 < len(components) else ""
        container = _CONTAINER.fullmatch(below)
        if container is None:
            return Owner(uid, qos)
        return Owner(uid, qos, container["id"])
    return _NOBODY


def is_kubepods(path: str) -> bool:
    """Whether the cgroup at `path` is the one that holds all pods."""
    return _KUBEPODS.fullmatch(path.rpartition("/")[2]) is not None


def is_pod(path: str) -> bool:
    """Whether the cgroup at `path` is a pod's own: not a container's, nor what lies below."""
    match = _POD.fullmatch(path.rpartition("/")[2])
    return match is not None and match["id"] is None


def is_container(path: str) -> bool:
    """Whether the cgroup at `path` is a container's own: the one right below its pod's."""
    above, _, name = path.rpartition("/")
    return is_pod(above) and _CONTAINER.fullmatch(name) is not None


@lru_cache(maxsize=4096)
def measured(path: str) -> bool:
    """Whether the kubelet looks at this cgroup's working set for eviction."""
    return is_pod(path) or is_kubepods(path)


def _qos_above(components: list[str]) -> str | None:
    """The QoS class that a parent names: cgroupfs puts it there alone."""
    match = _QOS_COMPONENT.fullmatch(components[-1]) if components else None
    return match["qos"] if match else None
