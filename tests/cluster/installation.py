"""oomsayer on a cluster of the lab, as people install it."""

import json
import subprocess
from pathlib import Path

from lab import cache, image, rollout, tools
from lab.provider import Provider
from tests.cluster.story import Json, Kubectl

CHART = image.REPOSITORY / "charts" / "oomsayer"
NAMESPACE = RELEASE = "oomsayer"
_START_SECONDS = 420


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
    command = [tools.tool("helm"), "--kubeconfig", cluster.kubeconfig, "--namespace", NAMESPACE, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr or done.stdout
    return done.stdout


def load(cluster: Provider) -> None:
    """Give this checkout's image to every node."""
    with cache.locked("image"):
        archive = image.project_image()
    with cache.locked("lab"):
        cluster.load_image(archive)


def install(cluster: Provider, kubectl: Kubectl, chart: Path = CHART) -> None:
    """Install or upgrade, and wait until agent and operator run everywhere."""
    before = releases(cluster)
    helm(cluster, "upgrade", "--install", RELEASE, chart, "--create-namespace")
    if before:
        # The image keeps its name when the code changes: only a restart takes the new one.
        kubectl("--namespace", NAMESPACE, "rollout", "restart", "daemonset,deployment")
    rollout.wait(cluster.kubeconfig, NAMESPACE, seconds=_START_SECONDS)


def with_values(cluster: Provider, *values: str) -> None:
    """Change values of the release."""
    sets = [word for value in values for word in ("--set", value)]
    helm(cluster, "upgrade", RELEASE, CHART, "--reuse-values", *sets)


def releases(cluster: Provider) -> list[Json]:
    """The releases that helm knows in oomsayer's namespace."""
    listed: list[Json] = json.loads(helm(cluster, "list", "--output", "json"))
    return listed
