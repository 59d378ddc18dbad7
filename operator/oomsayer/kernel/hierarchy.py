"""The memory cgroup tree as the kernel walks it, and who in each part of it could be chosen.

A domain's candidates are all processes below it, so asking each domain by itself would visit every
process once a level. But who has more pages, and no lower oom_score_adj, has more badness whatever the
domain's totalpages: only those whom few others outdo in this way can be among its first victims. So each
cgroup keeps a shortlist by oom_score_adj, and hands it up to its parent.

Source: mem_cgroup_scan_tasks() in mm/memcontrol.c, mem_cgroup_get_oom_group() likewise.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from heapq import heappush, heappushpop, nlargest
from itertools import chain
from operator import attrgetter

from oomsayer.kernel.badness import rss_swap_pgtables
from oomsayer.kernel.domain import Domain
from oomsayer.kernel.era import Era
from oomsayer.kernel.grouping import grouped
from oomsayer.kernel.pidns import takes_its_cgroup, zap_pid_ns_processes
from oomsayer.kernel.snapshot import OOM_SCORE_ADJ_MIN, ROOT, Snapshot, Task, Unkillable, parent_path

INDEX_BITS = 24
"""An entry is `points << INDEX_BITS | place in Snapshot.tasks`: one integer, since those sort fastest.

Entries compare by points, then by creation. Linux has at most 2**22 processes (PID_MAX_LIMIT).
"""
INDEX_MASK = (1 << INDEX_BITS) - 1

DYING_WITH_GROUP = (None, Unkillable.VFORK, Unkillable.OOM_SKIP)
SPARED_SHARERS = (Unkillable.INIT, Unkillable.KTHREAD)

Shortlist = defaultdict[int, list[int]]
"""By oom_score_adj: entries, worst last. Their points are pages alone: each domain weighs adj differently."""


@dataclass(frozen=True)
class Hierarchy:
    """A snapshot arranged by memory cgroup.

    Attributes:
        snapshot: what it was made of.
        enough: how many of a domain's ranking hold the victims asked for and the runner-up.
        shortlists: by cgroup path, what an OOM there would choose from.
        sharers: by Task.mm, the processes that share one memory.
        namespaces: by Task.reaper, everybody else who ends with it.
        outlived: places in Snapshot.tasks of those that are never chosen, since their reaper is before them.
        known_members: what group_members() found so far.
        known_pids: each list of pids that was told, once: nested groups have the same members.
    """

    snapshot: Snapshot
    enough: int
    shortlists: Mapping[str, Shortlist]
    sharers: Mapping[int, list[Task]]
    namespaces: Mapping[int, list[Task]]
    outlived: Collection[int]
    known_members: dict[str, tuple[int, ...]] = field(default_factory=dict)
    known_pids: dict[tuple[int, ...], tuple[int, ...]] = field(default_factory=dict)

    @cached_property
    def each_dies_alone(self) -> bool:
        """Whether no kill here takes more than the chosen process."""
        grouped = any(memcg.oom_group for memcg in self.snapshot.memcgs.values())
        namespaces = self.namespaces or (
            self.snapshot.omitted and any(map(takes_its_cgroup, self.snapshot.tasks))
        )
        return not (self.sharers or namespaces or grouped or self.snapshot.era.sacrifice_child)

    @cached_property
    def mortal(self) -> Mapping[str, set[int]]:
        """By cgroup path, the pids right there that the kill of an oom.group takes, and their sharers'."""
        mortal: defaultdict[str, set[int]] = defaultdict(set)
        for task in self.snapshot.tasks:
            if dies_with_group(task):
                mortal[task.memcg].add(task.pid)
        for sharing in self.sharers.values():
            pids = {task.pid for task in sharing if dies_with_sharer(task, self.snapshot.era)}
            for memcg in {task.memcg for task in sharing if dies_with_group(task)}:
                mortal[memcg] |= pids
        return mortal

    @cached_property
    def children(self) -> Mapping[int, list[Task]]:
        """By parent pid, for the kernels that sacrifice one."""
        return grouped(self.snapshot.tasks, attrgetter("parent"))

    @cached_property
    def below(self) -> Mapping[str, list[str]]:
        """By cgroup path, the paths one level down in the order of their creation."""
        below: dict[str, list[str]] = {}
        for memcg in sorted(self.snapshot.memcgs.values(), key=attrgetter("inode")):
            if memcg.path != ROOT:
                below.setdefault(parent_path(memcg.path), []).append(memcg.path)
        return below

    @cached_property
    def pre_order(self) -> Mapping[str, int]:
        """By cgroup path, its place in the walk of the tree."""
        return {path: place for place, path in enumerate(self.descendants(ROOT))}

    @cached_property
    def groups_above(self) -> Mapping[str, tuple[str, ...]]:
        """By cgroup path, the oom.groups from the top of the tree down to the cgroup itself."""
        above: dict[str, tuple[str, ...]] = {ROOT: ()}
        for path in sorted(self.snapshot.memcgs, key=len):
            if path != ROOT:
                own = (path,) if self.snapshot.memcgs[path].oom_group else ()
                above[path] = above[parent_path(path)] + own
        return above

    @cached_property
    def takers(self) -> Mapping[int, str]:
        """By pid, the cgroup that ends with a process: see takes_its_cgroup()."""
        return {task.pid: task.memcg for task in self.snapshot.tasks if takes_its_cgroup(task)}

    @cached_property
    def omitted_below(self) -> Mapping[str, int]:
        """By cgroup path, how many processes in it or below it a pruned snapshot does not list."""
        below: defaultdict[str, int] = defaultdict(int)
        for omitted in self.snapshot.omitted:
            for path in {omitted.memcg, *ancestors([omitted.memcg])}:
                below[path] += omitted.tasks
        return below

    def omitted_in(self, paths: frozenset[str] | set[str]) -> int:
        """How many processes in any of these cgroups or below a pruned snapshot does not list."""
        topmost = [path for path in paths if not (ancestors([path]) - {path}) & paths]
        return sum(self.omitted_below.get(path, 0) for path in topmost)

    @cached_property
    def in_flight(self) -> Mapping[str, Task]:
        """By cgroup path, the oldest process in it or below it that is dying already."""
        found: dict[str, Task] = {}
        for task in self.snapshot.tasks:
            if task.in_flight:
                path = task.memcg
                while found.setdefault(path, task) is task and path != ROOT:
                    path = parent_path(path)
        return found

    def dying(self, domain: Domain) -> Task | None:
        """The oldest candidate that is dying already, if one is."""
        if domain.mems is None:
            return self.in_flight.get(domain.cgroup)
        return next((t for t in self.snapshot.tasks if t.in_flight and domain.may_use(t.mems_allowed)), None)

    def shortlist(self, domain: Domain) -> Shortlist:
        """What an OOM there would choose from; where memory nodes decide, everybody, in no order."""
        if domain.mems is None:
            return self.shortlists[domain.cgroup]
        tasks = self.snapshot.tasks
        found: Shortlist = defaultdict(list)
        for of_memcg in _scan(self.snapshot).values():
            for adj, entries in of_memcg.items():
                found[adj] += [e for e in entries if domain.may_use(tasks[e & INDEX_MASK].mems_allowed)]
        return found

    def descendants(self, path: str) -> Iterator[str]:
        """The cgroup at `path` and those below it, each before its own: css_for_each_descendant_pre()."""
        stack = [path]
        while stack:
            here = stack.pop()
            yield here
            stack.extend(reversed(self.below.get(here, ())))

    def once(self, pids: Iterable[int]) -> tuple[int, ...]:
        """These pids, as the same object for the same pids."""
        told = tuple(pids)
        return self.known_pids.setdefault(told, told)

    def group_members(self, group: str) -> tuple[int, ...]:
        """Pids that die with the cgroup at `group`, sorted; kept once asked for."""
        members = self.known_members.get(group)
        if members is None:
            found = set().union(*(self.mortal.get(path, ()) for path in self.descendants(group)))
            members = self.known_members[group] = self.once(sorted(found))
        return members

    def walk(self, entry: int) -> tuple[int, int, int]:
        """Where the scan of a memory cgroup's OOM meets the entry's process: compares as the walk goes."""
        index = entry & INDEX_MASK
        task = self.snapshot.tasks[index]
        return self.pre_order[task.memcg], task.order, index

    def oom_group(self, victim_memcg: str, domain_path: str) -> str | None:
        """The topmost cgroup from the victim's up to the domain that dies as one, if any.

        Source: mem_cgroup_get_oom_group(), mm/memcontrol.c.
        """
        for path in self.groups_above.get(victim_memcg, ()):
            if len(path) >= len(domain_path):  # both lie above the victim: the longer is the lower
                return path
        return None


def dies_with_group(task: Task) -> bool:
    """Whether a kill of the oom.group that it is a member of takes this process (oom_kill_memcg_member)."""
    return task.unkillable in DYING_WITH_GROUP and task.oom_score_adj != OOM_SCORE_ADJ_MIN


def dies_with_sharer(task: Task, era: Era) -> bool:
    """Whether the kill of another that shares its memory takes this process (__oom_kill_process)."""
    if era.spares_sharers and task.oom_score_adj == OOM_SCORE_ADJ_MIN:
        return False
    return task.unkillable not in SPARED_SHARERS


def arrange(snapshot: Snapshot, depth: int) -> Hierarchy:
    """Arrange a snapshot so that the first `depth` victims of every domain can be told."""
    bound = [task for task in snapshot.tasks if task.mm or task.reaper]
    sharers = grouped((task for task in bound if task.mm), attrgetter("mm"))
    namespaces = zap_pid_ns_processes(bound)
    shortlists = _scan(snapshot)
    outlived, wavering = _outlived(shortlists, namespaces, snapshot.tasks) if namespaces else (set(), 0)
    # One victim may take all of these along, and the runner-up may be one more than the victims.
    spare = 1 + sum(map(len, sharers.values())) + _entangled(namespaces, bound) + wavering
    # Unsigned badness has a floor of 1, at which pages no longer tell processes apart: keep all.
    if not snapshot.era.signed:
        outlived, spare = set(), len(snapshot.tasks)
    groups = any(memcg.oom_group for memcg in snapshot.memcgs.values())
    enough = len(snapshot.tasks) if groups else depth + spare
    hierarchy = Hierarchy(snapshot, enough, shortlists, sharers, namespaces, outlived)
    _merge_upwards(hierarchy, depth, spare)
    return hierarchy


def _scan(snapshot: Snapshot) -> defaultdict[str, Shortlist]:
    """By cgroup path, who right there can be chosen: oom_evaluate_task() over all, in line for speed."""
    shortlists: defaultdict[str, Shortlist] = defaultdict(lambda: defaultdict(list))
    era = snapshot.era
    root_bonus = era.root_bonus
    page_size = snapshot.memory.page_size
    for index, task in enumerate(snapshot.tasks):
        adj = task.oom_score_adj
        if task.unkillable is None and adj != OOM_SCORE_ADJ_MIN and not task.in_flight:
            pages = task.rss_pages + task.swap_pages + task.pgtables_bytes // page_size
            if root_bonus:
                pages = rss_swap_pgtables(task, era, page_size)
            shortlists[task.memcg][adj].append(pages << INDEX_BITS | index)
    return shortlists


def _outlived(
    shortlists: Mapping[str, Shortlist], namespaces: Mapping[int, list[Task]], tasks: Sequence[Task]
) -> tuple[set[int], int]:
    """Places of those never chosen: in one cgroup, at one oom_score_adj, less bad than their reaper.

    It goes before them in every domain and takes them along. And how many level with it may go before it in
    one scan and after it in another.
    """
    outlived: set[int] = set()
    wavering = 0
    for entries in chain.from_iterable(shortlist.values() for shortlist in shortlists.values()):
        reapers = {pid: e for e in entries if (pid := tasks[e & INDEX_MASK].pid) in namespaces}
        for entry in entries if reapers else ():
            task = tasks[entry & INDEX_MASK]
            reaper = reapers.get(task.reaper)
            if reaper is None:
                continue
            if entry >> INDEX_BITS < reaper >> INDEX_BITS:
                outlived.add(entry & INDEX_MASK)
            elif entry >> INDEX_BITS == reaper >> INDEX_BITS:
                wavering += entry < reaper or task.order < tasks[reaper & INDEX_MASK].order
    return outlived, wavering


def _entangled(namespaces: Mapping[int, list[Task]], tasks: Iterable[Task]) -> int:
    """How many could be taken along by a reaper without being outlived by it: in other cgroups, say.

    Nobody who is bad enough to be chosen before a reaper in the same place, unless that may itself be
    taken along before its turn.
    """
    first = {task.pid: task for task in tasks if task.pid in namespaces}
    nested = {task.pid for inside in namespaces.values() for task in inside if task.pid in first}
    count = 0
    for pid, inside in namespaces.items():
        reaper = first.get(pid)
        if reaper is None or reaper.mm or pid in nested:
            count += len(inside)
        else:
            memcg, adj = reaper.memcg, reaper.oom_score_adj
            count += sum(t.reaper != pid or t.memcg != memcg or t.oom_score_adj != adj for t in inside)
    return count


def _merge_upwards(hierarchy: Hierarchy, depth: int, spare: int) -> None:
    """Shorten each cgroup's shortlist and add it to its parent's.

    Where one dies for all, a victim and a runner-up are enough. Above that, each victim may take along
    all that was left there: shorten() leaves at most twice what it was told, and two of those outlived.
    """
    shortlists, memcgs = hierarchy.shortlists, hierarchy.snapshot.memcgs
    of_group = 1 + spare
    above_groups = ancestors(memcg.path for memcg in memcgs.values() if memcg.oom_group)
    for path in sorted(memcgs, key=len, reverse=True):  # a path is longer than its parent's
        if memcgs[path].oom_group:
            keep = of_group
        else:
            keep = spare + depth * (2 * of_group + 2 if path in above_groups else 1)
        shortlist = shortlists[path]
        for entries in shortlist.values():
            if len(entries) > 1:
                shorten(entries, keep, hierarchy)
        if len(shortlist) > keep:
            _leave_out_outdone(shortlist, keep, hierarchy.outlived)
        if path != ROOT:
            above = shortlists[parent_path(path)]
            for adj, entries in shortlist.items():
                above[adj] += entries


def _leave_out_outdone(shortlist: Shortlist, keep: int, outlived: Collection[int]) -> None:
    """Leave those who are outdone by fewer than `keep` others with more pages and a higher oom_score_adj.

    Those outlived do not count as others: they are gone with their reaper.
    """
    most: list[int] = []  # a heap of the most pages at the oom_score_adjs above
    for adj in sorted(shortlist, reverse=True):
        entries = shortlist[adj]
        if len(most) == keep:
            del entries[: bisect_left(entries, _level(most[0]))]
        for entry in entries:
            if entry & INDEX_MASK in outlived:
                continue
            if len(most) < keep:
                heappush(most, entry)
            else:
                heappushpop(most, entry)
        if not entries:
            del shortlist[adj]


def ancestors(paths: Iterable[str]) -> set[str]:
    """All cgroups above these, the root too."""
    found: set[str] = set()
    for path in paths:
        above = parent_path(path)
        while above not in found:
            found.add(above)
            above = parent_path(above)
    return found


def shorten(entries: list[int], keep: int, hierarchy: Hierarchy) -> None:
    """Sort, and leave the worst `keep`, be it by the node's scan or by a memory cgroup's."""
    entries.sort()
    if hierarchy.outlived and len(entries) > 1:
        keep += _leave_out_outlived(entries, hierarchy)
    if len(entries) > keep:
        del entries[: bisect_left(entries, _level(entries[-keep]))]
    if len(entries) > 2 * keep:
        walked = nlargest(keep, entries, key=lambda entry: (entry >> INDEX_BITS, hierarchy.walk(entry)))
        entries[:] = sorted({*entries[-keep:], *walked})


def _leave_out_outlived(entries: list[int], hierarchy: Hierarchy) -> int:
    """Of those outlived, leave only the one that may be second, in either scan; returns how many stay."""
    level = bisect_left(entries, _level(entries[-2]))
    followers = [entry for entry in entries[level:] if entry & INDEX_MASK in hierarchy.outlived]
    stay = {max(followers), max(followers, key=hierarchy.walk)} if followers else ()
    entries[:] = [e for e in entries if e & INDEX_MASK not in hierarchy.outlived or e in stay]
    return len(stay)


def _level(entry: int) -> int:
    """The least of all entries with the same points."""
    return entry >> INDEX_BITS << INDEX_BITS
