"""Whom the kubelet would evict for want of memory, and whether it would act before the kernel.

The kubelet looks every 10 seconds at how much memory is available, by a measure of its own: MemTotal less
the working set, in which active page cache counts as used and the kernel's own memory does not count at all.
Under its threshold it evicts one pod: first those that use more than they request, then those of low
priority, then by how much they use beyond their request. oom_score_adj has no part in it.

Source: pkg/kubelet/eviction/eviction_manager.go and helpers.go of Kubernetes 1.36; the root cgroup's usage,
github.com/opencontainers/cgroups/fs2/memory.go.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from oomsayer.kubelet.config import KubeletConfig, threshold_bytes
from oomsayer.kubelet.podspec import PodSpec, pod_request

MONITORING_SECONDS = 10.0
"""How often the kubelet looks (evictionMonitoringPeriod)."""
KILL_SECONDS = 3.0
"""What a pod needs to be gone once it is evicted: a second of grace, and the kernel's work after SIGKILL."""


class Signal(StrEnum):
    """What the kubelet measures."""

    NODE = "memory.available"
    """The machine's memory less its working set."""
    PODS = "allocatableMemory.available"
    """The limit of kubepods less its working set."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """One signal, and where it makes the kubelet act.

    Attributes:
        signal: what is measured.
        available_bytes: what it is now; below zero for a moment.
        threshold_bytes: the kubelet acts when it is less than this.
        grace_seconds: and has been so for this long: 0 for a hard threshold.
    """

    signal: Signal
    available_bytes: int
    threshold_bytes: int
    grace_seconds: float = 0.0

    @property
    def room_bytes(self) -> int:
        """How much can still be used before the kubelet acts; below zero when it is due to act."""
        return self.available_bytes - self.threshold_bytes


@dataclass(frozen=True, slots=True)
class PodUsage:
    """A pod as eviction sees it.

    Attributes:
        uid: tells it from others.
        spec: its requests and priority.
        working_set_bytes: what its cgroup uses, less inactive page cache.
    """

    uid: str
    spec: PodSpec
    working_set_bytes: int

    @property
    def request_bytes(self) -> int:
        """Its memory request as a whole."""
        return pod_request(self.spec)

    @property
    def over_request_bytes(self) -> int:
        """What it uses beyond its request, below zero where that is less."""
        return self.working_set_bytes - self.request_bytes


def thresholds(
    config: KubeletConfig, capacity_bytes: int, working_set_bytes: int | None, pods: tuple[int, int] | None
) -> list[Threshold]:
    """All thresholds that are about memory, the one that is met first in front.

    Args:
        config: the kubelet's configuration.
        capacity_bytes: the machine's MemTotal.
        working_set_bytes: of the machine, None where not known.
        pods: limit and working set of kubepods in bytes, None where not known.
    """
    measures: list[tuple[Signal, int, int]] = []
    if working_set_bytes is not None:
        measures.append((Signal.NODE, capacity_bytes, working_set_bytes))
    if pods is not None and config.enforce_pods:
        measures.append((Signal.PODS, *pods))
    found = []
    for signal, capacity, used in measures:
        settings = [(config.eviction_hard, 0.0)]
        if signal is Signal.NODE:  # the kubelet derives kubepods' threshold from the hard one alone
            settings.append((config.eviction_soft, config.eviction_soft_grace_seconds))
        for setting, grace in settings:
            threshold = threshold_bytes(setting, capacity)
            if threshold is not None:
                found.append(Threshold(signal, capacity - used, threshold, grace))
    return sorted(found, key=lambda t: (t.room_bytes, t.grace_seconds))


def binding(thresholds: Sequence[Threshold], growth: tuple[float, float] | None) -> Threshold | None:
    """The threshold that makes the kubelet act first, None of none.

    How soon a soft one acts depends on how fast memory grows. Without growth it does where it is met, once
    its grace period is over (thresholdsMetGracePeriod() in helpers.go), and never where it is not.
    """
    most = growth[1] if growth else 0.0
    if most > 0:
        return min(thresholds, key=lambda t: max(t.room_bytes, 0) / most + t.grace_seconds, default=None)
    return min(thresholds, key=lambda t: (t.room_bytes >= 0, t.grace_seconds, t.room_bytes), default=None)


def ranked(pods: Iterable[PodUsage]) -> list[PodUsage]:
    """The pods that the kubelet may evict, the first to go in front."""
    return sorted(
        (pod for pod in pods if not pod.spec.critical),
        key=lambda pod: (pod.over_request_bytes <= 0, pod.spec.priority, -pod.over_request_bytes, pod.uid),
    )


class First(StrEnum):
    """Who acts first when the node's memory goes on shrinking."""

    KUBELET = "kubelet"
    KERNEL = "kernel"
    EITHER = "either"
    """Too close to tell."""
    NEITHER = "neither"
    """Nobody: memory is not shrinking."""
    UNKNOWN = "unknown"
    """Not known: how fast memory shrinks, or how much there is, is not known."""


@dataclass(frozen=True, slots=True)
class Race:
    """Kubelet against kernel.

    Attributes:
        first: who acts first.
        seconds: from when to when the kubelet would act, None where that is not known or never.
        outrun_bytes_per_second: growth from which on the kernel may be faster: 0 where it always is, None
            where its room is not known.
    """

    first: First
    seconds: tuple[float, float] | None
    outrun_bytes_per_second: float | None

    def after(self, seconds: float) -> "Race":
        """The same as it is so many seconds later."""
        if self.seconds is None:
            return self
        low, high = self.seconds
        return replace(self, seconds=(max(low - seconds, 0.0), max(high - seconds, 0.0)))


Lead = tuple[int, int]
"""The least and the most that memory can still grow between the kubelet's threshold and the kernel's OOM, in
bytes; below zero the OOM comes first."""


def lead(threshold: Threshold, headroom_bytes: int | None, active_file_bytes: int | None) -> Lead | None:
    """What lies between the threshold and the OOM, None where that is not known.

    Active page cache is used to the kubelet and free to the kernel, which does not wait for the OOM to take
    it back: on the way it keeps the active list no longer than the inactive one.

    Args:
        threshold: the kubelet's.
        headroom_bytes: what can still be charged before the OOM of what the signal measures.
        active_file_bytes: active page cache of the machine.
    """
    if headroom_bytes is None:
        return None
    if threshold.room_bytes < 0:
        return headroom_bytes, headroom_bytes
    if threshold.signal is Signal.PODS:  # its limit counts the kernel's memory too: nothing else is between
        return threshold.threshold_bytes, 2 * threshold.threshold_bytes
    if active_file_bytes is None:
        return None
    least = headroom_bytes - threshold.room_bytes - active_file_bytes
    return least, least + min(active_file_bytes, max(least, 0))


def race(threshold: Threshold, between: Lead | None, growth: tuple[float, float] | None) -> Race:
    """Who is faster, from now to the kubelet's threshold and on to the kernel's OOM.

    Args:
        threshold: the kubelet's.
        between: what lies between the two.
        growth: the least and the most that memory grows, in bytes a second; None where not known.
    """
    reaction = MONITORING_SECONDS + threshold.grace_seconds + KILL_SECONDS
    due = threshold.room_bytes < 0
    # In a grace period much may grow: where nobody knows whether it does, the kernel may be faster.
    surely = due and (growth is not None or not threshold.grace_seconds)
    return Race(
        first=_calm(between, due=surely, known=growth is not None)
        if growth is None or growth[1] <= 0
        else _growing(threshold, between, growth, reaction),
        seconds=(0.0, reaction) if due else _seconds(max(threshold.room_bytes, 0), growth, reaction),
        outrun_bytes_per_second=None if between is None else max(between[0], 0) / reaction,
    )


def _calm(between: Lead | None, *, due: bool, known: bool) -> First:
    """Where memory does not grow, or nobody knows."""
    if due:
        return First.KUBELET
    if known:
        return First.NEITHER
    return First.KERNEL if between is not None and between[1] <= 0 else First.UNKNOWN


def _growing(
    threshold: Threshold, between: Lead | None, growth: tuple[float, float], reaction: float
) -> First:
    if between is None:
        return First.UNKNOWN
    if between[0] > growth[1] * reaction:
        return First.KUBELET
    if between[1] <= 0 or between[1] < growth[0] * (threshold.grace_seconds + KILL_SECONDS):
        return First.KERNEL
    return First.EITHER


def _seconds(room: int, growth: tuple[float, float] | None, reaction: float) -> tuple[float, float] | None:
    """When the kubelet would act; the later end is without bound where memory may not grow at all."""
    if growth is None or growth[1] <= 0:
        return None
    least, most = growth
    return room / most, (room / least + reaction if least > 0 else float("inf"))
