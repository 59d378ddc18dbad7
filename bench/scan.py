"""What a look at all processes costs: run `python bench/scan.py [IDLE_PROCESSES]` (default 1000).

Starts so many idle processes, looks at the machine again and again as the agent does, and prints processor
time a process. The first look reads everything; a calm one reads only what may have changed.
"""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "operator"))

from oomsayer.node.processes import REFRESH
from oomsayer.node.snapshot import Scanner

LOOKS = 3 * REFRESH


def main() -> None:
    """Measure, and print one line a kind of look."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    idle = [subprocess.Popen(["sleep", "600"]) for _ in range(count)]  # noqa: S607 - sleep is everywhere
    try:
        time.sleep(1)
        scanner = Scanner()
        costs = [look(scanner) for _ in range(LOOKS)]
        scanner.close()
    finally:
        for process in idle:
            process.kill()
        for process in idle:
            process.wait()
    report("first look", costs[:1])
    report("calm look", costs[REFRESH:])


def look(scanner: Scanner) -> float:
    """Microseconds of processor time a process."""
    before = time.process_time()
    shot = scanner.snapshot()
    return (time.process_time() - before) / len(shot.tasks) * 1e6


def report(name: str, costs: list[float]) -> None:
    """Print median and best."""
    sys.stdout.write(f"{name:12} {median(costs):6.1f} µs a process, best {min(costs):.1f}\n")


if __name__ == "__main__":
    main()
