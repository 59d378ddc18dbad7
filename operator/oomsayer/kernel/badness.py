"""The arithmetic of oom_badness() and of /proc/PID/oom_score, and who is not asked at all. Pages throughout.

Source: mm/oom_kill.c and fs/proc/base.c, 3.10 to 7.1.
"""

from typing import Protocol

from oomsayer.kernel.era import Era, RootBonus
from oomsayer.kernel.snapshot import OOM_SCORE_ADJ_MIN, Task, Unkillable


class Scored(Protocol):
    """What badness is made of: a Task, or what a log tells of one. Meanings as in Task."""

    @property
    def oom_score_adj(self) -> int:
        """-1000 to 1000."""

    @property
    def rss_pages(self) -> int:
        """Resident pages."""

    @property
    def swap_pages(self) -> int:
        """Swapped pages."""

    @property
    def pgtables_bytes(self) -> int:
        """Page tables."""

    @property
    def unkillable(self) -> Unkillable | None:
        """Why it is never chosen."""

    @property
    def cap_sys_admin(self) -> bool:
        """Whether it holds CAP_SYS_ADMIN."""


def rss_swap_pgtables(task: Scored, era: Era, page_size: int) -> int:
    """The part of a process's badness that no domain changes: resident, swapped and page-table pages.

    From 3.14 to 4.16 a CAP_SYS_ADMIN process is forgiven 3 % of it.
    """
    pages = task.rss_pages + task.swap_pages + task.pgtables_bytes // page_size
    if era.root_bonus is RootBonus.OF_PAGES and task.cap_sys_admin:
        pages -= pages * 3 // 100
    return pages


def weighed_adj(task: Scored, era: Era) -> int:
    """oom_score_adj as badness takes it: up to 3.13 less 30 for a CAP_SYS_ADMIN process."""
    bonus = 30 if era.root_bonus is RootBonus.OF_TOTALPAGES and task.cap_sys_admin else 0
    return task.oom_score_adj - bonus


def unkillable(task: Scored) -> bool:
    """Whether the scan skips the process, or oom_badness() gives LONG_MIN (0 before 5.9)."""
    return task.unkillable is not None or task.oom_score_adj == OOM_SCORE_ADJ_MIN


def oom_badness(task: Scored, totalpages: int, era: Era, page_size: int) -> int | None:
    """How bad a process is in a domain of `totalpages`, in pages; None for one that is never chosen.

    The division comes before the multiplication, as in the kernel: in a domain of fewer than
    1000 pages oom_score_adj has no effect.
    """
    if unkillable(task):
        return None
    points = rss_swap_pgtables(task, era, page_size) + weighed_adj(task, era) * (totalpages // 1000)
    return points if era.signed else max(points, 1)


def percpu_counter_batch(cpus: int) -> int:
    """At how many pages a processor passes on what it counts of a process (6.2 on; lib/percpu_counter.c)."""
    return max(32, 2 * cpus)


def oom_score(task: Task, totalram_and_swap_pages: int, era: Era, page_size: int) -> int:
    """What /proc/PID/oom_score shows, 0 to 2000: always normalised to the whole machine (fs/proc/base.c)."""
    badness = oom_badness(task, totalram_and_swap_pages, era, page_size)
    if badness is None:
        return 0
    if not era.signed:
        return badness * 1000 // totalram_and_swap_pages
    return _truncated((1000 + _truncated(badness * 1000, totalram_and_swap_pages)) * 2, 3)


def _truncated(dividend: int, divisor: int) -> int:
    """C's division, which drops the fraction where Python's rounds down."""
    quotient = abs(dividend) // divisor
    return quotient if dividend >= 0 else -quotient
