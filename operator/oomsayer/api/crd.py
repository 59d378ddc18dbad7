"""CustomResourceDefinitions from the models: python -m oomsayer.api.crd crds charts/oomsayer/templates/crds.

The API server accepts structural schemas only: no $ref, no anyOf for "may be absent", no titles. That, list
types and integer formats are all that is changed on the way; descriptions and bounds are the models' own.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from oomsayer.api import vocabulary
from oomsayer.api.forecast import OOMForecast
from oomsayer.api.model import Model
from oomsayer.api.policy import OOMPolicy
from oomsayer.api.report import NodeMemoryReport

Schema = dict[str, Any]
"""JSON Schema or a piece of it: open by nature."""

INT32_MAX = 2**31 - 1
LARGEST_EXACT_BOUND = 2**53
"""Bounds are float64 to the API server; beyond this the int64 format says what there is to say."""
LINE_WIDTH = 110

TYPE_META: Schema = {
    "apiVersion": {
        "type": "string",
        "description": f"Version of the schema of this object: {vocabulary.API_VERSION}.",
    },
    "kind": {"type": "string", "description": "What this object is."},
    "metadata": {"type": "object"},
}

CHART_HEADER = """\
{{- if .Values.crds.enabled }}
# Generated from the models in operator/oomsayer/api by `make generate`: change those.
"""
CHART_METADATA = """\
metadata:
  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
  labels:
    {{- include "oomsayer.labels" . | nindent 4 }}
"""
CHART_FOOTER = "{{- end }}\n"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; with priority 1 only of `kubectl get -o wide`."""

    name: str
    jsonPath: str  # noqa: N815 - the API's own name, written as it is
    type: str = "string"
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind and how kubectl knows it.

    Attributes:
        model: the pydantic model, named as the kind.
        plural: the name in URLs.
        short: what people type.
        columns: of `kubectl get`, after the name.
        status_subresource: whether status has a URL, and so rights, of its own.
        defaults: whether the API server fills in what a writer left out. Not where it would only
            make the stored object bigger.
    """

    model: type[Model]
    plural: str
    short: str
    columns: Sequence[Column]
    status_subresource: bool
    defaults: bool

    @property
    def kind(self) -> str:
        """The kind, e.g. "OOMForecast"."""
        return self.model.__name__

    @property
    def name(self) -> str:
        """The name of the definition, e.g. "oomforecasts.oomsayer.dev"."""
        return f"{self.plural}.{vocabulary.GROUP}"


AGE = Column("Age", ".metadata.creationTimestamp", "date")

RESOURCES = (
    Resource(
        NodeMemoryReport,
        vocabulary.REPORT_PLURAL,
        vocabulary.REPORT_SHORT,
        (
            Column("Kernel", ".status.kernel", description="uname -r of the node."),
            Column("Era", ".status.era", description="Which rules of the OOM killer apply."),
            Column("Cgroup", ".status.cgroupVersion", "integer", "Version of the memory controller."),
            Column("Agent", ".status.agentVersion", description="Version of the agent."),
            Column("Sampled", ".status.sampledAt", "date", "Time since the sample was taken."),
            AGE,
        ),
        status_subresource=False,
        defaults=False,
    ),
    Resource(
        OOMForecast,
        vocabulary.FORECAST_PLURAL,
        vocabulary.FORECAST_SHORT,
        (
            Column("Victim", ".status.next.comm", description="The process that is taken next."),
            Column("Pod", ".status.next.pod", description="Its pod; none for a process of the node itself."),
            Column("Container", ".status.next.container", description="Its container."),
            Column("Domain", ".status.next.domainKind", description="What runs out of memory first."),
            Column("Headroom", ".status.next.headroom", description="How much that can still grow."),
            Column("Time", ".status.next.timeToOOM.text", description="When its OOM comes, as it grows now."),
            Column("Confidence", ".status.next.confidence", description="How far to rely on it."),
            Column("Right", ".status.scorecard.right", description="Kills foretold rightly.", priority=1),
            Column("Sampled", ".status.sampledAt", "date", "Time since the sample was taken.", priority=1),
            Column("Margin", ".status.next.margin", description="Lead over the runner-up.", priority=1),
            Column("Pid", ".status.next.pid", "integer", "Of the victim, on the node.", priority=1),
            Column("Adj", ".status.next.oomScoreAdj", "integer", "Its oom_score_adj.", priority=1),
            Column("At-Risk", '.status.conditions[?(@.type=="AtRisk")].status', priority=1),
            Column("Ready", '.status.conditions[?(@.type=="Ready")].status', priority=1),
            Column("Age", ".metadata.creationTimestamp", "date", priority=1),
        ),
        status_subresource=True,
        defaults=False,
    ),
    Resource(
        OOMPolicy,
        vocabulary.POLICY_PLURAL,
        vocabulary.POLICY_SHORT,
        (
            Column("Namespaces", ".spec.namespaces.include", description="Empty: all."),
            Column("Pod%", ".spec.thresholds.podHeadroomPercent", "integer", "Warns below this headroom."),
            Column("Node%", ".spec.thresholds.nodeHeadroomPercent", "integer", "Warns below this headroom."),
            Column("Events", ".spec.publish.events", "boolean", "Whether Events are written."),
            Column("Annotations", ".spec.publish.annotations", "boolean", "Whether pods are annotated."),
            Column("Accepted", '.status.conditions[?(@.type=="Accepted")].status'),
            AGE,
        ),
        status_subresource=True,
        defaults=True,
    ),
)


def manifest(resource: Resource) -> Schema:
    """The CustomResourceDefinition of a resource."""
    version: Schema = {
        "name": vocabulary.VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [_column(column) for column in resource.columns],
        "schema": {"openAPIV3Schema": schema(resource.model, defaults=resource.defaults)},
    }
    if resource.status_subresource:
        version["subresources"] = {"status": {}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": resource.name},
        "spec": {
            "group": vocabulary.GROUP,
            "scope": "Cluster",
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": [resource.short],
                "categories": [vocabulary.CATEGORY],
            },
            "versions": [version],
        },
    }


def schema(model: type[Model], *, defaults: bool) -> Schema:
    """The structural schema of a kind, with or without defaults that the API server fills in."""
    source = model.model_json_schema(by_alias=True)
    result = _structural(source, source.get("$defs", {}), defaults=defaults)
    result["properties"] |= TYPE_META
    result["required"] = [name for name in result.pop("required", ()) if name not in TYPE_META]
    return {key: value for key, value in result.items() if value != []}


def plain_yaml(definition: Schema) -> str:
    """The text of a file in crds/."""
    header = "# Generated from the models in operator/oomsayer/api by `make generate`: change those.\n"
    return header + _dump(definition)


def chart_yaml(definition: Schema) -> str:
    """The same as a template of the chart, behind crds.enabled and kept by an uninstall.

    Raises:
        ValueError: a description holds "{{", which Helm would take for its own.
    """
    text = _dump(definition)
    if "{{" in text:
        raise ValueError(f"{definition['metadata']['name']}: a description holds '{{{{': Helm would run it")
    return CHART_HEADER + text.replace("metadata:\n", CHART_METADATA, 1) + CHART_FOOTER


def files(plain: Path, chart: Path) -> dict[Path, str]:
    """What belongs into which file."""
    result = {}
    for resource in RESOURCES:
        definition = manifest(resource)
        result[plain / f"{resource.name}.yaml"] = plain_yaml(definition)
        result[chart / f"{resource.plural}.yaml"] = chart_yaml(definition)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, or with --check only say which of them are not as they should be."""
    parser = argparse.ArgumentParser(prog="python -m oomsayer.api.crd", description=main.__doc__)
    parser.add_argument("plain", type=Path, help="directory of the plain CRDs: crds")
    parser.add_argument("chart", type=Path, help="directory of the chart's: charts/oomsayer/templates/crds")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file differs")
    arguments = parser.parse_args(argv)
    wanted = files(arguments.plain, arguments.chart)
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    for path in stale:
        if arguments.check:
            sys.stderr.write(f"{path} differs from the models: run `make generate`\n")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path])
    return 1 if arguments.check and stale else 0


def _column(column: Column) -> Schema:
    return {key: value for key, value in asdict(column).items() if value}


def _structural(node: Schema, definitions: Mapping[str, Schema], *, defaults: bool) -> Schema:
    """One schema, with everything that it refers to put in its place."""
    node = _inlined(node, definitions)
    result = {key: value for key, value in node.items() if key not in {"$defs", "title"}}
    default = result.pop("default", None)
    if "properties" in result:
        parts = {
            name: _structural(part, definitions, defaults=defaults)
            for name, part in result["properties"].items()
        }
        result["properties"] = parts
        if default is not None:
            default = {name: part["default"] for name, part in parts.items() if "default" in part}
    if "items" in result:
        result["items"] = _structural(result["items"], definitions, defaults=defaults)
        result.setdefault("x-kubernetes-list-type", "atomic")
    if default is not None and defaults:
        result["default"] = default
    elif default not in (None, "", [], {}):
        result["description"] = (
            f"{result.get('description', '')} {json.dumps(default)} where left out.".lstrip()
        )
    if "description" in result:
        result["description"] = " ".join(result["description"].split())
    _bounds(result)
    return result


def _inlined(node: Schema, definitions: Mapping[str, Schema]) -> Schema:
    """Without $ref, and without the null of what may be absent: it is left out instead."""
    result = dict(node)
    if "anyOf" in result:
        (present,) = [choice for choice in result.pop("anyOf") if choice != {"type": "null"}]
        result = present | result
    if "$ref" in result:
        referred = definitions[result.pop("$ref").rpartition("/")[2]]
        result = dict(referred) | result
    if "const" in result:
        result["enum"] = [result.pop("const")]
    return result


def _bounds(node: Schema) -> None:
    if node.get("type") != "integer":
        return
    node["format"] = "int32" if node.get("maximum", LARGEST_EXACT_BOUND) <= INT32_MAX else "int64"
    for bound in ("minimum", "maximum"):
        if abs(node.get(bound, 0)) > LARGEST_EXACT_BOUND:
            del node[bound]


class _Plain(yaml.SafeDumper):
    """Writes what stands in two places twice: no generator of CRDs uses anchors."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - of nothing
        return True


def _dump(definition: Schema) -> str:
    text: str = yaml.dump(definition, Dumper=_Plain, sort_keys=False, width=LINE_WIDTH, allow_unicode=True)
    return text


if __name__ == "__main__":
    sys.exit(main())
