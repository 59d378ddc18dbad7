"""docs/reference.md says what is published, no more and no less."""

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.controller_objects import status

from oomsayer.agent.metrics import Metrics as AgentMetrics
from oomsayer.agent.metrics import Sampled
from oomsayer.api.crd import RESOURCES
from oomsayer.api.forecast import RiskLevel
from oomsayer.api.vocabulary import Annotation, Condition, ConditionReason, EventReason
from oomsayer.controller.metrics import Metrics as OperatorMetrics
from oomsayer.controller.metrics import view
from oomsayer.forecast.match import MissReason, Outcome

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
ROW = re.compile(r"^\| `(oomsayer_\w+)` \| (\w+) \| ([\w, ]*)\| (.+) \|$", re.MULTILINE)


def section(title: str) -> str:
    return REFERENCE.partition(f"\n## {title}")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "words"),
    [
        ("Events", [reason.value for reason in EventReason]),
        ("Annotations", [annotation.value for annotation in Annotation]),
        ("Conditions", [*(c.value for c in Condition), *(reason.value for reason in ConditionReason)]),
        ("Metrics of the operator", [*RiskLevel, *Outcome, *MissReason]),
    ],
)
def test_every_name_is_explained_where_it_belongs(title: str, words: list[str]) -> None:
    named = re.findall(r"`([^`]+)`", section(title))
    assert [word for word in words if word not in named] == []


def test_the_fields_of_a_forecast_that_people_are_sent_to_are_there() -> None:
    texts = "".join(page.read_text() for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")))
    fields = set(re.findall(r"[{`]\.?(status(?:\.[a-zA-Z]+)+)[}`]", texts))
    assert {"status.eviction.order", "status.next.timeToOOM"} <= fields
    crd = yaml.safe_load((ROOT / "crds" / "oomforecasts.oomsayer.dev.yaml").read_text())
    (version,) = crd["spec"]["versions"]
    for field in fields:
        schema = version["schema"]["openAPIV3Schema"]
        for name in field.split("."):
            schema = schema["properties"][name]


def test_every_short_name_is_told() -> None:
    assert [r.short for r in RESOURCES if f"`{r.short}`" not in REFERENCE.partition("\n## ")[0]] == []


def exposed() -> dict[str, tuple[str, str]]:
    """Type and meaning of each of our metrics, by its full name."""
    agent = AgentMetrics()
    agent.self_checked(1, {"race": 0})
    agent.sample(Sampled(node_headroom_bytes=1), 0.1)
    operator = OperatorMetrics()
    found = {}
    for line in f"{agent.text()}{operator.exposition().decode()}".splitlines():
        if line.startswith("# HELP oomsayer_"):
            _, _, name, text = line.split(" ", 3)
        elif line.startswith("# TYPE oomsayer_"):
            found[name] = (line.split()[3], text)
    return found


def test_every_metric_is_there_with_its_type_and_meaning() -> None:
    assert {name: (kind, text) for name, kind, _, text in ROW.findall(REFERENCE)} == exposed()


def test_labels_are_those_that_are_exposed() -> None:
    told = {
        name: {label for label in labels.replace(" ", "").split(",") if label}
        for name, _, labels, _ in ROW.findall(REFERENCE)
    }
    operator = OperatorMetrics()
    operator.sources.nodes["n1"] = view(status(redis=490))
    operator.sources.api_failures["GET", 503] = 2
    operator.reports.labels("ok").inc()
    operator.events.labels("OOMRisk", "written").inc()
    agent = AgentMetrics()
    agent.self_checked(1, {"race": 0})
    text = f"{agent.text()}{operator.exposition().decode()}"
    seen = 0
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = re.sub(r"_(bucket|sum|count)$", "", sample.name)
            if name in told:
                seen += 1
                assert set(sample.labels) - {"le"} == told[name], name
    assert seen > len(told) / 2
