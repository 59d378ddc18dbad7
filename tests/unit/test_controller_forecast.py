from dataclasses import replace

from tests.unit.controller_node import (
    KUBEPODS,
    MI,
    NAMES,
    POD,
    REDIS,
    REDIS_ID,
    UID,
    WEB,
    at,
    memcg,
    node,
    seen,
    task,
    with_tasks,
)

from oomsayer.api.forecast import NextVictim, TimeToOOM
from oomsayer.controller.forecast import (
    FULL_ORDERS_BYTES,
    PIDS_SHOWN,
    closeness,
    forecast_domains,
    judge,
    next_victim,
    wanted,
)
from oomsayer.controller.names import Names
from oomsayer.kernel.snapshot import ROOT, MemoryNode, Snapshot
from oomsayer.kernel.verdict import Confidence


def test_next_is_the_domain_with_the_least_room_for_its_size() -> None:
    snapshot = node(redis=300, web=800)
    assert next_victim(seen(snapshot), NAMES, 4096) == NextVictim(
        domain="container shop/cart-0/web",
        domain_kind="container",
        pid=102,
        comm="nginx",
        points=snapshot.tasks[3].rss_pages + 900 * (1024 * 256 // 1000),
        oom_score_adj=900,
        pod="shop/cart-0",
        pod_uid=UID,
        container="web",
        container_id="b" * 64,
        headroom_bytes=224 * MI,
        headroom="224Mi",
        time_to_oom=TimeToOOM(trend="unknown", text="<unknown>", confidence="low"),
        margin="134Mi",
        confidence=Confidence.HIGH,
    )


def test_of_two_domains_that_are_level_the_deeper_is_next() -> None:
    snapshot = node()
    memcgs = dict(snapshot.memcgs)
    for path in (POD, WEB):
        memcgs[path] = memcg(path, 1000, 990)
    level = replace(snapshot, memcgs=memcgs)
    nearest = min(seen(level), key=closeness)
    assert nearest.path == WEB


def test_a_domain_where_nobody_can_be_killed_is_not_next_while_another_is() -> None:
    spared = with_tasks(node(redis=511), task(1, "x", REDIS, 500, -1000), task(2, "y", WEB, 10))
    line = next_victim(seen(spared), NAMES, 4096)
    assert line is not None
    assert line.comm == "y"


def test_with_no_process_at_all_the_line_still_tells_the_room() -> None:
    line = next_victim(seen(with_tasks(node(free=100))), NAMES, 4096)
    assert line is not None
    assert (line.domain, line.pid, line.headroom, line.confidence) == ("node", None, "100Mi", "none")


def test_room_below_zero_is_shown_as_none_left() -> None:
    line = next_victim([at(REDIS, node(redis=520))], NAMES, 4096)
    assert line is not None
    assert (line.headroom_bytes, line.headroom) == (0, "0")


def test_unknown_room_sorts_last() -> None:
    snapshot = node()
    unknown = replace(
        snapshot, memcgs={**snapshot.memcgs, REDIS: replace(snapshot.memcgs[REDIS], usage_bytes=None)}
    )
    assert max(seen(unknown), key=closeness).path == REDIS


def test_a_domain_says_all_of_its_verdict() -> None:
    (domain,) = forecast_domains([at(WEB, node(web=900))], NAMES, 4096)
    assert domain.victim is not None
    assert domain.runner_up is not None
    assert (domain.kind, domain.path, domain.name) == ("memcg", WEB, "container shop/cart-0/web")
    assert (domain.limit_bytes, domain.usage_bytes, domain.headroom_bytes) == (1024 * MI, 900 * MI, 124 * MI)
    assert (domain.victim.comm, domain.victim.cgroup, domain.runner_up.comm) == ("nginx", WEB, "worker")
    assert (domain.margin_pages, domain.margin_bytes) == (150 * 256, 150 * MI)
    assert (domain.kill_set.pids, domain.kill_set.count, domain.kill_set.oom_group) == ((102, 103), 2, WEB)
    assert [p.pid for p in domain.order] == [102]


def test_a_kill_set_too_long_to_list_is_counted() -> None:
    many = with_tasks(node(), *(task(n, "w", REDIS, 1) for n in range(1, 400)))
    (domain,) = forecast_domains([at(REDIS, many)], NAMES, 4096)
    assert (len(domain.kill_set.pids), domain.kill_set.count) == (PIDS_SHOWN, 399)


def crowded(pods: int) -> Snapshot:
    snapshot = node()
    memcgs = {ROOT: snapshot.memcgs[ROOT], KUBEPODS: snapshot.memcgs[KUBEPODS]}
    tasks = []
    for number in range(pods):
        path = f"{KUBEPODS}/kubepods-pod{number:08x}_0000_0000_0000_000000000000.slice"
        memcgs[path] = memcg(path, 1000, 1000 - number)
        tasks += [task(1 + number * 20 + n, "worker", path, 10 + n) for n in range(20)]
    return with_tasks(replace(snapshot, memcgs=memcgs), *tasks)


def test_a_crowded_nodes_forecast_stays_small_and_keeps_the_orders_that_matter() -> None:
    snapshot = crowded(200)
    domains = forecast_domains(seen(snapshot, Names()), Names(), 4096)
    assert len(domains) == 202
    assert [d.path for d in domains] == [v.domain.path for v, _ in judge(snapshot)]
    by_room = sorted(domains[2:], key=lambda d: d.headroom_bytes or 0)
    assert len(domains[0].order) == len(by_room[0].order) == 16
    assert not by_room[-1].order
    assert by_room[-1].victim is not None
    orders = sum(len(d.model_dump_json(include={"order"}, by_alias=True)) for d in domains)
    assert orders < FULL_ORDERS_BYTES
    near, far = by_room[0].victim, by_room[-1].victim
    assert near is not None
    assert far is not None
    assert near.cgroup == by_room[0].path
    assert (far.comm, far.pod_uid, far.cgroup) == ("worker", "", None)


def test_only_names_that_are_shown_are_asked_for() -> None:
    whose = wanted(judge(node()))
    assert {(o.pod_uid, o.container_id) for o in whose} == {(UID, None), (UID, REDIS_ID), (UID, "b" * 64)}


def test_memory_nodes_that_are_full_are_told_by_their_own_name() -> None:
    first = frozenset({0})
    held = tuple(replace(each, mems_allowed=first) if each.pid == 102 else each for each in node().tasks)
    nodes = (MemoryNode(0, 1000 * 256, free_pages=20 * 256), MemoryNode(1, 7000 * 256, free_pages=5000 * 256))
    plain = node(free=6000)
    memory = replace(plain.memory, nodes=nodes)
    snapshot = replace(plain, memory=memory, tasks=held, cpusets=(first,))
    _, domain, *_ = forecast_domains(seen(snapshot), NAMES, 4096)
    assert (domain.kind, domain.path, domain.name) == ("cpuset", "cpuset.mems=0", "cpuset.mems=0")
    assert (domain.limit_bytes, domain.headroom_bytes) == (1000 * MI, 20 * MI)
    line = next_victim(seen(snapshot), NAMES, 4096)
    assert line is not None
    assert (line.domain, line.domain_kind) == ("cpuset.mems=0", "cpuset")
