"""One pod of the controller's test node changed: what the snapshot then holds, and who dies in it."""

from dataclasses import replace

import pytest
from tests.unit.controller_node import KUBEPODS, MI, POD, REDIS, UID, WEB, node, task

from oomsayer.api.policy import PolicyThresholds
from oomsayer.controller.advice import described
from oomsayer.forecast.advice import ROOM_SHARE, Takes, against_kernel, against_kubelet
from oomsayer.forecast.whatif import NO_LIMIT, Change, ImpossibleChangeError, Subject, changed, changed_spec
from oomsayer.kernel.snapshot import ROOT, Snapshot, Task
from oomsayer.kernel.verdict import verdict_at
from oomsayer.kubelet.cgroups import Qos
from oomsayer.kubelet.eviction import PodUsage
from oomsayer.kubelet.podspec import Container, ContainerKind, PodSpec

SPEC = PodSpec(Qos.BURSTABLE, (Container("redis", 0, 512 * MI), Container("web", 0, 1024 * MI)))
PAIR = Subject(UID, POD, SPEC, {"redis": REDIS, "web": WEB})
# A request of 819 MiB on a node of 8192 MiB comes to 900, which all processes of the pod have.
ASKING = replace(SPEC, containers=tuple(replace(c, request_bytes=820 * MI) for c in SPEC.containers))
ASKED = replace(PAIR, spec=replace(ASKING, containers=(ASKING.containers[1],)), containers={"web": WEB})


def adjs(snapshot: Snapshot) -> dict[str, int]:
    return {t.comm: t.oom_score_adj for t in snapshot.tasks}


def pages(snapshot: Snapshot) -> dict[str, int]:
    return {t.comm: t.rss_pages // 256 for t in snapshot.tasks}


def test_more_memory_is_held_by_the_biggest_process_and_charged_all_the_way_up() -> None:
    before = node(redis=100, web=100)
    after, _ = changed(before, PAIR, Change("web", memory_bytes=300 * MI))
    assert pages(after) == {**pages(before), "nginx": 350}
    usage = {path: (m.usage_bytes or 0) // MI for path, m in after.memcgs.items()}
    assert (usage[WEB], usage[POD], usage[KUBEPODS], usage[REDIS]) == (400, 500, 500, 100)
    assert after.memory.free_bytes == (before.memory.free_bytes or 0) - 300 * MI


def test_a_process_does_not_hold_less_than_nothing() -> None:
    after, _ = changed(node(web=100), PAIR, Change("web", memory_bytes=-900 * MI))
    assert pages(after)["nginx"] == 0
    assert after.memcgs[WEB].usage_bytes == 50 * MI


def test_a_request_gives_all_processes_of_the_container_the_kubelets_score() -> None:
    after, _ = changed(node(), ASKED, Change("web", request_bytes=4096 * MI, limit_bytes=4096 * MI))
    assert adjs(after) == {"kubelet": -999, "backup": 0, "redis": 900, "nginx": 500, "worker": 500}


def test_a_process_that_set_its_own_score_keeps_it() -> None:
    before = node()
    tasks = tuple(replace(t, oom_score_adj=950) if t.comm == "worker" else t for t in before.tasks)
    after, _ = changed(replace(before, tasks=tasks), ASKED, Change("web", request_bytes=1000 * MI))
    assert (adjs(after)["nginx"], adjs(after)["worker"]) == (878, 950)


def test_a_limit_is_the_containers_and_moves_the_pods() -> None:
    after, _ = changed(node(), PAIR, Change("redis", limit_bytes=600 * MI))
    assert after.memcgs[REDIS].max_bytes == 600 * MI
    assert after.memcgs[POD].max_bytes == 1624 * MI
    freed, _ = changed(node(), PAIR, Change("redis", limit_bytes=NO_LIMIT))
    assert (freed.memcgs[REDIS].max_bytes, freed.memcgs[POD].max_bytes) == (None, None)


def test_a_pod_level_limit_does_not_follow_its_containers() -> None:
    fixed = replace(PAIR, spec=replace(SPEC, limit_bytes=1536 * MI))
    after, _ = changed(node(), fixed, Change("redis", limit_bytes=600 * MI))
    assert after.memcgs[POD].max_bytes == 1536 * MI


def test_single_process_kills_leave_no_container_as_a_group() -> None:
    before = node(web=1000)
    after, _ = changed(before, PAIR, Change(single_process_oom_kill=True))
    was, becomes = verdict_at(WEB, before), verdict_at(WEB, after)
    assert was is not None
    assert becomes is not None
    assert (was.kill_set.pids, becomes.kill_set.pids) == ((102, 103), (102,))


@pytest.mark.parametrize(
    ("before", "change", "qos"),
    [
        (Qos.BEST_EFFORT, Change("web", request_bytes=MI), Qos.BURSTABLE),
        (Qos.BEST_EFFORT, Change("web", request_bytes=0), Qos.BEST_EFFORT),
        (Qos.GUARANTEED, Change("web", request_bytes=MI), Qos.BURSTABLE),
        (Qos.BURSTABLE, Change(qos=Qos.GUARANTEED), Qos.GUARANTEED),
        (Qos.BURSTABLE, Change(priority=5), Qos.BURSTABLE),
    ],
)
def test_the_class_follows_from_memory(before: Qos, change: Change, qos: Qos) -> None:
    limit = None if before is Qos.BEST_EFFORT else 64 * MI
    own = Container("web", limit or 0, limit)
    _, after = changed(node(), replace(ASKED, spec=PodSpec(before, (own,))), change)
    assert after.spec.qos is qos


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (Change("web", request_bytes=2048 * MI), "is more than its limit"),
        (Change("db", request_bytes=MI), "no container 'db'"),
        (Change("db", memory_bytes=MI), "no container 'db' of the pod runs; there are: redis, web"),
    ],
)
def test_what_could_not_be_is_refused(change: Change, says: str) -> None:
    with pytest.raises(ImpossibleChangeError, match=says):
        changed(node(), PAIR, change)


# --- advice -----------------------------------------------------------------------------------------

OTHER = f"{KUBEPODS}/kubepods-podffffffff_3b1f_4c7a_9e8d_112233445566.slice"


def crowded(*more: Task) -> Snapshot:
    """A full node where web's nginx is next, and a pod without limits after it; redis does not run."""
    before = node(web=1000, free=50)
    before = replace(before, tasks=tuple(t for t in before.tasks if t.comm != "redis"))
    rival = task(200, "rival", OTHER, 300, 850)
    memcgs = {**before.memcgs, OTHER: replace(before.memcgs[WEB], path=OTHER, max_bytes=None)}
    return replace(before, tasks=(*before.tasks, rival, *more), memcgs=memcgs)


def test_the_smallest_request_that_moves_the_nodes_choice() -> None:
    snapshot = crowded()
    target = replace(ASKED, spec=replace(ASKED.spec, containers=(Container("web", 820 * MI),)))
    proposals = against_kernel(snapshot, target, ROOT)
    assert [p.takes for p in proposals] == [Takes.RESTART, Takes.NEW_POD]
    assert proposals[1].change == Change(qos=Qos.GUARANTEED)
    request = proposals[0].change.request_bytes
    assert request is not None
    for amount, spared in ((request, True), (request - MI, False)):
        after, _ = changed(snapshot, target, Change("web", request_bytes=amount))
        verdict = verdict_at(ROOT, after)
        assert verdict is not None
        assert verdict.victim is not None
        own = max(k.points for k in verdict.order if k.task.memcg == WEB)
        assert (verdict.victim.points - own >= verdict.domain.totalpages / 200) is spared


def test_a_best_effort_pod_must_be_made_anew_for_a_request() -> None:
    target = replace(ASKED, spec=PodSpec(Qos.BEST_EFFORT, (Container("web"),)))
    tasks = tuple(replace(t, oom_score_adj=1000) if t.memcg == WEB else t for t in crowded().tasks)
    proposals = against_kernel(replace(crowded(), tasks=tasks), target, ROOT)
    assert [p.takes for p in proposals] == [Takes.NEW_POD, Takes.NEW_POD]


def test_a_limit_is_raised_until_there_is_room_and_a_group_is_taken_apart() -> None:
    snapshot = node(web=1000)
    limit, single = against_kernel(snapshot, PAIR, WEB)
    # 1000 MiB are 85 % of 1177 MiB, rounded up.
    assert (limit.change, limit.takes) == (Change("web", limit_bytes=1177 * MI), Takes.RESIZE)
    assert limit.headroom_bytes == 177 * MI
    assert (single.change, single.takes) == (Change(single_process_oom_kill=True), Takes.KUBELET)


def test_where_each_dies_alone_already_no_group_is_taken_apart() -> None:
    snapshot = node(web=1000)
    memcgs = {path: replace(memcg, oom_group=False) for path, memcg in snapshot.memcgs.items()}
    (limit,) = against_kernel(replace(snapshot, memcgs=memcgs), PAIR, WEB)
    assert limit.change.limit_bytes == 1177 * MI


def test_of_a_guaranteed_pod_request_and_limit_are_raised_together() -> None:
    containers = (Container("redis", 512 * MI, 512 * MI), Container("web", 1024 * MI, 1024 * MI))
    target = replace(PAIR, spec=PodSpec(Qos.GUARANTEED, containers))
    limit = against_kernel(node(web=1000), target, WEB)[0]
    assert limit.change == Change("web", limit_bytes=1177 * MI, request_bytes=1177 * MI)
    assert limit.takes is Takes.RESIZE
    assert changed_spec(target.spec, limit.change).qos is Qos.GUARANTEED
    assert described(limit, target.spec) == ("limits.memory and requests.memory", "1Gi", "1177Mi")


def test_a_container_gets_no_more_than_its_pod_has() -> None:
    level = replace(PAIR.spec, limit_bytes=1100 * MI, request_bytes=800 * MI)
    for change, says in (
        (Change("web", limit_bytes=1112 * MI), "more than the pod's own of"),
        (Change("web", request_bytes=900 * MI), "bytes together, more than the pod's own"),
    ):
        with pytest.raises(ImpossibleChangeError, match=says):
            changed_spec(level, change)
    target = replace(PAIR, spec=replace(level, request_bytes=None))
    assert [p.takes for p in against_kernel(node(web=1000), target, WEB)] == [Takes.KUBELET]


def test_where_the_whole_pod_is_guaranteed_a_limit_is_raised_alone() -> None:
    containers = (Container("redis", 512 * MI, 512 * MI), Container("web", 1024 * MI, 1024 * MI))
    level = PodSpec(Qos.GUARANTEED, containers, request_bytes=1600 * MI, limit_bytes=1600 * MI)
    limit = against_kernel(node(web=1000), replace(PAIR, spec=level), WEB)[0]
    assert limit.change == Change("web", limit_bytes=1177 * MI)
    assert changed_spec(level, limit.change).qos is Qos.GUARANTEED


def test_a_static_pod_is_not_resized() -> None:
    target = replace(PAIR, spec=replace(PAIR.spec, static=True))
    assert against_kernel(node(web=1000), target, WEB)[0].takes is Takes.NEW_POD


def test_the_request_of_a_container_that_may_swap_is_not_resized_and_its_limit_is() -> None:
    target = replace(ASKED, spec=replace(ASKED.spec, containers=(Container("web", 820 * MI),)))
    swapping = replace(target, swapping=frozenset({"web"}))
    assert against_kernel(crowded(), target, ROOT)[0].takes is Takes.RESTART
    assert against_kernel(crowded(), swapping, ROOT)[0].takes is Takes.NEW_POD
    both = replace(PAIR, swapping=frozenset({"web"}))
    assert against_kernel(node(web=1000), both, WEB)[0].takes is Takes.RESIZE


def test_an_init_container_needs_another_pod_and_an_ephemeral_one_has_no_request() -> None:
    def advised(kind: ContainerKind) -> list[Takes]:
        containers = (Container("redis"), Container("web", 820 * MI, 1024 * MI, kind))
        target = replace(PAIR, spec=PodSpec(Qos.BURSTABLE, containers))
        return [p.takes for p in against_kernel(node(web=1000), target, WEB)]

    assert advised(ContainerKind.INIT) == [Takes.NEW_POD, Takes.KUBELET]
    assert advised(ContainerKind.EPHEMERAL) == [Takes.KUBELET]
    assert advised(ContainerKind.SIDECAR) == [Takes.RESIZE, Takes.KUBELET]


def test_the_room_that_is_advised_ends_a_risk() -> None:
    thresholds = PolicyThresholds()
    assert thresholds.pod_headroom_percent + thresholds.clear_percent == ROOM_SHARE * 100


def test_no_greater_limit_where_there_is_room() -> None:
    assert [p.change for p in against_kernel(node(web=850), PAIR, WEB)] == [
        Change(single_process_oom_kill=True)
    ]


def test_no_advice_for_a_pod_that_is_not_the_victim() -> None:
    snapshot = crowded(task(300, "worse", "/system.slice", 4000, 1000))
    assert against_kernel(snapshot, PAIR, ROOT) == []
    assert against_kernel(snapshot, PAIR, "/gone") == []


def test_nothing_helps_where_there_is_nobody_else() -> None:
    alone = replace(node(), tasks=tuple(t for t in node().tasks if t.memcg == WEB))
    assert against_kernel(alone, ASKED, ROOT) == []


def used(uid: str, spec: PodSpec, mebibytes: int) -> PodUsage:
    return PodUsage(uid, spec, mebibytes * MI)


def test_against_eviction_a_request_or_a_priority_helps() -> None:
    own = PodSpec(Qos.BURSTABLE, (Container("app", 100 * MI),), priority=5)
    rival = PodSpec(Qos.BURSTABLE, (Container("app", 100 * MI),), priority=7)
    pods = [used("mine", own, 300), used("rival", rival, 200)]
    target = Subject("mine", "/pod", own, {"app": "/pod/app"})
    request, priority = against_kubelet(pods, target, "app")
    # With a request of all that it uses it is no longer over it, while the rival is.
    assert (request.change, request.takes) == (Change("app", request_bytes=300 * MI), Takes.RESIZE)
    # On a level with the rival it would still be the one that is more over its request.
    assert (priority.change, priority.takes) == (Change(priority=8), Takes.NEW_POD)
    assert request.evicted == priority.evicted == pods[1]


def test_against_eviction_a_request_goes_up_to_the_limit_at_most() -> None:
    own = PodSpec(Qos.BURSTABLE, (Container("app", 100 * MI, 300 * MI),))
    rival = PodSpec(Qos.BURSTABLE, (Container("app", 100 * MI),), priority=7)
    pods = [used("mine", own, 300), used("rival", rival, 200)]
    request = against_kubelet(pods, Subject("mine", "/pod", own, {"app": "/pod/app"}), "app")[0]
    assert (request.change, request.takes) == (Change("app", request_bytes=300 * MI), Takes.RESIZE)


def test_a_request_that_makes_a_pod_guaranteed_needs_another_pod() -> None:
    own = PodSpec(Qos.BURSTABLE, (Container("app", 100 * MI, 300 * MI),), cpu_guaranteed=True)
    rival = PodSpec(Qos.BURSTABLE, (Container("app", 100 * MI),), priority=7)

    def takes(used_mebibytes: int) -> Takes:
        pods = [used("mine", own, used_mebibytes), used("rival", rival, 200)]
        return against_kubelet(pods, Subject("mine", "/pod", own, {"app": "/pod/app"}), "app")[0].takes

    assert (takes(300), takes(299)) == (Takes.NEW_POD, Takes.RESIZE)


def test_a_pod_that_is_not_first_to_be_evicted_needs_no_advice() -> None:
    own = PodSpec(Qos.BURSTABLE, (Container("app", 100 * MI),))
    target = Subject("mine", "/pod", own, {"app": "/pod/app"})
    assert against_kubelet([used("mine", own, 50), used("rival", own, 200)], target, "app") == []
    assert against_kubelet([used("mine", own, 150)], target, "app") == []
