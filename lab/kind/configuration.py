"""kind-config.yaml, and what the lab lays over it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lab.errors import LabError

FILE = Path(__file__).resolve().parents[2] / "kind-config.yaml"
"""The configuration that users give to kind."""
OVERLAY = Path(__file__).resolve().parent / "overlay.yaml"

Yaml = Any
"""What a YAML document holds: mappings, lists, scalars."""


def configuration(*, overlay: Path = OVERLAY) -> str:
    """kind-config.yaml with the overlay laid over it."""
    return yaml.safe_dump(merged(yaml.safe_load(FILE.read_text()), yaml.safe_load(overlay.read_text())))


def mounted_directories() -> list[Path]:
    """The directories of this repository that kind-config.yaml mounts into nodes."""
    nodes = yaml.safe_load(FILE.read_text())["nodes"]
    return [FILE.parent / mount["hostPath"] for node in nodes for mount in node.get("extraMounts", ())]


def merged(base: Yaml, over: Yaml) -> Yaml:
    """`over` laid over `base`: mappings key by key, nodes one by one, other lists end to end; else `over`.

    Raises:
        LabError: there are not as many nodes in one as in the other.
    """
    if isinstance(base, list) and isinstance(over, list):
        return [*base, *over]
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    result = {**base, **over}
    for key in base.keys() & over.keys():
        result[key] = _nodes(base[key], over[key]) if key == "nodes" else merged(base[key], over[key])
    return result


def _nodes(base: Yaml, over: Yaml) -> Yaml:
    if len(base) != len(over):
        raise LabError(
            f"{FILE.name} has {len(base)} nodes, {OVERLAY} describes {len(over)}: bring them together"
        )
    return [merged(node, laid) for node, laid in zip(base, over, strict=True)]
