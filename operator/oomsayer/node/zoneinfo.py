"""/proc/zoneinfo: the watermarks below which the kernel starts to kill.

Source: zoneinfo_show_print() in mm/vmstat.c; proc_zoneinfo(5).
"""

from oomsayer.node.files import number

_MIN = b"\n        min "


def watermark_min_pages(data: bytes) -> int:
    """The min watermarks of all zones of all nodes added up, in pages."""
    return sum(number(part.partition(b"\n")[0]) or 0 for part in data.split(_MIN)[1:])
