import asyncio
from collections.abc import Mapping
from typing import Any, cast

from tests.unit.controller_node import CART, KUBEPODS, NAMES, POD, REDIS, REDIS_ID, UID, WEB, WEB_ID

from oomsayer.controller.apiserver import ApiServer
from oomsayer.controller.names import Names, Place, read_pods
from oomsayer.controller.pods import FIRST_RETRY, PodNames
from oomsayer.kernel.domain import Domain, DomainKind
from oomsayer.kubelet.cgroups import owner

STATIC_HASH = "0123456789abcdef0123456789abcdef"


def pod(
    name: str,
    uid: str,
    containers: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    statuses = [{"name": n, "containerID": f"containerd://{i}"} for i, n in (containers or {}).items()]
    return {
        "metadata": {"namespace": "shop", "name": name, "uid": uid, "annotations": annotations or {}},
        "status": {"containerStatuses": [*statuses, {"name": "waiting"}]},
    }


def memcg(path: str) -> Domain:
    return Domain(DomainKind.MEMCG, path, 1)


def test_a_pod_is_found_by_its_uid_and_its_containers_by_their_ids() -> None:
    pods = read_pods([pod("cart-0", UID, containers={REDIS_ID: "redis", WEB_ID: "web"})])
    assert pods == {UID: CART}
    assert Names(pods).place(REDIS) == Place(CART, UID, "redis", REDIS_ID)


def test_init_and_ephemeral_containers_have_names_too() -> None:
    item = pod("cart-0", UID)
    item["status"] = {
        "initContainerStatuses": [{"name": "setup", "containerID": f"cri-o://{REDIS_ID}"}],
        "ephemeralContainerStatuses": [{"name": "debug", "containerID": f"docker://{WEB_ID}"}],
    }
    assert read_pods([item])[UID].containers == {REDIS_ID: "setup", WEB_ID: "debug"}


def test_a_static_pod_is_found_by_the_hash_that_its_cgroup_carries() -> None:
    hashed = {"kubernetes.io/config.hash": STATIC_HASH, "kubernetes.io/config.mirror": STATIC_HASH}
    pods = read_pods([pod("etcd-n1", UID, annotations=hashed)])
    place = Names(pods).place(f"/kubepods.slice/kubepods-pod{STATIC_HASH}.slice")
    assert (place.pod_name, place.pod_uid) == ("shop/etcd-n1", UID)


def test_a_pod_that_merely_claims_a_hash_is_found_by_its_own_uid() -> None:
    assert set(read_pods([pod("liar", UID, annotations={"kubernetes.io/config.hash": STATIC_HASH})])) == {UID}


def test_domains_are_called_what_people_call_them() -> None:
    assert NAMES.domain(Domain(DomainKind.NODE, "/", 1)) == ("node", "node")
    mems = Domain(DomainKind.CPUSET, "cpuset.mems=1", 1, frozenset({1}))
    assert NAMES.domain(mems) == ("cpuset", "cpuset.mems=1")
    assert NAMES.domain(memcg(POD)) == ("pod", "pod shop/cart-0")
    assert NAMES.domain(memcg(REDIS)) == ("container", "container shop/cart-0/redis")
    assert NAMES.domain(memcg(f"{REDIS}/worker")) == ("container", "container shop/cart-0/redis/worker")
    assert NAMES.domain(memcg(KUBEPODS)) == ("cgroup", KUBEPODS)
    assert Names().domain(memcg(POD)) == ("cgroup", POD)


class Api:
    """Answers lists of pods, and counts them."""

    def __init__(self) -> None:
        self.pods: list[dict[str, Any]] = []
        self.lists = 0

    async def get(self, path: str, **params: str) -> dict[str, Any]:
        assert (path, params["fieldSelector"]) == ("/api/v1/pods", "spec.nodeName=n1")
        self.lists += 1
        return {"items": self.pods}


def test_pods_are_listed_only_for_a_name_that_is_missing() -> None:
    api, clock = Api(), [0.0]
    api.pods = [pod("cart-0", UID, containers={REDIS_ID: "redis", WEB_ID: "web"}), pod("other", "else")]
    names = PodNames(cast("ApiServer", api), lambda: clock[0])

    for path in (REDIS, WEB, REDIS):
        found, retry = asyncio.run(names.names("n1", {owner(path)}))
        assert (found.place(path).pod_name, retry) == ("shop/cart-0", None)
    assert api.lists == 1
    assert set(found.pods) == {UID}


def test_a_name_that_is_not_there_is_asked_for_more_and_more_seldom() -> None:
    api, clock = Api(), [0.0]
    names = PodNames(cast("ApiServer", api), lambda: clock[0])
    waits = []
    for _ in range(4):
        found, retry = asyncio.run(names.names("n1", {owner(REDIS)}))
        asyncio.run(names.names("n1", {owner(REDIS)}))
        assert retry is not None
        waits.append(retry)
        clock[0] += retry
    assert waits == [FIRST_RETRY, 10.0, 20.0, 40.0]
    assert api.lists == 4
    assert found.settled(owner(REDIS))


def test_a_pod_that_is_gone_keeps_its_name_while_it_is_asked_for() -> None:
    api, clock = Api(), [0.0]
    api.pods = [pod("cart-0", UID, containers={REDIS_ID: "redis"})]
    names = PodNames(cast("ApiServer", api), lambda: clock[0])
    asyncio.run(names.names("n1", {owner(REDIS)}))
    api.pods = []
    found, retry = asyncio.run(names.names("n1", {owner(REDIS)}, anew=True))
    assert (found.place(REDIS).container, retry) == ("redis", None)
    found, _ = asyncio.run(names.names("n1", set()))
    assert found.pods == {}


def test_a_name_that_comes_late_is_found() -> None:
    api, clock = Api(), [0.0]
    names = PodNames(cast("ApiServer", api), lambda: clock[0])
    found, retry = asyncio.run(names.names("n1", {owner(REDIS)}))
    assert not found.settled(owner(REDIS))
    api.pods = [pod("cart-0", UID, containers={REDIS_ID: "redis"})]
    clock[0] += retry or 0
    found, retry = asyncio.run(names.names("n1", {owner(REDIS)}))
    assert (found.place(REDIS).container, retry) == ("redis", None)
