"""Advice in people's words: what to change of a pod, and whom the killer would take then. Pure."""

from collections.abc import Iterator, Sequence

from oomsayer.api.advice import MAX_ADVICE, Advice
from oomsayer.api.forecast import Risk
from oomsayer.api.quantity import binary
from oomsayer.controller.eviction import usages
from oomsayer.controller.names import Names
from oomsayer.forecast.advice import Proposal, against_kernel, against_kubelet
from oomsayer.forecast.whatif import Subject
from oomsayer.kernel.domain import within
from oomsayer.kernel.snapshot import Snapshot
from oomsayer.kernel.verdict import Verdict
from oomsayer.kubelet.cgroups import is_container, is_pod
from oomsayer.kubelet.podspec import PodSpec

ADVISED_RISKS = 4
"""Of how many risks of one node advice is worked out: each asks the model some dozens of times."""


def subject(snapshot: Snapshot, names: Names, pod_uid: str) -> Subject | None:
    """A pod by its metadata.uid; None where the report or the API does not know it."""
    for path in snapshot.memcgs:
        pod = names.place(path).pod if is_pod(path) else None
        if pod is not None and pod.uid == pod_uid:
            below = [p for p in snapshot.memcgs if is_container(p) and within(p, path)]
            named = {names.place(p).container: p for p in below if names.place(p).container}
            swapping = frozenset(name for name, p in named.items() if snapshot.memcgs[p].swap_max_bytes)
            return Subject(pod_uid, path, pod.spec, named, swapping)
    return None


def for_risks(
    risks: Sequence[Risk], snapshot: Snapshot, names: Names, evicted_first: str = ""
) -> tuple[Advice, ...]:
    """What would spare the pods at risk, and the one that would be evicted first.

    Args:
        risks: those of the node.
        snapshot: the node.
        names: its pods.
        evicted_first: metadata.uid of the pod that the kubelet would evict, "" where that is not near.
    """
    found: list[Advice] = []
    for risk in risks[:ADVISED_RISKS]:
        target = subject(snapshot, names, risk.pod_uid) if risk.pod_uid else None
        if target is not None:
            found += kernel_advice(target, risk.domain, snapshot, names)
    target = subject(snapshot, names, evicted_first) if evicted_first else None
    if target is not None:
        found += kubelet_advice(target, snapshot, names)
    return tuple(found[:MAX_ADVICE])


def kernel_advice(target: Subject, domain_path: str, snapshot: Snapshot, names: Names) -> Iterator[Advice]:
    """What would spare a pod in the OOM of one domain, the least disruptive first."""
    for proposal in against_kernel(snapshot, target, domain_path):
        if proposal.verdict is not None:
            domain = names.domain(proposal.verdict.domain)[1]
            yield _advice(proposal, target, names, domain, _then_kernel(proposal, proposal.verdict, names))


def kubelet_advice(target: Subject, snapshot: Snapshot, names: Names) -> Iterator[Advice]:
    """What would make the kubelet evict another pod than this, which it would evict first."""
    for proposal in against_kubelet(usages(snapshot, names), target, _biggest(target, snapshot)):
        other = names.of_uid(proposal.evicted.uid) if proposal.evicted else ""
        yield _advice(proposal, target, names, "", f"the kubelet would evict pod {other} first")


def described(proposal: Proposal, spec: PodSpec) -> tuple[str, str, str]:
    """Field, value now and value proposed, as a manifest has them."""
    change = proposal.change
    own = spec.container(change.container)
    if change.limit_bytes is not None and change.request_bytes is not None:
        limit = amount(own.limit_bytes if own else None)
        return "limits.memory and requests.memory", limit, amount(change.limit_bytes)
    if change.request_bytes is not None:
        return "requests.memory", amount(own.request_bytes if own else None), amount(change.request_bytes)
    if change.limit_bytes is not None:
        return "limits.memory", amount(own.limit_bytes if own else None), amount(change.limit_bytes)
    if change.qos is not None:
        return "qosClass", spec.qos.value, change.qos.value
    if change.priority is not None:
        return "priority", str(spec.priority), str(change.priority)
    return "singleProcessOOMKill", "false", "true"


def amount(count: int | None) -> str:
    """Bytes as a manifest may have them: exact, in the largest unit that divides them; "" for none."""
    if not count:
        return "" if count is None else "0"
    for power, unit in ((3, "Gi"), (2, "Mi"), (1, "Ki")):
        if count % 1024**power == 0:
            return f"{count // 1024**power}{unit}"
    return str(count)


def _advice(proposal: Proposal, target: Subject, names: Names, domain: str, then: str) -> Advice:
    field, before, value = described(proposal, target.spec)
    return Advice(
        pod=names.of_uid(target.uid),
        pod_uid=target.uid,
        container=proposal.change.container,
        killer="kernel" if domain else "kubelet",
        domain=domain,
        field=field,
        before=before,
        value=value,
        takes_effect=proposal.takes.value,
        then=then,
    )


def _then_kernel(proposal: Proposal, after: Verdict, names: Names) -> str:
    if proposal.change.limit_bytes is not None:
        return f"{binary(max(proposal.headroom_bytes or 0, 0))} would be left there"
    victim = after.victim
    if victim is None:
        return "the kernel would kill nobody"
    where = names.place(victim.task.memcg).whose
    others = after.kill_set.deaths - 1
    alone = f" and {others} more with it" if others else " alone"
    return f"the kernel would kill {victim.task.comm} (pid {victim.task.pid}, {where}){alone}"


def _biggest(target: Subject, snapshot: Snapshot) -> str:
    """The container whose processes hold the most."""
    held = {
        name: sum(task.rss_pages for task in snapshot.tasks if within(task.memcg, path))
        for name, path in target.containers.items()
    }
    return max(held, key=lambda name: held[name], default="")
