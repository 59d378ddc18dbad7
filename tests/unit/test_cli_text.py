import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomsayer.cli.text import harmless, shortened, valid, width

names = st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nginx", "nginx"),
        ("a b", "a b"),
        ("new\nline", r"new\x0aline"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\udcff", r"\xff"),
        ("größe", "größe"),
        ("\u202edcba", r"\u202edcba"),
        ("\x7f\x85", r"\x7f\x85"),
    ],
)
def test_harmless(text: str, expected: str) -> None:
    assert harmless(text) == expected


@given(names)
def test_nothing_shown_can_move_the_cursor(name: str) -> None:
    assert harmless(name).isprintable()


@given(st.binary())
def test_bytes_of_any_kind_become_valid_text(raw: bytes) -> None:
    valid(raw.decode("utf-8", "surrogateescape")).encode()


@given(names.map(harmless), st.integers(4, 60))
def test_shortened_text_fits(text: str, columns: int) -> None:
    short = shortened(text, columns)
    assert width(short) <= columns
    assert short == text or "…" in short


def test_both_ends_of_a_name_survive() -> None:
    assert shortened("/kubepods.slice/kubepods-burstable.slice/x.scope", 20) == "/kubep…slice/x.scope"
