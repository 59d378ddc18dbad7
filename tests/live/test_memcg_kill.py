"""A memory cgroup of the test's own runs out, and the kernel takes whom the verdict named."""

import signal
from collections.abc import Callable
from pathlib import Path

from tests.live.stage import Actor, Cgroup, KernelLog, until

from oomsayer.kernel.domain import DomainKind
from oomsayer.kernel.verdict import Verdict, verdicts
from oomsayer.node.snapshot import snapshot

Start = Callable[[], Actor]
MIB = 1 << 20
LIMIT = 160 * MIB


def verdict_of(cgroup: Cgroup) -> Verdict:
    return next(verdict for verdict in verdicts(snapshot()) if verdict.domain.path == cgroup.path)


def cast(actors: Start, cgroup: Cgroup, roles: dict[str, tuple[int, int]]) -> dict[str, Actor]:
    """Start one actor for each role (bytes to hold, oom_score_adj) in a cgroup."""
    company: dict[str, Actor] = {}
    for name, (size, adj) in roles.items():
        actor = company[name] = actors()
        actor.tell(f"name {name.encode().hex()}")
        cgroup.adopt(actor)
        actor.tell(f"hold {size}")
        actor.tell(f"adj {adj}")
    return company


def kill_by_filling(writer: Actor, log: KernelLog, company: dict[str, Actor]) -> list[str]:
    """Fill a tmpfs file, which no badness counts, until all of a company are killed; their order."""
    names = {actor.pid: name for name, actor in company.items()}
    path = Path(f"/dev/shm/oomsayer-test-{writer.pid}")  # noqa: S108 - a name with the pid in it, on tmpfs
    killed: list[str] = []
    try:
        for _ in range(LIMIT // MIB * 2):
            writer.tell(f"fill {path} {MIB}")
            killed = [names[pid] for pid in log.read() if pid in names]
            if len(killed) == len(company):
                break
    except BrokenPipeError:  # under load the kernel may take the writer too before it is told to stop
        killed = [names[pid] for pid in log.read() if pid in names]
    finally:
        path.unlink(missing_ok=True)
    assert [until(actor.ending) for actor in company.values()] == [-signal.SIGKILL] * len(company)
    return killed


def test_the_kernel_takes_them_in_the_order_told(
    actors: Start, cgroup: Cgroup, kernel_log: KernelLog
) -> None:
    cgroup.limit(LIMIT)
    writer = cast(actors, cgroup, {"writer": (4096, 0)})["writer"]
    # The node's oom_score puts slight above heavy: only the cgroup's own totalpages tells them apart.
    company = cast(
        actors, cgroup, {"heavy": (30 * MIB, 900), "slight": (12 * MIB, 985), "calm": (25 * MIB, 300)}
    )
    scores = {name: int(Path(f"/proc/{actor.pid}/oom_score").read_text()) for name, actor in company.items()}
    assert scores["slight"] > scores["heavy"]

    verdict = verdict_of(cgroup)
    assert verdict.domain.kind is DomainKind.MEMCG
    told = [kill.victim.task.comm for kill in verdict.order]
    assert told == ["heavy", "slight", "calm", "writer"]

    assert kill_by_filling(writer, kernel_log, company) == told[: len(company)]


def test_a_cgroup_that_contains_another_takes_from_both(
    actors: Start, cgroup: Cgroup, kernel_log: KernelLog
) -> None:
    cgroup.limit(LIMIT)
    inner = cgroup.below("inner")
    inner.limit(LIMIT * 10)
    beside = cgroup.below("beside")
    company = cast(actors, inner, {"inside": (20 * MIB, 500)}) | cast(
        actors, beside, {"outside": (45 * MIB, 500)}
    )
    writer = cast(actors, beside, {"writer": (4096, 0)})["writer"]

    assert verdict_of(inner).victim is not None
    assert [kill.victim.task.comm for kill in verdict_of(inner).order] == ["inside"]
    told = [kill.victim.task.comm for kill in verdict_of(cgroup).order]
    assert told[:2] == ["outside", "inside"]

    assert kill_by_filling(writer, kernel_log, company) == told[: len(company)]


def test_room_shrinks_by_what_is_held(actors: Start, cgroup: Cgroup) -> None:
    cgroup.limit(LIMIT)
    cast(actors, cgroup, {"holder": (40 * MIB, 10)})

    def settled() -> int | None:
        usage = snapshot().memcgs[cgroup.path].usage_bytes
        return usage if usage and usage >= 40 * MIB else None

    assert 40 * MIB <= until(settled) < 60 * MIB
    assert snapshot().memcgs[cgroup.path].max_bytes == LIMIT
