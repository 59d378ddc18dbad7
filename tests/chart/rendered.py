"""What helm renders of the chart, or why it refuses."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lab import tools
from tests.chart.values_table import CHART

Manifest = dict[str, Any]


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [tools.tool("helm"), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def render(*arguments: str | Path) -> list[Manifest]:
    done = helm("template", "oomsayer", CHART, "-n", "watch", *arguments)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def refusal(*arguments: str) -> str:
    done = helm("template", "oomsayer", CHART, "-n", "watch", *arguments)
    assert done.returncode != 0, done.stdout
    return done.stderr


def one(manifests: Sequence[Manifest], kind: str, ending: str = "") -> Manifest:
    found = [m for m in manifests if m["kind"] == kind and m["metadata"]["name"].endswith(ending)]
    assert len(found) == 1, [m["metadata"]["name"] for m in found]
    return found[0]


def pod(manifests: Sequence[Manifest], kind: str) -> Manifest:
    template: Manifest = one(manifests, kind)["spec"]["template"]
    return template
