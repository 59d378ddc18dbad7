"""The smallest change of a pod that would move a killer's choice away from it: found by trying.

Each proposal is a change with which the same model names another victim, or spares more; none is a rule of
thumb. Amounts are whole mebibytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from oomsayer.forecast.headroom import headroom
from oomsayer.forecast.whatif import Change, ImpossibleChangeError, Subject, changed, changed_spec
from oomsayer.kernel.domain import within
from oomsayer.kernel.snapshot import Snapshot
from oomsayer.kernel.verdict import Candidate, Verdict, verdict_at
from oomsayer.kubelet.cgroups import Qos
from oomsayer.kubelet.eviction import PodUsage, ranked
from oomsayer.kubelet.podspec import (
    SYSTEM_CRITICAL_PRIORITY,
    Container,
    ContainerKind,
    aggregate_request,
)

SAFE_SHARE = 1 / 200
"""Of the domain: by so much the new victim must lead, or what fluctuates would turn it back."""
ROOM_SHARE = 0.15
"""Of a limit: with more room left a risk ends, as policies have it by default."""

_MIB = 1 << 20
_LARGEST_LIMIT = 1 << 40


class Takes(StrEnum):
    """What has to happen before a change counts."""

    RESIZE = "resize"
    RESTART = "restart"
    NEW_POD = "new pod"
    KUBELET = "kubelet restart"


@dataclass(frozen=True, slots=True)
class Proposal:
    """One change and what follows.

    Attributes:
        change: it.
        takes: what has to happen first.
        verdict: of the domain after it, None for one about eviction.
        headroom_bytes: what is left in the domain after it.
        evicted: whom the kubelet would take after it, None for one about the kernel or where it is nobody.
    """

    change: Change
    takes: Takes
    verdict: Verdict | None = None
    headroom_bytes: int | None = None
    evicted: PodUsage | None = None


def against_kernel(snapshot: Snapshot, subject: Subject, domain_path: str) -> list[Proposal]:
    """What would spare a pod in the OOM of a domain whose victim it is, the least disruptive first."""
    verdict = verdict_at(domain_path, snapshot)
    victim = verdict.victim if verdict else None
    if victim is None or not within(victim.task.memcg, subject.path):
        return []
    container = next((n for n, p in subject.containers.items() if within(victim.task.memcg, p)), "")
    trial = _Trial(snapshot, subject, domain_path, container)
    if within(domain_path, subject.path):
        found = [trial.limit(), trial.single_process()]
    else:
        found = [trial.request(), trial.guaranteed()]
    return [proposal for proposal in found if proposal is not None]


def against_kubelet(pods: Sequence[PodUsage], subject: Subject, container: str) -> list[Proposal]:
    """What would make the kubelet evict another pod than this one, which it would evict first."""
    order = ranked(pods)
    if len(order) < 2 or order[0].uid != subject.uid:  # noqa: PLR2004 - it, and one to take its place
        return []

    def first(change: Change) -> PodUsage | None:
        spec = changed_spec(subject.spec, change)
        now = ranked(replace(pod, spec=spec) if pod.uid == subject.uid else pod for pod in pods)
        return now[0] if now and now[0].uid != subject.uid else None

    def request(mebibytes: int) -> Change:
        return Change(container=container, request_bytes=mebibytes * _MIB)

    found: list[Proposal] = []
    own = _changeable(subject, container)
    if own is not None:
        most = (order[0].over_request_bytes + own.request_bytes) // _MIB + 1
        if own.limit_bytes is not None:
            most = min(most, own.limit_bytes // _MIB)
        least = _least(lambda n: _try(first, request(n)) is not None, own.request_bytes // _MIB + 1, most)
        if least is not None:
            takes = _by_resize(subject, request(least), Takes.RESIZE)
            found.append(Proposal(request(least), takes, evicted=first(request(least))))
    for priority in sorted({p for pod in order[1:] for p in (pod.spec.priority, pod.spec.priority + 1)}):
        change = Change(priority=priority)
        if subject.spec.priority < priority < SYSTEM_CRITICAL_PRIORITY and first(change) is not None:
            found.append(Proposal(change, Takes.NEW_POD, evicted=first(change)))
            break
    return found


@dataclass(frozen=True, slots=True)
class _Trial:
    """One pod, and the domain in which it is the victim."""

    snapshot: Snapshot
    subject: Subject
    domain_path: str
    container: str

    def request(self) -> Proposal | None:
        """A greater request lowers oom_score_adj, step by step."""
        spec = self.subject.spec
        own = _changeable(self.subject, self.container)
        if own is None:
            return None
        most = own.limit_bytes or self.snapshot.memory.total_bytes
        if spec.request_bytes is not None:
            most = min(most, own.request_bytes + spec.request_bytes - aggregate_request(spec))

        def change(mebibytes: int) -> Change:
            return Change(container=self.container, request_bytes=mebibytes * _MIB)

        # The request that it has, first: a resize in place left its processes with their old oom_score_adj.
        low = -(-own.request_bytes // _MIB)
        least = _least(lambda n: self._spared(change(n)) is not None, low, most // _MIB)
        if least is None:
            return None
        return self._proposal(change(least), _by_resize(self.subject, change(least), Takes.RESTART))

    def guaranteed(self) -> Proposal | None:
        """The class that the kernel takes last: requests equal to limits, of memory and processor."""
        if self.subject.spec.qos is Qos.GUARANTEED:
            return None
        return self._proposal(Change(qos=Qos.GUARANTEED), Takes.NEW_POD)

    def limit(self) -> Proposal | None:
        """A greater limit of the container, until the domain has room; one that has needs no greater.

        It may be at risk all the same, since it grows: no limit mends a leak.
        """
        own = _changeable(self.subject, self.container)
        if own is None or own.limit_bytes is None:
            return None

        spec = self.subject.spec
        # A resize must leave the class as it is: where it is Guaranteed by what its containers have,
        # request and limit move together.
        both = spec.qos is Qos.GUARANTEED and not spec.pod_level

        def change(mebibytes: int) -> Change:
            amount = mebibytes * _MIB
            return Change(self.container, limit_bytes=amount, request_bytes=amount if both else None)

        def roomy(snapshot: Snapshot) -> bool:
            verdict = verdict_at(self.domain_path, snapshot)
            share = headroom(verdict.domain, snapshot).share if verdict else None
            return share is not None and share > ROOM_SHARE

        def enough(mebibytes: int) -> bool:
            try:
                return roomy(changed(self.snapshot, self.subject, change(mebibytes))[0])
            except ImpossibleChangeError:
                return False

        if roomy(self.snapshot):
            return None
        most = (spec.limit_bytes or _LARGEST_LIMIT) // _MIB
        least = _least(enough, own.limit_bytes // _MIB + 1, most)
        if least is None:
            return None
        return self._told(change(least), _by_resize(self.subject, change(least), Takes.RESIZE))

    def single_process(self) -> Proposal | None:
        """Not the whole container dies, but the one process."""
        before = verdict_at(self.domain_path, self.snapshot)
        change = Change(single_process_oom_kill=True)
        told = self._told(change, Takes.KUBELET)
        if (
            before is None
            or told is None
            or told.verdict is None
            or told.verdict.kill_set.deaths >= before.kill_set.deaths
        ):
            return None
        return told

    def _spared(self, change: Change) -> Verdict | None:
        """The domain's verdict after the change, where it takes another pod, and by a safe lead."""
        try:
            after, _ = changed(self.snapshot, self.subject, change)
        except ImpossibleChangeError:
            return None
        verdict = verdict_at(self.domain_path, after)
        if verdict is None or verdict.victim is None or self._ours(verdict.victim):
            return None
        own = max((k.points for k in verdict.order if self._ours(k.victim)), default=None)
        lead = verdict.domain.totalpages * SAFE_SHARE
        return verdict if own is None or verdict.victim.points - own >= lead else None

    def _ours(self, candidate: Candidate) -> bool:
        return within(candidate.task.memcg, self.subject.path)

    def _proposal(self, change: Change, takes: Takes) -> Proposal | None:
        return None if self._spared(change) is None else self._told(change, takes)

    def _told(self, change: Change, takes: Takes) -> Proposal | None:
        after, _ = changed(self.snapshot, self.subject, change)
        verdict = verdict_at(self.domain_path, after)
        if verdict is None:
            return None
        return Proposal(change, takes, verdict, headroom(verdict.domain, after).headroom_bytes)


def _changeable(subject: Subject, name: str) -> Container | None:
    """The container of that name, None for an ephemeral one: it may have neither request nor limit."""
    container = subject.spec.container(name)
    return None if container is None or container.kind is ContainerKind.EPHEMERAL else container


def _by_resize(subject: Subject, change: Change, takes: Takes) -> Takes:
    """What a change takes if it is one that a resize in place can make: that must leave the class as it is.

    A static pod is never resized: its manifest is changed, and the kubelet makes another of it. Nor is an
    init container that runs to its end, nor the request of one that may swap: its share of swap follows from
    that (disallowResizeForSwappableContainers() in pkg/kubelet/allocation of Kubernetes 1.33 to 1.37).
    """
    spec = subject.spec
    own = spec.container(change.container)
    once = own is not None and own.kind is ContainerKind.INIT
    asks = own is not None and change.request_bytes not in (None, own.request_bytes)
    swaps = asks and change.container in subject.swapping
    fixed = spec.static or once or swaps or changed_spec(spec, change).qos is not spec.qos
    return Takes.NEW_POD if fixed else takes


def _try(ask: Callable[[Change], PodUsage | None], change: Change) -> PodUsage | None:
    try:
        return ask(change)
    except ImpossibleChangeError:
        return None


def _least(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """The least number from low to high for which it holds, as it does for all above; None of none."""
    if low > high or not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
