"""A memory cgroup of the test's own runs out, and the watch sees whom the kernel killed."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.live.stage import Actor, Cgroup, until

from oomsayer.agent.kills import KillRecord, KillWatch
from oomsayer.forecast.match import Outcome
from oomsayer.kernel.observed import KillSource
from oomsayer.kernel.verdict import FIRST_VICTIMS, verdicts
from oomsayer.node import kernellog
from oomsayer.node.snapshot import Scanner

Start = Callable[[], Actor]
MIB = 1 << 20
LIMIT = 96 * MIB


@pytest.fixture
def scanner() -> Iterator[Scanner]:
    scanner = Scanner()
    yield scanner
    scanner.close()


def look(watch: KillWatch, scanner: Scanner) -> list[KillRecord]:
    shot = scanner.snapshot()
    return watch.look(shot, verdicts(shot, FIRST_VICTIMS))


@pytest.mark.parametrize("source", [KillSource.COUNTERS, KillSource.KERNEL_LOG])
def test_the_process_that_the_kernel_takes_is_seen_and_was_foretold(
    actors: Start, cgroup: Cgroup, scanner: Scanner, source: KillSource
) -> None:
    if source is KillSource.KERNEL_LOG and os.geteuid() != 0:
        pytest.skip("the kernel's log needs CAP_SYSLOG: run as root")
    cgroup.limit(LIMIT)
    writer, heavy, light = actors(), actors(), actors()
    cgroup.adopt(writer, heavy, light)
    heavy.tell(f"hold {40 * MIB}")
    light.tell(f"hold {15 * MIB}")
    watch = KillWatch(scanner, kernellog.opened() if source is KillSource.KERNEL_LOG else None)
    assert look(watch, scanner) == []

    path = Path(f"/dev/shm/oomsayer-test-{writer.pid}")  # noqa: S108 - a name with the pid in it, on tmpfs
    try:
        while heavy.ending() is None:
            writer.tell(f"fill {path} {MIB}")
    finally:
        path.unlink(missing_ok=True)

    def ours() -> KillRecord | None:
        records = look(watch, scanner)
        return next((r for r in records if r.kill.memcg == cgroup.path), None)

    record = until(ours)
    assert record.kill.source is source
    assert (record.kill.pid, record.kill.gone) == (heavy.pid, {heavy.pid})
    # v1 does not count whose limit it was: the cgroup's verdict names heavy, the node's somebody else.
    silent = cgroup.version == 1 and source is KillSource.COUNTERS
    assert record.match.outcome is (Outcome.UNKNOWN if silent else Outcome.HIT)
