"""The status of an OOMForecast: put together, and compared with the one before it. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from oomsayer.api.eviction import Eviction
from oomsayer.api.forecast import (
    ForecastDomain,
    ForecastProcess,
    NextVictim,
    OOMForecastStatus,
    Risk,
)
from oomsayer.api.model import Model, StatusCondition
from oomsayer.api.vocabulary import Condition, ConditionReason
from oomsayer.controller.ahead import moved

REFRESH = timedelta(minutes=15)
"""A forecast that says nothing new is written again after this, to show that it is alive."""

_MESSAGE_CHARACTERS = 4096
_NAMES_SHOWN = 3
_FAR_SHARE = 1 / 8
_NEAR_SHARE = 1 / 100
_FEW_BYTES = 1 << 20


def condition(
    kind: Condition,
    *,
    holds: bool | None,
    reason: ConditionReason,
    message: str,
    before: Iterable[StatusCondition],
    now: datetime,
    generation: int | None = None,
) -> StatusCondition:
    """A condition; its transition time is kept while its status is the same as before."""
    word = {True: "True", False: "False", None: "Unknown"}[holds]
    same = next((c for c in before if c.type == kind and c.status == word), None)
    return StatusCondition.model_validate(
        {
            "type": kind.value,
            "status": word,
            "observed_generation": generation,
            "last_transition_time": same.last_transition_time if same else now.replace(microsecond=0),
            "reason": reason.value,
            "message": message,
        }
    )


def fresh(before: Iterable[StatusCondition], now: datetime) -> StatusCondition:
    """The Ready condition of a fresh forecast."""
    return condition(
        Condition.READY,
        holds=True,
        reason=ConditionReason.FRESH,
        message="the report is fresh and was understood",
        before=before,
        now=now,
    )


def at_risk(current: Iterable[Risk], before: Iterable[StatusCondition], now: datetime) -> StatusCondition:
    """The AtRisk condition of a fresh forecast."""
    names = sorted({risk.domain_name for risk in current})
    if not names:
        return condition(
            Condition.AT_RISK,
            holds=False,
            reason=ConditionReason.ENOUGH_HEADROOM,
            message="every domain has more room than its threshold",
            before=before,
            now=now,
        )
    more = len(names) - _NAMES_SHOWN
    shown = ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return condition(
        Condition.AT_RISK,
        holds=True,
        reason=ConditionReason.UNDER_THRESHOLD,
        message=f"near their OOM: {shown}",
        before=before,
        now=now,
    )


def history(trouble: str, before: Iterable[StatusCondition], now: datetime) -> StatusCondition:
    """The History condition; `trouble` is why Prometheus could not be asked, "" where it could."""
    if trouble:
        reason, message = ConditionReason.PROMETHEUS_FAILS, f"growth is what the agents saw alone: {trouble}"
    else:
        reason, message = ConditionReason.PROMETHEUS_ANSWERS, "growth includes what Prometheus remembers"
    return condition(
        Condition.HISTORY, holds=not trouble, reason=reason, message=message, before=before, now=now
    )


def unusable(
    node: str,
    before: OOMForecastStatus | None,
    *,
    reason: ConditionReason,
    message: str,
    now: datetime,
) -> OOMForecastStatus:
    """The forecast stays as it was, as the last that is known, and says why it is no longer renewed."""
    base = before or OOMForecastStatus(node=node)
    ready = condition(
        Condition.READY,
        holds=False,
        reason=reason,
        message=message[:_MESSAGE_CHARACTERS],
        before=base.conditions,
        now=now,
    )
    risky = condition(
        Condition.AT_RISK,
        holds=None,
        reason=reason,
        message="not known: see Ready",
        before=base.conditions,
        now=now,
    )
    return base.model_copy(update={"observed_at": now, "conditions": (ready, risky)})


def wire(part: Model) -> dict[str, Any]:
    """A model as it is written to the API."""
    return part.model_dump(by_alias=True, exclude_none=True, mode="json")


def worth_writing(before: OOMForecastStatus | None, after: OOMForecastStatus) -> bool:
    """Whether a status differs from the stored one by more than what fluctuates, or the stored one is old."""
    if before is None or before.observed_at is None or after.observed_at is None:
        return True
    if after.observed_at - before.observed_at >= REFRESH or _essence(before) != _essence(after):
        return True
    domains = {d.path: d for d in before.domains}
    then, now = before.observed_at, after.observed_at
    return _eviction_moved(before, after) or any(
        _moved(domains[d.path], d) or moved(domains[d.path].time_to_oom, then, d.time_to_oom, now)
        for d in after.domains
    )


def _moved(before: ForecastDomain, after: ForecastDomain) -> bool:
    """Whether the room changed by an eighth of itself, and by more than 1 % of the limit."""
    if before.headroom_bytes is None or after.headroom_bytes is None or not after.limit_bytes:
        return before.headroom_bytes != after.headroom_bytes
    change = abs(after.headroom_bytes - before.headroom_bytes)
    return change > max(after.limit_bytes * _NEAR_SHARE, before.headroom_bytes * _FAR_SHARE)


def _eviction_moved(before: OOMForecastStatus, after: OOMForecastStatus) -> bool:
    """Whether the room above the kubelet's threshold changed by an eighth of itself and by a megabyte."""
    one, other = before.eviction, after.eviction
    if one is None or other is None:
        return one is not other
    room = one.available_bytes - one.threshold_bytes
    change = abs(other.available_bytes - other.threshold_bytes - room)
    return change > max(_FEW_BYTES, abs(room) * _FAR_SHARE)


def _essence(status: OOMForecastStatus) -> tuple[Any, ...]:
    return (
        status.kernel,
        status.era,
        _next(status.next),
        tuple(_domain(domain) for domain in status.domains),
        _eviction(status.eviction),
        status.drift,
        status.advice,
        status.risks,
        status.scorecard,
        tuple((c.type, c.status, c.reason) for c in status.conditions),
    )


def _next(line: NextVictim | None) -> tuple[Any, ...] | None:
    if line is None:
        return None
    return line.domain, line.pid, line.comm, line.pod, line.container, line.confidence


def _domain(domain: ForecastDomain) -> tuple[Any, ...]:
    return (
        domain.path,
        domain.name,
        domain.limit_bytes,
        domain.confidence,
        domain.bound_by,
        _process(domain.victim),
        _process(domain.runner_up),
        domain.kill_set.pids,
        tuple(process.pid for process in domain.order),
    )


def _eviction(said: Eviction | None) -> tuple[Any, ...] | None:
    if said is None:
        return None
    return (
        said.signal,
        said.threshold_bytes,
        said.configuration,
        said.first,
        tuple(pod.pod_uid for pod in said.order[:1]),
        bool(said.inversion),
        said.userspace_killers,
        said.near_since,
        said.announced,
    )


def _process(process: ForecastProcess | None) -> tuple[Any, ...] | None:
    if process is None:
        return None
    return process.pid, process.comm, process.oom_score_adj, process.pod, process.container
