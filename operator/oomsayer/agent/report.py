"""A snapshot in the form of a NodeMemoryReport's status, within a hard bound of bytes.

What decides the first victims and evictions is sent and nothing else (see prune). Where that is too
much, the pods that have no part in the victims go first, and with them what evictions go by. Then the
domains with the most room lose their limit in the report, and so stop being domains for its reader; the
status counts them. A cgroup that something else needs stays as a place in the tree.

oomsayer.api.report has the same form as a model; a test holds the two together.
"""

import json
import time
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from oomsayer import __version__
from oomsayer.agent.kills import KillRecord
from oomsayer.agent.prune import prune
from oomsayer.api.vocabulary import REPORT_SCHEMA_VERSION
from oomsayer.forecast.growth import Growth
from oomsayer.forecast.headroom import headroom
from oomsayer.forecast.prospect import Watched
from oomsayer.kernel import nodelist
from oomsayer.kernel.domain import DomainKind
from oomsayer.kernel.snapshot import (
    ROOT,
    Memcg,
    MemoryNode,
    Omitted,
    Pressure,
    Snapshot,
    Sysctls,
    Task,
    parent_path,
)
from oomsayer.kernel.verdict import FIRST_VICTIMS, Verdict

SIZE_LIMIT = 128 * 1024
"""Bytes of compact JSON that a report may have by default.

110 pods of two containers, with a limit on every pod and container, need 107 KB to be told whole; a node of
30 such pods writes 30 KB, seldom.
"""

SMALLEST_SIZE_LIMIT = 2 * 1024
"""Below this not even a report without any process fits."""

TOLD_GAPS = 16
GAP_LENGTH = 256
"""The first gaps say what is wrong; hundreds of the same would crowd out the processes."""

_LEAST_PRESSURE = 1.0
"""Percent. Less says nothing, on hundreds of cgroups."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Report:
    """A status ready to be sent.

    Attributes:
        status: the JSON object.
        size_bytes: its size as compact JSON.
        omitted_domains: how many limited cgroups the bound left out.
    """

    status: Json
    size_bytes: int
    omitted_domains: int


def compact(value: object) -> bytes:
    """JSON without a space."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


UNWATCHED = Watched()
"""Of a first sample."""


def report(
    snapshot: Snapshot,
    told: Sequence[Verdict],
    size_limit: int = SIZE_LIMIT,
    watched: Watched = UNWATCHED,
    kills: Sequence[KillRecord] = (),
) -> Report:
    """The report of a full snapshot.

    Args:
        snapshot: what the node looks like.
        told: the verdicts of this very snapshot to a depth of FIRST_VICTIMS.
        size_limit: the most bytes of compact JSON, at least SMALLEST_SIZE_LIMIT.
        watched: what was seen over time.
        kills: what was killed lately, oldest first; the last of them that fit into half of the size are told.
    """
    last = _fitting([_kill(record) for record in kills], size_limit // 2)
    room = size_limit - len(compact({"kills": last})) if last else size_limit
    usable, nearest = _as_the_reader_can_use_it(snapshot), _nearest_first(snapshot, told)
    draft = _Draft(usable, told, nearest, room, watched)
    ready = (
        draft.whole() or draft.with_most_domains() or draft.with_most_victims() or draft.without_processes()
    )
    if not last:
        return ready
    status = {**ready.status, "kills": last}
    return Report(status, len(compact(status)), ready.omitted_domains)


def _fitting(kills: list[Json], size: int) -> list[Json]:
    while kills and len(compact(kills)) > size:
        kills = kills[1:]
    return kills


def _as_the_reader_can_use_it(snapshot: Snapshot) -> Snapshot:
    if not snapshot.era.sacrifice_child:
        return snapshot
    gap = f"kernel {snapshot.kernel} may kill a child in its parent's place: reports do not carry parents"
    era = replace(snapshot.era, sacrifice_child=False)
    return replace(snapshot, era=era, gaps=(*snapshot.gaps, gap))


def _nearest_first(snapshot: Snapshot, told: Iterable[Verdict]) -> list[str]:
    """Paths of the limited cgroups, least relative headroom first; an unknown one counts as none."""
    shares: list[tuple[float, str]] = []
    for verdict in told:
        if verdict.domain.kind is DomainKind.MEMCG:
            share = headroom(verdict.domain, snapshot).share
            shares.append((0.0 if share is None else share, verdict.domain.path))
    return [path for _, path in sorted(shares)]


@dataclass(frozen=True, slots=True)
class _Draft:
    """What could be said, and how much room there is for it."""

    snapshot: Snapshot
    told: Sequence[Verdict]
    nearest: Sequence[str]
    size_limit: int
    watched: Watched

    def whole(self) -> Report | None:
        """All domains, all pods and one process of every container; None where that does not fit."""
        return self._built(len(self.nearest), pods=True)

    def with_most_domains(self) -> Report | None:
        """As many of the nearest domains as fit, None where not even none does."""
        best = self._built(len(self.nearest))
        low, high = 0, 0 if best else len(self.nearest)
        while low < high:
            middle = (low + high) // 2
            built = self._built(middle)
            if built is None:
                high = middle
            else:
                best, low = built, middle + 1
        return best

    def with_most_victims(self) -> Report | None:
        """The node alone, to the greatest depth that fits."""
        fits, depth = None, FIRST_VICTIMS
        while fits is None and depth > 1:
            depth //= 2
            gap = f"only the node's first {depth} victims fit into {self.size_limit} bytes"
            fits = self._built(0, depth, (gap,))
        return fits

    def without_processes(self) -> Report:
        """What is left to say when sharers of memory or dying processes alone exceed the bound."""
        gap = f"no process is listed: the first victims do not fit into {self.size_limit} bytes"
        root = {ROOT: self.snapshot.memcgs.get(ROOT, Memcg(ROOT))}
        bare = replace(self.snapshot, tasks=(), memcgs=root, gaps=(gap, *self.snapshot.gaps[:1]))
        status = status_of(bare, len(self.nearest))
        return Report(status, len(compact(status)), len(self.nearest))

    def _built(
        self, count: int, depth: int = FIRST_VICTIMS, gaps: tuple[str, ...] = (), *, pods: bool = False
    ) -> Report | None:
        """With the `count` nearest domains, None where that exceeds the bound."""
        domains = set(self.nearest[:count])
        kept = [v for v in self.told if v.domain.kind is not DomainKind.MEMCG or v.domain.path in domains]
        pruned = prune(_without_limits(self.snapshot, domains), depth, kept, pods=pods)
        omitted = len(self.nearest) - count
        status = status_of(replace(pruned, gaps=gaps + pruned.gaps), omitted, self.watched)
        size = len(compact(status))
        return Report(status, size, omitted) if size <= self.size_limit else None


def _without_limits(snapshot: Snapshot, domains: Collection[str]) -> Snapshot:
    """The snapshot in which only the cgroups of `domains` are limited."""
    memcgs = {
        path: replace(memcg, max_bytes=None, memsw_max_bytes=None)
        if memcg.limited and path not in domains
        else memcg
        for path, memcg in snapshot.memcgs.items()
    }
    return replace(snapshot, memcgs=memcgs)


def status_of(snapshot: Snapshot, omitted_domains: int = 0, watched: Watched = UNWATCHED) -> Json:
    """The status that says exactly this snapshot; what is at its default is left out."""
    swap = snapshot.memory.swap_total_bytes > 0
    paths = sorted(snapshot.memcgs)
    places = {path: index for index, path in enumerate(paths)}
    inside = {task.pid for task in snapshot.tasks if task.reaper}
    status: Json = {
        "schemaVersion": REPORT_SCHEMA_VERSION,
        "agentVersion": __version__,
        "sampledAt": rfc3339(snapshot.taken_at),
        "kernel": _text(snapshot.kernel),
        "era": snapshot.era.name,
        "cgroupVersion": snapshot.cgroup_version,
        "pageSize": snapshot.memory.page_size,
        "cpus": snapshot.cpus,
        "initialPidNamespace": snapshot.initial_pid_namespace,
        "watchedSeconds": int(watched.seconds),
        "memory": _memory(snapshot),
        "sysctls": _sysctls(snapshot.sysctls),
        "memcgs": _memcgs(snapshot, paths, places, watched, swap=swap),
        "tasks": [_task(task, places, inside, swap=swap) for task in snapshot.tasks],
    }
    if snapshot.cpusets:
        status["cpusets"] = [nodelist.text(mems) for mems in snapshot.cpusets]
    if omitted_domains:
        status["omittedDomains"] = omitted_domains
    if snapshot.userspace_killers:
        status["userspaceKillers"] = [_text(name) for name in snapshot.userspace_killers]
    if snapshot.gaps:
        status["gaps"] = _gaps(snapshot.gaps)
    return status


def rfc3339(seconds: float) -> str:
    """A moment in seconds since the epoch as UTC with milliseconds."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{milliseconds:03d}Z"


def _memory(snapshot: Snapshot) -> Json:
    memory = snapshot.memory
    told = _told(
        totalBytes=memory.total_bytes,
        swapTotalBytes=memory.swap_total_bytes or None,
        freeBytes=memory.free_bytes,
        availableBytes=memory.available_bytes,
        fileBytes=memory.file_bytes,
        activeFileBytes=memory.active_file_bytes,
        anonBytes=memory.anon_bytes,
        swapFreeBytes=memory.swap_free_bytes or None,
        zramFreeBytes=memory.zram_free_bytes or None,
        watermarkMinBytes=memory.watermark_min_bytes or None,
        pressure=_pressure(memory.pressure),
    )
    if memory.nodes:
        holes = snapshot.era.counts_holes
        told["nodes"] = [_memory_node(node, holes=holes) for node in memory.nodes]
    return told


def _memory_node(node: MemoryNode, *, holes: bool) -> Json:
    return _told(
        number=node.number,
        presentPages=node.present_pages,
        spannedPages=node.spanned_pages if holes else None,
        freePages=node.free_pages or None,
        filePages=node.file_pages or None,
        watermarkMinPages=node.watermark_min_pages or None,
    )


def _sysctls(sysctls: Sysctls) -> Json:
    return {
        "swappiness": sysctls.swappiness,
        "panicOnOom": sysctls.panic_on_oom,
        "oomKillAllocatingTask": sysctls.oom_kill_allocating_task,
    }


def _memcgs(
    snapshot: Snapshot, paths: Iterable[str], places: Mapping[str, int], watched: Watched, *, swap: bool
) -> list[Json]:
    """Sorted by path, which puts parents before children."""
    omitted = {o.memcg: o for o in snapshot.omitted}
    return [_memcg(snapshot.memcgs[path], places, omitted.get(path), watched, swap=swap) for path in paths]


def _memcg(
    memcg: Memcg, places: Mapping[str, int], omitted: Omitted | None, watched: Watched, *, swap: bool
) -> Json:
    """Amounts only where they decide: usage under a limit, swap on a node that has any."""
    root = memcg.path == ROOT
    limited = memcg.limited
    growth = watched.growths.get(memcg.path) if limited or root else None
    return _told(
        name="" if root else _text(memcg.path.rpartition("/")[2]),
        parent=None if root else places[parent_path(memcg.path)],
        inode=memcg.inode or None,
        maxBytes=memcg.max_bytes,
        usageBytes=memcg.usage_bytes if limited else None,
        swapMaxBytes=memcg.swap_max_bytes if swap else None,
        swapUsageBytes=memcg.swap_usage_bytes if swap and memcg.swap_max_bytes is not None else None,
        memswMaxBytes=memcg.memsw_max_bytes,
        memswUsageBytes=memcg.memsw_usage_bytes if limited else None,
        reclaimableBytes=memcg.reclaimable_bytes if limited else None,
        oomGroup=memcg.oom_group or None,
        oomKillDisable=memcg.oom_kill_disable or None,
        swappiness=memcg.swappiness if limited else None,
        workingSetBytes=memcg.working_set_bytes,
        omittedTasks=omitted.tasks if omitted else None,
        omittedRssPages=(omitted.rss_pages or None) if omitted else None,
        growth=_growth(growth) if growth else None,
        reclaiming=(limited and memcg.path in watched.reclaiming) or None,
        pressure=_pressure(memcg.pressure) if limited else None,
    )


def _growth(growth: Growth) -> Json:
    return _told(
        low=round(growth.low),
        middle=round(growth.middle),
        high=round(growth.high),
        seconds=round(growth.seconds),
        levelBytes=round(growth.level_bytes) if growth.returns else None,
        returns=growth.returns or None,
        quickening=round(growth.quickening) or None,
    )


def _pressure(pressure: Pressure | None) -> Json | None:
    """Only where tasks wait at all."""
    if pressure is None or pressure.some < _LEAST_PRESSURE:
        return None
    return {"some": round(pressure.some), "full": round(pressure.full)}


def _task(task: Task, places: Mapping[str, int], inside: Container[int], *, swap: bool) -> Json:
    """One process, told in few words.

    Threads only where they decide: they bound the error of counters while swap is in use. The parent only
    where it ties a PID namespace to the outer one, that of a process in `inside`.
    """
    home = task.memcg
    while home not in places:
        home = parent_path(home)
    return _told(
        pid=task.pid,
        start=task.start_time,
        comm=_text(task.comm),
        memcg=places[home],
        adj=task.oom_score_adj or None,
        rss=task.rss_pages or None,
        swap=task.swap_pages or None,
        pgtables=task.pgtables_bytes or None,
        order=task.order or None,
        mm=task.mm or None,
        unkillable=None if task.unkillable is None else task.unkillable.value,
        inFlight=task.in_flight or None,
        threads=task.threads if swap and task.threads > 1 else None,
        reaper=task.reaper or None,
        mems=None if task.mems_allowed is None else nodelist.text(task.mems_allowed),
        parent=task.parent if task.pid == task.reaper and task.parent in inside else None,
    )


def _kill(record: KillRecord) -> Json:
    """One kill and the forecast that stood, by the names that the operator finds pods by."""
    kill, match, standing = record.kill, record.match, record.standing
    verdict, foretold = match.verdict, match.foretold
    page_size = standing.snapshot.memory.page_size if standing else 0
    held = kill.task.rss_pages * page_size if kill.task else None
    return _told(
        id=record.id,
        at=rfc3339(record.at),
        source=kill.source.value,
        memcg=None if kill.memcg is None else _text(kill.memcg),
        domain=None if kill.domain is None else _text(kill.domain),
        pid=kill.pid,
        comm=_text(kill.comm) or None,
        adj=kill.task.oom_score_adj if kill.task else None,
        rssBytes=held if kill.rss_kb is None else kill.rss_kb * 1024,
        oomGroup=None if kill.oom_group is None else _text(kill.oom_group),
        deaths=kill.deaths,
        outcome=match.outcome.value,
        reason=match.reason.value if match.reason else None,
        sampledAt=rfc3339(standing.snapshot.taken_at) if standing else None,
        foretoldPid=foretold.task.pid if foretold else None,
        foretoldComm=_text(foretold.task.comm) if foretold else None,
        foretoldMemcg=_text(foretold.task.memcg) if foretold and foretold.task.memcg != kill.memcg else None,
        marginBytes=verdict.margin_pages * page_size
        if verdict and verdict.margin_pages is not None
        else None,
    )


def _gaps(gaps: Sequence[str]) -> list[str]:
    said = [_text(gap)[:GAP_LENGTH] for gap in gaps[:TOLD_GAPS]]
    if len(gaps) > TOLD_GAPS:
        said[-1] = f"and {len(gaps) - TOLD_GAPS + 1} more that could not be read"
    return said


def _told(**fields: int | str | bool | Json | None) -> Json:
    return {name: value for name, value in fields.items() if value is not None}


def _text(name: str) -> str:
    r"""A name of the kernel's, which may be any bytes, as UTF-8: what is not becomes \xNN."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
