"""Random nodes: trees, memory nodes, limits, groups, shared memories, ties, some spared or dying."""

import random
from dataclasses import replace

from oomsayer.kernel.era import Era, era_named
from oomsayer.kernel.snapshot import ROOT, Memcg, Memory, MemoryNode, Snapshot, Sysctls, Task, Unkillable

PAGE = 4096
ADJS = (-1000, -998, -997, -500, 0, 0, 3, 900, 900, 985, 1000, 1000)


def random_snapshot(seed: int, era: Era | None = None, tasks: int = 60) -> Snapshot:
    rng = random.Random(seed)
    memcgs = _tree(rng)
    processes = tuple(_task(rng, pid, rng.choice(list(memcgs))) for pid in range(2, 2 + rng.randrange(tasks)))
    processes = _namespaces(rng, processes)
    memory = Memory(PAGE, rng.randrange(1 << 28, 1 << 34), rng.choice((0, 0, 1 << 30)))
    snapshot = Snapshot(
        kernel="6.12.0",
        era=era or era_named("E6"),
        cgroup_version=2,
        memory=replace(memory, swap_free_bytes=memory.swap_total_bytes),
        tasks=processes,
        memcgs=memcgs,
        sysctls=Sysctls(swappiness=rng.choice((0, 60))),
    )
    return _numa(rng, snapshot) if rng.random() < 0.4 else snapshot


def _numa(rng: random.Random, snapshot: Snapshot) -> Snapshot:
    """The machine with three memory nodes, and some processes held to one or two of them."""
    pages = snapshot.memory.total_pages
    nodes = tuple(
        MemoryNode(n, pages // (n + 2), pages // (n + 1), rng.randrange(9999), rng.randrange(9999))
        for n in range(3)
    )
    held = (None, None, frozenset({0}), frozenset({1}), frozenset({0, 2}))
    tasks = tuple(replace(task, mems_allowed=rng.choice(held)) for task in snapshot.tasks)
    cpusets = {task.mems_allowed for task in tasks if task.mems_allowed}
    memory = replace(snapshot.memory, nodes=nodes)
    return replace(snapshot, memory=memory, tasks=tasks, cpusets=tuple(sorted(cpusets, key=sorted)))


def _tree(rng: random.Random) -> dict[str, Memcg]:
    memcgs = {ROOT: Memcg(ROOT, inode=1)}
    for number in range(rng.randrange(14)):
        parent = rng.choice(list(memcgs))
        path = f"{'' if parent == ROOT else parent}/{rng.choice('abcdef')}{number}"
        memcgs[path] = Memcg(
            path,
            inode=rng.randrange(2, 10_000),
            max_bytes=rng.choice((None, rng.randrange(1 << 20, 1 << 30))),
            swap_max_bytes=rng.choice((None, 0, 1 << 26)),
            oom_group=rng.random() < 0.3,
        )
    return memcgs


def _namespaces(rng: random.Random, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
    """Put some into PID namespaces, most of them as containers do: in one cgroup at one oom_score_adj."""
    made: list[Task] = []
    reapers: list[Task] = []
    for task in tasks:
        inside = task
        reaper = rng.choice(reapers) if reapers else None
        kind = rng.random()
        if kind < 0.1:
            # The first of a namespace; its parent may be in another, which it is in too then.
            parent = task.parent if reaper is None or rng.random() < 0.6 else reaper.pid
            inside = replace(task, reaper=task.pid, parent=parent)
            reapers.append(inside)
        elif reaper is not None and kind < 0.5:
            inside = replace(task, reaper=reaper.pid)
            if rng.random() < 0.8:
                inside = replace(inside, memcg=reaper.memcg, oom_score_adj=reaper.oom_score_adj)
        made.append(inside)
    return tuple(made)


def _task(rng: random.Random, pid: int, memcg: str) -> Task:
    return Task(
        pid=pid,
        start_time=pid,
        comm=f"p{pid}",
        memcg=memcg,
        oom_score_adj=rng.choice(ADJS),
        rss_pages=rng.choice((10, 100, 100, rng.randrange(5000))),
        swap_pages=rng.choice((0, 0, rng.randrange(500))),
        pgtables_bytes=rng.choice((4096, 45056)),
        order=rng.choice((0, 0, rng.randrange(100))),
        mm=rng.choice((0,) * 12 + (1, 2)),
        unkillable=rng.choice((None,) * 12 + (Unkillable.VFORK, Unkillable.OOM_SKIP)),
        in_flight=rng.random() < 0.02,
        cap_sys_admin=rng.random() < 0.2,
        parent=rng.randrange(pid),
    )
