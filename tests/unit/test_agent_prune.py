"""What a report has of a node beside those who decide its verdicts."""

from tests.unit.controller_crowd import BATCH, BATCH_MAIN, crowd
from tests.unit.controller_node import WEB, task, with_tasks

from oomsayer.agent.prune import prune
from oomsayer.kernel.snapshot import Snapshot
from oomsayer.kubelet.qos import SANDBOX_OOM_SCORE_ADJ


def with_small_ones() -> Snapshot:
    """The test node, and processes that no OOM would take before others."""
    snapshot = crowd()
    return with_tasks(
        snapshot,
        *snapshot.tasks,
        task(201, "small", WEB, 3, 0),
        task(202, "biggest", WEB, 5, 0),
        task(203, "smaller", WEB, 4, 0),
        task(204, "pause", WEB, 1, SANDBOX_OOM_SCORE_ADJ),
        task(205, "service", "/system.slice", 2, 1),
    )


def test_of_a_container_the_biggest_process_at_each_oom_score_adj_is_told() -> None:
    told = {t.pid for t in prune(with_small_ones(), 1).tasks}
    assert told & {201, 202, 203, 204, 205} == {202}


def test_without_pods_neither_that_process_nor_any_working_set_is_told() -> None:
    pruned = prune(with_small_ones(), 1, pods=False)
    assert all(t.pid < 201 or t.comm == "batch" for t in pruned.tasks)
    assert all(memcg.working_set_bytes is None for memcg in pruned.memcgs.values())
    assert any(memcg.working_set_bytes for memcg in prune(with_small_ones(), 1).memcgs.values())


def test_a_pod_that_may_be_evicted_is_told_without_any_process_of_its() -> None:
    snapshot = crowd()
    others = (t for t in snapshot.tasks if t.memcg != BATCH_MAIN)
    assert BATCH in prune(with_tasks(snapshot, *others), 1).memcgs
