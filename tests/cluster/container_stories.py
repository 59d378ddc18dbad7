"""Stories of one container, the same on nodes that are machines and on nodes that are containers."""

from tests.cluster.story import FILL, Json, Stage, came_true, container, of_container, pod

FLOODER = f"child name flooder wait {FILL}/go flood {FILL}/zeros end"
"""A process that, at its sign, fills its container with unmapped pages until somebody dies."""


def several_processes_at_their_limit(stage: Stage, node: str, *, whole: bool) -> Json:
    """The kernel takes the one process that was foretold, or with memory.oom.group the whole container.

    Returns the verdict, as the node has it.
    """
    workers = (
        f"{FLOODER} child name worker-a hold 31 say holding end child name worker-b hold 26 say holding end"
    )
    story = pod("several", node, container("app", workers, limit="72Mi"), container("idle", "name idle"))
    [uid] = stage.run(story)
    domain = stage.foretold(node, of_container(uid))
    assert domain["confidence"] == "high"
    assert domain["victim"]["pod"] == "default/several"
    expected = stage.in_the_kernels_terms(node, domain)
    before = len(stage.kills(node))
    stage.touch("several", "app", f"{FILL}/go")
    kill = stage.next_kill(node, before)
    came_true(expected, kill)
    assert (kill.oom_group is not None) is whole
    assert (len(kill.killed) > 1) is whole
    return domain


def a_raised_oom_score_adj(stage: Stage, node: str) -> None:
    """In a small domain memory outweighs it: who dies is not whose /proc/PID/oom_score is highest."""
    plain = "child name plain hold 52 say holding end"
    workers = f"{FLOODER} {plain} child name raised adj 1000 hold 34 say holding end"
    app = container("app", workers, limit="120Mi", request="64Mi")
    [uid] = stage.run(pod("raised", node, app, container("idle", "name idle")))
    domain = stage.foretold(node, of_container(uid))
    scores = {v["comm"]: stage.oom_score(node, v["pid"]) for v in domain["order"]}
    assert scores[domain["victim"]["comm"]] < max(scores.values()), "here oom_score would name the same"
    expected = stage.in_the_kernels_terms(node, domain)
    before = len(stage.kills(node))
    stage.touch("raised", "app", f"{FILL}/go")
    came_true(expected, stage.next_kill(node, before))
