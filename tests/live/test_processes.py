"""What the reader says of this machine's processes, held against the kernel's own word."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.live.stage import Actor, task_of, until

from oomsayer.kernel.snapshot import Unkillable
from oomsayer.kernel.verdict import verdicts
from oomsayer.node.selfcheck import self_check
from oomsayer.node.snapshot import Scanner, snapshot

Start = Callable[[], Actor]
MIB = 1 << 20
ACTORS = ((0, 1), (1, 5), (100, 40), (500, 90), (937, 3), (999, 60), (1000, 0))
"""oom_score_adj and MiB."""
SETTLED = 10
"""After so many looks only what may have changed of an idle process is read again."""
MANY_LOOKS = 100
"""A process may run between our look and the kernel's: it must agree at some moment."""


def kernels_score(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/oom_score").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def test_every_process_scores_as_the_kernel_says(actors: Start) -> None:
    for adj, size in ACTORS:
        actor = actors()
        actor.tell(f"adj {adj}")
        actor.tell(f"hold {max(size * MIB, 4096)}")
    scanner = Scanner()
    check = self_check(scanner, looks=MANY_LOOKS)
    scanner.close()
    assert check.compared > len(ACTORS)
    assert check.mismatches == ()


def test_whoever_is_left_out_has_no_memory() -> None:
    listed = {task.pid for task in snapshot().tasks}

    def unexplained() -> bool | None:
        left_out = {int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()} - listed
        scoring = {pid for pid in left_out if (kernels_score(pid) or 0) > 0}
        now = {task.pid for task in snapshot().tasks}
        return None if scoring - now else True

    until(unexplained)


@pytest.mark.parametrize("looks", [1, SETTLED])
def test_the_next_look_sees_what_moved(actors: Start, looks: int) -> None:
    actor, idle = actors(), actors()
    scanner = Scanner()
    for _ in range(looks):
        before = scanner.snapshot()
    actor.tell(f"hold {30 * MIB}")
    actor.tell("adj 321")
    after = scanner.snapshot()
    scanner.close()
    was, now = task_of(actor.pid, before), task_of(actor.pid, after)
    assert (was.oom_score_adj, now.oom_score_adj) == (was.oom_score_adj, 321)
    assert now.rss_pages - was.rss_pages >= 30 * MIB // before.memory.page_size - 256
    assert now.pgtables_bytes > was.pgtables_bytes
    assert task_of(idle.pid, after) == task_of(idle.pid, before)


@pytest.mark.parametrize("looks", [1, SETTLED])
def test_a_process_that_ended_is_gone(actors: Start, looks: int) -> None:
    actor = actors()
    scanner = Scanner()
    for _ in range(looks):
        assert task_of(actor.pid, scanner.snapshot()).comm.startswith("python")
    actor.end()
    assert actor.pid not in {task.pid for task in scanner.snapshot().tasks}
    scanner.close()


@pytest.mark.parametrize(
    "name",
    [
        b"a b",
        b") R 1 1 1",
        b"((()",
        b"new\nline",
        b"\xff\xfe\x80",
        b"tab\t\x1b[31m",
        b"\\n",
        "größe".encode(),
        b" ",
    ],
)
def test_any_name_is_read_as_it_is(actors: Start, name: bytes) -> None:
    actor = actors()
    actor.tell(f"name {name.hex()}")
    task = task_of(actor.pid, snapshot())
    assert os.fsencode(task.comm) == name
    assert task.parent == os.getpid()


def test_a_process_that_shares_memory_dies_with_the_other(actors: Start) -> None:
    actor, stranger = actors(), actors()
    sharer = actor.start_sharer()
    shot = snapshot()
    one, other = task_of(actor.pid, shot), task_of(sharer, shot)
    assert one.mm == other.mm != 0
    assert task_of(stranger.pid, shot).mm == 0
    assert one.unkillable is other.unkillable is None
    assert not [gap for gap in shot.gaps if str(sharer) in gap]


def test_a_vforked_process_is_passed_over(actors: Start) -> None:
    actor = actors()
    child = actor.vfork()
    shot = snapshot()
    assert task_of(child, shot).unkillable is Unkillable.VFORK
    assert task_of(child, shot).mm == task_of(actor.pid, shot).mm != 0
    assert task_of(actor.pid, shot).unkillable is None
    assert kernels_score(child) == 0


def test_an_exited_leader_counts_through_its_threads(actors: Start) -> None:
    actor = actors()
    actor.tell("name " + b"leader".hex())
    actor.tell(f"hold {50 * MIB}")
    actor.tell("leave")
    until(lambda: "Z" in Path(f"/proc/{actor.pid}/stat").read_text().rpartition(")")[2] or None)
    actor.tell(f"hold {20 * MIB}")
    shot = snapshot()
    task = task_of(actor.pid, shot)
    assert task.rss_pages >= 70 * MIB // shot.memory.page_size
    assert task.comm == "leader"
    assert task.memcg == task_of(os.getpid(), shot).memcg
    scanner = Scanner()
    mismatches = self_check(scanner, looks=MANY_LOOKS).mismatches
    scanner.close()
    assert actor.pid not in {mismatch.task.pid for mismatch in mismatches}


def test_every_process_has_a_place_among_the_cgroups() -> None:
    shot = snapshot()
    assert {task.memcg for task in shot.tasks} <= shot.memcgs.keys()
    assert verdicts(shot)[0].victim is not None


def test_our_own_cgroup_is_told() -> None:
    shot = snapshot()
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    where = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}
    expected = where["memory"] if shot.cgroup_version == 1 else where[""]
    assert (
        expected == task_of(os.getpid(), shot).memcg
        or not Path(f"/sys/fs/cgroup{expected}/memory.max").exists()
    )
