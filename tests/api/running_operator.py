"""The operator as a process of its own."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from lab.ports import any_free
from tests.api.server import NAMESPACE, ROOT, eventually


class Operator:
    """`oomsayer operator`, started and ended as a kubelet would."""

    def __init__(self, kubeconfig: Path, log: Path, identity: str, *options: str) -> None:
        self._options = options
        self.identity = identity
        self.port = any_free()
        self._kubeconfig = kubeconfig
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.running:
            return
        options = ("--metrics-address", f"127.0.0.1:{self.port}", "--namespace", NAMESPACE, *self._options)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "oomsayer", "operator", *options, "--identity", self.identity],
                env=os.environ | {"KUBECONFIG": str(self._kubeconfig), "PYTHONPATH": str(ROOT / "operator")},
                stdout=log,
                stderr=log,
            )

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def peak_mebibytes(self) -> int:
        """The most memory that it had resident."""
        assert self._process is not None
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) // 1024

    def lead(self) -> None:
        """Start it, unless it runs, and wait until it leads."""
        self.start()
        eventually(self.leads, f"{self.identity} leads", seconds=90)

    def kill(self) -> None:
        """As the OOM killer would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=30)

    def terminate(self) -> int:
        """As the kubelet does; the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(timeout=30)

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def metric(self, series: str) -> float:
        """The value of one series, 0 for one that is not there."""
        match = re.search(rf"^{re.escape(series)} (\S+)$", self.get("/metrics"), re.MULTILINE)
        return float(match[1]) if match else 0.0

    def leads(self) -> bool:
        try:
            return self.metric("oomsayer_operator_leader") == 1
        except OSError:
            return False
