"""From a NodeMemoryReport back to the Snapshot that the agent took, or a sentence that says why not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any

from pydantic import ValidationError

from oomsayer.api.report import (
    NodeMemoryReport,
    NodeMemoryReportStatus,
    ReportedGrowth,
    ReportedKill,
    ReportedKubelet,
    ReportedMemcg,
    ReportedMemory,
    ReportedPressure,
    ReportedTask,
)
from oomsayer.api.vocabulary import REPORT_SCHEMA_VERSION, ConditionReason
from oomsayer.forecast.growth import Growth
from oomsayer.forecast.prospect import Watched
from oomsayer.kernel import nodelist
from oomsayer.kernel.era import Era, era_named
from oomsayer.kernel.snapshot import (
    ROOT,
    Memcg,
    Memory,
    MemoryNode,
    Omitted,
    Pressure,
    Snapshot,
    Sysctls,
    Task,
    Unkillable,
)
from oomsayer.kubelet.config import DEFAULTS, KubeletConfig, threshold_bytes

_ERRORS_SHOWN = 3
_LONGEST_PATH = 4096
"""No cgroup has a longer one (PATH_MAX). Nested without end, all paths together would fill memory."""


class ReportError(ValueError):
    """A report that cannot be used.

    Attributes:
        reason: for the forecast's Ready condition.
    """

    def __init__(self, message: str, reason: ConditionReason = ConditionReason.INVALID_REPORT) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Report:
    """A report that was understood.

    Attributes:
        node: name of the node it is about.
        node_uid: UID of that Node as the agent gave it in ownerReferences, None without.
        sampled_at: when the sample was taken, by the node's clock.
        snapshot: what the node looked like.
        watched: what the agent saw over time.
        kubelet: its kubelet's configuration, or the defaults.
        kills: the last ones there, oldest first.
    """

    node: str
    node_uid: str | None
    sampled_at: datetime
    snapshot: Snapshot
    watched: Watched = field(default_factory=Watched)
    kubelet: KubeletConfig = DEFAULTS
    kills: tuple[ReportedKill, ...] = ()


def read_report(obj: Mapping[str, Any]) -> Report:
    """Understand a NodeMemoryReport as the API server gave it.

    Raises:
        ReportError: its schema is of another time, or its content contradicts itself.
    """
    _check_schema(obj)
    try:
        report = NodeMemoryReport.model_validate(obj)
    except ValidationError as error:
        raise ReportError(f"the report does not validate: {first_errors(error)}") from error
    return Report(
        node=report.metadata.name,
        node_uid=node_uid(obj["metadata"]),
        sampled_at=report.status.sampled_at,
        snapshot=snapshot(report.status),
        watched=_watched(report.status),
        kubelet=_kubelet(report.status.kubelet),
        kills=report.status.kills,
    )


def node_uid(metadata: Mapping[str, Any]) -> str | None:
    """UID of the Node that owns an object, None without."""
    owners = metadata.get("ownerReferences") or ()
    return next((str(owner["uid"]) for owner in owners if owner.get("kind") == "Node"), None)


def snapshot(status: NodeMemoryReportStatus) -> Snapshot:
    """The Snapshot that a report describes, as exact as the report is.

    Raises:
        ReportError: an index points nowhere, a cgroup comes twice, or the kernel's era is unknown.
    """
    paths = _paths(status.memcgs)
    tasks, gaps = _tasks(status.tasks, paths)
    if status.omitted_domains:
        gaps.append(f"{status.omitted_domains} cgroups with a limit were left out to keep the report small")
    return Snapshot(
        kernel=status.kernel,
        era=_era(status.era),
        cgroup_version=status.cgroup_version,
        memory=_memory(status.memory, status.page_size),
        tasks=tasks,
        memcgs={path: _memcg(path, m) for path, m in zip(paths, status.memcgs, strict=True)},
        sysctls=Sysctls(
            status.sysctls.swappiness,
            status.sysctls.panic_on_oom,
            status.sysctls.oom_kill_allocating_task,
        ),
        taken_at=status.sampled_at.timestamp(),
        initial_pid_namespace=status.initial_pid_namespace,
        cpusets=tuple(nodelist.parse(mems) for mems in status.cpusets),
        omitted=tuple(
            Omitted(path, m.omitted_tasks, m.omitted_rss_pages)
            for path, m in zip(paths, status.memcgs, strict=True)
            if m.omitted_tasks
        ),
        gaps=(*status.gaps, *gaps),
        userspace_killers=status.userspace_killers,
        cpus=status.cpus,
    )


def _kubelet(reported: ReportedKubelet | None) -> KubeletConfig:
    if reported is None:
        return DEFAULTS
    try:
        for threshold in (reported.eviction_hard, reported.eviction_soft):
            threshold_bytes(threshold, 1)
    except ValueError as error:
        raise ReportError(f"status.kubelet: {error}") from error
    return KubeletConfig(
        eviction_hard=reported.eviction_hard,
        eviction_soft=reported.eviction_soft,
        eviction_soft_grace_seconds=reported.eviction_soft_grace_seconds,
        enforce_pods=reported.enforce_pods,
        single_process_oom_kill=reported.single_process_oom_kill,
        known=True,
    )


def _watched(status: NodeMemoryReportStatus) -> Watched:
    told = list(zip(_paths(status.memcgs), status.memcgs, strict=True))
    return Watched(
        growths={path: _growth(memcg.growth) for path, memcg in told if memcg.growth is not None},
        reclaiming=frozenset(path for path, memcg in told if memcg.reclaiming),
        seconds=status.watched_seconds,
    )


def _growth(growth: ReportedGrowth) -> Growth:
    return Growth(
        low=growth.low,
        middle=growth.middle,
        high=growth.high,
        seconds=growth.seconds,
        level_bytes=-inf if growth.level_bytes is None else growth.level_bytes,
        returns=growth.returns,
        quickening=growth.quickening,
    )


def _pressure(pressure: ReportedPressure | None) -> Pressure | None:
    return None if pressure is None else Pressure(pressure.some, pressure.full)


def _check_schema(obj: Mapping[str, Any]) -> None:
    """Look at the version before anything else: a report of another schema need not validate at all."""
    status = obj.get("status") or {}
    version = status.get("schemaVersion")
    if version == REPORT_SCHEMA_VERSION:
        return
    agent = status.get("agentVersion", "of unknown version")
    if not isinstance(version, int):
        raise ReportError("the report has no status.schemaVersion: is an agent running on this node?")
    remedy = "upgrade the operator" if version > REPORT_SCHEMA_VERSION else "upgrade the agent"
    raise ReportError(
        f"agent {agent} writes schema {version}, this operator reads {REPORT_SCHEMA_VERSION}: {remedy}",
        ConditionReason.UNKNOWN_SCHEMA,
    )


def first_errors(error: ValidationError) -> str:
    """What does not validate, in one sentence."""
    errors = error.errors(include_url=False, include_input=False)
    shown = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in errors[:_ERRORS_SHOWN]]
    more = len(errors) - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more else "")


def _era(name: str) -> Era:
    try:
        return era_named(name)
    except ValueError as error:
        raise ReportError(
            f"status.era: {error}; upgrade the operator", ConditionReason.UNKNOWN_SCHEMA
        ) from error


def _paths(memcgs: Sequence[ReportedMemcg]) -> list[str]:
    """The absolute path of every memcg, parents first."""
    if not memcgs or memcgs[0].parent is not None or memcgs[0].name:
        raise ReportError("status.memcgs[0] must be the root: no parent and an empty name")
    paths, known = [ROOT], {ROOT}
    for index, memcg in enumerate(memcgs[1:], start=1):
        if memcg.parent is None or memcg.parent >= index:
            raise ReportError(
                f"status.memcgs[{index}].parent is {memcg.parent}: parents come before children"
            )
        path = f"{paths[memcg.parent].rstrip('/')}/{memcg.name}"
        if len(path) > _LONGEST_PATH:
            raise ReportError(f"status.memcgs[{index}] has a path of more than {_LONGEST_PATH} characters")
        if path in known:
            raise ReportError(f"status.memcgs lists {path} twice")
        known.add(path)
        paths.append(path)
    return paths


def _tasks(reported: Iterable[ReportedTask], paths: Sequence[str]) -> tuple[tuple[Task, ...], list[str]]:
    tasks: list[Task] = []
    gaps: list[str] = []
    for index, task in enumerate(reported):
        if task.memcg >= len(paths):
            raise ReportError(
                f"status.tasks[{index}].memcg is {task.memcg}, but status.memcgs has {len(paths)} entries"
            )
        tasks.append(_task(task, paths[task.memcg], gaps))
    return tuple(tasks), gaps


def _task(task: ReportedTask, path: str, gaps: list[str]) -> Task:
    return Task(
        pid=task.pid,
        start_time=task.start,
        comm=task.comm,
        memcg=path,
        oom_score_adj=task.adj,
        rss_pages=task.rss,
        swap_pages=task.swap,
        pgtables_bytes=task.pgtables,
        order=task.order,
        mm=task.mm,
        unkillable=_unkillable(task, gaps),
        in_flight=task.in_flight,
        threads=task.threads,
        reaper=task.reaper,
        mems_allowed=None if task.mems is None else nodelist.parse(task.mems),
        parent=task.parent,
    )


def _unkillable(task: ReportedTask, gaps: list[str]) -> Unkillable | None:
    if task.unkillable is None:
        return None
    try:
        return Unkillable(task.unkillable)
    except ValueError:
        gaps.append(f"pid {task.pid} cannot be killed for a reason unknown here: {task.unkillable!r}")
        return Unkillable.NO_MM


def _memcg(path: str, memcg: ReportedMemcg) -> Memcg:
    return Memcg(
        path=path,
        inode=memcg.inode,
        max_bytes=memcg.max_bytes,
        usage_bytes=memcg.usage_bytes,
        swap_max_bytes=memcg.swap_max_bytes,
        swap_usage_bytes=memcg.swap_usage_bytes,
        memsw_max_bytes=memcg.memsw_max_bytes,
        memsw_usage_bytes=memcg.memsw_usage_bytes,
        reclaimable_bytes=memcg.reclaimable_bytes,
        oom_group=memcg.oom_group,
        oom_kill_disable=memcg.oom_kill_disable,
        swappiness=memcg.swappiness,
        pressure=_pressure(memcg.pressure),
        working_set_bytes=memcg.working_set_bytes,
    )


def _memory(memory: ReportedMemory, page_size: int) -> Memory:
    return Memory(
        page_size=page_size,
        total_bytes=memory.total_bytes,
        swap_total_bytes=memory.swap_total_bytes,
        free_bytes=memory.free_bytes,
        available_bytes=memory.available_bytes,
        file_bytes=memory.file_bytes,
        active_file_bytes=memory.active_file_bytes,
        anon_bytes=memory.anon_bytes,
        swap_free_bytes=memory.swap_free_bytes,
        zram_free_bytes=memory.zram_free_bytes,
        watermark_min_bytes=memory.watermark_min_bytes,
        pressure=_pressure(memory.pressure),
        nodes=tuple(MemoryNode(**node.model_dump()) for node in memory.nodes),
    )
