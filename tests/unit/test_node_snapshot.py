"""Whole machines: captured ones, and ones made up to be unpleasant."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fixtures.tree import unpack
from tests.unit.made_up_machine import Machine, read, stat_of

from oomsayer.agent.report import report
from oomsayer.kernel.badness import oom_score
from oomsayer.kernel.domain import within
from oomsayer.kernel.snapshot import ROOT, MemcgEvents, Pressure, Snapshot, Task, Unkillable
from oomsayer.kernel.verdict import Confidence, verdicts
from oomsayer.kubelet.cgroups import Qos, owner
from oomsayer.node.processes import REFRESH
from oomsayer.node.snapshot import Scanner, UnreadableNodeError

MIB = 1 << 20


def named(shot: Snapshot, comm: str) -> Task:
    (task,) = (task for task in shot.tasks if task.comm == comm)
    return task


def assert_scores_are_the_kernels(root: Path, shot: Snapshot) -> None:
    total = shot.memory.total_pages + shot.memory.swap_total_pages
    ours = {
        t.pid: oom_score(t, total, shot.era, shot.memory.page_size) for t in shot.tasks if not t.unkillable
    }
    kernels = {pid: int((root / f"proc/{pid}/oom_score").read_text()) for pid in ours}
    assert ours == kernels


class TestHybrid:
    """A machine with the memory controller on v1 and an empty v2 tree beside it, read as root."""

    @pytest.fixture(scope="class")
    @staticmethod
    def captured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Snapshot]:
        root, own = unpack("v1-hybrid", tmp_path_factory.mktemp("hybrid"))
        return root, read(root, own)

    def test_the_machine(self, captured: tuple[Path, Snapshot]) -> None:
        _, shot = captured
        assert (shot.kernel, shot.era.name, shot.cgroup_version) == ("6.18.44", "E6", 1)
        assert shot.initial_pid_namespace
        assert shot.memory.total_bytes == 24684096 * 1024
        assert shot.memory.watermark_min_bytes > 60 * MIB

    def test_scores(self, captured: tuple[Path, Snapshot]) -> None:
        assert_scores_are_the_kernels(*captured)

    def test_cgroups(self, captured: tuple[Path, Snapshot]) -> None:
        _, shot = captured
        limits = {path: memcg.max_bytes for path, memcg in shot.memcgs.items() if memcg.limited}
        assert limits == {"/demo": 300 * MIB, "/demo/web": 120 * MIB}
        web = shot.memcgs["/demo/web"]
        assert web.usage_bytes is not None
        assert web.usage_bytes >= 60 * MIB
        assert web.memsw_max_bytes is None
        assert web.events == MemcgEvents(oom_kill=0)
        assert web.pressure is None
        assert all(memcg.events is None for memcg in shot.memcgs.values() if not memcg.limited)

    def test_processes(self, captured: tuple[Path, Snapshot]) -> None:
        _, shot = captured
        assert named(shot, "web (1) a").memcg == "/demo/web"
        assert named(shot, "web\nb\udcff").oom_score_adj == 985
        assert shot.tasks[0].unkillable is Unkillable.INIT
        assert not [task for task in shot.tasks if task.pid in (2, 3)]

    def test_an_exited_leader_is_read_through_its_thread(self, captured: tuple[Path, Snapshot]) -> None:
        _, shot = captured
        leader = named(shot, "leader")
        assert leader.rss_pages >= 40 * MIB // 4096
        assert leader.threads == 2

    def test_sharers_are_assumed_where_they_cannot_be_proved(self, captured: tuple[Path, Snapshot]) -> None:
        _, shot = captured
        one, other = (task for task in shot.tasks if task.comm == "sharing")
        assert one.mm == other.mm == min(one.pid, other.pid)
        assert [gap for gap in shot.gaps if f"pid {other.pid} is taken to share" in gap]

    def test_a_vforked_child_is_passed_over(self, captured: tuple[Path, Snapshot]) -> None:
        _, shot = captured
        parent, child = (task for task in shot.tasks if task.comm == "forking")
        assert (parent.unkillable, child.unkillable) == (None, Unkillable.VFORK)

    def test_verdicts(self, captured: tuple[Path, Snapshot]) -> None:
        _, shot = captured
        victims = {v.domain.path: v.victim.task.comm for v in verdicts(shot) if v.victim}
        assert victims == {ROOT: "web\nb\udcff", "/demo": "web\nb\udcff", "/demo/web": "web (1) a"}


class TestKubernetesNode:
    """A node with kubelet and containerd on 6.12, all on v2: read as root on the host, and by a pod.

    The pod had no rights: user 65534, no capabilities, no hostPID, /proc and /sys/fs/cgroup mounted
    read-only. The two looks were a minute apart.
    """

    @pytest.fixture(scope="class", params=["v2-node", "v2-pod"])
    @staticmethod
    def captured(
        tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
    ) -> tuple[Path, Snapshot]:
        root, own = unpack(request.param, tmp_path_factory.mktemp("v2"))
        return root, read(root, own)

    def test_the_machine(self, captured: tuple[Path, Snapshot]) -> None:
        _, shot = captured
        assert (shot.kernel, shot.era.name) == ("6.12.117+deb13-cloud-amd64", "E6")
        assert shot.cgroup_version == 2
        assert shot.initial_pid_namespace
        assert shot.gaps == ()

    def test_scores(self, captured: tuple[Path, Snapshot]) -> None:
        assert_scores_are_the_kernels(*captured)

    def test_every_container_is_a_group_of_its_own(self, captured: tuple[Path, Snapshot]) -> None:
        _, shot = captured
        limited = {path: memcg for path, memcg in shot.memcgs.items() if memcg.limited}
        containers = [path for path in limited if owner(path).container_id]
        pods = [path for path in limited if owner(path).pod_uid and not owner(path).container_id]
        assert len(containers) >= 4
        assert all(limited[path].oom_group for path in containers)
        assert len(pods) >= 3
        assert not any(limited[path].oom_group for path in pods)
        assert limited["/kubepods.slice"].max_bytes == shot.memory.total_bytes
        assert all(limited[path].reclaimable_bytes is not None for path in limited)

    def test_adjustments_are_what_the_kubelet_sets(self, captured: tuple[Path, Snapshot]) -> None:
        _, shot = captured
        besteffort = {task.oom_score_adj for task in shot.tasks if owner(task.memcg).qos is Qos.BEST_EFFORT}
        guaranteed = {task.oom_score_adj for task in shot.tasks if owner(task.memcg).qos is Qos.GUARANTEED}
        assert besteffort == {1000, -998}
        assert guaranteed == {-997, -998}
        assert {task.oom_score_adj for task in shot.tasks if task.comm == "pause"} == {-998}

    def test_a_process_below_its_service_is_charged_to_the_service(
        self, captured: tuple[Path, Snapshot]
    ) -> None:
        _, shot = captured
        assert named(shot, "systemd-udevd").memcg.startswith("/system.slice/systemd-udevd.service")

    def test_the_first_to_go(self, captured: tuple[Path, Snapshot]) -> None:
        _, shot = captured
        victims = {v.domain.path: v.victim.task for v in verdicts(shot) if v.victim}
        assert owner(victims[ROOT].memcg).qos is Qos.BEST_EFFORT
        assert all(within(victim.memcg, path) for path, victim in victims.items())
        inhabited = {m.path for m in shot.memcgs.values() for t in shot.tasks if within(t.memcg, m.path)}
        assert victims.keys() == {path for path in inhabited if path == ROOT or shot.memcgs[path].limited}


def test_the_pod_places_every_process_where_the_host_does(tmp_path: Path) -> None:
    host = read(*unpack("v2-node", tmp_path / "host"))
    pod = read(*unpack("v2-pod", tmp_path / "pod"))
    on_host = {(task.pid, task.start_time): task.memcg for task in host.tasks}
    in_pod = {(task.pid, task.start_time): task.memcg for task in pod.tasks}
    common = on_host.keys() & in_pod.keys()
    assert len(common) >= 25
    assert {key: on_host[key] for key in common} == {key: in_pod[key] for key in common}
    assert {task.order for task in pod.tasks} == {0}
    assert {task.order for task in host.tasks if task.memcg.endswith("containerd.service")} == set(range(7))


class TestKindNode:
    """A worker of kind with the demo's examples, read by the agent's pod there."""

    @pytest.fixture(scope="class")
    @staticmethod
    def captured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Snapshot]:
        root, own = unpack("v2-kind-pod", tmp_path_factory.mktemp("kind"))
        return root, read(root, own)

    def test_it_is_nested_and_has_the_machines_memory(self, captured: tuple[Path, Snapshot]) -> None:
        root, shot = captured
        assert not shot.initial_pid_namespace
        assert shot.gaps == ()
        total = int((root / "proc/meminfo").read_text().split()[1]) * 1024
        assert shot.memcgs["/kubelet.slice/kubelet-kubepods.slice"].max_bytes == total
        assert shot.memory.total_bytes == total

    def test_scores(self, captured: tuple[Path, Snapshot]) -> None:
        assert_scores_are_the_kernels(*captured)

    def test_only_the_nodes_own_verdict_is_partial(self, captured: tuple[Path, Snapshot]) -> None:
        _, shot = captured
        told = {verdict.domain.path: verdict.confidence for verdict in verdicts(shot)}
        assert {path for path, confidence in told.items() if confidence is Confidence.PARTIAL} == {ROOT}
        assert set(told.values()) == {Confidence.PARTIAL, Confidence.HIGH}
        assert len([path for path in told if owner(path).container_id]) == 3

    def test_a_raised_oom_score_adj_does_not_outweigh_memory_in_a_container(
        self, captured: tuple[Path, Snapshot]
    ) -> None:
        _, shot = captured
        raised = max(shot.tasks, key=lambda task: task.oom_score_adj)
        [verdict] = [v for v in verdicts(shot) if v.domain.path == raised.memcg]
        assert verdict.victim
        assert (raised.comm, verdict.victim.task.comm) == ("batch", "cache")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_plain_machine_has_no_gaps(machine: Machine) -> None:
    machine.cgroup("/box", (5,), max="1048576", oom_group="1", swap_max="0")
    machine.write(
        "sys/fs/cgroup/box/memory.stat", "anon 5\nactive_file 100\ninactive_file 20\nslab_reclaimable 3\n"
    )
    machine.process(5, cgroup="/box", adj=-998, rss=50)
    shot = machine.read()
    assert shot.gaps == ()
    task = named(shot, "worker")
    assert (task.memcg, task.oom_score_adj, task.rss_pages, task.pgtables_bytes) == ("/box", -998, 50, 40960)
    box = shot.memcgs["/box"]
    assert (box.max_bytes, box.usage_bytes, box.oom_group, box.reclaimable_bytes) == (
        1048576,
        4096,
        True,
        123,
    )


POD = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{}.slice".format(
    "0d5c9a2e_3b1f_4c7a_9e8d_112233445566"
)
ABOVE = ("/kubepods.slice", "/kubepods.slice/kubepods-besteffort.slice")
STAT = "anon 4000\nfile 3000\ninactive_file 1000\nactive_file 500\n"


def test_what_the_kubelet_evicts_by_is_read_of_pods_kubepods_and_the_root(machine: Machine) -> None:
    machine.write("sys/fs/cgroup/memory.stat", STAT)
    container = f"{POD}/cri-containerd-{'a' * 64}.scope"
    for path in (*ABOVE, POD, container, "/box"):
        machine.cgroup(path, current="9000")
        machine.write(f"sys/fs/cgroup{path}/memory.stat", STAT)
    found = {path: memcg.working_set_bytes for path, memcg in machine.read().memcgs.items()}
    assert {path: used for path, used in found.items() if used is not None} == {
        "/": 6000,
        "/kubepods.slice": 8000,
        POD: 8000,
    }


def test_in_a_nested_node_the_root_is_a_cgroup_like_others(machine: Machine) -> None:
    machine.write("sys/fs/cgroup/memory.stat", STAT)
    machine.write("sys/fs/cgroup/memory.current", "9000\n")
    assert machine.read().memcgs["/"].working_set_bytes == 8000


def test_a_pod_whose_numbers_can_not_be_read_has_none(machine: Machine) -> None:
    for path in (*ABOVE, POD):
        machine.cgroup(path)
    assert machine.read().memcgs[POD].working_set_bytes is None


def test_programs_that_kill_by_rules_of_their_own_are_named(machine: Machine) -> None:
    machine.process(7, comm="systemd-oomd")
    machine.process(8, comm="earlyoom")
    shot = machine.read()
    assert shot.userspace_killers == ("earlyoom", "systemd-oomd")
    assert "earlyoom runs here and may kill earlier, by rules of its own" in shot.gaps


def test_on_v1_the_hierarchys_totals_count(machine: Machine) -> None:
    for path in ("", *ABOVE, POD):
        files = {
            "limit_in_bytes": str(2**63 - 4096),
            "usage_in_bytes": "9000",
            "stat": "inactive_file 5\ntotal_inactive_file 2000",
        }
        for name, value in files.items():
            machine.write(f"sys/fs/cgroup/memory{path}/memory.{name}", value + "\n")
    memcgs = machine.read().memcgs
    assert (memcgs["/"].working_set_bytes, memcgs[POD].working_set_bytes) == (7000, 7000)
    assert memcgs[POD].usage_bytes is None


BELOW = "low 0\nhigh 0\nmax 70\noom 6\noom_kill 5\noom_group_kill 2\nsock_throttled 0"
LOCAL = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 0\noom_group_kill 0\nsock_throttled 0"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"events": BELOW, "events.local": LOCAL}, MemcgEvents(12, 3, 5, 2)),
        ({"events": BELOW}, MemcgEvents(70, 6, 5, 2)),
        ({"events": "low 0\nhigh 0\nmax 1\noom 0\noom_kill 0"}, MemcgEvents(1, 0, 0, None)),
        ({}, None),
    ],
)
def test_limits_are_counted_where_they_are_and_kills_with_those_below(
    machine: Machine, files: dict[str, str], expected: MemcgEvents | None
) -> None:
    machine.cgroup("/box", max="1048576", more=files)
    machine.cgroup("/free", more=files)
    memcgs = machine.read().memcgs
    assert memcgs["/box"].events == expected
    assert memcgs["/free"].events is None


def test_limits_are_counted_on_v1_too(machine: Machine) -> None:
    box = "sys/fs/cgroup/memory/box/memory"
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{2**63 - 4096}\n")
    machine.write(f"{box}.limit_in_bytes", "1048576\n")
    machine.write(f"{box}.failcnt", "9\n")
    machine.write(f"{box}.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
    assert machine.read().memcgs["/box"].events == MemcgEvents(max=9, oom_kill=4)


def test_pressure_of_the_node_and_of_each_domain(machine: Machine) -> None:
    some = "some avg10=12.50 avg60=3.00 avg300=1.00 total=1234\n"
    machine.write("proc/pressure/memory", some + "full avg10=0.25 avg60=0.10 avg300=0.00 total=99\n")
    machine.cgroup("/box", max="1048576", pressure=some + "full avg10=7.00 avg60=0.10 avg300=0.00 total=9")
    machine.cgroup("/free", pressure=some)
    shot = machine.read()
    assert shot.memory.pressure == Pressure(some=12.5, full=0.25)
    assert shot.memcgs["/box"].pressure == Pressure(some=12.5, full=7.0)
    assert shot.memcgs["/free"].pressure is None


ZONES = "".join(
    f"Node {number}, zone   Normal\n  pages free {free}\n        min 8\n        present 524288\n"
    for number, free in ((0, 1000), (1, 2000))
)


def test_what_processes_are_held_to_certain_memory_nodes(machine: Machine) -> None:
    machine.write("proc/zoneinfo", ZONES)
    for pid, mems in ((5, "0"), (6, "0-1"), (7, "0-1023"), (8, "1"), (9, "1")):
        machine.process(pid)
        status = machine.root / f"proc/{pid}/status"
        status.write_text(f"{status.read_text()}Mems_allowed_list:\t{mems}\n")
    shot = machine.read()
    first, second = frozenset({0}), frozenset({1})
    held = {task.pid: task.mems_allowed for task in shot.tasks}
    assert held == {1: None, 5: first, 6: None, 7: None, 8: second, 9: second}
    assert shot.cpusets == (first, second)
    assert [node.free_pages for node in shot.memory.nodes] == [1000, 2000]
    assert [v.domain.path for v in verdicts(shot)] == ["/", "cpuset.mems=0", "cpuset.mems=1"]


def test_with_one_memory_node_nobody_is_held_to_it(machine: Machine) -> None:
    machine.write("proc/zoneinfo", ZONES.partition("Node 1")[0])
    machine.process(5)
    status = machine.root / "proc/5/status"
    status.write_text(f"{status.read_text()}Mems_allowed_list:\t0\n")
    shot = machine.read()
    assert (shot.cpusets, shot.memory.nodes, named(shot, "worker").mems_allowed) == ((), (), None)
    assert shot.memory.watermark_min_bytes == 8 * 4096


def test_a_missing_proc_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UnreadableNodeError, match=r"proc: No such file or directory: .*must be mounted"):
        Scanner(tmp_path)


def test_a_proc_without_memory_is_one_clear_error(machine: Machine) -> None:
    (machine.root / "proc/meminfo").write_text("nothing\n")
    with pytest.raises(UnreadableNodeError, match="no MemTotal"):
        machine.read()
    (machine.root / "proc/meminfo").unlink()
    with pytest.raises(UnreadableNodeError, match=r"meminfo: No such file"):
        machine.read()


def test_a_machine_without_the_memory_controller_is_told_as_a_whole(machine: Machine) -> None:
    (machine.root / "sys/fs/cgroup/cgroup.controllers").write_text("cpu\n")
    machine.process(5)
    shot = machine.read()
    assert shot.memcgs.keys() == {ROOT}
    assert named(shot, "worker").memcg == ROOT
    assert [gap for gap in shot.gaps if "has no memory controller" in gap]


@pytest.mark.parametrize("missing", ["stat", "status", "oom_score_adj"])
def test_a_process_that_vanishes_mid_read_is_no_gap(machine: Machine, missing: str) -> None:
    machine.process(5)
    (machine.root / "proc/5" / missing).unlink()
    shot = machine.read()
    assert 5 not in {task.pid for task in shot.tasks}
    assert shot.gaps == ()


@pytest.mark.parametrize(
    ("file", "content"), [("stat", b"5 (wor"), ("oom_score_adj", b""), ("stat", b"\xff" * 99)]
)
def test_what_is_cut_short_is_a_gap(machine: Machine, file: str, content: bytes) -> None:
    machine.process(5)
    machine.write(f"proc/5/{file}", content)
    (gap,) = machine.read().gaps
    assert gap.startswith("processes that could not be read: 1 (pid 5: its ")


def test_a_zombie_and_a_kernel_thread_are_no_candidates(machine: Machine) -> None:
    machine.process(5, vsize=0, rss=0, state="Z")
    machine.process(6, vsize=0, rss=0, flags=0x200000)
    assert {task.pid for task in machine.read().tasks} == {1}


def test_a_kernel_thread_that_becomes_a_program_is_one(machine: Machine) -> None:
    machine.process(5, vsize=0, rss=0, flags=0x200000)
    scanner = Scanner(machine.root, own=machine.own)
    assert 5 not in {task.pid for task in scanner.snapshot().tasks}
    machine.process(5, "coredump", rss=9000, start=5)
    seen = [{task.pid for task in scanner.snapshot().tasks} for _ in range(REFRESH)]
    scanner.close()
    assert 5 in seen[-1]


def test_without_kthreadd_the_view_is_partial(machine: Machine) -> None:
    machine.process(2, "sh")
    shot = machine.read()
    assert not shot.initial_pid_namespace
    assert shot.tasks[0].unkillable is None


def test_hidden_processes_are_a_gap(machine: Machine) -> None:
    (machine.root / "proc/1/stat").unlink()
    assert [gap for gap in machine.read().gaps if "hidepid" in gap]


def test_cgroup_procs_gives_the_order_of_the_walk(machine: Machine) -> None:
    machine.cgroup("/box", (9, 5, 7), max="1048576")
    for pid in (5, 7, 9):
        machine.process(pid, f"p{pid}", cgroup="/elsewhere")
    shot = machine.read()
    assert {named(shot, f"p{pid}").memcg for pid in (5, 7, 9)} == {"/box"}
    assert [named(shot, f"p{pid}").order for pid in (9, 5, 7)] == [0, 1, 2]


def test_a_cgroup_without_the_controller_belongs_to_the_one_above(machine: Machine) -> None:
    machine.cgroup("/box", (5,), max="1048576")
    machine.write("sys/fs/cgroup/box/inner/cgroup.procs", "6\n7\n")
    for pid in (5, 6, 7):
        machine.process(pid, f"p{pid}", cgroup="/box/inner")
    shot = machine.read()
    assert [(named(shot, f"p{pid}").memcg, named(shot, f"p{pid}").order) for pid in (5, 6, 7)] == [
        ("/box", 0),
        ("/box", 1),
        ("/box", 2),
    ]
    assert "/box/inner" not in shot.memcgs


CUT_OFF = "memory cgroups that cannot be read, or are below one: 1, "


def test_a_cgroup_that_can_not_be_read_leaves_no_hole_in_the_tree(machine: Machine) -> None:
    """It got the controller while the tree was read."""
    machine.cgroup("/pod", max="8388608")
    machine.write("sys/fs/cgroup/pod/closed/cgroup.procs", "")
    machine.cgroup("/pod/closed/inner", (5,), max="1048576")
    machine.process(5, cgroup="/pod/closed/inner")
    shot = machine.read()
    told = verdicts(shot)

    assert named(shot, "worker").memcg == "/pod"
    assert [v.victim.task.pid for v in told if v.victim] == [5, 5]
    assert [memcg["name"] for memcg in report(shot, told).status["memcgs"]] == ["", "pod"]
    assert [gap for gap in shot.gaps if gap.startswith(CUT_OFF)]


@pytest.mark.parametrize(("tree", "limit"), [("", "memory.max"), ("/memory", "memory.limit_in_bytes")])
def test_a_cgroup_whose_limit_can_not_be_read_is_a_gap(machine: Machine, tree: str, limit: str) -> None:
    """Its owner has closed it (chmod), or there was no descriptor left to read it."""
    for path in ("", "/pod"):
        machine.write(f"sys/fs/cgroup{tree}{path}/{limit}", "8388608\n")
    machine.write(f"sys/fs/cgroup{tree}/pod/closed/{limit}/unreadable", "")
    machine.process(5, cgroup="/pod/closed")
    machine.write("proc/5/cgroup", "4:memory:/pod/closed\n0::/pod/closed\n")
    shot = machine.read()

    assert named(shot, "worker").memcg == "/pod"
    assert [gap for gap in shot.gaps if gap.startswith(CUT_OFF)]


def test_a_removed_cgroup_leaves_its_process_to_the_one_above(machine: Machine) -> None:
    machine.cgroup("/box", max="1048576")
    machine.process(5, cgroup="/box/gone (deleted)")
    assert named(machine.read(), "worker").memcg == "/box"


class TestAsPod:
    """Seen from a cgroup and a PID namespace of the reader's own."""

    @pytest.fixture
    @staticmethod
    def inside(machine: Machine, tmp_path: Path) -> Machine:
        machine.cgroup("/pods")
        machine.cgroup("/pods/mine", (0, 0), max="1048576")
        machine.cgroup("/pods/other", (0,), max="2097152")
        machine.own = tmp_path / "own"
        (machine.own / "proc/self/ns").mkdir(parents=True)
        (machine.own / "proc/self/ns/cgroup").symlink_to("cgroup:[4026532999]")
        (machine.own / "sys/fs").mkdir(parents=True)
        (machine.own / "sys/fs/cgroup").symlink_to(machine.root / "sys/fs/cgroup/pods/mine")
        return machine

    def test_paths_are_made_absolute(self, inside: Machine) -> None:
        inside.process(1, "systemd", cgroup="/../../init.scope")
        inside.process(5, "me", cgroup="/")
        inside.process(6, "neighbour", cgroup="/../other")
        shot = inside.read()
        assert named(shot, "me").memcg == "/pods/mine"
        assert named(shot, "neighbour").memcg == "/pods/other"
        assert shot.gaps == ()

    def test_a_process_outside_the_mounted_tree_is_a_gap(self, inside: Machine) -> None:
        inside.process(1, "systemd", cgroup="/../../../outside")
        (gap,) = inside.read().gaps
        assert gap.startswith("processes in cgroups outside")
        assert gap.endswith(": 1, told under the node alone")

    def test_the_first_process_of_a_namespace_outside_the_tree_is_counted_once(self, inside: Machine) -> None:
        inside.process(5, cgroup="/../../../outside")
        status = inside.root / "proc/5/status"
        status.write_text(status.read_text() + "NStgid:\t5\t1\n")
        (gap,) = inside.read().gaps
        assert gap.startswith("processes in cgroups outside")
        assert gap.endswith(": 1, told under the node alone")

    def test_a_reader_that_cannot_find_itself_says_so(self, inside: Machine, tmp_path: Path) -> None:
        (inside.own / "sys/fs/cgroup").unlink()
        (inside.own / "sys/fs/cgroup").symlink_to(tmp_path)
        assert [gap for gap in inside.read().gaps if "reader's own cgroup is not in" in gap]


def test_a_nested_root_with_a_limit_is_said(machine: Machine) -> None:
    machine.write("sys/fs/cgroup/memory.max", "1073741824\n")
    assert [gap for gap in machine.read().gaps if "limit of 1073741824 bytes" in gap]


def test_a_meminfo_that_is_not_the_kernels_is_said(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = os.stat

    def lxcfs(path: str, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> os.stat_result:
        status = kernels(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
        return os.stat_result((*status[:2], status.st_dev + 1, *status[3:])) if path == "meminfo" else status

    monkeypatch.setattr(os, "stat", lxcfs)
    assert [gap for gap in machine.read().gaps if "proc/meminfo is not the kernel's" in gap]


def test_a_killer_in_user_space_is_said(machine: Machine) -> None:
    machine.process(5, "systemd-oomd")
    assert [gap for gap in machine.read().gaps if gap.startswith("systemd-oomd runs here")]


def test_resident_pages_come_from_the_eras_counter(tmp_path: Path) -> None:
    for release, expected in (("6.12.117", 100), ("7.1.5", 90), ("5.10.1", 90)):
        machine = Machine(tmp_path / release, release)
        machine.process(5)
        machine.write("proc/5/statm", "1000 90 0 0 0 0 0\n")
        assert named(machine.read(), "worker").rss_pages == expected


def test_an_unsigned_kernel_is_recognised_by_its_scores(machine: Machine) -> None:
    for pid in (5, 6, 7):
        machine.process(pid)
        machine.write(f"proc/{pid}/oom_score", "1\n")
    shot = machine.read()
    assert shot.era.name == "E4"
    assert [gap for gap in shot.gaps if "unsigned" in gap]


class TestScanner:
    @pytest.fixture(params=[0, 1000])
    @staticmethod
    def scanner(machine: Machine, request: pytest.FixtureRequest) -> Iterator[Scanner]:
        machine.cgroup("/box", max="1048576")
        machine.process(5, cgroup="/box")
        opened = Scanner(machine.root, own=machine.own, keep_open=request.param)
        yield opened
        opened.close()

    def test_an_unchanged_process_stays_the_same_object(self, scanner: Scanner) -> None:
        tasks = [named(scanner.snapshot(), "worker") for _ in range(40)]
        assert all(task is tasks[0] for task in tasks)

    def test_what_changes_is_seen_at_once(self, machine: Machine, scanner: Scanner) -> None:
        for _ in range(10):
            scanner.snapshot()
        machine.process(5, cgroup="/box", rss=777, adj=5)
        task = named(scanner.snapshot(), "worker")
        assert (task.rss_pages, task.oom_score_adj) == (777, 5)

    def test_a_number_that_another_process_has_now(self, machine: Machine, scanner: Scanner) -> None:
        for _ in range(10):
            scanner.snapshot()
        machine.cgroup("/other", max="1048576")
        machine.process(5, "newcomer", cgroup="/other", start=99)
        task = named(scanner.snapshot(), "newcomer")
        assert (task.start_time, task.memcg) == (99, "/other")

    def test_another_program_may_sit_elsewhere(self, machine: Machine, scanner: Scanner) -> None:
        for _ in range(10):
            scanner.snapshot()
        machine.cgroup("/other", max="1048576")
        machine.process(5, "execd", cgroup="/other")
        assert named(scanner.snapshot(), "execd").memcg == "/other"

    def test_a_move_is_noticed_in_the_end(self, machine: Machine, scanner: Scanner) -> None:
        for _ in range(10):
            scanner.snapshot()
        machine.cgroup("/other", max="1048576")
        machine.process(5, cgroup="/other")
        assert "/other" in {named(scanner.snapshot(), "worker").memcg for _ in range(REFRESH + 1)}

    def test_cgroups_come_and_go(self, machine: Machine, scanner: Scanner) -> None:
        assert "/new" not in scanner.snapshot().memcgs
        machine.cgroup("/new", max="5000")
        assert scanner.snapshot().memcgs["/new"].max_bytes == 5000
        for file in (machine.root / "sys/fs/cgroup/new").iterdir():
            file.unlink()
        (machine.root / "sys/fs/cgroup/new").rmdir()
        assert "/new" not in scanner.snapshot().memcgs

    def test_a_cgroup_made_again_is_another(self, machine: Machine, scanner: Scanner) -> None:
        machine.cgroup("/box/inner")
        before = scanner.snapshot().memcgs["/box/inner"].inode
        (machine.root / "sys/fs/cgroup/box/inner").rename(machine.root / "old")
        machine.cgroup("/box/inner")
        assert scanner.snapshot().memcgs["/box/inner"].inode != before

    @pytest.mark.parametrize("keep_open", [1, 2, 3, 1000])
    def test_nothing_stays_open(self, machine: Machine, keep_open: int) -> None:
        before = len(list(Path("/proc/self/fd").iterdir()))
        opened = Scanner(machine.root, own=machine.own, keep_open=0)
        opened.snapshot()
        least = len(list(Path("/proc/self/fd").iterdir()))
        opened.close()
        opened = Scanner(machine.root, own=machine.own, keep_open=keep_open)
        for _ in range(10):
            opened.snapshot()
        assert 0 < len(list(Path("/proc/self/fd").iterdir())) - least <= keep_open
        opened.close()
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_ten_thousand_processes(machine: Machine) -> None:
    proc = machine.root / "proc"
    for box in range(100):
        machine.cgroup(f"/box{box}", max=str(MIB * 50))
        machine.process(10 + box, f"p{10 + box}", cgroup=f"/box{(10 + box) % 100}", rss=10 + box)
    for pid in range(110, 10_010):
        like = 10 + (pid - 10) % 100
        (proc / str(pid)).mkdir()
        for file in ("status", "oom_score_adj", "oom_score", "cgroup"):
            (proc / str(pid) / file).hardlink_to(proc / str(like) / file)
        (proc / str(pid) / "stat").write_text(stat_of(pid, f"p{pid}", rss=pid, vsize=1000 + pid))
    shot = machine.read()
    assert len(shot.tasks) == 10_001
    told = {v.domain.path: v.victim.task.comm for v in verdicts(shot) if v.victim}
    assert len(told) == 101
    assert told[ROOT] == "p10009"
    assert told["/box3"] == "p10003"
