"""/proc/PID/statm: resident pages, as the killer up to 6.1 and from 7.0 on compares them.

Source: proc_pid_statm() in fs/proc/array.c; proc_pid_statm(5).
"""

from oomsayer.node.files import number

_FIELDS = 2


def resident_pages(data: bytes) -> int | None:
    """Field 2: resident pages; None where the file is cut short."""
    fields = data.split(None, _FIELDS)
    return number(fields[1]) if len(fields) > 1 else None
