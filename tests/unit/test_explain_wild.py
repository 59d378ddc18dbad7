"""Reports as they are found in mails, issues and posts: each from a real one, cut to what it is about."""

import json

import pytest
from tests.unit.explained_report import explained, only, predicted
from tests.unit.oom_report_text import Row, Text

from oomsayer.cli.explain_table import text as table

QUOTED_PRINTABLE = """\
[1527133.672369] test_samba_blfl invoked oom-killer: gfp_mask=3D0x400dc0(GF=
P_KERNEL_ACCOUNT|__GFP_ZERO), order=3D2, oom_score_adj=3D0=0A=
[1527133.672431] CPU: 1 PID: 14450 Comm: test_samba_blfl Tainted: G        =
   O       6.6.32-rt32-ti-rt-01519-g2cc066b2c5d1-dirty #1=0A=
[1527133.672768] Total swap =3D 0kB=0A=
[1527133.672770] 524288 pages RAM=0A=
[1527133.672775] 45277 pages reserved=0A=
[1527133.672785] [  pid  ]   uid  tgid total_vm      rss pgtables_bytes swa=
pents oom_score_adj name=0A=
[1527133.672844] [    341]     0   341     3634      224    69632        0 =
            0 wpa_supplicant=0A=
[1527133.672892] [   7991]     0  7991     1045      256    49152        0 =
            0 sh=0A=
[1527133.672916] oom-kill:constraint=3DCONSTRAINT_NONE,nodemask=3D(null),ta=
sk=3Dsh,pid=3D7991,uid=3D0=0A=
[1527133.672950] Out of memory: Killed process 7991 (sh) total-vm:4180kB, a=
non-rss:384kB, file-rss:640kB, shmem-rss:0kB, UID:0 pgtables:48kB oom_score=
_adj:0=0A=
"""
HARD_BLANKS = """\
Sep=C2=A0=C2=A05 12:00:52 node-1 kernel: [=C2=A0=C2=A025391]=C2=A0=
=C2=A0=C2=A0=C2=A0=C2=A00
25391=C2=A0=C2=A0=C2=A0=C2=A0=C2=A02184=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=
=C2=A0=C2=A00=C2=A0=C2=A0=C2=A0=C2=A065536=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=
=A0=C2=A032=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=
=A0=C2=A0=C2=A00 oom01
Sep=C2=A0=C2=A05 12:00:52 node-1 kernel: [=C2=A0=C2=A025507]=C2=A0=
=C2=A0=C2=A0=C2=A0=C2=A00 25507=C2=A0=C2=A01581195=C2=A0=C2=A01411594
11395072=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A048=C2=A0=C2=A0=C2=
=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A0=C2=A00 oom01
Sep=C2=A0=C2=A05 12:00:52 node-1 kernel: oom-
kill:constraint=3DCONSTRAINT_NONE,nodemask=3D(null),cpuset=3D/,mems_allow=
ed=3D0-
1,global_oom,task_memcg=3D/user.slice,task=3Doom01,pid=3D25507,uid=3D0
Sep=C2=A0=C2=A05 12:00:52 node-1 kernel: Out of memory: Killed p=
rocess 25507
(oom01) total-vm:6324780kB, anon-rss:5647168kB, file-rss:0kB, shmem-rss:0=
kB,
UID:0 pgtables:11395072kB oom_score_adj:0
"""
HEAD = "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name\n"


def test_a_mail_as_it_was_sent() -> None:
    told = only(QUOTED_PRINTABLE)
    assert told.report.kernel == "6.6.32-rt32-ti-rt-01519-g2cc066b2c5d1-dirty"
    assert (told.totalpages, predicted(told), told.agrees, told.complete) == (479_011, 7991, True, True)
    assert [c.row.comm for c in told.candidates] == ["sh", "wpa_supplicant"]


def test_a_mail_with_hard_blanks() -> None:
    told = only("[1.0] cpuset=3D/\n" + HEAD + HARD_BLANKS)
    assert [c.row.comm for c in told.candidates] == ["oom01", "oom01"]
    assert (told.killed, told.agrees, told.kind) == (((25507, "oom01"),), True, "node")


def test_a_serial_console_of_google() -> None:
    lines = (
        "[195998.443208] node invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=991",
        "[195998.463218] " + HEAD.strip(),
        "[195998.463228] [  27281]     0 27281  1153302   134371  1466368        0           991 node",
        "[1958.4] oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/a,task_memcg=/a,task=node,pid=27281,uid=0",
        "[195998.463248] Memory cgroup out of memory: Killed process 27281 (node) total-vm:4613208kB",
    )
    told = only("\n".join(json.dumps({"textPayload": line + "\\r\\n"}) for line in lines))
    assert [(c.row.pid, c.row.comm) for c in told.candidates] == [(27281, "node")]
    assert (told.path, told.killed) == ("/a", ((27281, "node"),))


def test_a_group_is_one_report_whoever_is_exiting_already() -> None:
    text = (
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0-7,oom_memcg=/p,"
        "task_memcg=/p/c,task=stress,pid=74,uid=0\n"
        "Memory cgroup out of memory: Killed process 74 (stress) total-vm:8kB, anon-rss:4kB, file-rss:0kB\n"
        "Tasks in /p/c are going to be killed due to memory.oom.group set\n"
        "Memory cgroup out of memory: OOM victim 77 (stress) is already exiting. Skip killing the task\n"
        "Memory cgroup out of memory: Killed process 79 (stress) total-vm:8kB, anon-rss:4kB, file-rss:0kB\n"
        "Memory cgroup out of memory: OOM victim 82 (stress) is already exiting. Skip killing the task\n"
    )
    assert only(text).killed == ((74, "stress"), (79, "stress"))


def test_a_head_with_a_column_of_its_own_loses_no_row() -> None:
    text = (
        "[  pid  ]   uid  tgid total_vm      rss (01)nrss  pgtables_bytes swapents oom_score_adj name\n"
        "[   1011]     0  1011   220005     8589     1872   823296        0             0 node\n"
        "[  13135]     0 13135   787018   674666   674300  5439488        0             0 a.out\n"
        "[  13295]     0 13295      597      188        0    24576        0             0 sh\n"
    )
    told = only(text)
    assert [c.row.comm for c in told.candidates] == ["a.out", "node", "sh"]
    assert told.candidates[0].points == 674_666 + 5_439_488 // 4096


def test_a_head_that_cannot_be_read_swallows_no_row() -> None:
    told = only("[  pid  ]   uid  tgid total_vm      rss pgtab...\n" + "[   11]  0 11 9 8 4096 0 0 a\n")
    assert len(told.candidates) == 1


def test_rows_without_head_of_a_mail_that_flows() -> None:
    told = only(
        "[480152.242506] [1035177]     0 1035177     4773       20 393216      \n"
        "115             0 sssd_nss\n"
        "[480152.242525] [1036073]     0 1036073  6258739  3540314 37814272      \n"
        "104             0 oom02\n"
        "[480152.242529] Out of memory: Kill process 1036073 (oom02) score 755 or \n"
        "sacrifice child\n"
    )
    assert [(c.row.pid, c.row.comm) for c in told.candidates] == [(1036073, "oom02"), (1035177, "sssd_nss")]


def test_page_tables_without_head_are_in_pages_where_there_are_two_columns() -> None:
    told = only(
        "[  122.6] [ 9546]  1000  9546   541716   458687     906       6        0             0 oom-write\n"
        "[  122.710675] Out of memory: Kill process 9546 (oom-write) score 902 or sacrifice child\n"
    )
    assert told.candidates[0].points == 458_687 + 912
    assert "4.8 to 4.16" in table(1, told)


def test_the_killed_line_breaks_anywhere() -> None:
    broken = (
        "Out of memory: Killed \nprocess 1968 (memkiller) total-vm:2099436kB, anon-rss:1971712kB, \n"
        "file-rss:1024kB, shmem-rss:0kB, UID:0 pgtables:3904kB oom_score_adj:0\n"
    )
    told = only(broken)
    assert told.killed == ((1968, "memkiller"),)
    assert told.report.killed[0].total_vm_kb == 2_099_436


def test_a_thread_that_was_chosen_is_its_process() -> None:
    told = only(
        "memory: usage 524288kB, limit 524288kB, failcnt 330\n"
        "[ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name\n"
        "[11494]     0 11494   410346   131071     257       5        0             0 badsysprogram\n"
        "Memory cgroup out of memory: Kill process 11499 (badsysprogram) score 1000 or sacrifice child\n"
        "Killed process 11499 (badsysprogram) total-vm:1641384kB, anon-rss:524092kB, file-rss:192kB\n"
    )
    assert (told.killed, told.agrees, told.because, told.next) == (
        ((11499, "badsysprogram"),),
        True,
        None,
        None,
    )
    assert not [
        sentence for sentence in told.missing if "cut" in sentence and sentence.startswith("task table")
    ]


def test_the_order_may_stand_first() -> None:
    told = only("kworker/0:2 invoked oom-killer: order=-1, oom_score_adj=0, gfp_mask=0x24000c0(GFP_KERNEL)\n")
    assert "sysrq-f" in table(1, told)


def test_the_panic_of_old_kernels_is_one() -> None:
    text = table(1, only("Kernel panic - not syncing: Out of memory and no killable processes...\n"))
    assert "The kernel panicked because the node ran out of memory and no process could be killed." in text


def test_whom_the_kernel_chose_is_said_where_nobody_was_killed() -> None:
    line = (
        "Memory cgroup out of memory: Kill process 2178895 (AdsNewStatServe) score 1940 or sacrifice child\n"
    )
    assert "AdsNewStatServe (pid 2178895) was chosen because" in table(1, only(line))


def test_a_prefix_of_a_vendor_is_no_name() -> None:
    for prefix in ("[2-3219.1870] ", "<4>[63651.040008s][pid:2912,cpu3,sh]", "41066.536886] "):
        told = only(
            f"{prefix}vd-net-config invoked oom-killer: gfp_mask=0x80d0, order=0, oom_score_adj=-900\n"
        )
        assert told.report.header == "vd-net-config"
        assert "Memory ran out when vd-net-config asked for memory. The report" in table(1, told)


def test_a_first_line_without_prefix_is_of_the_lines_that_follow() -> None:
    text = (
        "alloc_anon invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n"
        "[ 1974.205815] memory: usage 10240kB, limit 10240kB, failcnt 4480498\n"
        "[ 1974.205818] Memory cgroup stats for /a:\n"
        "[ 1974.205929] Memory cgroup out of memory: Killed process 116849\n"
        "(alloc_anon) total-vm:12236kB, anon-rss:6888kB, file-rss:0kB, shmem-rss:0kB\n"
    )
    (told,) = explained(text)
    assert (told.path, told.killed) == ("/a", ((116849, "alloc_anon"),))


def test_a_negative_uid_is_the_one_it_stands_for() -> None:
    told = only(
        "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name\n"
        "[ 1995]    -2  1995     7972      824      20        0             0 httpd\n"
    )
    assert told.candidates[0].row.uid == 2**32 - 2


def test_a_negative_uid_ends_a_summary_too() -> None:
    told = only("oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),task_memcg=/a,task=httpd,pid=5,uid=-2\n")
    assert told.killed == ((5, "httpd"),)
    assert told.report.summary is not None
    assert told.report.summary.uid == 2**32 - 2


def test_a_path_that_a_pager_cut_is_told_whole_by_its_counters() -> None:
    told = only(
        "Task in /docker/35f1 killed as a result of limit of /docker/35\n"
        "memory: usage 5120kB, limit 5120kB, failcnt 69\n"
        "Memory cgroup stats for /docker/35f1: cache:176KB\n"
        "Memory cgroup stats for /docker/35f1/child: cache:176KB\n"
        "Memory cgroup out of memory: Kill process 16426 (java) score 1 or sacrifice child\n"
    )
    assert told.path == "/docker/35f1"


def test_lines_that_ran_together_in_a_paste_are_several() -> None:
    path = f"/docker/{'0f2b' * 16}"
    told = only(
        f"[9.106468] Task in {path} killed as a result of limit of {path}[9.106478] memory: usage 524288kB, "
        f"limit 524288kB, failcnt 77[9.106481] Memory cgroup stats for {path}: cache:0KB rss:520580KB"
        "[9.106494] [ pid ] uid tgid total_vm rss pgtables_bytes swapents oom_score_adj name"
        "[9.106571] [27281] 0 27281 1153302 134371 1466368 0 0 java"
        "[9.106574] Memory cgroup out of memory: Kill process 27281 (java) score 1027 or sacrifice child"
        "[9.106600] Killed process 27281 (java) total-vm:4613208kB, anon-rss:520580kB, file-rss:16904kB, "
        "shmem-rss:0kB"
    )
    assert (told.path, told.totalpages, predicted(told), told.agrees) == (path, 131_072, 27281, True)


def test_whose_memory_was_reaped_was_killed() -> None:
    rows = HEAD + "[ 11] 0 11 9000 8000 4096 0 0 java\n[ 12] 0 12 9 8 4096 0 0 sh\n"
    told = only(
        f"{rows}oom_reaper: reaped process 11 (java), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB\n"
    )
    assert (told.killed, told.agrees, told.complete) == (((11, "java"),), True, False)
    assert "kill: the line Killed process" in told.missing
    other = only(
        f"{rows}oom_reaper: reaped process 13 (java), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB\n"
    )
    assert other.killed == ()


def test_forms_of_old_are_of_no_rules_known() -> None:
    for line in (
        "java invoked oom-killer: gfp_mask=0xd0, order=0, oom_adj=0, oom_score_adj=0",
        "Killed process 50398, UID 697, (java) total-vm:16345624kB, anon-rss:7822592kB, file-rss:1852kB",
        "Out of Memory: Killed process 2592 (mysqld).",
        "Killed process 2592 (mysqld) vsz:482288kB, anon-rss:1868kB, file-rss:12kB",
    ):
        told = only(f"{line}\n")
        assert told.era is None
        assert "rules: the report's form is older than any known here" in told.missing


def test_a_group_whose_path_was_shortened_dies_as_one() -> None:
    told = only(
        "Memory cgroup out of memory: Killed process 38647 (python) anon-rss:1210580kB\n"
        "Tasks in ...pod1fd97494... are going to be killed due to memory.oom.group set\n"
        "Memory cgroup out of memory: Killed process 38383 (Runner.Listener)\n"
    )
    assert told.killed == ((38647, "python"), (38383, "Runner.Listener"))


def test_a_victim_that_its_group_s_walk_meets_again_died_once() -> None:
    victim, other = (
        f"[ 100.000001] Memory cgroup out of memory: Killed process {who} total-vm:9kB, anon-rss:5kB"
        for who in ("268654 (MainThread)", "235173 (tini)")
    )
    summary = (
        "[ 100.000000] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
        "oom_memcg=/a,task_memcg=/a,task=MainThread,pid=268654,uid=0"
    )
    told = explained(f"{summary}\n{victim}\n{other}\n{victim}")
    assert [each.killed for each in told] == [((268654, "MainThread"),), ((235173, "tini"),)]


def test_other_counters_are_of_another_report() -> None:
    told = explained(
        "Memory cgroup stats for /a: cache:5664KB rss:249452KB\n"
        "memory: usage 262144kB, limit 262144kB, failcnt 2472\n"
        "memory: usage 262144kB, limit 262144kB, failcnt 2472\n"
        "memory: usage 524288kB, limit 524288kB, failcnt 3078\n"
        "Memory cgroup stats for /b: cache:5660KB rss:247920KB\n"
    )
    assert [(each.path, each.totalpages) for each in told] == [("/a", 65_536), ("/b", 131_072)]


def test_swapoff_is_taken_before_all_others() -> None:
    rows = (Row(11, "java", 9_000), Row(12, "swapoff", 80))
    told = only(Text(rows, (12,)))
    assert (predicted(told), told.agrees) == (11, False)
    assert told.because == (
        "swapoff is taken before all others, whatever its memory: it is what makes memory short"
    )
    assert only(Text(rows, (11,))).because is None


def test_the_capitals_of_old_are_the_node_s() -> None:
    told = only("Out of Memory: Killed process 2592 (mysqld).\n")
    assert (told.kind, told.path, told.killed) == ("node", "/", ((2592, "mysqld"),))


def test_what_two_lines_tell_needs_no_rules() -> None:
    told = only(
        "Memory cgroup out of memory: Kill process 15947 (init) score 1 or sacrifice child\n"
        "Killed process 16944, UID 0, (mingetty) total-vm:4064kB, anon-rss:4kB, file-rss:56kB\n"
    )
    assert (told.era, told.agrees) == (None, None)
    assert told.because == "init (15947) was chosen, and mingetty (16944), a child or a thread of its, died"


def test_page_tables_tell_the_size_of_a_page_where_nothing_else_does() -> None:
    rows = "".join(
        f"[ {pid}] 0 {pid} 900 {pid} {pid % 4 * 65536 + 65536} 0 0 p{pid}\n" for pid in range(101, 107)
    )
    told = only(HEAD + rows)
    assert told.page_size == 65536
    assert (
        "page size: not printed, but all page tables are multiples of it, taken as 65536 bytes"
        in told.missing
    )
    assert only(HEAD + rows.replace("131072", "135168")).page_size == 4096
    assert only(HEAD + rows[: rows.index("[ 104]")]).page_size == 4096


@pytest.mark.parametrize("end", ["", "\\"])
def test_a_summary_broken_at_its_commas_keeps_its_cgroups(end: str) -> None:
    told = only(
        f"[ 50.1] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c,mems_allowed=0,{end}\n"
        f"  oom_memcg=/pods/a,{end}\n"
        "  task_memcg=/pods/a/c,task=java,pid=43,uid=1000\n"
        "[ 50.2] Memory cgroup out of memory: Killed process 43 (java)\n"
    )
    assert (told.path, told.killed) == ("/pods/a", ((43, "java"),))
    assert told.report.summary is not None
    assert told.report.summary.task_memcg == "/pods/a/c"


@pytest.mark.parametrize("gap", ["--", "...", "> [...]", "(...snipped...)", "<snip>", "\u2026"])
def test_a_table_with_rows_left_out_is_not_complete(gap: str) -> None:
    rows = [Row(pid, "java", pid) for pid in (100, 200, 300)]
    whole = Text(tuple(rows), (300,)).lines()
    second = next(n for n, line in enumerate(whole) if "200" in line and line.endswith("java"))
    told = only("\n".join([*whole[:second], gap, *whole[second + 1 :]]))
    assert not told.complete
    assert "task table: the rows that were left out where it was copied" in told.missing
    before_and_behind = only("\n".join([whole[0], gap, *whole[1:], gap]))
    assert before_and_behind.complete


def test_the_first_statistics_of_a_log_may_be_of_a_child() -> None:
    cut = (
        "Memory cgroup stats for /a/child: cache:0KB rss:100KB\n"
        "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name\n"
        "[   42]     0    42     3000     1200       8        0             0 python\n"
        "Memory cgroup out of memory: Kill process 42 (python) score 68 or sacrifice child\n"
    )
    doubt = "domain: the first statistics told may be of a child, as what goes before is cut off"
    assert doubt in only(cut).missing
    assert doubt not in only(f"memory: usage 4kB, limit 4kB, failcnt 8\n{cut}").missing


def test_a_build_that_was_taken_for_an_issue_s_number() -> None:
    told = only(
        "stress invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=666\n"
        "CPU: 0 PID: 51 Comm: stress Tainted: G  OE  --------  ---  5.14.0-285.el9.x86_64 containers/crun#1\n"
    )
    assert (told.report.kernel, told.era_name) == ("5.14.0-285.el9.x86_64", "E5")
    assert not told.report.kernel_cut
