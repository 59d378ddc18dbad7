"""PID namespaces: when the first process of one ends, the kernel kills all others in it.

A container is such a namespace, as a rule, and its main process the first in it. So a kill that takes the
main process takes the container, with memory.oom.group or without, at whatever oom_score_adj.

Source: zap_pid_ns_processes() in kernel/pid_namespace.c.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter

from oomsayer.kernel.grouping import grouped
from oomsayer.kernel.snapshot import ROOT, Task


def zap_pid_ns_processes(tasks: Iterable[Task]) -> dict[int, list[Task]]:
    """By the pid of each Task.reaper, everybody else who ends with it: namespaces nest."""
    in_namespaces = [task for task in tasks if task.reaper]
    if not in_namespaces:
        return {}
    members = grouped(in_namespaces, attrgetter("reaper"))
    homes = {task.pid: task.reaper for task in in_namespaces}
    nested: defaultdict[int, list[int]] = defaultdict(list)
    for inside in members.values():
        for task in inside:
            outer = homes.get(task.parent, 0)
            if task.pid == task.reaper and outer not in (0, task.pid):
                nested[outer].append(task.pid)
    found = {reaper: list(_inside(reaper, members, nested)) for reaper in members}
    return {reaper: inside for reaper, inside in found.items() if inside}


def takes_its_cgroup(task: Task) -> bool:
    """Whether a pruned snapshot may leave out who ends with this process: those in its cgroup and below."""
    return task.pid == task.reaper and task.memcg != ROOT


def _inside(
    reaper: int, members: Mapping[int, list[Task]], nested: Mapping[int, list[int]]
) -> Iterator[Task]:
    stack, seen = [reaper], {reaper}
    while stack:
        here = stack.pop()
        yield from (task for task in members.get(here, ()) if task.pid != reaper)
        below = [each for each in nested.get(here, ()) if each not in seen]
        seen.update(below)
        stack += below
