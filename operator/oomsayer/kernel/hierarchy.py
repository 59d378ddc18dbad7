"""The memory cgroup tree as the kernel walks it, and who in each part of it could be chosen.

A domain's candidates are all processes below it, so asking each domain by itself would visit every
process once a level. Within one oom_score_adj, though, more pages means more badness whatever the
domain's totalpages: only the first few of each oom_score_adj can be among its first victims. So each
cgroup keeps a shortlist by oom_score_adj, and hands it up to its parent.

Source: mem_cgroup_scan_tasks() in mm/memcontrol.c, mem_cgroup_get_oom_group() likewise.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from oomsayer.kernel.badness import Evaluation, oom_evaluate_task, rss_swap_pgtables
from oomsayer.kernel.era import Era
from oomsayer.kernel.snapshot import ROOT, Memcg, Snapshot, Task, parent_path


class Entry(NamedTuple):
    """A process that can be chosen. Compares as equals in oom_score_adj are ranked: pages, then the walk."""

    pages: int
    """Badness before oom_score_adj."""
    walk: int
    """Place in the pre-order walk of the cgroup tree, the scan order of a memory cgroup's OOM."""
    creation: int
    """Place in order of creation, the scan order of the node's OOM."""
    task: Task


Shortlist = dict[int, list[Entry]]
"""By oom_score_adj: the entries that can be among the first victims, worst first."""


@dataclass(slots=True)
class Part:
    """One cgroup and all below it."""

    shortlist: Shortlist = field(default_factory=dict)
    in_flight: list[Task] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """A snapshot arranged by memory cgroup.

    Attributes:
        snapshot: what it was made of.
        parts: by cgroup path, what each OOM there would choose from.
        sharers: by Task.mm, the processes that share one memory.
        children: by parent pid, for the kernels that sacrifice one.
        by_memcg: by cgroup path, the processes charged right there.
        below: by cgroup path, the paths one level down in the order of their creation.
    """

    snapshot: Snapshot
    parts: Mapping[str, Part]
    sharers: Mapping[int, list[Task]]
    children: Mapping[int, list[Task]]
    by_memcg: Mapping[str, list[Task]]
    below: Mapping[str, list[str]]

    def members(self, path: str) -> Iterable[Task]:
        """Every process in the cgroup at `path` or below it."""
        stack = [path]
        while stack:
            here = stack.pop()
            yield from self.by_memcg.get(here, ())
            stack.extend(self.below.get(here, ()))

    def oom_group(self, victim_memcg: str, domain_path: str) -> str | None:
        """The topmost cgroup from the victim's up to the domain that dies as one, if any.

        Source: mem_cgroup_get_oom_group(), mm/memcontrol.c.
        """
        group = None
        path = victim_memcg
        while path != ROOT:
            memcg = self.snapshot.memcgs.get(path)
            if memcg is not None and memcg.oom_group:
                group = path
            if path == domain_path:
                break
            path = parent_path(path)
        return group


def arrange(snapshot: Snapshot, depth: int) -> Hierarchy:
    """Arrange a snapshot so that the first `depth` victims of every domain can be told."""
    by_memcg: dict[str, list[Task]] = {}
    sharers: dict[int, list[Task]] = {}
    children: dict[int, list[Task]] = {}
    creation: dict[int, int] = {}
    for index, task in enumerate(snapshot.tasks):
        by_memcg.setdefault(task.memcg, []).append(task)
        creation[task.pid] = index
        if task.mm:
            sharers.setdefault(task.mm, []).append(task)
        if snapshot.era.sacrifice_child:
            children.setdefault(task.parent, []).append(task)
    parts = {path: Part() for path in snapshot.memcgs}
    # Unsigned badness has a floor of 1, at which pages no longer tell processes apart: keep all.
    keep = depth if snapshot.era.signed else len(snapshot.tasks)
    below = levels(snapshot.memcgs)
    order = pre_order(below)
    walk = 0
    for path in order:
        tasks = sorted(by_memcg.get(path, ()), key=attrgetter("order"))
        _place(parts[path], tasks, snapshot, walk, creation)
        walk += len(tasks)
    for path in reversed(order):
        part = parts[path]
        _shorten(
            part.shortlist, keep, one_dies_for_all=snapshot.memcgs[path].oom_group and snapshot.era.signed
        )
        if path != ROOT:
            _hand_up(part, parts[parent_path(path)])
    return Hierarchy(snapshot, parts, sharers, children, by_memcg, below)


def levels(memcgs: Mapping[str, Memcg]) -> dict[str, list[str]]:
    """By path, the paths one level down, siblings in the order of their creation."""
    below: dict[str, list[str]] = {}
    for memcg in sorted(memcgs.values(), key=attrgetter("inode")):
        if memcg.path != ROOT:
            below.setdefault(parent_path(memcg.path), []).append(memcg.path)
    return below


def pre_order(below: Mapping[str, list[str]]) -> list[str]:
    """Paths of the tree, each before those below it."""
    paths: list[str] = []
    stack = [ROOT]
    while stack:
        path = stack.pop()
        paths.append(path)
        stack.extend(reversed(below.get(path, ())))
    return paths


def _place(part: Part, tasks: list[Task], snapshot: Snapshot, walk: int, creation: Mapping[int, int]) -> None:
    era: Era = snapshot.era
    for index, task in enumerate(tasks, walk):
        evaluation = oom_evaluate_task(task)
        if evaluation is Evaluation.ABORT:
            part.in_flight.append(task)
        elif evaluation is Evaluation.CONSIDER:
            pages = rss_swap_pgtables(task, era, snapshot.memory.page_size)
            entry = Entry(pages, index, creation[task.pid], task)
            part.shortlist.setdefault(task.oom_score_adj, []).append(entry)


def _shorten(shortlist: Shortlist, keep: int, *, one_dies_for_all: bool) -> None:
    """Leave what can be among the first `keep` victims.

    Where one dies for all, the first of each oom_score_adj suffices. Entries level with the last kept
    one stay, since the node's OOM breaks that tie by creation, and so do sharers of a memory, since
    one victim takes several of them.
    """
    keep = 1 if one_dies_for_all else keep
    for adj, entries in shortlist.items():
        entries.sort(reverse=True)
        if len(entries) > keep:
            least = _pages_of_kept(entries, keep)
            shortlist[adj] = [entry for entry in entries if entry.pages >= least or entry.task.mm]


def _pages_of_kept(entries: list[Entry], keep: int) -> int:
    alone = [entry for entry in entries if not entry.task.mm]
    return alone[keep - 1].pages if len(alone) >= keep else 0


def _hand_up(part: Part, parent: Part) -> None:
    parent.in_flight.extend(part.in_flight)
    for adj, entries in part.shortlist.items():
        above = parent.shortlist.get(adj)
        if above is None:
            parent.shortlist[adj] = list(entries)
        else:
            above.extend(entries)
