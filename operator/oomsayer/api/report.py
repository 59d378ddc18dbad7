"""NodeMemoryReport: what one node's agent saw, small and yet exact for the first victims of every domain.

Fields at their default are left out of the JSON. Sizes are bytes unless a field says pages.
"""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from oomsayer.api.eviction import MAX_KILLERS
from oomsayer.api.model import (
    Bytes,
    Comm,
    Count,
    Model,
    ObjectMeta,
    OomScoreAdj,
    Pages,
    Pid,
    Sentence,
)
from oomsayer.forecast.match import MissReason, Outcome
from oomsayer.kernel.observed import KillSource

MAX_MEMCGS = 4096
MAX_TASKS = 4096
MAX_GAPS = 64
MAX_KILLS = 64

CgroupPath = Annotated[str, Field(max_length=4096)]


Threshold = Annotated[str, Field(max_length=32)]
"""Of an eviction signal, as the kubelet writes it: "100Mi", "5%"; empty for none."""

Rate = Annotated[int, Field(ge=-(2**62), le=2**62)]
"""Bytes a second."""


class ReportedPressure(Model):
    """Time lost to waiting for memory in the last 10 seconds, in percent (PSI)."""

    some: int = Field(ge=0, le=100, description="Some task waited.")
    full: int = Field(ge=0, le=100, description="No task did anything else.")


class ReportedGrowth(Model):
    """How fast a domain's demand grows: what reclaim cannot take back, in bytes a second."""

    low: Rate = Field(description="At least so fast, with 95 % confidence; below zero it may shrink.")
    middle: Rate = Field(description="The most likely.")
    high: Rate = Field(description="At most so fast.")
    seconds: Count = Field(default=0, description="How long a time this rests on.")
    level_bytes: int | None = Field(
        default=None,
        ge=-(2**63),
        le=2**63 - 1,
        description="Where demand came back before: what grows, the line along its peaks.",
    )
    returns: Count = Field(default=0, description="How often demand rose before and came back.")
    quickening: Rate = Field(default=0, description="How much the growth itself gains each second.")


MAX_CPUSETS = 64


NodeList = Annotated[str, Field(max_length=4096, pattern=r"^\d+(-\d+)?(,\d+(-\d+)?)*$")]


class ReportedMemoryNode(Model):
    """One memory node (NUMA), its zones added up, from /proc/zoneinfo. Pages."""

    number: int = Field(ge=0, le=1023, description="The kernel's number of it.")
    present_pages: Pages = Field(description="What there is, holes left out.")
    spanned_pages: Pages = Field(default=0, description="Holes included; told up to kernel 5.2.")
    free_pages: Pages = Field(default=0, description="Free.")
    file_pages: Pages = Field(default=0, description="Page cache that reclaim can give back.")
    watermark_min_pages: Pages = Field(
        default=0, description="The zones' min watermarks and the protection of low ones added up."
    )


class ReportedMemory(Model):
    """The machine's memory, from /proc/meminfo and /proc/zoneinfo."""

    total_bytes: Bytes = Field(description="MemTotal.")
    swap_total_bytes: Bytes = Field(default=0, description="SwapTotal.")
    free_bytes: Bytes | None = Field(default=None, description="MemFree.")
    available_bytes: Bytes | None = Field(default=None, description="MemAvailable.")
    file_bytes: Bytes | None = Field(default=None, description="Active(file) + Inactive(file).")
    active_file_bytes: Bytes | None = Field(default=None, description="Active(file) alone.")
    anon_bytes: Bytes | None = Field(default=None, description="Active(anon) + Inactive(anon).")
    swap_free_bytes: Bytes = Field(default=0, description="SwapFree.")
    zram_free_bytes: Bytes = Field(default=0, description="How much of that is on zram, compressed memory.")
    watermark_min_bytes: Bytes = Field(
        default=0, description="The zones' min watermarks and the protection of low ones added up."
    )
    pressure: ReportedPressure | None = Field(default=None, description="Left out under 1 %, or without PSI.")
    nodes: tuple[ReportedMemoryNode, ...] = Field(
        default=(), max_length=1024, description="The memory nodes, where there is more than one."
    )


class ReportedSysctls(Model):
    """The vm.* settings that change what an OOM does."""

    swappiness: int = Field(default=60, ge=0, le=200, description="vm.swappiness.")
    panic_on_oom: int = Field(default=0, ge=0, le=2, description="vm.panic_on_oom.")
    oom_kill_allocating_task: int = Field(default=0, ge=0, description="vm.oom_kill_allocating_task.")


class ReportedKubelet(Model):
    """The part of the kubelet's configuration that decides about memory."""

    eviction_hard: Threshold = Field(default="", description="evictionHard of memory.available.")
    eviction_soft: Threshold = Field(default="", description="evictionSoft of memory.available.")
    eviction_soft_grace_seconds: float = Field(default=0, ge=0, description="Its grace period.")
    enforce_pods: bool = Field(default=False, description="enforceNodeAllocatable includes pods.")
    single_process_oom_kill: bool | None = Field(default=None, description="singleProcessOOMKill.")


class ReportedMemcg(Model):
    """One memory cgroup. A limit left out is unlimited; any other amount left out could not be read."""

    name: str = Field(max_length=1024, description='Last component of its path, "" for the root.')
    parent: int | None = Field(
        default=None,
        ge=0,
        le=MAX_MEMCGS - 1,
        description="Index of its parent in this list; none for the root.",
    )
    inode: int = Field(
        default=0, ge=0, le=2**63 - 1, description="Inode of its directory: siblings in order of creation."
    )
    max_bytes: Bytes | None = Field(default=None, description="memory.max, or v1 memory.limit_in_bytes.")
    usage_bytes: Bytes | None = Field(
        default=None, description="memory.current, or v1 memory.usage_in_bytes."
    )
    swap_max_bytes: Bytes | None = Field(default=None, description="memory.swap.max.")
    swap_usage_bytes: Bytes | None = Field(default=None, description="memory.swap.current.")
    memsw_max_bytes: Bytes | None = Field(default=None, description="v1 memory.memsw.limit_in_bytes.")
    memsw_usage_bytes: Bytes | None = Field(default=None, description="v1 memory.memsw.usage_in_bytes.")
    reclaimable_bytes: Bytes | None = Field(
        default=None, description="Page cache and slab that reclaim can give back."
    )
    oom_group: bool = Field(
        default=False, description="memory.oom.group: a victim in it takes the whole cgroup along."
    )
    oom_kill_disable: bool = Field(
        default=False, description="v1 memory.oom_control: processes hang at the limit instead of dying."
    )
    swappiness: int | None = Field(default=None, ge=0, le=200, description="v1 memory.swappiness.")
    working_set_bytes: Bytes | None = Field(
        default=None,
        description="Usage less inactive page cache, by which the kubelet evicts: of pods, kubepods, root.",
    )
    omitted_tasks: Count = Field(default=0, description="Processes charged here that tasks leaves out.")
    omitted_rss_pages: Pages = Field(default=0, description="Their resident pages added up.")
    growth: ReportedGrowth | None = Field(
        default=None, description="Of a domain whose demand moves, and of the node at the root."
    )
    reclaiming: bool = Field(
        default=False, description="It met its limit within the last minute and lives on by reclaim."
    )
    pressure: ReportedPressure | None = Field(default=None, description="Left out under 1 %, or without PSI.")


class ReportedTask(Model):
    """One process that can be among the first victims somewhere, or that dies with one."""

    pid: Pid
    start: int = Field(
        ge=0, le=2**63 - 1, description="When it started, in clock ticks since boot (/proc/PID/stat, 22)."
    )
    comm: Comm
    memcg: int = Field(ge=0, le=MAX_MEMCGS - 1, description="Index in memcgs of the cgroup it is charged to.")
    adj: OomScoreAdj = Field(default=0, description="oom_score_adj.")
    rss: Pages = Field(
        default=0, description="Resident pages, from the counter that this kernel's killer reads."
    )
    swap: Pages = Field(default=0, description="Swapped-out pages.")
    pgtables: Bytes = Field(default=0, description="Page tables in bytes.")
    order: Count = Field(
        default=0, description="Place among its cgroup's processes as the kernel walks them."
    )
    mm: int = Field(
        default=0, ge=0, description="The same number for processes that share one memory; 0: alone."
    )
    unkillable: str | None = Field(
        default=None, max_length=64, description='Why the killer passes it over, e.g. "global init".'
    )
    in_flight: bool = Field(default=False, description="A fatal signal is pending: it is dying already.")
    threads: int = Field(default=1, ge=1, le=2**22, description="Threads, for the precision of its counters.")
    reaper: int = Field(
        default=0,
        ge=0,
        le=2**22,
        description="pid of the first process of its PID namespace, with which it ends; 0: the node's own.",
    )
    mems: NodeList | None = Field(
        default=None, description="The memory nodes that its cpuset allows; none given: all."
    )
    parent: int = Field(
        default=0, ge=0, le=2**22, description="Of such a first process: its parent in an outer one."
    )


class ReportedKill(Model):
    """One choice of the OOM killer, and what the agent's own last verdict before it was worth."""

    id: str = Field(max_length=64, description="No other kill's, and the same in every report.")
    at: AwareDatetime = Field(description="When the kernel's log says it was, else when it was noticed.")
    source: KillSource = Field(
        description="KernelLog, or Counters: memory.events and who is gone, which may leave open who it was."
    )
    memcg: CgroupPath | None = Field(
        default=None, description="The victim's memory cgroup; the nearest one above that was left."
    )
    domain: CgroupPath | None = Field(
        default=None, description='The domain that ran out, "/" for the node; none where it is not known.'
    )
    pid: Pid | None = Field(default=None, description="Who was chosen; none where it is not known.")
    comm: Comm = ""
    adj: OomScoreAdj | None = Field(default=None, description="Its oom_score_adj.")
    rss_bytes: Bytes | None = Field(
        default=None, description="What it held when it died (KernelLog), or at the sample before (Counters)."
    )
    oom_group: CgroupPath | None = Field(default=None, description="The cgroup that died as a whole.")
    deaths: Count = Field(default=1, description="How many processes died, as far as it is known.")
    outcome: Outcome = Field(description="What came of the forecast that stood; Unknown is not scored.")
    reason: MissReason | None = Field(default=None, description="Why it missed.")
    sampled_at: AwareDatetime | None = Field(
        default=None, description="When the sample was taken that the forecast rested on."
    )
    foretold_pid: Pid | None = Field(default=None, description="Who was to be killed there.")
    foretold_comm: Comm = ""
    foretold_memcg: CgroupPath | None = Field(
        default=None, description="Its memory cgroup, where that is not the victim's."
    )
    margin_bytes: int | None = Field(default=None, description="Its lead over the runner-up.")


class NodeMemoryReportStatus(Model):
    """What the agent saw, and when."""

    schema_version: int = Field(ge=1, le=1000, description="Form of this report. This is form 1.")
    agent_version: str = Field(max_length=64, description="Version of the agent that wrote it.")
    sampled_at: AwareDatetime = Field(description="When the sample was taken, by the node's clock.")
    kernel: str = Field(max_length=128, description="uname -r.")
    era: str = Field(
        max_length=8, description="Which rules of the OOM killer that kernel follows, E0 (oldest) to E7."
    )
    cgroup_version: Literal[1, 2] = Field(description="Where the memory controller sits: cgroup v1 or v2.")
    page_size: int = Field(default=4096, ge=4096, le=65536, description="Bytes a page.")
    cpus: int = Field(default=1, ge=1, le=65536, description="Processors that are online.")
    initial_pid_namespace: bool = Field(
        default=True, description="Whether the agent's /proc shows every process of the machine."
    )
    watched_seconds: Count = Field(default=0, description="For how long the agent has watched this node.")
    memory: ReportedMemory = Field(description="The machine's memory.")
    sysctls: ReportedSysctls = Field(default=ReportedSysctls(), description="vm.* settings of the node.")
    memcgs: tuple[ReportedMemcg, ...] = Field(
        default=(), max_length=MAX_MEMCGS, description="Memory cgroups, parents before children."
    )
    tasks: tuple[ReportedTask, ...] = Field(
        default=(), max_length=MAX_TASKS, description="Processes in order of creation."
    )
    cpusets: tuple[NodeList, ...] = Field(
        default=(),
        max_length=MAX_CPUSETS,
        description="The sets of memory nodes that processes are held to; one that holds all is not listed.",
    )
    omitted_domains: Count = Field(
        default=0, description="Cgroups with a limit that were left out to keep the report small."
    )
    kills: tuple[ReportedKill, ...] = Field(
        default=(),
        max_length=MAX_KILLS,
        description="The last kills that the agent has seen since it started, oldest first.",
    )
    gaps: tuple[Sentence, ...] = Field(
        default=(), max_length=MAX_GAPS, description="What could not be read, each a sentence."
    )
    userspace_killers: tuple[Comm, ...] = Field(
        default=(),
        max_length=MAX_KILLERS,
        description="Programs on the node that kill by rules of their own, before the kernel has to.",
    )
    kubelet: ReportedKubelet | None = Field(
        default=None, description="The kubelet's configuration, where the agent may read it."
    )


class NodeMemoryReport(Model):
    """What the OOM killer would see on one node. Named after the node, written by that node's agent only."""

    api_version: Literal["oomsayer.dev/v1alpha1"] = "oomsayer.dev/v1alpha1"
    kind: Literal["NodeMemoryReport"] = "NodeMemoryReport"
    metadata: ObjectMeta
    status: NodeMemoryReportStatus
