"""`oomsayer what-if`: the forecast of a pod's node after a change of the pod. Nothing is changed."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from oomsayer.api.eviction import Eviction
from oomsayer.api.quantity import binary
from oomsayer.cli import cluster
from oomsayer.cli.cluster import Cluster, ClusterError
from oomsayer.cli.columns import aligned
from oomsayer.cli.output import data
from oomsayer.cli.scene import Scene, scene
from oomsayer.cli.text import harmless
from oomsayer.controller import eviction as evictions
from oomsayer.controller.advice import amount
from oomsayer.controller.forecast import Outlook, forecast_domains, next_victim, room_bytes
from oomsayer.controller.policy import SILENT
from oomsayer.controller.status import wire
from oomsayer.forecast.whatif import NO_LIMIT, Change, ImpossibleChangeError
from oomsayer.kernel.domain import within
from oomsayer.kernel.verdict import Verdict
from oomsayer.kubelet.cgroups import Qos
from oomsayer.kubelet.podspec import PodSpec
from oomsayer.kubelet.qos import oom_score_adj
from oomsayer.kubelet.quantity import parse_quantity

_SAME = "the same"
_NONE = "-"


def add_arguments(parser: ArgumentParser) -> None:
    """Add what `oomsayer what-if` takes."""
    parser.add_argument(
        "--pod", required=True, type=cluster.pod_name, metavar="[NAMESPACE/]NAME", help="the pod to change"
    )
    parser.add_argument("--container", metavar="NAME", help="which of its containers (default: the only one)")
    parser.add_argument(
        "--memory",
        type=_memory,
        metavar="[+-]SIZE",
        help="its biggest process holds so much more; less: --memory=-1Gi",
    )
    parser.add_argument("--request", type=_size, metavar="SIZE", help="the container's memory request")
    parser.add_argument("--limit", type=_limit, metavar="SIZE|none", help="the container's memory limit")
    parser.add_argument("--qos", type=_qos, metavar="CLASS", help="Guaranteed, Burstable or BestEffort")
    parser.add_argument("--priority", type=int, metavar="NUMBER", help="the pod's priority, for eviction")
    parser.add_argument(
        "--single-process-oom-kill",
        type=_yes_or_no,
        metavar="true|false",
        help="singleProcessOOMKill of the node's kubelet: no container dies as a whole",
    )
    cluster.add_arguments(parser, namespace="the pod's namespace (default: the context's)")


def run(args: Namespace) -> int:
    """Print the forecast before and after; the exit status."""
    try:
        change = _change(args)
        before = scene(Cluster(args), args.pod)
        change = _of_container(change, before)
        after = before.after(change)
    except (ClusterError, ImpossibleChangeError) as error:
        print(f"oomsayer what-if: {error}", file=sys.stderr)
        return 1
    if args.output == "table":
        print("\n".join(_lines(before, after, change)))
    else:
        print(data(_document(before, after, change), args.output), end="")
    return 0


def _change(args: Namespace) -> Change:
    """The change that the options name.

    Raises:
        ClusterError: they name none.
    """
    container = args.container or ""
    change = Change(
        container=container,
        memory_bytes=args.memory,
        request_bytes=args.request,
        limit_bytes=args.limit,
        qos=args.qos,
        priority=args.priority,
        single_process_oom_kill=args.single_process_oom_kill,
    )
    if change == Change(container):
        raise ClusterError(
            "nothing to change: give --memory, --request, --limit, --qos, --priority or "
            "--single-process-oom-kill"
        )
    return change


def _of_container(change: Change, now: Scene) -> Change:
    """The change with its container, which is the only one where none is named.

    Raises:
        ClusterError: it is about a container, and there are others.
    """
    about_container = (change.memory_bytes, change.request_bytes, change.limit_bytes)
    if change.container or all(value is None for value in about_container):
        return change
    regular = sorted(now.subject.containers)
    if len(regular) != 1:
        raise ClusterError(f"--container: which one? Those that run: {', '.join(regular) or 'none'}")
    return replace(change, container=regular[0])


def _lines(before: Scene, after: Scene, change: Change) -> Iterator[str]:
    yield f"Pod {before.pod} on {before.report.node}, as reported at {before.report.sampled_at:%H:%M:%S} UTC"
    for what, was, becomes in _differences(before, after, change):
        yield f"  {what}: {was or 'none'} -> {becomes or 'none'}"
    yield ""
    rows = [("DOMAIN", "NOW", "AFTER", "HEADROOM", "AFTER")]
    for one, other in _pairs(before, after):
        now, then = _victim(one, before), _victim(other, after)
        rows.append(
            (
                harmless(one.name),
                now,
                _SAME if _who(one.verdict) == _who(other.verdict) else then,
                _room(one),
                _room(other),
            )
        )
    yield from aligned(rows, frozenset({"HEADROOM"}))
    yield ""
    for label, said in (("now", _eviction(before)), ("after", _eviction(after))):
        if said is not None:
            yield f"{label}: {harmless(said.summary)}"


def _differences(before: Scene, after: Scene, change: Change) -> Iterator[tuple[str, str, str]]:
    """What of the pod is different: a name, what it was and what it becomes."""
    was, becomes = before.subject.spec, after.subject.spec
    if change.memory_bytes is not None:
        sign = "-" if change.memory_bytes < 0 else "+"
        yield f"memory of {change.container}", "", f"{sign}{amount(abs(change.memory_bytes))}"
    for one, other in zip(was.containers, becomes.containers, strict=True):
        if one.request_bytes != other.request_bytes:
            yield f"requests.memory of {one.name}", amount(one.request_bytes), amount(other.request_bytes)
        if one.limit_bytes != other.limit_bytes:
            yield f"limits.memory of {one.name}", amount(one.limit_bytes), amount(other.limit_bytes)
    if was.qos is not becomes.qos:
        yield "qosClass", was.qos.value, becomes.qos.value
    if was.priority != becomes.priority:
        yield "priority", str(was.priority), str(becomes.priority)
    if change.single_process_oom_kill is not None:
        yield "singleProcessOOMKill", "", str(change.single_process_oom_kill).lower()
    capacity = before.report.snapshot.memory.total_bytes
    for name in before.subject.containers:
        old, new = _adj(was, name, capacity), _adj(becomes, name, capacity)
        if old != new:
            yield f"oom_score_adj of {name}, once started anew", str(old), str(new)


def _adj(spec: PodSpec, name: str, capacity_bytes: int) -> int | None:
    container = spec.container(name)
    return None if container is None else oom_score_adj(spec, container, capacity_bytes)


def _pairs(before: Scene, after: Scene) -> Iterator[tuple[Outlook, Outlook]]:
    """The domains that people will want to see: those above and in the pod, and those that change."""
    afterwards = {o.path: o for o in after.outlooks}
    for one in before.outlooks:
        other = afterwards.pop(one.path, None)
        if other is None:
            continue  # it lost its limit
        about = within(before.subject.path, one.path) or within(one.path, before.subject.path)
        if about or _who(one.verdict) != _who(other.verdict):
            yield one, other
    for new in afterwards.values():
        yield new, new


def _who(verdict: Verdict) -> tuple[int | None, int]:
    victim = verdict.victim
    return (victim.task.pid if victim else None), verdict.kill_set.deaths


def _victim(outlook: Outlook, here: Scene) -> str:
    victim = outlook.verdict.victim
    if victim is None:
        return "nobody"
    place = here.names.place(victim.task.memcg)
    others = _who(outlook.verdict)[1] - 1
    more = f" and {others} more" if others > 0 else ""
    return harmless(f"{victim.task.comm} ({victim.task.pid}, {place.pod_name or 'host'}){more}")


def _room(outlook: Outlook) -> str:
    room = room_bytes(outlook.room)
    return _NONE if room is None else binary(room)


def _eviction(here: Scene) -> Eviction | None:
    return evictions.eviction(here.side(), None, SILENT, datetime.now(UTC))


def _document(before: Scene, after: Scene, change: Change) -> dict[str, Any]:
    """The same for scripts: whole verdicts, in the form that an OOMForecast has."""

    def told(here: Scene) -> dict[str, Any]:
        seen, page_size = here.outlooks, here.report.snapshot.memory.page_size
        line, said = next_victim(seen, here.names, page_size), _eviction(here)
        return {
            "next": wire(line) if line else None,
            "domains": [wire(d) for d in forecast_domains(seen, here.names, page_size)],
            "eviction": wire(said) if said else None,
        }

    return {
        "pod": before.pod,
        "podUID": before.subject.uid,
        "node": before.report.node,
        "sampledAt": before.report.sampled_at.isoformat().replace("+00:00", "Z"),
        "changes": [
            {"what": what, "before": was, "after": becomes}
            for what, was, becomes in _differences(before, after, change)
        ],
        "before": told(before),
        "after": told(after),
    }


def _memory(text: str) -> int:
    sign = -1 if text.startswith("-") else 1
    return sign * _size(text.lstrip("+-"))


def _size(text: str) -> int:
    try:
        size = parse_quantity(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error
    if size < 0:
        raise ArgumentTypeError(f"{text!r} is below zero")
    return size


def _limit(text: str) -> int:
    return NO_LIMIT if text == "none" else _size(text)


def _qos(text: str) -> Qos:
    try:
        return Qos(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is none of {', '.join(Qos)}") from error


def _yes_or_no(text: str) -> bool:
    if text not in ("true", "false"):
        raise ArgumentTypeError(f"{text!r} is neither true nor false")
    return text == "true"
