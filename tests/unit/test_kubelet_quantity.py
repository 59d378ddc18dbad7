import pytest

from oomsayer.kubelet.quantity import parse_quantity


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("128974848", 128974848),
        ("129M", 129_000_000),
        ("123Mi", 123 << 20),
        ("1.5Gi", 3 << 29),
        (".5Ki", 512),
        ("12e6", 12_000_000),
        ("1E3", 1000),
        ("2E", 2 * 10**18),
        ("128974848000m", 128974848),
        ("1m", 1),
        ("1k", 1000),
        ("-5Mi", -5 << 20),
    ],
)
def test_quantities_are_read_as_kubernetes_reads_them(text: str, count: int) -> None:
    assert parse_quantity(text) == count


@pytest.mark.parametrize("text", ["", "Mi", "1 Gi x", "1K", "1mi", "five", "1e", "0x10", "1Gi "[::-1]])
def test_what_is_no_quantity_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is no quantity"):
        parse_quantity(text)
