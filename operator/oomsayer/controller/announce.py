"""Announcements: risks, evictions, priority inversions and kills, each told in one Event.

One way for all of them. `due()` says what has not been announced, as data. The Announcer writes it, unless
it exists. `announced()` keeps in the status that it was, so that it is not announced again.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TypeAlias

from oomsayer.api.forecast import OOMForecastStatus, Risk, ScoredKill
from oomsayer.api.vocabulary import EventReason
from oomsayer.controller import eviction, scorecard, sentences
from oomsayer.controller.apiserver import ApiError, ApiServer
from oomsayer.controller.events import (
    Event,
    EventBudget,
    event,
    eviction_event,
    held_back,
    kill_event,
    reason,
)
from oomsayer.controller.judged import Judged
from oomsayer.controller.metrics import Metrics
from oomsayer.controller.policy import Policies
from oomsayer.controller.risk import by_path, rules_for
from oomsayer.kubelet.cgroups import owner

log = logging.getLogger(__name__)

Matter: TypeAlias = Risk | EventReason | ScoredKill
"""What an announcement is about, as the status keeps it: of a node near its eviction, the Event's reason."""

_LOOK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Announcement:
    """Something to be told.

    Attributes:
        matter: what it is about.
        event: what is to be written, None where the policy wants it to be kept without.
        wait: seconds until its time has come.
    """

    matter: Matter
    event: Event | None
    wait: float = 0.0


def due(
    status: OOMForecastStatus, current: Sequence[Risk], judged: Judged, policies: Policies
) -> Iterator[Announcement]:
    """What is to be announced and was not yet.

    Args:
        status: what is told of the node, and what was announced of it.
        current: the risks of now: the status may keep some that have ended.
        judged: its report.
        policies: what is wanted.
    """
    yield from _risks(status, current, judged, policies)
    if policies.for_node().events:
        yield from _evictions(status, current, judged, policies)
    yield from _kills(status, judged, policies)


def ending(risk: Risk, judged: Judged) -> Event:
    """The Event with which a risk ends."""
    note = sentences.ended_note(risk, by_path(judged.outlooks).get(risk.domain), judged.report.node)
    return event(risk, EventReason.RISK_ENDED, note, node=judged.node)


def announced(status: OOMForecastStatus, matter: Matter) -> OOMForecastStatus:
    """The status in which this is kept as announced."""
    done = {"announced": True}
    if isinstance(matter, Risk):
        risks = tuple(risk.model_copy(update=done) if risk == matter else risk for risk in status.risks)
        return status.model_copy(update={"risks": risks})
    if isinstance(matter, ScoredKill) and status.scorecard is not None:
        card = scorecard.with_kill(status.scorecard, matter.model_copy(update=done))
        return status.model_copy(update={"scorecard": card})
    if isinstance(matter, EventReason) and status.eviction is not None:
        reasons = (*status.eviction.announced, matter.value)
        return status.model_copy(
            update={"eviction": status.eviction.model_copy(update={"announced": reasons})}
        )
    return status


def _risks(
    status: OOMForecastStatus, current: Iterable[Risk], judged: Judged, policies: Policies
) -> Iterator[Announcement]:
    domains = by_path(judged.outlooks)
    report = judged.report
    for risk in current:
        outlook = domains.get(risk.domain)
        if not risk.announced and outlook is not None and rules_for(risk, policies).events:
            note = sentences.risk_note(outlook, report.snapshot, judged.names, report.node)
            wait = held_back(risk, status.past_risks, judged.now)
            yield Announcement(risk, event(risk, reason(risk), note, node=judged.node), wait)


def _evictions(
    status: OOMForecastStatus, current: Sequence[Risk], judged: Judged, policies: Policies
) -> Iterator[Announcement]:
    said = status.eviction
    if said is None:
        return
    outlook = eviction.measured(said.signal, judged.outlooks)
    for finding in eviction.findings(said, current, outlook, judged.names):
        wanted = policies.for_pod(finding.pod.namespace).events
        if wanted and finding.why.value not in said.announced:
            yield Announcement(
                finding.why,
                eviction_event(finding.pod, finding.why, finding.note, since=finding.since, node=judged.node),
            )


def _kills(status: OOMForecastStatus, judged: Judged, policies: Policies) -> Iterator[Announcement]:
    for kill in scorecard.pending(status.scorecard):
        wait = scorecard.due(kill, judged.now)
        settled = kill.cgroup is None or judged.names.settled(owner(kill.cgroup))
        if wait > 0 or not settled:
            yield Announcement(kill, None, max(wait, _LOOK_AGAIN_SECONDS))
        else:
            yield Announcement(kill, _of_kill(kill, judged, policies))


def _of_kill(kill: ScoredKill, judged: Judged, policies: Policies) -> Event | None:
    subject = scorecard.kills_subject(kill, judged.node)
    rules = policies.for_pod(subject.namespace) if subject.namespace else policies.for_node()
    if not rules.events:
        return None
    note = sentences.kill_note(kill, judged.report.node)
    return kill_event(kill, note, subject=subject, node=judged.node)


class Announcer:
    """Writes Events, each once and no more than there may be.

    Args:
        api: the API server.
        metrics: where they are counted.
        instance: this operator's name in them.
    """

    def __init__(self, api: ApiServer, metrics: Metrics, instance: str) -> None:
        self._api = api
        self._metrics = metrics
        self._instance = instance
        self._budget = EventBudget()

    async def announce(
        self, status: OOMForecastStatus, announcements: Iterable[Announcement], problems: list[ApiError]
    ) -> tuple[OOMForecastStatus, float | None]:
        """Announce what is due; the status that keeps what was, and when to try what had to wait."""
        waits: list[float] = []
        for announcement in announcements:
            wait = announcement.wait
            try:
                if not wait and announcement.event is not None:
                    wait = await self.write(announcement.event)
            except ApiError as error:
                problems.append(error)
                continue
            if wait:
                waits.append(wait)
            else:
                status = announced(status, announcement.matter)
        return status, min(waits, default=None)

    async def write(self, event: Event) -> float:
        """Write an Event, unless it exists; seconds to wait where the budget does not allow it now.

        Raises:
            ApiError: it could not be written, and may be later.
        """
        wait = self._budget.wait(event.regarding, time.monotonic())
        if wait:
            self._count(event, "delayed")
            return wait
        path = f"/apis/events.k8s.io/v1/namespaces/{event.regarding.event_namespace}/events"
        try:
            await self._api.create(path, event.body(self._instance, datetime.now(UTC)))
        except ApiError as error:
            self._count(event, "existing" if error.already_exists else "failed")
            if not (error.already_exists or _namespace_gone(error)):
                raise
        else:
            self._count(event, "written")
            log.info("%s %s: %s", event.why, event.name, event.note)
        return 0.0

    def _count(self, event: Event, result: str) -> None:
        self._metrics.events.labels(event.why.value, result).inc()


def _namespace_gone(error: ApiError) -> bool:
    """Whether an Event could not be written since its namespace is gone, or on its way out."""
    return error.not_found or (error.status == HTTPStatus.FORBIDDEN and "being terminated" in str(error))
