"""What helm renders of the chart, or why it refuses."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from lab import tools
from tests.chart.values_table import CHART

Manifest = dict[str, Any]


class Strict(yaml.SafeLoader):
    """Refuses a key that comes twice, as kustomize does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - PyYAML's
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"{sorted(keys)}: one comes twice, {node.start_mark}"
        return super().construct_mapping(node, deep)


def helm(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    argv = [tools.tool("helm"), *arguments]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def render(*arguments: str | Path) -> list[Manifest]:
    done = helm("template", "oomsayer", CHART, "-n", "watch", *arguments)
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.load_all(done.stdout, Strict) if manifest]


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
