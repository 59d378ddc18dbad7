"""The time to OOM in a forecast: what is told, and when it is told again."""

from datetime import timedelta

import pytest
from tests.unit.controller_node import NAMES, NOW, POD, REDIS, WEB, at, leak, node, seen

from oomsayer.api.forecast import OOMForecastStatus, TimeToOOM
from oomsayer.controller.ahead import aged, moved, tell_again, time_to_oom
from oomsayer.controller.forecast import forecast_domains, next_victim
from oomsayer.controller.metrics import view
from oomsayer.forecast.oomtime import UNKNOWN, OomTime, Sureness, Trend
from oomsayer.forecast.prospect import Prospect

SURE = OomTime(Trend.GROWING, 240.0, 540.0)
MAYBE = OomTime(Trend.GROWING, 240.0, None, Sureness.LOW, ("it may as well not grow",))


def told(time: OomTime, seconds: float = 0.0) -> TimeToOOM:
    return time_to_oom(Prospect(time, REDIS), NOW + timedelta(seconds=seconds))


def test_a_range_is_told_as_moments_and_in_words() -> None:
    assert told(SURE).model_dump(by_alias=True, mode="json", exclude_none=True) == {
        "trend": "growing",
        "earliest": "2026-11-24T10:04:00Z",
        "latest": "2026-11-24T10:09:00Z",
        "text": "4m-9m",
        "confidence": "high",
        "because": [],
    }
    assert (told(MAYBE).text, told(MAYBE).latest) == (">4m", None)
    assert told(OomTime(Trend.STEADY)).text == "not growing"


@pytest.mark.parametrize("time", [UNKNOWN, MAYBE.after(240), OomTime(Trend.GROWING, 0.9, None, Sureness.LOW)])
def test_what_tells_nothing_is_called_unknown(time: OomTime) -> None:
    assert told(time).text == "<unknown>"


def test_what_comes_at_once_or_a_little_later_is_told() -> None:
    assert told(SURE.after(240)).text == "0s-5m"


def test_evidence_stands_with_the_doubts() -> None:
    prospect = Prospect(MAYBE, REDIS, ("its tasks wait for memory 34 % of the time",))
    assert time_to_oom(prospect, NOW).because == (*MAYBE.doubts, *prospect.evidence)


@pytest.mark.parametrize(
    ("before", "after", "seconds", "news"),
    [
        (SURE, SURE.after(30), 30, False),
        (SURE, SURE.after(90), 90, True),
        (SURE, OomTime(Trend.GROWING, 300.0, 600.0), 0, False),
        (SURE, OomTime(Trend.GROWING, 400.0, 900.0), 0, True),
        (SURE, MAYBE, 0, True),
        (SURE, OomTime(Trend.STEADY), 0, True),
        (MAYBE, MAYBE.after(10), 10, False),
        (OomTime(Trend.STEADY), OomTime(Trend.STEADY), 900, False),
    ],
)
def test_it_is_told_again_when_it_is_another(
    before: OomTime, after: OomTime, seconds: float, *, news: bool
) -> None:
    now = NOW + timedelta(seconds=seconds)
    assert moved(told(before), NOW, told(after, seconds), now) is news


def test_what_may_come_at_once_is_not_told_again_for_a_fraction_of_a_second() -> None:
    """Moments are kept in whole seconds, and both looks come somewhere within one."""
    at_once = OomTime(Trend.GROWING, 0.0, 600.0)
    for first, second in ((0.1, 5.9), (0.9, 5.1), (0.5, 5.5)):
        now = NOW + timedelta(seconds=second)
        assert not moved(told(at_once, first), NOW + timedelta(seconds=first), told(at_once, second), now)


def test_it_is_told_again_before_it_is_out_of_date() -> None:
    ahead = {REDIS: Prospect(SURE, REDIS), WEB: Prospect(OomTime(Trend.STEADY), WEB)}
    assert tell_again(ahead) == 60.0
    assert tell_again(aged(ahead, 235.0)) == 5.0
    assert tell_again({WEB: ahead[WEB]}) is None


def test_the_next_oom_is_that_of_the_domain_that_surely_grows_into_it() -> None:
    outlooks = seen(node(redis=400, web=200), growths={WEB: leak(8192)})
    line = next_victim(outlooks, NAMES, 4096)
    assert line is not None
    assert line.domain == "container shop/cart-0/web"
    assert line.time_to_oom is not None
    assert line.time_to_oom.text == "78s-3m"
    doubtful = seen(node(redis=400, web=200), growths={WEB: leak(8192, 10)})
    line = next_victim(doubtful, NAMES, 4096)
    assert line is not None
    assert line.domain == "container shop/cart-0/redis"


def test_an_oom_that_surely_comes_is_a_metric() -> None:
    def metric(seconds: float) -> dict[tuple[str, str], float]:
        outlooks = seen(node(web=200), growths={WEB: leak(8192, seconds)})
        domains = forecast_domains(outlooks, NAMES, 4096)
        line = next_victim(outlooks, NAMES, 4096)
        return view(OOMForecastStatus(node="n1", next=line, domains=domains)).oom_time

    assert metric(600) == {
        ("closest", "earliest"): (NOW + timedelta(seconds=78)).timestamp(),
        ("closest", "latest"): (NOW + timedelta(seconds=141)).timestamp(),
    }
    assert metric(10) == {}


def test_a_domain_names_the_level_above_that_runs_out_first() -> None:
    outlooks = seen(node(redis=100, web=1000, free=300))
    bound = {domain.path: domain.bound_by for domain in forecast_domains(outlooks, NAMES, 4096)}
    assert (bound[REDIS], bound[WEB], bound[POD]) == ("node", "", "node")
    assert at(REDIS, node()).bound_by == ""
