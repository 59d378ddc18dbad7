"""What `oomsayer node --output json` prints: a snapshot's verdicts as plain data.

Scripts rely on these names. Fields may be added, none is renamed or removed within one major version.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from oomsayer.cli.text import valid
from oomsayer.forecast.headroom import headroom
from oomsayer.kernel.snapshot import Memory, Snapshot
from oomsayer.kernel.verdict import Candidate, Kill, Verdict
from oomsayer.kubelet.cgroups import owner


def document(
    snapshot: Snapshot, verdicts: Sequence[Verdict], *, reader: int | None = None
) -> dict[str, object]:
    """The whole answer for one machine. Bytes and pages as the names say; paths and names are valid UTF-8.

    Args:
        snapshot: what the verdicts are of.
        verdicts: one for each domain.
        reader: pid of the command itself, which is a candidate as long as it runs; None where not known.
    """
    return {
        "kernel": valid(snapshot.kernel),
        "era": snapshot.era.name,
        "taken_at": datetime.fromtimestamp(snapshot.taken_at, UTC).isoformat(),
        "cgroup_version": snapshot.cgroup_version,
        "reader_pid": reader,
        "memory": _memory(snapshot.memory),
        "domains": [_domain(verdict, snapshot) for verdict in verdicts],
        "gaps": [valid(gap) for gap in snapshot.gaps],
    }


def _memory(memory: Memory) -> dict[str, object]:
    return {
        "page_size": memory.page_size,
        "total_bytes": memory.total_bytes,
        "swap_total_bytes": memory.swap_total_bytes,
        "free_bytes": memory.free_bytes,
        "available_bytes": memory.available_bytes,
        "file_bytes": memory.file_bytes,
        "anon_bytes": memory.anon_bytes,
        "swap_free_bytes": memory.swap_free_bytes,
        "watermark_min_bytes": memory.watermark_min_bytes,
    }


def _domain(verdict: Verdict, snapshot: Snapshot) -> dict[str, object]:
    room = headroom(verdict.domain, snapshot)
    whose = owner(verdict.domain.path)
    kill_set = verdict.kill_set
    return {
        "kind": verdict.domain.kind.value,
        "path": valid(verdict.domain.path),
        "pod_uid": whose.pod_uid,
        "container_id": whose.container_id,
        "totalpages": verdict.domain.totalpages,
        "limit_bytes": room.limit_bytes,
        "usage_bytes": room.usage_bytes,
        "headroom_bytes": room.headroom_bytes,
        "victim": _candidate(verdict.victim),
        "runner_up": _candidate(verdict.runner_up),
        "margin_pages": verdict.margin_pages,
        "kill_set": list(kill_set.pids),
        "oom_group": None if kill_set.oom_group is None else valid(kill_set.oom_group),
        "order": [_kill(kill) for kill in verdict.order],
        "assumptions": [valid(assumption) for assumption in verdict.assumptions],
        "confidence": verdict.confidence.value,
    }


def _kill(kill: Kill) -> dict[str, object]:
    group = kill.kill_set.oom_group
    with_it = {"kill_set": list(kill.kill_set.pids), "oom_group": None if group is None else valid(group)}
    return {**(_candidate(kill.victim) or {}), **with_it}


def _candidate(candidate: Candidate | None) -> dict[str, object] | None:
    if candidate is None:
        return None
    task = candidate.task
    whose = owner(task.memcg)
    return {
        "pid": task.pid,
        "comm": valid(task.comm),
        "points": candidate.points,
        "oom_score_adj": task.oom_score_adj,
        "cgroup": valid(task.memcg),
        "pod_uid": whose.pod_uid,
        "container_id": whose.container_id,
    }
