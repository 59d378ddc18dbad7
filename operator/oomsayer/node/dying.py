"""Which processes that are dying already are OOM victims in flight.

While one is, the kernel chooses nobody else. But a process may be dying for other reasons, and where it waits
for a disk that never answers it dies for ever: to the killer it is a candidate like all others.

Source: oom_evaluate_task(), oom_reap_task() and queue_oom_reaper() in mm/oom_kill.c.
"""

from collections.abc import Iterable

from oomsayer.node.processes import Process

REAPED_SECONDS = 5.0
"""The kernel has taken a victim's memory by then, or given up: after 2 s it tries ten times, 0.1 s apart."""


class Dying:
    """Remembers since when each process was seen dying."""

    def __init__(self) -> None:
        self._since: dict[tuple[int, int], float] = {}

    def sort(
        self, processes: Iterable[Process], kills: int | None, now: float
    ) -> tuple[frozenset[int], frozenset[int]]:
        """The pids of those that may be victims in flight, and of those that have outlasted that.

        Args:
            processes: those that are dying.
            kills: how many processes the OOM killer has taken since boot, None where that is not known.
            now: seconds of a monotonic clock.
        """
        before, self._since = self._since, {}
        in_flight, outlasted = set(), set()
        for process in processes:
            identity = (process.pid, process.stat.start_time)
            since = self._since[identity] = before.get(identity, now)
            if now - since > REAPED_SECONDS:
                outlasted.add(process.pid)
            elif kills != 0:
                in_flight.add(process.pid)
        return frozenset(in_flight), frozenset(outlasted)
