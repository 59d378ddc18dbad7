"""A node for the controller's tests: one pod with two limited containers, one host service."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from oomsayer.controller.forecast import Outlook, judge, outlooks
from oomsayer.controller.names import Names, Pod
from oomsayer.forecast.growth import Growth
from oomsayer.forecast.prospect import Watched, prospects
from oomsayer.kernel.era import era_named
from oomsayer.kernel.snapshot import ROOT, Memcg, Memory, Snapshot, Task

MI = 1 << 20
NOW = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)
UID = "0d5c9a2e-3b1f-4c7a-9e8d-112233445566"
REDIS_ID, WEB_ID = "a" * 64, "b" * 64
KUBEPODS = "/kubepods.slice"
POD = f"{KUBEPODS}/kubepods-pod{UID.replace('-', '_')}.slice"
REDIS = f"{POD}/cri-containerd-{REDIS_ID}.scope"
WEB = f"{POD}/cri-containerd-{WEB_ID}.scope"
BACKUP = "/system.slice/backup.service"

CART = Pod("shop", "cart-0", UID, {REDIS_ID: "redis", WEB_ID: "web"})
NAMES = Names({UID: CART})


def task(pid: int, comm: str, memcg: str, mebibytes: int, adj: int = 900) -> Task:
    return Task(pid, pid, comm, memcg, adj, mebibytes * 256)


def memcg(path: str, limit: int | None = None, used: int = 0, *, oom_group: bool = False) -> Memcg:
    """Limit and use in MiB."""
    return Memcg(
        path,
        max_bytes=None if limit is None else limit * MI,
        usage_bytes=used * MI,
        reclaimable_bytes=0,
        oom_group=oom_group,
    )


def node(redis: int = 100, web: int = 100, free: int = 6000, backup: int = 100) -> Snapshot:
    """Containers of 512 and 1024 MiB in a pod of 1536 on a node of 8192 MiB; what they use, in MiB."""
    memcgs = (
        memcg(ROOT),
        memcg(KUBEPODS, 8192, redis + web),
        memcg(POD, 1536, redis + web),
        memcg(REDIS, 512, redis, oom_group=True),
        memcg(WEB, 1024, web, oom_group=True),
        memcg("/system.slice"),
        memcg(BACKUP, 2048, backup),
    )
    return Snapshot(
        kernel="6.12.0",
        era=era_named("E6"),
        cgroup_version=2,
        memory=Memory(4096, 8192 * MI, free_bytes=free * MI, file_bytes=0, anon_bytes=0),
        tasks=(
            task(50, "kubelet", "/system.slice", 80, -999),
            task(60, "backup", BACKUP, backup, 0),
            task(101, "redis", REDIS, redis),
            task(102, "nginx", WEB, web // 2),
            task(103, "worker", WEB, web // 3),
        ),
        memcgs={m.path: m for m in memcgs},
    )


def seen(
    snapshot: Snapshot,
    names: Names = NAMES,
    growths: Mapping[str, Growth] | None = None,
    now: datetime = NOW,
) -> list[Outlook]:
    judged = judge(snapshot)
    rooms = {verdict.domain.path: room for verdict, room in judged}
    watched = Watched() if growths is None else Watched(growths, seconds=600)
    return outlooks(judged, names, prospects(snapshot, rooms, watched), now)


def at(
    path: str, snapshot: Snapshot, names: Names = NAMES, growths: Mapping[str, Growth] | None = None
) -> Outlook:
    return next(o for o in seen(snapshot, names, growths) if o.path == path)


def leak(kibibytes_a_second: float, seconds: float = 600.0) -> Growth:
    rate = kibibytes_a_second * 1024
    return Growth(rate * 0.8, rate, rate * 1.2, seconds, 0)


def with_tasks(snapshot: Snapshot, *tasks: Task) -> Snapshot:
    return replace(snapshot, tasks=tasks)
