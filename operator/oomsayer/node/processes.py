"""The processes of a machine, read again from sample to sample at the least cost.

What is kept between samples, and why it stays exact:

- A descriptor of oom_score_adj belongs to one process, not to its number: it fails once that process is
  gone. Read last, through a descriptor opened first, it proves that all was read from the same process.
- So does one of stat, which most of what a look costs goes into. It is kept of processes that have settled.
- A stat file whose hash is as before belongs to a process that has not run. By chance that is wrong once in
  2**64 times; what it says in 300 bytes is not kept.
- Without swap in use, a process's page tables change only with its faults, threads or address space, all
  of which stat shows. What else may change them (reclaim of page tables) is looked up every REFRESH samples.
- A process changes cgroup at the start of its life or not at all, as a rule: membership is read anew
  while it is young, when it has executed another program, and every REFRESH samples.
"""

import os
from dataclasses import dataclass
from itertools import count, islice

from oomsayer.kernel.era import Era, RssSource
from oomsayer.node import pidcgroup, pidstat, pidstatm, pidstatus
from oomsayer.node.files import GONE, RECORD_BYTES, number, read_record
from oomsayer.node.pidstat import PidStat
from oomsayer.node.pidstatus import PidStatus

REFRESH = 32
"""Every how many samples what seldom changes is read anew; the processes take turns."""
_YOUNG = 5
"""For how many samples a process counts as young."""
_STATS_KEPT = 1024
"""How many stat files may stay open: each keeps a page of the kernel's, and costs a third as much to read."""
_MOST_KEPT = 8192
"""How many files may stay open in all: each takes one to two kB in the kernel, which count as ours."""
_RESERVE = 64
"""File descriptors left to the rest of the program."""
_ADJ_BYTES = 8
"""More than oom_score_adj ever holds."""
_TID_LIMIT = 4096
"""How many threads of an exited leader are tried."""


@dataclass(slots=True)
class Process:
    """One process with memory of its own, as last read.

    Attributes:
        pid: in the PID namespace of the /proc that is read.
        stat: of the process; of a live thread where the leader has exited.
        status: likewise.
        adj: oom_score_adj.
        adj_raw: the same as its file gives it, None before it was read.
        rss_pages: from the era's counter.
        cgroup: as its cgroup file gives it, None where that could not be read.
        placed: whether that cgroup was found in the tree; if not it is read anew.
        revision: changes with any of the numbers above.
        tid: of a live thread where the leader has exited, else 0.
    """

    pid: int
    stat: PidStat
    status: PidStatus
    adj: int = 0
    adj_raw: bytes | None = None
    rss_pages: int = 0
    cgroup: str | None = None
    placed: bool = False
    revision: int = 0
    tid: int = 0


@dataclass(slots=True)
class _Known:
    """What is kept of one pid between samples."""

    adj_fd: int = -1
    stat_fd: int = -1
    stat_hash: int = 0
    status_hash: int = 0
    cgroup_hash: int = 0
    stat: PidStat | None = None
    process: Process | None = None
    samples: int = 0
    settled: bool = False
    """While its stat stays as it is, nothing else of it need be read."""


class Unreadable:
    """Processes that are there and could not be read."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, pid: int, reason: str) -> None:
        """Count one more."""
        self.count += 1
        self.first = self.first or f"pid {pid}: {reason}"


class ProcessTable:
    """All processes under one /proc."""

    def __init__(self, proc_fd: int, cgroup_version: int, keep_open: int) -> None:
        """Start with nothing known.

        Args:
            proc_fd: a descriptor of the proc directory, which stays the caller's.
            cgroup_version: of the hierarchy that has the memory controller.
            keep_open: how many descriptors may stay open between samples.
        """
        self._proc = proc_fd
        self._version = cgroup_version
        self._spare = keep_open
        self._spare_stats = min(keep_open // 2, _STATS_KEPT)
        self._known: dict[int, _Known] = {}
        self._turn = 0
        self._revisions = count(1)
        self._mems = False

    def read(self, era: Era, *, swap_in_use: bool, mems: bool = False) -> tuple[list[Process], Unreadable]:
        """Every process that has memory, by pid, and those that could not be read.

        Args:
            era: the kernel's.
            swap_in_use: whether anything is swapped out.
            mems: whether there is more than one memory node.
        """
        self._turn = (self._turn + 1) % REFRESH
        self._mems = mems
        unreadable = Unreadable()
        known = self._known
        found: list[Process] = []
        read = 0
        listed = pids(self._proc)
        for pid in listed:
            entry = known.get(pid)
            try:
                if entry is None or swap_in_use or pid % REFRESH == self._turn or not _as_before(entry):
                    entry = known[pid] = self._read(pid, entry, era, swap_in_use=swap_in_use)
            except OSError as error:
                self._forget(known.pop(pid, None))
                if error.errno not in GONE:
                    unreadable.add(pid, error.strerror or str(error))
                continue
            except ValueError as error:
                self._forget(known.pop(pid, None))
                unreadable.add(pid, str(error))
                continue
            read += 1
            if entry.process is not None:
                found.append(entry.process)
        if len(known) > read:
            for gone in known.keys() - set(listed):
                self._forget(known.pop(gone))
        return found, unreadable

    def close(self) -> None:
        """Let go of all descriptors."""
        for entry in self._known.values():
            self._forget(entry)
        self._known.clear()

    def _forget(self, entry: _Known | None) -> None:
        if entry is None:
            return
        if entry.adj_fd >= 0:
            os.close(entry.adj_fd)
            entry.adj_fd = -1
            self._spare += 1
        if entry.stat_fd >= 0:
            os.close(entry.stat_fd)
            entry.stat_fd = -1
            self._spare_stats += 1
            self._spare += 1

    def _read(self, pid: int, entry: _Known | None, era: Era, *, swap_in_use: bool) -> _Known:
        if entry is not None and entry.adj_fd >= 0:
            try:
                self._update(pid, entry, entry.adj_fd, era, swap_in_use=swap_in_use)
            except ProcessLookupError:
                self._forget(entry)  # gone, but its number may be in use again
                return self._read(pid, None, era, swap_in_use=swap_in_use)
            return entry
        entry = entry or _Known()
        fd = os.open(f"{pid}/oom_score_adj", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            self._update(pid, entry, fd, era, swap_in_use=swap_in_use)
        except BaseException:
            os.close(fd)
            raise
        if self._spare > 0:
            self._spare -= 1
            entry.adj_fd = fd
        else:
            os.close(fd)
        return entry

    def _update(self, pid: int, entry: _Known, adj_fd: int, era: Era, *, swap_in_use: bool) -> None:
        due = pid % REFRESH == self._turn
        # A program that the kernel starts is a kernel thread until then.
        if entry.adj_fd >= 0 and entry.stat is not None and entry.stat.kernel_thread and not due:
            os.pread(adj_fd, _ADJ_BYTES, 0)
            return
        raw = self._read_stat(pid, entry)
        if hash(raw) != entry.stat_hash or not entry.settled or swap_in_use or due:
            self._update_stat(pid, entry, raw, era, swap_in_use=swap_in_use)
        adj = os.pread(adj_fd, _ADJ_BYTES, 0)
        process = entry.process
        if process is not None and process.adj_raw != adj:
            value = number(adj)
            if value is None:
                raise ValueError("its oom_score_adj is empty")
            process.adj, process.adj_raw = value, adj
            process.revision = next(self._revisions)

    def _read_stat(self, pid: int, entry: _Known) -> bytes:
        """Read stat; once a process is settled, keep it open."""
        if entry.stat_fd < 0:
            if not (entry.settled and entry.adj_fd >= 0 and self._spare_stats > 0 and self._spare > 0):
                return read_record(f"{pid}/stat", self._proc)
            entry.stat_fd = os.open(f"{pid}/stat", os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
            self._spare_stats -= 1
            self._spare -= 1
        return os.pread(entry.stat_fd, RECORD_BYTES, 0)

    def _update_stat(self, pid: int, entry: _Known, raw: bytes, era: Era, *, swap_in_use: bool) -> None:
        entry.samples += 1
        stat, stat_hash = entry.stat, hash(raw)
        if stat_hash != entry.stat_hash or stat is None or stat.vsize_bytes == 0:
            stat = pidstat.parse(raw)
            if stat is None:
                raise ValueError("its stat file is cut short")
            if entry.stat is not None and entry.stat.start_time != stat.start_time:
                entry.process, entry.samples = None, 1
            entry.stat_hash, entry.stat = stat_hash, stat
        self._update_memory(pid, entry, stat, era, swap_in_use=swap_in_use)
        process = entry.process
        entry.settled = (
            process is not None
            and process.placed
            and entry.samples > _YOUNG
            and stat.vsize_bytes > 0
            and process.status.swap_bytes == 0
            and era.rss_source is RssSource.STAT
        )

    def _update_memory(self, pid: int, entry: _Known, stat: PidStat, era: Era, *, swap_in_use: bool) -> None:
        place = str(pid)
        if stat.kernel_thread or not (stat.vsize_bytes or stat.threads > 1):
            entry.process = None
            return
        if stat.vsize_bytes == 0:
            thread = self._live_thread(pid)
            if thread is None:
                entry.process = None
                return
            place, live = thread
            stat = live._replace(comm=stat.comm, start_time=stat.start_time, parent=stat.parent)
        due = pid % REFRESH == self._turn
        before = entry.process
        swap_in_use = swap_in_use or (before is not None and before.status.swap_bytes > 0)
        if before is None or due or swap_in_use or era.root_bonus or _moved(before.stat, stat):
            status = self._status(entry, place)
            if status is None:
                entry.process = None  # its memory went while it was read
                return
        else:
            status = before.status
        process = before or Process(pid, stat, status)
        rss = stat.rss_pages
        if era.rss_source is RssSource.STATM:
            rss = pidstatm.resident_pages(read_record(f"{place}/statm", self._proc)) or 0
        if (process.rss_pages, process.stat, process.status) != (rss, stat, status):
            process.revision = next(self._revisions)
        if entry.samples <= _YOUNG or due or not process.placed or process.stat.comm != stat.comm:
            self._place(entry, process, place if self._version == 1 else str(pid))
        process.rss_pages, process.stat, process.status = rss, stat, status
        process.tid = 0 if place == str(pid) else int(place.rpartition("/")[2])
        entry.process = process

    def _status(self, entry: _Known, place: str) -> PidStatus | None:
        raw = read_record(f"{place}/status", self._proc)
        before, before_hash = entry.process, entry.status_hash
        entry.status_hash = hash((raw, self._mems))
        if before is not None and entry.status_hash == before_hash:
            return before.status
        return pidstatus.parse(raw, mems=self._mems)

    def _place(self, entry: _Known, process: Process, place: str) -> None:
        """Read which cgroup a process is in; of a leader that has exited v1 would say the root."""
        try:
            raw = read_record(f"{place}/cgroup", self._proc)
        except OSError as error:
            if error.errno in GONE:
                raise
            entry.cgroup_hash, process.cgroup = 0, None
            return
        if not process.placed or hash(raw) != entry.cgroup_hash:
            entry.cgroup_hash = hash(raw)
            process.cgroup = pidcgroup.memory_path(raw, self._version)

    def _live_thread(self, pid: int) -> tuple[str, PidStat] | None:
        """A thread that still has the memory which its exited leader has left, with its place below /proc."""
        for tid in islice(_numbers(f"{pid}/task", self._proc), _TID_LIMIT):
            place = f"{pid}/task/{tid}"
            try:
                stat = pidstat.parse(read_record(f"{place}/stat", self._proc))
            except OSError:
                continue
            if stat is not None and stat.vsize_bytes:
                return place, stat
        return None


def _as_before(entry: _Known) -> bool:
    """Whether a settled process whose files are open has neither run nor got another oom_score_adj."""
    process = entry.process
    if entry.stat_fd < 0 or not entry.settled or process is None:
        return False
    try:
        same = hash(os.pread(entry.stat_fd, RECORD_BYTES, 0)) == entry.stat_hash
        return same and os.pread(entry.adj_fd, _ADJ_BYTES, 0) == process.adj_raw
    except ProcessLookupError:
        return False  # gone, but its number may be in use again


def keep_open_default() -> int:
    """How many descriptors may stay open: what the soft limit leaves to spare, up to a bound."""
    try:
        limit = os.sysconf("SC_OPEN_MAX")
    except (OSError, ValueError):
        return 0
    return min(max(limit - _RESERVE, 0), _MOST_KEPT)


def pids(proc_fd: int) -> list[int]:
    """The pids that a proc directory lists, ascending."""
    return sorted(map(int, filter(str.isdecimal, os.listdir(proc_fd))))


def _numbers(name: str, dir_fd: int) -> list[int]:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    except OSError:
        return []
    try:
        return pids(fd)
    except OSError:
        return []
    finally:
        os.close(fd)


def _moved(before: PidStat, now: PidStat) -> bool:
    """Whether a process may have other page tables or pending signals than before."""
    return (
        before.faults,
        before.vsize_bytes,
        before.rss_pages,
        before.threads,
        before.flags,
        before.signals,
    ) != (
        now.faults,
        now.vsize_bytes,
        now.rss_pages,
        now.threads,
        now.flags,
        now.signals,
    )
