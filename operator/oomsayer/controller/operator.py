"""The operator: watches reports, keeps forecasts, publishes risks. One of several may lead."""

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from oomsayer import __version__
from oomsayer.api.vocabulary import API_VERSION, FORECAST_PLURAL, POLICY_PLURAL, REPORT_PLURAL
from oomsayer.controller.apiserver import ApiError, ApiServer, wait_for_kinds
from oomsayer.controller.history import PrometheusHistory
from oomsayer.controller.leader import Leader
from oomsayer.controller.metrics import Metrics
from oomsayer.controller.reconcile import Reconciler
from oomsayer.controller.relist import Relist
from oomsayer.controller.state import State
from oomsayer.controller.watch import Change, Watches
from oomsayer.controller.workqueue import WorkQueue

log = logging.getLogger("oomsayer.operator")

WORKERS = 4
"""Nodes looked at side by side: their time is spent waiting for the API server."""
STUCK_SECONDS = 300.0
"""A worker that is busy with one node for so long makes the operator unhealthy."""

_NODE, _POLICY = "node/", "policy/"
_STOP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator is told.

    Attributes:
        namespace: of the leader election's Lease.
        identity: its name in the Lease and in Events.
        deployment: which owns the Lease, empty without one.
        prometheus_url: of a Prometheus that scrapes the kubelets' cAdvisor, empty without one.
        prometheus_token_file: holds a bearer token for it.
        prometheus_ca_file: holds the certificate of the authority behind its own.
    """

    namespace: str
    identity: str
    deployment: str = ""
    prometheus_url: str = ""
    prometheus_token_file: Path | None = None
    prometheus_ca_file: Path | None = None


class Operator:
    """The parts, put together.

    Args:
        settings: what it is told.
    """

    def __init__(self, settings: Settings) -> None:
        self._api = ApiServer()
        self._state = State()
        self._queue = WorkQueue()
        self._metrics = Metrics()
        self._metrics.sources.api_failures = self._api.failures
        self._history = _history(settings, self._look_again)
        identity = settings.identity
        self._reconciler = Reconciler(self._api, self._state, self._metrics, identity, self._history)
        self._leader = Leader(self._api, settings.namespace, identity, self._on_leader, settings.deployment)
        self._leading = asyncio.Event()
        self._busy: dict[str, float] = {}
        self._relist = Relist(self._api, self._state, self._look_again, self._look_at_all)
        self._watches: Watches | None = None

    async def run(self, host: str, port: int) -> None:
        """Run until SIGTERM or SIGINT.

        Raises:
            kopf.LoginError: there is no API server to talk to.
            OSError: the metrics' address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        log.info("oomsayer operator %s", __version__)
        self._api.login()
        runner = await self._serve(host, port)
        tasks = [asyncio.create_task(self._work(), name="work")]
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
        finally:
            stopped.cancel()
            await self._shut_down(tasks, runner)
        log.info("stopped")

    async def _work(self) -> None:
        """Wait for the CRDs, watch, stand for election, and work while leading."""
        resources = frozenset({REPORT_PLURAL, FORECAST_PLURAL, POLICY_PLURAL})
        await wait_for_kinds(self._api, f"/apis/{API_VERSION}", resources)
        self._watches = Watches(self._threadsafe(asyncio.get_running_loop()))
        self._watches.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leader.run(), name="leader")
            group.create_task(self._relist.run(), name="relist")
            for number in range(WORKERS):
                group.create_task(self._worker(), name=f"worker {number}")

    async def _worker(self) -> None:
        while True:
            await self._leading.wait()
            item = await self._queue.take()
            try:
                if self._leading.is_set():
                    await self._look_at(item)
                else:
                    self._queue.add(item)
            finally:
                self._queue.done(item)

    async def _look_at(self, item: str) -> None:
        started = self._busy[item] = time.monotonic()
        try:
            again = await self._reconcile(item)
        except ApiError as error:
            seconds = self._queue.failed(item, error.retry_after or 0.0)
            if not error.conflict:
                log.warning("%s: %s; again in %.0f s", item, error, seconds)
        except Exception:
            seconds = self._queue.failed(item)
            log.exception("%s: a fault of the operator's own; again in %.0f s", item, seconds)
        else:
            self._queue.succeeded(item)
            if again is not None:
                self._queue.add_after(item, again)
        finally:
            del self._busy[item]
            self._metrics.reconcile_seconds.observe(time.monotonic() - started)

    async def _reconcile(self, item: str) -> float | None:
        if item.startswith(_POLICY):
            await self._reconciler.policy(item.removeprefix(_POLICY))
            return None
        return await self._reconciler.node(item.removeprefix(_NODE))

    def _threadsafe(self, loop: asyncio.AbstractEventLoop) -> Callable[[Change], None]:
        def heard(change: Change) -> None:
            with suppress(RuntimeError):  # the loop is closed: we are on our way out
                loop.call_soon_threadsafe(self._heard, change)

        return heard

    def _heard(self, change: Change) -> None:
        name = change.obj["metadata"]["name"]
        deleted = change.kind == "DELETED"
        if change.plural == REPORT_PLURAL:
            news = (
                self._state.lost_report(name)
                if deleted
                else self._state.saw_report(change.obj, change=change.kind is not None)
            )
            if news:
                self._queue.add(_NODE + name)
            return
        news = self._state.lost_policy(name) if deleted else self._state.saw_policy(change.obj)
        self._queue.add(_POLICY + name)
        if news:
            log.info("policy %s changed: all nodes are looked at again", name)
            self._look_at_all()

    def _look_again(self, node: str) -> None:
        self._queue.add(_NODE + node)

    def _look_at_all(self) -> None:
        """At each node, and each policy: what one says of itself depends on the others."""
        for name in self._state.reports:
            self._queue.add(_NODE + name)
        for name in self._state.policy_objects:
            self._queue.add(_POLICY + name)

    async def _on_leader(self, leading: bool) -> None:  # noqa: FBT001 - the one argument of a callback
        self._metrics.sources.leading = leading
        self._metrics.sources.nodes.clear()
        if not leading:
            self._leading.clear()
            return
        self._reconciler.forget_writes()
        self._look_at_all()
        self._leading.set()

    async def _serve(self, host: str, port: int) -> web.AppRunner:
        app = web.Application()
        app.router.add_get("/metrics", self._get_metrics)
        app.router.add_get("/healthz", self._get_healthz)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, host, port).start()
        return runner

    async def _get_metrics(self, _: web.Request) -> web.Response:
        self._metrics.sources.queue_length = len(self._queue)
        text = self._metrics.exposition()
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _get_healthz(self, _: web.Request) -> web.Response:
        """Healthy as long as work goes on: a restart would not mend an API server that is away."""
        now = time.monotonic()
        stuck = [item for item, since in self._busy.items() if now - since > STUCK_SECONDS]
        if stuck:
            return web.Response(status=503, text=f"stuck: {', '.join(stuck)}\n")
        if self._watches is not None and not self._watches.alive:
            return web.Response(status=503, text="the watches have ended\n")
        return web.Response(text="ok\n")

    async def _shut_down(self, tasks: list[asyncio.Task[None]], runner: web.AppRunner) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._queue.close()
        if self._history is not None:
            await self._history.close()
        if self._watches is not None:
            await asyncio.to_thread(self._watches.stop, _STOP_SECONDS)
        await runner.cleanup()
        await self._api.close()


def _history(settings: Settings, answered: Callable[[str], None]) -> PrometheusHistory | None:
    url = settings.prometheus_url
    token, authority = settings.prometheus_token_file, settings.prometheus_ca_file
    return PrometheusHistory(url, answered, token, authority) if url else None
