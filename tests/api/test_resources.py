"""The custom resources on a real API server: accepted, unpruned, validated, readable."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.api.server import ROOT, Installation, Json

from oomsayer.api.crd import RESOURCES, Resource

TERMINAL = 120

every_kind = pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)


def filled(schema: dict[str, Any]) -> Json:
    """A value for a schema, with every field that it knows."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema["type"]:
        case "integer" | "number":
            return schema.get("minimum", 1)
        case "object":
            return {name: filled(part) for name, part in schema["properties"].items()}
        case "array":
            return [filled(schema["items"])]
        case "boolean":
            return True
    texts = ["2026-11-24T10:00:00.250000Z"] if schema.get("format") == "date-time" else ["x", "X", "1"]
    return next(text for text in texts if re.search(schema.get("pattern", ""), text))


def full_object(resource: Resource) -> dict[str, Json]:
    definition = yaml.safe_load(Path(ROOT / "crds" / f"{resource.name}.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    parts = version["schema"]["openAPIV3Schema"]["properties"]
    body = {name: filled(part) for name, part in parts.items() if name in {"spec", "status"}}
    if "spec" in body:
        # The one rule between fields: a namespace is not both included and excluded.
        body["spec"]["namespaces"]["exclude"] = ["y"]
    return {
        "apiVersion": "oomsayer.dev/v1alpha1",
        "kind": resource.kind,
        "metadata": {"name": f"full-{resource.short}"},
        **body,
    }


def policy(name: str = "p", **spec: Json) -> dict[str, Json]:
    return {
        "apiVersion": "oomsayer.dev/v1alpha1",
        "kind": "OOMPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def forecast(node: str, pod: str) -> dict[str, Json]:
    return {
        "apiVersion": "oomsayer.dev/v1alpha1",
        "kind": "OOMForecast",
        "metadata": {"name": node},
        "status": {
            "sampledAt": "2026-11-24T10:00:00Z",
            "next": {
                "domain": f"container {pod}/checkout",
                "domainKind": "container",
                "comm": "gunicorn",
                "pod": pod,
                "container": "checkout",
                "headroom": "38Mi",
                "timeToOOM": {"trend": "not growing", "text": "not growing", "confidence": "high"},
                "margin": "120Mi",
                "confidence": "high",
            },
        },
    }


@every_kind
def test_the_api_server_accepts_the_definition(installed: Installation, resource: Resource) -> None:
    conditions = installed.api_server.get("crd", resource.name)["status"]["conditions"]

    assert {c["type"]: c["status"] for c in conditions} == {"NamesAccepted": "True", "Established": "True"}


@every_kind
def test_nothing_is_pruned(installed: Installation, resource: Resource) -> None:
    admin = installed.api_server
    sent = full_object(resource)

    admin.kubectl("create", "-f", "-", stdin=json.dumps(sent))
    if resource.status_subresource:
        patch = json.dumps({"status": sent["status"]})
        name = sent["metadata"]["name"]
        admin.kubectl("patch", resource.plural, name, "--subresource=status", "--type=merge", "-p", patch)
    stored = admin.get(resource.short, sent["metadata"]["name"])

    assert {key: stored.get(key) for key in ("spec", "status")} == {
        key: sent.get(key) for key in ("spec", "status")
    }
    model = resource.model.model_validate(stored)
    written = model.model_dump(by_alias=True, exclude_none=True, mode="json")
    assert written["status"] == sent["status"]


def test_a_status_is_written_by_itself_where_it_has_a_url_of_its_own(installed: Installation) -> None:
    admin = installed.api_server
    admin.apply(forecast("stripped", "shop/checkout-0"))

    assert "status" not in admin.get("oomf", "stripped")


def test_the_category_lists_all_kinds(installed: Installation) -> None:
    admin = installed.api_server
    admin.apply(policy("listed"))

    listed = admin.kubectl("get", "oomsayer", "-o", "name").split()

    assert "oompolicy.oomsayer.dev/listed" in listed


def test_a_policy_without_a_spec_shows_the_defaults(installed: Installation) -> None:
    admin = installed.api_server
    admin.apply({key: value for key, value in policy("empty").items() if key != "spec"})

    spec = admin.get("oomp", "empty")["spec"]

    assert spec["thresholds"] == {
        "podHeadroomPercent": 10,
        "nodeHeadroomPercent": 5,
        "clearPercent": 5,
        "minutesToOOM": 10,
    }
    assert spec["publish"] == {"events": True, "annotations": True}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            {"thresholds": {"podHeadroomPercent": 120}},
            "spec.thresholds.podHeadroomPercent in body should be less than or equal to 100",
        ),
        (
            {"thresholds": {"nodeHeadroomPercent": -1}},
            "spec.thresholds.nodeHeadroomPercent in body should be greater than or equal to 0",
        ),
        (
            {"thresholds": {"podHeadroomPercent": 98}},
            "spec.thresholds.clearPercent and podHeadroomPercent are above 100 together",
        ),
        (
            {"namespaces": {"include": ["shop", "cart"], "exclude": ["cart"]}},
            "spec.namespaces.exclude names a namespace that spec.namespaces.include names too",
        ),
        ({"namespaces": {"include": ["Shop"]}}, "spec.namespaces.include[0] in body should match"),
        (
            {"namespaces": {"include": ["shop", "shop"]}},
            'spec.namespaces.include[1]: Duplicate value: "shop"',
        ),
        ({"publish": {"events": "yes"}}, "spec.publish.events"),
        ({"threshold": {"podHeadroomPercent": 20}}, 'unknown field "spec.threshold"'),
    ],
    ids=["above", "below", "never-ends", "both", "no-name", "twice", "no-bool", "misspelt"],
)
def test_an_invalid_policy_is_refused_by_field(
    installed: Installation, spec: dict[str, Json], message: str
) -> None:
    assert message in installed.api_server.create_refused(policy(**spec))


def test_forecasts_read_well_on_a_terminal(installed: Installation) -> None:
    admin = installed.api_server
    node, pod = "kind-worker2", "shop/checkout-6f7d9c5b8d-x2x4z"
    item = forecast(node, pod)
    admin.apply(item)
    admin.patch("oomforecasts", node, "--subresource=status", patch={"status": item["status"]})

    header, row = admin.kubectl("get", "oomf", node).splitlines()

    assert header.split() == [
        *("NAME", "VICTIM", "POD", "CONTAINER", "DOMAIN", "HEADROOM", "TIME", "CONFIDENCE"),
    ]
    assert row.split() == [node, "gunicorn", pod, "checkout", "container", "38Mi", "not", "growing", "high"]
    assert max(len(header), len(row)) <= TERMINAL


@every_kind
def test_explain_describes_every_field(installed: Installation, resource: Resource) -> None:
    text = installed.api_server.kubectl("explain", resource.plural, "--recursive")

    assert "<no description>" not in text
    assert resource.kind in text
