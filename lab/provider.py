"""What every kind of cluster gives to tests and demo."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Provider(Protocol):
    """A real cluster: made, used and taken away; docs/lab.md tells how to add a kind of it."""

    @property
    def name(self) -> str:
        """The word for it on the command line."""

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig file of the cluster that is up.

        Raises:
            LabError: none is up.
        """

    def nodes(self) -> list[str]:
        """Names of the nodes, in order.

        Raises:
            LabError: no cluster is up.
        """

    def prepare(self) -> None:
        """Make and cache what `up` needs, where that takes long."""

    def up(self, nodes: int) -> None:
        """Bring the cluster up and wait until every node is Ready; one that is up already stays as it is."""

    def down(self) -> None:
        """Take the cluster away with all it holds; none being there is no error."""

    def running(self) -> bool:
        """Whether the cluster is up."""

    def load_image(self, archive: Path) -> None:
        """Give the image of a docker-archive to every node."""

    def node_shell(
        self, node: str, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float | None = 120
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on a node as root, outside all pods. `timeout` is in seconds."""

    def kernel_pid(self, node: str, pid: int) -> int | None:
        """The pid that the kernel log gives to a process which is `pid` on the node; None if it is gone."""

    def kernel_path(self, node: str, path: str) -> str:
        """The path that the kernel log gives to a cgroup which is at `path` on the node."""

    def kernel_log(self, node: str) -> str:
        """Everything that the node's kernel has said since boot, a message a line, as far as it is kept."""
