import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomsayer.agent.pace import (
    CALM_SHARE,
    LIVELY_SHARE,
    LONGEST_CALM_SECONDS,
    LONGEST_LIVELY_SECONDS,
    Pace,
    pause,
)


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
    assert [pace.pause(cost, lively=False) for cost in (0.15, 0.002, 0.15, 0.002)] == [2.0] * 4


def test_a_big_node_is_sampled_less_often() -> None:
    pace = Pace(2.0)
    assert [pace.pause(0.035, lively=False) for _ in range(3)] == pytest.approx([2.0, 7.0, 7.0])
