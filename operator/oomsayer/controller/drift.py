"""Processes whose oom_score_adj is not what the kubelet gives their container. Pure."""

from collections.abc import Iterator, Sequence

from oomsayer.api.eviction import MAX_DRIFT, Drift
from oomsayer.controller.names import Names, Pod
from oomsayer.kernel.snapshot import Snapshot, Task
from oomsayer.kubelet.podspec import Container
from oomsayer.kubelet.qos import oom_score_adj


def drift(snapshot: Snapshot, names: Names) -> tuple[Drift, ...]:
    """Processes in containers whose oom_score_adj is another than the kubelet's formula gives them now.

    At most MAX_DRIFT. Where all of a container have the same other one, the first speaks for all.
    """
    found: list[Drift] = []
    for pod, container, tasks in _containers(snapshot, names):
        expected = oom_score_adj(pod.spec, container, snapshot.memory.total_bytes)
        adrift = [task for task in tasks if task.oom_score_adj != expected]
        whole = len(adrift) == len(tasks) and len({task.oom_score_adj for task in adrift}) == 1
        found += [
            Drift(
                pod=pod.full_name,
                pod_uid=pod.uid,
                container=container.name,
                pid=task.pid,
                comm=task.comm,
                oom_score_adj=task.oom_score_adj,
                expected=expected,
                whole_container=whole,
            )
            for task in (adrift[:1] if whole else adrift)
        ]
    return tuple(found[:MAX_DRIFT])


def _containers(snapshot: Snapshot, names: Names) -> Iterator[tuple[Pod, Container, Sequence[Task]]]:
    """The containers that are known, with their processes that can be killed."""
    inside: dict[tuple[str, str], tuple[Pod, Container, list[Task]]] = {}
    for task in snapshot.tasks:
        place = names.place(task.memcg)
        container = place.pod.spec.container(place.container) if place.pod else None
        if place.pod is not None and container is not None and task.unkillable is None:
            found = inside.setdefault((place.pod.uid, container.name), (place.pod, container, []))
            found[2].append(task)
    yield from inside.values()
