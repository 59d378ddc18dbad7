"""/proc/swaps: which devices swap is on.

Source: swap_show() in mm/swapfile.c.
"""

from oomsayer.node.files import number

_KIB = 1024
_ZRAM = b"/dev/zram"


def zram_free_bytes(data: bytes) -> int:
    """What is free on zram devices, their full virtual size."""
    free = 0
    for line in data.splitlines():
        words = line.split()
        if line.startswith(_ZRAM) and len(words) > 3:  # noqa: PLR2004 - name, type, size, used
            size, used = number(words[2]), number(words[3])
            free += max((size or 0) - (used or 0), 0) * _KIB
    return free
