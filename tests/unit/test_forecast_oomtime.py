"""Growth and room to a time to OOM, and what shows that memory is short already."""

from dataclasses import replace

import pytest

from oomsayer.forecast.growth import Growth
from oomsayer.forecast.headroom import Headroom
from oomsayer.forecast.oomtime import HORIZON_SECONDS, OomTime, Sureness, Trend, oom_time
from oomsayer.forecast.prospect import Watched, prospects, worth_telling
from oomsayer.kernel.era import era_named
from oomsayer.kernel.snapshot import ROOT, Memcg, Memory, Pressure, Snapshot

MIB = 1 << 20
LEAK = Growth(0.8 * MIB, MIB, 1.2 * MIB, seconds=120, level_bytes=100 * MIB)
ROOM = 100 * MIB


def test_a_leak_has_a_range_around_room_by_rate() -> None:
    time = oom_time(LEAK, ROOM, 100 * MIB)
    assert (time.trend, time.sureness, time.doubts) == (Trend.GROWING, Sureness.HIGH, ())
    assert time.earliest == pytest.approx(100 / 1.2 / 1.1)
    assert time.latest == pytest.approx(100 / 0.8 * 1.1)


def test_what_quickens_comes_earlier_and_what_slows_down_may_never_come() -> None:
    steady = oom_time(LEAK, ROOM, 100 * MIB).earliest
    quick = oom_time(replace(LEAK, quickening=MIB / 50), ROOM, 100 * MIB).earliest
    assert steady is not None
    assert quick is not None
    assert quick < steady
    slow = oom_time(replace(LEAK, quickening=-MIB / 200), ROOM, 100 * MIB)
    assert (slow.latest, slow.sureness, slow.doubts) == (None, Sureness.LOW, ("it slows down",))


def test_growth_that_may_be_none_has_no_latest() -> None:
    time = oom_time(replace(LEAK, low=-1.0), ROOM, 100 * MIB)
    assert (time.latest, time.sureness, time.doubts) == (None, Sureness.LOW, ("it may as well not grow",))
    came_back = oom_time(replace(LEAK, low=-1.0, returns=2), ROOM, 100 * MIB)
    assert came_back.doubts == ("demand rose before and came back 2 times",)


def test_not_growing_is_an_answer() -> None:
    still = replace(LEAK, low=-1.0, middle=0.0)
    assert oom_time(still, ROOM, 100 * MIB) == OomTime(Trend.STEADY)
    slowly = replace(LEAK, low=1.0, middle=2.0, high=3.0)
    assert oom_time(slowly, int(2 * HORIZON_SECONDS) + 1, 100 * MIB).trend is Trend.STEADY
    assert oom_time(None, ROOM, 100 * MIB).trend is Trend.UNKNOWN
    assert oom_time(LEAK, None, None).trend is Trend.UNKNOWN


def test_a_young_leak_is_doubtful() -> None:
    (doubt,) = oom_time(replace(LEAK, seconds=20), ROOM, 100 * MIB).doubts
    assert doubt == "it has grown like this for 20 s only"
    assert oom_time(replace(LEAK, seconds=60), 700 * MIB, 100 * MIB).sureness is Sureness.LOW
    assert oom_time(replace(LEAK, seconds=60), 500 * MIB, 100 * MIB).sureness is Sureness.HIGH


def test_a_wide_range_is_doubtful() -> None:
    time = oom_time(replace(LEAK, low=0.1 * MIB), ROOM, 100 * MIB)
    assert time.doubts == ("it grows unevenly",)


def test_in_a_sawtooth_the_room_ends_above_its_peaks() -> None:
    peaks = replace(LEAK, level_bytes=150 * MIB, returns=5)
    time = oom_time(peaks, ROOM, 100 * MIB)
    assert time.earliest == pytest.approx(50 / 1.2 / 1.1)


def test_a_range_gets_older_with_its_sample() -> None:
    time = OomTime(Trend.GROWING, 30.0, 90.0)
    assert time.after(10.0) == OomTime(Trend.GROWING, 20.0, 80.0)
    assert time.after(40.0) == OomTime(Trend.GROWING, 0.0, 50.0)
    assert time.after(100.0) == OomTime(Trend.GROWING, 0.0, 0.0)
    assert OomTime(Trend.STEADY).after(40.0) == OomTime(Trend.STEADY)


BOX = Memcg("/pod/box", max_bytes=200 * MIB, usage_bytes=100 * MIB, reclaimable_bytes=0)


def node(box: Memcg = BOX, pressure: Pressure | None = None) -> Snapshot:
    memory = Memory(4096, 1024 * MIB, free_bytes=500 * MIB, file_bytes=0, pressure=pressure)
    return Snapshot(
        "6.12", era_named("E6"), 2, memory, (), {ROOT: Memcg(ROOT), "/pod": Memcg("/pod"), box.path: box}
    )


ROOMS = {ROOT: Headroom(1024 * MIB, 524 * MIB, 500 * MIB), "/pod/box": Headroom(200 * MIB, 100 * MIB, ROOM)}
WATCHED = Watched({"/pod/box": LEAK}, seconds=200)


def test_every_domain_has_a_prospect() -> None:
    ahead = prospects(node(), ROOMS, WATCHED)
    assert ahead["/pod/box"].time.trend is Trend.GROWING
    assert ahead[ROOT].time == OomTime(Trend.STEADY)
    assert (ahead["/pod/box"].binds, ahead[ROOT].binds) == ("/pod/box", ROOT)
    assert prospects(node(), ROOMS, Watched(seconds=3))[ROOT].time.trend is Trend.UNKNOWN


def test_living_on_reclaim_and_waiting_are_evidence() -> None:
    waiting = replace(BOX, pressure=Pressure(some=34.0, full=12.0))
    ahead = prospects(node(waiting), ROOMS, replace(WATCHED, reclaiming=frozenset({"/pod/box"})))
    assert ahead["/pod/box"].evidence == (
        "its limit was met within the last minute, and reclaim has made room so far",
        "its tasks wait for memory 34 % of the time",
    )
    assert ahead["/pod/box"].time.sureness is Sureness.HIGH
    assert ahead[ROOT].evidence == ()


def test_where_all_tasks_wait_growth_says_little() -> None:
    stuck = replace(BOX, pressure=Pressure(some=90.0, full=60.0))
    time = prospects(node(stuck), ROOMS, WATCHED)["/pod/box"].time
    assert time.sureness is Sureness.LOW
    assert time.doubts == ("all its tasks wait for memory 60 % of the time",)


def test_only_growth_that_leads_somewhere_is_worth_telling() -> None:
    idle = replace(LEAK, middle=0.0)
    watched = Watched({"/pod/box": idle, ROOT: idle}, seconds=200)
    assert worth_telling(watched, prospects(node(), ROOMS, watched)).growths == {ROOT: idle}
    assert worth_telling(WATCHED, prospects(node(), ROOMS, WATCHED)) == WATCHED
