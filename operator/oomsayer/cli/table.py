"""What `oomsayer node` prints for people: one line a domain, in kubectl's manner."""

from collections.abc import Iterator, Sequence
from textwrap import fill

from oomsayer.api.quantity import binary
from oomsayer.cli.columns import COLUMNS, GAP, ID_SHOWN, aligned, column_widths
from oomsayer.cli.text import harmless, shortened
from oomsayer.forecast.headroom import headroom
from oomsayer.kernel.domain import DomainKind
from oomsayer.kernel.snapshot import Snapshot
from oomsayer.kernel.verdict import Candidate, Confidence, Verdict
from oomsayer.kubelet.cgroups import owner

_NONE = "-"
_UID_SHOWN = 8
_DOMAIN_AT_LEAST = 16


def table(
    snapshot: Snapshot, verdicts: Sequence[Verdict], *, wide: bool = False, reader: int | None = None
) -> str:
    """The verdicts for people: the node first, then the cgroups with the least headroom first.

    Args:
        snapshot: what they are of.
        verdicts: one for each domain.
        wide: show whole paths and all columns, however wide.
        reader: pid of the command itself, which is a candidate as long as it runs; None where not known.
    """
    ordered = sorted(verdicts, key=lambda verdict: _nearest(verdict, snapshot))
    rows = [_HEADER + (_WIDE_HEADER if wide else ())]
    rows += [_row(verdict, snapshot, wide=wide) for verdict in ordered]
    if not wide:
        _fit(rows)
    lines = [_about(snapshot), "", *aligned(rows, _RIGHT)]
    notes = list(_notes(snapshot, ordered, reader))
    return "\n".join([*lines, *([""] if notes else []), *notes]) + "\n"


_HEADER = ("DOMAIN", "VICTIM", "POINTS", "ADJ", "RUNNER-UP", "MARGIN", "DIES WITH IT", "HEADROOM")
_WIDE_HEADER = ("LIMIT", "USAGE", "TOTALPAGES", "POD", "CONTAINER", "CONFIDENCE")
_RIGHT = frozenset({"POINTS", "ADJ", "MARGIN", "HEADROOM", "LIMIT", "USAGE", "TOTALPAGES"})


def _about(snapshot: Snapshot) -> str:
    memory = snapshot.memory
    available = "" if memory.available_bytes is None else f", {binary(memory.available_bytes)} available"
    swap = f", {binary(memory.swap_total_bytes)} swap" if memory.swap_total_bytes else ""
    return harmless(
        f"Kernel {snapshot.kernel} (rules of {snapshot.era.releases}), cgroup v{snapshot.cgroup_version}, "
        f"{len(snapshot.tasks)} processes, {binary(memory.total_bytes)} memory{available}{swap}"
    )


def _nearest(verdict: Verdict, snapshot: Snapshot) -> tuple[bool, bool, int]:
    room = headroom(verdict.domain, snapshot).headroom_bytes
    return verdict.domain.kind is not DomainKind.NODE, room is None, room or 0


def _row(verdict: Verdict, snapshot: Snapshot, *, wide: bool) -> tuple[str, ...]:
    room = headroom(verdict.domain, snapshot)
    victim = verdict.victim
    margin = verdict.margin_pages
    row = (
        harmless(verdict.domain.path) if wide and not _is_node(verdict) else domain_name(verdict),
        _who(victim),
        _NONE if victim is None else str(victim.points),
        _NONE if victim is None else str(victim.task.oom_score_adj),
        _who(verdict.runner_up),
        _NONE if margin is None else binary(margin * snapshot.memory.page_size),
        _company(verdict, snapshot, wide=wide),
        _amount(room.headroom_bytes),
    )
    if not wide:
        return row
    whose = owner(victim.task.memcg) if victim else owner(verdict.domain.path)
    return (
        *row,
        _amount(room.limit_bytes),
        _amount(room.usage_bytes),
        str(verdict.domain.totalpages),
        whose.pod_uid or _NONE,
        whose.container_id or _NONE,
        verdict.confidence.value,
    )


def domain_name(verdict: Verdict) -> str:
    """A domain's name for people: "node", a pod or container by the start of its id, else its path."""
    if _is_node(verdict):
        return "node"
    if verdict.domain.kind is DomainKind.CPUSET:
        return verdict.domain.path
    whose = owner(verdict.domain.path)
    if whose.container_id and verdict.domain.path.count("/") == _container_depth(verdict.domain.path):
        return f"container {whose.container_id[:ID_SHOWN]}"
    if whose.pod_uid and not whose.container_id:
        return f"pod {whose.pod_uid[:_UID_SHOWN]}"
    return harmless(verdict.domain.path)


def _container_depth(path: str) -> int:
    """How deep the container's own cgroup is, 0 without one."""
    components = path.split("/")
    for depth in range(1, len(components)):
        if owner("/".join(components[: depth + 1])).container_id:
            return depth
    return 0


def _is_node(verdict: Verdict) -> bool:
    return verdict.domain.kind is DomainKind.NODE


def _who(candidate: Candidate | None) -> str:
    return _NONE if candidate is None else f"{harmless(candidate.task.comm)} ({candidate.task.pid})"


def _amount(count: int | None) -> str:
    return _NONE if count is None else binary(count)


def _company(verdict: Verdict, snapshot: Snapshot, *, wide: bool) -> str:
    """Who dies with the victim."""
    kill_set = verdict.kill_set
    others = kill_set.pids[1:]
    total = len(others) + kill_set.omitted
    if verdict.victim is None:
        return _NONE
    if not total:
        return "nobody"
    if wide:
        names = {task.pid: task.comm for task in snapshot.tasks}
        return ", ".join(f"{harmless(names.get(pid, ''))} ({pid})" for pid in others)
    if kill_set.oom_group:
        return f"{total} in group"
    # Of a container without oom.group it is the PID namespace that ends with its main process.
    return f"{total} in namespace" if kill_set.reapers or kill_set.omitted else f"{total} sharing"


def _fit(rows: list[tuple[str, ...]]) -> None:
    """Shorten the domains, then the names, until the table fits."""
    for column, least in ((0, _DOMAIN_AT_LEAST), (4, 14), (1, 14)):
        widths = column_widths(rows)
        excess = sum(widths) + len(GAP) * (len(widths) - 1) - COLUMNS
        if excess <= 0:
            return
        room = max(widths[column] - excess, least)
        rows[:] = [(*row[:column], shortened(row[column], room), *row[column + 1 :]) for row in rows]


def _notes(snapshot: Snapshot, verdicts: Sequence[Verdict], reader: int | None) -> Iterator[str]:
    """What the verdicts rest on: once what concerns all, then domain by domain."""
    shown = {who.task.pid for v in verdicts for who in (v.victim, v.runner_up) if who}
    if reader in shown:
        yield f"Note: pid {reader} is this command itself, and is gone once it ends."
    for gap in snapshot.gaps:
        yield _wrapped(f"Note: {harmless(gap)}")
    for verdict in verdicts:
        reasons = [harmless(reason) for reason in verdict.assumptions if reason not in snapshot.gaps]
        if reasons or verdict.confidence is not Confidence.HIGH:
            name = shortened(domain_name(verdict), COLUMNS // 3)
            why = "; ".join(reasons) or "see the notes above"
            yield _wrapped(f"{name}: confidence {verdict.confidence.value}: {why}")


def _wrapped(note: str) -> str:
    return fill(note, COLUMNS, subsequent_indent=GAP, break_on_hyphens=False)
