"""The oom_score_adj that the kubelet gives a container, and where a process has another one.

A process gets it when its container is created. No runtime writes it again when a container is resized in
place, and a process may raise its own: so what /proc says counts, and this says what was meant.

Source: pkg/kubelet/qos/policy.go and helpers.go of Kubernetes 1.36.
"""

from oomsayer.kubelet.cgroups import Qos
from oomsayer.kubelet.podspec import Container, ContainerKind, PodSpec, aggregate_request

GUARANTEED_OOM_SCORE_ADJ = -997
BEST_EFFORT_OOM_SCORE_ADJ = 1000
SANDBOX_OOM_SCORE_ADJ = -998
"""Of the pause process, set by the runtime."""

_BURSTABLE_LEAST = 1000 + GUARANTEED_OOM_SCORE_ADJ
_BURSTABLE_MOST = BEST_EFFORT_OOM_SCORE_ADJ - 1


def oom_score_adj(pod: PodSpec, container: Container, capacity_bytes: int) -> int:
    """What the kubelet asks the runtime for, -997 to 1000.

    Args:
        pod: with its QoS class and all its containers.
        container: one of them.
        capacity_bytes: the machine's MemTotal.
    """
    if pod.node_critical or pod.qos is Qos.GUARANTEED:
        return GUARANTEED_OOM_SCORE_ADJ
    if pod.qos is Qos.BEST_EFFORT:
        return BEST_EFFORT_OOM_SCORE_ADJ
    share = _pod_level_share(pod)
    adj = _by_request(container.request_bytes + share, capacity_bytes)
    if container.kind is ContainerKind.SIDECAR:
        # A sidecar is not to go before the containers that it serves.
        least = min((c.request_bytes for c in pod.regular()), default=0)
        adj = min(adj, _by_request(least + share, capacity_bytes))
    return min(max(adj, _BURSTABLE_LEAST), _BURSTABLE_MOST)


def _by_request(request_bytes: int, capacity_bytes: int) -> int:
    return 1000 - 1000 * request_bytes // capacity_bytes


def _pod_level_share(pod: PodSpec) -> int:
    """What a pod-level request leaves for each container beyond its own; Go's division drops the fraction."""
    members = [c for c in pod.containers if c.kind is not ContainerKind.EPHEMERAL]
    if not pod.request_bytes or not members:
        return 0
    rest = pod.request_bytes - aggregate_request(pod)
    return rest // len(members) if rest >= 0 else -(-rest // len(members))
