"""Records how much memory real processes use under a limit: python bench/series/record.py NAME... (root).

Each recording runs in a memory cgroup of its own (v1 or v2) until its limit has killed it, or until its time
is up, and becomes NAME.csv beside this file: a line a second, amounts in KiB. Go, Java and Node.js programs
need their tools installed. Only the cgroup runs out of memory, never the machine.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "operator"))

from oomsayer.node.cgroupfs import memory_mount
from oomsayer.node.files import keyed, number, read_if_there
from oomsayer.node.memcg import read_v1, read_v2

HERE = Path(__file__).resolve().parent
HEADER = "second,usage,active_file,inactive_file,slab_reclaimable,met_limit,killed"


@dataclass(frozen=True)
class Recording:
    """What runs, under which limit, and for how long at most (seconds)."""

    command: list[str]
    limit_mib: int
    seconds: int = 420
    kills: int = 1


def _python(name: str) -> list[str]:
    return [sys.executable, str(HERE / "workloads.py"), name]


def _java(heap: str, *arguments: str) -> list[str]:
    return ["java", f"-Xmx{heap}", "-cp", ".", "Churn", *arguments]


RECORDINGS = {
    "leak": Recording(_python("leak"), 192),
    "slow-leak": Recording(_python("slow-leak"), 160, 900),
    "fast-leak": Recording(_python("fast-leak"), 384),
    "jittery": Recording(_python("jittery"), 192, 900),
    "accelerating": Recording(_python("accelerating"), 256),
    "calm-then-leak": Recording(_python("calm-then-leak"), 192, 600),
    "stairs": Recording(_python("stairs"), 224, 600),
    "reads-and-leaks": Recording(_python("reads-and-leaks"), 192, 600),
    "restarts": Recording(_python("restarts"), 160, kills=4),
    "java-leak": Recording(_java("1g", "20", "15", "400"), 256, 900),
    "go-leak": Recording(["./churn", "12", "8", "300"], 192, 900),
    "node-leak": Recording(["node", "--max-old-space-size=1000", "churn.js", "20", "10", "600"], 256, 900),
    "java": Recording(_java("160m", "20", "12", "0"), 320),
    "go": Recording(["./churn", "40", "6", "0"], 160),
    "node": Recording(["node", "churn.js", "40", "10", "0"], 256),
    "batches": Recording(_python("batches"), 256),
    "slow-batches": Recording(_python("slow-batches"), 224, 720),
    "page-cache": Recording(_python("page-cache"), 192),
    "steps": Recording(_python("steps"), 320),
    "warms-up": Recording(_python("warms-up"), 256),
    "pool": Recording(_python("pool"), 320, 720),
    "java-leak-late": Recording(_java("2g", "60", "8", "250"), 384, 900),
    "java-slow-teeth": Recording(["java", "-XX:+UseSerialGC", *_java("220m", "10", "3", "0")[1:]], 352, 720),
    "go-leak-slow": Recording(["./churn", "40", "20", "150"], 224, 900),
    "node-busy": Recording(["node", "churn.js", "80", "25", "0"], 512),
    "leaking-batches": Recording(_python("leaking-batches"), 192, 900),
    "counting": Recording(_python("counting"), 256, 600),
    "sessions": Recording(_python("sessions"), 512, 900),
    "go-build": Recording(["go", "build", "-a", "-p", "2", "-o", "/dev/null", "net/http"], 1024),
}


class Cgroup:
    """A memory cgroup for one recording."""

    def __init__(self, name: str, limit_mib: int) -> None:
        mount = memory_mount(Path("/"))
        if mount is None:
            raise SystemExit("no memory controller under /sys/fs/cgroup")
        self.path = f"/oomsayer-record-{name}-{os.getpid()}"
        self.directory = mount.directory / self.path[1:]
        self.directory.mkdir()
        self._version = mount.version
        self._fd = os.open(mount.directory, os.O_RDONLY)
        limit = "memory.limit_in_bytes" if mount.version == 1 else "memory.max"
        (self.directory / limit).write_text(str(limit_mib << 20))

    def adopt(self) -> None:
        """Put the process that calls into it."""
        (self.directory / "cgroup.procs").write_text(str(os.getpid()))

    def row(self) -> tuple[int, ...]:
        """What one line records, amounts in bytes."""
        memcg = (read_v1 if self._version == 1 else read_v2)(self.path, 0, self._fd, False)  # noqa: FBT003 - either's form
        stat = read_if_there(str(self.directory / "memory.stat")) or b""
        prefix = b"total_" if self._version == 1 else b""
        parts = [
            keyed(stat, key) or 0
            for key in (prefix + b"active_file ", prefix + b"inactive_file ", b"slab_reclaimable ")
        ]
        events = memcg.events if memcg else None
        counts = ((events.max or 0), (events.oom_kill or 0)) if events else (0, 0)
        return ((memcg.usage_bytes if memcg else None) or 0, *parts, *counts)

    def remove(self) -> None:
        """Kill who is left in it, and remove it."""
        for _ in range(100):
            left = [number(word) for word in (self.directory / "cgroup.procs").read_bytes().split()]
            if not left:
                break
            for pid in left:
                if pid:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        self.directory.rmdir()
        os.close(self._fd)


def record(name: str, recording: Recording, place: Path, say: Callable[[str], None]) -> None:
    """Run one, and write its series."""
    cgroup = Cgroup(name, recording.limit_mib)
    lines = [
        f"# {' '.join(Path(word).name for word in recording.command)}, limit {recording.limit_mib} MiB",
        HEADER,
    ]
    process = subprocess.Popen(  # noqa: S603 - the commands above
        recording.command,
        cwd=place,
        preexec_fn=cgroup.adopt,  # noqa: PLW1509 - nothing else starts threads that hold locks here
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "GOFLAGS": "-mod=mod", "GOCACHE": str(place / "cache")},
    )
    began = time.monotonic()
    for second in range(recording.seconds):
        time.sleep(max(began + second - time.monotonic(), 0))
        usage, active, inactive, slab, met, killed = cgroup.row()
        amounts = ",".join(str(amount >> 10) for amount in (usage, active, inactive, slab))
        lines.append(f"{second},{amounts},{met},{killed}")
        if killed >= recording.kills or process.poll() is not None:
            break
    process.kill()
    process.wait()
    cgroup.remove()
    (HERE / f"{name}.csv").write_text("\n".join(lines) + "\n")
    say(f"{name}: {len(lines) - 2} seconds, {lines[-1]}")


def main() -> None:
    """Record those named, all by default, side by side."""
    names = sys.argv[1:] or list(RECORDINGS)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        place = Path(directory)
        for file in ("Churn.java", "churn.go", "churn.js"):
            (place / file).write_text((HERE / file).read_text())
        subprocess.run(["javac", "Churn.java"], cwd=place, check=True)
        subprocess.run(["go", "build", "-o", "churn", "churn.go"], cwd=place, check=True)
        threads = [
            threading.Thread(target=record, args=(name, RECORDINGS[name], place, print)) for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
