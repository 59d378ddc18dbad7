import pytest

from oomsayer.api.duration import short_span, span


@pytest.mark.parametrize(
    ("earliest", "latest", "short", "sentence"),
    [
        (250, 520, "4m-9m", "in 4 to 9 minutes"),
        (41.7, 71.2, "41s-72s", "in 41 to 72 seconds"),
        (40, 130, "40s-3m", "in 40 seconds to 3 minutes"),
        (60, 5399, "60s-90m", "in 60 seconds to 90 minutes"),
        (5401, 40000, "1h-12h", "in 1 to 12 hours"),
        (300, 300, "5m", "in about 5 minutes"),
        (0, 0.4, "0s-1s", "in 0 to 1 second"),
        (2500, None, ">41m", "not before 41 minutes, if at all"),
        (7200, None, ">2h", "not before 2 hours, if at all"),
    ],
)
def test_a_span_is_rounded_outward(earliest: float, latest: float | None, short: str, sentence: str) -> None:
    assert short_span(earliest, latest) == short
    assert span(earliest, latest) == sentence
