"""/proc/PID/status: swap, page tables, pending signals and capabilities of a process.

Source: proc_pid_status() in fs/proc/array.c and task_mem() in fs/proc/task_mmu.c; proc_pid_status(5).
"""

from typing import NamedTuple

from oomsayer.kernel import nodelist
from oomsayer.kernel.nodelist import Nodes
from oomsayer.node.files import keyed
from oomsayer.node.pidstat import SIGKILL_BIT

_CAP_SYS_ADMIN_BIT = 1 << 21
_KIB = 1024
_LONGEST = 11
"""Digits of 2**31, and one more."""


class PidStatus(NamedTuple):
    """What one process's status says."""

    swap_bytes: int
    """VmSwap."""
    pgtables_bytes: int
    """VmPTE, and VmPMD where the kernel still tells it apart (up to 4.14)."""
    sigkill_pending: bool
    """Bit 9 of SigPnd or ShdPnd."""
    cap_sys_admin: bool
    """Bit 21 of CapEff."""
    mm_counters: int
    """A hash of all Vm lines: equal for processes that share one memory, and seldom otherwise."""
    mems_allowed: Nodes | None = None
    """Mems_allowed_list: the memory nodes of its cpuset; None where it was not asked for."""
    namespace_pids: tuple[int, ...] = ()
    """NStgid: its pid in each PID namespace that it is in, the reader's first. Empty where that is the only
    one, and before 4.1."""


def parse(data: bytes, *, mems: bool = False) -> PidStatus | None:
    """Read a status file; None for a process without memory of its own, or where it is cut short.

    Args:
        data: the file.
        mems: whether memory nodes matter.
    """
    pte = keyed(data, b"VmPTE:")
    if pte is None:
        return None
    pending = _mask(data, b"\nSigPnd:") | _mask(data, b"\nShdPnd:")
    return PidStatus(
        swap_bytes=(keyed(data, b"VmSwap:") or 0) * _KIB,
        pgtables_bytes=(pte + (keyed(data, b"VmPMD:") or 0)) * _KIB,
        sigkill_pending=bool(pending & SIGKILL_BIT),
        cap_sys_admin=bool(_mask(data, b"\nCapEff:") & _CAP_SYS_ADMIN_BIT),
        mems_allowed=nodelist.parse(_value(data, b"\nMems_allowed_list:").decode("latin-1"))
        if mems
        else None,
        namespace_pids=_namespace_pids(data),
        mm_counters=hash(data[data.find(b"\nVmPeak:") : data.find(b"\nThreads:")]),
    )


def _namespace_pids(data: bytes) -> tuple[int, ...]:
    pids = tuple(
        int(word) for word in _value(data, b"\nNStgid:").split() if word.isdigit() and len(word) < _LONGEST
    )
    return pids if len(pids) > 1 else ()


def _mask(data: bytes, key: bytes) -> int:
    """The hexadecimal number after a key, 0 without one."""
    try:
        return int(_value(data, key), 16)
    except ValueError:
        return 0


def _value(data: bytes, key: bytes) -> bytes:
    """What follows a key to the end of its line, nothing without one."""
    start = data.find(key)
    if start < 0:
        return b""
    end = data.find(b"\n", start + 1)
    return data[start + len(key) : end if end >= 0 else len(data)]
