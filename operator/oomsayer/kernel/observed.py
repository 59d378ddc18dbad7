"""Which kills of the OOM killer lie between two looks at a node: from its log, and from what it counts.

/proc/vmstat counts every kill of the machine, memory.events those of a cgroup and of all below it, gone ones
too. So the counters tell for certain in which cgroup somebody was killed, and with it the pod and container,
also where only a child died. Who it was they do not say: that is told where as many processes are gone as
were killed, and else left open, since a process may have ended of itself. A forecast has no say in it.

The log names the process. Where the reader is in a nested node, the log's pids and paths are those of the
machine around it: paths are known again by their ends, processes by name, oom_score_adj and memory.

Source: __oom_kill_process() and oom_kill_process() in mm/oom_kill.c; mem_cgroup_oom() and
memcg_memory_event() in mm/memcontrol.c.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from operator import attrgetter

from oomsayer.kernel.grouping import grouped
from oomsayer.kernel.oomlog import OomKill
from oomsayer.kernel.snapshot import OOM_SCORE_ADJ_MIN, ROOT, Snapshot, Task, Unkillable, parent_path

_FAR_AHEAD = 2
"""How many times the memory of another is more than what growth between two samples explains."""


class KillSource(StrEnum):
    """How a kill became known."""

    KERNEL_LOG = "KernelLog"
    COUNTERS = "Counters"
    CONTAINER_STATUS = "ContainerStatus"
    """No agent has seen it; the kubelet says that the container ended by an OOM kill."""


@dataclass(frozen=True, slots=True)
class OomCounts:
    """What one memory cgroup has counted since it was made; None where this kernel does not say.

    Attributes:
        inode: of its directory: another one means another cgroup of that name.
        oom: OOMs of its own limit.
        oom_below: those of the cgroups below it too, gone ones included.
        oom_kill: processes killed in it, on v2 below it too.
        oom_group_kill: the same for groups that died as one.
    """

    inode: int
    oom: int | None = None
    oom_below: int | None = None
    oom_kill: int = 0
    oom_group_kill: int | None = None


Counts = Mapping[str, OomCounts]
"""By path of the memory cgroup."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a node: who was there, and what had been counted."""

    snapshot: Snapshot
    counts: Counts
    kills: int
    """All kills of the machine, from /proc/vmstat."""


@dataclass(frozen=True, slots=True)
class ObservedKill:
    """One choice of the OOM killer, or several that cannot be told apart.

    Attributes:
        source: how it became known.
        memcg: path of the victim's memory cgroup; None where that is not known.
        domain: path of the domain that ran out, "/" for the node; None where that is not known.
        task: the process chosen, as it was last seen; None where it was never seen, or is not known.
        pid: of the process chosen, in the reader's PID namespace; None where it is not known.
        comm: its name, empty where it is not known.
        oom_group: the cgroup that died as one, if any.
        gone: pids of those who may be the victim or died with it, as far as they were seen.
        times: how often a process was killed, by the counters or the log.
        constraint: of the log: NONE, CPUSET, MEMORY_POLICY or MEMCG; empty where it was not printed.
        rss_kb: what the victim held when it died, None without the log.
        seconds: when, since boot by the log's clock; None without it.
    """

    source: KillSource
    memcg: str | None
    domain: str | None
    task: Task | None = None
    pid: int | None = None
    comm: str = ""
    oom_group: str | None = None
    gone: frozenset[int] = frozenset()
    times: int = 1
    constraint: str = ""
    rss_kb: int | None = None
    seconds: float | None = None

    @property
    def deaths(self) -> int:
        """How many processes died, at least one.

        Of single kills no more than were counted: whoever else is gone may have ended of itself. A group dies
        whole: members that the end of their PID namespace took first are not counted as killed, and its
        victim may be counted twice.
        """
        if self.oom_group is not None:
            return max(len(self.gone), self.times - 1, 1)
        return max(min(len(self.gone), self.times), 1)


@dataclass(slots=True)
class Paths:
    """The paths of the kernel's log in those of the node.

    Attributes:
        prefix: what the log has in front of the node's paths: empty on a node that is the machine; None
            in a nested node as long as it is not known.
    """

    prefix: str | None = ""

    def inner(self, path: str, pod_paths: Iterable[str]) -> str | None:
        """A path of the log as the node has it, None for one of another node.

        A nested node has no way to see where it is. The first path that ends like that of a pod of its own
        tells: a pod's path has its UID in it, so no other node of the machine has the like.
        """
        if self.prefix is None:
            known = next((p for p in pod_paths if path.endswith(p)), None)
            if known is None:
                return None
            self.prefix = path.removesuffix(known)
        if path == self.prefix:
            return ROOT
        return path.removeprefix(self.prefix) if path.startswith(f"{self.prefix}/") else None


@dataclass(frozen=True, slots=True)
class Interval:
    """What lies between two looks.

    Attributes:
        before: the look before any of the kills.
        now: the look after all of them, when those killed have had time to go.
        noticed: the counters as they were when the kills were noticed: a cgroup may be gone since.
    """

    before: Look
    now: Look
    noticed: Counts = field(default_factory=dict)

    def gone(self) -> list[Task]:
        """Who was there before, and is no more, or is on its way out."""
        alive = {
            (t.pid, t.start_time)
            for t in self.now.snapshot.tasks
            if not t.in_flight and t.unkillable is not Unkillable.OOM_SKIP
        }
        return [t for t in self.before.snapshot.tasks if (t.pid, t.start_time) not in alive]


def observe(
    interval: Interval, logged: Sequence[OomKill], paths: Paths, pod_paths: Sequence[str]
) -> list[ObservedKill]:
    """The kills in an interval: those that the log tells, and those of cgroups that it is silent about.

    Args:
        interval: the two looks.
        logged: the kills of the kernel's log in that time, empty where it is not read.
        paths: how the log's paths read on this node; learns.
        pod_paths: the paths of the node's pods and containers.
    """
    gone = interval.gone()
    told = list(_from_log(interval, gone, logged, paths, pod_paths))
    counted = _Counted(interval)
    claimed = {counted.place_of(kill.memcg) for kill in told if kill.memcg is not None}
    silent = [(place, times) for place, times in counted.places if place not in claimed]
    kills = _completed(told, silent, counted)
    if silent and all(kill.memcg is not None for kill in told):
        suspects = grouped(gone, lambda task: counted.place_of(task.memcg))
        left = _Left(interval)
        for place, times in silent:
            kills += _from_counters(left, counted, suspects.get(place, []), place, times)
    if not kills and interval.before.snapshot.initial_pid_namespace:
        missing = interval.now.kills - interval.before.kills - counted.total()
        if missing > 0:
            kills.append(ObservedKill(KillSource.COUNTERS, None, None, times=missing))
    return kills


def _completed(
    told: Sequence[ObservedKill], silent: Sequence[tuple[str, int]], counted: "_Counted"
) -> list[ObservedKill]:
    """Kills of the log, with what the counters add where the kernel had held its report back.

    Where the log tells of one without its cgroup, and counters of one without its process, they are the same.
    """
    places = [place for place, _ in silent]
    nowhere = sum(kill.memcg is None for kill in told)
    kills: list[ObservedKill] = []
    for kill in told:
        memcg = places[0] if kill.memcg is None and nowhere == len(places) == 1 else kill.memcg
        domain = kill.domain
        if domain is None and memcg is not None and not kill.constraint:
            domain = counted.domain(memcg, counted.place_of(memcg))
        kills.append(replace(kill, memcg=memcg, domain=domain))
    return kills


def settled(interval: Interval, logged: Sequence[OomKill] | None) -> bool:
    """Whether all that is to be seen of the kills shows: the log has told of each, or as many are gone.

    Of a group nobody may be left whom it could take. The counters of a nested node's machine are no measure
    for its log.

    Args:
        interval: the two looks.
        logged: the kills of the kernel's log in that time, None where it is not read.
    """
    counted = _Counted(interval)
    if interval.before.snapshot.initial_pid_namespace and logged is not None:
        lines = sum(len(kill.killed) + (kill.oom_group is not None) for kill in logged)
        return lines >= interval.now.kills - interval.before.kills
    gone = interval.gone()
    missing = Counter(counted.place_of(task.memcg) for task in gone)
    dead = set(gone)
    left = {
        counted.place_of(task.memcg)
        for task in interval.before.snapshot.tasks
        if task not in dead and task.oom_score_adj > OOM_SCORE_ADJ_MIN
    }
    return all(
        place not in left if counted.groups(place) else missing[place] >= times
        for place, times in counted.places
    )


def _from_log(
    interval: Interval,
    gone: Sequence[Task],
    logged: Sequence[OomKill],
    paths: Paths,
    pod_paths: Sequence[str],
) -> Iterator[ObservedKill]:
    nested = not interval.before.snapshot.initial_pid_namespace
    tasks = {task.pid: task for task in interval.before.snapshot.tasks}
    pairs = _Pairs(gone, logged)
    for kill in logged:
        memcg = None if kill.memcg is None else paths.inner(kill.memcg, pod_paths)
        if nested and memcg is None:
            continue
        task = pairs.task_of(kill, memcg) if nested else tasks.get(kill.pid)
        if memcg is None and task is not None:
            memcg = task.memcg
        domain = kill.domain
        # "/" is the machine, unless a cgroup is named so.
        if domain is not None and (domain != ROOT or kill.constraint == "MEMCG"):
            domain = paths.inner(domain, pod_paths)
        dead = frozenset(kill.killed)
        if nested:
            dead = pairs.gone_from(memcg)
        yield ObservedKill(
            KillSource.KERNEL_LOG,
            memcg,
            domain,
            task,
            task.pid if task else None if nested else kill.pid,
            kill.comm,
            None if kill.oom_group is None else paths.inner(kill.oom_group, pod_paths),
            dead,
            max(len(kill.killed), 1),
            kill.constraint,
            kill.rss_kb,
            kill.seconds,
        )


class _Pairs:
    """The processes of a nested node that the log's outer pids stand for."""

    def __init__(self, gone: Sequence[Task], logged: Sequence[OomKill]) -> None:
        self._pids = {
            memcg: frozenset(task.pid for task in tasks)
            for memcg, tasks in grouped(gone, attrgetter("memcg")).items()
        }
        by_size = sorted(gone, key=attrgetter("rss_pages"))
        self._gone = grouped(by_size, attrgetter("memcg", "comm"))
        self._rank: dict[OomKill, int] = {}
        alike = grouped(sorted(logged, key=lambda kill: kill.rss_kb or 0), _NAMED)
        self._alike = {named: len(kills) for named, kills in alike.items()}
        for kills in alike.values():
            for rank, kill in enumerate(kills):
                self._rank.setdefault(kill, rank)

    def gone_from(self, memcg: str | None) -> frozenset[int]:
        """Pids of those who are gone from a cgroup."""
        return self._pids.get(memcg, frozenset())

    def task_of(self, kill: OomKill, memcg: str | None) -> Task | None:
        """Of as many as are gone from that cgroup under that name and oom_score_adj, the one that is as big.

        As big among them as the log's is among those that it names; None where there are more or fewer.
        """
        adj = kill.oom_score_adj
        here = [t for t in self._gone.get((memcg, kill.comm), ()) if adj in (None, t.oom_score_adj)]
        return here[self._rank[kill]] if len(here) == self._alike[_NAMED(kill)] else None


_NAMED = attrgetter("memcg", "comm", "oom_score_adj")


class _Counted:
    """What the cgroups counted in an interval, each by itself."""

    def __init__(self, interval: Interval) -> None:
        self._before = interval.before
        self.now = {**interval.noticed, **interval.now.counts}
        self._hierarchical = interval.now.snapshot.cgroup_version == 2  # noqa: PLR2004 - cgroup v2
        inner = (path for path in self.now if path != ROOT) if self._hierarchical else ()
        self._below = grouped(inner, parent_path)

    @cached_property
    def places(self) -> list[tuple[str, int]]:
        """Where processes were killed, and how many: a cgroup, for itself and those below that are gone."""
        counts = ((path, self._own(path, "oom_kill")) for path in sorted(self.now))
        return [(path, times) for path, times in counts if times > 0]

    def total(self) -> int:
        """All of them."""
        return sum(times for _, times in self.places)

    def groups(self, place: str) -> int:
        """How often a group died there as one."""
        return self._own(place, "oom_group_kill")

    def place_of(self, memcg: str) -> str:
        """The cgroup whose counters speak for a memory cgroup: its own, or the nearest above that is left."""
        while memcg not in self.now and memcg != ROOT:
            memcg = parent_path(memcg)
        return memcg

    def domain(self, memcg: str, place: str) -> str | None:
        """The domain that a victim in `memcg` fell to: the cgroup above whose own limit saw an OOM."""
        if not self._hierarchical or place not in self.now:
            return None
        lineage = list(_lineage(memcg))
        above = [path for path in lineage if path in self.now]
        found = [path for path in above if self._ooms(path) > 0]
        if found:
            return found[0] if len(found) == 1 else None
        if self._own(place, "oom_below") > 0:
            memcgs = self._before.snapshot.memcgs
            limited = [p for p in lineage if p not in self.now and p in memcgs and memcgs[p].limited]
            return limited[0] if len(limited) == 1 else None
        return ROOT if all(self.now[path].oom is not None for path in above) else None

    def _ooms(self, path: str) -> int:
        """OOMs of a cgroup's own limit since the sample before, or the last kill where that has none."""
        count = self.now[path].oom
        if count is None:
            return 0
        memcg = self._before.snapshot.memcgs.get(path)
        if memcg is not None and memcg.inode == self.now[path].inode and memcg.events is not None:
            return count - (memcg.events.oom or 0)
        return count - (self._at_first(path).oom or 0)

    def _own(self, path: str, what: str) -> int:
        """How much a count has risen in a cgroup itself and in those below it that are gone."""
        below = sum(self._rise(inner, what) for inner in self._below.get(path, ()))
        return max(self._rise(path, what) - below, 0)

    def _rise(self, path: str, what: str) -> int:
        return (getattr(self.now[path], what) or 0) - (getattr(self._at_first(path), what) or 0)

    def _at_first(self, path: str) -> OomCounts:
        """A cgroup's counts before; one that was not there began at nothing."""
        before = self._before.counts.get(path)
        same = before is not None and before.inode == self.now[path].inode
        return before if before is not None and same else OomCounts(self.now[path].inode)


class _Left:
    """Who was there before and still is."""

    def __init__(self, interval: Interval) -> None:
        self.before = interval.before.snapshot
        self._now = interval.now.snapshot

    @cached_property
    def _most(self) -> Mapping[str, Mapping[int, int]]:
        """By cgroup path and oom_score_adj, the pages of the biggest."""
        alive = {(t.pid, t.start_time) for t in self._now.tasks}
        most: dict[str, dict[int, int]] = {}
        for task in self.before.tasks:
            if task.unkillable is None and (task.pid, task.start_time) in alive:
                here = most.setdefault(task.memcg, {})
                here[task.oom_score_adj] = max(here.get(task.oom_score_adj, 0), _pages(task))
        return most

    def outranks(self, suspect: Task) -> bool:
        """Whether one of them was far ahead of a suspect in every domain.

        Then that has probably ended of itself, and the one killed came and went between two samples.
        """
        return any(
            adj >= suspect.oom_score_adj and pages > _FAR_AHEAD * _pages(suspect)
            for adj, pages in self._most.get(suspect.memcg, {}).items()
        )


def _from_counters(
    left: _Left, counted: _Counted, suspects: Sequence[Task], place: str, times: int
) -> Iterator[ObservedKill]:
    """What the counters of a place tell; `suspects` are those who are gone from there."""
    homes = {task.memcg for task in suspects}
    memcg = homes.pop() if len(homes) == 1 else place
    domain = counted.domain(memcg, place)
    pids = frozenset(task.pid for task in suspects)
    if counted.groups(place):
        group = _topmost_group(memcg, domain or ROOT, left.before)
        victim = suspects[0] if len(suspects) == 1 else None
        yield _counted_kill(memcg, domain, victim, pids, times, group=group)
    elif len(suspects) == times and not any(map(left.outranks, suspects)):
        for task in suspects:
            yield _counted_kill(task.memcg, domain, task, frozenset({task.pid}))
    else:
        yield _counted_kill(memcg, domain, None, pids, times)


def _pages(task: Task) -> int:
    return task.rss_pages + task.swap_pages


def _counted_kill(
    memcg: str,
    domain: str | None,
    task: Task | None,
    gone: frozenset[int],
    times: int = 1,
    *,
    group: str | None = None,
) -> ObservedKill:
    pid, comm = (None, "") if task is None else (task.pid, task.comm)
    return ObservedKill(KillSource.COUNTERS, memcg, domain, task, pid, comm, group, gone, times)


def _topmost_group(memcg: str, domain: str, snapshot: Snapshot) -> str | None:
    """The topmost cgroup with memory.oom.group between a victim and its domain."""
    group = None
    for path in _lineage(memcg):
        known = snapshot.memcgs.get(path)
        if known is not None and known.oom_group:
            group = path
        if path == domain:
            break
    return group


def _lineage(path: str) -> Iterator[str]:
    """A cgroup and those above it, but for the root."""
    while path != ROOT:
        yield path
        path = parent_path(path)
