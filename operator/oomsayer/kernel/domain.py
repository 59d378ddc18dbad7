"""OOM domains: where memory can run out, and the totalpages that scales oom_score_adj there.

Source: constrained_alloc() in mm/oom_kill.c, mem_cgroup_get_max() in mm/memcontrol.c.
"""

from dataclasses import dataclass
from enum import StrEnum

from oomsayer.kernel import nodelist
from oomsayer.kernel.era import Era
from oomsayer.kernel.nodelist import Nodes
from oomsayer.kernel.snapshot import ROOT, Memcg, Memory, Snapshot, Sysctls


class DomainKind(StrEnum):
    """What ran out: enum oom_constraint."""

    NODE = "node"
    """CONSTRAINT_NONE: the machine as a whole."""
    CPUSET = "cpuset"
    """CONSTRAINT_CPUSET: the memory nodes that the asking process's cpuset allows."""
    MEMPOLICY = "mempolicy"
    """CONSTRAINT_MEMORY_POLICY: the memory nodes that it bound itself to. Known from reports alone: no file
    shows who has bound itself to which, so there is no verdict on these."""
    MEMCG = "memcg"
    """CONSTRAINT_MEMCG: a memory cgroup with a limit."""


@dataclass(frozen=True, slots=True)
class Domain:
    """One place that can run out of memory.

    Attributes:
        kind: what ran out.
        path: of the memory cgroup; "/" for the node, "cpuset.mems=0-1" for memory nodes.
        totalpages: what oom_badness() scales oom_score_adj by.
        mems: the memory nodes, None where it is not for them to say who is a candidate.
    """

    kind: DomainKind
    path: str
    totalpages: int
    mems: Nodes | None = None

    @property
    def cgroup(self) -> str:
        """The memory cgroup that holds all candidates: the root, but for a memory cgroup's OOM."""
        return self.path if self.kind is DomainKind.MEMCG else ROOT

    def may_use(self, mems_allowed: Nodes | None) -> bool:
        """Whether a process with those memory nodes is asked: oom_cpuset_eligible()."""
        return self.mems is None or mems_allowed is None or not self.mems.isdisjoint(mems_allowed)


def constrained_alloc(
    memory_nodes: Nodes, *, nodemask: Nodes | None = None, mems_allowed: Nodes | None = None
) -> DomainKind:
    """What an allocation ran out of that no memory cgroup refused.

    Args:
        memory_nodes: all that there are.
        nodemask: those that a memory policy binds the allocation to, None for any.
        mems_allowed: those that the cpuset of the asking process allows, None for all.
    """
    if nodemask is not None and memory_nodes - nodemask:
        return DomainKind.MEMPOLICY
    if mems_allowed is not None and memory_nodes - mems_allowed:
        return DomainKind.CPUSET
    return DomainKind.NODE


def mem_cgroup_get_max(memcg: Memcg, memory: Memory, sysctls: Sysctls) -> int:
    """Totalpages of a memory cgroup, at least 1: its own limits alone, never an ancestor's.

    Swap counts where the cgroup may use it: on v2 up to memory.swap.max, on v1 up to what
    memory.memsw leaves, in both up to the machine's swap.
    """
    unlimited = 2**63 // memory.page_size
    limit = unlimited if memcg.max_bytes is None else memcg.max_bytes // memory.page_size
    memsw = unlimited if memcg.memsw_max_bytes is None else memcg.memsw_max_bytes // memory.page_size
    swappiness = sysctls.swappiness if memcg.swappiness is None else memcg.swappiness
    if swappiness:
        swap = memory.swap_total_pages
        if memcg.swap_max_bytes is not None:
            swap = min(swap, memcg.swap_max_bytes // memory.page_size)
        limit = min(limit + swap, memsw)
    return max(limit, 1)


def node_domain(memory: Memory) -> Domain:
    """The whole machine: RAM and swap (CONSTRAINT_NONE)."""
    return Domain(DomainKind.NODE, ROOT, memory.total_pages + memory.swap_total_pages)


def cpuset_domain(mems: Nodes, memory: Memory, era: Era) -> Domain:
    """Some of the machine's memory nodes: what is present there, and all swap."""
    pages = sum(
        node.spanned_pages if era.counts_holes else node.present_pages
        for node in memory.nodes
        if node.number in mems
    )
    path = f"cpuset.mems={nodelist.text(mems)}"
    return Domain(DomainKind.CPUSET, path, pages + memory.swap_total_pages, mems)


def domains(snapshot: Snapshot) -> list[Domain]:
    """The node first, then memory nodes by themselves, then memory cgroups with a finite limit, by path."""
    limited = [m for _, m in sorted(snapshot.memcgs.items()) if m.limited]
    return [
        node_domain(snapshot.memory),
        *(cpuset_domain(mems, snapshot.memory, snapshot.era) for mems in snapshot.cpusets),
        *(
            Domain(DomainKind.MEMCG, m.path, mem_cgroup_get_max(m, snapshot.memory, snapshot.sysctls))
            for m in limited
        ),
    ]


def within(path: str, domain_path: str) -> bool:
    """Whether the cgroup at `path` is the one at `domain_path` or below it."""
    return domain_path in (ROOT, path) or path.startswith(domain_path + "/")
