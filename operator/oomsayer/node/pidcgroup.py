"""/proc/PID/cgroup: where a process sits in the hierarchy that has the memory controller.

Source: proc_cgroup_show() in kernel/cgroup/cgroup.c; cgroups(7).
"""

import os
import sys

DELETED = " (deleted)"
"""What the kernel appends to the path of a cgroup that has been removed."""


def memory_path(data: bytes, version: int) -> str | None:
    """The path that a process's cgroup file gives for memory, None where it gives none.

    It is relative to the cgroup namespace of whoever reads: "/../x" is outside that namespace.

    Args:
        data: lines of "id:controllers:path".
        version: of the hierarchy that has the memory controller: 1 (the line that names it) or 2 (id 0).
    """
    for line in data.split(b"\n"):
        parts = line.split(b":", 2)
        if len(parts) < 3:  # noqa: PLR2004 - the three fields of a line
            continue
        controllers = parts[1].split(b",")
        if b"memory" in controllers if version == 1 else parts[0] == b"0" and controllers == [b""]:
            return sys.intern(os.fsdecode(parts[2]))  # one text for all who are in it
    return None


def absolute(path: str, namespace_root: str) -> str | None:
    """A path as read, made absolute in the mounted tree; None where it leads out of the tree.

    Args:
        path: from memory_path().
        namespace_root: where the reader's cgroup namespace begins in the mounted tree, "/" on a host.
    """
    place = [name for name in namespace_root.split("/") if name]
    for name in path.split("/"):
        if name == "..":
            if not place:
                return None
            place.pop()
        elif name:
            place.append(name)
    return "/" + "/".join(place)
