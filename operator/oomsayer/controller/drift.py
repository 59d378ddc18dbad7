"""Processes whose oom_score_adj is not what the kubelet gives their container. Pure."""

from oomsayer.api.eviction import MAX_DRIFT, Drift
from oomsayer.controller.names import Names
from oomsayer.kernel.snapshot import Snapshot, Task
from oomsayer.kubelet.qos import oom_score_adj


def drift(snapshot: Snapshot, names: Names) -> tuple[Drift, ...]:
    """Processes in containers whose oom_score_adj is another than the kubelet's formula gives them now."""
    by_container: dict[tuple[str, str], list[tuple[Task, int]]] = {}
    for task in snapshot.tasks:
        place = names.place(task.memcg)
        container = place.pod.spec.container(place.container) if place.pod else None
        if place.pod is None or container is None or task.unkillable is not None:
            continue
        expected = oom_score_adj(place.pod.spec, container, snapshot.memory.total_bytes)
        by_container.setdefault((place.pod_uid, place.container), []).append((task, expected))
    found: list[Drift] = []
    for tasks in by_container.values():
        adrift = [(task, expected) for task, expected in tasks if task.oom_score_adj != expected]
        whole = len(adrift) == len(tasks) and len({task.oom_score_adj for task, _ in adrift}) == 1
        # Of a whole container one process speaks for all.
        for task, expected in adrift[:1] if whole else adrift:
            place = names.place(task.memcg)
            found.append(
                Drift(
                    pod=place.pod_name,
                    pod_uid=place.pod_uid,
                    container=place.container,
                    pid=task.pid,
                    comm=task.comm,
                    oom_score_adj=task.oom_score_adj,
                    expected=expected,
                    whole_container=whole,
                )
            )
    return tuple(found[:MAX_DRIFT])
