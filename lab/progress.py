"""What the lab says while it works: one line a step, with the seconds since it started."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.errors import LabError

_STARTED = time.monotonic()
_REMINDER_SECONDS = 30.0
_POLL_SECONDS = 0.2
_TAIL_LINES = 15


def say(text: str) -> None:
    """Print a progress line on stderr, so that stdout stays free for results."""
    print(f"[{time.monotonic() - _STARTED:4.0f}s] {text}", file=sys.stderr, flush=True)


def run_step(
    label: str,
    argv: Sequence[str | Path],
    *,
    log: Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Run a long command with its output in `log`, and remind people that it is still at work.

    Raises:
        LabError: the command failed; the text ends with the last lines of its output.
    """
    say(label)
    began = reminded = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        while process.poll() is None:
            time.sleep(_POLL_SECONDS)
            now = time.monotonic()
            if now - reminded >= _REMINDER_SECONDS:
                reminded = now
                say(f"{label} ... {now - began:.0f}s")
    if process.returncode != 0:
        raise LabError(f"{label}: {argv[0]} exited with {process.returncode}; the end of {log}:\n{tail(log)}")


def tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """The last lines of a log file, indented; what cannot be read is empty."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def wait_until(
    what: str, done: Callable[[], bool], *, seconds: float, every: float = 0.5, hint: Callable[[], str] = str
) -> None:
    """Poll `done` until it holds.

    Raises:
        LabError: it did not hold within `seconds`; `hint` may add why.
    """
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise LabError(f"{what} took longer than {seconds:.0f} s\n{hint()}".rstrip())
        time.sleep(every)
