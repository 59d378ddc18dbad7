"""The mounted cgroup tree that has the memory controller: which cgroups there are, and where.

v2, v1, or both (hybrid), in which case memory is where its files are.

Source: Documentation/admin-guide/cgroup-v2.rst; fs/kernfs/dir.c for the link counts.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path

from oomsayer.kernel.snapshot import ROOT
from oomsayer.node.memcg import relative

_LEAF_LINKS = 2
"""Links of a directory without directories in it: its name, and its own "."."""


@dataclass(frozen=True, slots=True)
class Mount:
    """Where the memory controller is.

    Attributes:
        directory: of the hierarchy's root.
        version: 1 or 2.
    """

    directory: Path
    version: int


def memory_mount(root: Path) -> Mount | None:
    """The hierarchy with the memory controller under root/sys/fs/cgroup, None without one."""
    top = root / "sys/fs/cgroup"
    if (top / "memory/memory.limit_in_bytes").exists():
        return Mount(top / "memory", 1)
    for unified in (top, top / "unified"):
        if "memory" in _controllers(unified):
            return Mount(unified, 2)
    return None


def _controllers(directory: Path) -> list[str]:
    try:
        return (directory / "cgroup.controllers").read_text("ascii", "replace").split()
    except OSError:
        return []


@dataclass(slots=True)
class Directory:
    """One cgroup's directory.

    Attributes:
        path: from the tree's root, "/" for the root.
        inode: st_ino: ascending in the order of creation.
        links: st_nlink.
        below: the directories in it, by name.
    """

    path: str
    inode: int
    links: int
    below: dict[str, "Directory"] = field(default_factory=dict)


class Tree:
    """A mounted hierarchy, kept open from sample to sample.

    kernfs counts a directory's subdirectories in its link count. So where all that were known are still
    there and the count fits, there are no others, and the directory needs no listing.
    """

    def __init__(self, mount: Mount) -> None:
        """Open the tree.

        Raises:
            OSError: its root cannot be opened.
        """
        self.version = mount.version
        self.fd = os.open(mount.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        status = os.fstat(self.fd)
        self.device = status.st_dev
        self._root = Directory(ROOT, status.st_ino, status.st_nlink)

    def close(self) -> None:
        """Let go of the mount."""
        os.close(self.fd)

    def walk(self) -> Iterator[Directory]:
        """Every cgroup that exists now: each before those in it, siblings in the order of creation."""
        self._root.links = os.fstat(self.fd).st_nlink
        stack = [self._root]
        while stack:
            here = stack.pop()
            yield here
            if here.links != _LEAF_LINKS:
                self._refresh(here)
                stack.extend(sorted(here.below.values(), key=attrgetter("inode"), reverse=True))
            elif here.below:
                here.below.clear()

    def find(self, inode: int) -> str | None:
        """The path of the directory with an inode, among those of the last walk."""
        stack = [self._root]
        while stack:
            here = stack.pop()
            if here.inode == inode:
                return here.path
            stack.extend(here.below.values())
        return None

    def _refresh(self, here: Directory) -> None:
        """Bring what is known of the directories in `here` up to date."""
        here.below = {name: now for name, known in here.below.items() if (now := self._look(known))}
        if here.links == len(here.below) + _LEAF_LINKS:
            return
        prefix = "" if here.path == ROOT else here.path
        for name in self._list(here):
            if name not in here.below:
                new = self._look(Directory(f"{prefix}/{name}", 0, 0))
                if new is not None:
                    here.below[name] = new

    def _look(self, known: Directory) -> Directory | None:
        """The directory as it is now, a new one where it was removed and made again; None without one."""
        try:
            status = os.stat(relative(known.path), dir_fd=self.fd, follow_symlinks=False)
        except OSError:
            return None
        if not stat.S_ISDIR(status.st_mode):
            return None
        if status.st_ino != known.inode:
            return Directory(known.path, status.st_ino, status.st_nlink)
        known.links = status.st_nlink
        return known

    def _list(self, here: Directory) -> list[str]:
        try:
            fd = os.open(relative(here.path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        except OSError:
            return []
        try:
            with os.scandir(fd) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:
            return []
        finally:
            os.close(fd)
