"""One line an event on standard error. The logging package would take a mebibyte of every node."""

import sys
from dataclasses import dataclass
from enum import IntEnum
from time import time

from oomsayer.agent.report import rfc3339


class Level(IntEnum):
    """How much an event matters."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


@dataclass(frozen=True, slots=True)
class Journal:
    """Writes events of a level and above."""

    least: Level = Level.INFO

    def debug(self, text: str) -> None:
        """What only matters when looking closer."""
        self._write(Level.DEBUG, text)

    def info(self, text: str) -> None:
        """What happens seldom and is as it should be."""
        self._write(Level.INFO, text)

    def warning(self, text: str) -> None:
        """What is wrong and may pass."""
        self._write(Level.WARNING, text)

    def error(self, text: str) -> None:
        """What somebody has to mend."""
        self._write(Level.ERROR, text)

    def _write(self, level: Level, text: str) -> None:
        if level < self.least:
            return
        sys.stderr.write(f"{rfc3339(time())} {level.name} {_harmless(text)}\n")
        sys.stderr.flush()


def _harmless(text: str) -> str:
    r"""Text of printable characters alone, on one line: a process may call itself anything.

    Others are written as \xNN or, beyond Latin-1, \u{NNNN}.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(ord(c)) for c in text)


def _escaped(code: int) -> str:
    return f"\\x{code:02x}" if code <= _LATIN else f"\\u{{{code:x}}}"


_LATIN = 0xFF
