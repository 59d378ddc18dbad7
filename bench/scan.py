"""What a look at all processes costs: run `python bench/scan.py [IDLE_PROCESSES]` (default 1000).

Starts so many idle processes and looks at the machine again and again, in turns: as the agent does, as a C
program, as psutil; then earlyoom in its dry run. Prints processor time a look.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT)]

import psutil
from lab import cache, packages
from lab.errors import LabError
from lab.kernels.debian import Suite

from oomsayer.node.processes import REFRESH
from oomsayer.node.snapshot import Scanner

ROUNDS = 3 * REFRESH
EARLYOOM_SECONDS = 8.0
FIELDS = ["pid", "ppid", "name", "status", "create_time", "memory_info", "num_threads"]
"""What psutil has of the fields that a look reads; it has no oom_score_adj, page tables, swap or cgroup."""

PSUTIL = "--psutil"
"""As this script calls itself."""
IN_A_ROW, EARLYOOM = "oomsayer, in a row", "earlyoom --dryrun"

Look = Callable[[], float]
"""One look at all processes: milliseconds of processor time."""


def main() -> int:
    """Measure, print one line a way of looking, and say whether the targets are met."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as name, idle(count):
        program = compiled(Path(name))
        with looker(program) as c, looker(sys.executable, __file__, PSUTIL) as psutils:
            scanner = Scanner()
            first = ours(scanner)
            ways: dict[str, Look] = {
                "oomsayer": lambda: ours(scanner),
                "C, all files": lambda: c("a"),
                "C, descriptors kept": lambda: c("k"),
                "psutil": lambda: psutils("p"),
            }
            costs: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(ROUNDS):
                for way, look in ways.items():
                    costs[way].append(look())
            # earlyoom looks again and again without a rest, and so finds all of it in the processor's cache.
            costs[IN_A_ROW] = [ours(scanner) for _ in range(ROUNDS)]
            earlyoom = by_earlyoom(Path(name))
            scanner.close()
    medians = {way: median(found[REFRESH:]) for way, found in costs.items()}
    if earlyoom is not None:
        medians[EARLYOOM] = earlyoom
    calm = medians["oomsayer"]
    print(f"{'':20}    ms a look  to oomsayer")
    print(f"{'oomsayer, first look':20} {first:12.1f}  {first / calm:11.1f}")
    for way, cost in medians.items():
        print(f"{way:20} {cost:12.1f}  {cost / calm:11.1f}")
    if earlyoom is None:
        print("earlyoom is not to be had here")
    return judge(medians)


def judge(medians: dict[str, float]) -> int:
    """Print each target; status 1 where one is missed."""
    calm = medians["oomsayer"]
    in_a_row = medians[IN_A_ROW]
    targets = {
        "at most 1.2 times the C program that reads all files": calm <= 1.2 * medians["C, all files"],
        "at least 4 times as fast as psutil": 4 * calm <= medians["psutil"],
        "in a row, no slower than earlyoom's dry run": in_a_row <= medians.get(EARLYOOM, in_a_row),
    }
    for target, met in targets.items():
        print(f"{'met' if met else 'MISSED'}: {target}")
    return 0 if all(targets.values()) else 1


@contextmanager
def idle(count: int) -> Iterator[None]:
    """So many processes that sleep."""
    sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(count)]
    try:
        time.sleep(1)
        yield
    finally:
        for process in sleepers:
            process.kill()
        for process in sleepers:
            process.wait()


@contextmanager
def looker(*command: str | Path) -> Iterator[Callable[[str], float]]:
    """A program that looks once for each letter, and says how many ns of processor time it took.

    By itself, so that no way of looking leaves its garbage to another.
    """
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - this file names them

        def look(letter: str) -> float:
            assert process.stdin is not None  # noqa: S101 - both are pipes
            assert process.stdout is not None  # noqa: S101 - likewise
            process.stdin.write(letter)
            process.stdin.flush()
            return int(process.stdout.readline()) / 1e6

        yield look


def compiled(directory: Path) -> Path:
    """bench/scan.c as a program."""
    packages.require(["gcc"])
    program = directory / "scan"
    subprocess.run(["gcc", "-O2", "-o", program, ROOT / "bench/scan.c"], check=True)  # noqa: S603 - our own file
    return program


def look_with_psutil() -> int:
    """The other end of a looker: psutil.process_iter() with the fields that it has."""
    while sys.stdin.read(1):
        before = time.process_time_ns()
        for _ in psutil.process_iter(FIELDS):
            pass
        print(time.process_time_ns() - before, flush=True)
    return 0


def ours(scanner: Scanner) -> float:
    """As the agent does, its cgroups and all that follows included."""
    before = time.process_time()
    scanner.snapshot()
    return (time.process_time() - before) * 1000


def by_earlyoom(directory: Path) -> float | None:
    """Earlyoom told to find a victim at each poll, and to spare it; None where there is no earlyoom."""
    program = shutil.which("earlyoom") or fetched()
    if program is None:
        return None
    log = directory / "earlyoom"
    with log.open("wb") as out:
        process = subprocess.Popen(  # noqa: S603 - Debian's own
            [program, "--dryrun", "-r", "0", "-m", "99", "-s", "100"], stdout=out, stderr=out
        )
    time.sleep(EARLYOOM_SECONDS)
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    process.kill()
    process.wait()
    scans = log.read_text("utf-8", "replace").count("dryrun, not actually sending any signal")
    if not scans:
        sys.exit(f"earlyoom looked for nobody: {log.read_text('utf-8', 'replace')[-300:]}")
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK") / scans * 1000


def fetched() -> str | None:
    """Earlyoom out of Debian's package, not installed: that would start it."""

    def unpack(out: Path) -> None:
        suite = Suite("bookworm")
        suite.update()
        suite.unpack(["earlyoom"], out)

    try:
        return str(cache.artifact("earlyoom", cache.key_of("bookworm"), unpack) / "usr/bin/earlyoom")
    except LabError:
        return None


if __name__ == "__main__":
    sys.exit(look_with_psutil() if sys.argv[1:] == [PSUTIL] else main())
