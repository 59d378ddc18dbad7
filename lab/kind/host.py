"""A kind cluster on this machine, where kind is installed and Docker or Podman runs."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import cache, tools, workloads
from lab.errors import LabError
from lab.kind.cluster import NAME, Cluster
from lab.kind.configuration import FILE
from lab.process import capture
from lab.progress import run_step, say
from lab.readiness import other_versions

_ASK_SECONDS = 20
_OLDEST = (1, 30)
"""The oldest Kubernetes that the chart installs on."""


@dataclass(frozen=True, slots=True)
class KindProvider:
    """The cluster of kind-config.yaml; its nodes are containers on this machine's kernel and memory."""

    name: str = "kind"

    @property
    def kubeconfig(self) -> Path:
        """See Provider."""
        if not self.running():
            raise LabError("no kind cluster is up: start one with `python -m lab --provider kind up`")
        return self._kubeconfig

    @property
    def _kubeconfig(self) -> Path:
        return cache.run_directory("kind") / "kubeconfig"

    def nodes(self) -> list[str]:
        """See Provider."""
        return self._cluster().nodes()

    def running(self) -> bool:
        """See Provider; a cluster of that name that the lab did not make does not count."""
        try:
            return self._kubeconfig.exists() and self._cluster().exists()
        except LabError:
            return False

    def prepare(self) -> None:
        """See Provider; there is nothing to make."""

    def up(self, nodes: int) -> None:
        """See Provider; the number of nodes is that of kind-config.yaml."""
        del nodes
        cluster = self._cluster()
        if self.running():
            say("the kind cluster is up already")
            return
        if cluster.exists():
            raise LabError(
                f"there is a kind cluster {NAME!r} that the lab did not make. Take it away "
                f"(kind delete cluster --name {NAME}), or use it: "
                f"kind get kubeconfig --name {NAME} > FILE, and KUBECONFIG=FILE"
            )
        try:
            self._create()
            self.load_image(workloads.tools())
        except BaseException:
            say("taking away what was made of the kind cluster")
            cluster.delete()
            self._kubeconfig.unlink(missing_ok=True)
            raise

    def _create(self) -> None:
        command: list[str | Path] = [
            "kind", "create", "cluster", "--name", NAME, "--config", FILE,
            "--kubeconfig", self._kubeconfig, "--wait", "5m",
        ]  # fmt: skip
        # kind-config.yaml names directories beside it.
        run_step(
            "creating a kind cluster",
            command,
            log=cache.log_file("kind"),
            env=_environment(),
            cwd=FILE.parent,
        )
        listing = capture([*tools.kubectl(self._kubeconfig), "get", "nodes", "--output", "json"])
        old = other_versions(listing, lambda version: version >= _OLDEST)
        if old:
            raise LabError(
                f"kind's node image has Kubernetes {min(old.values())}, and oomsayer needs 1.{_OLDEST[1]} or "
                "newer: update kind, whose releases each bring a node image (https://kind.sigs.k8s.io)"
            )

    def down(self) -> None:
        """See Provider."""
        if self.running():
            self._cluster().delete()
        self._kubeconfig.unlink(missing_ok=True)

    def load_image(self, archive: Path) -> None:
        """See Provider."""
        say(f"loading {archive}")
        self._cluster().load(str(archive))

    def node_shell(
        self, node: str, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float | None = 120
    ) -> "subprocess.CompletedProcess[str]":
        """See Provider."""
        return self._cluster().shell(node, argv, stdin=stdin, timeout=timeout)

    def kernel_pid(self, node: str, pid: int) -> int | None:
        """See Provider; only where the engine's containers are processes of this machine."""
        return self._cluster().kernel_pid(node, pid)

    def kernel_path(self, node: str, path: str) -> str:
        """See Provider; only where the engine's containers are processes of this machine."""
        return self._cluster().kernel_path(node, path)

    def kernel_log(self, node: str) -> str:
        """See Provider; it is the whole machine's, as far as its ring buffer reaches."""
        done = self.node_shell(node, ["dmesg"])
        if done.returncode != 0:
            raise LabError(f"{node} does not show the kernel log: {done.stderr.strip()}")
        return done.stdout

    def _cluster(self) -> Cluster:
        """The cluster's commands.

        Raises:
            LabError: kind is missing, or no engine answers.
        """
        running = engine()
        if not installed():
            raise LabError(
                f"kind is missing, {running or 'Docker'} is here: install kind (https://kind.sigs.k8s.io), "
                "or use `--provider kind-vm` or `native`, which need neither"
            )
        if running is None:
            raise LabError(
                "kind is here but neither Docker nor Podman answers: start one (systemctl start docker), "
                "or use `--provider kind-vm` or `native`, which need neither"
            )
        return Cluster(_run, running)


def installed() -> bool:
    """Whether kind is installed."""
    return shutil.which("kind") is not None


def engine() -> str | None:
    """The container engine that answers: "docker" or "podman"."""
    for candidate in ("docker", "podman"):
        if shutil.which(candidate) is None:
            continue
        try:
            capture([candidate, "info"], timeout=_ASK_SECONDS)
        except LabError:
            continue
        return candidate
    return None


def _run(
    argv: Sequence[str], *, stdin: bytes | None = None, timeout: float | None = 120
) -> "subprocess.CompletedProcess[str]":
    try:
        done = subprocess.run(
            argv, input=stdin, env=_environment(), capture_output=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(argv[:3])} took longer than {timeout} s") from error
    return subprocess.CompletedProcess(
        argv, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
    )


def _environment() -> dict[str, str]:
    provider = {"KIND_EXPERIMENTAL_PROVIDER": "podman"} if engine() == "podman" else {}
    return {**os.environ, **provider}
