import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomsayer.node.pidcgroup import absolute, memory_path

HYBRID = b"9:name=systemd:/x\n4:memory:/a:b/c\n3:cpu,cpuacct:/y\n0::/z\n"


def test_the_line_of_the_memory_controller() -> None:
    assert memory_path(HYBRID, 1) == "/a:b/c"
    assert memory_path(HYBRID, 2) == "/z"
    assert memory_path(b"5:cpu,memory:/both\n", 1) == "/both"
    assert memory_path(b"0::/only\n", 1) is None
    assert memory_path(b"1:name=memory:/no\n", 1) is None


@pytest.mark.parametrize(
    ("path", "base", "expected"),
    [
        ("/a/b", "/", "/a/b"),
        ("/", "/", "/"),
        ("/", "/k/pod/ctr", "/k/pod/ctr"),
        ("/../../system.slice/x", "/k/pod", "/system.slice/x"),
        ("/..", "/k", "/"),
        ("/../..", "/k", None),
        ("/../other/../..", "/k", None),
        ("/a/..b", "/", "/a/..b"),
    ],
)
def test_absolute(path: str, base: str, expected: str | None) -> None:
    assert absolute(path, base) == expected


@given(st.binary())
def test_no_content_raises(data: bytes) -> None:
    for version in (1, 2):
        path = memory_path(data, version)
        if path is not None:
            absolute(path, "/a/b")
