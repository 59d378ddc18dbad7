"""With whom each process ends: the first of its PID namespace.

/proc/PID/ns/pid would name the namespace, but an unprivileged reader may not look there. NStgid in status
shows how deep a process is nested and its pid in each namespace; from that and from the parents it follows.
"""

from collections.abc import Callable, Iterable

from oomsayer.node.processes import Process

_FIRST = 1


def reapers(processes: Iterable[Process], memcg_of: Callable[[Process], str]) -> dict[int, int]:
    """By pid, the pid of the first process of its PID namespace, for those below the reader's own.

    A child is in its parent's namespace. Who was brought in from outside (kubectl exec) has its parent
    outside: it is taken to be in that of its cgroup, if there is one of that depth, and only one.
    """
    nested = {process.pid: process for process in processes if process.status.namespace_pids}
    if not nested:
        return {}
    found: dict[int, int] = {}
    homes: dict[tuple[int, str], list[int]] = {}
    for pid, process in nested.items():
        pids = process.status.namespace_pids
        if pids[-1] == _FIRST:
            found[pid] = pid
            homes.setdefault((len(pids), memcg_of(process)), []).append(pid)
    for pid in nested:
        _trace(pid, nested, found, homes, memcg_of)
    return {pid: reaper for pid, reaper in found.items() if reaper}


def _trace(
    pid: int,
    nested: dict[int, Process],
    found: dict[int, int],
    homes: dict[tuple[int, str], list[int]],
    memcg_of: Callable[[Process], str],
) -> None:
    """Go up the parents to one whose reaper is known, and give it to all on the way."""
    way: list[int] = []
    reaper = 0
    while pid not in found and pid not in way:
        way.append(pid)
        process = nested[pid]
        depth = len(process.status.namespace_pids)
        parent = nested.get(process.stat.parent)
        if parent is None or len(parent.status.namespace_pids) != depth:
            candidates = homes.get((depth, memcg_of(process)), [])
            reaper = candidates[0] if len(candidates) == 1 else 0
            break
        pid = parent.pid
    reaper = found.get(pid, reaper)
    found.update(dict.fromkeys(way, reaper))
