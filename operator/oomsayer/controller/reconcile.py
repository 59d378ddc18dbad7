"""One node at a time: its newest report becomes its forecast, and what changed is published.

Report in, forecast, status out, announcements out. The order of writes is what lets a restart at any moment
lose nothing and repeat nothing:

1. What has ended is taken back: the Event that says so, the annotations. Only then is it dropped from status.
2. The status is written, with what is new in it as not yet announced.
3. What is new is announced: the annotations, then the Event under a name made from it (see announce.py).
4. The status is written again, with that as announced.

After a restart the status says where to go on; an Event that exists already is one that was written.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from oomsayer.api.eviction import Eviction
from oomsayer.api.forecast import OOMForecastStatus, Risk
from oomsayer.api.model import StatusCondition
from oomsayer.api.vocabulary import API_VERSION, JSON_PATCH, POLICY_PLURAL, REPORT_PLURAL, ConditionReason
from oomsayer.controller import accepted, advice, ahead, announce, forecast, scorecard, status
from oomsayer.controller import eviction as evictions
from oomsayer.controller.annotations import Annotations
from oomsayer.controller.apiserver import ApiError, ApiServer
from oomsayer.controller.drift import drift
from oomsayer.controller.history import PrometheusHistory
from oomsayer.controller.judged import Judged
from oomsayer.controller.metrics import Metrics, view
from oomsayer.controller.pods import PodNames
from oomsayer.controller.risk import ended, risks, rules_for
from oomsayer.controller.snapshot import Report, ReportError, first_errors
from oomsayer.controller.state import STALE_AFTER, Seen, State
from oomsayer.controller.stored import Forecasts, status_of
from oomsayer.forecast.prospect import prospects

ENDING_SECONDS = 30.0
"""Until the end of a risk is tried again whose Event had to wait."""

_REPORTS = f"/apis/{API_VERSION}/{REPORT_PLURAL}"
_POLICIES = f"/apis/{API_VERSION}/{POLICY_PLURAL}"


class Reconciler:
    """Publishes what the reports say. Every method may be called again at any time with the same result.

    Args:
        api: the API server.
        state: what the watches have shown.
        metrics: what is counted.
        instance: this operator's name in Events.
        history: what Prometheus remembers, None where none is configured.
    """

    def __init__(
        self,
        api: ApiServer,
        state: State,
        metrics: Metrics,
        instance: str,
        history: PrometheusHistory | None = None,
    ) -> None:
        self._api = api
        self._state = state
        self._metrics = metrics
        self._history = history
        self._pods = PodNames(api)
        self._forecasts = Forecasts(api)
        self._announcer = announce.Announcer(api, metrics, instance)
        self._annotations = Annotations(api)

    def forget_writes(self) -> None:
        """Take nothing for written: another operator may have been the leader in between."""
        self._annotations.forget()

    async def node(self, name: str) -> float | None:
        """Bring one node's forecast up to date; the seconds after which it should be looked at again.

        Raises:
            ApiError: something could not be read or written; all that could be was.
        """
        seen = await self._newest(name)
        stored = await self._forecasts.get(name)
        before = status_of(stored)
        if seen is None:
            await self._without_report(name, stored, before)
            return None
        now = datetime.now(UTC)
        report = _usable(seen, now)
        if isinstance(report, ReportError):
            await self._without_use(name, seen, report, stored, before)
            return STALE_AFTER.total_seconds()  # it may be deleted while nobody watches
        age = seen.age(now, time.monotonic())
        sampled = (age + seen.delay).total_seconds()
        try:
            again = await self._with_report(report, stored, before, now, age_seconds=sampled)
        except ValidationError as error:
            # Each number was within its bounds, and what follows from them is not.
            absurd = ReportError(f"what follows from the report does not validate: {first_errors(error)}")
            await self._without_use(name, seen, absurd, stored, before)
            return STALE_AFTER.total_seconds()
        self._metrics.reports.labels("ok").inc()
        stale = (STALE_AFTER - age).total_seconds() + 1
        return _soonest(again, stale)

    async def _without_use(
        self,
        name: str,
        seen: Seen,
        error: ReportError,
        stored: dict[str, Any] | None,
        before: OOMForecastStatus | None,
    ) -> None:
        """Say why a report cannot be used, and keep what was forecast before it."""
        self._metrics.reports.labels(error.reason.value).inc()
        after = _unusable(name, before, error, datetime.now(UTC))
        self._metrics.sources.nodes[name] = view(after)
        await self._forecasts.write(stored, before, after, seen.node_uid)

    async def policy(self, name: str) -> None:
        """Say in a policy's status whether it is followed.

        Raises:
            ApiError: the status could not be written.
        """
        policy = self._state.policy_objects.get(name)
        said = None if policy is None else accepted.verdict(policy, self._state.policies, datetime.now(UTC))
        if said is None:
            return
        body = [{"op": "add", "path": "/status", "value": {"conditions": [status.wire(said)]}}]
        try:
            await self._api.patch(f"{_POLICIES}/{name}/status", body, JSON_PATCH)
        except ApiError as error:
            if not error.not_found:
                raise

    async def _newest(self, name: str) -> Seen | None:
        """The report as the watch has shown it; one that looks stale or is missing is asked for once more."""
        seen = self._state.reports.get(name)
        if seen is not None and seen.age(datetime.now(UTC), time.monotonic()) <= STALE_AFTER:
            return seen
        try:
            self._state.saw_report(await self._api.get(f"{_REPORTS}/{name}"), change=False)
        except ApiError as error:
            if not error.not_found:
                raise
            self._state.lost_report(name)
        return self._state.reports.get(name)

    async def _without_report(
        self, name: str, stored: dict[str, Any] | None, before: OOMForecastStatus | None
    ) -> None:
        """A report was deleted. With its Node gone the forecast goes too; else it says what is missing."""
        self._pods.forget(name)
        if self._history is not None:
            self._history.forget(name)
        self._metrics.sources.nodes.pop(name, None)
        for risk in before.risks if before else ():
            await self._annotations.clear(name, risk)
        self._annotations.forget_node(name)
        if stored is None or before is None:
            return
        gone = ReportError("the node's report was deleted: is its agent running?", ConditionReason.STALE)
        nothing = {"risks": (), "next": None, "domains": (), "eviction": None, "drift": (), "advice": ()}
        after = _unusable(name, before, gone, datetime.now(UTC)).model_copy(update=nothing)
        await self._forecasts.write(stored, before, after, None)

    async def _with_report(
        self,
        report: Report,
        stored: dict[str, Any] | None,
        before: OOMForecastStatus | None,
        now: datetime,
        *,
        age_seconds: float,
    ) -> float | None:
        """Forecast, status out, announcements out; the seconds after which to look again."""
        judged, unnamed = await self._judge(report, before, now, age_seconds)
        before_risks = before.risks if before else ()
        current = risks(judged.outlooks, before_risks, judged.names, self._state.policies, now)
        problems: list[ApiError] = []
        gone = ended(before_risks, current)
        kept = [risk for risk in gone if not await self._take_back(risk, current, judged, problems)]
        over = [risk for risk in gone if risk not in kept]
        after = await _advised(judged, self._compose(judged, current, kept, over, before), before)
        self._metrics.sources.nodes[report.node] = view(after)
        stored = await self._forecasts.write(stored, before, after, report.node_uid)

        # The annotations first: who follows an Event to its pod finds them there.
        await self._annotations.annotate(report.node, current, self._state.policies, problems)
        todo = announce.due(after, current, judged, self._state.policies)
        final, waiting = await self._announcer.announce(after, todo, problems)
        if final != after:
            await self._forecasts.write(stored, after, final, report.node_uid)
        if problems:
            raise problems[0]
        return _soonest(unnamed, waiting, ahead.tell_again(judged.coming), ENDING_SECONDS if kept else None)

    async def _judge(
        self, report: Report, before: OOMForecastStatus | None, now: datetime, age_seconds: float
    ) -> tuple[Judged, float | None]:
        """The verdicts with their names, and the seconds until names that are missing are asked for again."""
        # A thread of its own: what an agent may report can take seconds, and the Lease does not wait.
        judged = await asyncio.to_thread(forecast.judge, report.snapshot)
        card = before.scorecard if before else None
        wanted = (
            forecast.wanted(judged) | evictions.wanted(report.snapshot) | scorecard.wanted(card, report.kills)
        )
        fate = any(scorecard.due(kill, now) <= 0 for kill in scorecard.pending(card))
        names, retry = await self._pods.names(report.node, wanted, anew=fate)
        rooms = {verdict.domain.path: room for verdict, room in judged}
        watched = report.watched
        if self._history is not None:
            watched = self._history.extend(report.node, watched, rooms)
        coming = ahead.aged(prospects(report.snapshot, rooms, watched), age_seconds)
        outlooks = await asyncio.to_thread(forecast.outlooks, judged, names, coming, now)
        return Judged(report, names, outlooks, watched, coming, now, age_seconds), retry

    async def _take_back(
        self, risk: Risk, current: Sequence[Risk], judged: Judged, problems: list[ApiError]
    ) -> bool:
        """Say that a risk has ended and clear its pod's annotations; whether that is done."""
        try:
            told = risk.announced and rules_for(risk, self._state.policies).events
            if told and await self._announcer.write(announce.ending(risk, judged)):
                return False  # its Event has to wait, and so its end
            if not any(other.pod_uid == risk.pod_uid for other in current):
                await self._annotations.clear(judged.report.node, risk)
        except ApiError as error:
            problems.append(error)
            return False
        return True

    def _compose(
        self,
        judged: Judged,
        current: Sequence[Risk],
        kept: Iterable[Risk],
        over: Iterable[Risk],
        before: OOMForecastStatus | None,
    ) -> OOMForecastStatus:
        """The status, but for its advice.

        Args:
            judged: the report.
            current: the risks of now.
            kept: those that have ended and could not be taken back yet.
            over: those that have ended.
            before: what was told last.
        """
        snapshot, names, now = judged.report.snapshot, judged.names, judged.now
        page_size = snapshot.memory.page_size
        conditions = before.conditions if before else ()
        past = scorecard.past_risks(before.past_risks if before else (), over, now)
        warnings = (*(before.risks if before else ()), *past)
        card = before.scorecard if before else None
        return OOMForecastStatus(
            node=judged.report.node,
            observed_at=now,
            sampled_at=judged.report.sampled_at,
            kernel=snapshot.kernel,
            era=snapshot.era.name,
            next=forecast.next_victim(judged.outlooks, names, page_size),
            domains=forecast.forecast_domains(judged.outlooks, names, page_size),
            risks=(*current, *kept),
            past_risks=past,
            scorecard=scorecard.score(
                card,
                judged.report.kills,
                warnings,
                names,
                node=judged.node,
                sampled_at=judged.report.sampled_at,
                now=now,
            ),
            conditions=(
                status.fresh(conditions, now),
                status.at_risk(current, conditions, now),
                *self._told_of_history(conditions, now),
            ),
            eviction=self._eviction(judged, before, current),
            drift=drift(snapshot, names),
        )

    def _eviction(
        self, judged: Judged, before: OOMForecastStatus | None, current: Sequence[Risk]
    ) -> Eviction | None:
        side = evictions.NodeSide(
            judged.report.snapshot,
            judged.names,
            judged.report.kubelet,
            judged.outlooks,
            judged.watched,
            judged.age_seconds,
        )
        rules = self._state.policies.for_node()
        return evictions.eviction(side, before.eviction if before else None, rules, judged.now, current)

    def _told_of_history(self, before: Sequence[StatusCondition], now: datetime) -> Iterator[StatusCondition]:
        trouble = self._history.trouble if self._history is not None else None
        if trouble is not None:
            yield status.history(trouble, before, now)


async def _advised(
    judged: Judged, after: OOMForecastStatus, before: OOMForecastStatus | None
) -> OOMForecastStatus:
    """With advice for the pods at risk: worked out when they become so, and anew where that changes."""
    if before is not None and _threatened(before) == _threatened(after):
        return after.model_copy(update={"advice": before.advice})
    evicted = _evicted(after)
    # It asks the model some hundreds of times: not in the way of everything else.
    found = await asyncio.to_thread(
        advice.for_risks,
        after.risks,
        judged.report.snapshot,
        judged.names,
        evicted[0] if evicted else "",
    )
    return after.model_copy(update={"advice": found})


def _threatened(status: OOMForecastStatus) -> tuple[Any, ...]:
    """Who is at risk of what, how much so, and by which limit: what was advised of another holds no more."""
    limits = {domain.path: domain.limit_bytes or 0 for domain in status.domains}
    risks = sorted(
        (r.domain, limits.get(r.domain, 0), r.pod_uid, r.container, r.pid, r.level) for r in status.risks
    )
    return tuple(risks), _evicted(status)


def _evicted(status: OOMForecastStatus) -> tuple[str, ...]:
    """UID of the pod that the kubelet is near to evicting."""
    eviction = status.eviction
    if eviction is None or eviction.near_since is None:
        return ()
    return tuple(pod.pod_uid for pod in eviction.order[:1])


def _usable(seen: Seen, now: datetime) -> Report | ReportError:
    """The report, or why it cannot be used."""
    age = seen.age(now, time.monotonic())
    if isinstance(seen.report, ReportError) or age <= STALE_AFTER:
        return seen.report
    minutes = int(age.total_seconds() // 60)
    return ReportError(
        f"the last report came {minutes} minutes ago: is the agent running on this node?",
        ConditionReason.STALE,
    )


def _unusable(
    name: str, before: OOMForecastStatus | None, problem: ReportError, now: datetime
) -> OOMForecastStatus:
    return status.unusable(name, before, reason=problem.reason, message=str(problem), now=now)


def _soonest(*waits: float | None) -> float | None:
    return min((seconds for seconds in waits if seconds is not None), default=None)
