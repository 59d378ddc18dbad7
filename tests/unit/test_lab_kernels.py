"""The kernel lab's own judgement: scenarios that can be played, and comparisons that notice a difference."""

from dataclasses import replace
from typing import Any

import pytest
from lab.kernels.compare import Match, compare
from lab.kernels.scenario import ROOT, End, Machine, Scenario, generate
from lab.kernels.staged import FIRST_NUMBER, staged


def scenario(*, swap: bool = False) -> Scenario:
    return Scenario(1, 2, "/c", "/c", [], [], [], swap, 60, 0, 8, 0)


def victim(pid: int, points: int, *others: int, group: str | None = None) -> dict[str, Any]:
    return {"pid": pid, "points": points, "kill_set": [pid, *others], "oom_group": group, "cgroup": "/c"}


def chose(pid: int, group: str | None = None) -> list[str]:
    report = (
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
        f"oom_memcg=/c,task_memcg=/c,task=x,pid={pid},uid=0"
    )
    return [
        report,
        *([f"Tasks in {group} are going to be killed due to memory.oom.group set"] if group else []),
    ]


def played(
    order: list[dict[str, Any]], log: list[str], *dead: list[int], answer: str = "kill"
) -> dict[str, Any]:
    steps = [{"answer": "kill", "oom_kill": 1, "dead": pids, "lossy": False} for pids in dead]
    steps[-1]["answer"] = answer
    return {
        "release": "6.12.1",
        "seconds": 1.0,
        "log": log,
        "steps": steps,
        "threads": {str(pid): 1 for pid in range(10, 20)},
        "shmem_pages": {str(pid): 0 for pid in range(10, 20)},
        "cgroups": {str(pid): "/c" if pid % 2 else "/c/container" for pid in range(10, 20)},
        "check": {"compared": 10, "mismatches": []},
        "prediction": {"domains": [{"path": "/c", "order": order, "runner_up": None}]},
    }


ORDER = [victim(10, 900), victim(11, 800, 12), victim(13, 790)]


def test_a_cascade_as_predicted() -> None:
    outcome = compare(scenario(), played(ORDER, chose(10) + chose(11), [10], [11, 12]))
    assert (outcome.first, outcome.order, outcome.good) == (Match.RIGHT, Match.RIGHT, True)
    assert outcome.kill_sets == [Match.RIGHT, Match.RIGHT]


def test_a_score_that_the_kernel_does_not_show() -> None:
    result = played(ORDER, chose(10) + chose(11), [10], [11, 12])
    hidden, wrong = (
        {"pid": pid, "comm": "x", "ours": 670, "kernel": 671, "because": because}
        for pid, because in ((11, "precision"), (13, "unexplained"))
    )
    result["check"]["mismatches"] = [hidden]
    assert compare(scenario(), result).scores == (9, 9)
    result["check"]["mismatches"] = [hidden, wrong]
    outcome = compare(scenario(), result)
    assert (outcome.scores, outcome.good) == ((8, 9), False)
    assert outcome.misses == ["pid 13 (x) has oom_score 671, and not 670"]


def test_another_first_victim() -> None:
    outcome = compare(scenario(), played(ORDER, chose(11), [11, 12]))
    assert (outcome.first, outcome.good) == (Match.WRONG, False)
    assert "predicted 10 (900 points), the kernel chose 11 (800 points)" in outcome.misses


def test_a_sharer_of_the_predicted_victims_memory_in_an_unseen_order() -> None:
    # 10 and 11 are in cgroups whose order nobody sees; only the kernel's table tells that they are level.
    head = "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"
    for rss, expected in ((800, Match.EXCLUDED), (790, Match.WRONG)):
        rows = [f"[{10:7}]     0    10     2000      800    53248        0             0 x"]
        rows += [f"[{11:7}]     0    11     2000 {rss:8}    53248        0             0 x"]
        asked = "x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"
        log = [asked, "Tasks state (memory values in pages):", head, *rows, *chose(11)]
        outcome = compare(scenario(), played([victim(10, 813, 11)], log, [10, 11]))
        assert (outcome.first, outcome.good) == (expected, expected is Match.EXCLUDED)


def test_each_report_in_the_log_is_explained() -> None:
    head = "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"
    rows = [
        f"[{pid:7}]     0 {pid:5}     2000 {rss:8}    53248        0             0 x"
        for pid, rss in ((10, 800), (11, 700))
    ]
    asked = ["x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0", head, *rows]
    order = [victim(10, 813), victim(11, 713)]
    outcome = compare(scenario(), played(order, asked + chose(10), [10]))
    assert (outcome.explained, outcome.good) == ((1, 1), True)
    missed = compare(scenario(), played(order[::-1], asked + chose(11), [11]))
    assert (missed.explained, missed.good) == ((0, 1), False)
    assert missed.misses == ["nothing explains why the kernel took 11"]
    assert compare(scenario(swap=True), played(order[::-1], asked + chose(11), [11])).explained == (0, 0)


def test_more_victims_than_are_told() -> None:
    told = [victim(pid, 900 - pid) for pid in range(10, 26)]
    log = [line for pid in range(10, 27) for line in chose(pid)]
    steps = [[pid] for pid in range(10, 26)]
    result = played(told, log, *steps, [26])
    result.update(
        {
            key: {str(pid): value for pid in range(10, 27)}
            for key, value in (("threads", 1), ("shmem_pages", 0), ("cgroups", "/c"))
        }
    )
    assert compare(scenario(), result).good
    fewer = compare(
        scenario(),
        {**result, "prediction": {"domains": [{"path": "/c", "order": told[:15], "runner_up": None}]}},
    )
    assert fewer.misses == ["the kernel chose 25, but nobody else was predicted"]


def test_another_order_later() -> None:
    outcome = compare(scenario(), played(ORDER, chose(10) + chose(13), [10], [13]))
    assert (outcome.first, outcome.order) == (Match.RIGHT, Match.WRONG)


def test_one_that_is_chosen_while_it_dies_with_the_last_victim() -> None:
    outcome = compare(scenario(), played(ORDER, chose(10) + chose(11) + chose(12), [10], [11, 12]))
    assert (outcome.first, outcome.order, outcome.good) == (Match.RIGHT, Match.EXCLUDED, True)
    late = compare(scenario(), played(ORDER, chose(10) + chose(11) + chose(12), [10], [11], [12]))
    assert not late.good


@pytest.mark.parametrize("dead", [[10, 15], []])
def test_more_or_fewer_died(dead: list[int]) -> None:
    outcome = compare(scenario(), played(ORDER, chose(10), dead))
    assert not outcome.good


def test_another_group() -> None:
    outcome = compare(scenario(), played(ORDER, chose(10, "/c"), [10]))
    assert outcome.kill_sets == [Match.WRONG]


@pytest.mark.parametrize(("swap", "match"), [(True, Match.EXCLUDED), (False, Match.WRONG)])
def test_only_swapping_makes_a_choice_too_close_to_tell(swap: bool, match: Match) -> None:  # noqa: FBT001 - a parameter
    order = [victim(10, 900), victim(11, 890)]
    outcome = compare(scenario(swap=swap), played(order, chose(11), [11]))
    assert outcome.first is match


@pytest.mark.parametrize(("other", "match"), [(11, Match.EXCLUDED), (12, Match.WRONG)])
def test_between_equals_the_cgroups_below_a_memory_cgroup_decide(other: int, match: Match) -> None:
    order = [victim(10, 900), victim(other, 900)]
    assert compare(scenario(), played(order, chose(other), [other])).first is match


def test_shared_memory_in_swap_counts_no_more() -> None:
    result = played([victim(10, 900), victim(11, 700)], chose(11), [11])
    assert compare(scenario(swap=True), result).first is Match.WRONG
    result["shmem_pages"]["10"] = 300
    assert compare(scenario(swap=True), result).first is Match.EXCLUDED


def test_nobody_left_to_kill_earlier_than_predicted() -> None:
    outcome = compare(scenario(), played(ORDER, chose(10), [10], [], answer="full"))
    assert outcome.order is Match.WRONG


def test_an_oom_elsewhere_is_no_comparison() -> None:
    log = [line.replace("oom_memcg=/c", "oom_memcg=/d") for line in chose(10)]
    assert compare(scenario(), played(ORDER, log, [10])).error == "another domain ran out: /d"


def test_a_seed_gives_the_same_scenario_again() -> None:
    assert generate(5, 6) == generate(5, 6) != generate(5, 7)


def test_scenarios_can_be_played() -> None:
    domains = set()
    for number in range(300):
        made = generate(1, number)
        files = {cgroup.path: cgroup.files for cgroup in made.cgroups}
        domains.add("node" if made.domain == ROOT else str(made.domain.count("/")))
        assert sorted(made.attach) == list(range(len(made.processes)))
        for path in files:
            parent = path.rpartition("/")[0]
            delegated = parent == "" or "cgroup.subtree_control" in files[parent]
            assert delegated or path.endswith("/container")
        # No process where a controller is handed down, or cgroup v2 refuses it.
        homes = {process.cgroup for process in made.processes} | {made.filler}
        assert not [home for home in homes if "cgroup.subtree_control" in files[home]]
        if made.domain != ROOT:
            assert "memory.max" in files[made.domain]
            between = made.filler
            while between != made.domain:
                assert "memory.max" not in files[between]
                between = between.rpartition("/")[0]
    assert domains == {"node", "1", "2", "3", "4"}


def ending(end: End, says: str, answer: str = "", **domain: object) -> tuple[Scenario, dict[str, Any]]:
    result = played([], [], [], answer=answer)
    result["prediction"] = {"domains": [{"path": "/c", "victim": None, "assumptions": [says], **domain}]}
    return replace(scenario(), end=end, says=says), result


def test_a_panic_as_predicted() -> None:
    made, result = ending(End.PANIC, "the node panics")
    made = replace(made, says="deadlocked")
    assert compare(made, result | {"panic": "System is deadlocked on memory"}).good
    assert not compare(made, result | {"panic": ""}).good
    assert not compare(made, result).good
    result["prediction"]["domains"][0]["victim"] = {"pid": 10}
    assert not compare(made, result | {"panic": "System is deadlocked on memory"}).good


@pytest.mark.parametrize(
    ("end", "answer", "victim", "good"),
    [
        (End.HANGS, "hangs", None, True),
        (End.HANGS, "gone", None, False),
        (End.SPINS, "spins", None, True),
        (End.GONE, "gone", {"pid": 10}, True),
        (End.GONE, "gone", None, False),
        (End.HANGS, "hangs", {"pid": 10}, False),
    ],
)
def test_an_end_in_which_badness_has_no_say(
    end: End, answer: str, victim: dict[str, int] | None, *, good: bool
) -> None:
    assert compare(*ending(end, "so it is", answer, victim=victim)).good is good


def test_what_is_made_by_hand_can_be_played() -> None:
    made = staged()
    assert [each.index for each in made] == list(range(FIRST_NUMBER, FIRST_NUMBER + len(made)))
    assert len({each.name for each in made}) == len(made)
    for each in made:
        paths = {cgroup.path for cgroup in each.cgroups} | {ROOT}
        assert each.filler in paths
        assert {process.cgroup for process in each.processes} <= paths
        assert each.domain in paths or each.domain.startswith("cpuset.mems=")
    for machine in {each.machine for each in made}:
        *others, last = [each for each in made if each.machine is machine]
        assert last.end is End.PANIC or machine is Machine.V1
        assert all(each.end is not End.PANIC for each in others)
