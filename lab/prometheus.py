"""A Prometheus of the lab's own, and where its programs come from: installed, or of Debian's package."""

import json
import shutil
import ssl
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab import packages
from lab.native.pki import Authority
from lab.process import Daemon
from lab.progress import wait_until

_READY_SECONDS = 60
_ANSWER_SECONDS = 10

Json = Any
"""What its API answers, as JSON has it."""


def program(name: str) -> Path:
    """The path of `prometheus` or `promtool`.

    Raises:
        LabError: it is neither on PATH nor to be had.
    """
    installed = shutil.which(name)
    return Path(installed) if installed else packages.unpacked("prometheus") / "usr/bin" / name


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A server on 127.0.0.1 with its configuration, store and log in one directory.

    Attributes:
        authority: where given, it answers by TLS, with a certificate of this one's.
    """

    directory: Path
    port: int
    authority: Authority | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"{'https' if self.authority else 'http'}://127.0.0.1:{self.port}"

    @property
    def store(self) -> Path:
        """The directory of its series."""
        return self.directory / "data"

    @property
    def _daemon(self) -> Daemon:
        return Daemon(self.directory, "prometheus")

    def start(
        self, scrapes: Sequence[Mapping[str, Json]] = (), rules: Sequence[Path] = (), every_seconds: int = 1
    ) -> None:
        """Start it, and wait until it answers.

        Args:
            scrapes: its scrape configurations.
            rules: its rule files.
            every_seconds: how often it scrapes and evaluates.

        Raises:
            LabError: it did not start; with the end of its log.
        """
        every = f"{every_seconds}s"
        config = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
            "rule_files": [str(file) for file in rules],
            "scrape_configs": list(scrapes),
        }
        file = self.directory / "prometheus.yml"
        file.write_text(json.dumps(config))
        options: dict[str, object] = {
            "config.file": file,
            "storage.tsdb.path": self.store,
            "web.listen-address": f"127.0.0.1:{self.port}",
        }
        if self.authority is not None:
            options["web.config.file"] = self._certified(self.authority)
        self._daemon.start([program("prometheus"), *(f"--{name}={value}" for name, value in options.items())])
        wait_until("Prometheus' start", self._ready, seconds=_READY_SECONDS, every=0.1)

    def stop(self) -> None:
        """End it; its store stays."""
        self._daemon.stop()

    def ask(self, path: str, **query: str) -> Json:
        """What /api/v1/PATH answers, None while it does not."""
        try:
            return json.loads(self._get(f"/api/v1/{path}?{urllib.parse.urlencode(query)}"))["data"]
        except OSError:
            return None

    def series(self, expression: str) -> list[Mapping[str, str]]:
        """The labels of each series that an expression has a value for now."""
        result = (self.ask("query", query=expression) or {}).get("result", [])
        return [found["metric"] for found in result]

    def _certified(self, authority: Authority) -> Path:
        """The file that makes it answer by TLS."""
        pair = authority.issue("prometheus", user="prometheus", addresses=["IP:127.0.0.1"])
        file = self.directory / "web.yml"
        files = {"cert_file": str(pair.certificate), "key_file": str(pair.key)}
        file.write_text(json.dumps({"tls_server_config": files}))
        return file

    def _ready(self) -> bool:
        self._daemon.require()
        try:
            self._get("/-/ready")
        except OSError:
            return False
        return True

    def _get(self, path: str) -> bytes:
        trusted = ssl.create_default_context(cafile=self.authority.certificate) if self.authority else None
        with urllib.request.urlopen(  # noqa: S310 - loopback
            f"{self.url}{path}", timeout=_ANSWER_SECONDS, context=trusted
        ) as answer:
            content: bytes = answer.read()
            return content
