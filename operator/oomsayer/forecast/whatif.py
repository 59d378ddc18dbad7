"""The same node with one pod changed: what a different request, limit, class or use of memory would come to.

Only the input is changed; who dies then is asked of the same model.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from oomsayer.kernel.domain import within
from oomsayer.kernel.snapshot import ROOT, Memcg, Snapshot, Task, parent_path
from oomsayer.kubelet.cgroups import Qos, is_container
from oomsayer.kubelet.podspec import Container, ContainerKind, PodSpec, aggregate_request, pod_limit
from oomsayer.kubelet.qos import oom_score_adj

NO_LIMIT = -1
"""As Change.limit_bytes: take the limit away."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A pod as its cgroups and its spec have it.

    Attributes:
        uid: metadata.uid.
        path: of its cgroup.
        spec: its requests, limits and priority.
        containers: by name of each container that runs, the path of its cgroup.
        swapping: those of them that the kubelet lets use swap.
    """

    uid: str
    path: str
    spec: PodSpec
    containers: Mapping[str, str]
    swapping: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be different; None leaves it as it is.

    Attributes:
        container: the container that memory, request and limit are about.
        memory_bytes: how much more its biggest process holds, or less where below zero.
        request_bytes: its memory request; 0 for none.
        limit_bytes: its memory limit, or NO_LIMIT.
        qos: the pod's class, where it does not follow from request and limit.
        priority: the pod's priority.
        single_process_oom_kill: the kubelet's setting, which is about every container of the node.
    """

    container: str = ""
    memory_bytes: int | None = None
    request_bytes: int | None = None
    limit_bytes: int | None = None
    qos: Qos | None = None
    priority: int | None = None
    single_process_oom_kill: bool | None = None


class ImpossibleChangeError(ValueError):
    """No such pod could be; the text says why."""


def changed(snapshot: Snapshot, subject: Subject, change: Change) -> tuple[Snapshot, Subject]:
    """The node and the pod as they would be, all containers concerned started anew.

    Raises:
        ImpossibleChangeError: there is no such container, or Kubernetes would refuse the pod.
    """
    after = replace(subject, spec=changed_spec(subject.spec, change))
    if change.memory_bytes is not None:
        snapshot = _with_memory(snapshot, _cgroup(subject, change.container), change.memory_bytes)
    if change.limit_bytes is not None:
        snapshot = _with_limits(snapshot, subject, after.spec, change.container)
    if change.single_process_oom_kill is not None:
        snapshot = _with_groups(snapshot, oom_group=not change.single_process_oom_kill)
    if (change.request_bytes, change.limit_bytes, change.qos) != (None, None, None):
        snapshot = _with_scores(snapshot, subject, after.spec)
    return snapshot, after


def changed_spec(spec: PodSpec, change: Change) -> PodSpec:
    """The pod's spec as it would be.

    Raises:
        ImpossibleChangeError: see changed().
    """
    containers = spec.containers
    if change.request_bytes is not None or change.limit_bytes is not None:
        if spec.container(change.container) is None:
            raise ImpossibleChangeError(f"the pod has no container {change.container!r}")
        containers = tuple(_container(c, change) if c.name == change.container else c for c in containers)
    result = replace(spec, containers=containers)
    if containers != spec.containers:
        _check_pod_level(result, change.container)
    if change.priority is not None:
        result = replace(result, priority=change.priority)
    return replace(result, qos=change.qos or _qos(spec, result))


def _container(container: Container, change: Change) -> Container:
    if change.limit_bytes is not None:
        limit = None if change.limit_bytes == NO_LIMIT else change.limit_bytes
        container = replace(container, limit_bytes=limit)
    if change.request_bytes is not None:
        container = replace(container, request_bytes=change.request_bytes)
    elif container.limit_bytes is not None and not container.request_bytes:
        # The API server takes a limit without a request for a request of the same.
        container = replace(container, request_bytes=container.limit_bytes)
    if container.limit_bytes is not None and container.request_bytes > container.limit_bytes:
        raise ImpossibleChangeError(
            f"container {container.name}: a request of {container.request_bytes} bytes is more than "
            f"its limit of {container.limit_bytes}: raise the limit too"
        )
    return container


def _check_pod_level(spec: PodSpec, name: str) -> None:
    """Refuse what the API server would: more for a container than is set for the whole pod."""
    container = spec.container(name)
    limit = container.limit_bytes if container else None
    if spec.limit_bytes is not None and (limit or 0) > spec.limit_bytes:
        raise ImpossibleChangeError(
            f"container {name}: a limit of {limit} bytes is more than the pod's own of {spec.limit_bytes}: "
            "raise that too"
        )
    if spec.request_bytes is not None and aggregate_request(spec) > spec.request_bytes:
        raise ImpossibleChangeError(
            f"container {name}: the containers would request {aggregate_request(spec)} bytes together, more "
            f"than the pod's own {spec.request_bytes}: raise that too"
        )


def _qos(before: PodSpec, after: PodSpec) -> Qos:
    """The class that follows: what is requested of processors stays as it is."""
    if after.containers == before.containers or after.pod_level:
        return before.qos
    if before.qos is Qos.GUARANTEED and any(c.request_bytes != c.limit_bytes for c in after.regular()):
        return Qos.BURSTABLE
    if after.cpu_guaranteed and all(
        c.limit_bytes and c.request_bytes == c.limit_bytes
        for c in after.containers
        if c.kind is not ContainerKind.EPHEMERAL
    ):
        return Qos.GUARANTEED
    if before.qos is Qos.BEST_EFFORT and any(c.request_bytes or c.limit_bytes for c in after.containers):
        return Qos.BURSTABLE
    return before.qos


def _cgroup(subject: Subject, container: str) -> str:
    path = subject.containers.get(container)
    if path is None:
        running = ", ".join(sorted(subject.containers)) or "none"
        raise ImpossibleChangeError(f"no container {container!r} of the pod runs; there are: {running}")
    return path


def _with_memory(snapshot: Snapshot, path: str, more_bytes: int) -> Snapshot:
    """Let the container's biggest process hold more: charged all the way up, taken from what is free."""
    inside = [task for task in snapshot.tasks if within(task.memcg, path) and task.unkillable is None]
    biggest = max(inside, key=lambda task: task.rss_pages, default=None)
    if biggest is None:
        raise ImpossibleChangeError("the report lists no process of that container that could hold memory")
    pages = max(more_bytes // snapshot.memory.page_size, -biggest.rss_pages)
    amount = pages * snapshot.memory.page_size
    memory = snapshot.memory
    return replace(
        snapshot,
        tasks=_mapped(snapshot, lambda t: replace(t, rss_pages=t.rss_pages + pages) if t is biggest else t),
        memcgs={p: _charged(m, amount) if within(path, p) else m for p, m in snapshot.memcgs.items()},
        memory=replace(
            memory, free_bytes=_plus(memory.free_bytes, -amount), anon_bytes=_plus(memory.anon_bytes, amount)
        ),
    )


def _charged(memcg: Memcg, amount: int) -> Memcg:
    return replace(
        memcg,
        usage_bytes=_plus(memcg.usage_bytes, amount),
        working_set_bytes=_plus(memcg.working_set_bytes, amount),
    )


def _plus(number: int | None, more: int) -> int | None:
    return None if number is None else number + more


def _with_limits(snapshot: Snapshot, subject: Subject, spec: PodSpec, name: str) -> Snapshot:
    """The container's own limit, and the pod's where that follows from it."""
    container = spec.container(name)
    path = _cgroup(subject, name)
    limits = {path: container.limit_bytes if container else None}
    if pod_limit(spec) != pod_limit(subject.spec):
        limits[subject.path] = pod_limit(spec)
    memcgs = dict(snapshot.memcgs)
    for at, limit in limits.items():
        if at in memcgs:
            memcgs[at] = _limited(memcgs[at], limit, snapshot)
    return replace(snapshot, memcgs=memcgs)


def _limited(memcg: Memcg, limit: int | None, snapshot: Snapshot) -> Memcg:
    """With another limit; one that had none was not told its usage, so its processes' pages stand for it."""
    usage = memcg.usage_bytes
    if usage is None and limit is not None:
        pages = sum(task.rss_pages for task in snapshot.tasks if within(task.memcg, memcg.path))
        usage = memcg.working_set_bytes or pages * snapshot.memory.page_size
    return replace(memcg, max_bytes=limit, usage_bytes=usage)


def _with_groups(snapshot: Snapshot, *, oom_group: bool) -> Snapshot:
    groups = {p: replace(m, oom_group=oom_group) for p, m in snapshot.memcgs.items() if is_container(p)}
    return replace(snapshot, memcgs={**snapshot.memcgs, **groups})


def _with_scores(snapshot: Snapshot, subject: Subject, spec: PodSpec) -> Snapshot:
    """Give each process the oom_score_adj that its container would start with now.

    One that has another than its container was given changed it itself, and would do so again.
    """
    adjs: dict[str, tuple[int, int]] = {}
    capacity = snapshot.memory.total_bytes
    for name, path in subject.containers.items():
        before, after = subject.spec.container(name), spec.container(name)
        if before is not None and after is not None:
            given = _given(oom_score_adj(subject.spec, before, capacity), path, snapshot.tasks)
            adjs[path] = (given, oom_score_adj(spec, after, capacity))

    def scored(task: Task) -> Task:
        path = _container_above(task.memcg, adjs)
        if path is None or task.oom_score_adj != adjs[path][0]:
            return task
        return replace(task, oom_score_adj=adjs[path][1])

    return replace(snapshot, tasks=_mapped(snapshot, scored))


def _given(expected: int, path: str, tasks: Iterable[Task]) -> int:
    """What the container's processes were started with: as expected, unless all have one other value."""
    found = {task.oom_score_adj for task in tasks if within(task.memcg, path)}
    return found.pop() if len(found) == 1 else expected


def _container_above(path: str, containers: Mapping[str, object]) -> str | None:
    while path != ROOT and path not in containers:
        path = parent_path(path)
    return path if path in containers else None


def _mapped(snapshot: Snapshot, change: Callable[[Task], Task]) -> tuple[Task, ...]:
    return tuple(change(task) for task in snapshot.tasks)
