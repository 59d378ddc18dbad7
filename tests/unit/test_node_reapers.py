import pytest

from oomsayer.node.pidstat import PidStat
from oomsayer.node.pidstatus import PidStatus
from oomsayer.node.processes import Process
from oomsayer.node.reapers import reapers


def a_process(pid: int, parent: int, *inner: int) -> Process:
    stat = PidStat("x", "S", parent, 0, 0, 1, pid, 1000, 10, 0)
    status = PidStatus(0, 4096, sigkill_pending=False, cap_sys_admin=False, mm_counters=0)
    return Process(pid, stat, status._replace(namespace_pids=(pid, *inner) if inner else ()))


SHIM = a_process(50, 1)
MAIN = a_process(100, 50, 1)
WORKER = a_process(101, 100, 7)
ENTERED = a_process(102, 50, 12)
ITS_CHILD = a_process(103, 102, 13)
OTHER_MAIN = a_process(200, 50, 1)
NESTED_MAIN = a_process(300, 101, 20, 1)
NESTED_WORKER = a_process(301, 300, 21, 2)


def in_one(_: Process) -> str:
    return "/pod/container"


@pytest.mark.parametrize(
    ("process", "reaper"),
    [(SHIM, None), (MAIN, 100), (WORKER, 100), (ENTERED, 100), (ITS_CHILD, 100), (NESTED_MAIN, 300),
     (NESTED_WORKER, 300)],
)  # fmt: skip
def test_a_process_ends_with_the_first_of_its_namespace(process: Process, reaper: int | None) -> None:
    everybody = [ITS_CHILD, SHIM, MAIN, WORKER, ENTERED, NESTED_WORKER, NESTED_MAIN]
    assert reapers(everybody, in_one).get(process.pid) == reaper


def test_who_came_from_outside_belongs_where_its_cgroup_is() -> None:
    homes = {100: "/a", 200: "/b", 102: "/b"}
    assert reapers([MAIN, OTHER_MAIN, ENTERED], lambda p: homes[p.pid])[102] == 200


def test_between_two_namespaces_of_one_cgroup_nothing_is_claimed() -> None:
    assert reapers([MAIN, OTHER_MAIN, ENTERED], in_one) == {100: 100, 200: 200}


def test_parents_in_a_circle_come_to_an_end() -> None:
    one, other = a_process(7, 8, 2), a_process(8, 7, 3)
    assert reapers([one, other], in_one) == {}
