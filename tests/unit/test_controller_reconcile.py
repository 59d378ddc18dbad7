"""How a risk is taken back, where the API server does not take all of it."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, cast

from tests.unit.controller_node import NOW
from tests.unit.controller_objects import JUDGED, RISK

from oomsayer.controller.apiserver import ApiError, ApiServer
from oomsayer.controller.events import OBJECT_BURST, pod_subject
from oomsayer.controller.metrics import Metrics
from oomsayer.controller.reconcile import Reconciler
from oomsayer.controller.snapshot import ReportError
from oomsayer.controller.state import STALE_AFTER, Seen, State


class Api:
    """Takes Events, and refuses to change pods."""

    def __init__(self) -> None:
        self.created: list[str] = []

    async def create(self, _path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        self.created.append(body["reason"])
        return body

    async def patch(self, path: str, _body: object) -> None:
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


class Cluster:
    """Has a forecast of one node, and no longer its report."""

    async def get(self, path: str, **_: str) -> Mapping[str, Any]:
        if "nodememoryreports" in path:
            raise ApiError(f"GET {path}: 404", 404, "NotFound")
        return {"metadata": {"name": "n1", "resourceVersion": "1"}}

    async def patch(self, _path: str, _body: object, _content_type: str) -> Mapping[str, Any]:
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
