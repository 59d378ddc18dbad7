"""The CRDs: structural, documented, bounded, and the same as the files."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oomsayer.api import vocabulary
from oomsayer.api.crd import RESOURCES, Resource, chart_yaml, files, main, manifest, schema
from oomsayer.api.model import Model

ROOT = Path(__file__).resolve().parents[2]
PLAIN = ROOT / "crds"
CHART = ROOT / "charts" / "oomsayer" / "templates" / "crds"

every_kind = pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)


def nodes(part: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within a schema, with its path."""
    yield path, part
    for name, below in part.get("properties", {}).items():
        yield from nodes(below, f"{path}.{name}")
    if "items" in part:
        yield from nodes(part["items"], f"{path}[]")


def of(resource: Resource) -> dict[str, dict[str, Any]]:
    return dict(nodes(schema(resource.model, defaults=resource.defaults)))


def test_the_files_are_as_the_models_say() -> None:
    stale = [str(path) for path, text in files(PLAIN, CHART).items() if path.read_text() != text]

    assert stale == [], "run: make generate"


def test_no_other_files_lie_there() -> None:
    assert {*PLAIN.iterdir(), *CHART.iterdir()} == set(files(PLAIN, CHART))


def test_check_names_the_files_that_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, chart = tmp_path / "plain", tmp_path / "chart"
    arguments = [str(plain), str(chart)]

    missing = main([*arguments, "--check"])
    written = main(arguments)
    clean = main([*arguments, "--check"])
    (plain / "oompolicies.oomsayer.dev.yaml").write_text("")
    changed = main([*arguments, "--check"])

    assert (missing, written, clean, changed) == (1, 0, 0, 1)
    assert (
        capsys.readouterr().err.splitlines()[-1].startswith(f"{plain}/oompolicies.oomsayer.dev.yaml differs")
    )


@every_kind
def test_schemas_are_structural(resource: Resource) -> None:
    allowed = {"object", "array", "string", "integer", "boolean", "number"}
    for path, part in of(resource).items():
        assert part["type"] in allowed, path
        assert part.keys().isdisjoint(
            {"$ref", "$defs", "anyOf", "oneOf", "allOf", "title", "const", "null"}
        ), path


@every_kind
def test_every_field_is_described(resource: Resource) -> None:
    fields = {path: part for path, part in of(resource).items() if not path.endswith("[]")}

    assert [path for path, part in fields.items() if not part.get("description")] == [".metadata"]


@every_kind
def test_every_size_is_bounded(resource: Resource) -> None:
    for path, part in of(resource).items():
        if path in {".apiVersion", ".kind"} or "enum" in part or part.get("format") == "date-time":
            continue
        if part["type"] == "string":
            assert part["maxLength"] <= 32768, path
        if part["type"] == "array":
            assert part["maxItems"] <= 4096, path
            assert part["x-kubernetes-list-type"] in {"atomic", "set", "map"}, path


@every_kind
def test_integers_say_how_wide_they_are(resource: Resource) -> None:
    integers = [part for part in of(resource).values() if part["type"] == "integer"]

    assert {part["format"] for part in integers} <= {"int32", "int64"}
    assert max(abs(part.get("maximum", 0)) for part in integers) <= 2**53


@every_kind
def test_only_a_policy_is_filled_in_by_the_api_server(resource: Resource) -> None:
    defaulted = [path for path, part in of(resource).items() if "default" in part]

    assert bool(defaulted) == (resource.kind == vocabulary.POLICY_KIND)


def test_a_policys_defaults_are_the_models() -> None:
    (policy,) = (resource for resource in RESOURCES if resource.kind == vocabulary.POLICY_KIND)
    model = policy.model.model_validate({"metadata": {"name": "default"}})

    assert of(policy)[".spec"]["default"] == model.model_dump(by_alias=True, mode="json")["spec"]


@every_kind
def test_names(resource: Resource) -> None:
    definition = manifest(resource)
    names = definition["spec"]["names"]
    said = {
        vocabulary.REPORT_KIND: (vocabulary.REPORT_PLURAL, vocabulary.REPORT_SHORT),
        vocabulary.FORECAST_KIND: (vocabulary.FORECAST_PLURAL, vocabulary.FORECAST_SHORT),
        vocabulary.POLICY_KIND: (vocabulary.POLICY_PLURAL, vocabulary.POLICY_SHORT),
    }

    assert (names["plural"], *names["shortNames"]) == said[names["kind"]]
    assert definition["metadata"]["name"] == f"{names['plural']}.{vocabulary.GROUP}"
    assert names["categories"] == [vocabulary.CATEGORY]
    assert resource.model.model_fields["api_version"].default == vocabulary.API_VERSION
    assert resource.model.model_fields["kind"].default == names["kind"]


@every_kind
def test_columns_show_fields_that_exist(resource: Resource) -> None:
    fields = of(resource)
    for column in resource.columns:
        path = column.jsonPath.partition("[?")[0]
        assert path.startswith(".metadata.") or path in fields, column


def test_a_description_that_helm_would_run_is_refused() -> None:
    class Templated(Model):
        """Say {{ .Values.secret }}."""

    resource = Resource(Templated, "templateds", "t", (), status_subresource=False, defaults=False)

    with pytest.raises(ValueError, match=r"templateds\.oomsayer\.dev: a description holds '\{\{'"):
        chart_yaml(manifest(resource))
