"""One machine, as it is now: all kernel files under a root path, put together into a Snapshot."""

import os
import time
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from oomsayer.kernel.badness import oom_score
from oomsayer.kernel.era import Detection, Era, detect
from oomsayer.kernel.nodelist import Nodes
from oomsayer.kernel.observed import OomCounts
from oomsayer.kernel.snapshot import OOM_SCORE_ADJ_MIN, Memory, MemoryNode, Snapshot, Task, Unkillable
from oomsayer.node import kcmp, meminfo, pidstat, pressure, swaps, sysctl, zoneinfo
from oomsayer.node.dying import Dying
from oomsayer.node.files import keyed, number, read_if_there, read_record
from oomsayer.node.namespace import same_pids
from oomsayer.node.placement import MemcgReader, Place, Placement
from oomsayer.node.processes import REFRESH, Process, ProcessTable, Unreadable, keep_open_default, pids
from oomsayer.node.reapers import reapers
from oomsayer.node.sharing import Sharing

_KTHREADD = 2
_WITNESSES = 3
"""How many processes are asked for their oom_score to tell signed from unsigned badness."""
_MOST_CPUSETS = 64
"""How many sets of memory nodes are told."""
USERSPACE_KILLERS = frozenset({"systemd-oomd", "oomd", "earlyoom", "nohang"})
"""Programs that kill by rules of their own before the kernel has to."""
_NO_TASK = (0, Task(0, 0, "", "", 0, 0))
"""In place of what is not known: revisions begin at 1."""


class UnreadableNodeError(Exception):
    """There is no machine to read under the root; the text says what to do."""


def snapshot(root: Path = Path("/")) -> Snapshot:
    """Read the machine under `root` once.

    Raises:
        UnreadableNodeError: root/proc is missing or not a proc file system.
    """
    scanner = Scanner(root, keep_open=0)
    try:
        return scanner.snapshot()
    finally:
        scanner.close()


class Scanner:
    """Reads one machine again and again, cheaper each time than the first."""

    def __init__(
        self, root: Path = Path("/"), *, own: Path = Path("/"), keep_open: int | None = None
    ) -> None:
        """Open the machine under `root`.

        Args:
            root: holds proc and sys/fs/cgroup of the machine.
            own: holds proc and sys/fs/cgroup as the reader itself sees them; only a captured node differs.
            keep_open: how many descriptors may stay open between samples, one a process at best; by
                default what the limit on open files leaves, up to 8,192.

        Raises:
            UnreadableNodeError: root/proc is missing.
        """
        self._root = root
        try:
            self._proc = os.open(root / "proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UnreadableNodeError(
                f"{root / 'proc'}: {error.strerror}: the machine's /proc must be mounted there, "
                "or --root name the directory that holds it"
            ) from error
        self._memcgs = MemcgReader(root, own)
        self._page_size = os.sysconf("SC_PAGE_SIZE")
        keep = keep_open_default() if keep_open is None else keep_open
        self._processes = ProcessTable(self._proc, self._memcgs.version, keep)
        self._sharing = Sharing(kcmp.opened() if same_pids(root) else None)
        self._dying = Dying()
        self._samples = 0
        self._release = sysctl.osrelease(self._proc)
        self._covered = _covered(self._proc)
        self._detection: Detection | None = None
        self._nodes: tuple[MemoryNode, ...] = ()
        self._cpus = 1
        self._tasks: dict[int, tuple[int, Task]] = {}

    def close(self) -> None:
        """Let go of everything open."""
        self._processes.close()
        self._memcgs.close()
        os.close(self._proc)

    def oom_score(self, pid: int) -> int | None:
        """What the kernel shows in /proc/PID/oom_score, None where it cannot be read."""
        return number(read_if_there(f"{pid}/oom_score", self._proc) or b"")

    def oom_kills(self) -> int | None:
        """How many processes this machine's OOM killer has taken since boot; None where it does not say."""
        return keyed(read_if_there("vmstat", self._proc) or b"", b"oom_kill ")

    def oom_counts(self, shot: Snapshot) -> dict[str, OomCounts]:
        """What those memory cgroups of a snapshot that are still there have counted of OOMs, by path."""
        return self._memcgs.oom_counts(shot.memcgs)

    def snapshot(self) -> Snapshot:
        """The machine as it is now. What could not be read is said in the snapshot's gaps.

        Raises:
            UnreadableNodeError: root/proc is not a proc file system.
        """
        taken_at = time.time()
        if self._samples % REFRESH == 0:
            self._read_zones()
        self._samples += 1
        memory = self._memory()
        detection = self._detection or self._detect(memory)
        processes, unreadable = self._read_processes(detection.era, memory)
        # The tree comes after the processes, so that the cgroup of each is in it unless it is gone again.
        placement = self._memcgs.read(swap=memory.swap_total_bytes > 0)
        shared, assumed = self._sharing.sharers(processes, anew=self._samples % REFRESH == 0)
        initial = self._initial_pid_namespace()
        in_flight, outlasted = self._dying_of(processes)
        tasks = self._tasks_of(processes, placement, shared, in_flight, init=initial)
        killers = _killers(tasks)
        gaps = (
            *detection.doubts,
            *self._visibility_gaps(unreadable),
            *self._memcgs.gaps(placement),
            *assumed,
            *(f"{name} runs here and may kill earlier, by rules of its own" for name in killers),
        )
        cpusets, left_out = _cpusets(tasks)
        shot = Snapshot(
            kernel=self._release,
            era=detection.era,
            cgroup_version=self._memcgs.version,
            memory=memory,
            tasks=tuple(tasks),
            memcgs=placement.memcgs,
            sysctls=sysctl.vm(self._proc),
            taken_at=taken_at,
            initial_pid_namespace=initial,
            cpusets=cpusets,
            userspace_killers=killers,
            cpus=self._cpus,
            gaps=(*gaps, *left_out),
        )
        return replace(shot, tasks=tuple(self._marked(shot, outlasted))) if shared or outlasted else shot

    def _read_zones(self) -> None:
        data = read_if_there("zoneinfo", self._proc) or b""
        self._nodes, self._cpus = zoneinfo.memory_nodes(data), zoneinfo.cpus(data)

    def _memory(self) -> Memory:
        try:
            data = read_record("meminfo", self._proc)
        except OSError as error:
            raise UnreadableNodeError(
                f"{self._root / 'proc/meminfo'}: {error.strerror}: the machine's /proc must be mounted there"
            ) from error
        if len(self._nodes) > 1:
            self._read_zones()
        memory = meminfo.parse(data, self._page_size, self._nodes)
        if memory is None:
            raise UnreadableNodeError(
                f"{self._root / 'proc/meminfo'} has no MemTotal: it is no proc file system"
            )
        waiting = pressure.parse(read_if_there("pressure/memory", self._proc) or b"")
        swapping = read_if_there("swaps", self._proc) if memory.swap_free_bytes else None
        return replace(memory, pressure=waiting, zram_free_bytes=swaps.zram_free_bytes(swapping or b""))

    def _detect(self, memory: Memory) -> Detection:
        self._detection = detect(self._release, _small_oom_score(self._proc, memory))
        return self._detection

    def _initial_pid_namespace(self) -> bool:
        """Whether kthreadd is there, pid 2 of the initial PID namespace alone."""
        stat = pidstat.parse(read_if_there(f"{_KTHREADD}/stat", self._proc) or b"")
        return stat is not None and stat.kernel_thread and stat.parent == 0

    def _read_processes(self, era: Era, memory: Memory) -> tuple[list[Process], Unreadable]:
        """The processes in the order of their creation, and what could not be read of them."""
        swap_in_use = memory.swap_free_bytes < memory.swap_total_bytes
        processes, unreadable = self._processes.read(era, swap_in_use=swap_in_use, mems=bool(memory.nodes))
        processes.sort(key=lambda process: (process.stat.start_time, process.pid))
        return processes, unreadable

    def _dying_of(self, processes: Iterable[Process]) -> tuple[frozenset[int], frozenset[int]]:
        """Pids of processes that are dying: the victims in flight, and those that have outlasted that."""
        dying = [p for p in processes if p.stat.dying or p.status.sigkill_pending]
        return self._dying.sort(dying, self.oom_kills() if dying else None, time.monotonic())

    def _tasks_of(
        self,
        processes: Sequence[Process],
        placement: Placement,
        shared: Mapping[int, int],
        in_flight: Container[int],
        *,
        init: bool,
    ) -> list[Task]:
        """The processes as tasks, in the same order.

        Args:
            processes: all of them.
            placement: where each is.
            shared: which memory a process shares with others, by pid.
            in_flight: pids of the victims that are dying.
            init: whether pid 1 is the machine's init.
        """
        ends_with = reapers(processes, lambda process: placement.of(process).memcg)
        tasks = [
            self._task(
                process,
                placement.of(process),
                shared.get(process.pid, 0),
                ends_with.get(process.pid, 0),
                init=init,
                in_flight=process.pid in in_flight,
            )
            for process in processes
        ]
        self._forget_tasks(tasks)
        return tasks

    def _task(
        self, process: Process, place: Place, mm: int, reaper: int, *, init: bool, in_flight: bool
    ) -> Task:
        pid, revision = process.pid, process.revision
        unkillable = Unkillable.INIT if init and pid == 1 else None
        # No two processes ever have the same revision.
        known, task = self._tasks.get(pid, _NO_TASK)
        if (
            known == revision
            and task.memcg == place.memcg
            and task.order == place.order
            and task.mm == mm
            and task.reaper == reaper
            and task.unkillable is unkillable
            and task.in_flight is in_flight
        ):
            return task
        stat, status = process.stat, process.status
        task = Task(
            pid=pid,
            start_time=stat.start_time,
            comm=stat.comm,
            memcg=place.memcg,
            oom_score_adj=process.adj,
            rss_pages=process.rss_pages,
            swap_pages=status.swap_bytes // self._page_size,
            pgtables_bytes=status.pgtables_bytes,
            order=place.order,
            mm=mm,
            unkillable=unkillable,
            in_flight=in_flight,
            cap_sys_admin=status.cap_sys_admin,
            parent=stat.parent,
            threads=stat.threads,
            reaper=reaper,
            mems_allowed=_restricted(status.mems_allowed, self._nodes),
        )
        self._tasks[pid] = (revision, task)
        return task

    def _forget_tasks(self, tasks: list[Task]) -> None:
        if len(self._tasks) > len(tasks):
            alive = {task.pid for task in tasks}
            self._tasks = {pid: kept for pid, kept in self._tasks.items() if pid in alive}

    def _marked(self, shot: Snapshot, outlasted: frozenset[int]) -> Iterator[Task]:
        """The tasks, those marked for which the kernel shows a score of 0 where they would have one.

        That is in vfork, or where the memory of one that has long been dying was taken.
        """
        total = shot.memory.total_pages + shot.memory.swap_total_pages
        homes = {task.pid: task.mm for task in shot.tasks if task.mm}
        for task in shot.tasks:
            reaped = task.pid in outlasted
            suspect = (reaped or (task.mm and homes.get(task.parent) == task.mm)) and task.unkillable is None
            if suspect and task.oom_score_adj != OOM_SCORE_ADJ_MIN and not task.in_flight:
                shown = self.oom_score(task.pid)
                if shown == 0 < oom_score(task, total, shot.era, shot.memory.page_size):
                    yield replace(task, unkillable=Unkillable.OOM_SKIP if reaped else Unkillable.VFORK)
                    continue
            yield task

    def _visibility_gaps(self, unreadable: Unreadable) -> Iterator[str]:
        if read_if_there("1/stat", self._proc) is None:
            yield (
                f"{self._root / 'proc'} hides the processes of other users (hidepid): run as root, "
                "or in the group that its gid= mount option names"
            )
        if self._covered:
            yield (
                f"{self._root / 'proc/meminfo'} is not the kernel's: another file system covers it (lxcfs). "
                "Its memory and swap may be a container's, while the kernel goes by the machine's"
            )
        if unreadable.count:
            yield f"processes that could not be read: {unreadable.count} ({unreadable.first})"


def _small_oom_score(proc_fd: int, memory: Memory) -> int | None:
    """The highest oom_score of a few processes at oom_score_adj 0 with less than half the memory.

    None where there are none. Several, since one of them may be in vfork and score 0 for that.
    """
    scores: list[int] = []
    for pid in pids(proc_fd):
        stat = pidstat.parse(read_if_there(f"{pid}/stat", proc_fd) or b"")
        if stat is None or pid == 1 or stat.kernel_thread or stat.dying or not stat.vsize_bytes:
            continue
        if stat.rss_pages > memory.total_pages // 2:
            continue
        score = number(read_if_there(f"{pid}/oom_score", proc_fd) or b"")
        if score is not None and number(read_if_there(f"{pid}/oom_score_adj", proc_fd) or b"") == 0:
            scores.append(score)
            if len(scores) == _WITNESSES:
                break
    return max(scores, default=None)


def _covered(proc_fd: int) -> bool:
    """Whether another file system's meminfo lies over that of proc, as in LXC to show a container's own."""
    try:
        return os.stat("meminfo", dir_fd=proc_fd).st_dev != os.fstat(proc_fd).st_dev
    except OSError:
        return False


def _killers(tasks: Iterable[Task]) -> tuple[str, ...]:
    return tuple(sorted({task.comm for task in tasks} & USERSPACE_KILLERS))


def _restricted(mems: Nodes | None, nodes: tuple[MemoryNode, ...]) -> Nodes | None:
    """Those of the machine's memory nodes that a process may use, None where it may use all."""
    if not mems:
        return None
    there = frozenset(node.number for node in nodes)
    return None if there <= mems else _shared(mems & there)


@lru_cache(maxsize=1024)
def _shared(mems: Nodes) -> Nodes:
    """The same object for equal sets: many processes have one of few."""
    return mems


def _cpusets(tasks: Iterable[Task]) -> tuple[tuple[Nodes, ...], list[str]]:
    """The sets of memory nodes that processes are held to, and a sentence where they are too many to tell."""
    held = Counter(task.mems_allowed for task in tasks if task.mems_allowed is not None)
    told = sorted((mems for mems, _ in held.most_common(_MOST_CPUSETS)), key=sorted)
    over = len(held) - len(told)
    return tuple(told), [
        f"{over} sets of memory nodes with the fewest processes are not told"
    ] if over else []
