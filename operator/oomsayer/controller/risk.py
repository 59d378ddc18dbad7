"""Who is at risk: the victim of each domain near its limit, with hysteresis. Pure.

A risk has a key that outlives what fluctuates. Within one pod it is the container whose process dies:
the container's limit and the pod's are near each other and take turns at being nearer. Above pods (the
node, kubepods, a QoS class) it is the pod that dies. Outside pods it is the domain and the process's name.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from math import inf

from oomsayer.api.forecast import Risk, RiskLevel
from oomsayer.controller.forecast import Outlook, closeness
from oomsayer.controller.names import Names, Place
from oomsayer.controller.policy import Policies, Rules
from oomsayer.forecast.oomtime import UNKNOWN, Sureness
from oomsayer.kernel.snapshot import Task
from oomsayer.kernel.verdict import Confidence
from oomsayer.kubelet.cgroups import owner

_CRITICAL_SHARE = 0.25
"""Of the threshold: below it a risk is critical."""
_CALM_SHARE = 0.5
"""Of the threshold: above it a critical risk is a mere warning again."""
_TIME_CLEARS = 2.0
"""Times the threshold of time: so far away its OOM has to be again."""
_SAME_ROOM = 0.02
"""Shares of the limit this close leave a risk with the domain that it had."""


class Scope(StrEnum):
    """Whose limit is near."""

    POD = "pod"
    """The pod's own, or one of its containers'."""
    NODE = "node"
    """The node's, or that of a cgroup that holds more than one pod, or none."""


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two risks the same one at different times."""

    scope: Scope
    pod_uid: str
    container: str
    host: str
    """Domain and process name of a victim outside pods."""


def scope(domain_path: str) -> Scope:
    """Whose limit the one at `domain_path` is."""
    return Scope.NODE if owner(domain_path).pod_uid is None else Scope.POD


def key(risk: Risk) -> Key:
    """The key of a risk."""
    where = scope(risk.domain)
    if not risk.pod_uid:
        return Key(where, "", "", f"{risk.domain} {risk.comm}")
    return Key(where, risk.pod_uid, risk.container if where is Scope.POD else "", "")


def rules_for(risk: Risk, policies: Policies) -> Rules:
    """The rules that a risk is announced by: its pod's namespace's, or the node's."""
    return _rules(scope(risk.domain), risk.pod, policies)


def risks(
    outlooks: Sequence[Outlook],
    before: Sequence[Risk],
    names: Names,
    policies: Policies,
    now: datetime,
) -> tuple[Risk, ...]:
    """The risks of now, those that go on with the time when they began.

    One begins under its threshold of headroom or of time to OOM. It ends above headroom's threshold plus
    clear_percent and twice the threshold of time, or when another process becomes the victim. In a domain
    where a victim is dying already nothing begins and nothing ends: what is true there shows once it is gone.
    """
    known = {key(risk): risk for risk in before}
    blocked = {o.path for o in outlooks if o.verdict.confidence is Confidence.BLOCKED}
    found: dict[Key, list[tuple[Outlook, Risk]]] = {}
    for outlook in outlooks:
        candidate = _candidate(outlook, names, now)
        if candidate is not None and outlook.path not in blocked:
            found.setdefault(key(candidate), []).append((outlook, candidate))
    current = {k: risk for k, risk in known.items() if risk.domain in blocked}
    for k, options in found.items():
        risk = _decide(options, known.get(k), policies)
        if risk is not None and k not in current:
            current[k] = risk
    return tuple(sorted(current.values(), key=lambda r: (r.since, r.domain, r.pod, r.container)))


def ended(before: Iterable[Risk], current: Iterable[Risk]) -> list[Risk]:
    """The risks of before that are none any more."""
    going_on = {key(risk) for risk in current}
    return [risk for risk in before if key(risk) not in going_on]


def _candidate(outlook: Outlook, names: Names, now: datetime) -> Risk | None:
    """What the risk of this domain would be; None where nobody dies, or nobody could be told."""
    victim = outlook.verdict.victim
    if victim is None or outlook.room.share is None:
        return None
    place = names.place(victim.task.memcg)
    if not names.settled(owner(victim.task.memcg)):
        return None
    if place.pod is None and outlook.whose.pod_uid is not None:
        return None
    return _risk(outlook, victim.task, place, now)


def _risk(outlook: Outlook, victim: Task, place: Place, now: datetime) -> Risk:
    return Risk(
        pod=place.pod_name,
        pod_uid=place.pod_uid,
        container=place.container,
        domain=outlook.path,
        domain_name=outlook.name,
        pid=victim.pid,
        comm=victim.comm,
        since=now.replace(microsecond=0),
    )


def _decide(options: Sequence[tuple[Outlook, Risk]], before: Risk | None, policies: Policies) -> Risk | None:
    rules = rules_for(options[0][1], policies)
    # Where time does not count, growth in one domain must not hide that another has hardly any room.
    near = closeness if rules.minutes_to_oom else _by_room
    _, risk = min(options, key=lambda option: near(option[0]))
    share = min(_share(outlook) for outlook, _ in options)
    if not rules.headroom_percent:
        return None
    threshold = rules.headroom_percent / 100
    minutes = inf
    if rules.minutes_to_oom:
        minutes = min(_minutes(outlook, going_on=before is not None) for outlook, _ in options)
    if before is None:
        if share >= threshold and minutes > rules.minutes_to_oom:
            return None
        level = _level(share / threshold, minutes, rules, None)
        return risk.model_copy(update={"level": level})
    if share > threshold + rules.clear_percent / 100 and minutes > rules.minutes_to_oom * _TIME_CLEARS:
        return None
    risk = _stay(before, share, options) or risk
    return risk.model_copy(
        update={
            "level": _level(share / threshold, minutes, rules, before.level),
            "since": before.since,
            "announced": before.announced,
        }
    )


def _stay(before: Risk, share: float, options: Iterable[tuple[Outlook, Risk]]) -> Risk | None:
    """The risk in the domain it had, unless another has become clearly nearer to its OOM."""
    return next((r for o, r in options if o.path == before.domain and _share(o) - share <= _SAME_ROOM), None)


def _level(of_room: float, minutes: float, rules: Rules, before: RiskLevel | None) -> RiskLevel:
    """`of_room` is the room as a share of its threshold."""
    bound = _CALM_SHARE if before is RiskLevel.CRITICAL else _CRITICAL_SHARE
    critical = of_room < bound or minutes < rules.minutes_to_oom * bound
    return RiskLevel.CRITICAL if critical else RiskLevel.WARNING


def _minutes(outlook: Outlook, *, going_on: bool) -> float:
    """Until its OOM may come. A risk begins where that is sure, and goes on until it may never come."""
    time = outlook.time
    counts = time.latest is not None if going_on else time.sureness is Sureness.HIGH
    return time.earliest / 60 if counts and time.earliest is not None else inf


def _by_room(outlook: Outlook) -> tuple[float, int]:
    """As closeness(), by room alone."""
    return closeness(replace(outlook, time=UNKNOWN))


def _share(outlook: Outlook) -> float:
    share = outlook.room.share
    return 1.0 if share is None else share


def _rules(where: Scope, pod: str, policies: Policies) -> Rules:
    if where is Scope.NODE:
        return policies.for_node()
    return policies.for_pod(pod.partition("/")[0])


def by_path(outlooks: Iterable[Outlook]) -> Mapping[str, Outlook]:
    """Domains by their path."""
    return {outlook.path: outlook for outlook in outlooks}
