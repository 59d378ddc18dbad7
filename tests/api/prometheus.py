"""A real Prometheus on loopback that remembers what a test tells it."""

import subprocess
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path

from lab.process import Daemon
from lab.prometheus import program
from tests.api.server import eventually

Points = Iterable[tuple[float, float]]
"""Seconds since the epoch, and values."""


class Prometheus:
    """One server with a store of its own."""

    def __init__(self, directory: Path, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._directory = directory
        self._port = port
        self._daemon = Daemon(directory, "prometheus")
        (directory / "prometheus.yml").write_text("scrape_configs: []\n")

    def remember(self, series: Mapping[str, Points]) -> None:
        """Put history into the store, by "metric{labels}"; before it is started."""
        lines = [f"# TYPE {name} gauge" for name in sorted({name.partition("{")[0] for name in series})]
        lines += [f"{name} {value} {moment}" for name, points in series.items() for moment, value in points]
        text = self._directory / "history.txt"
        text.write_text("\n".join([*lines, "# EOF\n"]))
        subprocess.run(
            [
                program("promtool"),
                "tsdb",
                "create-blocks-from",
                "openmetrics",
                text,
                self._directory / "data",
            ],
            check=True,
            capture_output=True,
            timeout=60,
        )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = {
            "config.file": self._directory / "prometheus.yml",
            "storage.tsdb.path": self._directory / "data",
            "web.listen-address": f"127.0.0.1:{self._port}",
        }
        command = [program("prometheus"), *(f"--{name}={value}" for name, value in options.items())]
        self._daemon.start(command)
        eventually(self._ready, "Prometheus to be ready")

    def stop(self) -> None:
        """End it; its store stays."""
        self._daemon.stop()

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:  # noqa: S310 - loopback
                return bool(answer.status == 200)
        except OSError:
            return False
