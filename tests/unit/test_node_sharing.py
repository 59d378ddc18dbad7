import pytest
from tests.unit.made_up_process import a_process

from oomsayer.node.kcmp import Compare, Order
from oomsayer.node.processes import Process
from oomsayer.node.sharing import Sharing


class Kernel:
    """Plays kcmp: which memory each process has, and which processes may be asked about."""

    def __init__(self, memories: dict[int, int], forbidden: frozenset[int] = frozenset()) -> None:
        self.memories, self.forbidden, self.calls = memories, forbidden, 0

    def compare(self, pid: int, other: int) -> Order | None:
        self.calls += 1
        if {pid, other} & self.forbidden or not {pid, other} <= self.memories.keys():
            return None
        one, two = self.memories[pid], self.memories[other]
        return Order.SAME if one == two else Order.BEFORE if one < two else Order.AFTER


def sharers(processes: list[Process], compare: Compare | None) -> tuple[dict[int, int], list[str]]:
    return Sharing(compare).sharers(processes, anew=False)


def test_proof_outranks_looks() -> None:
    # 10 and 11 look alike as parent and child do, and are not; 12 and 14 are what they do not look like.
    processes = [
        a_process(10),
        a_process(11, parent=10),
        a_process(12, counters=1),
        a_process(13, counters=2),
        a_process(14, counters=3),
    ]
    kernel = Kernel({10: 1, 11: 2, 12: 3, 13: 4, 14: 3})
    assert sharers(processes, kernel.compare) == ({12: 12, 14: 12}, [])


def test_without_proof_parent_and_child_of_equal_counters_share() -> None:
    processes = [a_process(10), a_process(11, parent=10), a_process(12, parent=10, counters=8), a_process(13)]
    shared, assumed = sharers(processes, None)
    assert shared == {10: 10, 11: 10}
    assert len(assumed) == 1
    assert assumed[0].startswith("pid 11 is taken to share the memory of its parent 10")


@pytest.mark.parametrize(
    ("pairs", "last"),
    [
        (5, "pid 19 "),
        (6, "2 more processes are taken to share their parents' memory"),
        (1000, "996 more processes are taken to share their parents' memory"),
    ],
)
def test_of_many_that_are_assumed_to_share_a_few_are_named(pairs: int, last: str) -> None:
    processes = [a_process(10 + pid, parent=9 + pid, vsize=pid // 2) for pid in range(2 * pairs)]
    shared, assumed = sharers(processes, None)
    assert len(shared) == 2 * pairs
    assert len(assumed) == 5
    assert assumed[-1].startswith(last)


def test_idle_workers_that_look_alike_share_nothing() -> None:
    workers = [a_process(pid, parent=5) for pid in range(10, 20)]
    assert sharers(workers, None) == ({}, [])


def test_who_may_not_be_asked_about_is_judged_by_looks() -> None:
    processes = [a_process(10), a_process(11, parent=10), a_process(12), a_process(13)]
    kernel = Kernel({10: 1, 11: 1, 12: 2, 13: 2}, forbidden=frozenset({10, 11}))
    shared, assumed = sharers(processes, kernel.compare)
    assert shared == {10: 10, 11: 10, 12: 12, 13: 12}
    assert len(assumed) == 1


def test_the_kernel_is_asked_again_only_when_somebody_is_new() -> None:
    kernel = Kernel({pid: pid for pid in range(10, 40)})
    sharing = Sharing(kernel.compare)
    processes = [a_process(pid) for pid in range(10, 40)]
    sharing.sharers(processes, anew=False)
    asked = kernel.calls
    assert asked < 30 * 12
    sharing.sharers(processes, anew=False)
    assert kernel.calls == asked
    kernel.memories[11] = 10
    assert sharing.sharers(processes, anew=True) == ({10: 10, 11: 10}, [])
    sharing.sharers([*processes[1:], a_process(10, comm="execd")], anew=False)
    assert kernel.calls > asked * 2


def test_exited_leaders_are_compared_through_their_threads() -> None:
    one, other = a_process(10), a_process(20)
    one.tid, other.tid = 11, 21
    # kcmp compares what the leaders have: nothing, which is the same.
    kernel = Kernel({10: 0, 20: 0, 11: 1, 21: 2})

    assert Sharing(kernel.compare).sharers([one, other], anew=True) == ({}, [])


def test_workers_that_were_started_one_by_one_are_not_asked_about() -> None:
    kernel = Kernel({pid: pid for pid in range(10, 40)} | {39: 38})
    workers = [a_process(pid, stack=min(pid, 38) * 4096) for pid in range(10, 40)]

    assert Sharing(kernel.compare).sharers(workers, anew=True) == ({38: 38, 39: 38}, [])
    assert kernel.calls < 10
