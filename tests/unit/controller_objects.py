"""What the controller reads and writes of its test node: objects of the API, and what follows from them."""

import json
from datetime import timedelta
from typing import Any

from tests.unit.controller_node import NAMES, NOW, REDIS, UID, node, seen

from oomsayer.agent.report import status_of
from oomsayer.api.forecast import OOMForecastStatus, Risk
from oomsayer.controller.forecast import forecast_domains, next_victim
from oomsayer.controller.judged import Judged
from oomsayer.controller.policy import Policies
from oomsayer.controller.risk import risks
from oomsayer.controller.snapshot import Report
from oomsayer.forecast.prospect import Watched

NODE = node(redis=490)
JUDGED = Judged(Report("n1", "u", NOW, NODE), NAMES, seen(NODE), Watched(), {}, NOW)
RISK = Risk(pod="shop/cart-0", pod_uid=UID, container="redis", domain=REDIS, pid=101, comm="redis", since=NOW)


def report(version: str = "1", **status: object) -> dict[str, Any]:
    said = json.loads(json.dumps(status_of(node())))
    return {"metadata": {"name": "n1", "resourceVersion": version}, "status": said | status}


def policy(name: str, percent: int, generation: int = 1) -> dict[str, Any]:
    spec = {"thresholds": {"podHeadroomPercent": percent}}
    return {"metadata": {"name": name, "generation": generation}, "spec": spec}


def status(
    redis: int = 100, web: int = 100, free: int = 6000, after: timedelta = timedelta()
) -> OOMForecastStatus:
    outlooks = seen(node(redis, web, free))
    return OOMForecastStatus(
        node="n1",
        observed_at=NOW + after,
        kernel="6.12.0",
        era="E6",
        next=next_victim(outlooks, NAMES, 4096),
        domains=forecast_domains(outlooks, NAMES, 4096),
        risks=risks(outlooks, (), NAMES, Policies(), NOW),
    )
