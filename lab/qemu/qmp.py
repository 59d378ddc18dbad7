"""The few words of QEMU's machine protocol that the lab needs.

Source: docs/interop/qmp-spec.rst in QEMU.
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from lab.errors import LabError
from lab.progress import wait_until

_TIMEOUT_SECONDS = 30
_SAVE_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Monitor:
    """An open connection to a running QEMU."""

    stream: IO[str]

    def execute(self, command: str, **arguments: object) -> Mapping[str, Any]:
        """Run a command and return its answer.

        Raises:
            LabError: QEMU refused it.
        """
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.stream.flush()
        for line in self.stream:
            message = json.loads(line)
            if "error" in message:
                raise LabError(f"QEMU refused {command}: {message['error']['desc']}")
            if "return" in message:
                answer: Mapping[str, Any] = message["return"]
                return answer
        raise LabError(f"QEMU ended during {command}")

    def save_state(self, out: Path) -> None:
        """Write memory and devices of the machine to a file; the machine stands still from then on."""
        self.execute("migrate", uri=f"exec:cat > '{out}'")

        def saved() -> bool:
            status = self.execute("query-migrate").get("status")
            if status == "failed":
                raise LabError("QEMU could not save the machine's state")
            return bool(status == "completed")

        wait_until("saving the machine's state", saved, seconds=_SAVE_SECONDS)


@contextmanager
def monitor(path: Path) -> Iterator[Monitor]:
    """Connect to the monitor that QEMU serves on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_TIMEOUT_SECONDS)
        _connect(connection, path)
        with connection.makefile("rw") as stream:
            stream.readline()  # the greeting
            talk = Monitor(stream)
            talk.execute("qmp_capabilities")
            yield talk


def _connect(connection: socket.socket, path: Path) -> None:
    """Connect by way of the directory's descriptor: a socket's own path may have 107 bytes at most."""
    directory = os.open(path.parent, os.O_PATH)
    try:
        connection.connect(f"/proc/self/fd/{directory}/{path.name}")
    finally:
        os.close(directory)
