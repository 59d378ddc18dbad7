"""Names of things to look at: each at most once in the queue, and in one worker's hands at a time.

A burst of changes to one node is looked at once, at its newest. What fails comes back later and later.
"""

import asyncio
from collections import deque

BACKOFF_FIRST, BACKOFF_LAST = 1.0, 60.0
"""Seconds until a failed item is tried again: doubling from the first to the last."""


class WorkQueue:
    """A queue that coalesces. For one event loop."""

    def __init__(self) -> None:
        self._queue: deque[str] = deque()
        self._waiting: set[str] = set()
        self._working: set[str] = set()
        self._again: set[str] = set()
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, item: str) -> None:
        """Have `item` looked at as soon as may be."""
        self._cancel_timer(item)
        if item in self._working:
            self._again.add(item)
        elif item not in self._waiting:
            self._waiting.add(item)
            self._queue.append(item)
            self._ready.set()

    def add_after(self, item: str, seconds: float) -> None:
        """Have `item` looked at in a while, unless it is before; a later call replaces an earlier one."""
        self._cancel_timer(item)
        self._timers[item] = asyncio.get_running_loop().call_later(seconds, self.add, item)

    async def take(self) -> str:
        """The next item; it is this worker's until it says done()."""
        while not self._queue:
            self._ready.clear()
            await self._ready.wait()
        item = self._queue.popleft()
        self._waiting.discard(item)
        self._working.add(item)
        return item

    def done(self, item: str) -> None:
        """The worker has finished with `item`, well or not."""
        self._working.discard(item)
        if item in self._again:
            self._again.discard(item)
            self.add(item)

    def failed(self, item: str, at_least: float = 0.0) -> float:
        """Have a failed item tried again after a growing pause, which is returned in seconds."""
        failures = self._failures.get(item, 0)
        self._failures[item] = failures + 1
        seconds = max(min(BACKOFF_FIRST * 2.0 ** min(failures, 16), BACKOFF_LAST), at_least)
        self.add_after(item, seconds)
        return seconds

    def succeeded(self, item: str) -> None:
        """Forget that `item` ever failed."""
        self._failures.pop(item, None)

    def close(self) -> None:
        """Cancel all that was to come."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _cancel_timer(self, item: str) -> None:
        timer = self._timers.pop(item, None)
        if timer is not None:
            timer.cancel()
