"""One kind cluster, by the commands of kind and its container engine, wherever they run."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lab.errors import LabError

NAME = "oomsayer"
"""The cluster's name, as kind-config.yaml has it."""
_LOAD_SECONDS = 900
_ASK_SECONDS = 300
# Prints the outermost pid of a node's process: $1 is the node's container, $2 the pid there.
OUTER_PID = r"""
statuses=$(grep -lE "^NSpid:[[:space:]]+[0-9]+[[:space:]]+$2([[:space:]]|\$)" /proc/[0-9]*/status 2>/dev/null)
for status in $statuses; do
	process=${status%/status}
	if grep -q "$1" "$process/cgroup" 2>/dev/null; then echo "${process#/proc/}"; fi
done
"""


class Run(Protocol):
    """Runs a command where kind is."""

    def __call__(
        self, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float | None = 120
    ) -> "subprocess.CompletedProcess[str]":
        """The finished command, whether it failed or not. `timeout` is in seconds."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster NAME.

    Attributes:
        run: runs a command where kind is.
        engine: "docker" or "podman".
    """

    run: Run
    engine: str = "docker"

    def exists(self) -> bool:
        """Whether kind knows the cluster."""
        return NAME in self._kind("get", "clusters").split()

    def nodes(self) -> list[str]:
        """Its nodes: the control plane first, then the workers in order."""
        return sorted(self._kind("get", "nodes", "--name", NAME).split())

    def kubeconfig(self) -> str:
        """An administrator's kubeconfig, as kind writes it."""
        return self._kind("get", "kubeconfig", "--name", NAME)

    def load(self, archive: str) -> None:
        """Give the image of a docker-archive to every node."""
        self._kind("load", "image-archive", archive, "--name", NAME, timeout=_LOAD_SECONDS)

    def layers(self) -> frozenset[str]:
        """Digests of the content that every node's container store has."""
        listing = ["ctr", "--namespace", "k8s.io", "content", "ls", "--quiet"]
        held = [set(self._checked([self.engine, "exec", node, *listing]).split()) for node in self.nodes()]
        return frozenset(set.intersection(*held)) if held else frozenset()

    def delete(self) -> None:
        """Take the cluster away."""
        self._kind("delete", "cluster", "--name", NAME)

    def shell(
        self, node: str, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float | None = 120
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on a node as root, outside all pods."""
        return self.run([self.engine, "exec", "--interactive", node, *argv], stdin=stdin, timeout=timeout)

    def kernel_pid(self, node: str, pid: int) -> int | None:
        """The pid that the kernel's log gives to a node's process; None where it is gone.

        A node has a PID namespace of its own; the log prints those of the outermost.
        """
        script = ["sh", "-c", OUTER_PID, "sh", self._inspect(node, "{{.Id}}"), str(pid)]
        found = self.run(script).stdout.split()
        return int(found[0]) if found else None

    def kernel_path(self, node: str, path: str) -> str:
        """The path that the kernel's log gives to a node's cgroup: that of the node's container in front.

        Raises:
            LabError: the node's container does not run here.
        """
        init = self._inspect(node, "{{.State.Pid}}")
        read = self.run(["cat", f"/proc/{init}/cgroup"])
        own = next((line[3:] for line in read.stdout.splitlines() if line.startswith("0::")), None)
        if own is None:
            raise LabError(f"{node} is not in a cgroup of this machine: {read.stdout or read.stderr}")
        return own.removesuffix("/init.scope").rstrip("/") + path

    def _inspect(self, node: str, template: str) -> str:
        return self._checked([self.engine, "inspect", "--format", template, node]).strip()

    def _kind(self, *arguments: str, timeout: float = _ASK_SECONDS) -> str:
        return self._checked(["kind", *arguments], timeout=timeout)

    def _checked(self, argv: Sequence[str], timeout: float = _ASK_SECONDS) -> str:
        done = self.run(argv, timeout=timeout)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"{' '.join(argv[:3])} exited with {done.returncode}: {said}")
        return done.stdout
