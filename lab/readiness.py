"""The nodes of a cluster that is coming up."""

import json
from collections.abc import Callable, Collection
from pathlib import Path

from lab import tools
from lab.errors import LabError
from lab.process import capture
from lab.progress import say, wait_until

_READY_SECONDS = 600


def wait_ready(
    kubeconfig: Path, names: Collection[str], *, require: Callable[[], None], hint: Callable[[], str]
) -> None:
    """Wait until every node of those names is Ready.

    Args:
        kubeconfig: of the cluster.
        names: of the nodes.
        require: raises when it is no use to go on waiting.
        hint: says more when it took too long.
    """
    say(f"waiting for {', '.join(sorted(names))} to be Ready")

    def ready() -> bool:
        require()
        try:
            listing = capture([*tools.kubectl(kubeconfig), "get", "nodes", "--output", "json"])
        except LabError:
            return False
        return ready_nodes(listing) >= set(names)

    wait_until("the nodes' start", ready, seconds=_READY_SECONDS, every=1, hint=hint)
    say(f"{len(names)} nodes are Ready")


def ready_nodes(listing: str) -> set[str]:
    """Names of the nodes that are Ready in what `kubectl get nodes --output json` prints."""
    return {
        item["metadata"]["name"]
        for item in json.loads(listing)["items"]
        for condition in item["status"].get("conditions", [])
        if condition["type"] == "Ready" and condition["status"] == "True"
    }


def other_versions(listing: str, fits: Callable[[tuple[int, int]], bool]) -> dict[str, str]:
    """Nodes whose kubelet's version (major, minor) does not fit, in what kubectl prints: name -> version."""
    found = {
        item["metadata"]["name"]: item["status"]["nodeInfo"]["kubeletVersion"]
        for item in json.loads(listing)["items"]
    }
    return {name: version for name, version in found.items() if not fits(_minor(version))}


def _minor(version: str) -> tuple[int, int]:
    """Major and minor of "v1.36.3"."""
    major, minor, *_ = version.removeprefix("v").split(".")
    return int(major), int(minor)
