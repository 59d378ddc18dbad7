"""OOM reports as kernels of all eras print them, made to measure for tests."""

from dataclasses import dataclass, field

POD = "12345678-9abc-def0-1234-56789abcdef0"
CONTAINER = "0123456789abcdef" * 4
CONTAINER_PATH = f"/kubepods/burstable/pod{POD}/{CONTAINER}"
UNLIMITED = 9007199254740988


@dataclass(frozen=True)
class Row:
    """A process as the table shows it."""

    pid: int
    name: str
    rss: int
    adj: int = 0
    uid: int = 1000
    swap: int = 0
    pgtables: int = 4096
    total_vm: int = 10_000
    tgid: int | None = None


@dataclass(frozen=True)
class Text:
    """A report to be printed.

    Attributes:
        style: "3.10", "4.8", "4.15", "4.19", "5.2", "5.15" or "6.8": which release's format.
        memcg: the full cgroup, None for the whole machine.
        limit, memsw, swap: kB; swap selects v2.
        killed: pids; the first is the victim.
        group: the cgroup that dies as one.
    """

    rows: tuple[Row, ...]
    killed: tuple[int, ...]
    style: str = "5.15"
    kernel: str = "5.15.0-1-test"
    memcg: str | None = None
    limit: int = 400_000
    memsw: int | None = None
    swap: tuple[int, int] | None = (0, 0)
    ram: tuple[int, int] = (1_010_000, 10_000)
    swap_total: int = 0
    group: str | None = None
    chosen: tuple[int, int] | None = None
    header: str = "java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"
    constraint: str | None = None
    mems: str = "0"
    present: dict[int, int] = field(default_factory=lambda: {0: 4_040_000})

    def lines(self) -> list[str]:
        return [
            self.header,
            f"CPU: 3 PID: 4242 Comm: java Not tainted {self.kernel} #1",
            "Call Trace:",
            " dump_stack+0x63/0x81",
            *(self._memcg() if self.memcg else self._machine()),
            *self._table(),
            *self._decision(),
        ]

    def text(self) -> str:
        return "\n".join(self.lines()) + "\n"

    def _old(self) -> bool:
        return self.style in ("3.10", "4.8", "4.15", "4.19")

    def _memcg(self) -> list[str]:
        lines = []
        if self._old():
            lines.append(f"Task in {self.memcg} killed as a result of limit of {self.memcg}")
        lines.append(f"memory: usage {self.limit}kB, limit {self.limit}kB, failcnt 7")
        if self.memsw is not None:
            lines.append(f"memory+swap: usage {self.limit}kB, limit {self.memsw}kB, failcnt 0")
        elif self.swap is not None:
            lines.append(f"swap: usage {self.swap[0]}kB, limit {self.swap[1]}kB, failcnt 0")
        return [*lines, f"Memory cgroup stats for {self.memcg}:", "anon 409600", "file 0"]

    def _machine(self) -> list[str]:
        return [
            "Mem-Info:",
            *(
                f"Node {node} Normal free:100kB min:90kB present:{kb}kB managed:{kb}kB"
                for node, kb in self.present.items()
            ),
            "Node 0 Normal: 3*4kB (U) 0*8kB = 12kB",
            "Free swap  = 0kB",
            f"Total swap = {self.swap_total}kB",
            f"{self.ram[0]} pages RAM",
            "0 pages HighMem/MovableOnly",
            f"{self.ram[1]} pages reserved",
        ]

    def _table(self) -> list[str]:
        pid = "[ pid ]" if self.style in ("3.10", "4.8", "4.15") else "[  pid  ]"
        tables = {"3.10": "nr_ptes", "4.8": "nr_ptes nr_pmds"}.get(self.style, "pgtables_bytes")
        split = " rss_anon rss_file rss_shmem" if self.style == "6.8" else ""
        head = f"{pid}   uid  tgid total_vm      rss{split} {tables} swapents oom_score_adj name"
        state = [] if self.style in ("3.10", "4.8", "4.15") else ["Tasks state (memory values in pages):"]
        return [*state, head, *map(self.row, self.rows)]

    def row(self, row: Row) -> str:
        tables = {"3.10": f"{row.pgtables // 4096:7}", "4.8": f"{row.pgtables // 4096:7} {0:7}"}.get(
            self.style, f"{row.pgtables:8}"
        )
        split = f" {row.rss:8} {0:8} {0:9}" if self.style == "6.8" else ""
        return (
            f"[{row.pid:7}] {row.uid:5} {row.tgid or row.pid:5} {row.total_vm:8} {row.rss:8}{split} "
            f"{tables} {row.swap:8}         {row.adj:5} {row.name}"
        )

    def _decision(self) -> list[str]:
        by_pid = {row.pid: row for row in self.rows}
        reason = "Memory cgroup out of memory" if self.memcg else "Out of memory"
        lines = []
        victim = by_pid[self.killed[0]]
        if self._old():
            chosen, score = self.chosen or (victim.pid, 500)
            name = by_pid[chosen].name
            lines.append(f"{reason}: Kill process {chosen} ({name}) score {score} or sacrifice child")
        else:
            kind = self.constraint or ("MEMCG" if self.memcg else "NONE")
            place = f"oom_memcg={self.memcg}" if self.memcg else "global_oom"
            memcg = self.memcg or "/system.slice/x.service"
            lines.append(
                f"oom-kill:constraint=CONSTRAINT_{kind},nodemask=(null),cpuset=/,mems_allowed={self.mems},{place},"
                f"task_memcg={memcg},task={victim.name},pid={victim.tgid or victim.pid},uid={victim.uid}"
            )
        killed = [self._killed(by_pid[pid], reason) for pid in self.killed]
        group = f"Tasks in {self.group} are going to be killed due to memory.oom.group set"
        return [*lines, killed[0], *([group] if self.group else []), *killed[1:]]

    def _killed(self, row: Row, reason: str) -> str:
        sizes = f"total-vm:{row.total_vm * 4}kB, anon-rss:{row.rss * 4}kB, file-rss:0kB"
        if self.style == "3.10":
            return f"Killed process {row.pid} ({row.name}) {sizes}"
        sizes += ", shmem-rss:0kB"
        if self._old():
            return f"Killed process {row.pid} ({row.name}) {sizes}"
        if self.style != "5.2":
            sizes += f", UID:{row.uid} pgtables:{row.pgtables // 1024}kB oom_score_adj:{row.adj}"
        return f"{reason}: Killed process {row.pid} ({row.name}) {sizes}"
