"""Kills read from kernel logs."""

from oomsayer.kernel.oomlog import OomKill, oom_kills

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
        )
    ]


def test_the_nodes_kill_has_the_root_as_domain() -> None:
    assert oom_kills([NODE_KILL]) == [OomKill(44, "init helper", "/", "/", "NONE")]


def test_the_kill_for_memory_nodes_names_them() -> None:
    cpuset = NODE_KILL.replace("CONSTRAINT_NONE", "CONSTRAINT_CPUSET")
    assert [kill.domain for kill in oom_kills([cpuset])] == ["cpuset.mems=0-1,3"]


def test_lines_that_only_look_alike_are_passed_over() -> None:
    assert oom_kills(["oom-kill:constraint=CONSTRAINT_MEMCG,cut", "Killed process 3 (x)"]) == []
