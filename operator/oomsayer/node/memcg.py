"""The memory.* files of one cgroup, v1 and v2.

Source: Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst.
"""

from collections.abc import Iterable

from oomsayer.kernel.observed import OomCounts
from oomsayer.kernel.snapshot import ROOT, Memcg, MemcgEvents
from oomsayer.kubelet.cgroups import measured
from oomsayer.node import pressure
from oomsayer.node.files import GONE, keyed, number, read_if_there, read_list

_V1_UNLIMITED = 2**62
"""Limits from here on mean none: v1 shows LONG_MAX rounded down to pages."""


def relative(path: str) -> str:
    """A cgroup's path as seen from the tree's root directory."""
    return path[1:] or "."


def read_v2(path: str, inode: int, root_fd: int, swap: bool) -> Memcg | None:  # noqa: FBT001 - passed by place
    """Read a v2 cgroup, by a descriptor of the tree's root.

    None where the memory controller is not enabled, or the cgroup is gone.

    Swap limits are read where the machine has swap, usage where a limit makes it matter.

    Raises:
        OSError: it is there, and its limit cannot be read.
    """
    place = relative(path)
    if path == ROOT:
        return Memcg(
            ROOT,
            inode,
            max_bytes=_limit_v2(read_if_there(f"{place}/memory.max", root_fd) or b"max"),
            working_set_bytes=_root_working_set_v2(root_fd),
        )
    try:
        maximum = _limit_v2(read_list(f"{place}/memory.max", root_fd))
    except OSError as error:
        if error.errno in GONE:
            return None
        raise
    group = read_if_there(f"{place}/memory.oom.group", root_fd)
    swap_max = _limit_v2(read_if_there(f"{place}/memory.swap.max", root_fd) or b"max") if swap else None
    wanted = maximum is not None or measured(path)
    stat = read_if_there(f"{place}/memory.stat", root_fd) if wanted else None
    usage = _count(f"{place}/memory.current", root_fd) if wanted else None
    return Memcg(
        path,
        inode,
        max_bytes=maximum,
        usage_bytes=usage if maximum is not None else None,
        swap_max_bytes=swap_max,
        swap_usage_bytes=_count(f"{place}/memory.swap.current", root_fd) if swap_max is not None else None,
        reclaimable_bytes=_total(stat, b"active_file ", b"inactive_file ", b"slab_reclaimable "),
        oom_group=group is not None and number(group) == 1,
        events=_events_v2(place, root_fd) if maximum is not None else None,
        pressure=pressure.parse(read_if_there(f"{place}/memory.pressure", root_fd) or b"")
        if maximum is not None
        else None,
        working_set_bytes=_working_set(usage, stat, b"inactive_file ") if measured(path) else None,
    )


def read_v1(path: str, inode: int, root_fd: int, swap: bool) -> Memcg | None:  # noqa: FBT001 - passed by place
    """Read a v1 cgroup; None where it is gone. The memsw files exist only with swap accounting.

    Raises:
        OSError: as read_v2().
    """
    place = relative(path)
    try:
        maximum = _limit_v1(read_list(f"{place}/memory.limit_in_bytes", root_fd))
    except OSError as error:
        if path == ROOT:
            return Memcg(ROOT, inode)
        if error.errno in GONE:
            return None
        raise
    looked_at = path == ROOT or measured(path)
    memsw = _limit_v1(read_if_there(f"{place}/memory.memsw.limit_in_bytes", root_fd) or b"")
    limited = maximum is not None or memsw is not None
    stat = read_if_there(f"{place}/memory.stat", root_fd) if limited or looked_at else None
    usage = _count(f"{place}/memory.usage_in_bytes", root_fd) if limited or looked_at else None
    control = read_if_there(f"{place}/memory.oom_control", root_fd) or b""
    return Memcg(
        path,
        inode,
        max_bytes=maximum,
        usage_bytes=usage if limited else None,
        memsw_max_bytes=memsw,
        memsw_usage_bytes=_count(f"{place}/memory.memsw.usage_in_bytes", root_fd)
        if memsw is not None
        else None,
        reclaimable_bytes=_total(stat, b"total_active_file ", b"total_inactive_file "),
        oom_kill_disable=keyed(control, b"oom_kill_disable ") == 1,
        swappiness=_count(f"{place}/memory.swappiness", root_fd) if swap else None,
        events=MemcgEvents(
            max=_count(f"{place}/memory.failcnt", root_fd), oom_kill=keyed(control, b"oom_kill ")
        )
        if limited
        else None,
        working_set_bytes=_working_set(usage, stat, b"total_inactive_file ") if looked_at else None,
    )


def oom_counts(path: str, inode: int, root_fd: int, version: int) -> OomCounts | None:
    """What a cgroup has counted of OOMs; None for one that is gone, and for the root, which does not."""
    place = relative(path)
    if version == 1:
        control = read_if_there(f"{place}/memory.oom_control", root_fd)
        kills = keyed(control, b"oom_kill ") if control is not None else None
        return None if kills is None else OomCounts(inode, oom_kill=kills)
    below = read_if_there(f"{place}/memory.events", root_fd)
    if below is None:
        return None
    local = read_if_there(f"{place}/memory.events.local", root_fd)
    return OomCounts(
        inode,
        oom=None if local is None else keyed(local, b"oom "),
        oom_below=keyed(below, b"oom "),
        oom_kill=keyed(below, b"oom_kill ") or 0,
        oom_group_kill=keyed(below, b"oom_group_kill "),
    )


def _events_v2(place: str, root_fd: int) -> MemcgEvents | None:
    """The counters of MemcgEvents, each from the file where it means this cgroup.

    memory.events.local came with 5.3. Up to 5.1 memory.events itself was local, and so it still is where
    the tree is mounted with memory_localevents: then kills below are not counted in it.
    """
    below = read_if_there(f"{place}/memory.events", root_fd)
    if below is None:
        return None
    local = read_if_there(f"{place}/memory.events.local", root_fd) or below
    return MemcgEvents(
        max=keyed(local, b"max "),
        oom=keyed(local, b"oom "),
        oom_kill=keyed(below, b"oom_kill "),
        oom_group_kill=keyed(below, b"oom_group_kill "),
    )


def _root_working_set_v2(root_fd: int) -> int | None:
    """What the kubelet makes of its root cgroup: its memory.current in a nested node, else anon and file."""
    stat = read_if_there("./memory.stat", root_fd)
    usage = _count("./memory.current", root_fd)
    if usage is None:
        usage = _total(stat, b"anon ", b"file ")
    return _working_set(usage, stat, b"inactive_file ")


def _working_set(usage: int | None, stat: bytes | None, inactive: bytes) -> int | None:
    if usage is None or stat is None:
        return None
    return max(usage - (keyed(stat, inactive) or 0), 0)


def _limit_v2(data: bytes) -> int | None:
    return None if data.startswith(b"max") else number(data)


def _limit_v1(data: bytes) -> int | None:
    limit = number(data)
    return None if limit is None or limit >= _V1_UNLIMITED else limit


def _count(name: str, root_fd: int) -> int | None:
    return number(read_if_there(name, root_fd) or b"")


def _total(stat: bytes | None, *keys: bytes) -> int | None:
    """Some lines of memory.stat added up, None where none is there."""
    if stat is None:
        return None
    return _sum(keyed(stat, key) for key in keys)


def _sum(values: Iterable[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
