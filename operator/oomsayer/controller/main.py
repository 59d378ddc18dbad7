"""`oomsayer operator`: watches reports, keeps forecasts, publishes risks. One of several may lead."""

import argparse
import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import kopf
from aiohttp import web

from oomsayer import __version__
from oomsayer.api.flags import LOG_LEVELS, address, flag, one_of
from oomsayer.api.vocabulary import (
    API_VERSION,
    FORECAST_PLURAL,
    POLICY_PLURAL,
    REPORT_PLURAL,
    SERVICE_ACCOUNT,
)
from oomsayer.controller.apiserver import ApiError, ApiServer, wait_for_kinds
from oomsayer.controller.history import PrometheusHistory
from oomsayer.controller.leader import Leader
from oomsayer.controller.metrics import Metrics
from oomsayer.controller.reconcile import Reconciler
from oomsayer.controller.relist import Relist
from oomsayer.controller.state import State
from oomsayer.controller.terse import Terse
from oomsayer.controller.watch import Change, Watches
from oomsayer.controller.workqueue import WorkQueue

log = logging.getLogger("oomsayer.operator")

WORKERS = 4
"""Nodes looked at side by side: their time is spent waiting for the API server."""
STUCK_SECONDS = 300.0
"""A worker that is busy with one node for so long makes the operator unhealthy."""

_NODE, _POLICY = "node/", "policy/"
_STOP_SECONDS = 5.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the operator's options; each can be given as OOMSAYER_... in the environment."""
    flag(parser, "metrics-address", "[HOST]:PORT", address, "of /metrics and /healthz", default=":9465")
    flag(
        parser,
        "namespace",
        "NAME",
        str,
        "namespace of the leader election's Lease",
        default=os.environ.get("POD_NAMESPACE") or _own_namespace(),
        shown="the pod's own",
    )
    flag(
        parser,
        "identity",
        "NAME",
        str,
        "this operator's name in the Lease and in Events",
        default=os.environ.get("POD_NAME") or _host_identity(),
        shown="the pod's",
    )
    flag(
        parser,
        "deployment",
        "NAME",
        str,
        "this operator's Deployment, with which the Lease is deleted; without it, the Lease stays",
    )
    flag(
        parser,
        "prometheus-url",
        "URL",
        _url,
        "a Prometheus that scrapes the kubelets' cAdvisor, for growth from before an agent started",
    )
    flag(parser, "prometheus-token-file", "FILE", _path, "holds a bearer token for it")
    flag(parser, "prometheus-ca-file", "FILE", _path, "holds the certificate of the authority behind its own")
    flag(parser, "log-level", "LEVEL", one_of(*LOG_LEVELS), ", ".join(LOG_LEVELS), default="info")


def run(args: argparse.Namespace) -> int:
    """Run until a signal says to stop; the exit code."""
    stderr = logging.StreamHandler()
    stderr.setFormatter(Dated("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=str(args.log_level).upper(), handlers=[stderr])
    if args.log_level != "debug":
        logging.getLogger("kopf").setLevel(logging.WARNING)
        # It warns that it leaves the signals alone, which is why it runs in a thread.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
        for handler in logging.getLogger().handlers:
            handler.addFilter(Terse())
    host, port = args.metrics_address
    try:
        asyncio.run(Operator(args).run(host, port))
    except kopf.LoginError as error:
        log.error("%s", error)  # noqa: TRY400 - the sentence says it all
        return 2
    except OSError as error:
        log.error("cannot serve metrics on %s:%s: %s", host, port, error)  # noqa: TRY400 - likewise
        return 1
    return 0


class Dated(logging.Formatter):
    """Dates a line as the agent does: 2026-11-24T01:02:03.456Z, whatever TZ says."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


class Operator:
    """The parts, put together.

    Args:
        args: see add_arguments().
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self._api = ApiServer()
        self._state = State()
        self._queue = WorkQueue()
        self._metrics = Metrics()
        self._metrics.sources.api_failures = self._api.failures
        self._history = _history(args, self._look_again)
        self._reconciler = Reconciler(self._api, self._state, self._metrics, args.identity, self._history)
        self._leader = Leader(self._api, args.namespace, args.identity, self._on_leader, args.deployment)
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


def _history(args: argparse.Namespace, answered: Callable[[str], None]) -> PrometheusHistory | None:
    if not args.prometheus_url:
        return None
    return PrometheusHistory(
        args.prometheus_url, answered, args.prometheus_token_file, args.prometheus_ca_file
    )


def _url(text: str) -> str:
    """The URL of an HTTP API, without a slash at its end; "" stays."""
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL such as http://prometheus.monitoring:9090")
    return text.rstrip("/")


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _own_namespace() -> str:
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        return "oomsayer"


def _host_identity() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"
