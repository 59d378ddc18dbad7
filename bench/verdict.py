"""What the verdicts of a node cost, against sorting as many integers: run `python bench/verdict.py`.

Each line is one node of 300 nested domains. In each round sorted() of all its processes' points and the
verdicts of all its domains, the first 16 victims of each told, take turns. bench/README.md reads the table.
"""

import random
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "operator"))

from oomsayer.kernel.badness import oom_badness
from oomsayer.kernel.domain import node_domain
from oomsayer.kernel.era import era_named
from oomsayer.kernel.snapshot import ROOT, Memcg, Memory, Snapshot, Task
from oomsayer.kernel.verdict import verdicts

SIZES = (10_000, 30_000, 100_000)
DEATHS = ("alone", "oom.group", "container")
"""Who dies with a victim: nobody; its container by memory.oom.group; that, and by PID namespace too."""
MOST_TIMES_SORTED = 10.0
TARGETED = ("alone", 10_000)
ROUNDS = {10_000: 41, 30_000: 21, 100_000: 11}
PAGE = 4096
PODS = 98
CONTAINERS = 200
"""With the pods, kubepods and the node: 300 domains, four deep."""
SERVICES = 40


def node(size: int, death: str) -> Snapshot:
    """A node with so many processes, the same at each call."""
    rng = random.Random(size)
    containers = [f"/kubepods/pod{number % PODS}/{number // PODS}" for number in range(CONTAINERS)]
    services = [f"/system.slice/{number}.service" for number in range(SERVICES)]
    adj = dict.fromkeys(services, 0) | {path: _pod_adj(rng) for path in containers}
    homes = rng.choices(containers * 9 + services, k=size)
    tasks = [
        Task(
            pid,
            pid,
            "process",
            home,
            adj[home],
            rng.randrange(100_000),
            pgtables_bytes=rng.randrange(1 << 19),
        )
        for pid, home in enumerate(homes, 2)
    ]
    memcgs = _tree(rng, containers, services, oom_group=death != "alone")
    if death == "container":
        tasks = _in_namespaces(tasks, set(containers))
    return Snapshot(
        kernel="6.12.0",
        era=era_named("E6"),
        cgroup_version=2,
        memory=Memory(PAGE, 256 << 30),
        tasks=tuple(tasks),
        memcgs={memcg.path: memcg for memcg in memcgs},
    )


def _pod_adj(rng: random.Random) -> int:
    """Guaranteed, BestEffort, or Burstable by what it requests."""
    return rng.choice((-997, 1000, rng.randrange(2, 1000)))


def _tree(rng: random.Random, containers: list[str], services: list[str], *, oom_group: bool) -> list[Memcg]:
    """The machine's cgroups, inodes by creation; pods and containers have limits."""
    pods = [f"/kubepods/pod{number}" for number in range(PODS)]
    tree = [Memcg(ROOT), Memcg("/system.slice"), Memcg("/kubepods", max_bytes=250 << 30)]
    tree += [Memcg(path) for path in services]
    tree += [Memcg(path, max_bytes=rng.randrange(1 << 28, 1 << 34)) for path in pods]
    tree += [
        Memcg(path, max_bytes=rng.randrange(1 << 27, 1 << 33), oom_group=oom_group) for path in containers
    ]
    return [replace(memcg, inode=inode) for inode, memcg in enumerate(tree, 1)]


def _in_namespaces(tasks: list[Task], containers: set[str]) -> list[Task]:
    """The oldest process of each container is the first of its PID namespace."""
    reapers: dict[str, int] = {}
    return [
        replace(task, reaper=reapers.setdefault(task.memcg, task.pid)) if task.memcg in containers else task
        for task in tasks
    ]


def all_points(snapshot: Snapshot) -> list[int]:
    """The integers to sort: what each process has in an OOM of the node."""
    totalpages = node_domain(snapshot.memory).totalpages
    return [oom_badness(task, totalpages, snapshot.era, PAGE) or 0 for task in snapshot.tasks]


def in_turns(rounds: int, *works: Callable[[], object]) -> list[list[float]]:
    """Milliseconds of processor time, by work and round."""
    times: list[list[float]] = [[] for _ in works]
    for _ in range(rounds):
        for work, measured in zip(works, times, strict=True):
            start = time.process_time()
            result = work()
            measured.append((time.process_time() - start) * 1000)
            del result  # outside the time
    return times


HEADER = ("dies", "tasks", "domains", "sorted ms", "verdicts ms", "us a task", "ratio", "best ratio")
WIDTHS = (9, 7, 7, 9, 11, 9, 6, 10)


def say(*cells: str, after: str = "") -> None:
    """Print one line of the table."""
    line = "  ".join(cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    sys.stdout.write(f"{line}{after}\n")
    sys.stdout.flush()


def main() -> None:
    """Print one line for each node as soon as it is measured."""
    say(*HEADER)
    for death in DEATHS:
        for size in SIZES:
            snapshot = node(size, death)
            points = all_points(snapshot)
            rounds = ROUNDS[size]
            sorting, telling = in_turns(rounds, partial(sorted, points), partial(verdicts, snapshot))
            took, base = median(telling), median(sorting)
            cells = (f"{base:.2f}", f"{took:.2f}", f"{took * 1000 / size:.2f}", f"{took / base:.1f}")
            best = f"{min(telling) / min(sorting):.1f}"
            target = f"  target <= {MOST_TIMES_SORTED:.0f}" if (death, size) == TARGETED else ""
            say(death, str(size), str(len(verdicts(snapshot))), *cells, best, after=target)


if __name__ == "__main__":
    main()
