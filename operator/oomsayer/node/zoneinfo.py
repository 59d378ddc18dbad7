"""/proc/zoneinfo: the memory nodes, and the watermarks below which the kernel starts to kill.

Source: zoneinfo_show_print() in mm/vmstat.c; proc_zoneinfo(5).
"""

import re

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
_LINE = re.compile(rb"^ +(%b) +(\d{1,18})$" % b"|".join(_FIELDS), re.MULTILINE)


def memory_nodes(data: bytes) -> tuple[MemoryNode, ...]:
    """The memory nodes by number, their zones added up; those without memory are left out."""
    nodes: dict[int, dict[str, int]] = {}
    _, *parts = _ZONE.split(data)
    for number, zone in zip(parts[::2], parts[1::2], strict=True):
        node = nodes.setdefault(int(number), dict.fromkeys(_FIELDS.values(), 0))
        for key, pages in _LINE.findall(zone):
            node[_FIELDS[key]] += int(pages)
    return tuple(
        MemoryNode(number, **node) for number, node in sorted(nodes.items()) if node["present_pages"]
    )
