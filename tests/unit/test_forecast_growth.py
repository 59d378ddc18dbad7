"""Growth with an error band: what misleads, one by one."""

import random
from collections.abc import Callable
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomsayer.forecast.growth import Growth, climbs, growth, sen
from oomsayer.forecast.history import KEPT_SECONDS, History

MIB = 1 << 20
Demand = Callable[[float], float]
"""MiB at a second."""


def of(demand: Demand, seconds: int, every: float = 2.0) -> Growth:
    history = History()
    for turn in range(int(seconds / every) + 1):
        history.add(turn * every, demand(turn * every) * MIB)
    found = growth(history.points())
    assert found is not None
    return found


def test_a_leak_is_its_rate() -> None:
    leak = of(lambda t: 10 + t / 4, 120)
    assert leak.low <= MIB / 4 <= leak.high
    assert leak.high - leak.low < MIB / 10
    assert (leak.returns, leak.quickening) == (0, 0)
    assert leak.level_bytes == 40 * MIB


def test_noise_widens_the_band_and_leaves_the_rate_in_it() -> None:
    rng = random.Random(1)
    leak = of(lambda t: 10 + t / 4 + rng.uniform(-0.4, 0.4), 120)
    assert 0 < leak.low <= MIB / 4 <= leak.high


def test_what_stays_does_not_grow() -> None:
    assert of(lambda _: 50, 60).middle == 0


def test_a_step_is_no_growth_once_it_is_over() -> None:
    stepped = of(lambda t: 20 if t < 50 else 100, 120)
    assert stepped.low <= 0 == stepped.middle


def test_stairs_are_growth_at_the_pace_of_the_stairs() -> None:
    stairs = of(lambda t: 12 * (t // 15), 240, every=1)
    assert 0 < stairs.low <= 12 / 15 * MIB <= stairs.high


def test_a_leak_after_a_calm_hour_counts_from_its_beginning() -> None:
    late = of(lambda t: 50 + max(t - 3600, 0) / 2, 3720)
    assert 0 < late.low <= MIB / 2 <= late.high


@pytest.mark.parametrize("period", [6, 20, 60, 240])
def test_a_sawtooth_does_not_grow_however_steep_its_teeth(period: int) -> None:
    tooth = of(lambda t: 50 + (t % period) * 100 / period, 4 * period + period * 3 // 4, every=1)
    assert tooth.returns >= 3
    assert tooth.low <= 0
    assert tooth.middle < MIB / 50


def test_demand_below_zero_is_like_any_other() -> None:
    """Where swap would take more than there is."""

    def tooth(t: float) -> float:
        return (t % 20) * 5

    above, below = of(lambda t: 10 + tooth(t), 115, every=1), of(lambda t: tooth(t) - 8000, 115, every=1)
    assert (above.returns, above.middle) == (below.returns, below.middle)


def test_a_sawtooth_whose_peaks_rise_grows_as_they_do() -> None:
    rising = of(lambda t: 50 + t / 10 + (t % 20) * 4, 290, every=1)
    assert rising.returns >= 3
    assert 0 < rising.low <= MIB / 10 <= rising.high
    assert rising.level_bytes > (50 + 29 + 60) * MIB


def test_a_first_return_makes_no_habit() -> None:
    once = of(lambda t: t if t < 60 else t - 55, 100)
    assert once.returns == 1
    assert once.low <= 0 < once.middle < MIB <= once.high


def test_a_climb_far_beyond_all_before_speaks_for_itself() -> None:
    leaking = of(lambda t: 50 + t % 20 if t < 200 else 50 + (t - 200), 300, every=1)
    assert leaking.returns >= 3
    assert 0 < leaking.low <= MIB <= leaking.high


def test_growth_that_quickens_or_slows_down_says_so() -> None:
    assert of(lambda t: t * t / 500, 200).quickening > 0
    assert of(lambda t: 100 * (1 - 0.98**t), 100).quickening < 0


def test_too_few_points_say_nothing() -> None:
    assert growth([(float(t), 1.0) for t in range(5)]) is None
    assert growth([]) is None


def test_sens_slope_and_its_interval() -> None:
    assert sen([(0, 0), (1, 10), (2, 20), (3, 30)]) == (10, 10, 10)
    low, middle, high = sen([(0, 0), (1, 10), (2, 90), (3, 30), (4, 40)])
    assert low <= 10 <= middle <= high


def test_climbs_end_where_demand_came_back() -> None:
    mebibytes = [10, 30, 50, 12, 30, 52, 51, 14, 20]
    found = climbs([(float(second), size * MIB) for second, size in enumerate(mebibytes)])
    assert [climb.peak[0] for climb in found] == [2, 5, 8]
    assert [climb.points[0][0] for climb in found] == [0, 3, 7]


@given(st.lists(st.tuples(st.floats(0.1, 60), st.floats(-(2.0**50), 2.0**50)), max_size=80))
def test_any_series_has_an_ordered_band(steps: list[tuple[float, float]]) -> None:
    moment, points = 0.0, []
    for seconds, demand in steps:
        moment += seconds
        points.append((moment, demand))
    found = growth(points)
    if found is not None:
        assert -inf < found.low <= found.middle <= found.high < inf


def test_what_stalled_and_falls_a_little_has_an_ordered_band_too() -> None:
    climb = [(float(second), second * 10.0 * MIB) for second in range(8)]
    found = growth([*climb, *((8.0 + second, (70 - second / 3) * MIB) for second in range(30))])
    assert found is not None
    assert found.low < found.middle == found.high == 0


class TestHistory:
    def test_the_last_moments_are_kept_exactly(self) -> None:
        history = History()
        for second in range(500):
            history.add(second, second % 7)
        assert history.points()[-10:] == [(second, second % 7) for second in range(490, 500)]

    def test_hours_fit_into_few_points_and_no_peak_is_lost(self) -> None:
        history = History()
        for second in range(0, 7000, 2):
            history.add(second, 500.0 if second == 2000 else second % 100)
        points = history.points()
        assert len(points) < 250
        assert points == sorted(points, key=lambda point: point[0])
        assert max(points, key=lambda point: point[1]) == (2000, 500.0)
        assert history.span() == 500.0
        assert history.seconds == pytest.approx(7000, abs=400)

    def test_what_is_too_long_ago_is_dropped(self) -> None:
        history = History()
        for second in range(0, int(KEPT_SECONDS) * 2, 10):
            history.add(second, 1.0)
        assert history.seconds <= KEPT_SECONDS + 600
