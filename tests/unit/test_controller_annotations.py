"""How often pods are annotated."""

import asyncio
from typing import Any, cast

from tests.unit.controller_objects import RISK

from oomsayer.api.policy import OOMPolicySpec
from oomsayer.controller.annotations import Annotations
from oomsayer.controller.apiserver import ApiServer
from oomsayer.controller.policy import Policies, policies

PLAIN = policies({"plain": OOMPolicySpec.model_validate({"publish": {"annotations": False}})})


class Api:
    """Takes all changes of pods, and keeps which annotations they set."""

    def __init__(self) -> None:
        self.set: list[bool] = []

    async def patch(self, _path: str, body: Any) -> None:  # noqa: ANN401 - JSON
        self.set.append(any(body["metadata"]["annotations"].values()))


def annotated(*wanted: Policies) -> list[bool]:
    """What is written while a risk goes on under one policy after another, and then ends."""
    api = Api()
    annotations = Annotations(cast("ApiServer", api))

    async def go() -> None:
        for rules in wanted:
            await annotations.annotate("n1", [RISK], rules, [])
        await annotations.clear("n1", RISK)
        await annotations.annotate("n1", [RISK], wanted[-1], [])

    asyncio.run(go())
    return api.set


def test_what_a_pod_has_is_not_written_again_and_a_new_risk_takes_nothing_for_written() -> None:
    assert annotated(Policies(), Policies()) == [True, False, True]


def test_annotations_that_nobody_wants_are_taken_away_once() -> None:
    assert annotated(PLAIN, PLAIN, PLAIN) == [False, False]
    assert annotated(Policies(), PLAIN, PLAIN) == [True, False, False]
