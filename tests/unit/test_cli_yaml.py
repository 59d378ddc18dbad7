import datetime as dt

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oomsayer.cli.yaml import dump

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
keys = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=30)


# No deadlines: how long an example takes depends on what else the machine does.
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values)
def test_a_yaml_reader_reads_what_was_written(value: object) -> None:
    assert yaml.safe_load(dump(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "NO",
        "null",
        "~",
        "1",
        "1e3",
        "0x1f",
        "-",
        "",
        " a",
        "a: b",
        "# c",
        "2026-11-24",
        "=",
        "<<",
        "y",
        "\x85",
        "\u2028",
        "a\tb",
        "é",
    ],
)
def test_strings_stay_strings(text: str) -> None:
    loaded = yaml.safe_load(dump({text: [text]}))
    assert loaded == {text: [text]}


def test_it_reads_well() -> None:
    assert dump({"a": {"b": [1, {"c": None, "d": []}]}, "e": "x y"}) == (
        'a:\n  b:\n  - 1\n  - c: null\n    d: []\ne: "x y"\n'
    )


def test_other_values_are_refused() -> None:
    with pytest.raises(TypeError, match="date has no form"):
        dump([dt.date(2026, 11, 24)])
