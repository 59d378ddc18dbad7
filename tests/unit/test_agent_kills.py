"""When the agent looks for kills, and what it makes of them."""

from dataclasses import replace

import pytest
from tests.unit.controller_node import KUBEPODS, POD, REDIS, WEB, node

from oomsayer.agent.kills import LAST_KILLS, PATIENCE_SECONDS, TOLD_SECONDS, KillRecord, KillWatch
from oomsayer.forecast.match import Outcome
from oomsayer.kernel.observed import KillSource, OomCounts
from oomsayer.kernel.snapshot import Snapshot
from oomsayer.kernel.verdict import verdicts
from oomsayer.node.kernellog import KernelLog

NGINX, WORKER = 102, 103
PLACES = (KUBEPODS, POD, WEB, REDIS)


class Node:
    """A node whose counters a test moves."""

    def __init__(self) -> None:
        self.kills: int | None = 4
        self.counts = {path: OomCounts(0, 0, 0, 0, 0) for path in PLACES}
        self.counted = 0

    def oom_kills(self) -> int | None:
        return self.kills

    def oom_counts(self, shot: Snapshot) -> dict[str, OomCounts]:
        self.counted += 1
        return {path: counts for path, counts in self.counts.items() if path in shot.memcgs}

    def kill_in_web(self) -> None:
        assert self.kills is not None
        self.kills += 1
        for path in (KUBEPODS, POD, WEB):
            c = self.counts[path]
            self.counts[path] = replace(
                c, oom=(c.oom or 0) + (path == WEB), oom_below=(c.oom_below or 0) + 1, oom_kill=c.oom_kill + 1
            )


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Lines:
    """The kernel's log, as klogctl() gives it."""

    def __init__(self) -> None:
        self.text = b"<6>[    1.000000] Linux version 6.12.0\n"
        self.refused = 0

    def __call__(self, action: int, buffer: bytearray) -> int:
        if self.refused:
            return -self.refused
        if action == 10:
            return len(self.text) + 100
        buffer[: len(self.text)] = self.text
        return len(self.text)

    def kill(self, seconds: float, pid: int, comm: str) -> None:
        self.text += (
            f"<6>[ {seconds:.6f}] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,"
            f"mems_allowed=0,oom_memcg={WEB},task_memcg={WEB},task={comm},pid={pid},uid=0\n"
            f"<3>[ {seconds:.6f}] Memory cgroup out of memory: Killed process {pid} ({comm}) total-vm:9kB, "
            "anon-rss:52000kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:9kB oom_score_adj:900\n"
        ).encode()


def single() -> Snapshot:
    shot = node()
    memcgs = {path: replace(m, oom_group=False) for path, m in shot.memcgs.items()}
    return replace(shot, memcgs=memcgs, taken_at=5000.0)


def without(shot: Snapshot, *pids: int) -> Snapshot:
    return replace(shot, tasks=tuple(t for t in shot.tasks if t.pid not in pids), taken_at=shot.taken_at + 2)


def look(watch: KillWatch, shot: Snapshot) -> list[KillRecord]:
    return watch.look(shot, verdicts(shot))


def test_while_the_counter_stands_still_no_cgroup_is_asked() -> None:
    world = Node()
    watch = KillWatch(world)

    for _ in range(5):
        assert look(watch, single()) == []

    assert world.counted == 1
    assert not watch.waiting


def test_a_kill_is_held_against_the_sample_before_it_was_noticed() -> None:
    world = Node()
    watch = KillWatch(world)
    before = single()
    look(watch, before)
    world.kill_in_web()
    after = without(before, NGINX)

    assert look(watch, after) == []
    assert watch.waiting
    (record,) = look(watch, after)

    assert (record.kill.pid, record.match.outcome) == (NGINX, Outcome.HIT)
    assert record.at == after.taken_at
    assert record.standing is not None
    assert record.standing.snapshot is before
    assert not watch.waiting
    assert look(watch, after) == []
    assert watch.seen == 1


def test_the_second_kill_of_the_same_worker_is_another_one() -> None:
    world = Node()
    watch = KillWatch(world)
    before = single()
    look(watch, before)
    ids = []
    for start in (1, 2):
        world.kill_in_web()
        tasks = tuple(
            replace(t, pid=NGINX + 1000 * start, start_time=start) if t.comm == "nginx" else t
            for t in before.tasks
        )
        before = replace(before, tasks=tasks)
        assert look(watch, before) == []
        ids += [record.id for record in look(watch, before)]

    assert len(set(ids)) == 2
    assert [record.id for record in watch.records(before.taken_at)] == ids
    assert watch.records(before.taken_at + TOLD_SECONDS) == ()


def test_a_victim_that_hangs_is_waited_for_but_not_for_ever() -> None:
    world, clock = Node(), Clock()
    watch = KillWatch(world, clock=clock)
    look(watch, single())
    world.kill_in_web()

    assert look(watch, single()) == []
    clock.now += PATIENCE_SECONDS - 1
    assert look(watch, single()) == []
    clock.now += 1
    (record,) = look(watch, single())

    assert (record.kill.pid, record.kill.memcg) == (None, WEB)
    assert record.match.outcome is Outcome.MISS


def test_kills_before_the_agent_began_are_none_of_its_own() -> None:
    lines = Lines()
    lines.kill(900, 77, "old")
    world = Node()
    watch = KillWatch(world, KernelLog(lines), Clock())
    look(watch, single())
    world.kill_in_web()
    lines.kill(990, NGINX, "nginx")
    look(watch, single())

    (record,) = look(watch, single())

    assert (record.kill.source, record.kill.pid) == (KillSource.KERNEL_LOG, NGINX)


def test_the_log_is_waited_for() -> None:
    world, lines = Node(), Lines()
    watch = KillWatch(world, KernelLog(lines), Clock())
    look(watch, single())
    world.kill_in_web()
    after = without(single(), NGINX, WORKER)

    assert look(watch, after) == []
    assert look(watch, after) == []
    lines.kill(990, WORKER, "worker")
    (record,) = look(watch, after)
    assert look(watch, after) == []

    assert (record.kill.source, record.kill.pid) == (KillSource.KERNEL_LOG, WORKER)
    assert record.match.outcome is Outcome.MISS


def test_a_log_that_can_no_longer_be_read_leaves_the_counters() -> None:
    world, lines = Node(), Lines()
    watch = KillWatch(world, KernelLog(lines), Clock())
    look(watch, single())
    world.kill_in_web()
    lines.refused = 1
    after = without(single(), NGINX)
    look(watch, after)

    assert [(r.kill.source, r.kill.pid) for r in look(watch, after)] == [(KillSource.COUNTERS, NGINX)]


def test_a_log_that_may_not_be_read_is_an_error_at_once() -> None:
    lines = Lines()
    lines.refused = 1

    with pytest.raises(PermissionError):
        KillWatch(Node(), KernelLog(lines))


def test_a_kernel_that_does_not_count_is_no_error() -> None:
    world = Node()
    world.kills = None
    watch = KillWatch(world)

    assert look(watch, single()) == []


def test_only_the_last_kills_are_kept() -> None:
    world = Node()
    watch = KillWatch(world)
    shot = single()
    look(watch, shot)
    for start in range(LAST_KILLS + 3):
        world.kill_in_web()
        tasks = tuple(replace(t, start_time=9000 + start) if t.comm == "nginx" else t for t in shot.tasks)
        shot = replace(shot, tasks=tasks)
        look(watch, shot)
        look(watch, shot)

    assert watch.seen == LAST_KILLS + 3
    assert len(watch.records(shot.taken_at)) == LAST_KILLS
