"""When a rollout is finished, and what is said while it is not."""

from typing import Any

import pytest
from lab.rollout import finished, troubles

IMAGE = "oomsayer:0.1.0"


def workload(kind: str, status: dict[str, int]) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"generation": 2}, "spec": {"replicas": 1}, "status": status}


def pod(state: dict[str, Any], conditions: tuple[dict[str, str], ...] = ()) -> dict[str, Any]:
    status = {
        "containerStatuses": [{"name": "agent", "image": IMAGE, "state": state}],
        "conditions": conditions,
    }
    return {"metadata": {"name": "agent-x"}, "spec": {"nodeName": "worker"}, "status": status}


@pytest.mark.parametrize(
    ("kind", "status", "expected"),
    [
        (
            "DaemonSet",
            {
                "observedGeneration": 2,
                "desiredNumberScheduled": 3,
                "updatedNumberScheduled": 3,
                "numberAvailable": 3,
            },
            True,
        ),
        (
            "DaemonSet",
            {
                "observedGeneration": 2,
                "desiredNumberScheduled": 3,
                "updatedNumberScheduled": 3,
                "numberAvailable": 2,
            },
            False,
        ),
        (
            "DaemonSet",
            {"observedGeneration": 2, "desiredNumberScheduled": 3, "numberAvailable": 3},
            False,
        ),
        (
            "Deployment",
            {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
            True,
        ),
        (
            "Deployment",
            {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1},
            False,
        ),
        (
            "Deployment",
            {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1},
            False,
        ),
        ("Deployment", {}, False),
    ],
)
def test_a_rollout_is_finished_when_all_pods_are_new_and_available(
    kind: str, status: dict[str, int], *, expected: bool
) -> None:
    assert finished(workload(kind, status)) is expected


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"])
def test_an_image_that_is_not_there_is_named_with_the_remedy(reason: str) -> None:
    [line] = troubles([pod({"waiting": {"reason": reason, "message": "no such host"}})])
    assert line.startswith(f"pod agent-x (worker): image {IMAGE} is not there ({reason}: no such host).")
    assert "`python -m lab load`" in line


def test_other_troubles_are_told_as_kubernetes_tells_them() -> None:
    unscheduled = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "too small",
    }
    pods = [
        pod({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}),
        pod({"running": {}}),
        {"metadata": {"name": "late"}, "spec": {}, "status": {"conditions": [unscheduled]}},
    ]
    assert troubles(pods) == [
        "pod agent-x (worker): container agent waits: CrashLoopBackOff back-off 10s",
        "pod late (no node yet): Unschedulable: too small",
    ]
