"""kcmp(2): whether two processes share one memory.

Nothing in /proc tells. The call needs the right to trace both processes, and their pids as the
caller's own PID namespace numbers them.
"""

import ctypes
import os
from enum import Enum

_KCMP_VM = 1
_NUMBERS = {
    "x86_64": 312,
    "aarch64": 272,
    "riscv64": 272,
    "loongarch64": 272,
    "ppc64le": 354,
    "s390x": 343,
    "armv7l": 378,
    "i686": 349,
}
"""System call numbers by machine, from the kernel's syscall tables."""


class Order(Enum):
    """How two memories compare: an order without meaning, good for sorting."""

    SAME = 0
    BEFORE = 1
    AFTER = 2


def compare(pid: int, other: int) -> Order | None:
    """Compare the memories of two processes; None where that is not permitted, known or possible."""
    number = _NUMBERS.get(os.uname().machine)
    if number is None:
        return None
    result = _libc().syscall(
        ctypes.c_long(number),
        ctypes.c_long(pid),
        ctypes.c_long(other),
        ctypes.c_long(_KCMP_VM),
        ctypes.c_long(0),
        ctypes.c_long(0),
    )
    return Order(result) if result in (0, 1, 2) else None


_LIBRARY: list[ctypes.CDLL] = []


def _libc() -> ctypes.CDLL:
    if not _LIBRARY:
        _LIBRARY.append(ctypes.CDLL(None, use_errno=True))
    return _LIBRARY[0]
