"""What the agent remembers of each domain."""

from dataclasses import replace

import pytest

from oomsayer.agent.histories import Histories
from oomsayer.forecast.headroom import Headroom
from oomsayer.forecast.oomtime import Trend
from oomsayer.forecast.prospect import Watched, prospects
from oomsayer.kernel.era import era_named
from oomsayer.kernel.snapshot import ROOT, Memcg, MemcgEvents, Memory, Snapshot

MIB = 1 << 20
LIMIT = 400 * MIB
BOX = Memcg("/box", inode=7, max_bytes=LIMIT, events=MemcgEvents(max=3, oom=0, oom_kill=0))


def node(box: Memcg = BOX) -> Snapshot:
    memory = Memory(4096, 4096 * MIB)
    return Snapshot("6.12", era_named("E6"), 2, memory, (), {ROOT: Memcg(ROOT), "/box": box})


def rooms(used: float | None) -> dict[str, Headroom]:
    left = None if used is None else LIMIT - int(used * MIB)
    return {ROOT: Headroom(4096 * MIB, 0, 4000 * MIB), "/box": Headroom(LIMIT, 0, left)}


def test_memory_nodes_by_themselves_are_not_watched() -> None:
    with_nodes = rooms(10) | {"cpuset.mems=0": Headroom(LIMIT, 0, LIMIT)}
    histories = Histories()
    watched = [histories.note(node(), with_nodes, float(now)) for now in range(0, 600, 2)][-1]
    assert "cpuset.mems=0" not in watched.growths
    ahead = prospects(node(), with_nodes, watched)["cpuset.mems=0"]
    assert ahead.time.trend is Trend.UNKNOWN


class Watch:
    """Samples every two seconds."""

    def __init__(self) -> None:
        self.histories = Histories()
        self.now = 0.0

    def samples(self, count: int, start: float, step: float, box: Memcg = BOX) -> Watched:
        watched = Watched()
        for turn in range(count):
            watched = self.histories.note(node(box), rooms(start + step * turn), self.now)
            self.now += 2
        return watched


def test_a_leak_shows_and_what_stays_does_not() -> None:
    watched = Watch().samples(60, 10, 1)
    assert watched.growths.keys() == {"/box"}
    assert watched.growths["/box"].middle == pytest.approx(MIB / 2, rel=0.05)
    assert watched.seconds == 118
    assert Watch().samples(60, 10, 0).growths == {}


def test_an_estimate_keeps_up_with_what_moves() -> None:
    watch = Watch()
    watch.samples(300, 10, 0)
    watched = watch.samples(20, 10, 8)
    assert watched.growths["/box"].middle == pytest.approx(4 * MIB, rel=0.1)


@pytest.mark.parametrize(
    "after",
    [replace(BOX, inode=8), replace(BOX, events=MemcgEvents(max=9, oom=1, oom_kill=2))],
    ids=["made anew", "after its OOM"],
)
def test_a_history_ends_with_its_cgroup_and_with_an_oom_of_its_own(after: Memcg) -> None:
    watch = Watch()
    watch.samples(60, 10, 5)
    again = watch.samples(60, 10, 1, after)
    assert again.growths["/box"].returns == 0
    assert again.growths["/box"].low > 0


def test_a_kill_below_is_a_return_like_any_other() -> None:
    watch = Watch()
    watch.samples(60, 10, 5)
    below = replace(BOX, events=MemcgEvents(max=3, oom=0, oom_kill=2))
    assert watch.samples(60, 10, 1, below).growths["/box"].returns == 1


def test_on_v1_kills_tell_of_ooms() -> None:
    watch = Watch()
    watch.samples(60, 10, 5, replace(BOX, events=MemcgEvents(max=3, oom_kill=0)))
    again = watch.samples(60, 10, 1, replace(BOX, events=MemcgEvents(max=3, oom_kill=1)))
    assert again.growths["/box"].returns == 0


def test_a_limit_met_lately_is_lived_at() -> None:
    watch = Watch()
    assert watch.samples(3, 10, 0).reclaiming == frozenset()
    met = replace(BOX, events=MemcgEvents(max=5, oom=0, oom_kill=0))
    assert watch.samples(1, 10, 0, met).reclaiming == {"/box"}
    assert watch.samples(40, 10, 0, met).reclaiming == frozenset()


def test_what_is_unknown_or_gone_is_forgotten() -> None:
    watch = Watch()
    watch.samples(60, 10, 1)
    assert watch.histories.note(node(), rooms(None), watch.now).growths == {}
    watch.samples(60, 10, 1)
    only_the_node = {ROOT: rooms(1)[ROOT]}
    assert watch.histories.note(node(), only_the_node, watch.now).growths == {}
