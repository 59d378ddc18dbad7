import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomsayer.node.files import keyed, number, read_if_there, read_list, read_record


def test_a_record_longer_than_one_read_is_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 100
    (tmp_path / "long").write_bytes(content)
    assert read_record(str(tmp_path / "long")) == content
    assert read_list(str(tmp_path / "long")) == content


def test_names_are_relative_to_a_directory(tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(b"1\n")
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        assert read_record("here", fd) == b"1\n"
        assert read_if_there("missing", fd) is None
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"12\n", 12),
        (b" -7 kB", -7),
        (b"0", 0),
        (b"", None),
        (b"max\n", None),
        (b"1_0", None),
        (b"9" * 5000, None),
    ],
)
def test_number(text: bytes, expected: int | None) -> None:
    assert number(text) == expected


@pytest.mark.parametrize(
    ("data", "key", "expected"),
    [
        (b"a 1\nab 2\nb 3\n", b"b ", 3),
        (b"a 1\nb 2", b"b ", 2),
        (b"b 1\nb 2\n", b"b ", 1),
        (b"ab 2\n", b"b ", None),
        (b"b \n", b"b ", None),
        (b"", b"b ", None),
    ],
)
def test_keyed(data: bytes, key: bytes, expected: int | None) -> None:
    assert keyed(data, key) == expected


@given(st.binary(), st.binary(min_size=1))
def test_no_content_raises(data: bytes, key: bytes) -> None:
    number(data)
    keyed(data, key)
