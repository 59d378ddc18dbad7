"""/proc/PID/stat: identity, state and the resident pages that the killer of 6.2 to 6.19 compares.

Source: do_task_stat() in fs/proc/array.c; proc_pid_stat(5).
"""

import sys
from typing import NamedTuple

PF_EXITING = 0x4
PF_SIGNALED = 0x400
PF_KTHREAD = 0x200000

SIGKILL_BIT = 1 << 8
"""SIGKILL, number 9, in a signal mask."""


class PidStat(NamedTuple):
    """What one process's stat says; field numbers as in proc_pid_stat(5)."""

    comm: str
    """Field 2, unescaped as the kernel prints it; bytes that are no UTF-8 as surrogate escapes."""
    state: str
    """Field 3, e.g. "S", or "Z" for a leader that has exited."""
    parent: int
    """Field 4: pid of the parent."""
    flags: int
    """Field 9: PF_* bits."""
    faults: int
    """Fields 10 and 12 added up: page faults of all threads since the start."""
    threads: int
    """Field 20, an exited leader included."""
    start_time: int
    """Field 22: clock ticks since boot."""
    vsize_bytes: int
    """Field 23: 0 without a memory of its own."""
    rss_pages: int
    """Field 24: resident pages, from 6.2 on without what sits in per-CPU counters."""
    signals: int
    """Field 31: signals pending for the leader, the first 31."""
    stack: int = 0
    """Field 28: where the stack began when its program was started, at random; the same for all who share its
    memory, and for its forks. 0 where the reader may not trace it."""

    @property
    def kernel_thread(self) -> bool:
        """Whether it is a kernel thread."""
        return bool(self.flags & PF_KTHREAD)

    @property
    def dying(self) -> bool:
        """Whether SIGKILL is pending, or a signal has brought it into exit()."""
        killed = self.flags & PF_EXITING and self.flags & PF_SIGNALED
        return bool(self.signals & SIGKILL_BIT or killed)


def parse(data: bytes) -> PidStat | None:
    """Read a stat file; None where it is cut short or malformed.

    The name may hold spaces, parentheses and newlines: what follows the last parenthesis counts.
    """
    opening, closing = data.find(b"("), data.rfind(b")")
    if not 0 <= opening < closing:
        return None
    fields = data[closing + 1 :].split()
    try:
        return PidStat(
            comm=sys.intern(data[opening + 1 : closing].decode("utf-8", "surrogateescape")),
            state=fields[0].decode("ascii"),
            parent=int(fields[1]),
            flags=int(fields[6]),
            faults=int(fields[7]) + int(fields[9]),
            threads=int(fields[17]),
            start_time=int(fields[19]),
            vsize_bytes=int(fields[20]),
            rss_pages=max(int(fields[21]), 0),
            signals=int(fields[28]),
            stack=int(fields[25]),
        )
    except (IndexError, ValueError):
        return None
