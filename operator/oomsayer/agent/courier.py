"""Takes the newest report to the API server, however long that is away.

Only the latest state matters, so nothing is queued: when a write can be tried, whatever is newest then
is written. The sampling loop never waits for the network.
"""

import threading
from collections.abc import Callable

from oomsayer.agent.apiserver import NotWritten
from oomsayer.agent.chance import chance

FIRST_BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 30.0
"""An API server that was away for a minute has the report at most this long after it is back; 1000
agents come back spread over it."""

LONGEST_RETRY_AFTER_SECONDS = 120.0
"""What an API server may ask for; a longer wish is a mistake."""


def backoff(failures: int, retry_after: float | None, chance: float) -> float:
    """Seconds to wait after a number of failures in a row.

    Args:
        failures: 1 or more.
        retry_after: seconds that the server asked for, None where it did not.
        chance: 0 to 1, which spreads agents that failed together over half of the time.
    """
    doubled = FIRST_BACKOFF_SECONDS * 2.0 ** min(failures - 1, 10)
    wait = min(doubled, LONGEST_BACKOFF_SECONDS) * (0.5 + chance / 2)
    return max(wait, min(retry_after or 0.0, LONGEST_RETRY_AFTER_SECONDS))


class Courier:
    """A thread that delivers when told to, and tries again until it succeeds."""

    def __init__(self, deliver: Callable[[], None], failed: Callable[[NotWritten, float], None]) -> None:
        """A courier that is not yet started.

        Args:
            deliver: writes the newest report; NotWritten makes it be called again after a while.
            failed: told of each failure and of the seconds until the next attempt.
        """
        self._deliver = deliver
        self._failed = failed
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="courier", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Give up what is not delivered yet, and wait at most `timeout` seconds for what is on its way."""
        self._stopping.set()
        self._wanted.set()
        self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    @property
    def busy(self) -> bool:
        """Whether a report is due that has not been taken yet: what is newest by then will be said."""
        return self._wanted.is_set()

    def send(self) -> None:
        """Have the newest report delivered."""
        self._wanted.set()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._wanted.wait()
            if self._stopping.is_set():
                return
            try:
                self._deliver()
            except NotWritten as error:
                failures += 1
                wait = backoff(failures, error.retry_after, chance())
                self._failed(error, wait)
                self._stopping.wait(wait)
            else:
                failures = 0
                self._wanted.clear()
