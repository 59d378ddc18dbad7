"""Pods and containers from cgroup paths: drivers, runtimes, QoS classes, prefixes."""

from collections.abc import Callable

import pytest

from oomsayer.kubelet.cgroups import Owner, Qos, is_container, is_kubepods, is_pod, owner

UID = "3b8a1f60-9a3c-4c4e-8f0e-0d6a3f1b2c4d"
LOW = UID.replace("-", "_")
BURSTABLE = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"
KIND = "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod"
ROOTED = (
    "/my_root.slice/my_root-kubepods.slice/my_root-kubepods-besteffort.slice/my_root-kubepods-besteffort-pod"
)
"""Under --cgroup-root=/my-root: systemd has the hyphen for what parts a slice from the one above."""
HASH = "0123456789abcdef0123456789abcdef"
ID = "ab" * 32


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (f"/kubepods/pod{UID}/{ID}", Owner(UID, Qos.GUARANTEED, ID)),
        (f"/kubepods/burstable/pod{UID}/{ID}", Owner(UID, Qos.BURSTABLE, ID)),
        (f"/kubepods/besteffort/pod{UID}/crio-{ID}", Owner(UID, Qos.BEST_EFFORT, ID)),
        (
            f"/kubepods.slice/kubepods-pod{LOW}.slice/cri-containerd-{ID}.scope",
            Owner(UID, Qos.GUARANTEED, ID),
        ),
        (
            f"{BURSTABLE}{LOW}.slice/crio-{ID}.scope/container",
            Owner(UID, Qos.BURSTABLE, ID),
        ),
        (
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{LOW}.slice/docker-{ID}.scope",
            Owner(UID, Qos.BEST_EFFORT, ID),
        ),
        (f"{BURSTABLE}{LOW}.slice", Owner(UID, Qos.BURSTABLE)),
        (
            f"{KIND}{LOW}.slice/cri-containerd-{ID}.scope",
            Owner(UID, Qos.BURSTABLE, ID),
        ),
        (
            f"{ROOTED}{LOW}.slice/crio-{ID}.scope",
            Owner(UID, Qos.BEST_EFFORT, ID),
        ),
        (f"/kubelet/kubepods/burstable/pod{UID}/{ID}", Owner(UID, Qos.BURSTABLE, ID)),
        (f"/kubepods/burstable/pod{HASH}/{ID}", Owner(HASH, Qos.BURSTABLE, ID)),
        (
            f"{BURSTABLE}{HASH}.slice/crio-{ID}.scope",
            Owner(HASH, Qos.BURSTABLE, ID),
        ),
        (
            f"/kubepods-burstable-pod{LOW}.slice:cri-containerd:{ID}",
            Owner(UID, Qos.BURSTABLE, ID),
        ),
        (f"/kubepods.slice/kubepods-pod{LOW}.slice/crio-conmon-{ID}.scope", Owner(UID, Qos.GUARANTEED)),
        (f"/kubepods/pod{UID}/{ID}/docker/{'cd' * 32}", Owner(UID, Qos.GUARANTEED, ID)),
        (f"/system.slice/docker-{ID}.scope", Owner()),
        ("/kubepods.slice", Owner()),
        ("/kubepods/burstable", Owner()),
        ("/system.slice/podman.service", Owner()),
        ("/", Owner()),
    ],
)
def test_the_path_tells_pod_and_container(path: str, expected: Owner) -> None:
    assert owner(path) == expected


def test_a_root_of_the_kubelets_own_may_have_any_name() -> None:
    assert is_pod(f"{ROOTED}{LOW}.slice")
    assert is_kubepods("/my_root.slice/my_root-kubepods.slice")
    assert not is_kubepods("/my_root.slice/my_root-kubepods.slice/my_root-kubepods-besteffort.slice")


@pytest.mark.parametrize(
    ("path", "level"),
    [
        ("/", None),
        ("/kubepods.slice", is_kubepods),
        ("/kubelet/kubepods", is_kubepods),
        ("/kubelet.slice/kubelet-kubepods.slice", is_kubepods),
        ("/kubepods.slice/kubepods-burstable.slice", None),
        (f"{BURSTABLE}{LOW}.slice", is_pod),
        (f"{BURSTABLE}{LOW}.slice/crio-{ID}.scope", is_container),
        (f"{BURSTABLE}{LOW}.slice/crio-conmon-{ID}.scope", None),
        (f"{BURSTABLE}{LOW}.slice/crio-{ID}.scope/container", None),
        (f"/kubepods-burstable-pod{LOW}.slice:cri-containerd:{ID}", None),
        (f"/system.slice/docker-{ID}.scope", None),
    ],
)
def test_which_level_a_cgroup_is(path: str, level: Callable[[str], bool] | None) -> None:
    assert [is_level for is_level in (is_kubepods, is_pod, is_container) if is_level(path)] == (
        [level] if level else []
    )
