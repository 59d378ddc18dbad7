"""A real cluster for a test session: the lab's, brought up when none is, and left up when one was."""

import os
import subprocess
from collections.abc import Iterator

import pytest
from lab import cache, image, providers, tools
from lab.provider import Provider
from tests.cluster.story import Kubectl

_NODES = 2
# Tests drive nodes out of memory: never by default in a cluster that merely is at hand.
_PROVIDER = os.environ.get("OOMSAYER_LAB_PROVIDER", "native")
_CHART = image.REPOSITORY / "charts" / "oomsayer"
_NAMESPACE = "oomsayer"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Provider]:
    provider = providers.by_name(_PROVIDER)
    with cache.locked("lab"):
        was_up = provider.running()
        provider.up(_NODES)
    yield provider
    if not was_up and not os.environ.get("OOMSAYER_LAB_KEEP"):
        with cache.locked("lab"):
            provider.down()


@pytest.fixture(scope="session")
def kubectl(cluster: Provider) -> Kubectl:
    """Run kubectl and return what it prints; `stdin` is text for it."""

    def run(*arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        command = [*tools.kubectl(cluster.kubeconfig), *arguments]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def installed(cluster: Provider, kubectl: Kubectl) -> None:
    """This checkout's image and chart, running on every node."""
    with cache.locked("image"):
        archive = image.project_image()
    with cache.locked("lab"):
        cluster.load_image(archive)
    subprocess.run(
        [tools.tool("helm"), "--kubeconfig", cluster.kubeconfig, "upgrade", "--install", "oomsayer", _CHART,
         "--namespace", _NAMESPACE, "--create-namespace"],
        check=True, timeout=180,
    )  # fmt: skip
    # The image keeps its name when the code changes: only a restart takes the new one.
    kubectl("--namespace", _NAMESPACE, "rollout", "restart", "daemonset,deployment")
    for kind in ("daemonset", "deployment"):
        listed = kubectl("--namespace", _NAMESPACE, "get", kind, "--output", "name").split()
        for name in listed:
            kubectl("--namespace", _NAMESPACE, "rollout", "status", name, "--timeout=400s", timeout=420)
