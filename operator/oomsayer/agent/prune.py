"""The part of a snapshot that decides, so that a report is small and still exact.

For the first k victims of every domain it is enough to know those victims, the runners-up, whoever
shares memory with anyone (one kill takes several), and whoever is dying already. Of every container
its biggest process at each oom_score_adj is told too, so that one that is not as the kubelet meant it
shows. All others are counted for each cgroup. A verdict from the pruned snapshot equals that from the
full one; a test holds this on random snapshots.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from oomsayer.kernel.domain import within
from oomsayer.kernel.hierarchy import ancestors, dies_with_group
from oomsayer.kernel.pidns import takes_its_cgroup, zap_pid_ns_processes
from oomsayer.kernel.snapshot import ROOT, Memcg, Omitted, Snapshot, Task, parent_path
from oomsayer.kernel.verdict import Verdict, verdicts
from oomsayer.kubelet.cgroups import owner
from oomsayer.kubelet.qos import SANDBOX_OOM_SCORE_ADJ


def prune(
    snapshot: Snapshot, depth: int, told: Iterable[Verdict] | None = None, *, pods: bool = True
) -> Snapshot:
    """Keep what the first `depth` victims of every domain need.

    Args:
        snapshot: the full one.
        depth: how many victims of each domain stay exact, at least 1.
        told: the verdicts of this very snapshot to at least that depth, where they are at hand.
        pods: keep the working set of every pod and a process of every container, too.
    """
    if not pods:
        snapshot = _without_working_sets(snapshot)
    if snapshot.era.sacrifice_child:
        return snapshot  # any child may die for its parent: nobody can be left out
    needed = _deciding(verdicts(snapshot, depth) if told is None else told, depth)
    needed.update(task.pid for task in snapshot.tasks if task.mm or task.in_flight)
    needed |= _where_cgroup_and_namespace_differ(snapshot)
    if pods:
        needed |= _one_of_each(snapshot, needed)
    needed |= _reapers(needed, snapshot)
    kept = tuple(task for task in snapshot.tasks if task.pid in needed)
    kept_pids = {task.pid for task in kept}
    left_out = [task for task in snapshot.tasks if task.pid not in kept_pids]
    memcgs = _needed_memcgs(snapshot, kept)
    return replace(snapshot, tasks=kept, memcgs=memcgs, omitted=_summed(left_out, memcgs))


def _reapers(pids: Iterable[int], snapshot: Snapshot) -> set[int]:
    """With whom these processes end: the first of their PID namespaces, and what ties those to outer ones."""
    tasks = {task.pid: task for task in snapshot.tasks}
    found: set[int] = set()
    for pid in pids:
        task = tasks.get(pid)
        while task is not None and task.reaper and task.pid not in found:
            found.add(task.pid)
            task = tasks.get(task.parent if task.pid == task.reaper else task.reaper)
    return found


def _where_cgroup_and_namespace_differ(snapshot: Snapshot) -> set[int]:
    """Processes that a count for each cgroup would put on the wrong side when a PID namespace ends.

    In a container nobody is: the namespace's first process and all others are in its cgroup. Elsewhere
    those are named who end with a reaper outside its cgroup, or without it inside, and that reaper.
    """
    namespaces = zap_pid_ns_processes(snapshot.tasks)
    reapers = [task for task in snapshot.tasks if task.pid == task.reaper]
    if not reapers:
        return set()
    mortal = [task for task in snapshot.tasks if dies_with_group(task)]
    counted = _with_those_below(Counter(task.memcg for task in mortal))
    takers = Counter(task.memcg for task in reapers if takes_its_cgroup(task))
    pids: set[int] = set()
    ends: Counter[int] = Counter()  # by pid: how many of the reapers that it ends with count it
    for reaper in reapers:
        takes = takes_its_cgroup(reaper)
        agreed = int(dies_with_group(reaper))
        for task in namespaces.get(reaper.pid, ()):
            if takes and dies_with_group(task) and within(task.memcg, reaper.memcg):
                agreed += 1
                ends[task.pid] += 1
            else:
                pids |= {task.pid, reaper.pid}
        if takes and counted[reaper.memcg] > agreed:
            pids.add(reaper.pid)
    counting: dict[str, int] = {}
    for path in sorted(counted, key=len):  # a path is longer than its parent's
        counting[path] = takers[path] + (0 if path == ROOT else counting[parent_path(path)])
    pids.update(t.pid for t in mortal if counting[t.memcg] - takes_its_cgroup(t) > ends[t.pid])
    return pids


def _with_those_below(counts: Mapping[str, int]) -> Counter[str]:
    """A count for each of these cgroups and those above, with those of all cgroups below it."""
    below = Counter(dict.fromkeys(ancestors(counts), 0))
    below.update(counts)
    for path in sorted(below, key=len, reverse=True):
        if path != ROOT:
            below[parent_path(path)] += below[path]
    return below


def _without_working_sets(snapshot: Snapshot) -> Snapshot:
    memcgs = {path: replace(memcg, working_set_bytes=None) for path, memcg in snapshot.memcgs.items()}
    return replace(snapshot, memcgs=memcgs)


def _one_of_each(snapshot: Snapshot, kept: Collection[int]) -> set[int]:
    """Of each container in a pod the biggest process at each oom_score_adj, where none of them is kept yet.

    A process whose oom_score_adj is not what the kubelet meant may be no victim for that very reason.
    """
    told = {(task.memcg, task.oom_score_adj) for task in snapshot.tasks if task.pid in kept}
    biggest: dict[tuple[str, int], Task] = {}
    for task in snapshot.tasks:
        place = (task.memcg, task.oom_score_adj)
        if place in told or task.oom_score_adj == SANDBOX_OOM_SCORE_ADJ or not owner(task.memcg).container_id:
            continue
        if place not in biggest or task.rss_pages > biggest[place].rss_pages:
            biggest[place] = task
    return {task.pid for task in biggest.values()}


def _deciding(told: Iterable[Verdict], depth: int) -> set[int]:
    pids: set[int] = set()
    for verdict in told:
        pids.update(kill.victim.task.pid for kill in verdict.order[:depth])
        if verdict.runner_up is not None:
            pids.add(verdict.runner_up.task.pid)
    return pids


def _needed_memcgs(snapshot: Snapshot, kept: Iterable[Task]) -> dict[str, Memcg]:
    """The root, every domain, every pod that may be evicted, every home of a kept task, and all above them.

    So groups that matter are there.
    """
    wanted = {m.path for m in snapshot.memcgs.values() if m.limited or m.working_set_bytes is not None}
    wanted.update(task.memcg for task in kept)
    wanted.add(ROOT)
    wanted |= ancestors(wanted)
    return {path: memcg for path, memcg in snapshot.memcgs.items() if path in wanted}


def _summed(tasks: Iterable[Task], memcgs: Mapping[str, Memcg]) -> tuple[Omitted, ...]:
    """Count those that a group kill would take, at the nearest cgroup kept; others neither lead nor die."""
    sums: dict[str, tuple[int, int]] = {}
    for task in tasks:
        if dies_with_group(task):
            path = task.memcg
            while path not in memcgs:
                path = parent_path(path)
            count, pages = sums.get(path, (0, 0))
            sums[path] = (count + 1, pages + task.rss_pages)
    return tuple(Omitted(memcg, count, pages) for memcg, (count, pages) in sums.items())
