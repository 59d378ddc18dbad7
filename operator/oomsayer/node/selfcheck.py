"""The self-check: our oom_score of every process, held against the one that its kernel shows.

/proc/PID/oom_score is made from the badness that the killer compares, normalised to the whole machine. Where
ours is the same for every process, this kernel follows the rules that we apply; one that a vendor changed
shows here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

from oomsayer.kernel.badness import oom_score
from oomsayer.kernel.snapshot import Snapshot, Task
from oomsayer.kernel.verdict import precision_pages

LOOKS = 5
"""How often a process is looked at whose score differs: one that ran between our look and the kernel's agrees
at another."""


class Machine(Protocol):
    """What is compared: oomsayer.node.snapshot.Scanner is one."""

    def snapshot(self) -> Snapshot:
        """The machine as it is now."""

    def oom_score(self, pid: int) -> int | None:
        """What its kernel shows for a process, None where it is gone."""


class Because(StrEnum):
    """Why two scores differ."""

    RACE = "it changes faster than it can be read"
    PRECISION = "within what the kernel's counters hide while swap is in use"
    UNEXPLAINED = "unexplained: this kernel may follow other rules"


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A process whose score stayed different.

    Attributes:
        task: it, at the last look.
        ours: our oom_score, 0 to 2000.
        kernels: the kernel's.
        because: why.
    """

    task: Task
    ours: int
    kernels: int
    because: Because


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """What came of it.

    Attributes:
        snapshot: the first look.
        compared: processes that had a score of both kinds.
        again: how many of them agreed only when looked at again.
        mismatches: those that never did.
    """

    snapshot: Snapshot
    compared: int
    again: int
    mismatches: tuple[Mismatch, ...]

    @property
    def unexplained(self) -> int:
        """Mismatches that are bugs, ours or in what we know of this kernel."""
        return sum(m.because is Because.UNEXPLAINED for m in self.mismatches)


def self_check(machine: Machine, looks: int = LOOKS) -> SelfCheck:
    """Compare every process of a machine.

    Raises:
        UnreadableNodeError: as Scanner.snapshot().
    """
    first = snapshot = machine.snapshot()
    differing, compared = _differing(snapshot, machine, snapshot.tasks)
    once = len(differing)
    for _ in range(looks - 1):
        if not differing:
            break
        before = {m.task.pid: m.task for m in differing}
        snapshot = machine.snapshot()
        suspects = [t for t in snapshot.tasks if t.pid in before and t.start_time == before[t.pid].start_time]
        differing = [
            replace(m, because=Because.RACE) if m.task != before[m.task.pid] else m
            for m in _differing(snapshot, machine, suspects)[0]
        ]
    return SelfCheck(first, compared, once - len(differing), tuple(differing))


def _differing(snapshot: Snapshot, machine: Machine, tasks: Iterable[Task]) -> tuple[list[Mismatch], int]:
    """Who differs at this look, and how many could be compared."""
    found: list[Mismatch] = []
    compared = 0
    for task in tasks:
        shown = machine.oom_score(task.pid)
        if shown is None:
            continue
        compared += 1
        ours = _score(task, snapshot)
        if shown != ours:
            found.append(Mismatch(task, ours, shown, _because(task, shown, snapshot)))
    return found, compared


def _because(task: Task, shown: int, snapshot: Snapshot) -> Because:
    memory = snapshot.memory
    if memory.swap_free_bytes < memory.swap_total_bytes:
        hidden = precision_pages(task, snapshot)
        least, most = (
            _score(replace(task, rss_pages=max(task.rss_pages + pages, 0)), snapshot)
            for pages in (-hidden, hidden)
        )
        if least <= shown <= most:
            return Because.PRECISION
    return Because.UNEXPLAINED


def _score(task: Task, snapshot: Snapshot) -> int:
    memory = snapshot.memory
    total = memory.total_pages + memory.swap_total_pages
    return oom_score(task, total, snapshot.era, memory.page_size)
