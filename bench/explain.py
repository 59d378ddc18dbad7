"""What `oomsayer explain` costs on a long log: `python bench/explain.py [MEGABYTES] [REPORTS]` (100, 200).

Writes a log with so many reports among ordinary lines, then runs grep for the reports' first lines and
oomsayer for the reports, in turn, and prints the best time of each, their ratio, and explain's memory.
"""

import compileall
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 7
MOST_TIMES_GREP = 3.0
ORDINARY = (
    'kubelet[1234]: I1124 01:02:03.123456 1234 kuberuntime.go:{0}] "Stopping container" pod="ns/app-{1}"',
    "containerd[812]: time=2026-11-24T01:02:03Z level=info msg=created id={0}{1}",
    "kernel: [{0}.{1}] IPv6: ADDRCONF(NETDEV_CHANGE): veth{1}: link becomes ready",
    "systemd[1]: Started Session {0} of user core.",
)
WHEN_AND_WHERE = "Nov 24 01:02:03 node-1 "


def report(pid: int) -> str:
    """A report of a container at its limit, with a call trace and 40 candidates."""
    container = f"{pid:064x}"
    path = f"/kubepods/burstable/pod12345678-9abc-def0-1234-56789abcdef0/{container}"
    trace = [f" some_function_{n}+0x{n:x}/0x{n * 7:x}" for n in range(20)]
    trace += [f"R{n:02d}: {n * 7919:016x} RAX: {n * 104729:016x}" for n in range(10)]
    stats = [f"counter_{n} {n * 4096}" for n in range(30)]
    rows = [
        f"[{pid + n:7}]     0 {pid + n:5}    10000   {400 if n else 90000:6}  53248      0  900 worker-{n}"
        for n in range(40)
    ]
    summary = (
        f"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset={container},mems_allowed=0,"
        f"oom_memcg={path},task_memcg={path},task=worker-0,pid={pid},uid=0"
    )
    killed = (
        f"Memory cgroup out of memory: Killed process {pid} (worker-0) total-vm:40000kB, anon-rss:360000kB, "
        "file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:52kB oom_score_adj:900"
    )
    lines = [
        "worker-1 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=900",
        "CPU: 3 PID: 4242 Comm: worker-1 Not tainted 5.15.0-100-generic #1",
        "Call Trace:",
        *trace,
        "memory: usage 409600kB, limit 409600kB, failcnt 7",
        "swap: usage 0kB, limit 0kB, failcnt 0",
        f"Memory cgroup stats for {path}:",
        *stats,
        "Tasks state (memory values in pages):",
        "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
        *rows,
        summary,
        killed,
    ]
    return "".join(f"{WHEN_AND_WHERE}kernel: [{pid}.000001] {line}\n" for line in lines)


def write_log(path: Path, megabytes: int, reports: int) -> None:
    """A log of about that size with that many reports, evenly spread."""
    rng = random.Random(1)
    between = megabytes * 1_000_000 // reports
    with path.open("w") as log:
        for index in range(reports):
            text = report(10_000 + 100 * index)
            room = between - len(text)
            while room > 0:
                line = (
                    WHEN_AND_WHERE
                    + rng.choice(ORDINARY).format(rng.randrange(9999), rng.randrange(99999))
                    + "\n"
                )
                log.write(line)
                room -= len(line)
            log.write(text)


def seconds(*command: str) -> tuple[float, str]:
    """How long a command takes, and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    started = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - the commands are this file's own
        command, env=environment, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - started, done.stdout


def peak_kib(*command: str) -> int:
    """The most memory a command had resident."""
    code = (
        "import resource, subprocess, sys; "
        "subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    return int(seconds(sys.executable, "-c", code, *command)[1])


def main() -> int:
    """Measure and print; status 1 where the target is missed."""
    # An installed package has its bytecode; a fresh clone would compile at every start.
    compileall.compile_dir(ROOT / "operator" / "oomsayer", quiet=1)
    megabytes, reports = (int(word) for word in (*sys.argv[1:3], *("100", "200")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "kern.log"
        write_log(log, megabytes, reports)
        grep = ("grep", "invoked oom-killer", str(log))
        explain = (sys.executable, "-m", "oomsayer", "explain", str(log))
        best_grep = best_explain = float("inf")
        found = found_by_grep = 0
        for _ in range(ROUNDS):
            took, printed = seconds(*grep)
            found_by_grep = printed.count("\n")
            best_grep = min(best_grep, took)
            took, printed = seconds(*explain)
            found = f"\n{printed}".count("\nREPORT ")
            best_explain = min(best_explain, took)
        memory = peak_kib(*explain)
    if not found == found_by_grep == reports:
        sys.exit(f"of {reports} reports grep found {found_by_grep}, explain {found}: nothing was measured")
    ratio = best_explain / best_grep
    print(
        f"explain, {megabytes} MB with {reports} reports: {best_explain:.3f} s, grep {best_grep:.3f} s, "
        f"ratio {ratio:.1f} (target {MOST_TIMES_GREP:.0f}), at most {memory // 1024} MiB resident"
    )
    return ratio > MOST_TIMES_GREP


if __name__ == "__main__":
    sys.exit(main())
