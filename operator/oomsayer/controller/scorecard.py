"""Was it right: every kill that agents report is counted once, named, and linked with its warning. Pure.

The agent has held it against its own verdict (oomsayer.forecast.match). What is counted lives in the status
of the OOMForecast, with the last kills by id: so it survives restarts, and nothing is counted twice.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from oomsayer.api.forecast import (
    MAX_LAST_KILLS,
    MAX_PAST_RISKS,
    ForecastVictim,
    PastRisk,
    Risk,
    Scorecard,
    ScoredKill,
)
from oomsayer.api.report import ReportedKill
from oomsayer.controller.events import (
    Subject,
    event_name,
    known_to_kubelet,
    named_pod,
    reason,
    subjects,
)
from oomsayer.controller.names import Names
from oomsayer.controller.risk import Scope, scope
from oomsayer.forecast.match import MissReason, Outcome
from oomsayer.kernel.domain import Domain, DomainKind
from oomsayer.kernel.observed import KillSource
from oomsayer.kernel.snapshot import ROOT
from oomsayer.kubelet.cgroups import Owner, owner

PAST_RISK_SECONDS = 600
"""How long after its end a risk is remembered: a kill is known a few seconds after the victim is gone."""

SETTLED_SECONDS = 10
"""How long a kill waits for its Event: by then the kubelet has said whether the container ended."""

MOST_SKEW_SECONDS = 60
"""How far a node's clock may be off ours."""

UNSEEN_SECONDS = 60
"""How long an agent has for telling of a kill that the kubelet has told of already."""

_KILLED = 137
"""Exit code of a container whose first process was killed: 128 + SIGKILL."""

OUTCOME_COUNTS = {
    Outcome.HIT: "hits",
    Outcome.KILL_SET_HIT: "kill_set_hits",
    Outcome.MISS: "misses",
    Outcome.UNFORESEEN: "unforeseen",
    Outcome.UNKNOWN: "unknown",
}
REASON_COUNTS = {
    MissReason.NOT_SAMPLED_IN_TIME: "not_sampled_in_time",
    MissReason.MARGIN_BELOW_PRECISION: "margin_below_precision",
    MissReason.UNKNOWN_DOMAIN: "unknown_domain",
    MissReason.UNEXPLAINED: "unexplained",
}


def new_kills(before: Scorecard | None, reported: Iterable[ReportedKill]) -> list[ReportedKill]:
    """Those of a report that are not counted yet."""
    counted = {kill.id for kill in before.last} if before else set()
    forgotten = _forgotten(before.last if before else ())
    return [kill for kill in reported if kill.id not in counted and not (forgotten and kill.at <= forgotten)]


def _forgotten(last: Sequence[ScoredKill]) -> datetime | None:
    """Up to when kills that were counted may not be among the last any more; None where all are."""
    return min(kill.at for kill in last) if len(last) >= MAX_LAST_KILLS else None


def wanted(before: Scorecard | None, reported: Iterable[ReportedKill]) -> set[Owner]:
    """The pods and containers that kills need names for."""
    paths: set[str | None] = set()
    for kill in new_kills(before, reported):
        paths |= {kill.memcg, kill.domain, kill.foretold_memcg}
    for scored in pending(before):
        paths |= {scored.cgroup, scored.domain}
    owners = {owner(path) for path in paths if path is not None}
    return {whose for whose in owners if whose.pod_uid is not None}


def pending(card: Scorecard | None) -> list[ScoredKill]:
    """Kills that no Event has told of yet."""
    return [kill for kill in card.last if not kill.announced] if card else []


def due(kill: ScoredKill, now: datetime) -> float:
    """Seconds until a kill's Event is to be written; 0 or less when it is due.

    Its time is by the node's clock: one that is far ahead of ours is not waited for.
    """
    age = (now - kill.at).total_seconds()
    return 0.0 if age < -MOST_SKEW_SECONDS else SETTLED_SECONDS - age


def score(
    before: Scorecard | None,
    reported: Sequence[ReportedKill],
    warnings: Sequence[Risk],
    names: Names,
    *,
    node: Subject,
    sampled_at: datetime,
    now: datetime,
) -> Scorecard:
    """The scorecard with the kills of a report.

    Args:
        before: what was counted.
        reported: the kills of a report, old ones among them.
        warnings: the node's risks, announced or not, those that have ended lately included.
        names: the node's pods.
        node: the node.
        sampled_at: up to when the report can tell of kills, by the node's clock.
        now: when.
    """
    card = before or Scorecard(since=now.replace(microsecond=0))
    fresh = [_scored(kill, warnings, names, node) for kill in new_kills(before, reported)]
    since = max(card.since, now - timedelta(seconds=PAST_RISK_SECONDS), _forgotten(card.last) or card.since)
    fresh += _unseen((*card.last, *fresh), names, since, min(sampled_at, now))
    known = tuple(kill if kill.announced else _named(kill, names) for kill in card.last)
    counts = card.model_dump(include={"kills", "warned", *OUTCOME_COUNTS.values()})
    reasons = card.miss_reasons.model_dump()
    for kill in fresh:
        counts["kills"] += 1
        counts["warned"] += kill.warned_since is not None
        counts[OUTCOME_COUNTS[kill.outcome]] += 1
        if kill.reason is not None:
            reasons[REASON_COUNTS[kill.reason]] += 1
    return card.model_copy(
        update={
            **counts,
            "right": right(counts["hits"], counts["kill_set_hits"], counts["misses"]),
            "miss_reasons": card.miss_reasons.model_copy(update=reasons),
            "last": tuple(sorted((*known, *fresh), key=lambda kill: kill.at))[-MAX_LAST_KILLS:],
        }
    )


def right(hits: int, kill_set_hits: int, misses: int) -> str:
    """Hits of both kinds per scored kill, for people: "3/4"; empty where none was scored."""
    foretold = hits + kill_set_hits
    scored = foretold + misses
    return f"{foretold}/{scored}" if scored else ""


def past_risks(before: Iterable[PastRisk], ended: Iterable[Risk], now: datetime) -> tuple[PastRisk, ...]:
    """The risks to remember: those that have just ended, and those not yet to be forgotten."""
    oldest = now - timedelta(seconds=PAST_RISK_SECONDS)
    kept = [risk for risk in before if risk.ended >= oldest]
    new = [PastRisk(**risk.model_dump(), ended=now.replace(microsecond=0)) for risk in ended]
    return tuple((*kept, *new)[-MAX_PAST_RISKS:])


def with_kill(card: Scorecard, kill: ScoredKill) -> Scorecard:
    """The scorecard with one of its last kills as it is now."""
    return card.model_copy(update={"last": tuple(kill if k.id == kill.id else k for k in card.last)})


def kills_subject(kill: ScoredKill, node: Subject) -> Subject:
    """What a kill's Event is about: its pod, or the Node."""
    pod = named_pod(kill.pod, kill.pod_uid)
    return node if pod is None else known_to_kubelet(pod, kill.cgroup)


def _scored(kill: ReportedKill, warnings: Sequence[Risk], names: Names, node: Subject) -> ScoredKill:
    scored = ScoredKill(
        id=kill.id,
        at=kill.at,
        source=kill.source,
        pid=kill.pid,
        comm=kill.comm,
        oom_score_adj=kill.adj,
        rss_bytes=kill.rss_bytes,
        cgroup=kill.memcg,
        domain=kill.domain,
        deaths=kill.deaths,
        outcome=kill.outcome,
        reason=kill.reason,
        foretold=_foretold(kill, names),
        sampled_at=kill.sampled_at,
    )
    scored = _named(scored, names)
    about_it = _warnings(scored, warnings)
    if not about_it:
        return scored
    # The Event of one that has begun again a moment later is held back: that of the one before stands.
    link = next((_link(risk, node) for risk in about_it if risk.announced), "")
    return scored.model_copy(update={"warning": link, "warned_since": about_it[0].since})


def _link(risk: Risk, node: Subject) -> str:
    subject, _ = subjects(risk, node)
    return f"{subject.event_namespace}/{event_name(risk, reason(risk), subject)}"


def _unseen(
    known: Sequence[ScoredKill], names: Names, since: datetime, told_until: datetime
) -> list[ScoredKill]:
    """Containers that ended by an OOM kill which no agent has told of: it did not run then.

    A report from before it does not show that: whoever could not write may have seen it, and tell yet.
    By the reason alone a container would count that only had a sibling killed (cgroup v1).
    """
    latest = told_until - timedelta(seconds=UNSEEN_SECONDS)
    return [
        ScoredKill(
            id=f"status-{container_id[:16]}",
            at=ending.at,
            source=KillSource.CONTAINER_STATUS,
            pod=pod.full_name,
            pod_uid=pod.uid,
            container=pod.containers.get(container_id, ""),
            container_id=container_id,
            outcome=Outcome.UNFORESEEN,
            exit_code=ending.exit_code,
        )
        for pod in names.pods.values()
        for container_id, ending in pod.endings.items()
        if (ending.reason, ending.exit_code) == ("OOMKilled", _KILLED)
        and since < ending.at < latest
        and not any(_same_end(kill, pod.uid, container_id, ending.at) for kill in known)
    ]


def _same_end(kill: ScoredKill, pod_uid: str, container_id: str, at: datetime) -> bool:
    near = abs((kill.at - at).total_seconds()) <= MOST_SKEW_SECONDS
    return kill.container_id == container_id or (kill.pod_uid == pod_uid and near)


def _foretold(kill: ReportedKill, names: Names) -> ForecastVictim | None:
    if kill.foretold_pid is None:
        return None
    place = names.place(kill.foretold_memcg or kill.memcg or ROOT)
    return ForecastVictim(
        pid=kill.foretold_pid,
        comm=kill.foretold_comm,
        pod=place.pod_name,
        container=place.container,
        margin_bytes=kill.margin_bytes,
    )


def _named(kill: ScoredKill, names: Names) -> ScoredKill:
    """A kill with the names of its pod and domain, as far as they are known now."""
    update: dict[str, object] = {}
    if kill.cgroup is not None:
        place = names.place(kill.cgroup)
        if place.pod is not None or not kill.pod:
            update |= {
                "pod": place.pod_name,
                "pod_uid": place.pod_uid,
                "container": place.container or kill.container,
                "container_id": place.container_id,
            }
        if place.pod is not None:
            ending = place.pod.endings.get(place.container_id)
            update["exit_code"] = ending.exit_code if ending else None
    if kill.domain is not None:
        update["domain_name"] = _domain_name(kill.domain, names) or kill.domain_name or _unnamed(kill.domain)
    return kill.model_copy(update=update)


def _domain_name(path: str, names: Names) -> str:
    """What people call the domain, "" where that is not known now."""
    kind, name = names.domain(Domain(DomainKind.NODE if path == ROOT else DomainKind.MEMCG, path, 1))
    return "" if kind == "cgroup" else name


def _unnamed(path: str) -> str:
    """What to call a domain whose pod the API does not know, or that is in no pod."""
    whose = owner(path)
    if whose.pod_uid is None:
        return path
    pod = f"pod {whose.pod_uid}"
    return pod if whose.container_id is None else f"container {whose.container_id[:12]} of {pod}"


def _warnings(kill: ScoredKill, warnings: Iterable[Risk]) -> list[Risk]:
    """The risks that had begun for the container of a kill, or its process, the latest first."""
    found = [risk for risk in warnings if risk.since <= kill.at and _about(risk, kill)]
    return sorted(found, key=lambda risk: risk.since, reverse=True)


def _about(risk: Risk, kill: ScoredKill) -> bool:
    """Whether a risk had told of this kill: who was to die, and by whose limit."""
    if kill.domain is not None and scope(risk.domain) is not scope(kill.domain):
        return False
    if not risk.pod_uid:
        return not kill.pod_uid and (risk.domain, risk.comm) == (kill.domain, kill.comm)
    same_pod = risk.pod_uid == kill.pod_uid
    return same_pod and (scope(risk.domain) is Scope.NODE or risk.container == kill.container)
