"""Processes that outlive the command that started them, known by pid and start time together.

A pid alone may belong to somebody else by the time it is used; with the start time it cannot.
"""

import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.progress import tail, wait_until

_KILL_AFTER_SECONDS = 15.0
_STAT_STATE = 0
_STAT_START_TIME = 19
# They may outlive this process; while both live, it must not forget them or Python complains.
_children: set["subprocess.Popen[bytes]"] = set()


@dataclass(frozen=True, slots=True)
class Daemon:
    """A background process with its record `NAME.pid` and its output `NAME.log` in a run directory."""

    directory: Path
    name: str

    @property
    def log(self) -> Path:
        """The file with the process's output."""
        return self.directory / f"{self.name}.log"

    @property
    def _record(self) -> Path:
        return self.directory / f"{self.name}.pid"

    def start(self, argv: Sequence[str | Path], env: Mapping[str, str] | None = None) -> None:
        """Start the process in a session of its own; it must not be running."""
        with self.log.open("wb") as output:
            process = subprocess.Popen(
                argv,
                env=env,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        _children.add(process)
        record = {"pid": process.pid, "start": start_time(process.pid), "command": str(argv[0])}
        partial = self._record.with_suffix(".partial")
        partial.write_text(json.dumps(record))
        partial.rename(self._record)

    def pid(self) -> int | None:
        """The pid, if that very process still runs."""
        try:
            record = json.loads(self._record.read_text())
            pid, started = int(record["pid"]), record["start"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if started is not None and start_time(pid) == started:
            return pid
        _reap()
        return None

    def stop(self) -> None:
        """End the process (SIGTERM, then SIGKILL after 15 s) and forget it; one that is gone is no error."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            pid = self.pid()
            if pid is None:
                break
            try:
                os.kill(pid, number)
                wait_until(
                    f"ending {self.name}", lambda: self.pid() is None, seconds=_KILL_AFTER_SECONDS, every=0.05
                )
            except ProcessLookupError:
                break
            except LabError:
                continue
        self._record.unlink(missing_ok=True)

    def require(self) -> None:
        """Make sure that the process runs.

        Raises:
            LabError: it has ended; the text shows the end of its log.
        """
        if self.pid() is None:
            raise LabError(f"{self.name} has ended; the end of {self.log}:\n{tail(self.log)}")


def _reap() -> None:
    """Let go of the children that have ended, so that no zombie is left of them."""
    _children.difference_update([child for child in _children if child.poll() is not None])


def start_time(pid: int) -> int | None:
    """When a process started, in ticks since boot (field 22 of /proc/PID/stat); None if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[_STAT_STATE] in "ZX" else int(fields[_STAT_START_TIME])


def capture(
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    timeout: float | None = 120,
) -> str:
    """Run a short command and return what it prints.

    Raises:
        LabError: it is absent, failed or took longer than `timeout` seconds; with what it said.
    """
    try:
        done = subprocess.run(argv, env=env, input=stdin, capture_output=True, timeout=timeout, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{argv[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{argv[0]} took longer than {timeout} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise LabError(f"{' '.join(map(str, argv[:3]))} exited with {done.returncode}: {said}")
    return done.stdout.decode(errors="replace")


def stop_all(directory: Path) -> None:
    """End every process recorded in a run directory, the latest first."""
    records = sorted(directory.glob("*.pid"), key=lambda record: record.stat().st_mtime, reverse=True)
    for record in records:
        Daemon(directory, record.stem).stop()
