from dataclasses import replace

import pytest

from oomsayer.kubelet.cgroups import Qos
from oomsayer.kubelet.config import KubeletConfig
from oomsayer.kubelet.eviction import (
    First,
    PodUsage,
    Race,
    Signal,
    Threshold,
    binding,
    lead,
    race,
    ranked,
    thresholds,
)
from oomsayer.kubelet.podspec import Container, PodSpec

MI, GI = 1 << 20, 1 << 30


def pod(name: str, used: int, request: int = 0, priority: int = 0, *, static: bool = False) -> PodUsage:
    """Use and request in MiB."""
    spec = PodSpec(Qos.BURSTABLE, (Container("app", request * MI),), priority=priority, static=static)
    return PodUsage(name, spec, used * MI)


def names(*pods: PodUsage) -> list[str]:
    return [each.uid for each in ranked(pods)]


def test_pods_over_their_request_go_first_whatever_their_priority() -> None:
    assert names(pod("modest", 100, 200, -10), pod("over", 201, 200, 1000)) == ["over", "modest"]


def test_exactly_at_the_request_is_not_over_it() -> None:
    assert names(pod("at", 200, 200), pod("over", 10)) == ["over", "at"]


def test_then_priority_and_then_the_amount_over_the_request_decide() -> None:
    assert names(pod("low-small", 30, 20, 1), pod("high-big", 900, 0, 2), pod("low-big", 60, 20, 1)) == [
        "low-big",
        "low-small",
        "high-big",
    ]


def test_below_the_request_the_one_nearest_to_it_goes_first() -> None:
    assert names(pod("far", 100, 900), pod("near", 100, 110)) == ["near", "far"]


def test_critical_pods_are_never_evicted() -> None:
    critical = (pod("static", 900, static=True), pod("system", 900, 0, 2_000_000_000))
    assert names(*critical, pod("other", 1)) == ["other"]


CONFIG = KubeletConfig("100Mi", "300Mi", 90.0)


def test_each_signal_has_its_thresholds_and_kubepods_the_hard_one_alone() -> None:
    found = thresholds(CONFIG, 2 * GI, GI, (GI, 800 * MI))
    assert found == [
        Threshold(Signal.PODS, GI - 800 * MI, 100 * MI),
        Threshold(Signal.NODE, GI, 300 * MI, 90.0),
        Threshold(Signal.NODE, GI, 100 * MI),
    ]


def test_a_share_is_of_what_the_signal_measures() -> None:
    found = thresholds(KubeletConfig("10%"), 1000 * MI, 0, (500 * MI, 0))
    assert {t.signal: t.threshold_bytes for t in found} == {Signal.NODE: 100 * MI, Signal.PODS: 50 * MI}


def test_without_enforcement_or_knowledge_there_is_less_to_tell() -> None:
    assert thresholds(replace(CONFIG, enforce_pods=False), GI, None, (GI, 0)) == []
    assert thresholds(KubeletConfig(""), GI, 0, (GI, 0)) == []


HARD, SOFT = Threshold(Signal.NODE, 500 * MI, 100 * MI), Threshold(Signal.NODE, 500 * MI, 300 * MI, 90.0)


@pytest.mark.parametrize(
    ("growth", "first"),
    [(None, HARD), ((-1, 0), HARD), ((1 * MI, 1 * MI), SOFT), ((10 * MI, 10 * MI), HARD)],
    ids=["unknown", "calm", "slow", "fast"],
)
def test_which_threshold_acts_first_depends_on_growth(
    growth: tuple[float, float] | None, first: Threshold
) -> None:
    # 200 MiB to the soft one and 90 s of grace, 400 MiB to the hard one.
    assert binding([HARD, SOFT], growth) == first
    assert binding([], growth) is None


def test_a_soft_threshold_that_is_met_acts_after_its_grace_though_nothing_grows() -> None:
    met = [replace(HARD, available_bytes=200 * MI), replace(SOFT, available_bytes=200 * MI)]
    assert binding(met, (0, 0)) == binding(met, None) == met[1]
    calm = race(met[1], (250 * MI, 250 * MI), (0, 0))
    assert (calm.first, calm.seconds) == (First.KUBELET, (0.0, 103.0))
    # The hard one does not wait; and what grows at a rate that nobody knows may outrun the grace period.
    both = [replace(each, available_bytes=50 * MI) for each in met]
    assert binding(both, (0, 0)) == both[0]
    assert race(met[1], (250 * MI, 250 * MI), None).first is First.UNKNOWN


def test_a_soft_threshold_that_is_met_has_its_grace_period_before_it() -> None:
    met = Threshold(Signal.NODE, 0, 1000 * MI, 90)
    assert binding([met, HARD], (0, 10 * MI)) == HARD


def outcome(
    headroom: int | None, growth: tuple[float, float] | None, available: int = 500, active: int = 0
) -> Race:
    """Sizes and rates in MiB; the threshold is 100 MiB."""
    threshold = Threshold(Signal.NODE, available * MI, 100 * MI)
    rates = None if growth is None else (growth[0] * MI, growth[1] * MI)
    between = lead(threshold, None if headroom is None else headroom * MI, active * MI)
    return race(threshold, between, rates)


def test_slow_growth_leaves_the_kubelet_the_time_that_it_needs() -> None:
    told = outcome(headroom=660, growth=(8, 10))
    assert told.first is First.KUBELET
    assert told.seconds == (40.0, 63.0)
    assert told.outrun_bytes_per_second == pytest.approx(20 * MI)


def test_fast_growth_outruns_it() -> None:
    assert outcome(headroom=660, growth=(100, 120)).first is First.KERNEL


@pytest.mark.parametrize("growth", [(15.0, 25.0), (30.0, 40.0)], ids=["band", "within its ten seconds"])
def test_between_the_two_nobody_can_tell(growth: tuple[float, float]) -> None:
    assert outcome(headroom=660, growth=growth).first is First.EITHER


@pytest.mark.parametrize("growth", [None, (1.0, 2.0), (100.0, 200.0)])
def test_an_oom_above_the_threshold_is_the_kernels_however_slow(growth: tuple[float, float] | None) -> None:
    told = outcome(headroom=390, growth=growth)
    assert told.first is First.KERNEL
    assert told.outrun_bytes_per_second == 0


def test_active_cache_is_gone_by_the_time_of_the_oom_or_as_much_as_the_inactive_is_left() -> None:
    # 660 MiB of headroom, 300 of them active cache: 400 to the threshold leave -40, or 60 beyond 600.
    assert outcome(headroom=660, growth=(1, 2), active=300).first is First.KERNEL
    threshold = Threshold(Signal.NODE, 500 * MI, 100 * MI)
    assert lead(threshold, 660 * MI, 300 * MI) == (-40 * MI, -40 * MI)
    assert lead(threshold, 660 * MI, 200 * MI) == (60 * MI, 120 * MI)
    assert lead(threshold, 660 * MI, 20 * MI) == (240 * MI, 260 * MI)
    assert lead(threshold, 660 * MI, None) is None


def test_below_kubepods_limit_nothing_but_its_threshold_lies_between() -> None:
    assert lead(Threshold(Signal.PODS, 500 * MI, 100 * MI), 700 * MI, None) == (100 * MI, 200 * MI)


def test_without_growth_it_is_said_what_would_decide() -> None:
    told = outcome(headroom=660, growth=None)
    assert (told.first, told.seconds) == (First.UNKNOWN, None)
    assert told.outrun_bytes_per_second == pytest.approx(20 * MI)


def test_memory_that_does_not_grow_kills_nobody() -> None:
    told = outcome(headroom=660, growth=(-3, 0))
    assert (told.first, told.seconds) == (First.NEITHER, None)
    assert told.outrun_bytes_per_second == pytest.approx(20 * MI)
    assert outcome(headroom=390, growth=(-3, 0)).first is First.NEITHER


@pytest.mark.parametrize("growth", [None, (-3.0, 0.0), (1.0, 2.0)])
def test_a_threshold_that_is_met_is_acted_on_at_the_next_look(growth: tuple[float, float] | None) -> None:
    told = outcome(headroom=300, growth=growth, available=99, active=200)
    assert (told.first, told.seconds) == (First.KUBELET, (0.0, 13.0))
    assert told.outrun_bytes_per_second == pytest.approx(300 * MI / 13)


def test_what_is_not_known_is_not_guessed() -> None:
    assert outcome(headroom=None, growth=(1, 2)) == Race(First.UNKNOWN, (200.0, 413.0), None)


def test_growth_that_may_be_none_has_no_latest_time() -> None:
    assert outcome(headroom=660, growth=(0, 4)).seconds == (100.0, float("inf"))
