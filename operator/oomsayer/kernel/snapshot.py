"""What one node looked like at one moment: the input of every verdict."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from oomsayer.kernel.era import Era
from oomsayer.kernel.nodelist import Nodes

OOM_SCORE_ADJ_MIN = -1000
"""A process with this oom_score_adj is never chosen (include/uapi/linux/oom.h)."""

ROOT = "/"
"""Path of the root memory cgroup, which is never itself an OOM domain."""


class Unkillable(StrEnum):
    """Why the kernel passes a process over whatever its badness (oom_unkillable_task(), oom_badness())."""

    INIT = "global init"
    KTHREAD = "kernel thread"
    NO_MM = "no memory left"
    VFORK = "in vfork"
    OOM_SKIP = "already reaped"


@dataclass(frozen=True, slots=True)
class Task:
    """One process (a thread group) that holds memory.

    Attributes:
        pid: in the PID namespace of the reader's /proc.
        start_time: field 22 of /proc/PID/stat, clock ticks since boot; with pid, the identity.
        comm: at most 15 bytes; bytes that are no UTF-8 are kept as surrogate escapes.
        memcg: path of the memory cgroup that is charged, absolute from the node's cgroup root.
        oom_score_adj: -1000 to 1000.
        rss_pages: resident pages from the era's counter.
        swap_pages: swap entries of the mm.
        pgtables_bytes: page tables that the era counts.
        order: place among the processes of its memcg as the kernel walks them, where it could be
            read (position in cgroup.procs on v2); else equal for all, and creation decides.
        mm: 0 where no other process shares its memory, else a number that the sharers have in common.
        unkillable: why it cannot be chosen, None where it can.
        in_flight: a fatal signal is pending: it may be a victim on its way out.
        cap_sys_admin: holds CAP_SYS_ADMIN in the initial user namespace (matters up to 4.16).
        parent: pid of the parent (matters up to 5.0).
        threads: how many threads it has, for the precision of its counters.
        reaper: pid of the first process of its PID namespace (its own where it is that), 0 in the
            reader's namespace or where that is not known. When a reaper ends, its whole namespace does.
        mems_allowed: the memory nodes that its cpuset allows, None where that is all of them.
    """

    pid: int
    start_time: int
    comm: str
    memcg: str
    oom_score_adj: int
    rss_pages: int
    swap_pages: int = 0
    pgtables_bytes: int = 0
    order: int = 0
    mm: int = 0
    unkillable: Unkillable | None = None
    in_flight: bool = False
    cap_sys_admin: bool = False
    parent: int = 0
    threads: int = 1
    reaper: int = 0
    mems_allowed: Nodes | None = None


@dataclass(frozen=True, slots=True)
class MemcgEvents:
    """What a memory cgroup has counted since it was made; None where this kernel does not say.

    The kernel counts `max` and `oom` in the cgroup whose own limit refused, and so they are read from
    memory.events.local: in memory.events the limits of the cgroups below would be mixed in. Kills it counts
    in the victim's cgroup, whichever domain the victim fell to; those are read from memory.events, which has
    them of everything below, of cgroups that are gone too.

    Attributes:
        max: how often the limit was met, and reclaim tried (v1: memory.failcnt).
        oom: how often reclaim was of no use: an OOM of this domain, or a charge that failed (v2).
        oom_kill: processes that an OOM killer took here or below (v1: here alone). A group's victim may be
            counted twice.
        oom_group_kill: how often a group here or below was killed whole (v2 from 5.17 on).
    """

    max: int | None = None
    oom: int | None = None
    oom_kill: int | None = None
    oom_group_kill: int | None = None


@dataclass(frozen=True, slots=True)
class Pressure:
    """Time lost to waiting for memory in the last 10 seconds or so, each 0 to 100 percent (PSI).

    Attributes:
        some: some task waited.
        full: no task did anything else.
    """

    some: float
    full: float


@dataclass(frozen=True, slots=True)
class Memcg:
    """One memory cgroup. Bytes; None means unlimited for a limit, not readable for anything else.

    Attributes:
        path: absolute from the node's cgroup root, "/" for the root.
        inode: st_ino of its directory, which orders siblings by creation.
        max_bytes: memory.max, or memory.limit_in_bytes.
        usage_bytes: memory.current, or memory.usage_in_bytes.
        swap_max_bytes: memory.swap.max (v2).
        swap_usage_bytes: memory.swap.current (v2).
        memsw_max_bytes: memory.memsw.limit_in_bytes (v1).
        memsw_usage_bytes: memory.memsw.usage_in_bytes (v1).
        reclaimable_bytes: active_file + inactive_file + slab_reclaimable: what reclaim gives back.
        oom_group: memory.oom.group is 1: a victim below takes the whole cgroup with it.
        oom_kill_disable: v1 memory.oom_control: a full cgroup hangs instead of killing.
        swappiness: v1 memory.swappiness, None on v2, where vm.swappiness decides.
        events: its counters, read where it is limited.
        pressure: its memory.pressure (v2), read where it is limited; None without PSI.
        working_set_bytes: usage less inactive_file, as the kubelet measures it: of pods, of kubepods, and
            of the root, where it is the machine's.
    """

    path: str
    inode: int = 0
    max_bytes: int | None = None
    usage_bytes: int | None = None
    swap_max_bytes: int | None = None
    swap_usage_bytes: int | None = None
    memsw_max_bytes: int | None = None
    memsw_usage_bytes: int | None = None
    reclaimable_bytes: int | None = None
    oom_group: bool = False
    oom_kill_disable: bool = False
    swappiness: int | None = None
    events: MemcgEvents | None = None
    pressure: Pressure | None = None
    working_set_bytes: int | None = None

    @property
    def limited(self) -> bool:
        """Whether its own limit can refuse a charge and so make it an OOM domain."""
        return self.path != ROOT and (self.max_bytes is not None or self.memsw_max_bytes is not None)


@dataclass(frozen=True, slots=True)
class MemoryNode:
    """One memory node (NUMA), its zones added up, from /proc/zoneinfo. Pages.

    Attributes:
        number: the kernel's.
        present_pages: what there is, holes left out: node_present_pages().
        spanned_pages: holes included, about node_spanned_pages().
        free_pages: free.
        file_pages: page cache that reclaim can give back.
        watermark_min_pages: the zones' min watermarks, each with the protection of a low zone.
    """

    number: int
    present_pages: int
    spanned_pages: int = 0
    free_pages: int = 0
    file_pages: int = 0
    watermark_min_pages: int = 0


@dataclass(frozen=True, slots=True)
class Memory:
    """The machine's memory, from /proc/meminfo and /proc/zoneinfo. Bytes unless named otherwise.

    Attributes:
        page_size: bytes a page.
        total_bytes: MemTotal, the kernel's totalram_pages.
        swap_total_bytes: SwapTotal, zram's full virtual size included.
        free_bytes: MemFree.
        available_bytes: MemAvailable.
        file_bytes: Active(file) + Inactive(file).
        active_file_bytes: Active(file) alone.
        anon_bytes: Active(anon) + Inactive(anon).
        swap_free_bytes: SwapFree.
        zram_free_bytes: how much of that is on zram devices, and so would use memory itself.
        watermark_min_bytes: the zones' min watermarks added up, each with the protection of a low zone.
        pressure: /proc/pressure/memory, None without PSI.
        nodes: the memory nodes by number, none where there is only one.
    """

    page_size: int
    total_bytes: int
    swap_total_bytes: int = 0
    free_bytes: int | None = None
    available_bytes: int | None = None
    file_bytes: int | None = None
    anon_bytes: int | None = None
    swap_free_bytes: int = 0
    zram_free_bytes: int = 0
    watermark_min_bytes: int = 0
    active_file_bytes: int | None = None
    pressure: Pressure | None = None
    nodes: tuple[MemoryNode, ...] = ()

    @property
    def total_pages(self) -> int:
        """The kernel's totalram_pages()."""
        return self.total_bytes // self.page_size

    @property
    def swap_total_pages(self) -> int:
        """The kernel's total_swap_pages."""
        return self.swap_total_bytes // self.page_size


@dataclass(frozen=True, slots=True)
class Sysctls:
    """The vm.* settings that change what an OOM does; defaults are the kernel's."""

    swappiness: int = 60
    panic_on_oom: int = 0
    oom_kill_allocating_task: int = 0


@dataclass(frozen=True, slots=True)
class Omitted:
    """Processes of one memory cgroup that a pruned snapshot leaves out: none is among the first victims."""

    memcg: str
    tasks: int
    rss_pages: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One node at one moment.

    Attributes:
        kernel: `uname -r`.
        era: the rules that kernel follows.
        cgroup_version: 1 or 2: where the memory controller sits.
        memory: the machine's memory.
        tasks: every process that holds memory, in creation order.
        memcgs: every memory cgroup by path, the root included.
        sysctls: vm settings.
        taken_at: seconds since the epoch.
        initial_pid_namespace: whether the reader's /proc shows all processes of the machine. Where it
            does not (kind, LXC), the node's own verdict is partial.
        cpusets: the sets of memory nodes that processes are held to, each once: those that are not all.
        omitted: what pruning left out, empty for a full snapshot.
        gaps: what could not be read, each a sentence.
        userspace_killers: programs that run there and kill by rules of their own, before the kernel has to.
        cpus: processors online. From 6.2 on each keeps a part of what a process's counters count.
    """

    kernel: str
    era: Era
    cgroup_version: int
    memory: Memory
    tasks: tuple[Task, ...]
    memcgs: Mapping[str, Memcg]
    sysctls: Sysctls = field(default_factory=Sysctls)
    taken_at: float = 0.0
    initial_pid_namespace: bool = True
    cpusets: tuple[Nodes, ...] = ()
    omitted: tuple[Omitted, ...] = ()
    gaps: tuple[str, ...] = ()
    userspace_killers: tuple[str, ...] = ()
    cpus: int = 1


def parent_path(path: str) -> str:
    """The path of the cgroup above; the root is its own parent."""
    return path.rpartition("/")[0] or ROOT
