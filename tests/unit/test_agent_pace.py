import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomsayer.agent.pace import (
    CALM_SHARE,
    LIVELY_SHARE,
    LONGEST_CALM_SECONDS,
    LONGEST_LIVELY_SECONDS,
    UNEVENNESS,
    Pace,
    pause,
    unevenly,
)
from oomsayer.forecast.growth import growth
from oomsayer.forecast.history import History
from oomsayer.forecast.oomtime import OomTime, Sureness, Trend, oom_time

MIB = 1 << 20


@given(st.floats(0, 2), st.floats(0.1, 10))
def test_the_shares_of_a_processor_hold_until_the_longest_wait(cost: float, interval: float) -> None:
    calm, near = pause(cost, interval, lively=False), pause(cost, interval, lively=True)

    assert calm >= max(interval, min(cost / CALM_SHARE, LONGEST_CALM_SECONDS))
    assert near >= min(cost / LIVELY_SHARE, LONGEST_LIVELY_SECONDS)
    assert near <= calm


def test_a_small_node_is_sampled_at_the_interval() -> None:
    assert pause(0.002, 2.0, lively=False) == 2.0
    assert pause(0.002, 2.0, lively=True) == 0.5


def test_one_dear_sample_does_not_slow_the_agent_down() -> None:
    pace = Pace(2.0)
    waits = [pace.pause(cost, lively=False) for cost in (0.15, 0.002, 0.15, 0.002)]
    assert waits == pytest.approx([2.0] * 4, rel=UNEVENNESS)


def test_a_big_node_is_sampled_less_often() -> None:
    pace = Pace(2.0)
    waits = [pace.pause(0.035, lively=False) for _ in range(3)]
    assert waits == pytest.approx([2.0, 0.035 / CALM_SHARE, 0.035 / CALM_SHARE], rel=UNEVENNESS)


def test_waits_are_uneven_to_both_sides_and_right_on_average(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.urandom", random.Random(7).randbytes)
    waits = [unevenly(8.0) for _ in range(1000)]
    assert min(waits) < 6.2
    assert max(waits) > 9.8
    assert sum(waits) / len(waits) == pytest.approx(8.0, rel=0.02)


def sawtooth_as_seen(wait: Callable[[], float]) -> list[OomTime]:
    """What a container with 128 MiB is told that takes 50 MiB in 10.2 seconds, over and over."""
    history, told, now = History(), [], 0.0
    while now < 900:
        demand = 2 * MIB + now % 10.2 / 10.2 * 50 * MIB
        history.add(now, demand)
        told.append(oom_time(growth(history.points()), int(128 * MIB - demand), int(demand)))
        now += wait()
    return told


def sure(told: list[OomTime]) -> list[OomTime]:
    return [time for time in told if (time.trend, time.sureness) == (Trend.GROWING, Sureness.HIGH)]


def test_a_sawtooth_about_as_quick_as_the_looks_does_not_seem_to_creep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.urandom", random.Random(7).randbytes)
    assert sure(sawtooth_as_seen(lambda: 20.8)), "even waits are deceived, or this would prove nothing"
    assert sure(sawtooth_as_seen(lambda: unevenly(20.8))) == []
