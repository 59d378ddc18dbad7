"""A kind cluster, where Docker or Podman runs and kind is installed."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import cache, workloads
from lab.errors import LabError
from lab.process import capture
from lab.progress import run_step, say

_CLUSTER = "oomsayer"
_CONFIGURATION = Path(__file__).resolve().parent.parent / "kind-config.yaml"
_ASK_SECONDS = 20


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

    def possible(self) -> bool:
        """Whether kind is installed and a container engine answers."""
        return shutil.which("kind") is not None and _engine() is not None

    def nodes(self) -> list[str]:
        """See Provider."""
        return sorted(self._kind("get", "nodes", "--name", _CLUSTER).split())

    def running(self) -> bool:
        """See Provider."""
        try:
            return _CLUSTER in self._kind("get", "clusters").split() and self._kubeconfig.exists()
        except LabError:
            return False

    def prepare(self) -> None:
        """See Provider; there is nothing to make."""

    def up(self, nodes: int) -> None:
        """See Provider; the number of nodes is that of kind-config.yaml."""
        del nodes
        if self.running():
            say("the kind cluster is up already")
            return
        self._require()
        command: list[str | Path] = [
            "kind", "create", "cluster", "--name", _CLUSTER, "--config", _CONFIGURATION,
            "--kubeconfig", self._kubeconfig, "--wait", "5m",
        ]  # fmt: skip
        run_step("creating a kind cluster", command, log=cache.log_file("kind"), env=_environment())
        self.load_image(workloads.tools())

    def down(self) -> None:
        """See Provider."""
        if self.running():
            self._kind("delete", "cluster", "--name", _CLUSTER, "--kubeconfig", str(self._kubeconfig))
        self._kubeconfig.unlink(missing_ok=True)

    def load_image(self, archive: Path) -> None:
        """See Provider."""
        say(f"loading {archive}")
        self._kind("load", "image-archive", str(archive), "--name", _CLUSTER, timeout=600)

    def node_shell(
        self, node: str, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float | None = 120
    ) -> "subprocess.CompletedProcess[str]":
        """See Provider."""
        engine = _engine() or "docker"
        command = [engine, "exec", "--interactive", node, *argv]
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=timeout, check=False)
        return subprocess.CompletedProcess(
            argv, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def kernel_log(self, node: str) -> str:
        """See Provider; it is the whole machine's, as far as its ring buffer reaches."""
        done = self.node_shell(node, ["dmesg"])
        if done.returncode != 0:
            raise LabError(f"{node} does not show the kernel log: {done.stderr.strip()}")
        return done.stdout

    def _kind(self, *arguments: str, timeout: float = 300) -> str:
        self._require()
        return capture(["kind", *arguments], env=_environment(), timeout=timeout)

    def _require(self) -> None:
        if shutil.which("kind") is None:
            raise LabError("missing: kind (https://kind.sigs.k8s.io), or use `--provider native`")
        if _engine() is None:
            raise LabError("neither Docker nor Podman answers: start one, or use `--provider native`")


def _engine() -> str | None:
    """The container engine that answers: "docker" or "podman"."""
    for engine in ("docker", "podman"):
        if shutil.which(engine) is None:
            continue
        try:
            capture([engine, "info"], timeout=_ASK_SECONDS)
        except LabError:
            continue
        return engine
    return None


def _environment() -> dict[str, str]:
    provider = {"KIND_EXPERIMENTAL_PROVIDER": "podman"} if _engine() == "podman" else {}
    return {**os.environ, **provider}
