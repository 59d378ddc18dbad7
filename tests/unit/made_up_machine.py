"""A v2 machine made up of files in a directory, as unpleasant as a test wants it."""

from collections.abc import Mapping
from pathlib import Path

from oomsayer.kernel.snapshot import Snapshot
from oomsayer.node.snapshot import Scanner


def read(root: Path, own: Path) -> Snapshot:
    scanner = Scanner(root, own=own)
    try:
        return scanner.snapshot()
    finally:
        scanner.close()


def stat_of(
    pid: int,
    comm: str,
    *,
    rss: int,
    vsize: int,
    flags: int = 0,
    start: int | None = None,
    state: str = "S",
    threads: int = 1,
) -> str:
    fields = f"1 1 1 0 -1 {flags} 5 0 0 0 0 0 0 0 20 0 {threads} 0 {start or pid} {vsize} {rss}"
    return f"{pid} ({comm}) {state} {fields}{' 0' * 31}\n"


STATUS = "Name:\tx\nVmPeak:\t8 kB\nVmRSS:\t{rss} kB\nVmPTE:\t{pte} kB\nVmSwap:\t0 kB\nThreads:\t1\n"


class Machine:
    """A made-up v2 machine in a directory."""

    def __init__(self, root: Path, version: str = "6.12.117") -> None:
        self.root = root
        self.own = root
        self.write("proc/meminfo", f"MemTotal: {4 << 20} kB\nMemFree: {2 << 20} kB\n")
        self.write("proc/sys/kernel/osrelease", version + "\n")
        self.write("sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n")
        self.process(1, "systemd")
        self.process(2, "kthreadd", flags=0x200000, vsize=0, rss=0)
        path = self.root / "proc/2/stat"
        path.write_text(path.read_text().replace(" S 1 ", " S 0 "))

    def write(self, name: str, text: str | bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    def process(
        self,
        pid: int,
        comm: str = "worker",
        *,
        cgroup: str = "/",
        rss: int = 100,
        adj: int = 0,
        flags: int = 0,
        vsize: int = 1000,
        start: int | None = None,
        state: str = "S",
        threads: int = 1,
    ) -> None:
        size = vsize and vsize + pid
        stat = stat_of(pid, comm, rss=rss, vsize=size, flags=flags, start=start, state=state, threads=threads)
        self.write(f"proc/{pid}/stat", stat)
        status = STATUS.format(rss=rss * 4, pte=40) if vsize else "Name:\tx\nThreads:\t1\n"
        self.write(f"proc/{pid}/status", status)
        self.write(f"proc/{pid}/statm", f"1000 {rss} 0 0 0 0 0\n")
        self.write(f"proc/{pid}/oom_score_adj", f"{adj}\n")
        self.write(f"proc/{pid}/oom_score", "670\n")
        self.write(f"proc/{pid}/cgroup", f"0::{cgroup}\n")

    def cgroup(
        self, path: str, procs: tuple[int, ...] = (), *, more: Mapping[str, str] | None = None, **files: str
    ) -> None:
        defaults = {"max": "max", "current": "4096", "oom.group": "0"}
        for name, value in {**defaults, **(more or {}), **files}.items():
            self.write(f"sys/fs/cgroup{path}/memory.{name.replace('_', '.')}", value + "\n")
        self.write(f"sys/fs/cgroup{path}/cgroup.procs", "".join(f"{pid}\n" for pid in procs))

    def read(self) -> Snapshot:
        return read(self.root, self.own)
