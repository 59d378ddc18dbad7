"""An OOM report as the kernel printed it: gathered from log lines, whole or in parts, nothing concluded yet.

A report is a header ("... invoked oom-killer"), the numbers of what ran out, a table of the candidates, one
line that sums the choice up (5.0+) and a line for each process killed. Any part may be missing: logs are cut,
the kernel's rate limit swallows headers, people paste pieces.

Here stands what is found of one. Its parts have modules of their own, each with the patterns of its lines and
the functions that read them:

    header   who asked for memory             table    the candidates (row: one of them)
    release  which kernel printed it          summary  the choice, 5.0 and later
    memory   what ran out                     kill     who was chosen up to 5.0, who died, or why nobody

reader finds the function for a line, by a word in it, and source the report that the line belongs to. Of a
report that is over, facts tells the circumstances, and choice makes the kernel's choice again.

The patterns are text: re compiles each when it is first needed, and a log needs few of them.

Source: dump_header(), dump_tasks(), oom_kill_process() in mm/oom_kill.c, mem_cgroup_print_oom_info() in
mm/memcontrol.c, show_free_areas() in mm/show_mem.c; 3.10 to 7.1.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from oomsayer.kernel.oomsummary import Summary

PAGE_SIZES_KB = (4, 8, 16, 64, 256)
LAST_OF_OLD = (3, 6)
"""The last release whose reports have forms of old, such as oom_adj."""
MOST_ROWS = 50_000
"""How many rows of one table are kept; Linux's own default for the number of processes is 32,768."""


class TaskRow(NamedTuple):
    """One row of the table. A tuple, not a dataclass: a log may hold a hundred thousand.

    It carries what oom_badness() asks of a task. Pages, but for pgtables_bytes.

    Attributes:
        pid: first column: the thread that still has the memory, mostly the process itself.
        tgid: the process.
        uid: as the kernel counts users.
        comm: as printed.
        oom_score_adj: -1000 to 1000.
        rss_pages: resident.
        swap_pages: swapped out; None where the kernel printed no such column (before 3.6).
        pgtables: bytes (4.15+), or page-table pages; None likewise.
        total_vm: address space, which tells the page size.
    """

    pid: int
    tgid: int
    uid: int
    comm: str
    oom_score_adj: int
    rss_pages: int
    swap_pages: int | None
    pgtables: int | None
    total_vm: int


class Killed(NamedTuple):
    """One "Killed process" line; kB, None where not printed."""

    pid: int
    comm: str
    total_vm_kb: int | None = None
    rss_kb: int | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """Usage and limit of one counter of a memory cgroup in kB; a limit of None is unlimited."""

    usage_kb: int
    limit_kb: int | None


@dataclass(slots=True)
class OomReport:
    """What was found of one report. Mutable while it is read, left alone afterwards.

    Attributes:
        source: of its lines, see LogLine.
        seconds: since boot at its first line, where shown.
        header: who asked for memory, None without the header line.
        order: of that request, -1 for sysrq-f.
        kernel: release, as `uname -r`.
        kernel_cut: nothing follows the release on its line, so it may be longer.
        cpu: number of the CPU that printed it.
        cpuset, mems_allowed, nodemask: of the allocating task, up to 4.20 from the header.
        columns: names of the table's columns between pid and name, empty without the table's header.
        pgtables_in_pages: the table counts page tables in pages, not in bytes.
        rows: by first column.
        rows_dropped: rows beyond MOST_ROWS, or broken.
        rows_left_out: whoever copied the table says that it had more.
        wide_pid: the table's header is the one of 4.19 and later.
        summary: the line of 5.0 and later.
        chosen: pid, comm and score of "Kill process ... or sacrifice child" (up to 5.0).
        killed: in order, each pid once.
        killed_pids: theirs.
        killed_prefixed: a "Killed process" line came with its reason in front (5.1+).
        allocating: the reason names vm.oom_kill_allocating_task.
        oom_group: the cgroup that died as one.
        memory, memsw, swap: the cgroup's counters.
        task_memcg, oom_memcg: from "Task in A killed as a result of limit of B" and the statistics' heading.
        memcg_words: a phrase that only a memory cgroup's OOM prints was seen.
        node_words: a phrase that only an OOM of the machine prints was seen.
        sysrq: started by hand.
        ram_pages, reserved_pages, swap_total_kb: of the machine.
        node_present_kb: by NUMA node, from the zones.
        exiting: pid and comm of the chosen one that was already exiting.
        reaped: pid and comm of a candidate whose memory was taken: killed, whether or not a line says so.
        no_killable: the kernel found nobody.
        panicked: why it panicked, None where it did not.
        since, until: kernel releases between which the format lies.
        buddy_kb: smallest block of the free lists: the page size in kB.
        unlimited_kb: an unlimited counter as printed, which tells the page size too.
        swap_total_before_kb: total swap as an earlier line of the same source said, None where none did.
        killed_before: comm by pid of who was killed earlier in the same log, lately.
    """

    source: str = ""
    seconds: float | None = None
    header: str | None = None
    order: int | None = None
    kernel: str | None = None
    kernel_cut: bool = False
    cpu: int | None = None
    cpuset: str | None = None
    mems_allowed: str | None = None
    nodemask: str | None = None
    columns: tuple[str, ...] = ()
    rows: dict[int, TaskRow] = field(default_factory=dict)
    pgtables_in_pages: bool = False
    rows_dropped: int = 0
    rows_left_out: bool = False
    wide_pid: bool | None = None
    summary: Summary | None = None
    chosen: tuple[int, str, int] | None = None
    killed: list[Killed] = field(default_factory=list)
    killed_pids: set[int] = field(default_factory=set)
    killed_prefixed: bool = False
    allocating: bool = False
    oom_group: str | None = None
    memory: Limit | None = None
    memsw: Limit | None = None
    swap: Limit | None = None
    task_memcg: str | None = None
    oom_memcg: str | None = None
    memcg_words: bool = False
    node_words: bool = False
    sysrq: bool = False
    ram_pages: int | None = None
    reserved_pages: int | None = None
    swap_total_kb: int | None = None
    node_present_kb: dict[int, int] = field(default_factory=dict)
    exiting: tuple[int, str] | None = None
    reaped: tuple[int, str] | None = None
    no_killable: bool = False
    panicked: str | None = None
    since: tuple[int, int] = (3, 0)
    until: tuple[int, int] = (99, 0)
    buddy_kb: int | None = None
    unlimited_kb: int | None = None
    swap_total_before_kb: int | None = None
    killed_before: dict[int, str] = field(default_factory=dict)

    @property
    def begun(self) -> bool:
        """Whether anything of an OOM was seen: other messages tell of machine and kernel too."""
        return bool(
            self.header is not None
            or self.order is not None
            or self.columns
            or self.rows
            or self.summary
            or self.chosen
            or self.ended
            or self.oom_group
            or self.memory
            or self.memsw
            or self.swap
            or self.task_memcg
            or self.oom_memcg
        )

    @property
    def ended(self) -> bool:
        """Whether the kernel's decision was seen."""
        return bool(self.killed or self.exiting or self.no_killable or self.panicked)

    def date(self, *, since: tuple[int, int] | None = None, until: tuple[int, int] | None = None) -> None:
        """Narrow down which releases print it: the first, the last, None for no news of either."""
        self.since = max(self.since, since or self.since)
        self.until = min(self.until, until or self.until)

    def leader(self, pid: int) -> int:
        """The process in the table that a pid is a thread of; the pid itself where none is known.

        Kernels up to 4.x choose threads in a memory cgroup, and their lines name them: it is the one process
        of the table with the same address space.
        """
        if self.chosen is None or not self.killed or self.killed[0].pid != pid:
            return pid
        killed = self.killed[0]
        if not killed.total_vm_kb or self.row_of(pid) is not None:
            return pid
        same = [
            row.tgid
            for row in self.rows.values()
            if row.total_vm and killed.total_vm_kb in {row.total_vm * size for size in PAGE_SIZES_KB}
        ]
        return same[0] if len(same) == 1 else pid

    def row_of(self, pid: int) -> TaskRow | None:
        """The row of a process, by the thread that was printed or by the process."""
        row = self.rows.get(pid)
        return row or next((row for row in self.rows.values() if row.tgid == pid), None)
