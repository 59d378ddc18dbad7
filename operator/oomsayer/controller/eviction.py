"""What a forecast says about the kubelet's eviction, and which Events that calls for. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from oomsayer.api.eviction import (
    MAX_EVICTIONS,
    MAX_KILLERS,
    Eviction,
    EvictionCandidate,
)
from oomsayer.api.forecast import Risk
from oomsayer.api.vocabulary import EventReason
from oomsayer.api.words import capital
from oomsayer.controller.events import Subject, known_to_kubelet, named_pod
from oomsayer.controller.forecast import Outlook
from oomsayer.controller.names import Names
from oomsayer.controller.policy import Rules
from oomsayer.controller.racenotes import summary, why_evicted
from oomsayer.controller.sentences import fit
from oomsayer.forecast.oomtime import Trend
from oomsayer.forecast.prospect import Watched
from oomsayer.kernel.snapshot import ROOT, Snapshot
from oomsayer.kubelet.cgroups import Owner, is_kubepods, is_pod, owner
from oomsayer.kubelet.config import KubeletConfig
from oomsayer.kubelet.eviction import (
    First,
    PodUsage,
    Signal,
    Threshold,
    binding,
    lead,
    race,
    ranked,
    thresholds,
)
from oomsayer.kubelet.qos import SANDBOX_OOM_SCORE_ADJ

Growth = tuple[float, float]
"""The least and the most that a domain's memory grows, in bytes a second."""

_NEVER_SECONDS = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class NodeSide:
    """What eviction is worked out from.

    Attributes:
        snapshot: the node.
        names: its pods.
        config: its kubelet's configuration.
        outlooks: the verdicts of all domains, the node's first.
        watched: what the agent saw over time.
        age_seconds: how long ago the node was sampled.
    """

    snapshot: Snapshot
    names: Names
    config: KubeletConfig
    outlooks: Sequence[Outlook]
    watched: Watched = field(default_factory=Watched)
    age_seconds: float = 0.0


def measured(signal: str, outlooks: Sequence[Outlook]) -> Outlook:
    """The verdict of what a signal measures: the node, or kubepods where that has a limit."""
    pods = (outlook for outlook in outlooks if is_kubepods(outlook.path))
    return next(pods, outlooks[0]) if signal == Signal.PODS.value else outlooks[0]


def growth_of(outlook: Outlook, watched: Watched) -> Growth | None:
    """How fast a domain's memory grows, as far as it was watched; (0, 0) where it does not."""
    growth = watched.growths.get(outlook.path)
    if growth is not None:
        return growth.low, growth.high
    return (0.0, 0.0) if outlook.time.trend is Trend.STEADY else None


def wanted(snapshot: Snapshot) -> set[Owner]:
    """The pods that may be evicted, and the containers whose processes may have drifted."""
    owners = {owner(path) for path, memcg in snapshot.memcgs.items() if _evictable(path, snapshot)}
    owners |= {owner(task.memcg) for task in snapshot.tasks if task.oom_score_adj != SANDBOX_OOM_SCORE_ADJ}
    return {whose for whose in owners if whose.pod_uid is not None}


def usages(snapshot: Snapshot, names: Names) -> list[PodUsage]:
    """The pods that the API knows, with what they use."""
    found = []
    for path, memcg in snapshot.memcgs.items():
        pod = names.place(path).pod
        if pod is not None and memcg.working_set_bytes is not None and is_pod(path):
            found.append(PodUsage(pod.uid, pod.spec, memcg.working_set_bytes))
    return found


def node_threshold(side: NodeSide) -> Threshold | None:
    """The kubelet's threshold that makes it act first, None where nothing is known or none is set."""
    memcgs = side.snapshot.memcgs
    pods = next(
        (
            (m.max_bytes, m.working_set_bytes)
            for path, m in sorted(memcgs.items())
            if is_kubepods(path) and m.max_bytes is not None and m.working_set_bytes is not None
        ),
        None,
    )
    used = memcgs[ROOT].working_set_bytes if ROOT in memcgs else None
    found = thresholds(side.config, side.snapshot.memory.total_bytes, used, pods)
    return binding(found, growth_of(side.outlooks[0], side.watched))


def eviction(
    side: NodeSide, before: Eviction | None, rules: Rules, now: datetime, risks: Sequence[Risk] = ()
) -> Eviction | None:
    """What the kubelet would do; None where the report does not tell enough.

    Args:
        side: the node.
        before: what the last forecast said, for what goes on.
        rules: the node's.
        now: the time.
        risks: those of the node.
    """
    threshold = node_threshold(side)
    if threshold is None:
        return None
    order = ranked(usages(side.snapshot, side.names))
    outlook = measured(threshold.signal, side.outlooks)
    between = lead(threshold, outlook.room.headroom_bytes, side.snapshot.memory.active_file_bytes)
    outcome = race(threshold, between, growth_of(outlook, side.watched)).after(side.age_seconds)
    near = _near_since(threshold, side.snapshot.memory.total_bytes, before, rules, now)
    inversion = _inversion(order, outlook, side.names)
    said = Eviction(
        signal=threshold.signal.value,
        available_bytes=threshold.available_bytes,
        threshold_bytes=threshold.threshold_bytes,
        grace_seconds=int(threshold.grace_seconds),
        configuration="node" if side.config.known else "defaults",
        order=tuple(_candidate(pod, side.names) for pod in order[:MAX_EVICTIONS]),
        first=outcome.first.value,
        earliest=_moment(outcome.seconds[0] if outcome.seconds else None, now),
        latest=_moment(outcome.seconds[1] if outcome.seconds else None, now),
        outrun_bytes_per_second=_whole(outcome.outrun_bytes_per_second),
        userspace_killers=side.snapshot.userspace_killers[:MAX_KILLERS],
        inversion=inversion,
        assumptions=tuple(_assumptions(side)),
        near_since=near,
        announced=_still_announced(before, near, risks),
    )
    return said.model_copy(update={"summary": summary(said, outcome, outlook, side.names)})


@dataclass(frozen=True, slots=True)
class Finding:
    """What an Event about eviction is to say.

    Attributes:
        pod: what it is about.
        why: its reason.
        note: its text.
        since: when it began.
    """

    pod: Subject
    why: EventReason
    note: str
    since: datetime


def findings(eviction: Eviction, risks: Iterable[Risk], outlook: Outlook, names: Names) -> Iterator[Finding]:
    """What is to be announced of a node that is near its eviction, or near its OOM.

    Args:
        eviction: what was worked out.
        risks: those of the node.
        outlook: the node's verdict.
        names: its pods.
    """
    near = _near(eviction.near_since, risks)
    if not near:
        return
    if eviction.near_since and eviction.order and eviction.first != First.KERNEL.value:
        first = eviction.order[0]
        subject = named_pod(first.pod, first.pod_uid)
        if subject is not None:
            note = fit(f"{capital(eviction.summary)}: {why_evicted(first)}.")
            yield Finding(subject, EventReason.EVICTION_RISK, note, eviction.near_since)
    victim = outlook.verdict.victim
    if eviction.inversion and victim is not None:
        place = names.place(victim.task.memcg)
        subject = named_pod(place.pod_name, place.pod_uid)
        if subject is not None:
            note = fit(f"{capital(eviction.inversion)}. {capital(eviction.summary)}.")
            subject = known_to_kubelet(subject, victim.task.memcg)
            yield Finding(subject, EventReason.PRIORITY_INVERSION, note, min(near))


def _evictable(path: str, snapshot: Snapshot) -> bool:
    return is_pod(path) and snapshot.memcgs[path].working_set_bytes is not None


def _candidate(pod: PodUsage, names: Names) -> EvictionCandidate:
    return EvictionCandidate(
        pod=names.of_uid(pod.uid),
        pod_uid=pod.uid,
        priority=pod.spec.priority,
        working_set_bytes=pod.working_set_bytes,
        request_bytes=pod.request_bytes,
    )


def _near_since(
    threshold: Threshold, capacity_bytes: int, before: Eviction | None, rules: Rules, now: datetime
) -> datetime | None:
    """Since when the node is near its eviction: by the rules and hysteresis of a node near its OOM."""
    percent = 100 * threshold.room_bytes / capacity_bytes
    since = before.near_since if before is not None else None
    if not rules.headroom_percent:
        return None
    if since is not None:
        return since if percent <= rules.headroom_percent + rules.clear_percent else None
    return now.replace(microsecond=0) if percent < rules.headroom_percent else None


def _near(eviction_near: datetime | None, risks: Iterable[Risk]) -> list[datetime]:
    """Since when the node is near its eviction and near its OOM, as far as it is either.

    The limit of one of its services is not the node's: what runs out there moves neither killer's choice.
    """
    since = [risk.since for risk in risks if risk.domain == ROOT or is_kubepods(risk.domain)]
    return [eviction_near, *since] if eviction_near else since


def _still_announced(
    before: Eviction | None, near: datetime | None, risks: Iterable[Risk]
) -> tuple[str, ...]:
    """The reasons announced before of what goes on: an inversion does while the node is near its OOM too."""
    going_on: dict[str, bool] = {
        EventReason.EVICTION_RISK: near is not None,
        EventReason.PRIORITY_INVERSION: bool(_near(near, risks)),
    }
    return tuple(why for why in before.announced if going_on.get(why)) if before else ()


def _moment(seconds: float | None, now: datetime) -> datetime | None:
    """So many seconds from now, None for never."""
    if seconds is None or seconds > _NEVER_SECONDS:
        return None
    return (now + timedelta(seconds=seconds)).replace(microsecond=0)


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def _inversion(order: Sequence[PodUsage], outlook: Outlook, names: Names) -> str:
    """The finding that the kernel takes a pod of higher priority than the one the kubelet would evict."""
    victim = outlook.verdict.victim
    if victim is None or not order:
        return ""
    place = names.place(victim.task.memcg)
    evicted = order[0]
    if place.pod is None or place.pod.spec.priority <= evicted.spec.priority or place.pod.uid == evicted.uid:
        return ""
    return (
        f"the kernel would kill {victim.task.comm} of pod {place.pod_name} "
        f"(priority {place.pod.spec.priority}), while the kubelet would evict "
        f"pod {names.of_uid(evicted.uid)} (priority {evicted.spec.priority}): "
        "the OOM killer does not know priorities"
    )


def _assumptions(side: NodeSide) -> Iterable[str]:
    if not side.config.known:
        yield "the kubelet's configuration was not read: its default threshold is assumed"
    unknown = sum(
        _evictable(p, side.snapshot) and side.names.place(p).pod is None for p in side.snapshot.memcgs
    )
    if unknown:
        yield f"{unknown} pod cgroups that the API does not know are left out"
