"""What of a Pod decides about its memory: requests, limits, QoS class and priority.

Source: pkg/kubelet/types/pod_update.go, pkg/apis/core/v1/helper/qos/qos.go and
k8s.io/component-helpers/resource/helpers.go of Kubernetes 1.36.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from oomsayer.kubelet.cgroups import Qos
from oomsayer.kubelet.quantity import parse_quantity

SYSTEM_CRITICAL_PRIORITY = 2_000_000_000
"""From here on a pod is critical: the kubelet never evicts it."""
SYSTEM_NODE_CRITICAL = "system-node-critical"
"""The priority class whose pods get the oom_score_adj of Guaranteed ones."""

MIRROR = "kubernetes.io/config.mirror"
"""An annotation that only a kubelet may set: this pod stands for a static pod of its node."""
_SOURCE = "kubernetes.io/config.source"


class ContainerKind(StrEnum):
    """When a container runs."""

    REGULAR = "regular"
    INIT = "init"
    SIDECAR = "sidecar"
    """An init container with restartPolicy Always."""
    EPHEMERAL = "ephemeral"


@dataclass(frozen=True, slots=True)
class Container:
    """One container's memory.

    Attributes:
        name: its name.
        request_bytes: the memory request that the kubelet goes by; 0 without one.
        limit_bytes: the memory limit, None without one.
        kind: when it runs.
    """

    name: str
    request_bytes: int = 0
    limit_bytes: int | None = None
    kind: ContainerKind = ContainerKind.REGULAR


@dataclass(frozen=True, slots=True)
class PodSpec:
    """One pod's memory.

    Attributes:
        qos: its QoS class.
        containers: all of them, in the order of the spec, init containers first.
        priority: spec.priority, 0 without one.
        priority_class: spec.priorityClassName.
        static: whether the kubelet got it from a file rather than from the API.
        request_bytes: the pod-level memory request, None without one.
        limit_bytes: the pod-level memory limit, None without one.
        overhead_bytes: spec.overhead of memory.
        cpu_guaranteed: whether each container's processor limit is what it requests. With memory likewise the
            pod is Guaranteed.
    """

    qos: Qos = Qos.BEST_EFFORT
    containers: tuple[Container, ...] = ()
    priority: int = 0
    priority_class: str = ""
    static: bool = False
    request_bytes: int | None = None
    limit_bytes: int | None = None
    overhead_bytes: int = 0
    cpu_guaranteed: bool = False

    @property
    def critical(self) -> bool:
        """Whether the kubelet never evicts it."""
        return self.static or self.priority >= SYSTEM_CRITICAL_PRIORITY

    @property
    def pod_level(self) -> bool:
        """Whether memory is set for the pod as a whole: its class follows from that alone."""
        return (self.request_bytes, self.limit_bytes) != (None, None)

    @property
    def node_critical(self) -> bool:
        """Whether its processes get the oom_score_adj of a Guaranteed pod's whatever its class."""
        return self.critical and self.priority_class == SYSTEM_NODE_CRITICAL

    def container(self, name: str) -> Container | None:
        """The container of that name."""
        return next((c for c in self.containers if c.name == name), None)

    def regular(self) -> list[Container]:
        """The containers of spec.containers."""
        return [c for c in self.containers if c.kind is ContainerKind.REGULAR]


def aggregate_request(pod: PodSpec) -> int:
    """What the containers request together: all side by side, or more where an init container needs it."""
    return max(_together(pod, lambda container: container.request_bytes))


def pod_request(pod: PodSpec) -> int:
    """The memory request that eviction measures a pod against: pod-level where set, and the overhead."""
    request = aggregate_request(pod) if pod.request_bytes is None else pod.request_bytes
    return request + pod.overhead_bytes if request else 0


def pod_limit(pod: PodSpec) -> int | None:
    """The limit of the pod's cgroup: pod-level, else what the containers' come to; None without.

    One container without a limit leaves the pod without one. A sidecar does where none before it has one,
    since those are summed up as they start (PodLimits() in k8s.io/component-helpers/resource).
    """
    if pod.limit_bytes is not None:
        return pod.limit_bytes + pod.overhead_bytes
    limits = [container.limit_bytes or 0 for container in pod.regular()]
    steps = _together(pod, lambda container: container.limit_bytes or 0)
    if pod.qos is Qos.BEST_EFFORT or not all(limits) or not all(steps):
        return None
    return max(steps) + pod.overhead_bytes


def _together(pod: PodSpec, amount: Callable[[Container], int]) -> list[int]:
    """What is needed at each step of a pod's life: as each init container runs, and then all the others."""
    steps = []
    sidecars = 0
    for container in pod.containers:
        if container.kind is ContainerKind.SIDECAR:
            sidecars += amount(container)
            steps.append(sidecars)
        elif container.kind is ContainerKind.INIT:
            steps.append(sidecars + amount(container))
    return [*steps, sum(map(amount, pod.regular())) + sidecars]


def read_pod_spec(pod: Mapping[str, Any]) -> PodSpec:
    """The memory part of a Pod object as the API gives it; what is not said is taken as absent."""
    spec = pod.get("spec") or {}
    status = pod.get("status") or {}
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    resources = spec.get("resources") or {}
    return PodSpec(
        qos=_qos(status.get("qosClass")),
        containers=tuple(_containers(spec, _allocated(status))),
        priority=int(spec.get("priority") or 0),
        priority_class=str(spec.get("priorityClassName") or ""),
        static=MIRROR in annotations or annotations.get(_SOURCE, "api") != "api",
        request_bytes=_pod_request(resources, status),
        limit_bytes=_memory(resources.get("limits")),
        overhead_bytes=_memory(spec.get("overhead")) or 0,
        cpu_guaranteed=_cpu_guaranteed(spec),
    )


def _cpu_guaranteed(spec: Mapping[str, Any]) -> bool:
    """The API server gives each quantity in one form alone, so that equal ones are equal as text."""
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    asked = [
        [((item.get("resources") or {}).get(kind) or {}).get("cpu") for kind in ("requests", "limits")]
        for item in containers
    ]
    return bool(asked) and all(request is not None and request == limit for request, limit in asked)


def _containers(spec: Mapping[str, Any], allocated: Mapping[str, int]) -> Iterator[Container]:
    for key, kind in (
        ("initContainers", ContainerKind.INIT),
        ("containers", ContainerKind.REGULAR),
        ("ephemeralContainers", ContainerKind.EPHEMERAL),
    ):
        for item in spec.get(key) or ():
            resources = item.get("resources") or {}
            name = str(item["name"])
            always = kind is ContainerKind.INIT and item.get("restartPolicy") == "Always"
            yield Container(
                name,
                allocated.get(name, _memory(resources.get("requests")) or 0),
                _memory(resources.get("limits")),
                ContainerKind.SIDECAR if always else kind,
            )


def _pod_request(resources: Mapping[str, Any], status: Mapping[str, Any]) -> int | None:
    """The pod-level request, as far as the kubelet has accepted it."""
    request = _memory(resources.get("requests"))
    accepted = _memory(status.get("allocatedResources"))
    return request if request is None or accepted is None else accepted


def _allocated(status: Mapping[str, Any]) -> dict[str, int]:
    """By container, the request that the kubelet has accepted: the spec's own may still wait for a resize."""
    found = {}
    for key in ("initContainerStatuses", "containerStatuses"):
        for item in status.get(key) or ():
            request = _memory(item.get("allocatedResources"))
            if request is not None:
                found[str(item["name"])] = request
    return found


def _memory(resources: Mapping[str, Any] | None) -> int | None:
    text = (resources or {}).get("memory")
    return None if text is None else parse_quantity(str(text))


def _qos(name: object) -> Qos:
    try:
        return Qos(str(name))
    except ValueError:
        return Qos.BEST_EFFORT
