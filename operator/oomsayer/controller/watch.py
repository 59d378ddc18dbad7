"""What the operator hears from the API server: kopf watches reports and policies, in a thread of its own.

Only low-level event handlers: they put no finalizer and no annotation on anything, and an event that is
lost or repeated changes nothing. kopf takes over the signals and the stray tasks of the loop that it runs
in; a loop of its own keeps the two apart, and lets it be started again if it ever gives up.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import kopf

from oomsayer.api.vocabulary import GROUP, POLICY_PLURAL, REPORT_PLURAL, VERSION
from oomsayer.controller.apiserver import connection

log = logging.getLogger(__name__)

RESTART_SECONDS = 5.0
"""Pause before the watches are started again, should kopf give up."""

_BACKOFF_LAST = 30.0


@dataclass(frozen=True, slots=True)
class Change:
    """An object as the API server told of it.

    Attributes:
        plural: which resource.
        kind: "ADDED", "MODIFIED", "DELETED", or None for one found in a list.
        obj: the object.
    """

    plural: str
    kind: str | None
    obj: dict[str, Any]


class _Backoffs:
    """Endless, so that a request to an API server that is down is retried and never given up."""

    def __iter__(self) -> Iterator[float]:
        seconds = 1.0
        while True:
            yield seconds
            seconds = min(seconds * 2, _BACKOFF_LAST)


def settings() -> kopf.OperatorSettings:
    """How kopf runs here: it watches, and writes nothing at all."""
    result = kopf.OperatorSettings()
    result.posting.enabled = False
    result.scanning.disabled = True
    result.peering.standalone = True
    result.networking.error_backoffs = _Backoffs()
    result.networking.connect_timeout = 10
    result.networking.request_timeout = 60
    # Bookmarks come about once a minute: a watch without any is dead, whatever its connection looks like.
    result.watching.inactivity_timeout = 90
    result.watching.server_timeout = 600
    result.watching.reconnect_backoff = 1
    # Memory: kopf keeps a task for every object until it has been idle for so long (default 5 s).
    result.watching.chunk_size = 200
    result.queueing.idle_timeout = 0.05
    return result


def registry(heard: Callable[[Change], None]) -> kopf.OperatorRegistry:
    """The handlers: every event of the watched resources goes to `heard`."""
    result = kopf.OperatorRegistry()

    @kopf.on.login(registry=result)
    async def login(**_: Any) -> kopf.ConnectionInfo:  # noqa: ANN401 - kopf's protocol
        return connection()

    for plural in (REPORT_PLURAL, POLICY_PLURAL):

        @kopf.on.event(GROUP, VERSION, plural, registry=result, id=plural)
        async def handle(event: kopf.RawEvent, plural: str = plural, **_: Any) -> None:  # noqa: ANN401 - kopf's protocol
            heard(Change(plural, event["type"], dict(event["object"])))

    return result


class Watches:
    """The thread in which kopf runs.

    Args:
        heard: called in that thread with every event.
    """

    def __init__(self, heard: Callable[[Change], None]) -> None:
        self._heard = heard
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watches", daemon=True)

    def start(self) -> None:
        """Begin to watch. kopf lists what there is first."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def stop(self, timeout: float) -> None:
        """Stop watching, waiting at most `timeout` seconds for it."""
        self._stop.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                asyncio.run(
                    kopf.operator(
                        registry=registry(self._heard),
                        settings=settings(),
                        clusterwide=True,
                        standalone=True,
                        stop_flag=self._stop,
                    )
                )
            except Exception as error:  # noqa: BLE001 - whatever ends the watches, they must begin again
                log.warning("the watches ended and begin again: %s", error or type(error).__name__)
            self._stop.wait(RESTART_SECONDS)
