from dataclasses import replace

import pytest
from tests.unit.controller_crowd import BATCH_UID, PODS, crowd
from tests.unit.controller_node import MI, NAMES, NOW, POD, REDIS, UID, WEB

from oomsayer.api.forecast import Risk
from oomsayer.controller.advice import amount, for_risks, subject
from oomsayer.controller.names import Names
from oomsayer.kubelet.cgroups import Qos
from oomsayer.kubelet.podspec import Container, PodSpec


def test_a_pod_is_found_with_the_containers_that_run() -> None:
    target = subject(crowd(), PODS, UID)
    assert target is not None
    assert (target.path, target.containers) == (POD, {"redis": REDIS, "web": WEB})
    assert subject(crowd(), NAMES, "gone") is None


def test_a_container_may_swap_where_its_cgroup_has_a_share_of_swap() -> None:
    snapshot = crowd()
    shares = {REDIS: 64 * MI, WEB: 0}
    memcgs = {p: replace(m, swap_max_bytes=shares.get(p)) for p, m in snapshot.memcgs.items()}
    target = subject(replace(snapshot, memcgs=memcgs), PODS, UID)
    assert target is not None
    assert target.swapping == {"redis"}


def test_advice_for_the_pods_at_risk_says_what_follows() -> None:
    risk = Risk(pod="shop/batch-0", pod_uid=BATCH_UID, domain="/", pid=300, comm="batch", since=NOW)
    found = for_risks((risk,), crowd(), PODS, evicted_first=BATCH_UID)
    by_field = {(a.killer, a.field): a for a in found}
    request = by_field["kernel", "requests.memory"]
    assert (request.pod, request.container, request.domain, request.before) == (
        "shop/batch-0", "main", "node", "0"
    )  # fmt: skip
    assert request.takes_effect == "new pod"
    assert request.then == "the kernel would kill nginx (pid 102, pod shop/cart-0) and 1 more with it"
    assert by_field["kernel", "qosClass"].value == "Guaranteed"
    assert by_field["kubelet", "requests.memory"].value == "200Mi"
    assert by_field["kubelet", "priority"].value == "100"
    assert by_field["kubelet", "priority"].then == "the kubelet would evict pod shop/cart-0 first"


def test_advice_about_a_limit_or_a_group_says_what_is_left_and_who_dies_alone() -> None:
    risk = Risk(pod="shop/cart-0", pod_uid=UID, container="web", domain=WEB, pid=102, comm="nginx", since=NOW)
    limited = (Container("redis", 820 * MI), Container("web", 820 * MI, 1024 * MI))
    names = Names({UID: replace(PODS.pods[UID], spec=PodSpec(Qos.BURSTABLE, limited))})
    found = for_risks((risk,), crowd(), names)
    assert [(a.field, a.before, a.value, a.then) for a in found] == [
        ("limits.memory", "1Gi", "1177Mi", "177Mi would be left there"),
        (
            "singleProcessOOMKill",
            "false",
            "true",
            "the kernel would kill nginx (pid 102, pod shop/cart-0) alone",
        ),
    ]


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, ""), (0, "0"), (5, "5"), (1 << 30, "1Gi"), (1536 * MI, "1536Mi"), (2048, "2Ki")],
)
def test_amounts_can_be_written_into_a_manifest(count: int | None, text: str) -> None:
    assert amount(count) == text
