import asyncio
from typing import Any, cast

import pytest

from oomsayer.controller import leader
from oomsayer.controller.apiserver import ApiError, ApiServer
from oomsayer.controller.leader import LEASE_SECONDS, Leader, Observation, may_take, observe

HELD = {"holderIdentity": "other", "renewTime": "2026-11-24T10:00:00.000000Z"}


def test_a_lease_ages_by_the_local_clock_and_only_while_it_does_not_change() -> None:
    first = observe(HELD, None, 100.0)
    assert observe(HELD, first, 200.0) == first
    renewed = observe({**HELD, "renewTime": "2026-11-24T10:00:10.000000Z"}, first, 200.0)
    assert renewed.seen_at == 200.0


@pytest.mark.parametrize(
    ("holder", "now", "mine"),
    [("other", 144.0, False), ("other", 146.0, True), ("me", 101.0, True), ("", 101.0, True)],
    ids=["held", "expired", "already mine", "given back"],
)
def test_a_lease_may_be_taken(holder: str, now: float, *, mine: bool) -> None:
    assert may_take(Observation(holder, "t", 100.0), "me", LEASE_SECONDS, now) is mine


class Api:
    """One Lease, and an API server that can be away."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.away = False
        self.version = 0
        self.deployments: dict[str, str] = {}

    async def get(self, path: str) -> dict[str, Any]:
        self._answer()
        _, deployments, name = path.partition("/namespaces/oomsayer/deployments/")
        if deployments:
            if name not in self.deployments:
                raise ApiError("not yours", 403, "Forbidden")
            return {"metadata": {"name": name, "uid": self.deployments[name]}}
        if self.lease is None:
            raise ApiError("not there", 404, "NotFound")
        return {**self.lease, "metadata": {**self.lease["metadata"], "resourceVersion": str(self.version)}}

    async def create(self, _: str, body: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        self.lease = body
        return body

    async def replace(self, _: str, body: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        if body["metadata"].get("resourceVersion", "0") != str(self.version):
            raise ApiError("changed", 409, "Conflict")
        self.version += 1
        self.lease = body
        return body

    def _answer(self) -> None:
        if self.away:
            raise ApiError("connection refused")


def candidate(api: Api, name: str, changes: list[bool], deployment: str = "") -> Leader:
    async def on_change(leading: bool) -> None:  # noqa: FBT001 - the one argument of a callback
        changes.append(leading)

    return Leader(cast("ApiServer", api), "oomsayer", name, on_change, deployment)


async def until(holds: list[bool], wanted: list[bool]) -> None:
    async with asyncio.timeout(10):
        while holds != wanted:  # noqa: ASYNC110 - a list tells nobody when it grows
            await asyncio.sleep(0.01)


def test_it_leads_steps_down_without_an_api_server_and_leads_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "RETRY_SECONDS", 0.02)
    monkeypatch.setattr(leader, "RENEW_DEADLINE", 0.12)

    async def story() -> tuple[list[bool], dict[str, Any]]:
        api, changes = Api(), list[bool]()
        running = asyncio.create_task(candidate(api, "a", changes).run())
        await until(changes, [True])
        api.away = True
        await until(changes, [True, False])
        api.away = False
        await until(changes, [True, False, True])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert api.lease is not None
        return changes, api.lease["spec"]

    changes, spec = asyncio.run(story())
    assert changes == [True, False, True, False]
    assert spec["holderIdentity"] == ""


def test_the_second_waits_and_takes_over_what_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "RETRY_SECONDS", 0.02)

    async def story() -> tuple[list[bool], int]:
        api, first, second = Api(), list[bool](), list[bool]()
        a = asyncio.create_task(candidate(api, "a", first).run())
        await until(first, [True])
        b = asyncio.create_task(candidate(api, "b", second).run())
        seen = api.version
        async with asyncio.timeout(10):
            while api.version < seen + 3:  # noqa: ASYNC110 - nor does a number
                await asyncio.sleep(0.01)
        assert second == []
        a.cancel()
        await until(second, [True])
        b.cancel()
        await asyncio.gather(a, b, return_exceptions=True)
        assert api.lease is not None
        return first, api.lease["spec"]["leaseTransitions"]

    assert asyncio.run(story()) == ([True, False], 1)


@pytest.mark.parametrize(
    ("deployment", "owners"),
    [
        ("op", [{"apiVersion": "apps/v1", "kind": "Deployment", "name": "op", "uid": "u1"}]),
        ("forbidden", []),
        ("", []),
    ],
)
def test_a_new_lease_goes_with_its_deployment(deployment: str, owners: list[dict[str, str]]) -> None:
    async def story() -> dict[str, Any]:
        api, changes = Api(), list[bool]()
        api.deployments["op"] = "u1"
        running = asyncio.create_task(candidate(api, "a", changes, deployment).run())
        await until(changes, [True])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert api.lease is not None
        found: dict[str, Any] = api.lease
        return found

    assert asyncio.run(story())["metadata"]["ownerReferences"] == owners
