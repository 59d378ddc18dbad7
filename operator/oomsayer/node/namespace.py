"""Where the reader itself stands: which PID and cgroup namespace its view of the machine begins in.

A process's cgroup file is relative to the reader's cgroup namespace whichever procfs it is read through,
so an agent in a pod sees "/../../other" where a host process sees the whole path.

Source: cgroup_namespaces(7), pid_namespaces(7).
"""

import os
from pathlib import Path

from oomsayer.kernel.snapshot import ROOT
from oomsayer.node.cgroupfs import Tree

_INITIAL_CGROUP_NAMESPACE = "cgroup:[4026531835]"
"""PROC_CGROUP_INIT_INO, include/linux/proc_ns.h."""


def cgroup_namespace_root(tree: Tree, own: Path) -> str | None:
    """The path in a mounted tree at which the reader's cgroup namespace begins, None where it is not found.

    Outside the initial namespace that is the directory which the reader's own mount shows as root.

    Args:
        tree: walked at least once.
        own: the reader's own root directory, "/" but for a captured node.
    """
    try:
        if str((own / "proc/self/ns/cgroup").readlink()) == _INITIAL_CGROUP_NAMESPACE:
            return ROOT
    except OSError:
        return ROOT  # before 4.6 there are no cgroup namespaces
    mount = own / "sys/fs/cgroup"
    try:
        status = (mount / "memory" if tree.version == 1 else mount).stat()
    except OSError:
        return None
    # Another file system is no cgroup tree of this kernel: a captured one, with whole paths as a host has.
    return tree.find(status.st_ino) if status.st_dev == tree.device else ROOT


def same_pids(root: Path) -> bool:
    """Whether root/proc numbers processes as the reader's own system calls do."""
    try:
        return str((root / "proc/self").readlink()) == str(os.getpid())
    except OSError:
        return False
