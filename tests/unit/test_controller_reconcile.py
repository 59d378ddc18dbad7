"""How a risk is taken back, where the API server does not take all of it."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, cast

from tests.unit.controller_objects import JUDGED, RISK

from oomsayer.controller.apiserver import ApiError, ApiServer
from oomsayer.controller.events import OBJECT_BURST, pod_subject
from oomsayer.controller.metrics import Metrics
from oomsayer.controller.reconcile import Reconciler
from oomsayer.controller.state import State


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
