"""How a risk is taken back, where the API server does not take all of it."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from tests.unit.controller_crowd import BATCH_UID, PODS, crowd
from tests.unit.controller_node import CART, MI, NOW, REDIS, REDIS_ID, UID, WEB_ID, node, seen
from tests.unit.controller_objects import JUDGED, RISK, report, status

from oomsayer.api.forecast import OOMForecastStatus
from oomsayer.controller.advice import for_risks
from oomsayer.controller.apiserver import ApiError, ApiServer
from oomsayer.controller.events import OBJECT_BURST, pod_subject
from oomsayer.controller.forecast import forecast_domains
from oomsayer.controller.metrics import Metrics
from oomsayer.controller.names import Names
from oomsayer.controller.policy import Policies
from oomsayer.controller.reconcile import ENDING_SECONDS, Reconciler, _advised
from oomsayer.controller.risk import risks
from oomsayer.controller.snapshot import ReportError
from oomsayer.controller.state import STALE_AFTER, Seen, State
from oomsayer.controller.status import wire
from oomsayer.kubelet.cgroups import Qos
from oomsayer.kubelet.podspec import Container, PodSpec


class Api:
    """Takes Events, and refuses to change pods."""

    def __init__(self) -> None:
        self.created: list[str] = []

    async def create(self, _path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        self.created.append(body["reason"])
        return body

    async def patch(self, path: str, _body: object, *_: str) -> Mapping[str, Any]:
        raise ApiError(f"PATCH {path}: 403 every container must have limits", 403, "Forbidden")


def taken_back(api: Api, *, written_before: int) -> bool:
    """Whether a risk has ended, after so many Events about its pod."""
    reconciler = Reconciler(cast("ApiServer", api), State(), Metrics(), "me")
    risk = RISK.model_copy(update={"announced": True})
    pod = pod_subject(risk)
    assert pod is not None
    for _ in range(written_before):
        reconciler._announcer._budget.wait(pod, time.monotonic())  # noqa: SLF001 - no other way
    return asyncio.run(reconciler._take_back(risk, (), JUDGED, []))  # noqa: SLF001 - likewise


def test_a_risk_ends_though_its_pod_may_not_be_changed() -> None:
    api = Api()
    assert taken_back(api, written_before=0)
    assert api.created == ["OOMRiskEnded"]


def test_a_risk_whose_last_event_has_to_wait_has_not_ended() -> None:
    api = Api()
    assert not taken_back(api, written_before=OBJECT_BURST)
    assert api.created == []


class Calm(Api):
    """Has the forecast of a node that was at risk, and the node's pod."""

    async def get(self, path: str, **_: str) -> Mapping[str, Any]:
        if "oomforecasts" in path:
            risk = RISK.model_copy(update={"announced": True})
            status = wire(OOMForecastStatus(node="n1", risks=(risk,)))
            return {"metadata": {"name": "n1", "resourceVersion": "1"}, "status": status}
        ids = {"redis": REDIS_ID, "web": WEB_ID}
        running = [{"name": name, "containerID": f"containerd://{number}"} for name, number in ids.items()]
        pod = {"namespace": "shop", "name": "cart-0", "uid": UID}
        return {"items": [{"metadata": pod, "status": {"containerStatuses": running}}]}

    async def patch(self, path: str, _body: object, *_: str) -> Mapping[str, Any]:
        return {"metadata": {"name": path, "resourceVersion": "2"}}


def test_an_end_that_had_to_wait_is_tried_again_though_no_report_comes() -> None:
    state, api = State(), Calm()
    state.saw_report(report(), change=True)
    reconciler = Reconciler(cast("ApiServer", api), state, Metrics(), "me")
    pod = pod_subject(RISK)
    assert pod is not None
    for _ in range(OBJECT_BURST):
        reconciler._announcer._budget.wait(pod, time.monotonic())  # noqa: SLF001 - no other way
    assert asyncio.run(reconciler.node("n1")) == ENDING_SECONDS
    assert api.created == []


class Cluster:
    """Has a forecast of one node, and no longer its report."""

    def __init__(self, status: Mapping[str, Any] | None = None) -> None:
        self.status = status

    async def get(self, path: str, **_: str) -> Mapping[str, Any]:
        if "nodememoryreports" in path:
            raise ApiError(f"GET {path}: 404", 404, "NotFound")
        return {"metadata": {"name": "n1", "resourceVersion": "1"}, "status": self.status}

    async def patch(self, _path: str, body: Any, _content_type: str) -> Mapping[str, Any]:  # noqa: ANN401 - JSON
        self.status = body[-1]["value"]
        return {}


def test_a_report_that_cannot_be_used_is_looked_for_again_since_it_may_be_gone() -> None:
    state, metrics = State(), Metrics()
    reconciler = Reconciler(cast("ApiServer", Cluster()), state, metrics, "me")
    state.reports["n1"] = Seen(ReportError("of another time"), "1", NOW, time.monotonic())
    again = asyncio.run(reconciler.node("n1"))
    assert (again, list(metrics.sources.nodes)) == (STALE_AFTER.total_seconds(), ["n1"])
    state.reports["n1"] = Seen(ReportError("of another time"), "1", NOW, time.monotonic() - 901)
    assert asyncio.run(reconciler.node("n1")) is None
    assert (list(metrics.sources.nodes), list(state.reports)) == ([], [])


def test_without_its_report_a_forecast_neither_foretells_nor_advises() -> None:
    advice = for_risks((), crowd(), PODS, evicted_first=BATCH_UID)
    assert advice
    cluster = Cluster(wire(status().model_copy(update={"advice": advice})))
    asyncio.run(Reconciler(cast("ApiServer", cluster), State(), Metrics(), "me").node("n1"))
    assert cluster.status is not None
    left = {name for name, said in cluster.status.items() if said}
    assert left == {"node", "observedAt", "kernel", "era", "conditions"}


def advised(redis: int, limit: int, before: OOMForecastStatus | None = None) -> OOMForecastStatus:
    """The forecast of the node whose redis has so many MiB of such a limit, and what it advises."""
    snapshot = node(redis)
    memcgs = {**snapshot.memcgs, REDIS: replace(snapshot.memcgs[REDIS], max_bytes=limit * MI)}
    snapshot = replace(snapshot, memcgs=memcgs)
    containers = (Container("redis", 0, limit * MI), Container("web", 0, 1024 * MI))
    pods = {UID: replace(CART, spec=PodSpec(Qos.BURSTABLE, containers))}
    names, outlooks = Names(pods), seen(snapshot)
    judged = replace(JUDGED, report=replace(JUDGED.report, snapshot=snapshot), names=names)
    current = risks(outlooks, before.risks if before else (), names, Policies(), NOW)
    said = OOMForecastStatus(node="n1", domains=forecast_domains(outlooks, names, 4096), risks=current)
    return asyncio.run(_advised(judged, said, before))


def limits(status: OOMForecastStatus) -> list[tuple[str, str]]:
    return [(each.before, each.value) for each in status.advice if each.field == "limits.memory"]


def test_advice_is_worked_out_anew_when_a_risk_is_graver_or_its_limit_another() -> None:
    first = advised(480, 512)
    assert limits(first) == [("512Mi", "565Mi")]
    assert advised(481, 512, first).advice == first.advice
    graver = advised(506, 512, first)
    assert limits(graver) == [("512Mi", "596Mi")]
    assert limits(advised(506, 550, first)) == [("550Mi", "596Mi")]
