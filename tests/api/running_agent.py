"""The agent as a process of its own, with this machine as its node."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from tests.api.server import ROOT, ApiServer, Installation, eventually

HEARTBEAT = 0.5
"""Seconds; so that a test need not wait for this machine to change."""


class RunningAgent:
    """One `oomsayer agent` process and what it writes to standard error."""

    def __init__(self, api_server: ApiServer, account: Path, node: str, heartbeat: float) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "operator"),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(api_server.port),
            "NODE_NAME": node,
            "OOMSAYER_SERVICE_ACCOUNT": str(account),
            "OOMSAYER_HEARTBEAT": str(heartbeat),
        }
        flags = ["--root=/", "--metrics-address=127.0.0.1:0", "--interval=0.2", "--log-level=debug"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "oomsayer", "agent", *flags],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def says(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Wait for a log line."""
        deadline = time.monotonic() + seconds
        while (match := re.search(pattern, self.log)) is None:
            assert time.monotonic() < deadline, f"{pattern!r} is not in:\n{self.log}"
            time.sleep(0.05)
        return match

    def get(self, path: str) -> str:
        port = self.says(r"metrics on port (\d+)")[1]
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def metric(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(self.get("/metrics"))
        samples = [s for f in families for s in f.samples if s.name == name and s.labels == labels]
        assert len(samples) == 1, name
        return samples[0].value

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Stop it; its exit status."""
        self.process.send_signal(how)
        status = self.process.wait(timeout=10)
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log += line


class Node:
    """A node's name, and its agent's service account directory."""

    def __init__(self, name: str, installed: Installation, directory: Path) -> None:
        self.name = name
        self.installed = installed
        self.api = installed.api_server
        self.account = directory
        (directory / "ca.crt").write_bytes(self.api.ca.read_bytes())
        self.new_token()

    def new_token(self) -> None:
        self.put_token(self.installed.agent_token(self.name))

    def put_token(self, token: str) -> None:
        """As the kubelet does it: the new file takes the old one's place at once."""
        new = self.account / "token.new"
        new.write_text(token)
        new.rename(self.account / "token")

    @contextmanager
    def agent(self, name: str | None = None, heartbeat: float = HEARTBEAT) -> Iterator[RunningAgent]:
        running = RunningAgent(self.api, self.account, name or self.name, heartbeat)
        try:
            yield running
        finally:
            if running.process.poll() is None:
                running.end()

    def report(self) -> dict[str, Any] | None:
        found = self.api.kubectl("get", "nmr", self.name, "-o", "json", "--ignore-not-found")
        return json.loads(found) if found else None

    def wait_for_report(self, holds: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
        """The node's report once it is there and `holds`."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            now = self.report()
            if now is not None and holds(now):
                found.append(now)
            return bool(found)

        eventually(look, f"the report of {self.name}", seconds=60)
        return found[0]
