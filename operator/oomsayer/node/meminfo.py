"""/proc/meminfo: the machine's memory.

Source: fs/proc/meminfo.c; proc_meminfo(5).
"""

from collections.abc import Sequence

from oomsayer.kernel.snapshot import Memory, MemoryNode
from oomsayer.node.files import keyed

_KIB = 1024


def parse(data: bytes, page_size: int, nodes: Sequence[MemoryNode]) -> Memory | None:
    """Read meminfo; None without a MemTotal of at least a page.

    Args:
        data: the file.
        page_size: bytes.
        nodes: the memory nodes, which zoneinfo tells.
    """
    total = _bytes(data, b"MemTotal:")
    if total is None or total < page_size:
        return None
    return Memory(
        page_size=page_size,
        total_bytes=total,
        swap_total_bytes=_bytes(data, b"SwapTotal:") or 0,
        free_bytes=_bytes(data, b"MemFree:"),
        available_bytes=_bytes(data, b"MemAvailable:"),
        active_file_bytes=_bytes(data, b"Active(file):"),
        file_bytes=_sum(data, b"Active(file):", b"Inactive(file):"),
        anon_bytes=_sum(data, b"Active(anon):", b"Inactive(anon):"),
        swap_free_bytes=_bytes(data, b"SwapFree:") or 0,
        watermark_min_bytes=sum(node.watermark_min_pages for node in nodes) * page_size,
        nodes=tuple(nodes) if len(nodes) > 1 else (),
    )


def _bytes(data: bytes, key: bytes) -> int | None:
    kib = keyed(data, key)
    return None if kib is None else max(kib, 0) * _KIB


def _sum(data: bytes, first: bytes, second: bytes) -> int | None:
    one, other = _bytes(data, first), _bytes(data, second)
    return None if one is None or other is None else one + other
