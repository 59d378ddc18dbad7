"""/proc/stat: how many processors are online.

Not /sys/devices/system/cpu/online: of /sys only the cgroup tree is mounted into a pod.

Source: fs/proc/stat.c; proc_stat(5).
"""


def online(data: bytes) -> int:
    """Lines of "cpuN", at least 1."""
    names = (line.split(None, 1)[0] for line in data.split(b"\n") if line.startswith(b"cpu"))
    return max(sum(name != b"cpu" for name in names), 1)
