from dataclasses import replace

import pytest

from oomsayer.kubelet.cgroups import Qos
from oomsayer.kubelet.podspec import (
    Container,
    ContainerKind,
    PodSpec,
    aggregate_request,
    pod_limit,
    pod_request,
    read_pod_spec,
)
from oomsayer.kubelet.qos import oom_score_adj

MI, GI = 1 << 20, 1 << 30
CAPACITY = 16384000 * 1024
KUBERNETES_CAPACITY = 4_000_000_000


def burstable(*containers: Container, **fields: object) -> PodSpec:
    return replace(PodSpec(Qos.BURSTABLE, containers), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("request_bytes", "adj"),
    [(0, 999), (64 * MI, 996), (100 * MI, 994), (GI, 936), (4 * GI, 744), (8 * GI, 488), (15 * GI, 40)],
)
def test_a_burstable_container_by_its_request(request_bytes: int, adj: int) -> None:
    own = Container("app", request_bytes)
    assert oom_score_adj(burstable(own), own, CAPACITY) == adj


@pytest.mark.parametrize(
    ("request_bytes", "adj"),
    [(KUBERNETES_CAPACITY - 1, 3), (KUBERNETES_CAPACITY // 2, 500), (1, 999), (KUBERNETES_CAPACITY * 2, 3)],
    ids=["all of the node", "half", "next to nothing", "more than there is"],
)
def test_burstable_stays_between_the_other_classes(request_bytes: int, adj: int) -> None:
    own = Container("app", request_bytes)
    assert oom_score_adj(burstable(own), own, KUBERNETES_CAPACITY) == adj


def test_the_other_classes_have_fixed_values() -> None:
    own = Container("app", GI, GI)
    assert oom_score_adj(PodSpec(Qos.GUARANTEED, (own,)), own, CAPACITY) == -997
    assert oom_score_adj(PodSpec(Qos.BEST_EFFORT, (own,)), own, CAPACITY) == 1000


@pytest.mark.parametrize(
    ("static", "priority", "name", "adj"),
    [
        (False, 2_000_001_000, "system-node-critical", -997),
        (True, 0, "system-node-critical", -997),
        (False, 2_000_000_000, "system-cluster-critical", 936),
        (False, 0, "system-node-critical", 936),
    ],
    ids=["by priority", "static", "cluster-critical is not enough", "the class's name is not enough"],
)
def test_only_node_critical_pods_are_spared(static: bool, priority: int, name: str, adj: int) -> None:  # noqa: FBT001 - a table
    own = Container("app", GI)
    pod = burstable(own, static=static, priority=priority, priority_class=name)
    assert oom_score_adj(pod, own, CAPACITY) == adj


def test_a_sidecar_goes_no_sooner_than_the_containers_it_serves() -> None:
    sidecar = Container("proxy", 64 * MI, kind=ContainerKind.SIDECAR)
    main, big = Container("app", 4 * GI), Container("db", 8 * GI)
    pod = burstable(sidecar, main, big)
    assert oom_score_adj(pod, sidecar, CAPACITY) == oom_score_adj(pod, main, CAPACITY) == 744
    greedy = replace(sidecar, request_bytes=8 * GI)
    assert oom_score_adj(burstable(greedy, main), greedy, CAPACITY) == 488


def test_a_pod_level_request_is_shared_out() -> None:
    main, other = Container("app", 1 * GI), Container("job", kind=ContainerKind.INIT)
    pod = burstable(other, main, request_bytes=3 * GI)
    # (3 Gi - 1 Gi) / 2 = 1 Gi for each: the app counts 2 Gi, the init container 1 Gi.
    assert oom_score_adj(pod, main, CAPACITY) == 872
    assert oom_score_adj(pod, other, CAPACITY) == 936


def test_requests_add_up_as_a_pod_lives() -> None:
    init = Container("init", 5 * GI, 5 * GI, ContainerKind.INIT)
    sidecar = Container("proxy", GI, GI, ContainerKind.SIDECAR)
    main = Container("app", 2 * GI, 2 * GI)
    assert aggregate_request(burstable(sidecar, main)) == 3 * GI
    assert aggregate_request(burstable(sidecar, init, main)) == 6 * GI
    assert aggregate_request(burstable(init, sidecar, main)) == 5 * GI


def test_what_eviction_measures_against_includes_overhead_only_beside_a_request() -> None:
    main = Container("app", 2 * GI)
    assert pod_request(burstable(main, overhead_bytes=MI)) == 2 * GI + MI
    assert pod_request(burstable(Container("app"), overhead_bytes=MI)) == 0
    assert pod_request(burstable(main, request_bytes=3 * GI)) == 3 * GI


def test_a_pods_limit_needs_one_on_every_container() -> None:
    limited, free = Container("app", 0, GI), Container("web")
    init = Container("init", 0, 3 * GI, ContainerKind.INIT)
    assert pod_limit(burstable(limited, Container("web", 0, 2 * GI))) == 3 * GI
    assert pod_limit(burstable(limited, free)) is None
    assert pod_limit(burstable(init, limited)) == 3 * GI
    assert pod_limit(burstable(Container("init", kind=ContainerKind.INIT), limited)) is None
    assert pod_limit(burstable(limited, free, limit_bytes=4 * GI)) == 4 * GI
    assert pod_limit(burstable(limited, free, limit_bytes=4 * GI, overhead_bytes=MI)) == 4 * GI + MI


def test_a_sidecar_without_a_limit_counts_only_where_none_before_it_has_one() -> None:
    main = Container("app", 0, GI)
    bound, free = (
        Container(name, 0, limit, ContainerKind.SIDECAR) for name, limit in (("a", MI), ("b", None))
    )
    assert pod_limit(burstable(bound, free, main)) == GI + MI
    assert pod_limit(burstable(free, bound, main)) is None


def test_a_pod_level_request_counts_as_the_kubelet_has_accepted_it() -> None:
    pod = {
        "spec": {"resources": {"requests": {"memory": "8Gi"}}, "containers": []},
        "status": {"qosClass": "Burstable", "allocatedResources": {"memory": "1Gi"}},
    }
    assert read_pod_spec(pod).request_bytes == GI
    assert read_pod_spec({"spec": pod["spec"]}).request_bytes == 8 * GI
    assert pod_limit(PodSpec()) is None


def test_a_pod_object_is_read() -> None:
    pod = {
        "metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}},
        "spec": {
            "priority": 7,
            "priorityClassName": "gold",
            "overhead": {"memory": "1Mi"},
            "resources": {"requests": {"memory": "3Gi"}, "limits": {"cpu": "1"}},
            "initContainers": [{"name": "proxy", "restartPolicy": "Always"}, {"name": "init"}],
            "containers": [
                {"name": "app", "resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "4Gi"}}}
            ],
            "ephemeralContainers": [{"name": "debug"}],
        },
        "status": {
            "qosClass": "Burstable",
            "containerStatuses": [{"name": "app", "allocatedResources": {"memory": "1Gi"}}],
        },
    }
    assert read_pod_spec(pod) == PodSpec(
        qos=Qos.BURSTABLE,
        containers=(
            Container("proxy", kind=ContainerKind.SIDECAR),
            Container("init", kind=ContainerKind.INIT),
            # The resize from 1Gi to 2Gi is not yet accepted by the kubelet.
            Container("app", GI, 4 * GI),
            Container("debug", kind=ContainerKind.EPHEMERAL),
        ),
        priority=7,
        priority_class="gold",
        static=True,
        request_bytes=3 * GI,
        overhead_bytes=MI,
    )


def test_processors_are_guaranteed_where_every_container_requests_its_limit() -> None:
    def read(*containers: tuple[str | None, str | None], init: bool = False) -> bool:
        items = [
            {"name": f"c{n}", "resources": {"requests": {"cpu": request}, "limits": {"cpu": limit}}}
            for n, (request, limit) in enumerate(containers)
        ]
        spec = {"containers": items, "initContainers": [{"name": "init"}] if init else None}
        return read_pod_spec({"spec": spec}).cpu_guaranteed

    assert read(("500m", "500m"), ("1", "1"))
    assert not read(("500m", "500m"), ("1", "2"))
    assert not read(("500m", "500m"), (None, None))
    assert not read(("500m", "500m"), init=True)
    assert not read()


def test_a_pod_of_which_nothing_is_known_is_best_effort() -> None:
    assert read_pod_spec({}) == PodSpec()
