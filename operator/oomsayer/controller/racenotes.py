"""Who acts first, kubelet or kernel, said in a sentence. Pure."""

from oomsayer.api.duration import span
from oomsayer.api.eviction import Eviction, EvictionCandidate
from oomsayer.api.quantity import binary
from oomsayer.controller.forecast import Outlook, room_bytes
from oomsayer.controller.names import Names
from oomsayer.kubelet.eviction import MONITORING_SECONDS, First, Race

_DAY_SECONDS = 24 * 3600


def summary(said: Eviction, outcome: Race, outlook: Outlook, names: Names) -> str:
    """All that was worked out, in a sentence without its full stop.

    Args:
        said: the eviction.
        outcome: who is faster, and when.
        outlook: the node's verdict.
        names: the node's pods.
    """
    sentence = _who_first(said, outcome, outlook, names)
    if not said.userspace_killers:
        return sentence
    return (
        f"{' and '.join(said.userspace_killers)} may kill before both, by rules of their own; else {sentence}"
    )


def why_evicted(pod: EvictionCandidate) -> str:
    """Why the kubelet takes this pod before all others."""
    used, asked = binary(pod.working_set_bytes), binary(pod.request_bytes)
    if pod.working_set_bytes > pod.request_bytes:
        return f"it uses {used}, more than the {asked} that it requests, at priority {pod.priority}"
    return f"no pod uses more than it requests, and it has the lowest priority, {pod.priority}"


def _who_first(said: Eviction, outcome: Race, outlook: Outlook, names: Names) -> str:
    kernel = f"the kernel would kill {_victim(outlook, names)}"
    if not said.order:
        return f"the kubelet has no pod to evict, and {kernel}"
    kubelet = f"the kubelet would evict pod {said.order[0].pod}"
    if outcome.first is First.KUBELET:
        return f"{kubelet}{_when(outcome)}, before {kernel}"
    if outcome.first is First.EITHER:
        return f"{kubelet}{_when(outcome)} or {kernel}: which comes first is too close to tell"
    if outcome.outrun_bytes_per_second is None:
        return f"{kubelet} or {kernel}: which comes first is not known"
    if not outcome.outrun_bytes_per_second:
        room = room_bytes(outlook.room)
        left = "" if room is None else f" once the {binary(room)} left are used"
        threshold = binary(said.threshold_bytes)
        return f"{kernel}{left}, before {kubelet}: the OOM comes before its threshold of {threshold} is met"
    return _by_growth(
        outcome.first, kubelet, kernel, f"{binary(int(outcome.outrun_bytes_per_second))} a second"
    )


def _by_growth(first: First, kubelet: str, kernel: str, rate: str) -> str:
    """Where growth decides: above `rate` the kernel is faster."""
    if first is First.KERNEL:
        why = f"memory grows faster than {rate}, and the kubelet looks every {MONITORING_SECONDS:.0f} s"
        return f"{kernel} before {kubelet}: {why}"
    if first is First.NEITHER:
        return f"memory is not growing; if it were, {kubelet} first, or, from {rate} on, {kernel} first"
    return f"{kubelet}; if memory grows faster than {rate}, {kernel} first"


def _victim(outlook: Outlook, names: Names) -> str:
    victim = outlook.verdict.victim
    if victim is None:
        return "nobody"
    where = names.place(victim.task.memcg).whose
    return f"{victim.task.comm} (pid {victim.task.pid}, {where})"


def _when(outcome: Race) -> str:
    """In what time, for people."""
    if outcome.seconds is None:
        return ""
    low, high = outcome.seconds
    return f" ({span(low, None if high > _DAY_SECONDS else high)})"
