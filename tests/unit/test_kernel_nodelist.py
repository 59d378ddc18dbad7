import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomsayer.kernel import nodelist


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("0", {0}),
        ("0-1,4", {0, 1, 4}),
        ("\t0-2\n", {0, 1, 2}),
        ("(null)", set()),
        ("", set()),
        ("3-1", set()),
        ("1000-9999", set(range(1000, 1025))),
    ],
)
def test_a_list_of_nodes(text: str, nodes: set[int]) -> None:
    assert nodelist.parse(text) == nodes


@given(st.frozensets(st.integers(0, 1023)))
def test_what_is_written_is_read_again(nodes: frozenset[int]) -> None:
    assert nodelist.parse(nodelist.text(nodes)) == nodes


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert all(0 <= node <= 1024 for node in nodelist.parse(text))
