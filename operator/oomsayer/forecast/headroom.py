"""How much can still be charged before a domain's OOM killer runs.

An OOM is not reached when usage meets the limit: the kernel first takes back what it can. Room is
therefore what is free, plus what reclaim would give back: page cache, and whatever swap still has room for,
since what comes in (anonymous memory, tmpfs) can go out to swap again.

Swap on zram is memory, compressed: a page there frees about half of itself on the node. A cgroup is rid of
the whole page, since zram's pool is charged to nobody.

Not counted, and so an OOM may come earlier: memory that is locked, and page cache that memory.min of a cgroup
below keeps from reclaim. Nor is the slab that the node could shrink: the kernel does not count on it either
when it decides to give up.

Source: try_charge_memcg() in mm/memcontrol.c; zone_reclaimable_pages() in mm/vmscan.c;
should_reclaim_retry() in mm/page_alloc.c; Documentation/admin-guide/blockdev/zram.rst for its ratio of 2:1.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from oomsayer.kernel.domain import Domain, DomainKind
from oomsayer.kernel.nodelist import Nodes
from oomsayer.kernel.snapshot import ROOT, Memcg, Memory, Snapshot, parent_path

_ZRAM_RATIO = 2


@dataclass(frozen=True, slots=True)
class Headroom:
    """A domain's room, in bytes; None is not known.

    Attributes:
        limit_bytes: what usage is measured against: the cgroup's limit, the machine's MemTotal, or what is
            present of its memory nodes.
        usage_bytes: what is in use, page cache included.
        headroom_bytes: what can still be charged before the OOM killer runs; may be below zero for a moment.
    """

    limit_bytes: int | None
    usage_bytes: int | None
    headroom_bytes: int | None

    @property
    def share(self) -> float | None:
        """Headroom as a share of the limit, 1.0 for an empty domain; None where either is not known."""
        if self.headroom_bytes is None or not self.limit_bytes:
            return None
        return self.headroom_bytes / self.limit_bytes

    @property
    def demand_bytes(self) -> int | None:
        """What reclaim could not take back: limit less headroom; below zero where swap would take it all."""
        if self.headroom_bytes is None or self.limit_bytes is None:
            return None
        return self.limit_bytes - self.headroom_bytes


def headroom(domain: Domain, snapshot: Snapshot) -> Headroom:
    """The room left in a domain, at its own level: a limit further up may bind earlier."""
    if domain.kind is DomainKind.NODE:
        return _node(snapshot)
    if domain.mems is not None:
        return _memory_nodes(domain.mems, snapshot)
    return _memcg(snapshot.memcgs[domain.path], snapshot)


def binding(path: str, rooms: Mapping[str, Headroom]) -> str:
    """The level at which a cgroup that grows runs out first: its own or one above, of equals the lower.

    Args:
        path: of the domain that grows.
        rooms: of all domains, by path.
    """
    first, least = path, rooms[path].headroom_bytes
    while path != ROOT:
        path = parent_path(path)
        room = rooms[path].headroom_bytes if path in rooms else None
        if room is not None and (least is None or room < least):
            first, least = path, room
    return first


def _node(snapshot: Snapshot) -> Headroom:
    memory = snapshot.memory
    if memory.free_bytes is None or memory.file_bytes is None:
        return Headroom(memory.total_bytes, None, None)
    room = memory.free_bytes + memory.file_bytes + _swap_left(memory) - memory.watermark_min_bytes
    return Headroom(memory.total_bytes, memory.total_bytes - memory.free_bytes, room)


def _memory_nodes(mems: Nodes, snapshot: Snapshot) -> Headroom:
    memory = snapshot.memory
    nodes = [node for node in memory.nodes if node.number in mems]
    present = sum(node.present_pages for node in nodes)
    free = sum(node.free_pages for node in nodes)
    room = free + sum(node.file_pages - node.watermark_min_pages for node in nodes)
    limit, usage, left = (pages * memory.page_size for pages in (present, present - free, room))
    return Headroom(limit, usage, left + _swap_left(memory))


def _swap_left(memory: Memory) -> int:
    """What swap still takes off memory."""
    return memory.swap_free_bytes - min(memory.zram_free_bytes, memory.swap_free_bytes) // _ZRAM_RATIO


def _memcg(memcg: Memcg, snapshot: Snapshot) -> Headroom:
    rooms: list[int] = []
    reclaimable = memcg.reclaimable_bytes or 0
    if memcg.max_bytes is not None and memcg.usage_bytes is not None:
        rooms.append(memcg.max_bytes - memcg.usage_bytes + reclaimable + _swap_room(memcg, snapshot))
    if memcg.memsw_max_bytes is not None and memcg.memsw_usage_bytes is not None:
        # Swapping moves a page from one counter to the other and leaves their sum as it was.
        rooms.append(memcg.memsw_max_bytes - memcg.memsw_usage_bytes + reclaimable)
    limit = memcg.max_bytes if memcg.max_bytes is not None else memcg.memsw_max_bytes
    return Headroom(limit, memcg.usage_bytes, min(rooms, default=None))


def _swap_room(memcg: Memcg, snapshot: Snapshot) -> int:
    """Swap that this cgroup may still use: the least that any level above leaves, and the machine has."""
    swappiness = snapshot.sysctls.swappiness if memcg.swappiness is None else memcg.swappiness
    room = snapshot.memory.swap_free_bytes if swappiness else 0
    path = memcg.path
    while room > 0 and path != ROOT:
        level = snapshot.memcgs.get(path)
        if level is not None and level.swap_max_bytes is not None:
            room = min(room, level.swap_max_bytes - (level.swap_usage_bytes or 0))
        path = parent_path(path)
    return max(room, 0)
