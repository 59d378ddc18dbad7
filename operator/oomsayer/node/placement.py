"""Which memory cgroups there are, and in which of them each process is charged."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from oomsayer.kernel.observed import OomCounts
from oomsayer.kernel.snapshot import ROOT, Memcg, parent_path
from oomsayer.node import pidcgroup
from oomsayer.node.cgroupfs import Tree, memory_mount
from oomsayer.node.files import number, read_if_there, read_list
from oomsayer.node.memcg import oom_counts, read_v1, read_v2, relative
from oomsayer.node.namespace import cgroup_namespace_root
from oomsayer.node.processes import Process


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process is charged.

    Attributes:
        memcg: path of the memory cgroup.
        order: place among its processes as the kernel walks them, 0 for all where that is not known.
    """

    memcg: str
    order: int = 0


@dataclass(slots=True)
class Placement:
    """The memory cgroups of one sample.

    Attributes:
        memcgs: by path, the root always among them.
        homes: by path of any cgroup, the memory cgroup that its processes are charged to: the nearest one
            upwards where the memory controller is enabled.
        places: by pid, where cgroup.procs tells.
        base: where the reader's cgroup namespace begins in the tree, None where that is not known.
        strays: pids of processes whose cgroup is outside the tree.
        cut_off: cgroups with limits of their own that cannot be read, or are below one that cannot be.
    """

    memcgs: dict[str, Memcg] = field(default_factory=lambda: {ROOT: Memcg(ROOT)})
    homes: dict[str, str] = field(default_factory=lambda: {ROOT: ROOT})
    places: dict[int, Place] = field(default_factory=dict)
    base: str | None = ROOT
    strays: set[int] = field(default_factory=set)
    cut_off: int = 0
    _resolved: dict[str | None, Place | None] = field(default_factory=dict)

    def of(self, process: Process) -> Place:
        """Where a process is charged: the root for one outside the tree, which is noted."""
        place = self._of(process)
        process.placed = place is not None
        if place is None:
            self.strays.add(process.pid)
        return place or Place(ROOT)

    def _of(self, process: Process) -> Place | None:
        listed = self.places.get(process.pid)
        if listed is not None:
            return listed
        if process.cgroup not in self._resolved:
            self._resolved[process.cgroup] = self._resolve(process.cgroup)
        return self._resolved[process.cgroup]

    def _resolve(self, cgroup: str | None) -> Place | None:
        if cgroup is None or self.base is None:
            return None
        path = pidcgroup.absolute(cgroup, self.base)
        if path is None:
            return None
        if path not in self.homes:
            path = path.removesuffix(pidcgroup.DELETED)
        while path not in self.homes:
            path = parent_path(path)
        return Place(self.homes[path])


class MemcgReader:
    """The memory cgroups under one root, read again from sample to sample."""

    def __init__(self, root: Path, own: Path) -> None:
        """Open the hierarchy that has the memory controller, if there is one.

        Args:
            root: holds sys/fs/cgroup of the machine.
            own: holds proc/self and sys/fs/cgroup as the reader itself sees them.
        """
        mount = memory_mount(root)
        self._where = root / "sys/fs/cgroup"
        self._own = own
        self._tree = Tree(mount) if mount else None
        self.version = mount.version if mount else 2
        self._ordered = self.version != 1  # v1 sorts cgroup.procs by pid, so it tells no order
        self._base: str | None = None

    def close(self) -> None:
        """Let go of the tree."""
        if self._tree is not None:
            self._tree.close()

    def read(self, *, swap: bool) -> Placement:
        """Every memory cgroup that exists now.

        Args:
            swap: whether the machine has any, so that swap limits matter.
        """
        placement = Placement()
        if self._tree is None:
            return placement
        read = read_v1 if self.version == 1 else read_v2
        counts: dict[str, int] = {}
        for directory in self._tree.walk():
            path = directory.path
            above = parent_path(path)
            try:
                memcg = read(path, directory.inode, self._tree.fd, swap)
                cut_off = memcg is not None and above not in placement.memcgs
            except OSError:
                memcg, cut_off = None, True
            if memcg is None or cut_off:
                # Whoever owns a cgroup may close its files to others (chmod): a tree must have no hole.
                placement.homes[path] = placement.homes[above]
                placement.cut_off += cut_off
            else:
                placement.memcgs[path] = memcg
                placement.homes[path] = path
            if self._ordered:
                self._list_processes(path, self._tree, placement, counts)
        if self._base is None:
            self._base = cgroup_namespace_root(self._tree, self._own)
        placement.base = self._base
        return placement

    def oom_counts(self, memcgs: Mapping[str, Memcg]) -> dict[str, OomCounts]:
        """What those of these cgroups that are still there have counted of OOMs."""
        if self._tree is None:
            return {}
        read = (
            (path, oom_counts(path, memcg.inode, self._tree.fd, self.version))
            for path, memcg in memcgs.items()
        )
        return {path: counts for path, counts in read if counts is not None}

    def gaps(self, placement: Placement) -> Iterator[str]:
        """What could not be told about cgroups, each a sentence."""
        if self._tree is None:
            yield f"{self._where} has no memory controller: only the node as a whole is told"
            return
        if placement.base is None:
            yield (
                f"the reader's own cgroup is not in {self._where}, so processes cannot be placed: "
                "mount the machine's whole cgroup tree there"
            )
        elif placement.strays:
            yield (
                f"processes in cgroups outside {self._where}: {len(placement.strays)}, "
                "told under the node alone"
            )
        if placement.cut_off:
            yield (
                f"memory cgroups that cannot be read, or are below one: {placement.cut_off}, "
                "whose processes are told under the nearest above that can"
            )
        limit = placement.memcgs[ROOT].max_bytes
        if limit is not None:
            yield f"the cgroup mounted at {self._where} has a limit of {limit} bytes, not told as a domain"
        if self.version == 1 and read_if_there("memory.use_hierarchy", self._tree.fd) == b"0\n":
            yield "memory.use_hierarchy is 0: limits may not count what is in the cgroups below"

    def _list_processes(self, path: str, tree: Tree, placement: Placement, counts: dict[str, int]) -> None:
        try:
            data = read_list(f"{relative(path)}/cgroup.procs", tree.fd)
        except OSError:
            return  # gone, or a threaded cgroup, whose processes its domain lists
        home = placement.homes[path]
        place = counts.get(home, 0)
        for word in data.split():
            pid = number(word)
            if not pid:
                # Processes outside the reader's PID namespace are shown as 0: no use here, now or later.
                self._ordered = False
                placement.places.clear()
                return
            placement.places[pid] = Place(home, place)
            place += 1
        counts[home] = place
