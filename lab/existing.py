"""A cluster that somebody else made: the one that KUBECONFIG names."""

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import tools
from lab.errors import LabError
from lab.process import capture
from lab.progress import say

_ASK_SECONDS = 30


@dataclass(frozen=True, slots=True)
class ExistingProvider:
    """A cluster that is only used: never made, never taken away, its nodes reached through its API alone."""

    name: str = "existing"

    @property
    def kubeconfig(self) -> Path:
        """See Provider."""
        named = os.environ.get("KUBECONFIG", "")
        path = Path(named)
        if not named or not path.is_file():
            raise LabError(f"KUBECONFIG must name one kubeconfig file, not {named!r}")
        return path

    def nodes(self) -> list[str]:
        """See Provider."""
        listing = capture([*tools.kubectl(self.kubeconfig), "get", "nodes", "--output", "json"])
        return sorted(item["metadata"]["name"] for item in json.loads(listing)["items"])

    def running(self) -> bool:
        """See Provider."""
        try:
            capture([*tools.kubectl(self.kubeconfig), "get", "--raw", "/readyz"], timeout=_ASK_SECONDS)
        except LabError:
            return False
        return True

    def prepare(self) -> None:
        """See Provider; there is nothing to make."""

    def up(self, nodes: int) -> None:
        """See Provider; the number of nodes is what it is."""
        del nodes
        if not self.running():
            raise LabError(f"the cluster of {self.kubeconfig} does not answer")
        say(f"using the cluster of {self.kubeconfig}")

    def down(self) -> None:
        """See Provider; the cluster stays."""
        say("the cluster is not the lab's: it stays")

    def load_image(self, archive: Path) -> None:
        """See Provider."""
        raise LabError(
            f"cannot load {archive} into a cluster that is not the lab's: push the image to a registry that "
            "the cluster reaches"
        )

    def node_shell(
        self, node: str, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float | None = 120
    ) -> "subprocess.CompletedProcess[str]":
        """See Provider."""
        del argv, stdin, timeout
        raise LabError(f"no shell on {node}: the cluster is not the lab's")

    def kernel_pid(self, node: str, pid: int) -> int | None:
        """See Provider."""
        raise LabError(f"no kernel's view of pid {pid} on {node}: the cluster is not the lab's")

    def kernel_path(self, node: str, path: str) -> str:
        """See Provider."""
        raise LabError(f"no kernel's view of {path} on {node}: the cluster is not the lab's")

    def kernel_log(self, node: str) -> str:
        """See Provider."""
        raise LabError(f"no kernel log of {node}: the cluster is not the lab's")
