"""A real leak in a memory cgroup of the test's own: its OOM comes within the time foretold."""

import signal
import time
from collections.abc import Callable

from tests.live.stage import Actor, Cgroup, until

from oomsayer.agent.histories import Histories
from oomsayer.forecast.headroom import headroom
from oomsayer.forecast.oomtime import OomTime, Sureness, Trend
from oomsayer.forecast.prospect import prospects
from oomsayer.kernel.domain import domains
from oomsayer.node.snapshot import Scanner

MIB = 1 << 20
LIMIT = 128 * MIB
TURN_SECONDS = 0.4


def foretold(scanner: Scanner, histories: Histories, path: str) -> OomTime:
    snapshot = scanner.snapshot()
    found = [domain for domain in domains(snapshot) if domain.path == path]
    rooms = {domain.path: headroom(domain, snapshot) for domain in found}
    watched = histories.note(snapshot, rooms, time.monotonic())
    return prospects(snapshot, rooms, watched)[path].time


def test_a_leak_is_killed_within_the_time_foretold(actors: Callable[[], Actor], cgroup: Cgroup) -> None:
    cgroup.limit(LIMIT)
    leaky = actors()
    cgroup.adopt(leaky)
    scanner, histories = Scanner(), Histories()
    told: list[tuple[float, OomTime]] = []
    killed_at = None
    while killed_at is None:
        turn = time.monotonic()
        try:
            leaky.tell(f"hold {MIB}")
            told.append((turn, foretold(scanner, histories, cgroup.path)))
            time.sleep(max(turn + TURN_SECONDS - time.monotonic(), 0.0))
        except BrokenPipeError:
            killed_at = turn
        if leaky.ending() is not None:
            killed_at = killed_at or turn
    scanner.close()
    assert until(leaky.ending) == -signal.SIGKILL
    sure = [(at, one) for at, one in told if (one.trend, one.sureness) == (Trend.GROWING, Sureness.HIGH)]
    assert sure
    assert killed_at - sure[0][0] > 10
    kept = [
        one.earliest - 1 <= killed_at - at <= one.latest + 1
        for at, one in sure
        if one.earliest is not None and one.latest is not None
    ]
    assert sum(kept) >= 0.8 * len(sure), "a busy machine may hold the leak up once, not most of the time"
