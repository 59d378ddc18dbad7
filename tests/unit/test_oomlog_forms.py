import json

import pytest
from tests.unit.oom_report_text import CONTAINER_PATH, Row, Text

from oomsayer.kernel.explain import Explanation, explain
from oomsayer.kernel.logtext.logline import log_lines
from oomsayer.kernel.oomscan import oom_reports
from oomsayer.kernel.report.reader import OomReportReader

REPORT = Text(
    (Row(100, "web server", 90_000, adj=-5), Row(200, "x) (y", 400), Row(300, "[kworker] 1 2 3", 10)),
    (100, 200),
    memcg=CONTAINER_PATH,
    group=CONTAINER_PATH,
    header="Web Content invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=-5",
)
NOISE = ["systemd[1]: Started Daily apt upgrade.", "eth0: link up", 'audit: type=1400 comm="x" pid=1 name']


FILLER = ["Nov 24 01:02:03 node-1 kubelet[77]: nothing of note happened here, and at length"] * 4000

FORMS = {
    "dmesg": "[   12.345678] {}",
    "dmesg without timestamps": "{}",
    "dmesg -T": "[Tue Nov 24 01:02:03 2026] {}",
    "dmesg -T in German": "[Di Nov 24 01:02:03 2026] {}",
    "dmesg -T in French": "[mar. 24 nov. 01:02:03 2026] {}",
    "dmesg -H": "[Nov24 01:02] {}",
    "dmesg -d": "[   12.345678 <    0.000012>] {}",
    "dmesg -e": "[  +0.000012] {}",
    "dmesg -r": "<6>[   12.345678] {}",
    "dmesg -x": "kern  :warn  : [   12.345678] {}",
    "dmesg --time-format iso": "2026-11-24T01:02:03,123456+00:00 {}",
    "printk.caller": "[   12.345678][ T1778] {}",
    "journalctl": "Nov 24 01:02:03 node-1 kernel: {}",
    "journalctl -o short-precise": "Nov 24 01:02:03.123456 node-1 kernel: {}",
    "journalctl -o short-iso": "2026-11-24T01:02:03+0000 node-1 kernel: {}",
    "journalctl -o short-iso-precise": "2026-11-24T01:02:03.123456+00:00 node-1 kernel: {}",
    "journalctl -o short-full": "Tue 2026-11-24 01:02:03 UTC node-1 kernel: {}",
    "journalctl -o short-monotonic": "[   12.345678] node-1 kernel: {}",
    "journalctl -o short-unix": "1795482123.123456 node-1 kernel: {}",
    "journalctl -o export": "MESSAGE={}",
    "/dev/kmsg": "6,1234,12345678,-;{}",
    "/dev/kmsg with caller": "6,1234,12345678,-,caller=T1778;{}",
    "syslog": "Nov 24 01:02:03 node-1 kernel: [   12.345678] {}",
    "RFC 3164": "<4>Nov 24 01:02:03 node-1 kernel: {}",
    "RFC 5424": "<4>1 2026-11-24T01:02:03.123456+00:00 node-1 kernel - - - {}",
    "RFC 5424 with data": '<4>1 2026-11-24T01:02:03Z node-1 kernel 1 ID47 [a@1 b="c"] {}',
    "kubectl logs --timestamps": "2026-11-24T01:02:03.123456789Z [   12.345678] {}",
    "CRI": "2026-11-24T01:02:03.123456789Z stderr F {}",
    "Talos": "kern: warning: [2026-11-24T01:02:03.123456789Z]: {}",
    "busybox syslogd": "Nov 24 01:02:03 node-1 kern.warn kernel: [   12.345678] {}",
    "OpenWrt's logread": "Tue Nov 24 01:02:03 2026 kern.warn kernel: [   12.345678] {}",
    "quoted in a mail": "> > [   12.345678] {}",
    "quoted in a patch": "> +[   12.345678] {}",
    "indented": "    Nov 24 01:02:03 node-1 kernel: {}",
    "colour": "\x1b[32m[   12.345678] \x1b[0m\x1b[31m{}\x1b[0m",
    "CRLF": "[   12.345678] {}\r",
    "serial console": "\r[   12.345678] {}\r\r",
}


FORMS_BY_LUCK = {
    "grep in several files": "/var/log/kern.log.1:Nov 24 01:02:03 node-1 kernel: [   12.345678] {}",
    "grep -n with context": "123-[   12.345678] {}",
    "docker compose logs": "kernel-logger-1  | [   12.345678] {}",
    "stern": "pod-abc logger [   12.345678] {}",
    "rsyslog": "Nov 24 01:02:03 node-1 kernel - - - {}",
    "list": "* [   12.345678] {}",
}
"""Prefixes that are not known, so neither host nor time is; nothing else is lost."""


def in_json(key: str, line: str, **more: object) -> str:
    return json.dumps({**more, key: line})


JSON_FORMS = {
    "journalctl -o json": lambda line: in_json(
        "MESSAGE", line, _HOSTNAME="n", __MONOTONIC_TIMESTAMP="12345678"
    ),
    "journalctl -o json, bytes": lambda line: json.dumps({"MESSAGE": list(line.encode())}),
    "docker json-file": lambda line: in_json("log", f"[   12.345678] {line}\n", stream="stdout"),
    "cloud export": lambda line: in_json("textPayload", line, resource={"labels": {"node_name": "gke-1"}}),
    "cloud export, structured": lambda line: json.dumps({"jsonPayload": {"MESSAGE": line, "_HOSTNAME": "n"}}),
    "cloud export, indented": lambda line: f'    "textPayload": {json.dumps(line)},',
    "fluent-bit": lambda line: in_json(
        "message", f"Nov 24 01:02:03 n kernel: {line}", kubernetes={"host": "n"}
    ),
}


def explained(lines: list[str]) -> list[Explanation]:
    return [explain(report) for report in oom_reports(["\n".join(lines).encode()])]


def explained_of(lines: list[str], block_bytes: int = 65_536) -> list[Explanation]:
    """Of a log so long that it is searched before it is read."""
    log = "\n".join([*FILLER, *lines, *FILLER]).encode()
    blocks = (log[at : at + block_bytes] for at in range(0, len(log), block_bytes))
    return [explain(report) for report in oom_reports(blocks)]


def assert_is_the_report(told: Explanation) -> None:
    assert told.report.header == "Web Content"
    assert told.report.kernel == "5.15.0-1-test"
    assert (told.kind, told.path, told.totalpages) == ("memcg", CONTAINER_PATH, 100_000)
    assert {c.row.pid: (c.row.comm, c.row.rss_pages, c.row.oom_score_adj) for c in told.candidates} == {
        100: ("web server", 90_000, -5),
        200: ("x) (y", 400, 0),
        300: ("[kworker] 1 2 3", 10, 0),
    }
    assert told.killed == ((100, "web server"), (200, "x) (y"))
    assert (told.agrees, told.complete) == (True, True)


@pytest.mark.parametrize("form", [*FORMS.values(), *FORMS_BY_LUCK.values()], ids=[*FORMS, *FORMS_BY_LUCK])
def test_every_way_of_logging_gives_the_same_report(form: str) -> None:
    lines = [form.format(line) for line in [*NOISE, *REPORT.lines(), *NOISE]]
    (told,) = explained(lines)
    assert_is_the_report(told)


@pytest.mark.parametrize("host", ["2026 ", "node-1 "])
def test_a_level_before_the_tag_is_no_host(host: str) -> None:
    levels = ("kern.warn", "kern.info", "kern.err", "kern.debug")
    lines = [
        f"Nov 24 01:02:03 {host}{levels[number % 4]} kernel: [   12.345678] {line}"
        for number, line in enumerate(REPORT.lines())
    ]
    (told,) = explained(lines)
    assert_is_the_report(told)
    assert told.report.source == f"dated {host.replace('2026', '')}".strip()


@pytest.mark.parametrize("form", JSON_FORMS.values(), ids=JSON_FORMS.keys())
def test_records_in_json_give_the_same_report(form: object) -> None:
    assert callable(form)
    (told,) = explained([form(line) for line in [*NOISE, *REPORT.lines(), *NOISE]])
    assert_is_the_report(told)


def test_one_json_record_may_hold_the_whole_report() -> None:
    (told,) = explained([json.dumps({"message": REPORT.text()})])
    assert_is_the_report(told)


def test_other_lines_between_do_not_disturb() -> None:
    lines = []
    for line in REPORT.lines():
        lines += [f"[   12.345678] {line}", *(f"[   12.345679] {noise}" for noise in NOISE)]
    (told,) = explained(lines)
    assert_is_the_report(told)


def test_two_nodes_logs_interleaved_are_two_reports() -> None:
    other = Text((Row(7, "other", 50),), (7,), memcg="/else", kernel="6.1.0-1")
    lines = []
    for index in range(max(len(REPORT.lines()), len(other.lines()))):
        for host, report in (("a", REPORT), ("b", other)):
            lines += [f"Nov 24 01:02:03 {host} kernel: {line}" for line in report.lines()[index : index + 1]]
    by_path = {told.path: told for told in explained(lines)}
    assert by_path.keys() == {CONTAINER_PATH, "/else"}
    assert_is_the_report(by_path[CONTAINER_PATH])
    assert by_path["/else"].agrees is True


@pytest.mark.parametrize(
    "copies",
    [
        [line for line in REPORT.lines() for _ in range(2)],
        [*REPORT.lines(), *REPORT.lines()],
        [form.format(line) for line in REPORT.lines() for form in (FORMS["dmesg"], FORMS["journalctl"])],
    ],
    ids=["each line twice", "one after the other", "dmesg and journal mixed"],
)
def test_copies_of_a_report_are_told_once(copies: list[str]) -> None:
    (told,) = explained(copies)
    assert_is_the_report(told)


def test_a_console_of_80_columns_breaks_lines() -> None:
    lines = []
    for line in REPORT.lines():
        whole = f"[   12.345678] {line}"
        lines += [whole[at : at + 80] for at in range(0, len(whole), 80)]
    (told,) = explained(lines)
    assert (told.path, told.agrees) == (CONTAINER_PATH, True)
    assert len(told.candidates) == 3
    assert told.killed[0] == (100, "web server")


@pytest.mark.parametrize("kept", [" ", ""], ids=["flowed", "stripped"])
@pytest.mark.parametrize("width", [70, 72, 78])
def test_a_mail_breaks_lines_at_blanks_and_drops_some(width: int, kept: str) -> None:
    lines = []
    for line in REPORT.lines():
        words = f"[ 12.345678] {line}".split()
        while words:
            taken = max(n for n in range(1, len(words) + 1) if n == 1 or len(" ".join(words[:n])) < width)
            lines.append("> " + " ".join(words[:taken]) + (kept if taken < len(words) else ""))
            words = words[taken:]
    (told,) = explained(lines)
    assert_is_the_report(told)


def test_a_row_that_breaks_before_its_name_is_one_row() -> None:
    text = "\n".join(f"[   12.345678] {line}" for line in REPORT.lines())
    (told,) = explained(text.replace(" web server\n", "\nweb server\n").splitlines())
    assert_is_the_report(told)


def test_a_process_may_have_an_empty_name() -> None:
    nameless = Text((Row(100, "", 90_000), Row(200, "y", 400), Row(300, "", 10)), (100,), memcg="/a")
    (told,) = explained([f"[   12.345678] {line}" for line in nameless.lines()])
    assert {row.pid: row.comm for row in told.report.rows.values()} == {100: "", 200: "y", 300: ""}
    assert told.agrees is True


@pytest.mark.parametrize(
    "line",
    [
        "Killed process 77 (x y), UID 1000, total-vm:330kB, anon-rss:31kB, file-rss:0kB, shmem-rss:0kB",
        "Killed process 77, UID 679, (x y) total-vm:330kB, anon-rss:30kB, file-rss:1kB",
        "Killed process 77 (x y) total-vm:330kB, anon-rss:30kB, file-rss:1kB",
        "Out of memory: Killed process 77 (x y) total-vm:330kB, anon-rss:30kB, file-rss:1kB, shmem-rss:0kB",
    ],
)
def test_killed_lines_of_vendors_and_releases(line: str) -> None:
    (told,) = explained([f"Nov 24 01:02:03 n kernel: {line}"])
    (killed,) = told.report.killed
    assert (killed.pid, killed.comm, killed.total_vm_kb, killed.rss_kb) == (77, "x y", 330, 31)


def test_a_second_kill_without_header_is_a_report_of_its_own() -> None:
    lone = "Memory cgroup out of memory: Killed process 900 (late) total-vm:4kB, anon-rss:4kB, file-rss:0kB"
    first, second = explained([*REPORT.lines(), lone])
    assert_is_the_report(first)
    assert (second.killed, second.complete) == (((900, "late"),), False)


def test_many_reports_come_in_order_with_their_own_tables() -> None:
    reports = [
        Text((Row(pid, f"p{pid}", 500 + pid), Row(5000, "next", 3)), (pid,)) for pid in range(100, 150)
    ]
    told = explained([line for report in reports for line in report.lines()])
    assert [one.killed[0][0] for one in told] == list(range(100, 150))
    assert all(one.agrees for one in told)


def test_a_report_in_the_middle_of_a_long_log_is_found_wherever_the_blocks_end() -> None:
    report = [f"Nov 24 01:02:03 node-1 kernel: {line}" for line in REPORT.lines()]
    again = [line.replace("100", "101") for line in report]
    for size in (997, 65_536, 262_144):
        found = explained_of([*report, *FILLER, *again], size)
        assert [one.killed[0][0] for one in found] == [100, 101]
        assert_is_the_report(found[0])


def test_a_report_without_header_in_the_middle_of_a_long_log_keeps_its_table() -> None:
    (told,) = explained_of([f"Nov 24 01:02:03 node-1 kernel: {line}" for line in REPORT.lines()[4:]])
    assert (len(told.candidates), told.agrees, told.complete) == (3, True, False)


def test_a_line_that_a_console_broke_is_put_together_in_the_middle_of_a_long_log_too() -> None:
    whole = "\n".join(REPORT.lines())
    for broken in (
        whole.replace("usage 400000kB, limit", "usage 400000kB,\nlimit"),
        whole.replace("Not tainted 5.15", "Not tainted\n5.15"),
    ):
        assert broken != whole
        (told,) = explained_of(broken.splitlines())
        assert_is_the_report(told)


def test_after_a_table_that_breaks_off_a_log_is_searched_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    feed = OomReportReader.feed

    def counted(reader: OomReportReader, line: bytes) -> None:
        read.append(line)
        feed(reader, line)

    monkeypatch.setattr(OomReportReader, "feed", counted)
    lines = REPORT.lines()
    (end,) = (n for n, line in enumerate(lines) if line.startswith("oom-kill:"))
    (told,) = explained_of(lines[:end])
    assert (len(told.candidates), told.killed) == (3, ())
    assert len(read) < len(FILLER) / 2


def test_hostile_names_stay_names() -> None:
    hostile = "a) (b,task=c,pi"
    report = Text(
        (Row(100, hostile, 90_000), Row(200, "oom-kill:constraint=", 400)), (100,), memcg="/a,task=b,pid=9"
    )
    (told,) = explained(report.lines())
    assert told.killed == ((100, hostile),)
    assert [candidate.row.comm for candidate in told.candidates] == [hostile, "oom-kill:constraint="]
    assert told.agrees is True


def test_a_line_of_no_known_form_is_left_as_it_is() -> None:
    (line,) = log_lines("something else: entirely")
    assert (line.source, line.seconds, line.text) == ("", None, "something else: entirely")


def test_seconds_since_boot_are_read_where_shown() -> None:
    for form in ("dmesg", "/dev/kmsg", "syslog", "dmesg -r"):
        (line,) = log_lines(FORMS[form].format("x"))
        assert line.seconds == pytest.approx(12.345678)


def test_a_month_may_be_padded() -> None:
    (line,) = log_lines("[月  1月 26 01:49:41 2026] java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL)")
    assert line.text.startswith("java invoked")
