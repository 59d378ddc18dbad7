"""kcmp(2): whether two processes share one memory.

Nothing in /proc tells. The call needs the right to trace both processes, and their pids as the
caller's own PID namespace numbers them.
"""

import os
from collections.abc import Callable
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


Compare = Callable[[int, int], Order | None]
"""Compares the memories of two processes; None where that is not permitted, or one is gone."""


def opened() -> Compare | None:
    """The system call, None on a machine or a Python without a way to it."""
    number = _NUMBERS.get(os.uname().machine)
    try:
        import ctypes  # noqa: PLC0415 - half a mebibyte that an agent in a pod, which may not ask, does without
    except ImportError:
        return None
    if number is None:
        return None
    call = ctypes.CDLL(None).syscall
    long = ctypes.c_long

    def compare(pid: int, other: int) -> Order | None:
        result = call(long(number), long(pid), long(other), long(_KCMP_VM), long(0), long(0))
        return Order(result) if result in _RESULTS else None

    return compare


_RESULTS = frozenset(order.value for order in Order)
