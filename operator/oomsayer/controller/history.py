"""What Prometheus remembers of a domain from before its node's agent watched it.

The agent sees every sample, but only since it started: a sawtooth of half an hour looks like a leak to it. So
where one of a pod's domains, or the node, seems to grow and was not watched for long, Prometheus is asked for
its last two hours. It only ever adds to what the agent saw, and nobody waits for it: a forecast is made with
what is known, and made again when an answer has come. When Prometheus is slow, away, or answers nonsense, the
forecast's History condition says so.

What is asked for, in one query for up to ten pods and at most once a minute for a node:

- cAdvisor's working set without active page cache, by the label `id`, which is the cgroup's path. It tells
  two lives of a container apart, where names do not, and exists on every kubelet;
- for the node, oomsayer's own oomsayer_forecast_headroom_bytes.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from requests import Session
from requests.exceptions import ConnectionError, SSLError, Timeout  # noqa: A004 - requests' own
from urllib3.util.retry import Retry

from oomsayer.api.vocabulary import OperatorMetric
from oomsayer.forecast.growth import Growth, Point, growth
from oomsayer.forecast.headroom import Headroom
from oomsayer.forecast.history import KEPT_SECONDS
from oomsayer.forecast.prospect import Watched
from oomsayer.kernel.snapshot import ROOT
from oomsayer.kubelet.cgroups import owner

log = logging.getLogger(__name__)

STEP_SECONDS = 30
"""About how often cAdvisor looks and Prometheus scrapes: 240 points for each series, and no more."""
TIMEOUT_SECONDS = 5
"""For Prometheus to work on it, and for us to wait for each of its packets."""
FRESH_SECONDS = 60.0
"""How long an answer is good for, and how long a Prometheus that failed is left alone at first."""
LONGEST_REST_SECONDS = 600.0
FORGOTTEN_SECONDS = 900.0
PODS_A_QUERY = 10
"""With the paths of so many the URL is about 2 KB long."""

_SAID_CHARACTERS = 300
_POINTS_AT_MOST = 2 * int(KEPT_SECONDS) // STEP_SECONDS


class HistoryError(Exception):
    """Prometheus did not give an answer that can be used; the text says which."""


@dataclass(frozen=True, slots=True)
class Past:
    """What Prometheus knows of one domain.

    Attributes:
        growth: over all the time it knows of.
        last: the demand at its last point, by Prometheus' reckoning, which is not quite the node's own.
    """

    growth: Growth
    last: float


@dataclass(slots=True)
class _Node:
    """Of one node."""

    asked_at: float
    pasts: Mapping[str, Past] = field(default_factory=dict)


class PrometheusHistory:
    """Asks one Prometheus, one query at a time.

    Args:
        url: of its API, e.g. http://prometheus-operated.monitoring:9090.
        answered: called with the node's name when there is something new to tell.
        token_file: holds a bearer token; read for each query, since tokens are renewed.
        ca_file: certificates of the authorities to trust instead of the system's; read for each query too.
    """

    def __init__(
        self,
        url: str,
        answered: Callable[[str], None],
        token_file: Path | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self.trouble: str | None = None
        """Why the last query failed, "" where it did not, None before the first."""
        self._url = url
        self._token_file = token_file
        self._ca_file = ca_file
        self._answered = answered
        self._nodes: dict[str, _Node] = {}
        self._rest_until = 0.0
        self._failures = 0
        self._thread = ThreadPoolExecutor(1, "prometheus")
        self.query: asyncio.Task[None] | None = None
        """What is being asked, or was last."""

    def extend(self, node: str, watched: Watched, rooms: Mapping[str, Headroom]) -> Watched:
        """What the agent saw, lengthened by what is known of the time before. Returns at once.

        Args:
            node: name of the node.
            watched: what its agent saw.
            rooms: of its domains, by path.
        """
        seen = self._nodes.get(node)
        if watched.seconds < KEPT_SECONDS:
            self._ask_if_due(node, [path for path in watched.growths if path == ROOT or _pod_path(path)])
        if seen is None or time.monotonic() - seen.asked_at > FORGOTTEN_SECONDS:
            return watched
        longer = {
            path: together(recent, seen.pasts[path], rooms[path].demand_bytes or 0)
            for path, recent in watched.growths.items()
            if path in seen.pasts and path in rooms
        }
        return replace(watched, growths={**watched.growths, **longer})

    def forget(self, node: str) -> None:
        """A node is gone."""
        self._nodes.pop(node, None)

    async def close(self) -> None:
        """Give up what is being asked."""
        if self.query is not None:
            self.query.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _ask_if_due(self, node: str, paths: list[str]) -> None:
        now = time.monotonic()
        seen = self._nodes.get(node)
        resting = now < self._rest_until or (seen is not None and now - seen.asked_at < FRESH_SECONDS)
        if not paths or resting or (self.query is not None and not self.query.done()):
            return
        self._nodes[node] = _Node(now, seen.pasts if seen else {})
        self.query = asyncio.get_running_loop().create_task(self._ask(node, paths))

    async def _ask(self, node: str, paths: list[str]) -> None:
        loop = asyncio.get_running_loop()
        before, seen = self.trouble, self._nodes[node]
        try:
            answer = loop.run_in_executor(self._thread, self._pasts, node, paths)
            seen.pasts = await asyncio.wait_for(answer, 2 * TIMEOUT_SECONDS)
        except (HistoryError, TimeoutError) as error:
            self.trouble = str(error) or f"no answer within {2 * TIMEOUT_SECONDS} s"
            self._failures += 1
            rest = min(FRESH_SECONDS * 2.0 ** (self._failures - 1), LONGEST_REST_SECONDS)
            self._rest_until = time.monotonic() + rest
            if self.trouble != before:
                log.warning("no history from Prometheus: %s", self.trouble)
        else:
            self.trouble, self._failures = "", 0
        if self.trouble != before or not self.trouble:
            self._answered(node)

    def _pasts(self, node: str, paths: Iterable[str]) -> dict[str, Past]:
        """Ask, in a thread.

        Raises:
            HistoryError: there was no usable answer.
        """
        found: dict[str, Past] = {}
        pods = sorted({pod for path in paths if (pod := _pod_path(path))})[:PODS_A_QUERY]
        if pods:
            series = self._series(_pods_query(pods), "id")
            found |= pasts({path: since_restart(path, series) for path in series})
        if ROOT in paths:
            headrooms = self._series(_node_query(node), "node").get(node, [])
            found |= pasts({ROOT: [(moment, -headroom) for moment, headroom in headrooms]})
        return found

    def _series(self, query: str, label: str) -> dict[str, list[Point]]:
        now = datetime.now(UTC)
        headers = {}
        try:
            if self._token_file is not None:
                headers["Authorization"] = f"Bearer {self._token_file.read_text().strip()}"
            # One try: the next question comes soon enough.
            once = Retry(0, read=False)
            session = Session()
            session.verify = True if self._ca_file is None else str(self._ca_file)
            with PrometheusConnect(
                self._url, headers=headers, retry=once, session=session, timeout=TIMEOUT_SECONDS
            ) as api:
                result = api.custom_query_range(
                    query,
                    now - timedelta(seconds=KEPT_SECONDS),
                    now,
                    str(STEP_SECONDS),
                    params={"timeout": f"{TIMEOUT_SECONDS}s"},
                )
        except (OSError, PrometheusApiClientException, ValueError, LookupError, TypeError) as error:
            raise HistoryError(f"{self._url}: {_said(error)}") from error
        return read_series(result, label)


def read_series(result: Any, label: str) -> dict[str, list[Point]]:  # noqa: ANN401 - whatever the server sent
    """A matrix of Prometheus' as points by the value of a label.

    Raises:
        HistoryError: it is no such thing.
    """
    try:
        return {
            str(series["metric"][label]): [
                (float(moment), float(value)) for moment, value in series["values"]
            ][-_POINTS_AT_MOST:]
            for series in result
        }
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise HistoryError(f"the answer is no series by {label}: {error!r}") from error


def since_restart(path: str, series: Mapping[str, list[Point]]) -> list[Point]:
    """A cgroup's points since its youngest child appeared: what fell with an old one did not come back."""
    begun = [points[0][0] for other, points in series.items() if other.startswith(f"{path}/") and points]
    return [point for point in series[path] if point[0] >= max(begun, default=0.0)]


def pasts(series: Mapping[str, list[Point]]) -> dict[str, Past]:
    """The growth of each series that is long enough to tell one."""
    found = {}
    for path, points in series.items():
        grown = growth([point for point in points if abs(point[1]) < 2.0**62])
        if grown is not None:
            found[path] = Past(grown, points[-1][1])
    return found


def together(recent: Growth, past: Past, demand: float) -> Growth:
    """One growth from what the agent saw lately and what Prometheus knows of a longer time.

    A past in which demand came back more often decides: that is what the agent could not see. Else the two
    agree and narrow each other, or growth has changed, and what is recent counts.
    """
    longer = past.growth
    if longer.seconds <= recent.seconds:
        return recent
    level = demand + longer.level_bytes - past.last
    if longer.returns > recent.returns:
        return replace(longer, level_bytes=level)
    low, high = max(recent.low, longer.low), min(recent.high, longer.high)
    if low > high:
        return recent
    return replace(
        recent, low=low, middle=min(max(recent.middle, low), high), high=high, seconds=longer.seconds
    )


def _pod_path(path: str) -> str:
    """The path of the pod that a domain belongs to, "" outside pods."""
    parts = path.split("/")
    for depth in range(2, len(parts) + 1):
        above = "/".join(parts[:depth])
        if owner(above).pod_uid is not None:
            return above
    return ""


def _pods_query(pods: Iterable[str]) -> str:
    ids = json.dumps("|".join(f"{re.escape(pod)}(/.+)?" for pod in pods))
    used = f"container_memory_working_set_bytes{{id=~{ids}}}"
    # Older kubelets do not tell active page cache, which is then taken for demand.
    return f"max by (id) (({used} - container_memory_total_active_file_bytes{{id=~{ids}}}) or {used})"


def _node_query(node: str) -> str:
    return f'max by (node) ({OperatorMetric.HEADROOM.value}{{domain="node",node={json.dumps(node)}}})'


def _said(error: Exception) -> str:
    """What is wrong, without the query in it."""
    if isinstance(error, Timeout):
        return f"no answer within {TIMEOUT_SECONDS} s"
    if isinstance(error, ConnectionError):
        cause = re.sub(r" \(_ssl\.c:\d+\)", "", str(error)).rpartition(": ")[2].rstrip("\")'")
        what = "its certificate is not trusted" if isinstance(error, SSLError) else "cannot be reached"
        return f"{what} ({cause})"
    return " ".join(str(error).split())[:_SAID_CHARACTERS] or type(error).__name__
