"""One node at a time: its newest report becomes its forecast, and what changed is published.

The order of writes is what lets a restart at any moment lose nothing and repeat nothing:

1. What has ended is taken back: the Event that says so, the annotations. Only then is it dropped from status.
2. The status is written, with new risks in it as not yet announced.
3. New risks are announced: the Event under a name made from the risk, the annotations.
4. The status is written again, with those risks as announced.

After a restart the status says where to go on; an Event that exists already is one that was written.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from oomsayer.api.advice import Advice
from oomsayer.api.eviction import Eviction
from oomsayer.api.forecast import OOMForecastStatus, Risk, Scorecard, ScoredKill
from oomsayer.api.model import StatusCondition
from oomsayer.api.vocabulary import (
    API_VERSION,
    FORECAST_KIND,
    FORECAST_PLURAL,
    POLICY_PLURAL,
    REPORT_PLURAL,
    Annotation,
    Condition,
    ConditionReason,
    EventReason,
)
from oomsayer.controller import advice, ahead, forecast, scorecard, sentences, status
from oomsayer.controller import eviction as evictions
from oomsayer.controller.apiserver import JSON_PATCH, ApiError, ApiServer
from oomsayer.controller.drift import drift
from oomsayer.controller.events import (
    EventBudget,
    Subject,
    event,
    eviction_event,
    kill_event,
    pod_subject,
    reason,
)
from oomsayer.controller.history import PrometheusHistory
from oomsayer.controller.metrics import Metrics, view
from oomsayer.controller.names import Names
from oomsayer.controller.pods import PodNames
from oomsayer.controller.policy import Policies, read_policy
from oomsayer.controller.risk import Scope, by_path, ended, risks, rules_for, scope
from oomsayer.controller.snapshot import Report, ReportError
from oomsayer.controller.state import STALE_AFTER, Seen, State
from oomsayer.forecast.prospect import Watched, prospects
from oomsayer.kubelet.cgroups import owner

log = logging.getLogger(__name__)

_FORECASTS = f"/apis/{API_VERSION}/{FORECAST_PLURAL}"
_MESSAGE_CHARACTERS = 4096
_REPORTS = f"/apis/{API_VERSION}/{REPORT_PLURAL}"
_POLICIES = f"/apis/{API_VERSION}/{POLICY_PLURAL}"


@dataclass(frozen=True, slots=True)
class _Fresh:
    """A usable report, judged and named."""

    report: Report
    outlooks: Sequence[forecast.Outlook]
    names: Names
    node: Subject
    watched: Watched


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
        self._instance = instance
        self._history = history
        self._pods = PodNames(api)
        self._budget = EventBudget()
        self._annotated: dict[str, dict[str, str | None]] = {}

    def forget_writes(self) -> None:
        """Take nothing for written: another operator may have been the leader in between."""
        self._annotated.clear()

    async def node(self, name: str) -> float | None:
        """Bring one node's forecast up to date; the seconds after which it should be looked at again.

        Raises:
            ApiError: something could not be read or written; all that could be was.
        """
        seen = await self._newest(name)
        stored = await self._get_forecast(name)
        before = _status_of(stored)
        if seen is None:
            await self._without_report(name, stored, before)
            return None
        now = datetime.now(UTC)
        problem = _problem(seen, now)
        if problem is not None:
            self._metrics.reports.labels(problem.reason.value).inc()
            after = _unusable(name, before, problem, now)
            self._metrics.sources.nodes[name] = view(after)
            await self._write(stored, before, after, _node_uid(seen))
            return None
        assert isinstance(seen.report, Report)  # noqa: S101 - _problem() found none; for the type checker
        self._metrics.reports.labels("ok").inc()
        retry = await self._fresh(seen.report, stored, before, now)
        stale = (STALE_AFTER - seen.age(now, time.monotonic())).total_seconds() + 1
        return min(stale, retry) if retry is not None else stale

    async def _newest(self, name: str) -> Seen | None:
        """The report as the watch has shown it; one that looks stale is asked for once more."""
        seen = self._state.reports.get(name)
        if seen is None or seen.age(datetime.now(UTC), time.monotonic()) <= STALE_AFTER:
            return seen
        try:
            self._state.saw_report(await self._api.get(f"{_REPORTS}/{name}"), change=False)
        except ApiError as error:
            if not error.not_found:
                raise
            self._state.lost_report(name)
        return self._state.reports.get(name)

    async def policy(self, name: str) -> None:
        """Say in a policy's status whether it is followed.

        Raises:
            ApiError: the status could not be written.
        """
        obj = self._state.policy_objects.get(name)
        if obj is None:
            return
        try:
            read_policy(obj)
            verdict = (True, ConditionReason.VALID, "the policy is in force")
        except ValueError as error:
            verdict = (False, ConditionReason.INVALID_POLICY, f"ignored: {error}")
        before = (obj.get("status") or {}).get("conditions") or ()
        generation = obj["metadata"].get("generation")
        if any(_same_verdict(c, verdict, generation) for c in before):
            return
        accepted = status.condition(
            Condition.ACCEPTED,
            holds=verdict[0],
            reason=verdict[1],
            message=verdict[2],
            before=(),
            now=datetime.now(UTC),
            generation=generation,
        )
        body = [{"op": "add", "path": "/status", "value": {"conditions": [status.document(accepted)]}}]
        try:
            await self._api.patch(f"{_POLICIES}/{name}/status", body, JSON_PATCH)
        except ApiError as error:
            if not error.not_found:
                raise

    async def _fresh(
        self, report: Report, stored: dict[str, Any] | None, before: OOMForecastStatus | None, now: datetime
    ) -> float | None:
        judged = forecast.judge(report.snapshot)
        card = before.scorecard if before else None
        wanted = (
            forecast.wanted(judged) | evictions.wanted(report.snapshot) | scorecard.wanted(card, report.kills)
        )
        fate = any(scorecard.due(kill, now) <= 0 for kill in scorecard.pending(card))
        names, retry = await self._pods.names(report.node, wanted, anew=fate)
        node = Subject("Node", report.node, uid=report.node_uid or "")
        rooms = {verdict.domain.path: room for verdict, room in judged}
        watched = report.watched
        if self._history is not None:
            watched = self._history.extend(report.node, watched, rooms)
        coming = prospects(report.snapshot, rooms, watched)
        coming = ahead.aged(coming, max((now - report.sampled_at).total_seconds(), 0.0))
        fresh = _Fresh(report, forecast.outlooks(judged, names, coming, now), names, node, watched)
        risks_before = before.risks if before else ()
        current = risks(fresh.outlooks, risks_before, names, self._state.policies, now)
        gone = ended(risks_before, current)

        problems: list[ApiError] = []
        kept = [risk for risk in gone if not await self._take_back(risk, current, fresh, problems)]
        over = [risk for risk in gone if risk not in kept]
        past = scorecard.past_risks(before.past_risks if before else (), over, now)
        card = scorecard.score(card, report.kills, (*risks_before, *past), names, node=node, now=now)
        after = self._compose(fresh, current, kept, before, now)
        advised = await _advised(fresh, after, before)
        after = after.model_copy(update={"advice": advised, "past_risks": past, "scorecard": card})
        self._metrics.sources.nodes[report.node] = view(after)
        stored = await self._write(stored, before, after, report.node_uid)
        announced, wait = await self._announce(current, fresh, problems)
        eviction = await self._announce_eviction(after.eviction, current, fresh, problems)
        await self._annotate(current, problems)
        card, later = await self._announce_kills(card, fresh, now, problems)
        final = after.model_copy(
            update={"risks": (*announced, *kept), "eviction": eviction, "scorecard": card}
        )
        if final != after:
            await self._write(stored, after, final, report.node_uid)
        if problems:
            raise problems[0]
        waits = (retry, wait, later, ahead.tell_again(coming))
        return min((seconds for seconds in waits if seconds is not None), default=None)

    def _compose(
        self,
        fresh: _Fresh,
        current: Sequence[Risk],
        kept: Sequence[Risk],
        before: OOMForecastStatus | None,
        now: datetime,
    ) -> OOMForecastStatus:
        snapshot = fresh.report.snapshot
        page_size = snapshot.memory.page_size
        conditions = before.conditions if before else ()
        ready = status.condition(
            Condition.READY,
            holds=True,
            reason=ConditionReason.FRESH,
            message="the report is fresh and was understood",
            before=conditions,
            now=now,
        )
        side = evictions.NodeSide(
            snapshot,
            fresh.names,
            fresh.report.kubelet,
            fresh.outlooks,
            fresh.watched,
            max((now - fresh.report.sampled_at).total_seconds(), 0.0),
        )
        rules = self._state.policies.for_node()
        return OOMForecastStatus(
            node=fresh.report.node,
            observed_at=now,
            sampled_at=fresh.report.sampled_at,
            kernel=snapshot.kernel,
            era=snapshot.era.name,
            next=forecast.next_victim(fresh.outlooks, fresh.names, page_size),
            domains=forecast.forecast_domains(fresh.outlooks, fresh.names, page_size),
            risks=(*current, *kept),
            conditions=(
                ready,
                status.at_risk(current, conditions, now),
                *self._told_of_history(conditions, now),
            ),
            eviction=evictions.eviction(side, before.eviction if before else None, rules, now),
            drift=drift(snapshot, fresh.names),
        )

    def _told_of_history(self, before: Sequence[StatusCondition], now: datetime) -> Iterator[StatusCondition]:
        trouble = self._history.trouble if self._history is not None else None
        if trouble is not None:
            yield status.history(trouble, before, now)

    async def _take_back(
        self, risk: Risk, current: Sequence[Risk], fresh: _Fresh, problems: list[ApiError]
    ) -> bool:
        """Say that a risk has ended and clear its pod's annotations; whether that is done."""
        try:
            if risk.announced and rules_for(risk, self._state.policies).events:
                outlook = by_path(fresh.outlooks).get(risk.domain)
                note = sentences.ended_note(risk, outlook, fresh.report.node)
                await self._post(risk, EventReason.RISK_ENDED, note, fresh.node)
            if not any(other.pod_uid == risk.pod_uid for other in current):
                await self._put_annotations(risk, None)
        except ApiError as error:
            problems.append(error)
            return False
        return True

    async def _announce(
        self, current: Sequence[Risk], fresh: _Fresh, problems: list[ApiError]
    ) -> tuple[tuple[Risk, ...], float | None]:
        """Write the Events of new risks; the risks as they now are, and when to try what had to wait."""
        result: list[Risk] = []
        waits: list[float] = []
        domains = by_path(fresh.outlooks)
        for risk in current:
            outlook = domains.get(risk.domain)
            if risk.announced or outlook is None or not rules_for(risk, self._state.policies).events:
                result.append(risk)
                continue
            note = sentences.risk_note(outlook, fresh.report.snapshot, fresh.names, fresh.report.node)
            try:
                wait = await self._post(risk, reason(risk), note, fresh.node)
            except ApiError as error:
                problems.append(error)
                result.append(risk)
                continue
            if wait:
                waits.append(wait)
            result.append(risk if wait else risk.model_copy(update={"announced": True}))
        return tuple(result), min(waits, default=None)

    async def _announce_eviction(
        self, eviction: Eviction | None, current: Sequence[Risk], fresh: _Fresh, problems: list[ApiError]
    ) -> Eviction | None:
        """Write the Events about a node near its eviction that are not yet written; what is known to be."""
        if eviction is None or not self._state.policies.for_node().events:
            return eviction
        announced = list(eviction.announced)
        outlook = evictions.measured(eviction.signal, fresh.outlooks)
        for finding in evictions.findings(eviction, current, outlook, fresh.names):
            if finding.why.value in announced:
                continue
            body = eviction_event(
                finding.pod,
                finding.why,
                finding.note,
                since=finding.since,
                node=fresh.node,
                instance=self._instance,
                now=datetime.now(UTC),
            )
            try:
                if not await self._post_body(body, finding.why, finding.note):
                    announced.append(finding.why.value)
            except ApiError as error:
                problems.append(error)
        return eviction.model_copy(update={"announced": tuple(announced)})

    async def _announce_kills(
        self, card: Scorecard, fresh: _Fresh, now: datetime, problems: list[ApiError]
    ) -> tuple[Scorecard, float | None]:
        """Write the Events of kills that are due; the scorecard as it now is, and when to look again."""
        waits: list[float] = []
        for kill in scorecard.pending(card):
            wait = scorecard.due(kill, now)
            settled = kill.cgroup is None or fresh.names.settled(owner(kill.cgroup))
            if wait > 0 or not settled:
                waits.append(max(wait, 1.0))
                continue
            try:
                wait = await self._post_kill(kill, fresh)
            except ApiError as error:
                problems.append(error)
                continue
            if wait:
                waits.append(wait)
            else:
                card = scorecard.with_kill(card, kill.model_copy(update={"announced": True}))
        return card, min(waits, default=None)

    async def _post_kill(self, kill: ScoredKill, fresh: _Fresh) -> float:
        """Write a kill's Event where the policy wants Events; seconds to wait where it may not be now."""
        subject = scorecard.kills_subject(kill, fresh.node)
        policies: Policies = self._state.policies
        rules = policies.for_pod(subject.namespace) if subject.namespace else policies.for_node()
        if not rules.events:
            return 0.0
        note = sentences.kill_note(kill, fresh.report.node)
        body = kill_event(
            kill,
            note,
            subject=subject,
            node=fresh.node,
            instance=self._instance,
            now=datetime.now(UTC),
        )
        return await self._post_body(body, EventReason.KILL, note)

    async def _post(self, risk: Risk, why: EventReason, note: str, node: Subject) -> float:
        """Write the Event about a risk, see _post_body()."""
        body = event(risk, why, note, node=node, instance=self._instance, now=datetime.now(UTC))
        return await self._post_body(body, why, note)

    async def _post_body(self, body: dict[str, Any], why: EventReason, note: str) -> float:
        """Write an Event, unless it exists; seconds to wait where the budget does not allow it now."""
        wait = self._budget.wait(body, time.monotonic())
        if wait:
            self._count(why, "delayed")
            return wait
        namespace = body["metadata"]["namespace"]
        try:
            await self._api.create(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", body)
        except ApiError as error:
            if not (error.already_exists or _namespace_gone(error)):
                self._count(why, "failed")
                raise
            self._count(why, "existing" if error.already_exists else "failed")
        else:
            self._count(why, "written")
            log.info("%s %s: %s", why, body["metadata"]["name"], note)
        return 0.0

    async def _annotate(self, current: Sequence[Risk], problems: list[ApiError]) -> None:
        """Annotate each pod at risk with the oldest of its risks, those of its own limits first."""
        pressing: dict[str, Risk] = {}
        for risk in sorted(current, key=lambda r: (scope(r.domain) is not Scope.POD, r.since)):
            pressing.setdefault(risk.pod_uid, risk)
        for risk in pressing.values():
            wanted = _annotations(risk) if self._annotates(risk) else None
            try:
                await self._put_annotations(risk, wanted)
            except ApiError as error:
                problems.append(error)

    def _annotates(self, risk: Risk) -> bool:
        """Whether the policy of the pod's own namespace, and for a node-wide risk the node's too, says so."""
        policies: Policies = self._state.policies
        namespace = risk.pod.partition("/")[0]
        return rules_for(risk, policies).annotations and policies.for_pod(namespace).annotations

    async def _put_annotations(self, risk: Risk, values: dict[str, str] | None) -> None:
        pod = pod_subject(risk)
        if pod is None:
            return
        wanted: dict[str, str | None] = {key.value: (values or {}).get(key.value) for key in Annotation}
        if self._annotated.get(pod.uid) == wanted:
            return
        # The UID makes the API server refuse a new pod that has taken the old one's name.
        body = {"metadata": {"uid": pod.uid, "annotations": wanted}}
        try:
            await self._api.patch(f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}", body)
        except ApiError as error:
            if not (error.not_found or error.another_object):
                raise
        if values is None:
            self._annotated.pop(pod.uid, None)
        else:
            self._annotated[pod.uid] = wanted

    async def _without_report(
        self, name: str, stored: dict[str, Any] | None, before: OOMForecastStatus | None
    ) -> None:
        """A report was deleted. With its Node gone the forecast goes too; else it says what is missing."""
        self._pods.forget(name)
        if self._history is not None:
            self._history.forget(name)
        self._metrics.sources.nodes.pop(name, None)
        if stored is None or before is None:
            return
        for risk in before.risks:
            await self._put_annotations(risk, None)
        now = datetime.now(UTC)
        gone = ReportError("the node's report was deleted: is its agent running?", ConditionReason.STALE)
        after = _unusable(name, before, gone, now).model_copy(
            update={"risks": (), "next": None, "domains": ()}
        )
        await self._write(stored, before, after, None)

    async def _get_forecast(self, name: str) -> dict[str, Any] | None:
        try:
            return await self._api.get(f"{_FORECASTS}/{name}")
        except ApiError as error:
            if error.not_found:
                return None
            raise

    async def _write(
        self,
        stored: dict[str, Any] | None,
        before: OOMForecastStatus | None,
        after: OOMForecastStatus,
        node_uid: str | None,
    ) -> dict[str, Any]:
        """Write a status where it says something new; the forecast as it is stored then."""
        if stored is not None and not status.worth_writing(before, after):
            return stored
        if stored is None:
            stored = await self._api.create(_FORECASTS, _new_forecast(after.node, node_uid))
        body = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": _version(stored)},
            {"op": "add", "path": "/status", "value": status.document(after)},
        ]
        return await self._api.patch(f"{_FORECASTS}/{after.node}/status", body, JSON_PATCH)

    def _count(self, why: EventReason, result: str) -> None:
        self._metrics.events.labels(why.value, result).inc()


async def _advised(
    fresh: _Fresh, after: OOMForecastStatus, before: OOMForecastStatus | None
) -> tuple[Advice, ...]:
    """Advice for the pods at risk: worked out when they become so, and kept while they are."""
    if before is not None and _threatened(before) == _threatened(after):
        return before.advice
    first = after.eviction.order[:1] if after.eviction and after.eviction.near_since else ()
    uid = first[0].pod_uid if first else ""
    # It asks the model some hundreds of times: not in the way of everything else.
    return await asyncio.to_thread(advice.for_risks, after.risks, fresh.report.snapshot, fresh.names, uid)


def _threatened(status: OOMForecastStatus) -> tuple[Any, ...]:
    """Who is at risk of what."""
    near = status.eviction is not None and status.eviction.near_since is not None
    evicted = status.eviction.order[:1] if near and status.eviction else ()
    risks = sorted((r.domain, r.pod_uid, r.container, r.pid) for r in status.risks)
    return tuple(risks), tuple(pod.pod_uid for pod in evicted)


def _problem(seen: Seen, now: datetime) -> ReportError | None:
    """Why a report can not be used, None where it can."""
    if isinstance(seen.report, ReportError):
        return seen.report
    age = seen.age(now, time.monotonic())
    if age > STALE_AFTER:
        minutes = int(age.total_seconds() // 60)
        return ReportError(
            f"the last report came {minutes} minutes ago: is the agent running on this node?",
            ConditionReason.STALE,
        )
    return None


def _unusable(
    name: str, before: OOMForecastStatus | None, problem: ReportError, now: datetime
) -> OOMForecastStatus:
    """The forecast stays as it was, as the last that is known, and says why it is no longer renewed."""
    base = before or OOMForecastStatus(node=name)
    ready = status.condition(
        Condition.READY,
        holds=False,
        reason=problem.reason,
        message=str(problem)[:_MESSAGE_CHARACTERS],
        before=base.conditions,
        now=now,
    )
    at_risk = status.condition(
        Condition.AT_RISK,
        holds=None,
        reason=problem.reason,
        message="not known: see Ready",
        before=base.conditions,
        now=now,
    )
    conditions = (ready, at_risk)
    return base.model_copy(update={"observed_at": now, "conditions": conditions})


def _status_of(stored: dict[str, Any] | None) -> OOMForecastStatus | None:
    """The status of a stored forecast; one that can not be read is as good as none."""
    if stored is None or not stored.get("status"):
        return None
    try:
        return OOMForecastStatus.model_validate(stored["status"])
    except ValidationError as error:
        log.warning("forecast %s can not be read and is made anew: %s", stored["metadata"]["name"], error)
        return None


def _node_uid(seen: Seen) -> str | None:
    return seen.report.node_uid if isinstance(seen.report, Report) else None


def _new_forecast(name: str, node_uid: str | None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name}
    if node_uid:
        metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Node", "name": name, "uid": node_uid}]
    return {"apiVersion": API_VERSION, "kind": FORECAST_KIND, "metadata": metadata}


def _version(stored: dict[str, Any]) -> str:
    return str(stored["metadata"]["resourceVersion"])


def _annotations(risk: Risk) -> dict[str, str]:
    victim = f"{risk.container}/{risk.comm}" if risk.container else risk.comm
    return {
        Annotation.RISK.value: risk.domain_name,
        Annotation.VICTIM.value: victim,
        Annotation.SINCE.value: risk.since.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _namespace_gone(error: ApiError) -> bool:
    """Whether an Event could not be written since its namespace is gone, or on its way out."""
    return error.not_found or (error.status == 403 and "being terminated" in str(error))  # noqa: PLR2004 - HTTP's own numbers


def _same_verdict(
    stored: dict[str, Any], verdict: tuple[bool, ConditionReason, str], generation: int | None
) -> bool:
    return (
        stored.get("type") == Condition.ACCEPTED
        and stored.get("status") == str(verdict[0])
        and stored.get("reason") == verdict[1]
        and stored.get("observedGeneration") == generation
    )
