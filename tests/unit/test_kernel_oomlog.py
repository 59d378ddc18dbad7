"""Kills read from kernel logs."""

import pytest

from oomsayer.kernel.oomlog import OomKill, last_seconds, oom_kills

SCOPE = "/kubepods.slice/kubepods-pod1.slice/cri-containerd-2.scope"
MEMCG_KILL = f"""
[   90.1] memtool invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=-997
[   90.2] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=cri.scope,mems_allowed=0,\
oom_memcg=/kubepods.slice/kubepods-pod1.slice,task_memcg={SCOPE},task=a,pid=1,u,pid=812,uid=0
[   90.3] Memory cgroup out of memory: Killed process 812 (a,pid=1,u) total-vm:1kB, anon-rss:2kB, \
file-rss:3kB, shmem-rss:0kB, UID:0 pgtables:44kB oom_score_adj:-997
[   90.4] Tasks in {SCOPE} are going to be killed due to memory.oom.group set
[   90.5] Memory cgroup out of memory: Killed process 812 (a,pid=1,u) total-vm:1kB, anon-rss:2kB, \
file-rss:3kB, shmem-rss:0kB, UID:0 pgtables:44kB oom_score_adj:-997
[   90.6] Memory cgroup out of memory: Killed process 813 (sh (x)) total-vm:1kB, anon-rss:2kB, \
file-rss:3kB, shmem-rss:0kB, UID:0 pgtables:44kB oom_score_adj:-997
"""
NODE_KILL = (
    "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0-1,3,global_oom,"
    "task_memcg=/,task=init helper,pid=44,uid=65534\n"
)


def test_a_group_kill_is_one_choice_of_many() -> None:
    assert oom_kills(MEMCG_KILL.splitlines()) == [
        OomKill(
            pid=812,
            comm="a,pid=1,u",
            domain="/kubepods.slice/kubepods-pod1.slice",
            memcg=SCOPE,
            constraint="MEMCG",
            oom_group=SCOPE,
            killed=(812, 813),
            seconds=90.2,
            rss_kb=5,
            oom_score_adj=-997,
        )
    ]


def test_a_member_that_is_gone_before_its_group_is_walked_has_died_too() -> None:
    exiting = "[   90.7] Memory cgroup out of memory: OOM victim {} is already exiting. Skip killing the task"
    again, member = exiting.format("812 (a,pid=1,u)"), exiting.format("814 (worker (b))")
    [kill] = oom_kills([*MEMCG_KILL.splitlines(), again, member])
    assert kill.killed == (812, 813, 814)
    assert oom_kills([again]) == []
    cut = [line for line in MEMCG_KILL.splitlines() if "Killed process" not in line]
    assert [kill.killed for kill in oom_kills([*cut, member])] == [(814,)]


def test_the_nodes_kill_has_the_root_as_domain() -> None:
    assert oom_kills([NODE_KILL]) == [OomKill(44, "init helper", "/", "/", "NONE")]


def test_the_kill_for_memory_nodes_names_them() -> None:
    cpuset = NODE_KILL.replace("CONSTRAINT_NONE", "CONSTRAINT_CPUSET")
    assert [kill.domain for kill in oom_kills([cpuset])] == ["cpuset.mems=0-1,3"]


def test_lines_that_only_look_alike_are_passed_over() -> None:
    assert oom_kills(["oom-kill:constraint=CONSTRAINT_MEMCG,cut", "Killed process 3 (x)"]) == []


@pytest.mark.parametrize("comm", ["x,task=y", "a,pid=1,uid=2", "task_memcg=/z", "a) (b"])
def test_a_name_may_look_like_a_part_of_the_line(comm: str) -> None:
    (kill,) = oom_kills([NODE_KILL.replace("init helper", comm)])

    assert (kill.pid, kill.comm, kill.domain) == (44, comm, "/")


def killed(pid: int, comm: str = "x", cause: str = "Memory cgroup out of memory: ") -> str:
    return (
        f"<3>[  100.{pid}] {cause}Killed process {pid} ({comm}) total-vm:1kB, anon-rss:2kB, file-rss:3kB, "
        "shmem-rss:0kB, UID:0 pgtables:44kB oom_score_adj:0"
    )


def test_a_kill_whose_report_the_kernel_held_back_is_a_kill_of_its_own() -> None:
    first, second, third, fourth = oom_kills(
        [NODE_KILL, killed(44), killed(45), killed(46, cause="Out of memory: "), killed(47, cause="")]
    )

    assert (first.pid, first.killed, first.constraint) == (44, (44,), "NONE")
    assert (second.pid, second.killed, second.constraint, second.domain) == (45, (45,), "", None)
    assert (third.domain, fourth.domain) == ("/", None)
    assert second.seconds == 100.45


def test_another_thread_of_an_exited_leader_is_the_process_chosen() -> None:
    (kill,) = oom_kills([NODE_KILL, killed(4711, cause="Out of memory: ")])

    assert (kill.pid, kill.killed) == (44, (4711,))


def test_a_name_with_newlines_is_put_together_again() -> None:
    summary = (
        "<6>[  100.1] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,"
        "global_oom,task_memcg=/,task=a\n<6>[  100.1] \n<6>[  100.1] b,pid=9,uid=0\n"
    )
    line = killed(9, "a\n<3>[  100.9] \n<3>[  100.9] b", "Out of memory: ")

    assert [(kill.pid, kill.comm, kill.killed) for kill in oom_kills((summary + line).splitlines())] == [
        (9, "a\n\nb", (9,))
    ]


def test_the_time_of_the_last_line() -> None:
    assert last_seconds(["<6>[    1.5] a", "<6>[   12.25] b", "no time"]) == 12.25
    assert last_seconds(["no time"]) is None
