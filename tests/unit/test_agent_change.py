from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomsayer.agent.change import BANDS, RISE, Decider, State, Weight, band, compare, state
from oomsayer.agent.report import UNWATCHED
from oomsayer.forecast.growth import Growth
from oomsayer.forecast.headroom import headroom
from oomsayer.forecast.prospect import Watched, prospects
from oomsayer.kernel.era import era_named
from oomsayer.kernel.snapshot import ROOT, Memcg, Memory, Snapshot, Sysctls, Task
from oomsayer.kernel.verdict import verdicts
from oomsayer.kubelet.config import DEFAULTS, KubeletConfig

PAGE = 4096
MIB = 1 << 20
LIMIT = 100 * MIB
HOUR = 3600.0
SAMPLING = 2.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def process(pid: int, mib: float, memcg: str = "/box") -> Task:
    return Task(pid, pid, f"p{pid}", memcg, 0, int(mib * MIB) // PAGE)


def node(*tasks: Task, used: float = 0, more: tuple[Memcg, ...] = ()) -> Snapshot:
    """A roomy node with one limited cgroup that uses this share of its limit."""
    box = Memcg("/box", inode=2, max_bytes=LIMIT, usage_bytes=int(LIMIT * used))
    memory = Memory(PAGE, 4096 * MIB, free_bytes=3000 * MIB, file_bytes=0)
    memcgs = {m.path: m for m in (Memcg(ROOT, inode=1), box, *more)}
    return Snapshot("6.12.0", era_named("E6"), 2, memory, tasks, memcgs)


def seen(snapshot: Snapshot, watched: Watched = UNWATCHED) -> State:
    told = verdicts(snapshot)
    rooms = {v.domain.path: headroom(v.domain, snapshot) for v in told}
    return state(snapshot, told, rooms, prospects(snapshot, rooms, watched))


def weight(before: Snapshot, after: Snapshot) -> Weight:
    return compare(seen(before), seen(after), after).weight


@given(st.floats(-0.5, 1.5), st.integers(0, len(BANDS)))
def test_a_band_is_left_upward_only_well_above_its_edge(share: float, before: int) -> None:
    after = band(share, before)

    assert after >= sum(share < edge for edge in BANDS)
    if after < before:
        assert share >= BANDS[after] * RISE
    if after > before:
        assert share < BANDS[after - 1]


@given(st.floats(BANDS[-1], 1), st.floats(BANDS[-1], 1))
def test_within_its_band_the_headroom_that_was_told_is_at_most_two_and_a_half_times_what_is(
    told: float, now: float
) -> None:
    before = band(told)
    if band(now, before) == before:
        assert told <= 2.5 * now


def test_nothing_changed() -> None:
    same = node(process(10, 20), process(11, 10), used=0.4)
    assert weight(same, same) is Weight.NOTHING


@pytest.mark.parametrize(
    ("used", "expected"), [(0.3, Weight.ORDINARY), (0.7, Weight.ORDINARY), (0.95, Weight.URGENT)]
)
def test_another_victim_weighs_by_the_room_that_is_left(used: float, expected: Weight) -> None:
    before = node(process(10, 20), process(11, 10), used=used)
    after = node(process(10, 20), process(11, 30), used=used)
    assert weight(before, after) is expected


@pytest.mark.parametrize(
    ("used", "expected"), [(0.3, Weight.MINOR), (0.7, Weight.MINOR), (0.95, Weight.ORDINARY)]
)
def test_a_victim_that_is_hardly_ahead_weighs_less(used: float, expected: Weight) -> None:
    before = node(process(10, 20.0), process(11, 19.9), used=used)
    after = node(process(10, 20.0), process(11, 20.1), used=used)
    assert weight(before, after) is expected


@pytest.mark.parametrize("used", [0.3, 0.7])
def test_a_victim_that_is_gone_is_told_soon_wherever_it_was(used: float) -> None:
    before = node(process(10, 20), process(11, 10), used=used)
    after = node(process(11, 10), used=used)
    assert weight(before, after) is Weight.ORDINARY


def test_a_pid_that_was_given_anew_is_another_victim() -> None:
    before = node(process(10, 20), used=0.95)
    after = node(replace(process(10, 20), start_time=77), used=0.95)
    assert weight(before, after) is Weight.URGENT


def test_a_process_that_became_another_program_is_told_by_its_new_name() -> None:
    before, after = process(10, 20), replace(process(10, 20), comm="server")
    assert weight(node(before, used=0.7), node(after, used=0.7)) is Weight.ORDINARY


def test_how_many_die_with_the_victim_is_kept_up_to_date() -> None:
    def group(*tasks: Task) -> Snapshot:
        snapshot = node(*tasks, used=0.7)
        return replace(
            snapshot,
            memcgs={**snapshot.memcgs, "/box": replace(snapshot.memcgs["/box"], oom_group=True)},
        )

    before, after = [process(10, 20)], [process(10, 20), process(11, 1)]
    assert seen(group(*after)).standings["/box"].deaths == 2
    assert weight(group(*before), group(*after)) is Weight.MINOR


def test_the_order_behind_the_victim_matters_near_the_limit() -> None:
    before = [process(10, 20), process(11, 10), process(12, 5)]
    after = [process(10, 20), process(11, 10), process(12, 15)]
    assert weight(node(*before, used=0.95), node(*after, used=0.95)) is Weight.ORDINARY
    assert weight(node(*before, used=0.3), node(*after, used=0.3)) is Weight.NOTHING


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0.6, 0.7, Weight.NOTHING),
        (0.4, 0.6, Weight.MINOR),
        (0.6, 0.8, Weight.MINOR),
        (0.8, 0.91, Weight.URGENT),
        (0.91, 0.96, Weight.URGENT),
        (0.3, 1.0, Weight.URGENT),
        (0.91, 0.89, Weight.NOTHING),
        (0.96, 0.93, Weight.ORDINARY),
        (0.96, 0.8, Weight.ORDINARY),
    ],
)
def test_crossing_a_band_of_headroom(before: float, after: float, expected: Weight) -> None:
    assert weight(node(process(10, 20), used=before), node(process(10, 20), used=after)) is expected


def test_a_node_is_near_its_oom_where_a_domain_has_little_room() -> None:
    assert seen(node(process(10, 20), used=0.95)).near
    assert not seen(node(process(10, 20), used=0.85)).near


def test_a_domain_comes_goes_or_is_resized() -> None:
    one = node(process(10, 20), used=0.3)
    two = node(process(10, 20), used=0.3, more=(Memcg("/new", 3, max_bytes=MIB, usage_bytes=0),))
    resized = replace(
        one, memcgs=dict(one.memcgs) | {"/box": replace(one.memcgs["/box"], max_bytes=LIMIT * 2)}
    )

    assert weight(one, two) is Weight.ORDINARY
    assert weight(two, one) is Weight.ORDINARY
    assert weight(one, resized) is Weight.ORDINARY


def test_a_new_domain_at_its_limit_is_urgent() -> None:
    full = Memcg("/new", 3, max_bytes=MIB, usage_bytes=MIB)
    assert weight(node(process(10, 20)), node(process(10, 20), more=(full,))) is Weight.URGENT


def test_a_group_that_dies_with_the_victim_counts() -> None:
    alone = node(process(10, 20), process(11, 10), used=0.95)
    group = replace(
        alone, memcgs=dict(alone.memcgs) | {"/box": replace(alone.memcgs["/box"], oom_group=True)}
    )
    assert weight(alone, group) is Weight.URGENT


def test_a_vm_setting_and_headroom_that_became_unknown() -> None:
    known = node(process(10, 20), used=0.3)
    panics = replace(known, sysctls=Sysctls(panic_on_oom=1))
    unknown = replace(
        known, memcgs=dict(known.memcgs) | {"/box": replace(known.memcgs["/box"], usage_bytes=None)}
    )

    assert weight(known, panics) is Weight.ORDINARY
    assert weight(known, unknown) is Weight.MINOR


def writes(first: Snapshot, second: Snapshot, hours: float) -> float:
    """Writes a second on a node that goes from one state to the other with each sample."""
    clock = Clock()
    decider = Decider(clock)
    count = 0
    states = [(seen(first), first), (seen(second), second)]
    while clock.now < 1000 + hours * HOUR:
        states.reverse()
        if decider.decide(*states[0]) is not None:
            decider.told(states[0][0])
            count += 1
        clock.now += SAMPLING
    return count / (hours * HOUR)


def test_a_calm_node_writes_a_heartbeat() -> None:
    same = node(process(10, 20), used=0.3)
    assert 1 / 301 <= writes(same, same, hours=6) <= 1 / 299


def test_ranks_that_flap_far_from_any_limit_cost_little_more() -> None:
    first = node(process(10, 20.0), process(11, 19.9), used=0.3)
    second = node(process(10, 20.0), process(11, 20.1), used=0.3)
    assert writes(first, second, hours=6) < 0.005


def test_ranks_that_flap_in_a_half_full_domain_are_limited() -> None:
    first = node(process(10, 20), process(11, 10), used=0.7)
    second = node(process(10, 20), process(11, 30), used=0.7)
    assert writes(first, second, hours=1) <= 0.1 + 0.005


def test_an_urgent_change_is_told_at_once_after_others_used_up_their_budget() -> None:
    clock = Clock()
    decider = Decider(clock)
    flapping = [node(process(10, 20), process(11, size), used=0.7) for size in (10, 30)] * 20
    for shot in flapping:
        if decider.decide(seen(shot), shot):
            decider.told(seen(shot))
    near = node(process(10, 20), process(11, 10), used=0.95)

    change = decider.decide(seen(near), near)

    assert change is not None
    assert change.weight is Weight.URGENT


def test_what_could_not_be_told_is_told_when_there_is_budget_again() -> None:
    clock = Clock()
    decider = Decider(clock)
    decider.told(seen(node(process(1, 20), used=0.7)))
    for pid in (2, 3, 4):
        shot = node(process(pid, 20), used=0.7)
        assert decider.decide(seen(shot), shot) is not None
        decider.told(seen(shot))
    last = node(process(5, 20), used=0.7)
    assert decider.decide(seen(last), last) is None

    clock.now += 10
    assert decider.decide(seen(last), last) is not None


def growing(mib_a_second: float, seconds: float = 120.0) -> Watched:
    rate = mib_a_second * MIB
    return Watched({"/box": Growth(rate * 0.9, rate, rate * 1.1, seconds, 0)}, seconds=seconds)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (0.0, 0.0, Weight.NOTHING),
        (0.0, 1.0, Weight.URGENT),
        (0.0, 0.2, Weight.ORDINARY),
        (0.0, 0.05, Weight.MINOR),
        (0.2, 0.22, Weight.NOTHING),
        (0.2, 0.4, Weight.ORDINARY),
        (1.0, 0.0, Weight.ORDINARY),
    ],
)
def test_an_oom_on_its_way_is_told_the_sooner_it_comes(before: float, after: float, expected: Weight) -> None:
    still = replace(node(process(10, 20), used=0.4), taken_at=1000.0)
    told, now = (
        seen(still, growing(rate, 200.0) if rate else Watched(seconds=200.0)) for rate in (before, after)
    )
    assert compare(told, now, still).weight is expected
    assert now.near is (after == 1.0)


# --- evictions --------------------------------------------------------------------------------------

BURSTABLE_POD = "/kubepods.slice/kubepods-pod0d5c9a2e_3b1f_4c7a_9e8d_112233445566.slice"
OTHER_POD = "/kubepods.slice/kubepods-podffffffff_3b1f_4c7a_9e8d_112233445566.slice"


def using(available: int, **pods: int) -> Snapshot:
    """A node of 4096 MiB with so much available to the kubelet, and pods that use so much; in MiB."""
    paths = {"one": BURSTABLE_POD, "other": OTHER_POD}
    memcgs = {
        ROOT: Memcg(ROOT, working_set_bytes=(4096 - available) * MIB),
        "/kubepods.slice": Memcg("/kubepods.slice"),
    }
    for name, used in pods.items():
        memcgs[paths[name]] = Memcg(paths[name], working_set_bytes=used * MIB)
    return replace(node(process(10, 20)), memcgs={**node().memcgs, **memcgs})


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (using(2300, one=100), using(2290, one=110), Weight.NOTHING),
        (using(2300, one=100), using(2000, one=120), Weight.ORDINARY),
        (using(800, one=100), using(790, one=150), Weight.NOTHING),
        (using(800, one=100), using(790, one=300), Weight.ORDINARY),
        (using(110, one=100), using(110, one=110), Weight.NOTHING),
        (using(2300, one=100), using(2300, one=100, other=5), Weight.MINOR),
        (using(800, one=100), using(800), Weight.ORDINARY),
        (using(800, one=100), using(500, one=120), Weight.ORDINARY),
        (node(process(10, 20)), using(800, one=100), Weight.ORDINARY),
    ],
    ids=["roomy", "half", "little", "much", "least", "a pod came", "a pod went", "a band", "known"],
)
def test_what_evictions_go_by_is_told_by_the_room_before_the_threshold(
    before: Snapshot, after: Snapshot, expected: Weight
) -> None:
    assert weight(before, after) is expected


def test_the_kubelets_own_threshold_counts() -> None:
    snapshot = using(1600, one=100)
    told = verdicts(snapshot)
    rooms = {v.domain.path: headroom(v.domain, snapshot) for v in told}
    ahead = prospects(snapshot, rooms, Watched())

    def room(kubelet: KubeletConfig) -> int:
        return state(snapshot, told, rooms, ahead, kubelet).usage.room_bytes

    assert room(KubeletConfig("1500Mi", known=True)) == 100 * MIB
    assert room(DEFAULTS) == 1500 * MIB
