import json
import random
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.unit.random_snapshots import random_snapshot

from oomsayer.agent.kills import KillRecord
from oomsayer.agent.report import (
    GAP_LENGTH,
    SIZE_LIMIT,
    SMALLEST_SIZE_LIMIT,
    TOLD_GAPS,
    Report,
    compact,
    report,
    rfc3339,
    status_of,
)
from oomsayer.api.report import NodeMemoryReportStatus
from oomsayer.controller.snapshot import snapshot as rebuilt
from oomsayer.forecast.headroom import headroom
from oomsayer.forecast.match import Outcome, Standing, match
from oomsayer.kernel.domain import Domain
from oomsayer.kernel.era import era_named
from oomsayer.kernel.observed import KillSource, ObservedKill
from oomsayer.kernel.snapshot import ROOT, Memcg, Memory, Snapshot, Task
from oomsayer.kernel.verdict import FIRST_VICTIMS, Verdict, verdicts

NO_LIMIT = 10**9
MIB = 1 << 20


def reported(snapshot: Snapshot, size_limit: int = SIZE_LIMIT) -> Report:
    return report(snapshot, verdicts(snapshot), size_limit)


def read(status: dict[str, object]) -> Snapshot:
    """As the operator gets it: through JSON and the model that the CRD is made of."""
    return rebuilt(NodeMemoryReportStatus.model_validate_json(json.dumps(status)))


def by_domain(snapshot: Snapshot) -> dict[Domain, Verdict]:
    return {verdict.domain: verdict for verdict in verdicts(snapshot)}


def said(verdict: Verdict) -> tuple[object, ...]:
    victims = [(k.victim.task.pid, k.victim.task.start_time, k.victim.points) for k in verdict.order]
    deaths = [len(k.kill_set.pids) + k.kill_set.omitted for k in verdict.order]
    runner_up = verdict.runner_up and (verdict.runner_up.task.pid, verdict.runner_up.points)
    return victims, deaths, runner_up, verdict.margin_pages, verdict.confidence


def dense_node(pods: int, seed: int = 1) -> Snapshot:
    """Pods of two limited containers each, with the names and numbers that a real node has."""
    rng = random.Random(seed)
    gib = 1 << 30
    slices = "/kubepods.slice", "/kubepods.slice/kubepods-burstable.slice"
    memcgs = [
        Memcg(ROOT, 1),
        Memcg(slices[0], 20, 64 * gib, 20 * gib, reclaimable_bytes=gib),
        Memcg(slices[1], 21),
    ]
    tasks: list[Task] = []
    for pod in range(pods):
        uid = f"{rng.getrandbits(32):08x}_587f_4280_bbab_{rng.getrandbits(48):012x}"
        home = f"{slices[1]}/kubepods-burstable-pod{uid}.slice"
        memcgs.append(Memcg(home, 100 + 9 * pod, 1024 * MIB, rng.randrange(1024) * MIB))
        for container in range(2):
            path = f"{home}/cri-containerd-{rng.getrandbits(256):064x}.scope"
            usage = rng.randrange(512 * MIB)
            memcgs.append(
                Memcg(
                    path,
                    101 + 9 * pod + container,
                    512 * MIB,
                    usage,
                    reclaimable_bytes=usage // 5,
                    oom_group=True,
                )
            )
            for order in range(rng.randrange(1, 5)):
                pid = 1000 + len(tasks) * 7
                rss = rng.randrange(200, 90_000)
                adj = rng.choice((1000, 999, 950, 870))
                tasks.append(Task(pid, pid * 100, "postgres", path, adj, rss, 0, 45056, order, threads=4))
    memory = Memory(4096, 64 * gib, 0, 10 * gib, 30 * gib, 20 * gib, 20 * gib, 0, 70 * MIB)
    return Snapshot(
        "6.12.117+deb13-cloud-amd64",
        era_named("E6"),
        2,
        memory,
        tuple(tasks),
        {m.path: m for m in memcgs},
        taken_at=1_795_600_000.25,
    )


@pytest.mark.parametrize("seed", range(300))
def test_verdicts_from_a_report_are_those_of_the_node(seed: int) -> None:
    snapshot = random_snapshot(seed, tasks=200)
    ready = reported(snapshot, NO_LIMIT)
    there, here = by_domain(read(ready.status)), by_domain(snapshot)

    assert there.keys() == here.keys()
    for domain, verdict in here.items():
        assert said(there[domain]) == said(verdict), domain
        assert headroom(domain, read(ready.status)) == headroom(domain, snapshot)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(SMALLEST_SIZE_LIMIT, 12_000))
@example(1188, 2885)  # a reaper's cgroup with another's process far below it
def test_a_bounded_report_is_small_and_true_in_all_that_it_says(seed: int, size_limit: int) -> None:
    snapshot = random_snapshot(seed, tasks=200)
    ready = reported(snapshot, size_limit)
    back = read(ready.status)
    there, here = by_domain(back), by_domain(snapshot)

    assert len(compact(ready.status)) == ready.size_bytes <= size_limit
    assert len(there) + ready.omitted_domains == len(here)
    exact = not any("fit into" in gap for gap in back.gaps)
    for domain in there if exact else ():
        assert said(there[domain]) == said(here[domain]), domain


@pytest.mark.parametrize("size_limit", [12_000, 16_000, 40_000])
def test_the_domains_with_the_most_room_are_left_out_first(size_limit: int) -> None:
    snapshot = dense_node(110)
    ready = reported(snapshot, size_limit)
    kept = by_domain(read(ready.status))
    rooms = {d: headroom(d, snapshot).share for d in by_domain(snapshot) if d.path != ROOT}
    roomiest_kept = max(room for d, room in rooms.items() if d in kept and room is not None)
    nearest_left_out = min(room for d, room in rooms.items() if d not in kept and room is not None)

    assert 0 < ready.omitted_domains < len(rooms)
    assert roomiest_kept <= nearest_left_out


def test_the_nodes_own_kill_order_stays_whole_when_domains_are_left_out() -> None:
    snapshot = dense_node(110)
    ready = reported(snapshot, 16_000)
    there = verdicts(read(ready.status))[0]

    assert ready.omitted_domains
    assert len(there.order) == FIRST_VICTIMS
    assert said(there) == said(verdicts(snapshot)[0])


def test_as_much_is_said_as_fits() -> None:
    assert 15_500 < reported(dense_node(110), 16_000).size_bytes <= 16_000
    assert reported(dense_node(15), 16_000).omitted_domains == 0


def test_a_full_node_is_told_whole_by_default() -> None:
    assert reported(dense_node(110)).omitted_domains == 0


def test_fewer_victims_rather_than_none_and_it_is_stated() -> None:
    ready = reported(dense_node(110), 5_000)
    victims = verdicts(read(ready.status))[0].order

    assert ready.status["gaps"] == [f"only the node's first {len(victims)} victims fit into 5000 bytes"]
    assert 0 < len(victims) < FIRST_VICTIMS
    assert victims[0].victim.task.pid == verdicts(dense_node(110))[0].order[0].victim.task.pid


def test_thousands_of_sharers_of_one_memory_do_not_break_the_bound() -> None:
    sharers = tuple(Task(pid, pid, "clone", ROOT, 0, 1000, mm=1) for pid in range(2, 5002))
    ready = reported(replace(dense_node(1), tasks=sharers))

    assert ready.size_bytes <= SIZE_LIMIT
    assert ready.status["tasks"] == []
    assert "no process is listed" in ready.status["gaps"][0]


def test_the_same_snapshot_gives_the_same_report() -> None:
    assert compact(reported(dense_node(60)).status) == compact(reported(dense_node(60)).status)


def test_an_old_kernels_report_says_that_parents_are_missing() -> None:
    ready = reported(random_snapshot(3, era_named("E1")))
    assert "may kill a child in its parent's place" in ready.status["gaps"][-1]


def test_names_may_be_any_bytes() -> None:
    comm = b"a\xff(b) \n\xe2\x82\xac".decode("utf-8", "surrogateescape")
    path = "/" + b"caf\xe9.slice".decode("utf-8", "surrogateescape")
    task = Task(7, 7, comm, path, 0, 10)
    status = reported(
        replace(dense_node(0), tasks=(task,), memcgs={ROOT: Memcg(ROOT), path: Memcg(path)})
    ).status

    assert status["tasks"][0]["comm"] == "a\\xff(b) \n€"
    assert status["memcgs"][1]["name"] == "caf\\xe9.slice"
    assert read(status).tasks[0].memcg == "/caf\\xe9.slice"


def test_many_gaps_are_told_in_few_words() -> None:
    gaps = tuple(f"gap {number} {'x' * 1000}" for number in range(100))
    told = status_of(replace(dense_node(0), gaps=gaps))["gaps"]

    assert len(told) == TOLD_GAPS
    assert max(map(len, told)) == GAP_LENGTH
    assert told[-1] == f"and {100 - TOLD_GAPS + 1} more that could not be read"


def test_what_is_zero_and_what_is_unknown_stay_apart() -> None:
    boxes = (Memcg("/a", 2, max_bytes=0, usage_bytes=0), Memcg("/b", 3, max_bytes=MIB))
    snapshot = replace(dense_node(0), memcgs={m.path: m for m in (Memcg(ROOT), *boxes)})
    back = read(reported(snapshot).status)

    assert (back.memcgs["/a"].max_bytes, back.memcgs["/a"].usage_bytes) == (0, 0)
    assert back.memcgs["/b"].usage_bytes is None


def test_a_moment_is_told_in_utc_with_its_fraction() -> None:
    assert rfc3339(0.9999) == "1970-01-01T00:00:00.999Z"
    assert rfc3339(1_795_600_000.25) == "2026-11-25T09:46:40.250Z"


def killed(number: int, snapshot: Snapshot, depth: int = 0) -> KillRecord:
    """A kill of the first victim, in a cgroup with a long path."""
    verdict = verdicts(snapshot)[depth]
    assert verdict.victim is not None
    victim = verdict.victim.task
    kill = ObservedKill(
        KillSource.COUNTERS, victim.memcg, verdict.domain.path, victim, victim.pid, victim.comm
    )
    standing = Standing(snapshot, verdicts(snapshot))
    return KillRecord(f"19a-{number}", 1795734287.906, kill, match(kill, standing), standing)


def test_a_kill_is_told_in_the_form_of_the_model() -> None:
    shot = dense_node(2)
    ready = report(shot, verdicts(shot), kills=[killed(1, shot), killed(2, shot)])
    (first, second) = NodeMemoryReportStatus.model_validate_json(json.dumps(ready.status)).kills
    (verdict, *_) = verdicts(shot)
    assert verdict.victim is not None
    task = verdict.victim.task

    assert [first.id, second.id] == ["19a-1", "19a-2"]
    assert first.at.isoformat() == "2026-11-26T23:04:47.906000+00:00"
    assert (first.pid, first.comm, first.memcg, first.domain) == (task.pid, task.comm, task.memcg, "/")
    assert (first.outcome, first.reason) == (Outcome.HIT, None)
    assert (first.foretold_pid, first.foretold_memcg) == (task.pid, None)
    assert first.rss_bytes == task.rss_pages * 4096
    assert ready.size_bytes == len(compact(ready.status))


def test_kills_leave_room_for_the_forecast() -> None:
    shot = dense_node(20)
    ready = report(shot, verdicts(shot), 8 * 1024, kills=[killed(n, shot) for n in range(16)])

    assert ready.size_bytes <= 8 * 1024
    assert 0 < len(ready.status["kills"]) < 16
    assert ready.status["kills"][-1]["id"] == "19a-15"
    assert ready.status["tasks"]
