"""oomsayer on a cluster of the lab, as people install it."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab import cache, image, providers, rollout, tools
from lab.provider import Provider
from tests.cluster.story import Json, Kubectl

CHART = image.REPOSITORY / "charts" / "oomsayer"
NAMESPACE = RELEASE = "oomsayer"
_START_SECONDS = 420
# One agent after the other would take minutes on emulated nodes.
_AT_ONCE = "agent.updateStrategy.rollingUpdate.maxUnavailable=100%"


def session_cluster(name: str, nodes: int) -> Iterator[Provider]:
    """A cluster of the lab for a test session: brought up when none is, and left up when one was."""
    provider = providers.by_name(name)
    with cache.locked("lab"):
        was_up = provider.running()
        provider.up(nodes)
    yield provider
    if not was_up and not os.environ.get("OOMSAYER_LAB_KEEP"):
        with cache.locked("lab"):
            provider.down()


def kubectl_of(cluster: Provider) -> Kubectl:
    """Run kubectl and return what it prints; `stdin` is text for it."""

    def run(*arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        command = [*tools.kubectl(cluster.kubeconfig), *arguments]
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, check=False
        )
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done.stdout

    return run


def helm(cluster: Provider, *arguments: str | Path) -> str:
    """Run helm and return what it prints."""
    command = [*tools.helm(cluster.kubeconfig), "--namespace", NAMESPACE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout


def load(cluster: Provider) -> None:
    """Give this checkout's image to every node."""
    with cache.locked("image"):
        archive = image.project_image()
    with cache.locked("lab"):
        cluster.load_image(archive)


def install(cluster: Provider, kubectl: Kubectl, chart: Path = CHART, *, new_image: bool = True) -> None:
    """Install or upgrade, and wait until agent and operator run everywhere.

    The image keeps its name when the code changes: only a restart takes a `new_image`.
    """
    before = releases(cluster)
    helm(cluster, "upgrade", "--install", RELEASE, chart, "--create-namespace", "--set", _AT_ONCE)
    if before and new_image:
        kubectl("--namespace", NAMESPACE, "rollout", "restart", "daemonset,deployment")
    rollout.wait(cluster.kubeconfig, NAMESPACE, seconds=_START_SECONDS)


def with_values(cluster: Provider, *values: str) -> None:
    """Change values of the release, and wait until agent and operator run with them everywhere."""
    sets = [word for value in (*values, _AT_ONCE) for word in ("--set", value)]
    helm(cluster, "upgrade", RELEASE, CHART, "--reuse-values", *sets)
    rollout.wait(cluster.kubeconfig, NAMESPACE, seconds=_START_SECONDS)


def releases(cluster: Provider) -> list[Json]:
    """The releases that helm knows in oomsayer's namespace."""
    listed: list[Json] = json.loads(helm(cluster, "list", "--output", "json"))
    return listed
