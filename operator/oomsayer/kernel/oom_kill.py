"""What happens when memory runs out, branch by branch, under the names of mm/oom_kill.c.

Pure: the circumstances in, the outcome out. A verdict asks with those that it presumes (the defaults of
OomControl); a report of the kernel's tells which outcome it was. The steps stand in the kernel's order.

select_bad_process() here asks everybody, as the kernel does. verdict.py finds the same in shortlists, since
it asks for hundreds of domains at once; the tests hold one against the other.

Source: mm/oom_kill.c 4.19 to 7.1, mem_cgroup_oom() in mm/memcontrol.c (memcg1_oom_prepare() from 6.12 on).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum

from oomsayer.kernel.badness import oom_badness, unkillable
from oomsayer.kernel.domain import Domain, DomainKind
from oomsayer.kernel.era import Era, Tie, release_version, stable_release
from oomsayer.kernel.snapshot import Memcg, Sysctls, Task


class Outcome(StrEnum):
    """How it ends, in the words of verdicts and explanations."""

    DISABLED = "the OOM killer is off (suspend): the allocation fails"
    FREED = "a driver gave memory back when it was asked to: nobody is killed"
    CURRENT_DIES = "the process that asks is dying already: it gets the last reserves, and nobody is killed"
    NO_FS = "the allocation may not wait for file systems: nobody is killed, and it is tried again"
    PANIC = "vm.panic_on_oom is set: the node panics instead of killing"
    CURRENT = (
        "vm.oom_kill_allocating_task is set: the kernel takes the process that asks, whatever its badness"
    )
    ABORTED = "a process is dying: nobody else is chosen until it is gone"
    KILLED = "the process with the most badness is killed"
    DEADLOCKED = "no process can be killed: the node panics"
    NOBODY = "no process here can be killed: allocations at the limit fail"
    HANGS = (
        "memory.oom_control disables the killer here: at the limit page faults hang until there is room, "
        "and other allocations fail"
    )
    RETRIED = "the page fault is tried again"

    @property
    def kills(self) -> bool:
        """Whether it is for badness to say who dies, now or once the dying are gone."""
        return self in (Outcome.KILLED, Outcome.ABORTED, Outcome.CURRENT)


@dataclass(frozen=True, slots=True)
class OomControl:
    """struct oom_control, and what else the kernel looks at. The defaults are what a verdict presumes.

    Attributes:
        kind: what ran out, as constrained_alloc() says.
        sysrq: asked for by a person (sysrq-f) and not by an allocation.
        fs: the allocation may wait for file systems (__GFP_FS).
        disabled: the machine is being suspended.
        freed: whether the OOM notifiers gave any memory back.
        current_dies: task_will_free_mem() of the process that asks.
        current_eligible: that process has memory, is neither init nor a kernel thread, may use the domain's
            memory nodes, and is not at oom_score_adj -1000.
    """

    kind: DomainKind
    sysrq: bool = False
    fs: bool = True
    disabled: bool = False
    freed: bool = False
    current_dies: bool = False
    current_eligible: bool = True


class Scan(Enum):
    """What select_bad_process() comes back with."""

    CHOSEN = "chosen"
    ABORTED = "aborted"
    NOBODY = "nobody"


def out_of_memory(oc: OomControl, sysctls: Sysctls, scan: Scan) -> Outcome:  # noqa: PLR0911 - the kernel's branches
    """How an OOM ends. `scan` is what select_bad_process() would come back with, if it is asked."""
    memcg = oc.kind is DomainKind.MEMCG
    if oc.disabled:
        return Outcome.DISABLED
    if oc.freed and not memcg and not oc.sysrq:
        return Outcome.FREED
    if oc.current_dies:
        return Outcome.CURRENT_DIES
    if not oc.fs and not memcg:
        return Outcome.NO_FS
    if check_panic_on_oom(oc, sysctls):
        return Outcome.PANIC
    if sysctls.oom_kill_allocating_task and not memcg and oc.current_eligible:
        return Outcome.CURRENT
    if scan is Scan.NOBODY:
        return Outcome.NOBODY if memcg or oc.sysrq else Outcome.DEADLOCKED
    return Outcome.ABORTED if scan is Scan.ABORTED else Outcome.KILLED


def check_panic_on_oom(oc: OomControl, sysctls: Sysctls) -> bool:
    """Whether the node panics: at 1 if all of it is out of memory, at 2 for any domain, never for sysrq."""
    if not sysctls.panic_on_oom or oc.sysrq:
        return False
    return sysctls.panic_on_oom > 1 or oc.kind is DomainKind.NODE


def mem_cgroup_oom(memcg: Memcg) -> Outcome | None:
    """What keeps a full memory cgroup from calling out_of_memory() at all, None where nothing does."""
    return Outcome.HANGS if memcg.oom_kill_disable else None


def pagefault_out_of_memory(kernel: str, *, memcg_waits: bool, node: Outcome) -> Outcome:
    """How a page fault ends that got no memory, though nobody was killed on its way.

    Before 5.16, and the stable releases of November 2021, it went on to an OOM of the whole node, even where
    a memory cgroup alone was full.

    Args:
        kernel: release, as `uname -r`; one that hides its stable number is taken to lack the fix.
        memcg_waits: whether it was told to wait for room in a v1 memory cgroup whose killer is disabled.
        node: what out_of_memory() would do for the node as a whole.
    """
    if memcg_waits:
        return Outcome.HANGS
    version = release_version(kernel) or _PAGEFAULT_RETRIES
    fixed = stable_release(kernel)[2:] >= (_PAGEFAULT_RETRIES_STABLE.get(version, 10_000),)
    return Outcome.RETRIED if fixed or version >= _PAGEFAULT_RETRIES else node


_PAGEFAULT_RETRIES = (5, 16)
_PAGEFAULT_RETRIES_STABLE = {
    (4, 4): 293,
    (4, 9): 291,
    (4, 14): 256,
    (4, 19): 218,
    (5, 4): 160,
    (5, 10): 80,
    (5, 14): 19,
    (5, 15): 3,
}
"""By release, the first stable one that has the fix too."""


class Evaluation(Enum):
    """What the scan does with one process."""

    SKIP = "skip"
    ABORT = "abort"
    SELECT = "select"
    CONSIDER = "consider"


def oom_evaluate_task(task: Task, domain: Domain, *, sysrq: bool = False, origin: bool = False) -> Evaluation:
    """Pass over, stop the scan, take at once, or compare badness.

    Args:
        task: whom.
        domain: what ran out.
        sysrq: asked for by a person: a victim in flight does not stop the scan.
        origin: oom_task_origin(): it is to be killed first, since it is what makes memory short just now
            (swapoff, KSM's unmerge). No file shows that: a verdict presumes that there is none.
    """
    if task.unkillable is not None or not domain.may_use(task.mems_allowed):
        return Evaluation.SKIP
    if task.in_flight and not sysrq:
        return Evaluation.ABORT
    if origin:
        return Evaluation.SELECT
    return Evaluation.SKIP if unkillable(task) else Evaluation.CONSIDER


def select_bad_process(
    tasks: Iterable[Task], domain: Domain, era: Era, page_size: int
) -> tuple[Scan, Task | None]:
    """Whom the scan comes back with; `tasks` are the domain's, in the order of the scan."""
    chosen: Task | None = None
    most = 0
    for task in tasks:
        evaluation = oom_evaluate_task(task, domain)
        if evaluation is Evaluation.ABORT:
            return Scan.ABORTED, None
        points = oom_badness(task, domain.totalpages, era, page_size)
        if evaluation is Evaluation.SKIP or points is None:
            continue
        if chosen is None or points > most or (points == most and era.tie is Tie.LAST):
            chosen, most = task, points
    return (Scan.NOBODY, None) if chosen is None else (Scan.CHOSEN, chosen)
