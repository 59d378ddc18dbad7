"""Processes and cgroups of a test's own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from oomsayer.kernel.snapshot import Snapshot, Task

ACTOR = Path(__file__).with_name("actor.py")
PATIENCE_SECONDS = 20
T = TypeVar("T")


class Actor:
    """One process under a test's command; see actor.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(ACTOR)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = int(self._answer())
        self.children: list[int] = []

    def tell(self, line: str) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def start_sharer(self) -> int:
        self.children.append(int(self.tell("share")))
        return self.children[-1]

    def vfork(self) -> int:
        self.tell("vfork")
        self.children.append(until(lambda: _child(self.pid)))
        return self.children[-1]

    def ending(self) -> int | None:
        """The exit status, None while it lives; -9 when it was killed."""
        return self._process.poll()

    def end(self) -> None:
        for pid in (*self.children, self.pid):
            if pid == self.pid and self.ending() is not None:
                continue
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._process.wait(PATIENCE_SECONDS)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def until(look: Callable[[], T | None]) -> T:
    """What `look` gives once it gives something; fails when patience ends."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (seen := look()) is None:
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)
    return seen


def _child(pid: int) -> int | None:
    words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(words[0]) if words else None


def task_of(pid: int, snapshot: Snapshot) -> Task:
    return next(task for task in snapshot.tasks if task.pid == pid)


class KernelLog:
    """The kernel's log from now on."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self._fd, 0, os.SEEK_END)
        self.killed: list[int] = []

    def read(self) -> list[int]:
        """The pids that the OOM killer has taken, in its order."""
        while True:
            try:
                record = os.read(self._fd, 8192)
            except BlockingIOError:
                return self.killed
            except BrokenPipeError:
                continue  # records were overwritten before they were read: go on with the next
            match = re.search(rb"Killed process (\d+) \(", record)
            if match:
                self.killed.append(int(match[1]))

    def close(self) -> None:
        os.close(self._fd)


class Cgroup:
    """A memory cgroup of a test's own."""

    def __init__(self, directory: Path, path: str, version: int) -> None:
        self.directory, self.path, self.version = directory, path, version
        self._adopted: list[Actor] = []
        self._below: list[Cgroup] = []
        directory.mkdir()

    def limit(self, count: int) -> None:
        file = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        (self.directory / file).write_text(str(count))

    def adopt(self, *actors: Actor) -> None:
        for actor in actors:
            (self.directory / "cgroup.procs").write_text(str(actor.pid))
            self._adopted.append(actor)

    def below(self, name: str) -> "Cgroup":
        if self.version == 2:
            (self.directory / "cgroup.subtree_control").write_text("+memory")
        self._below.append(Cgroup(self.directory / name, f"{self.path}/{name}", self.version))
        return self._below[-1]

    def remove(self) -> None:
        """End the processes that were brought here, and take the cgroup away with all below it."""
        for below in self._below:
            below.remove()
        for actor in self._adopted:
            actor.end()

        def gone() -> bool | None:
            try:
                self.directory.rmdir()
            except OSError:
                return None
            return True

        until(gone)
