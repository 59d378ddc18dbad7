"""OOM domains: where memory can run out, and the totalpages that scales oom_score_adj there.

Source: constrained_alloc() in mm/oom_kill.c, mem_cgroup_get_max() in mm/memcontrol.c.
"""

from dataclasses import dataclass
from enum import StrEnum

from oomsayer.kernel.snapshot import ROOT, Memcg, Memory, Snapshot, Sysctls


class DomainKind(StrEnum):
    """What ran out."""

    NODE = "node"
    MEMCG = "memcg"


@dataclass(frozen=True, slots=True)
class Domain:
    """One place that can run out of memory.

    Attributes:
        kind: the node as a whole, or a memory cgroup with a limit of its own.
        path: of the memory cgroup, "/" for the node.
        totalpages: what oom_badness() scales oom_score_adj by.
    """

    kind: DomainKind
    path: str
    totalpages: int


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


def domains(snapshot: Snapshot) -> list[Domain]:
    """The node first, then every memory cgroup with a finite limit, by path."""
    limited = [m for _, m in sorted(snapshot.memcgs.items()) if m.limited]
    return [
        node_domain(snapshot.memory),
        *(
            Domain(DomainKind.MEMCG, m.path, mem_cgroup_get_max(m, snapshot.memory, snapshot.sysctls))
            for m in limited
        ),
    ]


def within(path: str, domain_path: str) -> bool:
    """Whether the cgroup at `path` is the one at `domain_path` or below it."""
    return domain_path in (ROOT, path) or path.startswith(domain_path + "/")
