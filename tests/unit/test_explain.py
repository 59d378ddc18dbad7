import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.explained_report import explained, only, predicted
from tests.unit.oom_report_text import CONTAINER_PATH, UNLIMITED, Row, Text

from oomsayer.cli.explain_table import text as table
from oomsayer.kernel.explain import UNDETERMINED

SHARED = Path(__file__).parents[2].parent / "shared" / "oom-logs"
CPUSET = (Path(__file__).parents[1] / "fixtures" / "cpuset-7.2.log").read_text()
"""From the kernel lab: two memory nodes, and a cpuset that allows the second alone."""
BIG, SMALL = Row(100, "big", 90_000), Row(200, "small", 400)


@pytest.mark.parametrize(
    ("style", "kernel", "era"),
    [
        ("3.10", "3.10.0-1160.el7.x86_64", "E0"),
        ("4.8", "4.9.0-19-amd64", "E1"),
        ("4.15", "4.17.0-1-amd64", "E2"),
        ("4.19", "4.19.0-27-amd64", "E2"),
        ("5.2", "5.2.1", "E3"),
        ("5.15", "5.4.0", "E4"),
        ("5.15", "5.4.273", "E5"),
        ("5.15", "5.4.0-70-generic", "E4"),
        ("5.15", "5.4.0-150-generic", "E5"),
        ("5.15", "5.4.0-1040-azure", "E4"),
        ("5.15", "5.4.0-1100-azure", "E5"),
        ("5.15", "5.15.0-100-generic", "E5"),
        ("6.8", "6.12.94-amd64", "E6"),
        ("6.8", "7.1.3-amd64", "E7"),
    ],
)
def test_a_whole_report_of_every_era_is_complete_and_agrees(style: str, kernel: str, era: str) -> None:
    score = (90_000 + 1) * 1000 // 1_000_000
    told = only(Text((SMALL, BIG), (100,), style=style, kernel=kernel, chosen=(100, score)))
    assert (told.era_name, told.kind, told.path, told.totalpages) == (era, "node", "/", 1_000_000)
    assert (predicted(told), told.agrees, told.because, told.complete) == (100, True, None, True)
    assert told.next is not None
    assert told.next.row.pid == 200


def test_points_are_memory_and_adj_of_the_domains_own_totalpages() -> None:
    rows = (Row(1000, "a", 500, adj=100, swap=20, pgtables=8192), Row(1001, "b", 10))
    told = only(Text(rows, (1000,), memcg="/foo", limit=400_000))
    assert told.totalpages == 100_000
    assert told.candidates[0].points == 500 + 20 + 2 + 100 * 100


def test_what_would_have_changed_it_is_exact() -> None:
    rows = (Row(1, "init", 1), Row(100, "victim", 5_000, adj=10), Row(200, "next", 4_000, adj=5))
    told = only(Text(rows, (100,), memcg="/foo", limit=400_000))
    change = told.change
    assert change is not None
    # 5001 + 10 * 100 against 4001 + 5 * 100: 1500 pages; the later row wins a tie.
    assert change.victim_oom_score_adj == 10 - 15
    assert change.next_oom_score_adj == 5 + 15
    assert change.victim_bytes == 1500 * 4096
    assert change.next_bytes == 1500 * 4096


def test_a_tie_goes_to_the_first_up_to_5_2_and_to_the_last_from_5_3() -> None:
    rows = (Row(100, "a", 10, adj=-998), Row(200, "b", 10, adj=-998))
    assert predicted(only(Text(rows, (100,), style="5.2", kernel="5.2.1"))) == 100
    assert predicted(only(Text(rows, (200,), kernel="5.4.1"))) == 200


def test_init_and_minus_1000_are_never_chosen() -> None:
    rows = (Row(1, "systemd", 900_000), Row(7, "sshd", 800_000, adj=-1000), SMALL)
    told = only(Text(rows, (200,)))
    assert [candidate.eligible for candidate in told.candidates] == [True, False, False]
    assert told.agrees is True


def test_a_sacrificed_child_is_named_as_the_reason() -> None:
    told = only(Text((BIG, SMALL), (200,), style="4.19", kernel="4.19.0-1", chosen=(100, 90)))
    assert told.agrees is False
    assert told.because is not None
    assert told.because.startswith("child sacrificed")


def test_the_printed_score_tells_totalpages_and_capability() -> None:
    row = Row(100, "hog", 5000, uid=0, swap=5000)
    text = Text((row,), (100,), style="4.8", kernel="4.9.1", memcg="/docker/x", limit=20_480, memsw=40_960)
    assert only(replace(text, chosen=(100, 10_001 * 1000 // 10_240))).totalpages == 10_240
    assert only(replace(text, chosen=(100, 10_001 * 1000 // 5_120))).totalpages == 5_120
    capable = only(replace(text, chosen=(100, 9_701 * 1000 // 10_240)))
    assert capable.candidates[0].points == 9_701


def test_a_score_of_0_tells_no_totalpages() -> None:
    row = Row(100, "java", 119_961, adj=-998, swap=9_000)
    text = Text((row,), (100,), style="4.8", kernel="4.9.1", memcg="/x", limit=524_288, memsw=UNLIMITED)
    told = only(replace(text, chosen=(100, 0)))
    assert told.totalpages is None
    assert any("total swap" in sentence for sentence in told.missing)


def test_swap_in_use_leaves_totalpages_open_but_not_the_choice() -> None:
    rows = (Row(100, "a", 900, adj=500, swap=10), Row(200, "b", 100, adj=500))
    told = only(Text(rows, (100,), memcg="/foo", swap=(40, UNLIMITED)))
    assert told.totalpages is None
    assert predicted(told) == 100
    assert told.candidates[0].points is None
    assert any("total swap" in sentence for sentence in told.missing)


@pytest.mark.parametrize("swap", ["swap: usage 90000kB, limit 90", "memory+swap: usage 490000kB, limit 490"])
def test_a_cgroup_that_uses_all_swap_it_may_tells_totalpages(swap: str) -> None:
    rows = (Row(100, "a", 900, adj=500, swap=10), Row(200, "b", 100, adj=500))
    text = Text(rows, (100,), memcg="/foo", swap=(7, 7)).text()
    told = only(text.replace("swap: usage 7kB, limit 7", f"{swap}000"))
    assert told.totalpages == 122_500
    assert told.candidates[0].points == 911 + 500 * 122
    assert not any("total swap" in sentence for sentence in told.missing)


def test_a_choice_that_depends_on_unknown_totalpages_is_not_made() -> None:
    rows = (Row(100, "a", 90_000, swap=10), Row(200, "b", 100, adj=500))
    told = only(Text(rows, (200,), memcg="/foo", swap=(40, UNLIMITED)))
    assert (told.predicted, told.agrees, told.because) == (None, None, None)
    assert any("depends on totalpages" in sentence for sentence in told.missing)


def test_total_swap_is_taken_from_an_earlier_line_of_the_log() -> None:
    rows = (Row(100, "a", 900, swap=10), SMALL)
    before = "Adding 400000k swap on /dev/vda2.  Priority:-2 extents:1 across:400000k\n"
    told = only(before + Text(rows, (100,), memcg="/foo", swap=(40, UNLIMITED)).text())
    assert told.totalpages == 200_000


def test_a_killed_process_without_a_row_means_the_table_was_cut() -> None:
    text = Text((SMALL, BIG), (100,)).text()
    cut = "\n".join(line for line in text.splitlines() if not line.startswith("[    100]"))
    told = only(cut)
    assert told.agrees is False
    assert told.because is not None
    assert told.because.startswith("task table truncated")
    assert not told.complete


def test_what_is_present_on_its_memory_nodes_is_a_cpusets_totalpages() -> None:
    told = explained(CPUSET)
    assert [each.totalpages for each in told] == [65501] * 5
    assert [predicted(each) for each in told] == [127, 123, 132, 129, 128]
    managed = explained(CPUSET.replace("present:262004", "present:193388"))
    whole = explained(CPUSET.replace("CONSTRAINT_CPUSET", "CONSTRAINT_NONE"))
    assert all(each.agrees for each in told)
    assert [each.agrees for each in managed] == [False, True, True, False, True]
    assert [each.agrees for each in whole] == [True, False, True, True, True]


def test_the_allocating_task_is_named_as_the_reason() -> None:
    told = only(
        Text((BIG, SMALL), (200,)).text().replace("of memory:", "of memory (oom_kill_allocating_task):")
    )
    assert told.because is not None
    assert "oom_kill_allocating_task" in told.because


def test_a_deviation_that_nothing_explains_is_undetermined() -> None:
    told = only(Text((BIG, SMALL), (200,)))
    assert (told.agrees, told.because) == (False, UNDETERMINED)


def test_a_victim_whose_rss_moved_beyond_the_margin_explains_itself() -> None:
    rows = (Row(100, "a", 1000), Row(200, "b", 950))
    text = Text(rows, (200,)).text().replace("anon-rss:3800kB", "anon-rss:4200kB")
    told = only(text)
    assert told.because is not None
    assert told.because.startswith("rss printed later than chosen")


def test_who_is_level_with_the_predicted_one_needs_no_more_than_the_least_change() -> None:
    told = only(Text((Row(100, "a", 1000), Row(200, "b", 1000, total_vm=9000)), (100,)))
    assert told.agrees is False
    assert told.because is not None
    assert told.because.startswith("rss printed later than chosen: the two are level")


def test_a_child_of_vfork_that_was_passed_over_is_known_by_its_parents_memory() -> None:
    parent, child, other = (
        Row(100, "shell", 5000, adj=-500),
        Row(300, "shell", 5000, adj=1000),
        Row(200, "b", 900),
    )
    told = only(Text((parent, other, child), (200,)))
    assert (predicted(told), told.agrees) == (300, False)
    assert told.because is not None
    assert told.because.startswith("vfork: shell (300) shows the very memory of shell (100)")
    # Another's memory is no child's, and a parent worse than the one taken would have been taken itself.
    for unlike in (replace(parent, rss=4999), replace(parent, total_vm=1), replace(parent, adj=999)):
        assert only(Text((unlike, other, child), (200,))).because == UNDETERMINED


def test_a_victim_that_was_exiting_may_have_left_the_table() -> None:
    exiting = "Out of memory: OOM victim 100 (big) is already exiting. Skip killing the task"
    lines = [line for line in Text((SMALL, BIG), (100,)).lines() if "[    100]" not in line]
    told = only("\n".join(exiting if "Killed process" in line else line for line in lines))
    assert told.agrees is False
    assert told.because is not None
    assert told.because.startswith("exiting: big (100) had memory when it was chosen")


def test_signed_badness_of_a_vendor_kernel_is_named_as_the_reason() -> None:
    rows = (Row(100, "big", 50_000, adj=-998), Row(200, "small", 100, adj=-998))
    told = only(Text(rows, (100,), kernel="5.4.0-70-generic", memcg="/foo"))
    assert told.agrees is False
    assert told.because is not None
    assert told.because.startswith("signed badness")


def test_a_victim_killed_just_before_is_passed_over() -> None:
    first = Text((BIG, SMALL), (100,)).lines()
    second = Text((BIG, SMALL), (200,)).lines()
    _, told = explained("\n".join([*first, *second]))
    assert predicted(told) == 200
    assert told.agrees is True


def test_a_group_kill_names_all_and_the_next_outside_it() -> None:
    rows = (BIG, SMALL, Row(300, "other", 50))
    told = only(Text(rows, (100, 200), memcg=CONTAINER_PATH, group=CONTAINER_PATH))
    assert told.killed == ((100, "big"), (200, "small"))
    assert told.next is not None
    assert told.next.row.pid == 300


def test_nobody_killable_agrees_with_a_table_of_the_unkillable() -> None:
    lines = Text((Row(7, "sshd", 10, adj=-1000),), (7,)).lines()[:-2]
    told = only(
        "\n".join([*lines, "Out of memory and no killable processes...", "Kernel panic - not syncing"])
    )
    assert (told.predicted, told.killed, told.agrees) == (None, (), True)


def test_a_deadlock_on_memory_is_a_panic_of_the_node_even_where_its_numbers_were_cut_off() -> None:
    told = only(
        "[    0.227050] Out of memory and no killable processes...\n"
        "[    0.227194] Kernel panic - not syncing: System is deadlocked on memory\n"
    )
    assert (told.kind, told.killed) == ("node", ())
    assert "panicked because the node ran out of memory and no process could be killed" in table(1, told)


def test_the_allocating_task_is_taken_whoever_the_table_would_have_named() -> None:
    lines = Text((BIG,), (100,), style="3.10").lines()
    reason = "Out of memory (oom_kill_allocating_task): Kill process 7 (sh) score 0 or sacrifice child"
    killed = "Killed process 7 (sh) total-vm:8kB, anon-rss:4kB, file-rss:0kB"
    told = only("\n".join([lines[0], reason, killed]))
    assert (told.predicted, told.killed, told.agrees) == (None, ((7, "sh"),), None)
    assert told.because is not None
    assert "vm.oom_kill_allocating_task is set" in told.because
    assert "cannot be told from this report: vm.oom_kill_allocating" in " ".join(table(1, told).split())


def test_panic_on_oom_kills_nobody() -> None:
    lines = Text((BIG,), (100,)).lines()[:-2]
    panic = "Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled"
    told = only("\n".join([*lines, panic]))
    assert (told.killed, told.agrees) == ((), None)
    assert told.because is not None
    assert "panic_on_oom" in told.because


def test_one_already_exiting_is_the_kernels_choice_though_not_killed() -> None:
    lines = Text((BIG, SMALL), (100,)).lines()[:-1]
    exiting = "oom_kill_process: OOM victim 100 (big) is already exiting. Skip killing the task"
    told = only("\n".join([*lines, exiting]))
    assert (told.killed, told.agrees) == ((), True)


def test_the_victim_that_is_met_again_in_its_group_ends_no_report() -> None:
    rows = (BIG, SMALL, Row(300, "late", 1000, 0, 100))
    *before, last = Text(rows, (100, 200, 300), memcg=CONTAINER_PATH, group=CONTAINER_PATH).lines()
    again = "Memory cgroup out of memory: OOM victim 100 (big) is already exiting. Skip killing the task"
    told = only("\n".join([*before, again, last]))
    assert [pid for pid, _ in told.killed] == [100, 200, 300]


def test_a_cpuset_counts_only_its_own_nodes() -> None:
    present = {0: 4_000_000, 1: 8_000_000}
    told = only(Text((BIG, SMALL), (100,), constraint="CPUSET", mems="1", present=present))
    assert (told.kind, told.totalpages) == ("cpuset", 2_000_000)


def test_before_5_0_the_allowed_nodes_tell_a_cpuset() -> None:
    text = Text((BIG, SMALL), (100,), style="3.10", kernel="3.10.1", present={0: 4_000, 1: 4_000}).text()
    told = only(text.replace("CPU: 3", "java cpuset=/batch mems_allowed=1\nCPU: 3"))
    assert (told.kind, told.path, told.totalpages) == ("cpuset", "/batch", 1_000)


def test_sysrq_is_of_the_whole_node() -> None:
    header = "kworker/0:2 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=-1, oom_score_adj=0"
    told = only(Text((BIG, SMALL), (100,), header=header))
    assert (told.kind, told.report.sysrq, told.agrees) == ("node", True, True)


def test_pages_of_64_kib_are_told_by_the_victims_address_space() -> None:
    rows = (Row(100, "a", 900, total_vm=1000, pgtables=65536), SMALL)
    text = (
        Text(rows, (100,), memcg="/foo", limit=640_000).text().replace("total-vm:4000kB", "total-vm:64000kB")
    )
    told = only(text)
    assert (told.page_size, told.totalpages) == (65536, 10_000)
    assert told.candidates[0].points == 901


@pytest.mark.parametrize("kept", range(1, 14))
def test_a_report_cut_anywhere_names_what_is_missing(kept: int) -> None:
    lines = Text((BIG, SMALL), (100,)).lines()
    for piece in (lines[:kept], lines[-kept:]):
        for told in explained("\n".join(piece)):
            assert not told.complete
            assert told.missing
            assert told.agrees is not False or (told.because or "").startswith("task table truncated")


def test_a_lone_killed_line_is_a_report_that_says_so() -> None:
    told = only(
        "[1.5] Memory cgroup out of memory: Killed process 7 (x) total-vm:4kB, anon-rss:4kB, file-rss:0kB"
    )
    assert (told.killed, told.kind, told.path) == (((7, "x"),), "memcg", None)
    assert (told.predicted, told.agrees, told.complete) == (None, None, False)


def test_kernels_older_than_the_known_rules_are_not_judged() -> None:
    told = only(Text((BIG, SMALL), (100,), style="3.10", kernel="3.2.0-4-amd64"))
    assert (told.era_name, told.predicted, told.agrees) == (None, None, None)
    assert any("older" in sentence for sentence in told.missing)


@pytest.mark.skipif(
    not SHARED.is_dir(),
    reason=f"the collection of real reports is not beside this checkout ({SHARED.parent.name}/)",
)
class TestRealReports:
    """Each report of the collection is reproduced, or its deviation has a reason."""

    @pytest.mark.parametrize("log", sorted(SHARED.glob("*.log")), ids=lambda path: path.stem)
    def test_of_what_is_known_nothing_is_contradicted(self, log: Path) -> None:
        known = json.loads(log.with_suffix(".json").read_text())
        (told,) = explained(log.read_bytes())
        expected = {"global": "node"}.get(known["domain"], known["domain"])
        assert told.kind == expected
        assert [{"pid": pid, "comm": comm} for pid, comm in told.killed] == known["killed"]
        assert len(told.candidates) == known["table_rows"]
        if told.report.kernel:
            assert known["kernel"].startswith(told.report.kernel)

    @pytest.mark.parametrize("log", sorted(SHARED.glob("*.log")), ids=lambda path: path.stem)
    def test_the_kernels_choice_is_reproduced(self, log: Path) -> None:
        known = json.loads(log.with_suffix(".json").read_text())
        (told,) = explained(log.read_bytes())
        if "anomaly" in known:
            assert (told.agrees, told.because) == (False, UNDETERMINED)
        elif told.predicted is None:
            assert not told.complete
            assert any("totalpages" in sentence for sentence in told.missing)
        else:
            assert told.agrees is True

    @pytest.mark.parametrize("log", sorted(SHARED.glob("*.log")), ids=lambda path: path.stem)
    def test_a_printed_score_is_recomputed(self, log: Path) -> None:
        known = json.loads(log.with_suffix(".json").read_text())
        (told,) = explained(log.read_bytes())
        if known["score_printed"] is not None and told.totalpages is not None and told.predicted is not None:
            assert told.predicted.points is not None
            assert told.predicted.points * 1000 // told.totalpages == known["score_printed"]
