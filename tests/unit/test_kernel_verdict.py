"""The fast verdict against the slow one: ask every process, at every step, as the kernel does."""

import random
from collections.abc import Iterator
from dataclasses import replace
from operator import attrgetter

import pytest
from tests.unit.random_snapshots import PAGE, random_snapshot

from oomsayer.agent.prune import prune
from oomsayer.kernel.badness import oom_badness
from oomsayer.kernel.domain import Domain, DomainKind, domains, within
from oomsayer.kernel.era import ERAS, Era, era_named
from oomsayer.kernel.hierarchy import arrange
from oomsayer.kernel.oom_kill import select_bad_process
from oomsayer.kernel.snapshot import (
    ROOT,
    Memcg,
    Memory,
    MemoryNode,
    Omitted,
    Snapshot,
    Sysctls,
    Task,
    Unkillable,
    parent_path,
)
from oomsayer.kernel.verdict import Confidence, Verdict, verdicts

DEPTH = 6


def walk(snapshot: Snapshot, domain: Domain) -> list[Task]:
    """The domain's processes in the order of the kernel's scan."""
    if domain.kind is not DomainKind.MEMCG:
        return [task for task in snapshot.tasks if domain.may_use(task.mems_allowed)]
    found: list[Task] = []

    def visit(path: str) -> None:
        here = [t for t in snapshot.tasks if t.memcg == path]
        found.extend(sorted(here, key=lambda t: t.order))
        below = [m for m in snapshot.memcgs.values() if m.path != ROOT and parent_path(m.path) == path]
        for memcg in sorted(below, key=lambda m: m.inode):
            visit(memcg.path)

    visit(domain.path)
    return found


def choose(tasks: list[Task], domain: Domain, era: Era) -> tuple[Task, int] | None:
    """Who is chosen once those that are dying already are gone."""
    _, chosen = select_bad_process([t for t in tasks if not t.in_flight], domain, era, PAGE)
    points = None if chosen is None else oom_badness(chosen, domain.totalpages, era, PAGE)
    return None if chosen is None or points is None else (chosen, points)


def dying(snapshot: Snapshot, victim: Task, domain: Domain) -> set[int]:
    group = None
    path = victim.memcg
    while path != ROOT:
        if snapshot.memcgs[path].oom_group:
            group = path
        if path == domain.cgroup:
            break
        path = parent_path(path)
    dead = [victim]
    if group:
        dead += [
            t
            for t in snapshot.tasks
            if within(t.memcg, group) and t.oom_score_adj != -1000 and t.unkillable is not Unkillable.INIT
        ]
    takes = [o for o in snapshot.tasks if not (snapshot.era.spares_sharers and o.oom_score_adj == -1000)]
    pids = {t.pid for t in dead} | {o.pid for t in dead for o in takes if t.mm and o.mm == t.mm}
    return pids | {t.pid for t in snapshot.tasks if pids & set(reapers(snapshot, t))}


def reapers(snapshot: Snapshot, task: Task) -> Iterator[int]:
    """The first processes of all PID namespaces that a process is in, from its own outward."""
    seen: set[int] = set()
    reaper = task.reaper
    while reaper and reaper not in seen:
        seen.add(reaper)
        yield reaper
        first = next((t for t in snapshot.tasks if t.pid == reaper), None)
        parent = next((t for t in snapshot.tasks if first and t.pid == first.parent), None)
        reaper = parent.reaper if parent else 0


def cascade(snapshot: Snapshot, domain: Domain) -> Iterator[tuple[int, int, set[int]]]:
    dead: set[int] = set()
    while True:
        living = [t for t in walk(snapshot, domain) if t.pid not in dead]
        chosen = choose(living, domain, snapshot.era)
        if chosen is None:
            return
        victim, points = chosen
        if snapshot.era.sacrifice_child:
            children = [
                t for t in snapshot.tasks
                if t.parent == victim.pid and t.pid not in dead and within(t.memcg, domain.cgroup)
                and domain.may_use(t.mems_allowed)
                and not (t.mm and t.mm == victim.mm)
            ]  # fmt: skip
            scored = [(t, oom_badness(t, domain.totalpages, snapshot.era, PAGE)) for t in children]
            best = max((p for _, p in scored if p is not None), default=None)
            if best is not None:
                victim, points = next((t, best) for t, p in scored if p == best)
        kills = dying(snapshot, victim, domain)
        dead |= kills
        yield victim.pid, points, kills


def second(snapshot: Snapshot, verdict: Verdict) -> tuple[int, int] | None:
    """Whom the kernel would choose if the one that it chooses first, and only it, were not there."""
    chosen_first = verdict.chosen or verdict.victim
    first = chosen_first and chosen_first.task.pid
    others = [t for t in walk(snapshot, verdict.domain) if t.pid != first]
    chosen = choose(others, verdict.domain, snapshot.era)
    return chosen and (chosen[0].pid, chosen[1])


def runner_up(verdict: Verdict) -> tuple[int, int] | None:
    return verdict.runner_up and (verdict.runner_up.task.pid, verdict.runner_up.points)


@pytest.mark.parametrize("era", ERAS, ids=lambda e: e.name)
def test_every_domain_agrees_with_asking_everybody(era: Era) -> None:
    compared = 0
    for seed in range(150):
        snapshot = random_snapshot(seed, era)
        depth = 1 + seed % DEPTH
        for verdict in verdicts(snapshot, depth):
            expected = []
            for step in cascade(snapshot, verdict.domain):
                expected.append(step)
                if len(expected) == depth:
                    break
            got = [(k.victim.task.pid, k.victim.points, set(k.kill_set.pids)) for k in verdict.order]
            assert got == expected, f"seed {seed}, {verdict.domain}"
            assert runner_up(verdict) == second(snapshot, verdict), f"seed {seed}, {verdict.domain}"
            compared += len(got)
    assert compared > 1000


@pytest.mark.parametrize("era", ERAS, ids=lambda e: e.name)
def test_a_pruned_snapshot_gives_the_same_verdicts(era: Era) -> None:
    smaller = 0
    for seed in range(150):
        snapshot = random_snapshot(seed, era, tasks=200)
        pruned = prune(snapshot, DEPTH)
        smaller += len(snapshot.tasks) - len(pruned.tasks)
        for full, small in zip(verdicts(snapshot, DEPTH), verdicts(pruned, DEPTH), strict=True):
            assert small.domain == full.domain
            assert [k.victim for k in small.order] == [k.victim for k in full.order], f"seed {seed}"
            assert small.runner_up == full.runner_up
            assert small.confidence == full.confidence
            for small_kill, full_kill in zip(small.order, full.order, strict=True):
                assert set(small_kill.kill_set.pids) <= set(full_kill.kill_set.pids)
                listed = len(small_kill.kill_set.pids) + small_kill.kill_set.omitted
                assert listed == len(full_kill.kill_set.pids)
    assert (smaller > 0) is (not era.sacrifice_child)


def node(*tasks: Task, memcgs: tuple[Memcg, ...] = (), sysctls: Sysctls | None = None) -> Snapshot:
    tree = {m.path: m for m in (Memcg(ROOT), *memcgs)}
    memory = Memory(PAGE, 4096000 * PAGE)
    return Snapshot("6.12.0", ERAS[-1], 2, memory, tasks, tree, sysctls or Sysctls())


def process(pid: int, pages: int, adj: int = 0, memcg: str = ROOT) -> Task:
    return Task(pid, pid, f"p{pid}", memcg, adj, pages)


def test_the_domain_decides_and_not_the_nodes_oom_score() -> None:
    # Measured on 5.10, 6.1, 6.12 and 7.2: in 120 MiB the larger process dies though its oom_score is lower.
    limited = Memcg("/pod", inode=2, max_bytes=120 << 20)
    snapshot = node(process(10, 30 * 256, 900, "/pod"), process(11, 20 * 256, 985, "/pod"), memcgs=(limited,))
    of_node, of_pod = verdicts(snapshot)
    assert of_node.victim is not None
    assert of_pod.victim is not None
    assert (of_node.victim.task.pid, of_pod.victim.task.pid) == (11, 10)


def test_equal_badness_is_reported_as_too_close() -> None:
    verdict = verdicts(node(process(10, 500), process(11, 500)))[0]
    assert verdict.victim is not None
    assert (verdict.victim.task.pid, verdict.margin_pages) == (11, 0)
    assert verdict.confidence is Confidence.LOW


def test_what_swapping_hides_grows_with_the_processors() -> None:
    swapping = Memory(PAGE, 8000 * PAGE, swap_total_bytes=1000 * PAGE)
    two = replace(node(process(10, 500), process(11, 700)), era=era_named("E6"), memory=swapping, cpus=2)
    many = replace(two, cpus=64)
    assert [verdicts(shot)[0].confidence for shot in (two, many)] == [Confidence.HIGH, Confidence.LOW]
    assert "within the 16384 that swapping can hide" in verdicts(many)[0].assumptions[-1]


def test_the_margin_is_that_of_the_parent_whose_child_dies() -> None:
    parent, child, other = process(10, 500_000), replace(process(11, 3_000), parent=10), process(12, 400_000)
    verdict = verdicts(replace(node(parent, child, other), era=ERAS[2]))[0]
    assert verdict.chosen is not None
    assert verdict.victim is not None
    assert (verdict.chosen.task, verdict.victim.task) == (parent, child)
    assert (verdict.margin_pages, verdict.confidence) == (100_000, Confidence.HIGH)
    assert [reason for reason in verdict.assumptions if "p10 (pid 10) has the most badness" in reason]


def test_the_only_candidate_is_dying_already() -> None:
    verdict = verdicts(node(replace(process(10, 900), in_flight=True)))[0]
    assert (verdict.victim, verdict.confidence) == (None, Confidence.BLOCKED)


def test_a_dying_process_blocks_the_next_kill() -> None:
    snapshot = node(replace(process(10, 900), in_flight=True), process(11, 500))
    verdict = verdicts(snapshot)[0]
    assert verdict.confidence is Confidence.BLOCKED
    assert verdict.victim is not None
    assert verdict.victim.task.pid == 11


@pytest.mark.parametrize(
    ("sysctls", "says"),
    [
        (Sysctls(panic_on_oom=1), "vm.panic_on_oom is set: the node panics instead of killing"),
        (Sysctls(panic_on_oom=2), "vm.panic_on_oom is set: the node panics instead of killing"),
    ],
)
def test_a_node_that_panics_has_no_victim(sysctls: Sysctls, says: str) -> None:
    verdict = verdicts(node(process(10, 900), sysctls=sysctls))[0]
    assert verdict.victim is None
    assert verdict.confidence is Confidence.NONE
    assert says in verdict.assumptions


def test_nobody_to_kill_is_said() -> None:
    limited = Memcg("/empty", inode=2, max_bytes=1 << 20)
    verdict = verdicts(node(process(10, 900), memcgs=(limited,)))[1]
    assert (verdict.victim, verdict.confidence) == (None, Confidence.NONE)
    assert verdict.assumptions == ("no process here can be killed: allocations at the limit fail",)


def test_who_may_not_use_a_memory_node_is_not_asked_for_it() -> None:
    near, far = frozenset({0}), frozenset({1})
    tasks = (
        replace(process(10, 900), mems_allowed=near),
        replace(process(11, 500), mems_allowed=far),
        process(12, 400, 5),
    )
    machine = node(*tasks)
    nodes = (MemoryNode(0, 4000000), MemoryNode(1, 96000))
    machine = replace(machine, memory=replace(machine.memory, nodes=nodes), cpusets=(far,))
    whole, second = verdicts(machine)
    assert (second.domain.kind, second.domain.path) == (DomainKind.CPUSET, "cpuset.mems=1")
    assert [kill.task.pid for kill in whole.order] == [12, 10, 11]  # 5 weighs 20480 pages there
    assert [(kill.task.pid, kill.points) for kill in second.order] == [(12, 880), (11, 500)]
    assert any("memory policy" in said for said in whole.assumptions)
    assert any("cpuset allows every memory node" in said for said in whole.assumptions)
    assert second.assumptions == ()


def test_a_machine_with_one_memory_node_has_nothing_to_presume() -> None:
    (verdict,) = verdicts(node(process(10, 900)))
    assert (verdict.confidence, verdict.assumptions) == (Confidence.HIGH, ())


def test_the_allocating_task_overrules_badness() -> None:
    verdict = verdicts(node(process(10, 900), sysctls=Sysctls(oom_kill_allocating_task=1)))[0]
    assert verdict.victim is not None
    assert verdict.confidence is Confidence.LOW
    assert "takes the process that asks" in verdict.assumptions[-1]


def test_where_nobody_can_be_killed_an_old_kernel_may_go_on_to_the_node() -> None:
    limited = Memcg("/empty", inode=2, max_bytes=1 << 20)
    old = replace(node(process(10, 900), memcgs=(limited,)), kernel="5.10.0-32-cloud-amd64")
    assert "a page fault that fails here may go on" in verdicts(old)[1].assumptions[-1]


def test_a_cgroup_without_the_killer_hangs() -> None:
    hung = Memcg("/hung", inode=2, max_bytes=1 << 20, oom_kill_disable=True)
    verdict = verdicts(node(process(10, 900, 0, "/hung"), memcgs=(hung,)))[1]
    assert verdict.victim is None
    assert "hang" in verdict.assumptions[-1]


def containers(seed: int, era: Era) -> Snapshot:
    """Pods of containers that die as wholes, by memory.oom.group or with their first process, often level."""
    rng = random.Random(seed)
    pods = tuple(Memcg(f"/p{n}", inode=rng.randrange(999), max_bytes=1 << 30) for n in range(4))
    homes = tuple(Memcg(f"/p{n % 4}/{n}", 1000 + n, 1 << 28, oom_group=rng.random() < 0.5) for n in range(24))
    most_pages = rng.choice((3, 40, 5000))
    tasks = []
    for pid in range(10, 130):
        first = 10 + (pid - 10) % 24 if rng.random() < 0.9 else 0
        adj = rng.choice((0, 900)) if rng.random() < 0.1 else pid % 2 * 1000
        task = process(pid, rng.randrange(most_pages), adj, homes[(pid - 10) % 24].path)
        tasks.append(replace(task, reaper=first if seed % 2 else 0, mm=int(rng.random() < 0.02)))
    return replace(node(*tasks, memcgs=pods + homes), era=era)


@pytest.mark.parametrize("era", ERAS, ids=lambda e: e.name)
def test_containers_that_die_as_wholes_leave_room_for_the_next(era: Era) -> None:
    for seed in range(16):
        snapshot = containers(seed, era)
        for verdict in verdicts(snapshot, DEPTH):
            expected = [
                step for step, _ in zip(cascade(snapshot, verdict.domain), range(DEPTH), strict=False)
            ]
            got = [(k.victim.task.pid, k.victim.points, set(k.kill_set.pids)) for k in verdict.order]
            assert got == expected, f"seed {seed}, {verdict.domain}"
            assert runner_up(verdict) == second(snapshot, verdict), f"seed {seed}, {verdict.domain}"


def nested(seed: int) -> Snapshot:
    """One cgroup in the other, each with processes of any oom_score_adj, of which some are level.

    In every other one they end with one process of their cgroup, be it the biggest or not.
    """
    rng = random.Random(seed)
    paths = ["".join(f"/{n}" for n in range(depth)) for depth in range(1, 9)]
    limits = (999 * PAGE, 5000 * PAGE, 1 << 28, 1 << 32)  # the first is so small that adj weighs nothing
    memcgs = tuple(Memcg(path, rng.randrange(999), rng.choice(limits)) for path in paths)
    adjs = rng.choice((range(-1000, 1001), range(990, 993), (0,)))
    pages = rng.choice((2, 30, 100_000))
    tasks = [process(n, rng.randrange(pages), rng.choice(adjs), rng.choice(paths)) for n in range(10, 210)]
    if seed % 2:
        order = attrgetter("rss_pages" if seed % 4 == 1 else "pid")
        reapers = {task.memcg: task.pid for task in sorted(tasks, key=order)}
        tasks = [replace(task, reaper=reapers[task.memcg]) for task in tasks]
    return node(*tasks, memcgs=memcgs)


@pytest.mark.parametrize("seed", range(24))
def test_whatever_oom_score_adj_weighs_the_first_victims_are_on_the_shortlist(seed: int) -> None:
    snapshot = nested(seed)
    for verdict in verdicts(snapshot, DEPTH):
        expected = [step for step, _ in zip(cascade(snapshot, verdict.domain), range(DEPTH), strict=False)]
        assert [(k.task.pid, k.points, set(k.kill_set.pids)) for k in verdict.order] == expected
        assert runner_up(verdict) == second(snapshot, verdict)
    if seed % 2 == 0:
        assert sum(map(len, arrange(snapshot, DEPTH).shortlists.values())) < len(snapshot.tasks) * 2


def test_the_kill_order_of_many_processes_is_found_among_few() -> None:
    rng = random.Random(7)
    memcgs = tuple(
        Memcg(f"/c{n}", inode=n + 2, max_bytes=rng.randrange(1 << 20, 1 << 30)) for n in range(300)
    )
    tasks = [process(pid, rng.randrange(9999), rng.choice((0, 900)), f"/c{pid % 300}") for pid in range(9000)]
    snapshot = node(*tasks, memcgs=memcgs)
    for verdict, domain in zip(verdicts(snapshot), domains(snapshot), strict=True):
        assert verdict.domain == domain
        expected = choose(walk(snapshot, domain), domain, snapshot.era)
        assert expected is not None
        assert verdict.victim is not None
        assert (verdict.victim.task, verdict.victim.points) == expected


def test_what_a_pruned_snapshot_omits_is_counted_once_wherever_cgroups_nest() -> None:
    rng, snapshot = random.Random(11), random_snapshot(11)
    paths = [ROOT, *("/" + "/".join(rng.choice("ab") for _ in range(rng.randrange(1, 5))) for _ in range(40))]
    for _ in range(200):
        omitted = tuple(Omitted(rng.choice(paths), rng.randrange(9), 1) for _ in range(rng.randrange(12)))
        gone = {rng.choice(paths) for _ in range(rng.randrange(1, 5))}
        hierarchy = arrange(replace(snapshot, omitted=omitted), 1)
        one_by_one = sum(each.tasks for each in omitted if any(within(each.memcg, path) for path in gone))
        assert hierarchy.omitted_in(gone) == one_by_one


def sandboxes(count: int) -> Snapshot:
    """So many PID namespaces of two processes each, all in one cgroup."""
    pids = range(10, 10 + 2 * count, 2)
    tasks = tuple(
        Task(pid + k, pid, f"p{pid}", "/box", 0, 100 + pid + k, parent=pid if k else 1, reaper=pid)
        for pid in pids
        for k in (0, 1)
    )
    memcgs = {ROOT: Memcg(ROOT), "/box": Memcg("/box", 2, max_bytes=1 << 30)}
    return replace(random_snapshot(0), tasks=tasks, memcgs=memcgs, cpusets=())


def test_pruning_keeps_two_of_each_sandbox() -> None:
    snapshot = sandboxes(200)
    assert len(prune(snapshot, DEPTH, verdicts(snapshot, DEPTH)).tasks) == 400
