"""What is announced, that it is kept, and what is made of Events that cannot be written."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from tests.unit.controller_node import BACKUP, MI, NAMES, NOW, POD, REDIS, UID, node, seen
from tests.unit.controller_objects import JUDGED, RISK

from oomsayer.api.eviction import Eviction
from oomsayer.api.forecast import OOMForecastStatus, Scorecard, ScoredKill
from oomsayer.api.policy import OOMPolicySpec
from oomsayer.api.vocabulary import EventReason
from oomsayer.controller.announce import Announcement, Announcer, announced, due
from oomsayer.controller.apiserver import ApiError, ApiServer
from oomsayer.controller.events import OBJECT_BURST, Event, Subject
from oomsayer.controller.eviction import NodeSide, eviction
from oomsayer.controller.judged import Judged
from oomsayer.controller.metrics import Metrics
from oomsayer.controller.names import Names
from oomsayer.controller.policy import Policies, policies
from oomsayer.controller.scorecard import SETTLED_SECONDS
from oomsayer.controller.snapshot import Report
from oomsayer.forecast.match import Outcome
from oomsayer.forecast.prospect import Watched
from oomsayer.kernel.observed import KillSource
from oomsayer.kernel.snapshot import ROOT
from oomsayer.kubelet.config import DEFAULTS

KILL = ScoredKill(
    id="a-1",
    at=NOW - timedelta(seconds=SETTLED_SECONDS),
    source=KillSource.COUNTERS,
    pid=101,
    comm="redis",
    cgroup=REDIS,
    pod="shop/cart-0",
    pod_uid=UID,
    outcome=Outcome.HIT,
)
NEAR = Eviction(
    signal="memory.available",
    available_bytes=0,
    threshold_bytes=0,
    configuration="node",
    first="either",
    inversion="the kernel would kill redis",
    near_since=NOW,
)
STATUS = OOMForecastStatus(
    node="n1", risks=(RISK,), eviction=NEAR, scorecard=Scorecard(since=NOW, last=(KILL,))
)
ALL = Policies()
SILENT = policies({"default": OOMPolicySpec.model_validate({"publish": {"events": False}})})


def told(status: OOMForecastStatus, wanted: Policies = ALL) -> list[Announcement]:
    return list(due(status, status.risks, JUDGED, wanted))


def test_risks_inversions_and_kills_are_announced_one_way_and_once() -> None:
    status = STATUS
    assert [a.event.why.value for a in told(status) if a.event] == [
        "OOMRisk",
        "OOMPriorityInversion",
        "OOMKillObserved",
    ]
    for announcement in told(status):
        status = announced(status, announcement.matter)
    assert told(status) == []


def test_where_no_events_are_wanted_only_kills_count_as_announced() -> None:
    assert [(a.matter, a.event) for a in told(STATUS, SILENT)] == [(KILL, None)]


def test_a_kill_whose_time_has_not_come_is_waited_for() -> None:
    fresh = KILL.model_copy(update={"at": NOW})
    (waiting,) = told(OOMForecastStatus(node="n1", scorecard=Scorecard(since=NOW, last=(fresh,))))
    assert (waiting.event, waiting.wait) == (None, SETTLED_SECONDS)


def test_a_kill_in_a_pod_that_has_no_name_yet_is_looked_at_again() -> None:
    nameless = replace(JUDGED, names=Names())
    (waiting,) = due(STATUS.model_copy(update={"eviction": None}), (), nameless, ALL)
    assert (waiting.matter, waiting.event, waiting.wait > 0) == (KILL, None, True)


def test_a_kill_goes_by_the_rules_of_its_pods_namespace() -> None:
    quiet = policies({"quiet": OOMPolicySpec.model_validate({"namespaces": {"exclude": ["shop"]}})})
    on_host = KILL.model_copy(update={"pod": "", "pod_uid": "", "cgroup": BACKUP})
    for kill, events in ((KILL, False), (on_host, True)):
        status = OOMForecastStatus(node="n1", scorecard=Scorecard(since=NOW, last=(kill,)))
        assert [bool(a.event) for a in told(status, quiet)] == [events]


class Api:
    """Takes Events, and answers as it was told to."""

    def __init__(self, answer: ApiError | None = None) -> None:
        self.answer = answer
        self.bodies: list[dict[str, Any]] = []

    async def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert path == f"/apis/events.k8s.io/v1/namespaces/{body['metadata']['namespace']}/events"
        if self.answer is not None:
            raise self.answer
        self.bodies.append(body)
        return body


class Told:
    """An announcer and what came of what it was given."""

    def __init__(self, announcements: Iterable[Announcement], answer: ApiError | None = None) -> None:
        self.api, self.metrics, self.problems = Api(answer), Metrics(), list[ApiError]()
        announcer = Announcer(cast("ApiServer", self.api), self.metrics, "operator-0")
        self.status, self.wait = asyncio.run(announcer.announce(STATUS, announcements, self.problems))

    def counted(self, why: EventReason, result: str) -> float:
        value: float = self.metrics.events.labels(why.value, result)._value.get()  # noqa: SLF001 - no other way
        return value


def test_what_was_written_is_kept() -> None:
    done = Told(told(STATUS))
    assert [body["reason"] for body in done.api.bodies] == [a.event.why for a in told(STATUS) if a.event]
    assert (told(done.status), done.wait, done.problems) == ([], None, [])
    assert done.counted(EventReason.RISK, "written") == 1


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (ApiError("is there", 409, "AlreadyExists"), "existing"),
        (ApiError("namespace is gone", 404, "NotFound"), "failed"),
        (ApiError("namespace shop is being terminated", 403, "Forbidden"), "failed"),
    ],
)
def test_what_can_never_be_written_again_counts_as_written(answer: ApiError, result: str) -> None:
    done = Told(told(STATUS), answer)
    assert (told(done.status), done.problems) == ([], [])
    assert done.counted(EventReason.RISK, result) == 1


def test_what_could_not_be_written_is_still_due_and_the_rest_goes_on() -> None:
    done = Told(told(STATUS), ApiError("too many requests", 429))
    assert (done.status, len(done.problems)) == (STATUS, 3)


def test_beyond_the_budget_it_is_told_when_to_try_again() -> None:
    pod = Subject("Pod", "cart-0", "shop", UID)
    many = [
        Announcement(RISK.model_copy(update={"pid": n + 1}), Event(f"e{n}", EventReason.RISK, "note", pod))
        for n in range(OBJECT_BURST)
    ]
    done = Told([*many, *told(STATUS)])
    assert len(done.api.bodies) == OBJECT_BURST
    assert done.wait is not None
    assert done.status == STATUS
    assert done.counted(EventReason.RISK, "delayed") == 1


def test_nothing_is_published_about_a_pod_of_an_excluded_namespace_nor_of_its_eviction() -> None:
    used = {ROOT: 8000, POD: 300}
    crowded = node(free=2000)
    memcgs = {
        path: replace(memcg, working_set_bytes=used[path] * MI) if path in used else memcg
        for path, memcg in crowded.memcgs.items()
    }
    crowded = replace(crowded, memcgs=memcgs)
    rules = policies({"quiet": OOMPolicySpec.model_validate({"namespaces": {"exclude": ["shop"]}})})
    side = NodeSide(crowded, NAMES, DEFAULTS, seen(crowded))
    status = OOMForecastStatus(node="n1", eviction=eviction(side, None, rules.for_node(), NOW))
    here = Judged(Report("n1", "u", NOW, crowded), NAMES, seen(crowded), Watched(), {}, NOW)
    assert list(due(status, (), here, ALL))
    assert not list(due(status, (), here, rules))
