"""The self-check on machines whose kernel agrees, agrees later, hides pages, or follows other rules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from oomsayer.cli.check import check_document, check_table
from oomsayer.kernel.badness import oom_score
from oomsayer.kernel.era import era_named
from oomsayer.kernel.snapshot import ROOT, Memcg, Memory, Snapshot, Task
from oomsayer.node.selfcheck import Because, Mismatch, SelfCheck, self_check

PAGE = 4096
PLAIN = Memory(PAGE, 1000 * PAGE)
SWAPPING = Memory(PAGE, 1000 * PAGE, swap_total_bytes=1000 * PAGE, swap_free_bytes=1)
"""So small that some pages make another score."""


def of(*tasks: Task, memory: Memory = PLAIN) -> Snapshot:
    return Snapshot("6.12.0", era_named("E6"), 2, memory, tasks, {ROOT: Memcg(ROOT)}, cpus=2)


def process(pid: int, pages: int, comm: str = "worker") -> Task:
    return Task(pid, pid, comm, ROOT, 0, pages)


def score(task: Task, snapshot: Snapshot) -> int:
    total = snapshot.memory.total_pages + snapshot.memory.swap_total_pages
    return oom_score(task, total, snapshot.era, PAGE)


@dataclass
class Looks:
    """A machine that looks different each time; the kernel's scores follow from what is really there."""

    seen: Sequence[Snapshot]
    kernels: Callable[[Task, Snapshot], int | None] = score
    looks: int = field(default=0)

    def snapshot(self) -> Snapshot:
        self.looks += 1
        return self.seen[min(self.looks, len(self.seen)) - 1]

    def oom_score(self, pid: int) -> int | None:
        shot = self.seen[min(self.looks, len(self.seen)) - 1]
        return next((self.kernels(task, shot) for task in shot.tasks if task.pid == pid), None)


def grown(pages: int) -> Callable[[Task, Snapshot], int]:
    return lambda task, snapshot: score(replace(task, rss_pages=task.rss_pages + pages), snapshot)


def test_a_kernel_that_agrees_is_looked_at_once() -> None:
    machine = Looks([of(process(5, 10), process(6, 300))])
    check = self_check(machine)
    assert (check.compared, check.again, check.mismatches, machine.looks) == (2, 0, (), 1)


def test_a_process_that_is_gone_is_not_compared() -> None:
    check = self_check(Looks([of(process(5, 10))], lambda _task, _shot: None))
    assert (check.compared, check.mismatches) == (0, ())


def test_a_process_that_ran_in_between_agrees_when_looked_at_again() -> None:
    before, after = of(process(5, 10)), of(process(5, 210))
    machine = Looks([before, after], lambda task, _: score(replace(task, rss_pages=210), after))
    check = self_check(machine)
    assert (check.compared, check.again, check.mismatches) == (1, 1, ())


def test_a_process_that_never_rests_is_a_race() -> None:
    machine = Looks([of(process(5, 100 * look)) for look in range(1, 9)], grown(50))
    assert [m.because for m in self_check(machine).mismatches] == [Because.RACE]


def test_what_swapping_hides_is_no_other_rule() -> None:
    machine = Looks([of(process(5, 500), memory=SWAPPING)], grown(40))
    check = self_check(machine)
    assert [m.because for m in check.mismatches] == [Because.PRECISION]
    assert check.unexplained == 0


def test_another_rule_is_found() -> None:
    check = self_check(Looks([of(process(5, 100), process(6, 0))], grown(40)))
    assert [(m.task.pid, m.because) for m in check.mismatches] == [
        (5, Because.UNEXPLAINED),
        (6, Because.UNEXPLAINED),
    ]
    assert check.unexplained == 2


def test_a_pid_that_was_given_anew_is_not_held_against_the_one_before() -> None:
    first, other = of(process(5, 100)), of(replace(process(5, 100), start_time=99))
    check = self_check(Looks([first, other], grown(40)))
    assert check.mismatches == ()


def test_what_people_and_scripts_read() -> None:
    shot = of(process(5, 100, "a\nb"))
    mismatch = Mismatch(shot.tasks[0], 733, 760, Because.UNEXPLAINED)
    check = SelfCheck(shot, 12, 3, (mismatch,))
    text = check_table(check).splitlines()
    assert (
        text[1] == "11 of 12 processes have the oom_score that we compute (3 of them when looked at again)."
    )
    assert text[3:5] == [
        "PID  NAME    OURS  KERNEL  WHY",
        "  5  a\\x0ab   733     760  unexplained: this kernel may follow other rules",
    ]
    document = check_document(check)
    assert (document["compared"], document["agreed_later"], document["unexplained"]) == (12, 3, 1)
    assert document["mismatches"] == [
        {"pid": 5, "comm": "a\nb", "oom_score_adj": 0, "ours": 733, "kernel": 760, "because": "unexplained"}
    ]
