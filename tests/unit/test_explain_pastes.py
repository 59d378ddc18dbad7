"""Reports as people paste them: cut, broken to a width, with something behind each line, in some JSON."""

import csv
import io
import json
from collections.abc import Callable, Iterator
from itertools import zip_longest

import pytest
from tests.unit.explained_report import explained, only, predicted
from tests.unit.oom_report_text import CONTAINER_PATH, Row, Text

from oomsayer.cli.explain_json import document, fields
from oomsayer.cli.explain_table import text as table
from oomsayer.kernel.explain import Explanation
from oomsayer.kernel.logtext.quotedprintable import decoded

ROWS = (Row(100, "web server", 90_000, adj=-5), Row(2000, "stress-ng-vm", 400), Row(300, "nginx", 10))
NODE = Text(ROWS, (100,), kernel="6.14.0-37-generic")
POD = Text(ROWS, (100, 2000), kernel="6.14.0-37-generic", memcg=CONTAINER_PATH, group=CONTAINER_PATH)


def seen(told: Explanation) -> dict[str, object]:
    return {name: value for name, value in fields(1, told).items() if name != "missing"}


def stamped(lines: list[str], prefix: str = "[  100.000001] ") -> list[str]:
    return [f"{prefix}{line}" for line in lines]


def table_of(told: Explanation) -> str:
    return " ".join(table(1, told).split())


@pytest.mark.parametrize("report", [NODE, POD], ids=["node", "pod"])
def test_what_stands_before_the_table_counts_without_its_header_too(report: Text) -> None:
    whole, headless = only(report), explained("\n".join(report.lines()[1:]))
    assert len(headless) == 1
    assert headless[0].report.header is None
    assert seen(headless[0]) == seen(whole) | {"complete": False}


def test_other_messages_of_the_kernel_are_no_reports() -> None:
    oops = [
        "CPU: 1 PID: 7 Comm: sh Tainted: G W 6.1.0-1-test #1",
        "Mem-Info:",
        "Node 0 Normal free:1kB present:9kB",
    ]
    assert explained("\n".join(oops)) == []
    told = only("\n".join([*oops, *NODE.lines()]))
    assert (told.report.kernel, told.totalpages) == ("6.14.0-37-generic", 1_000_000)


@pytest.mark.parametrize("width", range(72, 140))
@pytest.mark.parametrize("report", [NODE, POD], ids=["node", "pod"])
def test_a_terminal_of_any_width_cuts_no_name_and_no_release(report: Text, width: int) -> None:
    whole = only(report)
    lines = stamped(report.lines(), "Nov 24 01:02:03 node-1 kernel: [  100.000001] ")
    broken = "\n".join(line[at : at + width] for line in lines for at in range(0, len(line), width))
    (told,) = explained(broken)
    assert told.report.kernel == whole.report.kernel
    assert {c.row.pid: c.row.comm for c in told.candidates} == {row.pid: row.name for row in ROWS}
    assert (told.path, told.killed) == (whole.path, whole.killed)


def test_a_release_at_the_end_of_its_line_may_be_cut() -> None:
    told = only("\n".join(NODE.lines()).replace("6.14.0-37-generic #1", "6.1"))
    assert told.report.kernel == "6.1"
    assert "kernel release: the line ends with it, so it may have been cut" in told.missing


def test_the_rest_of_a_line_may_be_indented() -> None:
    (told,) = explained(
        "[   10.000000] Memory cgroup out of memory: Killed process\n"
        "  2891034 (otel-collector) total-vm:1247892kB, anon-rss:412348kB, file-rss:0kB, shmem-rss:0kB\n"
    )
    assert told.killed == ((2891034, "otel-collector"),)


@pytest.mark.parametrize(
    "tail", ["<br>", '",', "'", " |", "`", " \\", "^M", "$", "</p>", "^[[0m", "#033[0m", "[0m", "  "]
)
def test_what_stands_behind_each_line_is_of_none_of_them(tail: str) -> None:
    for report in (NODE, POD):
        (told,) = explained("\n".join(f"{line}{tail}" for line in stamped(report.lines())))
        assert seen(told) == seen(only(report))


def test_lines_are_padded_to_one_width() -> None:
    (told,) = explained("\n".join(line.ljust(160) for line in stamped(POD.lines())))
    assert seen(told) == seen(only(POD))


def one_by_one(wrap: Callable[[str], object]) -> Callable[[list[str]], str]:
    return lambda lines: "\n".join(json.dumps(wrap(line)) for line in lines)


@pytest.mark.parametrize(
    "export",
    [
        one_by_one(lambda line: {"result": {"_raw": line, "source": "a b"}}),
        one_by_one(lambda line: {"line": line, "timestamp": "2026"}),
        one_by_one(lambda line: {"attributes": {"content": {"text": line}}}),
        one_by_one(lambda line: line),
        lambda lines: json.dumps({"Output": "\r\n".join(lines)}, indent=4),
        lambda lines: json.dumps({"rc": 0, "stdout": "\n".join(lines)}, indent=4),
        lambda lines: (
            "node-1 | CHANGED => " + json.dumps({"stdout": "\n".join(lines), "stdout_lines": lines})
        ),
        lambda lines: json.dumps({"stdout": "\n".join(lines), "stdout_lines": lines}, indent=4),
        lambda lines: json.dumps({"StandardOutputContent": "\n".join(lines)}, indent=4),
        lambda lines: json.dumps({"events": [{"timestamp": 1, "message": line} for line in lines]}),
        lambda lines: json.dumps({"streams": [{"values": [["1", line] for line in lines]}]}, indent=2),
        lambda lines: json.dumps([{"textPayload": line} for line in lines]),
        lambda lines: "\n".join(f"data: {json.dumps({'log': line})}" for line in lines),
        lambda lines: "\n".join(f"[info] kube.log: {json.dumps({'log': line})}" for line in lines),
        lambda lines: "\n".join(f"    {json.dumps(line)}," for line in lines),
        lambda lines: "\n".join(f"  - {json.dumps(line)}" for line in lines),
    ],
)
def test_a_message_is_found_in_any_json(export: Callable[[list[str]], str]) -> None:
    for report in (NODE, POD):
        (told,) = explained(export(stamped(report.lines())))
        assert seen(told) == seen(only(report))


def test_deep_json_is_no_message() -> None:
    assert explained('{"a":' * 900 + '"it was killed"' + "}" * 900) == []


@pytest.mark.parametrize("blank", ["&nbsp;", "\u202f", "\u00a0", "\t"])
def test_a_table_of_hard_blanks(blank: str) -> None:
    lines = POD.lines()
    begin = next(n for n, line in enumerate(lines) if "total_vm" in line)
    rows = slice(begin, begin + len(ROWS) + 1)
    lines[rows] = [line.replace("  ", f" {blank}") for line in lines[rows]]
    assert seen(only("\n".join(lines))) == seen(only(POD))


def test_a_log_whose_newest_line_comes_first() -> None:
    other = Text((Row(7, "sh", 10), Row(9, "yes", 80_000)), (9,))
    lines = [f"[  100.{n:06}] {line}" for n, line in enumerate([*POD.lines(), *other.lines()])]
    told = explained("\n".join(reversed(lines)))
    assert [seen(each) for each in told] == [seen(only(POD)), seen(only(other))]


@pytest.mark.parametrize(
    "prefix",
    ["[34536.806115][ 3] [T96407] ", "host: ", "<6> [1: kworker: 1234] ", "12  ", "(1)[123:kswapd0]"],
)
def test_who_asked_is_named_without_what_stands_before(prefix: str) -> None:
    assert only("\n".join(f"{prefix}{line}" for line in NODE.lines())).report.header == "java"


def test_several_nodes_that_talos_was_asked_for() -> None:
    other = Text((Row(7, "sh", 10), Row(9, "yes", 80_000)), (9,))
    one, two = (
        [f"10.1.1.{n}: kern: warning: [2026-01-25T10:35:59.108125566Z]: {line}" for line in report.lines()]
        for n, report in ((2, NODE), (3, other))
    )
    told = explained("\n".join(line for pair in zip_longest(one, two, fillvalue="") for line in pair))
    assert sorted((each.report.header, predicted(each)) for each in told) == [("java", 9), ("java", 100)]


def test_a_row_without_head_whose_name_a_mail_broke_off() -> None:
    told = only(
        "> [13853.721214] [ 718] 0 718 40965 29598 256 29342 0 368640 0 -250 \n"
        "> systemd-journal\n"
        "> [13853.747561] [ 274743] 0 274743 617 384 0 384 0 45056 0 0 consume_activit\n"
    )
    assert [c.row.comm for c in told.candidates] == ["systemd-journal", "consume_activit"]


def test_a_parent_may_be_chosen_again_for_its_next_child() -> None:
    first, second = explained(
        "Memory cgroup out of memory: Kill process 4142 (python3) score 68 or sacrifice child\n"
        "Killed process 4254 (sleep) total-vm:11968kB, anon-rss:4288kB, file-rss:3972kB, shmem-rss:0kB\n"
        "Memory cgroup out of memory: Kill process 4142 (python3) score 68 or sacrifice child\n"
        "Killed process 4255 (python3) total-vm:11968kB, anon-rss:4288kB, file-rss:3972kB, shmem-rss:0kB\n"
    )
    assert (first.kind, second.kind) == ("memcg", "memcg")
    assert "The kernel gave it a score of 68." in table_of(first)
    assert "python3 (4142) was chosen, and sleep (4254), a child or a thread of its, died." in table_of(first)
    assert "python3 (4142) was chosen: a thread of the process that died, or its parent." in table_of(second)


def test_a_child_of_the_one_that_asked_is_told_as_such() -> None:
    told = only(
        "Out of memory (oom_kill_allocating_task): Kill process 6344 (sh) score 0 or sacrifice child\n"
        "Killed process 6345 (sleep) total-vm:1736kB, anon-rss:44kB, file-rss:200kB\n"
    )
    assert told.because is not None
    assert "vm.oom_kill_allocating_task is set" in told.because
    assert told.because.endswith("sh (6344) was chosen, and sleep (6345), a child or a thread of its, died")


def test_an_event_of_kubernetes_has_choice_and_death_in_one_line() -> None:
    told = only(
        "Memory cgroup out of memory: Kill process 4481 (stress) score 1994 or sacrifice child "
        "Killed process 4481 (stress) total-vm:140060kB, anon-rss:131144kB, file-rss:0kB, shmem-rss:0kB\n"
    )
    assert (told.kind, told.report.chosen) == ("memcg", (4481, "stress", 1994))


KILLED = "Memory cgroup out of memory: Killed process 5 (a) total-vm:4kB, anon-rss:4kB, file-rss:0kB"


@pytest.mark.parametrize(
    ("line", "since", "until"),
    [
        ("Task in /docker/a killed as a result of limit of /docker", (3, 0), (4, 20)),
        ("Memory cgroup stats for /a: cache:0KB rss:4KB rss_huge:0KB", (3, 0), (5, 2)),
        ("a invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=0", (3, 0), (4, 5)),
        ("a invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0", (4, 6), (99, 0)),
        ("a invoked oom-killer: gfp_mask=0xcc0(GFP), nodemask=0, order=0, oom_score_adj=0", (4, 9), (4, 20)),
        ("Killed process 5 (a) total-vm:4kB, anon-rss:4kB, file-rss:0kB", (3, 0), (4, 4)),
        ("Killed process 5 (a) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB", (3, 0), (99, 0)),
        (KILLED, (5, 1), (99, 0)),
        (f"{KILLED}, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0", (5, 4), (99, 0)),
    ],
)
def test_words_that_date_a_report(line: str, since: tuple[int, int], until: tuple[int, int]) -> None:
    report = only(f"[  100.000001] {line}\n[  100.000002] a cpuset=x\n").report
    assert (report.since, report.until) == (since, until)


def test_a_head_whose_blanks_were_lost_dates_nothing() -> None:
    lines = [" ".join(line.split()) for line in Text(ROWS, (100,)).lines() if "Comm:" not in line]
    told = only("\n".join(line for line in lines if "Tasks state" not in line))
    assert told.report.since >= (5, 4)
    assert told.report.until == (99, 0)


def test_two_lines_that_tell_the_cgroups() -> None:
    lines = Text(ROWS, (100,), style="3.10", kernel="3.16.0-4-amd64", memcg="/docker/a").lines()
    at = next(n for n, line in enumerate(lines) if line.startswith("Task in"))
    lines[at : at + 1] = ["Task in /docker/a", " killed as a result of limit of /docker"]
    told = only("\n".join(lines))
    assert (told.path, told.report.task_memcg) == ("/docker", "/docker/a")


@pytest.mark.parametrize("kernel", ["3.6.0+", "3.10.0-5-amd64"])
def test_up_to_3_13_root_is_forgiven_3_percent_of_totalpages(kernel: str) -> None:
    rows = (Row(4611, "mal", 90_231, uid=0, swap=12_260, pgtables=208 * 4096), Row(4616, "sh", 98_600))
    report = Text(
        rows,
        (4616,),
        style="3.10",
        kernel=kernel,
        memcg="/1",
        limit=512_000,
        memsw=563_200,
        chosen=(4611, 699),
    )
    told = only("\n".join([*report.lines()[:-1], "Killed process 4611 (mal) total-vm:4kB, anon-rss:4kB"]))
    assert told.totalpages == 140_800
    by_pid = {candidate.row.pid: candidate.points for candidate in told.candidates}
    assert by_pid == {4611: 102_699 - 30 * 140, 4616: 98_601}
    assert 98_499 * 1000 // 140_800 == 699
    assert told.agrees is False
    assert f"{102_699}     -4200   98499" in table(1, told)


@pytest.mark.parametrize(
    ("kernel", "forgiven"),
    [
        ("3.12.9-1-ARCH", 300),
        ("3.12.20", 30),
        ("3.13.0-43-generic", 30),
        ("3.10.0-1160.el7.x86_64", 30),
        ("3.16.0-4-amd64", 30),
    ],
)
def test_the_root_bonus_of_3_14_came_to_older_kernels_too(kernel: str, forgiven: int) -> None:
    rows = (Row(100, "big", 8_000), Row(200, "root's", 999, uid=0))
    told = only(Text(rows, (100,), style="3.10", kernel=kernel, ram=(10_000, 0)))
    assert {c.row.pid: c.points for c in told.candidates}[200] == 1000 - forgiven
    assert any(sentence.startswith("root bonus: ") for sentence in told.missing) is ("3.16" not in kernel)


def test_a_killed_process_that_is_not_in_the_table_was_cut_off_with_it() -> None:
    first = Text((Row(100, "big", 90_000),), (100,), kernel="5.10.1")
    again = Text((Row(100, "big", 90_000), Row(200, "gone", 80_000)), (200,), kernel="5.10.1")
    row = again.row(again.rows[1])
    _, told = explained("\n".join([*first.lines(), *(line for line in again.lines() if line != row)]))
    assert told.agrees is False
    assert told.because == "task table truncated: pid 200, which the kernel took, is not in it"


def test_before_the_reaper_a_process_may_be_chosen_again() -> None:
    report = Text((Row(100, "big", 90_000), Row(200, "small", 80)), (100,), style="3.10", kernel="4.4.0-1")
    told = explained("\n".join([*report.lines(), *report.lines()]).replace("order=0", "order=1", 1))
    assert [predicted(each) for each in told] == [100, 100]


def test_somebody_asked_by_sysrq() -> None:
    told = only("\n".join(["SysRq : Manual OOM execution", *NODE.lines()]))
    assert told.report.sysrq
    assert "because somebody asked for it by sysrq-f" in table_of(told)
    later = only("\n".join(["sysrq: Manual OOM execution", *["other"] * 40, *NODE.lines()]))
    assert not later.report.sysrq


def test_what_no_column_tells_is_not_told_as_0() -> None:
    told = only(
        "[ pid ]   uid  tgid total_vm      rss cpu oom_adj oom_score_adj name\n"
        "[  100]     0   100    10000      400   0       0             0 sh\n"
    )
    row = json.loads(document(1, told))["candidates"][0]
    assert (row["swap_pages"], row["pgtables_bytes"]) == (None, None)
    assert "1.5Mi     ?         ?" in table(1, told)


@pytest.mark.parametrize(
    "record",
    [
        r'{"message": "Killed process 12 (x\ud800)"}',
        r'{"host": "\ud800", "message": "Killed process 12 (x)"}',
        r'  "MESSAGE": "Killed process 12 (\udfff) total-vm: "',
    ],
)
def test_half_a_character_in_json_is_no_obstacle(record: str) -> None:
    told = only(record)
    assert [pid for pid, _ in told.killed] == [12]
    assert table(1, told).encode()


def test_a_line_without_end_is_not_kept_for_its_signs_of_a_mail() -> None:
    def blocks() -> Iterator[bytes]:
        yield b'[{"textPayload":"GET /?q=3D1"},'
        for _ in range(50):
            yield b'{"textPayload":"x"},' * 5000

    assert max(map(len, decoded(blocks()))) <= 2 * 5000 * len('{"textPayload":"x"},')


LONE = (
    "Memory cgroup out of memory: Killed process {} (java) total-vm:4096kB, anon-rss:1024kB, file-rss:0kB, "
    "shmem-rss:0kB, UID:0 pgtables:44kB oom_score_adj:0"
)


def killed_in(lines: list[str]) -> list[list[int]]:
    return [[pid for pid, _ in told.killed] for told in explained("\n".join(lines))]


@pytest.mark.parametrize(
    "line",
    [
        '2026-01-01T10:00:00Z\tWARN\tkmsg\t{}\t{{"node": "worker 1"}}',
        '[  100.000001] {} labels=["a b"]',
        '{{"line": "42", "text": "{}"}}',
    ],
)
def test_a_kill_beside_an_applications_json_is_one(line: str) -> None:
    assert killed_in([line.format(LONE.format(100))]) == [[100]]


def test_a_name_of_json_is_a_name() -> None:
    told = only(Text((Row(100, "java", 5000), Row(101, '{"a":"b c"}', 9000)), (101,)))
    assert (predicted(told), told.killed, told.agrees) == (101, ((101, '{"a":"b c"}'),), True)


def test_lines_of_one_form_are_of_one_length_and_not_broken() -> None:
    kill = (
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=a,mems_allowed=0,oom_memcg=/a,"
        "task_memcg=/a,task=java,pid=1001{0},uid=0"
    )
    lines = [f"Jan 10 10:1{n}:00 n1 kernel: {kill.format(n)}" for n in range(4)]
    assert killed_in([each for line in lines for each in (line, "--")]) == [[10010 + n] for n in range(4)]
    both = [
        each for n in range(4) for each in (f"[ 100.00000{n}] {LONE.format(100 + n)}", LONE.format(200 + n))
    ]
    assert len(killed_in(both)) == 8


def test_a_report_begins_with_its_own_lines() -> None:
    again = Text((Row(100, "java", 5000), Row(101, "b", 100)), (101,), kernel="5.15.0-1")
    first = ["[   10.000000] CPU: 0 PID: 7 Comm: kworker Not tainted 5.15.0-1 #1"]
    first += ["[   11.000000] app: disk present: none", f"[ 2000.000000] {LONE.format(100)}"]
    lone, told = explained("\n".join([*first, *stamped(again.lines(), "[ 2100.000000] ")]))
    assert lone.report.seconds == 2000.0
    assert (predicted(told), told.agrees) == (101, True)


def test_sysrq_in_the_midst_of_a_report_is_of_another() -> None:
    lines = NODE.lines()
    lines.insert(6, "sysrq: Manual OOM execution")
    assert seen(only("\n".join(lines))) == seen(only(NODE))


def test_the_newest_pair_first_is_not_the_newest_line_first() -> None:
    lines = []
    for n in range(7):
        stamp = f"h{9 - n} kernel: [{900 - 10 * n}.000001]"
        lines.append(f"{stamp} Out of memory: Kill process {10 + n} (java) score 9 or sacrifice child")
        lines.append(f"{stamp} Killed process {10 + n} (java) total-vm:4kB, anon-rss:4kB, file-rss:0kB")
    told = explained("\n".join(lines))
    assert [(each.report.chosen[0], each.killed[0][0]) for each in told if each.report.chosen] == [
        (10 + n, 10 + n) for n in range(7)
    ]


def test_a_task_in_a_directory_is_no_oom() -> None:
    assert explained("Jan 10 10:00:00 host cron[1]: Running Task in /srv/app\nTask in /srv/app\n") == []


def test_a_line_that_broke_before_its_end_dates_nothing() -> None:
    lines = [line for line in NODE.lines() if "Comm:" not in line]
    broken = "\n".join(lines).replace(", shmem-rss", "\n, shmem-rss")
    assert only(broken).report.until == (99, 0)


def test_a_copy_of_a_lone_kill_is_told_once() -> None:
    pair = [
        "[  10.000000] Out of memory: Kill process 100 (java) score 900 or sacrifice child",
        "[  10.000001] Killed process 100 (java) total-vm:4kB, anon-rss:4kB, file-rss:0kB",
    ]
    assert killed_in([*pair, *pair]) == [[100]]


def test_another_tasks_name_is_not_the_end_of_this_ones() -> None:
    lines = NODE.lines()
    lines.insert(1, "CPU: 1 PID: 9 Comm: va Not tainted 6.14.0-37-generic #1")
    assert only("\n".join(lines)).report.header == "java"


@pytest.mark.parametrize("tail", ['"', '",', '",2026-11-24,"{""host"":""n1""}"', "</pre>", "`", "')", " |"])
def test_the_summary_ends_where_the_paste_goes_on(tail: str) -> None:
    summary = next(line for line in POD.lines() if line.startswith("oom-kill:"))
    told = only(f"{summary}{tail}\n")
    assert (told.path, told.killed) == (CONTAINER_PATH, ((100, "web server"),))
    assert not any("which was cut" in missing for missing in told.missing)


def test_a_summary_that_a_pager_cut_has_no_end() -> None:
    for cut in (",task=web server,pid=100,uid=1>", ",task=web server,pid=100,ui"):
        told = only(f"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),task_memcg=/a{cut}\n")
        assert "summary: the end of the line oom-kill:constraint=..., which was cut" in told.missing


def test_a_name_is_not_the_end_of_a_summary() -> None:
    told = only(
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),task_memcg=/a,"
        "task=a,pid=1,uid=2 b,pid=55,uid=0\n"
    )
    assert told.killed == ((55, "a,pid=1,uid=2 b"),)


@pytest.mark.parametrize("written", [csv.excel, csv.unix_dialect], ids=["some quoted", "all quoted"])
@pytest.mark.parametrize("place", range(4))
def test_a_line_is_any_field_of_csv(written: type[csv.Dialect], place: int) -> None:
    for report in (NODE, POD):
        text = io.StringIO()
        writer = csv.writer(text, written)
        for number, line in enumerate(stamped(report.lines())):
            fields = [
                f"2026-11-24 01:02:03.{number:03}",
                json.dumps({"host": "n,1", "job": "k"}),
                str(number),
            ]
            writer.writerow([*fields[:place], line, *fields[place:]])
        (told,) = explained(text.getvalue())
        assert seen(told) == seen(only(report))


def test_a_name_keeps_its_commas_in_csv() -> None:
    told = only(
        "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name,1,x\n"
        '"[     11]     0    11       90       80     4096        0             0 a,b",2,"y, ""z"""\n'
    )
    assert [candidate.row.comm for candidate in told.candidates] == ["a,b"]


@pytest.mark.parametrize("sign", ["...", ">", "…"])
def test_a_row_whose_numbers_a_pager_cut_is_none(sign: str) -> None:
    row = "[ 48388]  1000 48388    73357    14530    12706     1824        0   180224        0         200 sh"
    for width in range(40, len(row) - 2):
        told = only(f"Memory cgroup out of memory: Killed process 12 (sh)\n{row[:width]}{sign}\n")
        assert told.candidates == ()
