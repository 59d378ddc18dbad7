"""The table of values in the chart's README, out of values.schema.json and values.yaml.

`python tests/chart/values_table.py` writes it anew; a test holds the README to it.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[2] / "charts" / "oomsayer"
README = CHART / "README.md"
BEGIN = "<!-- values: begin -->\n"
END = "<!-- values: end -->\n"


def leaves(schema: dict[str, Any], values: Any, path: str = "") -> Iterator[tuple[str, Any, str]]:  # noqa: ANN401 - YAML is open by nature
    """Every value that can be set: its path, default and description."""
    for name, part in schema["properties"].items():
        where = f"{path}.{name}" if path else name
        if "properties" in part:
            yield from leaves(part, values[name], where)
        elif where != "global":
            yield where, values[name], part["description"]


def table() -> str:
    """The table as the README has it."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    rows = [
        f"| `{path}` | {text} | `{json.dumps(default)}` |" for path, default, text in leaves(schema, values)
    ]
    return "\n".join(["| Value | Meaning | Default |", "|---|---|---|", *rows, ""])


def with_table(readme: str) -> str:
    """A README with its table as it should be."""
    head, _, rest = readme.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + table() + END + tail


if __name__ == "__main__":
    README.write_text(with_table(README.read_text()))
