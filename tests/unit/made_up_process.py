"""A process as it was read, made up for what looks at several."""

from oomsayer.node.pidstat import PidStat
from oomsayer.node.pidstatus import PidStatus
from oomsayer.node.processes import Process


def a_process(
    pid: int, *, parent: int = 1, vsize: int = 1000, counters: int = 7, comm: str = "x", stack: int = 0
) -> Process:
    stat = PidStat(comm, "S", parent, 0, 0, 1, pid, vsize, 10, 0, stack)
    return Process(
        pid, stat, PidStatus(0, 4096, sigkill_pending=False, cap_sys_admin=False, mm_counters=counters)
    )
