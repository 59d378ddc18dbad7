from dataclasses import replace

import pytest
from tests.unit.controller_node import (
    BACKUP,
    KUBEPODS,
    NAMES,
    NOW,
    REDIS,
    WEB,
    at,
    leak,
    memcg,
    node,
    task,
    with_tasks,
)

from oomsayer.controller.names import Names
from oomsayer.controller.policy import Policies
from oomsayer.controller.risk import risks
from oomsayer.controller.sentences import NOTE_BYTES, ended_note, risk_note
from oomsayer.kernel.era import era_named
from oomsayer.kernel.snapshot import ROOT, Snapshot, Task


def note(path: str, snapshot: Snapshot) -> str:
    return risk_note(at(path, snapshot), snapshot, NAMES, "n1")


def test_the_only_candidate() -> None:
    assert note(REDIS, node(redis=490)) == (
        "With 22Mi of 512Mi left, the next OOM in container shop/cart-0/redis kills redis "
        "(pid 101, container redis of pod shop/cart-0): it is the only process there that can be killed."
    )


def test_growth_tells_when() -> None:
    growing = node(redis=400)
    assert (
        "With 112Mi of 512Mi left, the next OOM in container shop/cart-0/redis "
        "(at the present growth in 3 to 7 minutes) kills redis"
    ) in risk_note(at(REDIS, growing, growths={REDIS: leak(400)}), growing, NAMES, "n1")
    young = {REDIS: replace(leak(400, 20), low=0)}
    assert "(at the present growth not before 3 minutes, if at all, with low confidence) kills" in risk_note(
        at(REDIS, growing, growths=young), growing, NAMES, "n1"
    )


def test_a_range_from_now_to_never_is_not_told() -> None:
    jump = {REDIS: replace(leak(400, 20), low=0, high=1 << 40)}
    told = risk_note(at(REDIS, node(redis=400), growths=jump), node(redis=400), NAMES, "n1")
    assert "in container shop/cart-0/redis kills redis" in told


def test_memory_decides_and_others_die_along() -> None:
    assert note(WEB, node(web=1000)) == (
        "With 24Mi of 1Gi left, the next OOM in container shop/cart-0/web kills nginx "
        "(pid 102, container web of pod shop/cart-0) and 1 more with it: "
        "it holds 500Mi, 167Mi more than runner-up worker (pid 103)."
    )


A, B = task(1, "a", WEB, 300, 900), task(2, "b", REDIS, 100, 900)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (
            replace(B, oom_score_adj=999),
            (
                "its oom_score_adj 999 outweighs that runner-up a (pid 1, container web) holds more "
                "(300Mi to its 100Mi)"
            ),
        ),
        (
            replace(B, oom_score_adj=910),
            (
                "its 300Mi outweigh the 100Mi and higher oom_score_adj (910) "
                "of runner-up b (pid 2, container redis)"
            ),
        ),
        (
            replace(B, oom_score_adj=100),
            (
                "it holds 300Mi at oom_score_adj 900, more of both than the 100Mi at 100 of "
                "runner-up b (pid 2, container redis)"
            ),
        ),
        (replace(B, rss_pages=A.rss_pages), "the kernel's order of scan decides"),
        (
            replace(B, memcg="/system.slice", oom_score_adj=0),
            (
                "it holds 300Mi at oom_score_adj 900, more of both than the 100Mi at 0 of "
                "runner-up b (pid 2, a host process)"
            ),
        ),
    ],
    ids=["adj outweighs", "memory outweighs", "more of both", "level", "host process"],
)
def test_why_it_and_not_the_runner_up(other: Task, why: str) -> None:
    assert why in note(KUBEPODS if other.memcg == REDIS else ROOT, with_tasks(node(), A, other))


def test_a_child_dies_for_its_parent() -> None:
    child = replace(B, parent=A.pid, rss_pages=100)
    said = note(ROOT, replace(with_tasks(node(), A, child), era=era_named("E2")))
    assert (
        f"kills b (pid 2, container redis of pod shop/cart-0): it dies for its parent a (pid {A.pid})" in said
    )


def test_a_node_wide_oom_and_a_host_process() -> None:
    snapshot = node(free=100, redis=300)
    assert note(ROOT, snapshot).startswith(
        "With 100Mi of 8Gi left, the next OOM of node n1 kills redis (pid 101, "
    )
    assert "kills backup (pid 60, a host process outside pods, in /system.slice/backup.service)" in note(
        BACKUP, node(backup=2000)
    )


def test_doubt_is_said() -> None:
    snapshot = replace(node(free=100), initial_pid_namespace=False)
    assert note(ROOT, snapshot).endswith(" (confidence partial).")


def test_nobody_to_kill() -> None:
    spared = with_tasks(node(redis=490), task(1, "x", REDIS, 480, -1000))
    assert (
        note(REDIS, spared)
        == "22Mi of 512Mi left in container shop/cart-0/redis, where no process can be killed."
    )


def test_the_longest_names_still_fit_into_a_note() -> None:
    long = "/" + "ü" * 3000
    snapshot = node()
    deep = replace(
        with_tasks(snapshot, task(1, "\u00fc" * 60, long, 10), task(2, "y" * 60, long, 9)),
        memcgs={ROOT: snapshot.memcgs[ROOT], long: memcg(long, 20, 19)},
    )
    text = risk_note(at(long, deep), deep, Names(), "n" * 253)
    assert len(text.encode()) <= NOTE_BYTES
    assert text.startswith("With 1Mi of 20Mi left")


def test_how_a_risk_ended() -> None:
    (risk,) = risks([at(REDIS, node(redis=490))], (), NAMES, Policies(), NOW)
    room = ended_note(risk, at(REDIS, node(redis=300)), "n1")
    assert room == (
        "212Mi of 512Mi is left in container shop/cart-0/redis again: redis is no longer near being killed."
    )
    assert ended_note(risk, None, "n1") == (
        "container shop/cart-0/redis is gone, and the risk that redis is killed there with it."
    )
    other = with_tasks(node(redis=490), task(7, "sidekiq", REDIS, 480))
    assert ended_note(risk, at(REDIS, other), "n1").startswith(
        "redis is no longer the next victim in container"
    )
