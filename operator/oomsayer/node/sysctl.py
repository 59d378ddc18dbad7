"""/proc/sys: the release and the vm settings that change what an OOM does.

Source: Documentation/admin-guide/sysctl/vm.rst and kernel.rst.
"""

from oomsayer.kernel.snapshot import Sysctls
from oomsayer.node.files import number, read_if_there


def osrelease(proc_fd: int) -> str:
    """What `uname -r` says on the machine that /proc is of, "" where it cannot be read."""
    return (read_if_there("sys/kernel/osrelease", proc_fd) or b"").decode("utf-8", "replace").strip()


def vm(proc_fd: int) -> Sysctls:
    """The vm settings, the kernel's defaults for those that cannot be read."""
    defaults = Sysctls()
    return Sysctls(
        swappiness=_setting(proc_fd, "swappiness", defaults.swappiness),
        panic_on_oom=_setting(proc_fd, "panic_on_oom", defaults.panic_on_oom),
        oom_kill_allocating_task=_setting(
            proc_fd, "oom_kill_allocating_task", defaults.oom_kill_allocating_task
        ),
    )


def _setting(proc_fd: int, name: str, default: int) -> int:
    value = number(read_if_there(f"sys/vm/{name}", proc_fd) or b"")
    return default if value is None else value
