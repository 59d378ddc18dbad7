"""Which kills lie between two looks at a node."""

from dataclasses import replace

import pytest
from tests.unit.controller_node import KUBEPODS, POD, REDIS, WEB, memcg, node, task

from oomsayer.kernel.observed import Counts, Interval, KillSource, Look, OomCounts, Paths, observe, settled
from oomsayer.kernel.oomlog import OomKill
from oomsayer.kernel.snapshot import ROOT, MemcgEvents, Snapshot, Task

NGINX, WORKER = 102, 103
DOCKER = "/system.slice/docker-0123.scope"

NO_EVENTS = {path: OomCounts(0, 0, 0, 0, 0) for path in (KUBEPODS, POD, REDIS, WEB)}


def single() -> Snapshot:
    """A node where containers do not die as one."""
    shot = node()
    memcgs = {path: replace(m, oom_group=False) for path, m in shot.memcgs.items()}
    return replace(shot, memcgs=memcgs)


def without(shot: Snapshot, *pids: int, cgroups: tuple[str, ...] = ()) -> Snapshot:
    return replace(
        shot,
        tasks=tuple(t for t in shot.tasks if t.pid not in pids),
        memcgs={path: m for path, m in shot.memcgs.items() if path not in cgroups},
    )


def counted(**of: OomCounts) -> dict[str, OomCounts]:
    places = {"kubepods": KUBEPODS, "pod": POD, "redis": REDIS, "web": WEB}
    return {**NO_EVENTS, **{places[name]: counts for name, counts in of.items()}}


def between(before: Snapshot, now: Snapshot, counts: Counts, kills: int = 1) -> Interval:
    return Interval(Look(before, NO_EVENTS, 7), Look(now, counts, 7 + kills))


ONE = OomCounts(0, 0, 1, 1, 0)
"""Of a cgroup above the domain: one OOM below, one kill."""
OWN = OomCounts(0, 1, 1, 1, 0)
"""Of a domain itself."""


def test_a_child_alone_is_attributed_to_its_container() -> None:
    before = single()
    interval = between(before, without(before, WORKER), counted(kubepods=ONE, pod=ONE, web=OWN))

    (kill,) = observe(interval, [], Paths(), [])

    assert settled(interval, None)
    assert (kill.source, kill.pid, kill.comm) == (KillSource.COUNTERS, WORKER, "worker")
    assert (kill.memcg, kill.domain, kill.oom_group) == (WEB, WEB, None)
    assert kill.gone == {WORKER}


def test_the_domain_is_the_cgroup_whose_own_limit_saw_an_oom() -> None:
    before = single()
    counts = counted(kubepods=ONE, pod=OWN, web=OomCounts(0, 0, 0, 1, 0))

    (kill,) = observe(between(before, without(before, WORKER), counts), [], Paths(), [])

    assert (kill.memcg, kill.domain) == (WEB, POD)


def test_without_an_oom_of_any_limit_it_was_the_node_that_ran_out() -> None:
    before = single()
    only_kill = OomCounts(0, 0, 0, 1, 0)
    counts = counted(kubepods=only_kill, pod=only_kill, web=only_kill)

    (kill,) = observe(between(before, without(before, WORKER), counts), [], Paths(), [])

    assert (kill.memcg, kill.domain) == (WEB, ROOT)


def test_a_charge_that_failed_before_the_last_sample_is_no_oom_of_now() -> None:
    before = single()
    web = replace(before.memcgs[WEB], events=MemcgEvents(oom=3))
    before = replace(before, memcgs={**before.memcgs, WEB: web})
    counts = counted(
        kubepods=OomCounts(0, 0, 4, 1, 0), pod=OomCounts(0, 1, 4, 1, 0), web=OomCounts(0, 3, 3, 1, 0)
    )

    (kill,) = observe(between(before, without(before, WORKER), counts), [], Paths(), [])

    assert kill.domain == POD


def test_a_process_that_ended_of_itself_beside_the_victim_leaves_the_process_open() -> None:
    before = single()
    interval = between(before, without(before, NGINX, WORKER), counted(kubepods=ONE, pod=ONE, web=OWN))

    (kill,) = observe(interval, [], Paths(), [])

    assert (kill.pid, kill.comm, kill.memcg) == (None, "", WEB)
    assert kill.gone == {NGINX, WORKER}


def test_a_small_process_is_not_taken_for_the_victim_while_one_far_ahead_of_it_lives() -> None:
    before = single()
    before = replace(before, tasks=(*before.tasks, task(104, "health", WEB, 1)))
    interval = between(before, without(before, 104), counted(kubepods=ONE, pod=ONE, web=OWN))

    (kill,) = observe(interval, [], Paths(), [])

    assert (kill.pid, kill.memcg, kill.gone) == (None, WEB, {104})


def test_a_victim_that_no_sample_had_seen_is_waited_for_and_then_told_without_a_name() -> None:
    before = single()
    interval = between(before, before, counted(kubepods=ONE, pod=ONE, web=OWN))

    assert not settled(interval, None)
    (kill,) = observe(interval, [], Paths(), [])
    assert (kill.pid, kill.memcg, kill.gone) == (None, WEB, set())


def test_a_victim_on_its_way_out_counts_as_gone() -> None:
    before = single()
    tasks = tuple(replace(t, in_flight=t.pid == WORKER) for t in before.tasks)
    interval = between(before, replace(before, tasks=tasks), counted(kubepods=ONE, pod=ONE, web=OWN))

    assert settled(interval, None)
    assert [kill.pid for kill in observe(interval, [], Paths(), [])] == [WORKER]


def test_a_number_used_again_is_another_process() -> None:
    before = single()
    again = Task(WORKER, 9999, "worker", WEB, 900, 10)
    now = replace(before, tasks=(*without(before, WORKER).tasks, again))

    assert [
        kill.pid
        for kill in observe(between(before, now, counted(kubepods=ONE, pod=ONE, web=OWN)), [], Paths(), [])
    ] == [WORKER]


def test_a_group_kill_is_one_kill_of_all() -> None:
    before = node()
    twice = OomCounts(0, 0, 1, 3, 1)
    counts = counted(kubepods=twice, pod=twice, web=OomCounts(0, 1, 1, 3, 1))
    interval = between(before, without(before, NGINX, WORKER), counts, kills=3)

    (kill,) = observe(interval, [], Paths(), [])

    assert settled(interval, None)
    assert (kill.pid, kill.memcg, kill.domain, kill.oom_group) == (None, WEB, WEB, WEB)
    assert (kill.gone, kill.deaths) == ({NGINX, WORKER}, 2)


def test_a_member_that_its_pid_namespace_took_along_died_with_the_group_uncounted() -> None:
    before = node()
    once = OomCounts(0, 0, 1, 1, 1)
    counts = counted(kubepods=once, pod=once, web=OomCounts(0, 1, 1, 1, 1))
    early = between(before, without(before, NGINX), counts)
    late = between(before, without(before, NGINX, WORKER), counts)

    assert not settled(early, None)
    assert settled(late, None)
    (kill,) = observe(late, [], Paths(), [])
    assert (kill.gone, kill.times, kill.deaths) == ({NGINX, WORKER}, 1, 2)


def test_no_more_died_than_were_killed_where_others_ended_of_themselves() -> None:
    before = single()
    interval = between(before, without(before, NGINX, WORKER), counted(kubepods=ONE, pod=ONE, web=OWN))

    (kill,) = observe(interval, [], Paths(), [])

    assert (kill.gone, kill.pid, kill.deaths) == ({NGINX, WORKER}, None, 1)


def test_a_container_whose_cgroup_is_gone_is_told_by_what_its_pod_counted() -> None:
    before = node()
    counts = counted(kubepods=OomCounts(0, 0, 1, 2, 1), pod=OomCounts(0, 0, 1, 2, 1))
    del counts[WEB]
    interval = between(before, without(before, NGINX, WORKER, cgroups=(WEB,)), counts, kills=2)

    (kill,) = observe(interval, [], Paths(), [])

    assert (kill.memcg, kill.domain, kill.oom_group) == (WEB, WEB, WEB)


def test_where_two_containers_are_gone_only_their_pod_is_told() -> None:
    before = node()
    counts = {KUBEPODS: OomCounts(0, 0, 1, 2, 1), POD: OomCounts(0, 0, 1, 2, 1)}
    interval = between(before, without(before, 101, NGINX, WORKER, cgroups=(WEB, REDIS)), counts, kills=2)

    (kill,) = observe(interval, [], Paths(), [])

    assert (kill.memcg, kill.domain) == (POD, None)


def test_a_cgroup_made_since_began_to_count_at_nothing() -> None:
    before = single()
    fresh = "/system.slice/job.service"
    shot = without(before, 60)
    now = replace(shot, memcgs={**shot.memcgs, fresh: memcg(fresh, 10)})
    counts = {**NO_EVENTS, fresh: OomCounts(99, 1, 1, 1, 0)}

    (kill,) = observe(between(before, now, counts), [], Paths(), [])

    assert (kill.memcg, kill.domain, kill.pid) == (fresh, fresh, None)


def test_a_kill_that_no_cgroup_counts_is_seen_and_attributed_to_nobody() -> None:
    before = single()

    (kill,) = observe(between(before, without(before, WORKER), NO_EVENTS, kills=2), [], Paths(), [])

    assert (kill.memcg, kill.domain, kill.pid, kill.times) == (None, None, None, 2)


def test_on_v1_the_domain_is_left_open() -> None:
    before = replace(single(), cgroup_version=1)
    counts = {path: OomCounts(0, oom_kill=int(path == WEB)) for path in NO_EVENTS}

    (kill,) = observe(between(before, without(before, WORKER), counts), [], Paths(), [])

    assert (kill.memcg, kill.domain, kill.pid) == (WEB, None, WORKER)


def logged(pid: int, comm: str, memcg: str, domain: str = WEB, kib: int = 34000) -> OomKill:
    return OomKill(pid, comm, domain, memcg, "MEMCG", None, (pid,), 100.0, kib, 900)


def test_the_log_names_the_process_where_the_counters_can_not() -> None:
    before = single()
    interval = between(before, without(before, NGINX, WORKER), counted(kubepods=ONE, pod=ONE, web=OWN))

    (kill,) = observe(interval, [logged(NGINX, "nginx", WEB)], Paths(), [])

    assert (kill.source, kill.pid, kill.memcg, kill.domain) == (KillSource.KERNEL_LOG, NGINX, WEB, WEB)
    assert kill.task is not None
    assert kill.rss_kb == 34000


def test_the_group_that_the_log_names_died_as_one() -> None:
    before = node()
    interval = between(before, without(before, NGINX, WORKER), counted(kubepods=ONE, pod=ONE, web=OWN))
    line = replace(logged(NGINX, "nginx", WEB), oom_group=WEB, killed=(NGINX, WORKER))

    (kill,) = observe(interval, [line], Paths(), [])

    assert (kill.oom_group, kill.gone, kill.deaths) == (WEB, {NGINX, WORKER}, 2)


def test_the_log_is_waited_for_as_long_as_the_counters_are_ahead() -> None:
    before = single()
    interval = between(before, without(before, WORKER), counted(kubepods=ONE, pod=ONE, web=OWN), kills=2)

    assert not settled(interval, [logged(WORKER, "worker", WEB)])
    assert settled(interval, [logged(WORKER, "worker", WEB), logged(NGINX, "nginx", WEB)])


def test_what_the_log_has_lost_the_counters_still_tell() -> None:
    before = single()
    counts = counted(kubepods=OomCounts(0, 0, 2, 2, 0), pod=OomCounts(0, 0, 2, 2, 0), web=OWN, redis=OWN)

    kills = observe(
        between(before, without(before, 101, WORKER), counts), [logged(101, "redis", REDIS)], Paths(), []
    )

    assert [(kill.source, kill.pid) for kill in kills] == [
        (KillSource.KERNEL_LOG, 101),
        (KillSource.COUNTERS, WORKER),
    ]


def without_report(pid: int, comm: str) -> OomKill:
    """A "Killed process" line whose report the kernel held back."""
    return OomKill(pid, comm, None, None, "", None, (pid,), 100.0, 34000, 900)


def test_a_kill_without_its_report_gets_its_place_from_the_process_and_its_domain_from_the_counters() -> None:
    before = single()
    interval = between(before, without(before, WORKER), counted(kubepods=ONE, pod=ONE, web=OWN))

    (kill,) = observe(interval, [without_report(WORKER, "worker")], Paths(), [])

    assert (kill.source, kill.pid, kill.memcg, kill.domain) == (KillSource.KERNEL_LOG, WORKER, WEB, WEB)


def test_a_kill_of_which_log_and_counters_know_a_half_each_is_one_kill() -> None:
    before = single()
    interval = between(before, before, counted(kubepods=ONE, pod=ONE, web=OWN))

    (kill,) = observe(interval, [without_report(999, "brief")], Paths(), [])

    assert (kill.source, kill.pid, kill.comm) == (KillSource.KERNEL_LOG, 999, "brief")
    assert (kill.memcg, kill.domain) == (WEB, WEB)


def test_halves_that_can_not_be_told_apart_are_not_counted_twice() -> None:
    before = single()
    counts = counted(kubepods=OomCounts(0, 0, 2, 2, 0), pod=OomCounts(0, 0, 2, 2, 0), web=OWN, redis=OWN)
    logs = [without_report(998, "brief"), without_report(999, "brief")]

    kills = observe(between(before, before, counts, 2), logs, Paths(), [])

    assert [(kill.pid, kill.memcg) for kill in kills] == [(998, None), (999, None)]


def nested(shot: Snapshot) -> Snapshot:
    return replace(shot, initial_pid_namespace=False)


def test_on_a_nested_node_paths_are_known_by_their_ends_and_processes_by_what_they_were() -> None:
    before = nested(single())
    paths = Paths(None)
    interval = between(before, without(before, WORKER), counted(kubepods=ONE, pod=ONE, web=OWN))

    (kill,) = observe(
        interval, [logged(70103, "worker", DOCKER + WEB, DOCKER + WEB)], paths, [POD, WEB, REDIS]
    )

    assert (kill.pid, kill.memcg, kill.domain) == (WORKER, WEB, WEB)
    assert paths.prefix == DOCKER


def test_a_kill_on_another_node_of_the_same_kernel_is_not_claimed() -> None:
    before = nested(single())
    pod = POD.replace("0d5c9a2e", "ffffffff")
    other = f"/system.slice/docker-4567.scope{pod}/cri-containerd-{'c' * 64}.scope"
    interval = between(before, before, NO_EVENTS)

    assert settled(interval, [logged(70103, "worker", other, other)])
    assert observe(interval, [logged(70103, "worker", other, other)], Paths(None), [POD, WEB, REDIS]) == []
    assert observe(interval, [], Paths(None), []) == []


def test_a_host_path_that_every_nested_node_has_is_claimed_only_with_its_own_prefix() -> None:
    paths = Paths(None)
    kubelet = "/system.slice/kubelet.service"

    assert paths.inner(DOCKER + kubelet, [WEB]) is None
    assert paths.inner(DOCKER + WEB, [WEB]) == WEB
    assert paths.inner(DOCKER + kubelet, [WEB]) == kubelet
    assert paths.inner("/system.slice/docker-4567.scope" + kubelet, [WEB]) is None
    assert paths.inner(DOCKER, [WEB]) == ROOT


def test_twins_of_a_nested_node_are_told_apart_by_memory_only_when_both_are_killed() -> None:
    before = nested(single())
    twins = (task(201, "twin", WEB, 30), task(202, "twin", WEB, 20))
    before = replace(before, tasks=(*before.tasks, *twins))
    pods = [POD, WEB, REDIS]
    big = logged(70001, "twin", DOCKER + WEB, DOCKER + WEB, kib=30 << 10)
    small = logged(70002, "twin", DOCKER + WEB, DOCKER + WEB, kib=20 << 10)
    both = counted(
        kubepods=OomCounts(0, 0, 2, 2, 0), pod=OomCounts(0, 0, 2, 2, 0), web=OomCounts(0, 2, 2, 2, 0)
    )

    killed = observe(between(before, without(before, 201, 202), both, 2), [small, big], Paths(None), pods)
    ambiguous = observe(
        between(before, without(before, 201, 202), counted(kubepods=ONE, pod=ONE, web=OWN)),
        [big],
        Paths(None),
        pods,
    )

    assert [kill.pid for kill in killed] == [202, 201]
    assert [(kill.pid, kill.comm) for kill in ambiguous] == [(None, "twin")]


def test_of_a_cgroup_that_is_gone_with_all_above_it_the_domain_is_not_known() -> None:
    before = single()
    before = replace(before, tasks=(*before.tasks, task(300, "job", "/job", 20), task(301, "stray", ROOT, 9)))
    unreported = [OomKill(pid, "", None, None, "", killed=(pid,)) for pid in (300, 301)]

    kills = observe(between(before, without(before, 300, 301), NO_EVENTS, 2), unreported, Paths(), [])

    assert [(kill.pid, kill.memcg, kill.domain) for kill in kills] == [(300, "/job", None), (301, ROOT, None)]


def full_node(cgroups: int) -> tuple[Interval, list[OomKill]]:
    """A nested node of so many containers, in each of which one of two was killed, and the log of it."""
    paths = [f"/kubepods/pod{n}" for n in range(cgroups)]
    tasks = [task(100 + n, "worker", path, 10 + n % 5) for n, path in enumerate((*paths, *paths))]
    memcgs = {path: memcg(path, 64) for path in (ROOT, "/kubepods", *paths)}
    before = nested(replace(single(), tasks=tuple(tasks), memcgs=memcgs))
    counts = {path: OomCounts(0, 1, 1, 1, 0) for path in paths}
    counts["/kubepods"] = OomCounts(0, 0, cgroups, cgroups, 0)
    now = replace(before, tasks=before.tasks[cgroups:])
    zero = dict.fromkeys(counts, OomCounts(0, 0, 0, 0, 0))
    log = [logged(9000 + t.pid, "worker", f"/box{t.memcg}", f"/box{t.memcg}") for t in tasks[:cgroups]]
    return Interval(Look(before, zero, 0), Look(now, counts, cgroups)), log


@pytest.mark.parametrize("source", [KillSource.COUNTERS, KillSource.KERNEL_LOG])
def test_on_a_full_node_each_kill_is_told_with_its_process(source: KillSource) -> None:
    interval, log = full_node(200)
    assert settled(interval, None)
    kills = observe(interval, log if source is KillSource.KERNEL_LOG else [], Paths("/box"), [])
    assert {kill.source for kill in kills} == {source}
    assert {kill.pid for kill in kills} == set(range(100, 300))
