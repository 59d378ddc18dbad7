"""Was it right: kills held against the verdicts that stood."""

from dataclasses import replace

import pytest
from tests.unit.controller_node import REDIS, WEB, memcg, node

from oomsayer.forecast.match import MissReason, Outcome, Standing, match, match_all
from oomsayer.kernel.observed import KillSource, ObservedKill
from oomsayer.kernel.snapshot import ROOT, Snapshot, Task
from oomsayer.kernel.verdict import verdicts

NGINX, WORKER = 102, 103
"""Of the container web, whose verdict names nginx."""


def standing(shot: Snapshot | None = None) -> Standing:
    shot = shot or single()
    return Standing(shot, verdicts(shot))


def single() -> Snapshot:
    shot = node()
    return replace(shot, memcgs={p: replace(m, oom_group=False) for p, m in shot.memcgs.items()})


def the(pid: int, shot: Snapshot | None = None) -> Task:
    return next(t for t in (shot or single()).tasks if t.pid == pid)


def kill(pid: int | None, memcg: str | None = WEB, domain: str | None = WEB, **more: object) -> ObservedKill:
    known: Task | None = None
    if pid is not None:
        known = next((t for t in node().tasks if t.pid == pid), None)
    gone = frozenset() if pid is None else frozenset({pid})
    base = ObservedKill(
        KillSource.KERNEL_LOG, memcg, domain, known, pid, known.comm if known else "", gone=gone
    )
    return replace(base, **more)  # type: ignore[arg-type]


def test_the_foretold_process_is_a_hit() -> None:
    result = match(kill(NGINX), standing())

    assert (result.outcome, result.reason) == (Outcome.HIT, None)
    assert result.foretold is not None
    assert result.foretold.task.pid == NGINX


def test_a_number_used_again_is_no_hit() -> None:
    assert match(kill(NGINX, task=replace(the(NGINX), start_time=1)), standing()).outcome is not Outcome.HIT


def test_a_member_of_the_foretold_group_is_a_kill_set_hit() -> None:
    assert match(kill(WORKER), standing(node())).outcome is Outcome.KILL_SET_HIT


def test_a_group_whose_victim_is_not_known_is_a_kill_set_hit() -> None:
    unknown = kill(None, oom_group=WEB, gone=frozenset({NGINX, WORKER}))

    assert match(unknown, standing(node())).outcome is Outcome.KILL_SET_HIT


def test_another_group_than_the_foretold_one_is_a_miss() -> None:
    above = REDIS.rpartition("/")[0]
    other = kill(None, oom_group=above, gone=frozenset({WORKER}))

    assert match(other, standing(node())).outcome is Outcome.MISS


def test_another_process_is_a_miss() -> None:
    result = match(kill(WORKER), standing())

    assert (result.outcome, result.reason) == (Outcome.MISS, MissReason.UNEXPLAINED)
    assert result.foretold is not None


def test_a_victim_that_had_grown_since_the_sample_was_not_sampled_in_time() -> None:
    # nginx held 50 MiB at the sample, worker 33.
    grown = match(kill(WORKER, rss_kb=52 << 10), standing())
    not_enough = match(kill(WORKER, rss_kb=45 << 10), standing())

    assert (grown.outcome, grown.reason) == (Outcome.MISS, MissReason.NOT_SAMPLED_IN_TIME)
    assert not_enough.reason is MissReason.UNEXPLAINED


def test_a_victim_that_no_sample_had_seen_was_not_sampled_in_time() -> None:
    named = match(kill(999), standing())
    nameless = match(kill(None), standing())

    assert (named.outcome, named.reason) == (Outcome.MISS, MissReason.NOT_SAMPLED_IN_TIME)
    assert (nameless.outcome, nameless.reason) == (Outcome.MISS, MissReason.NOT_SAMPLED_IN_TIME)


def test_equals_are_below_the_precision() -> None:
    shot = single()
    level = tuple(replace(t, rss_pages=5000) if t.pid in (NGINX, WORKER) else t for t in shot.tasks)
    shot = replace(shot, tasks=level)
    (verdict,) = (v for v in verdicts(shot) if v.domain.path == WEB)
    assert verdict.victim is not None
    other = NGINX if verdict.victim.task.pid == WORKER else WORKER

    result = match(kill(other, task=the(other, shot)), standing(shot))

    assert (result.outcome, result.reason) == (Outcome.MISS, MissReason.MARGIN_BELOW_PRECISION)


@pytest.mark.parametrize(
    "unseen",
    [
        kill(NGINX, domain="/new.slice"),
        kill(NGINX, domain=ROOT, constraint="MEMCG"),
        kill(WORKER, domain=ROOT, constraint="CPUSET"),
    ],
)
def test_a_domain_that_was_not_known(unseen: ObservedKill) -> None:
    result = match(unseen, standing())

    assert (result.outcome, result.reason) == (Outcome.MISS, MissReason.UNKNOWN_DOMAIN)


def test_without_a_forecast_it_is_unforeseen() -> None:
    assert match(kill(NGINX), None).outcome is Outcome.UNFORESEEN


def test_a_kill_of_which_nothing_is_known_is_not_scored() -> None:
    assert match(kill(None, memcg=None, domain=None), standing()).outcome is Outcome.UNKNOWN


def test_an_unknown_domain_is_scored_where_all_that_it_can_be_agree() -> None:
    # redis is first in its container, its pod and above; worker nowhere; nginx in its container alone.
    assert match(kill(101, REDIS, None), standing()).outcome is Outcome.HIT
    assert match(kill(WORKER, WEB, None), standing()).outcome is Outcome.MISS
    assert match(kill(NGINX, WEB, None), standing()).outcome is Outcome.UNKNOWN


def test_where_only_the_gone_are_known_they_decide_if_they_can() -> None:
    foretold_lives = kill(None, gone=frozenset({WORKER}))
    foretold_among_others = kill(None, gone=frozenset({NGINX, WORKER}))

    assert match(foretold_lives, standing()).outcome is Outcome.MISS
    assert match(foretold_among_others, standing()).outcome is Outcome.UNKNOWN
    assert match(foretold_among_others, standing(node())).outcome is Outcome.KILL_SET_HIT


def test_a_cascade_is_held_against_the_order() -> None:
    outcomes = [m.outcome for m in match_all([kill(NGINX), kill(WORKER)], standing())]

    assert outcomes == [Outcome.HIT, Outcome.HIT]


def test_one_that_is_chosen_while_its_namespace_ends_is_a_kill_set_hit() -> None:
    shot = single()
    namespace = replace(
        shot, tasks=tuple(replace(t, reaper=NGINX) if t.pid in {NGINX, WORKER} else t for t in shot.tasks)
    )

    outcomes = [m.outcome for m in match_all([kill(NGINX), kill(WORKER)], standing(namespace))]

    assert outcomes == [Outcome.HIT, Outcome.KILL_SET_HIT]


def test_of_kills_without_a_time_the_order_is_not_held_against_the_forecast() -> None:
    counted = [kill(WORKER, source=KillSource.COUNTERS), kill(NGINX, source=KillSource.COUNTERS)]
    logged = [replace(one, source=KillSource.KERNEL_LOG, seconds=at) for at, one in enumerate(counted, 1)]

    assert [m.outcome for m in match_all(counted, standing())] == [Outcome.HIT, Outcome.HIT]
    assert match_all(counted, standing())[0].foretold == match_all(counted[::-1], standing())[1].foretold
    assert match_all(logged, standing())[0].outcome is Outcome.MISS


def test_with_nobody_foretold_a_kill_is_a_miss() -> None:
    shot = single()
    empty = replace(
        shot,
        tasks=tuple(t for t in shot.tasks if t.memcg != REDIS),
        memcgs={**shot.memcgs, REDIS: memcg(REDIS, 512)},
    )

    result = match(kill(900, REDIS, REDIS), standing(empty))

    assert (result.outcome, result.reason) == (Outcome.MISS, MissReason.NOT_SAMPLED_IN_TIME)
    assert result.foretold is None
