from dataclasses import replace

from tests.unit.controller_crowd import PODS, SPEC, crowd, inverted
from tests.unit.controller_node import MI, UID, with_tasks

from oomsayer.api.eviction import Drift
from oomsayer.controller.drift import drift
from oomsayer.controller.names import Names
from oomsayer.kubelet.podspec import Container


def test_as_the_kubelet_meant_it_nothing_has_drifted() -> None:
    assert drift(crowd(), PODS) == ()


def test_one_process_that_changed_its_score_has_drifted() -> None:
    (found,) = drift(inverted(), PODS)
    assert found == Drift(
        pod="shop/cart-0",
        pod_uid=UID,
        container="web",
        pid=102,
        comm="nginx",
        oom_score_adj=1000,
        expected=900,
    )


def test_a_container_that_was_resized_in_place_is_told_once() -> None:
    resized = replace(SPEC, containers=(SPEC.containers[0], Container("web", 4096 * MI)))
    names = Names({**PODS.pods, UID: replace(PODS.pods[UID], spec=resized)})
    (found,) = drift(crowd(), names)
    assert (found.container, found.oom_score_adj, found.expected) == ("web", 900, 500)
    assert found.whole_container


def test_processes_that_changed_their_scores_each_to_another_are_told_each() -> None:
    scores = {"nginx": 1000, "worker": 950}
    shot = crowd()
    changed = (replace(t, oom_score_adj=scores.get(t.comm, t.oom_score_adj)) for t in shot.tasks)
    found = drift(with_tasks(shot, *changed), PODS)
    assert [(d.comm, d.oom_score_adj, d.whole_container) for d in found] == [
        ("nginx", 1000, False),
        ("worker", 950, False),
    ]


def test_a_process_of_a_pod_without_a_name_is_not_judged() -> None:
    assert drift(inverted(), Names()) == ()
