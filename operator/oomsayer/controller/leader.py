"""Leader election by a Lease: only the leader writes.

The official client's election stops for good at the first connection error and goes by the wall clock
(kubernetes.aio.leaderelection 37.0.2). This one keeps trying: a leader that cannot renew steps down before
others may take over, and stands again. Times are those of the local monotonic clock alone, as in client-go:
a Lease has expired when it was seen unchanged for its whole duration.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from oomsayer.api.vocabulary import LEASE_NAME
from oomsayer.controller.apiserver import ApiError, ApiServer

log = logging.getLogger(__name__)

LEASE_SECONDS = 45.0
"""How long others wait for a leader that says nothing."""
RENEW_DEADLINE = 30.0
"""After this long without a renewal the leader stops writing."""
RETRY_SECONDS = 10.0
"""Between renewals, and between attempts to take over: one small write in this time, cluster-wide."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of the Lease, and when it last changed by the local clock."""

    holder: str
    renew_time: str
    seen_at: float


def observe(spec: Mapping[str, Any], before: Observation | None, now: float) -> Observation:
    """Note a Lease as it is now; one that has not changed keeps the time when it was first seen so."""
    holder, renewed = str(spec.get("holderIdentity") or ""), str(spec.get("renewTime") or "")
    if before is not None and (before.holder, before.renew_time) == (holder, renewed):
        return before
    return Observation(holder, renewed, now)


def may_take(observation: Observation, me: str, duration: float, now: float) -> bool:
    """Whether the Lease is mine, nobody's, or has expired."""
    return observation.holder in ("", me) or now - observation.seen_at > duration


class Leader:
    """Stands for election until cancelled, and says when leadership comes and goes.

    Args:
        api: the API server.
        namespace: where the Lease lives.
        identity: this process's; the same pod takes its own Lease up again at once after a restart.
        on_change: called with True on becoming the leader and False on ceasing to be.
        deployment: the Deployment that this process is of, and the Lease goes with; "" for none.
    """

    def __init__(
        self,
        api: ApiServer,
        namespace: str,
        identity: str,
        on_change: Callable[[bool], Awaitable[None]],
        deployment: str = "",
    ) -> None:
        self._api = api
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._collection}/{LEASE_NAME}"
        self._namespace = namespace
        self._identity = identity
        self._on_change = on_change
        self._deployment = deployment
        self._observation: Observation | None = None
        self._renewed_at = 0.0
        self.leading = False

    async def run(self) -> None:
        """Stand for election until cancelled; then give the Lease back so that others need not wait."""
        try:
            while True:
                started = time.monotonic()
                await self._attempt(started)
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            if self.leading:
                await self._set(leading=False)
                await self._release()

    async def _attempt(self, started: float) -> None:
        patience = RENEW_DEADLINE - RETRY_SECONDS
        if self.leading:
            # No answer must not make a leader of longer than the deadline: others may take over soon after.
            patience = min(patience, max(self._renewed_at + RENEW_DEADLINE - started, 0.0))
        try:
            async with asyncio.timeout(patience):
                held = await self._take()
        except (ApiError, TimeoutError) as error:
            if not isinstance(error, ApiError) or not error.conflict:
                log.warning("leader election: %s", error or "no answer from the API server")
            held = self.leading and time.monotonic() - self._renewed_at < RENEW_DEADLINE - RETRY_SECONDS
        else:
            self._renewed_at = started
        if held != self.leading:
            await self._set(leading=held)

    async def _take(self) -> bool:
        """Take or renew the Lease where that is allowed; whether it is ours now.

        Raises:
            ApiError: the API server refused, or did not answer.
        """
        try:
            lease = await self._api.get(self._path)
        except ApiError as error:
            if not error.not_found:
                raise
            owners = await self._owners()
            metadata = {"name": LEASE_NAME, "namespace": self._namespace, "ownerReferences": owners}
            await self._api.create(self._collection, self._lease(metadata, transitions=0))
            return True
        spec = lease.get("spec") or {}
        now = time.monotonic()
        self._observation = observe(spec, self._observation, now)
        duration = float(spec.get("leaseDurationSeconds") or LEASE_SECONDS)
        if not may_take(self._observation, self._identity, duration, now):
            return False
        transitions = int(spec.get("leaseTransitions") or 0)
        if self._observation.holder != self._identity:
            transitions += 1
            spec = {}
        await self._api.replace(
            self._path, self._lease(lease["metadata"], transitions, spec.get("acquireTime"))
        )
        return True

    async def _owners(self) -> list[dict[str, str]]:
        """Who takes the Lease along when it is deleted: an uninstall does not know of it."""
        if not self._deployment:
            return []
        path = f"/apis/apps/v1/namespaces/{self._namespace}/deployments/{self._deployment}"
        try:
            uid = (await self._api.get(path))["metadata"]["uid"]
        except ApiError as error:
            log.info("the Lease will stay after an uninstall: %s", error)
            return []
        return [{"apiVersion": "apps/v1", "kind": "Deployment", "name": self._deployment, "uid": uid}]

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(5):
                lease = await self._api.get(self._path)
                spec = lease.get("spec") or {}
                if spec.get("holderIdentity") == self._identity:
                    lease["spec"] = {**spec, "holderIdentity": "", "leaseDurationSeconds": 1}
                    await self._api.replace(self._path, lease)
        except (ApiError, TimeoutError) as error:
            log.info("could not give the lease back: %s", error)

    async def _set(self, *, leading: bool) -> None:
        self.leading = leading
        log.info("%s is %s the leader", self._identity, "now" if leading else "no longer")
        await self._on_change(leading)

    def _lease(
        self, metadata: Mapping[str, Any], transitions: int, acquired: str | None = None
    ) -> dict[str, Any]:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": dict(metadata),
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": int(LEASE_SECONDS),
                "acquireTime": acquired or now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }
