"""Waiting until what was installed runs, and saying why it does not."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab import tools
from lab.errors import LabError
from lab.process import capture
from lab.progress import wait_until

Json = Mapping[str, Any]

_NO_IMAGE = frozenset({"ErrImageNeverPull", "ErrImagePull", "ImagePullBackOff", "InvalidImageName"})
# What does not pass by itself; ErrImagePull may, at the next try.
_HOPELESS = _NO_IMAGE - {"ErrImagePull"}
_LOAD = "`python -m lab load` gives it to the nodes of a lab; elsewhere push it where the nodes can pull it"


def wait(kubeconfig: Path, namespace: str, *, seconds: float) -> None:
    """Wait until every DaemonSet and Deployment of a namespace runs as it is now described.

    Raises:
        LabError: an image is not to be had, or it took too long; says what each pod waits for.
    """
    kubectl = [*tools.kubectl(kubeconfig), "--namespace", namespace, "get", "--output", "json"]

    def get(kinds: str) -> Sequence[Json]:
        items: Sequence[Json] = json.loads(capture([*kubectl, kinds]))["items"]
        return items

    def done() -> bool:
        if all(map(finished, get("daemonsets,deployments"))):
            return True
        pods = get("pods")
        if any(waiting.get("reason") in _HOPELESS for pod in pods for _, waiting in _waiting(pod)):
            raise LabError("\n".join(troubles(pods)))
        return False

    wait_until(
        f"the start of what is in namespace {namespace}",
        done,
        seconds=seconds,
        every=1,
        hint=lambda: "\n".join(troubles(get("pods"))),
    )


def finished(workload: Json) -> bool:
    """Whether all pods of a DaemonSet or a Deployment are new and available."""
    status = workload.get("status", {})
    if status.get("observedGeneration", 0) < workload["metadata"]["generation"]:
        return False
    if workload["kind"] == "DaemonSet":
        counts = [status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)]
        return counts == [status.get("desiredNumberScheduled", 0)] * 2
    counts = [status.get(name, 0) for name in ("updatedReplicas", "availableReplicas", "replicas")]
    return counts == [workload["spec"]["replicas"]] * 3


def troubles(pods: Sequence[Json]) -> list[str]:
    """Why pods do not run, a line each, with the remedy where there is a known one."""
    return [line for pod in pods for line in _troubles(pod)]


def _troubles(pod: Json) -> Iterator[str]:
    node = pod["spec"].get("nodeName", "no node yet")
    place = f"pod {pod['metadata']['name']} ({node})"
    for container, waiting in _waiting(pod):
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in _NO_IMAGE:
            yield f"{place}: image {container['image']} is not there ({reason}: {message}). {_LOAD}"
        else:
            yield f"{place}: container {container['name']} waits: {reason} {message}".rstrip()
    for condition in pod["status"].get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield f"{place}: {condition.get('reason', '')}: {condition.get('message', '')}"


def _waiting(pod: Json) -> Iterator[tuple[Json, Json]]:
    """The containers of a pod that wait, each with its state."""
    for container in pod["status"].get("containerStatuses", ()):
        if "waiting" in container.get("state", {}):
            yield container, container["state"]["waiting"]
