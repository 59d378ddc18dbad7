"""Keeps kopf's complaints readable: every retry of every watch is a line of its own, and a long one."""

import logging
import re
import time
from collections.abc import Callable

QUIET_SECONDS = 300.0
"""The same complaint is not repeated within this time."""

_CHARACTERS = 300
_VOLATILE = re.compile(r"attempt #\S+|\?\S+")


class Terse(logging.Filter):
    """Passes a warning of kopf's once in a while, shortened; everything else as it is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._told: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        if not record.name.startswith("kopf"):
            return True
        message = record.getMessage()
        what, now = _VOLATILE.sub("", message), self._clock()
        self._told = {text: at for text, at in self._told.items() if now - at < QUIET_SECONDS}
        if what in self._told:
            return False
        self._told[what] = now
        record.msg, record.args = message[:_CHARACTERS], ()
        return True
