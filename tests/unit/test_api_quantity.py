import pytest

from oomsayer.api.quantity import binary


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (812, "812"),
        (1024, "1Ki"),
        (1536, "1.5Ki"),
        (38 << 20, "38Mi"),
        (10 * 1024 - 1, "9.9Ki"),
        ((1 << 30) - 1, "1023Mi"),
        (-4096, "-4Ki"),
        (1 << 70, "1024Ei"),
    ],
)
def test_bytes_read_as_kubernetes_writes_them(count: int, text: str) -> None:
    assert binary(count) == text
