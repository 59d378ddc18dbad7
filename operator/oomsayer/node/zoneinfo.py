"""/proc/zoneinfo: the memory nodes, the watermarks below which the kernel starts to kill, and the processors.

Source: zoneinfo_show_print() in mm/vmstat.c, __zone_watermark_ok() in mm/page_alloc.c; proc_zoneinfo(5).
"""

import re
from collections import Counter

from oomsayer.kernel.snapshot import MemoryNode

_ZONE = re.compile(rb"^Node +(\d{1,4}), zone ", re.MULTILINE)
_FIELDS = {
    b"present": "present_pages",
    b"spanned": "spanned_pages",
    b"pages free": "free_pages",
    # These two are told once a node from 4.8 on, before that zone by zone.
    b"nr_active_file": "file_pages",
    b"nr_inactive_file": "file_pages",
    b"min": "watermark_min_pages",
}
# The last column is for memory that may come from any zone, as that of processes may.
_PROTECTION = re.compile(rb"^ +protection: \(.*\b(\d{1,18})\)$", re.MULTILINE)
_CPU = re.compile(rb"^ +cpu: (\d{1,5})$", re.MULTILINE)
_LINE = re.compile(rb"^ +(%b) +(\d{1,18})$" % b"|".join(_FIELDS), re.MULTILINE)


def memory_nodes(data: bytes) -> tuple[MemoryNode, ...]:
    """The memory nodes by number, their zones added up; those without memory are left out."""
    nodes: dict[int, Counter[str]] = {}
    _, *parts = _ZONE.split(data)
    for number, zone in zip(parts[::2], parts[1::2], strict=True):
        nodes.setdefault(int(number), Counter(dict.fromkeys(_FIELDS.values(), 0))).update(_zone(zone))
    return tuple(
        MemoryNode(number, **node) for number, node in sorted(nodes.items()) if node["present_pages"]
    )


def cpus(data: bytes) -> int:
    """How many processors are online, at least 1: each zone lists the free pages of each."""
    return len(set(_CPU.findall(data))) or 1


def _zone(data: bytes) -> Counter[str]:
    """One zone's numbers, its watermark as the memory of processes meets it: never more than there is."""
    zone: Counter[str] = Counter()
    for key, pages in _LINE.findall(data):
        zone[_FIELDS[key]] += int(pages)
    protection = _PROTECTION.search(data)
    kept = zone["watermark_min_pages"] + (int(protection[1]) if protection else 0)
    zone["watermark_min_pages"] = min(kept, zone["present_pages"])
    return zone
