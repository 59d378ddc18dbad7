"""Which kernel printed a report: the release that it shows, or the words and columns that came and went."""

import re

from oomsayer.kernel.logtext.logline import LogLine
from oomsayer.kernel.report import OomReport
from oomsayer.kernel.report.source import Source

_RELEASE = r"(?:Not tainted|Tainted:[^#]{0,100}?)\s{1,8}(\d{1,3}\.\d{1,4}\S{0,80})\s{0,8}"
RELEASE = _RELEASE + r"(?:[\w.-]{1,64}/[\w.-]{1,100})?#"
_CUT_RELEASE = _RELEASE + "$"
"""What the kernel prints goes on with "#1", the build: the release itself may be cut.

In an issue that was moved GitHub has put its first repository before the "#", as before an issue's number.
"""
_COMM = r"Comm: (.{1,16}?) (?:Not tainted|Tainted:)"
_BOOT = r"Linux version (\d{1,3}\.\d{1,4}\S*) "
_CPU = r"CPU: (\d{1,6}) (UID: \d+ )?PID: "
_TABLE_HEADED_SINCE = (4, 19)
_LAST_TABLE_OF_OLD = (3, 5)
_FEATURES: tuple[tuple[str, str, tuple[int, int] | None, tuple[int, int] | None], ...] = (
    ("percpu ", r"(?:^|\s)percpu \d+\s*$", (5, 9), None),
    ("workingset_refault_anon", r"(?:^|\s)workingset_refault_anon \d+\s*$", (5, 9), None),
    ("workingset_refault ", r"(?:^|\s)workingset_refault \d+\s*$", None, (5, 8)),
    ("vmalloc ", r"(?:^|\s)vmalloc \d+\s*$", (5, 18), None),
    ("sec_pagetables", r"(?:^|\s)sec_pagetables[ :]\d+", (6, 1), None),
    ("Tasks state", r"Tasks state \(memory values in pages\)", _TABLE_HEADED_SINCE, None),
    ("min protection", r"Memory cgroup min protection \d+kB", (6, 19), None),
)
FEATURES = tuple(word for word, *_ in _FEATURES)
"""What dates a report that shows no release: first and last mainline release that prints it.

Before each pattern stands a word that all it matches hold."""


def read_release(source: Source, line: LogLine) -> bool:
    """The kernel: `CPU: 0 PID: 1 Comm: java Not tainted 6.12.1 #1`, or a boot: `Linux version 6.12.1 ...`."""
    boot = re.search(_BOOT, line.text)
    if boot:
        source.finish()
        source.kernel, source.swap_total_kb = boot[1], None
        source.dead.clear()
        return True
    report = source.report or source.open(line)
    match = re.search(RELEASE, line.text) or re.search(_CUT_RELEASE, line.text)
    if match is None:
        return source.wrapped(line)
    report.kernel = source.kernel = match[1]
    report.kernel_cut = not match[0].endswith("#")
    if report.kernel_cut:
        source.keep(line.text)
    comm = re.search(_COMM, line.text)
    # It is printed by the one who asked: what else stands before the name is some prefix.
    if (
        comm
        and report.header
        and not report.ended
        and re.search(rf"(?:\W|\[[\d;]+m){re.escape(comm[1])}$", report.header)
    ):
        report.header = comm[1]
    cpu = re.search(_CPU, line.text)
    if cpu:
        report.cpu = int(cpu[1])
        if cpu[2]:
            report.date(since=(6, 11))
    return True


def read_features(source: Source, line: LogLine) -> bool:
    """A line that only some releases print: `percpu 4096`, `Tasks state (memory values in pages):`."""
    report = source.preface(line)
    if report is None:
        return False
    for word, pattern, since, until in _FEATURES:
        if word in line.text and re.search(pattern, line.text):
            report.date(since=since, until=until)
            return True
    return False


def date_by_columns(report: OomReport, columns: tuple[str, ...]) -> None:
    """Narrow down the releases whose table has these columns, told or sure by their number."""
    spans: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {
        "nr_pmds": ((4, 0), (4, 14)),
        "pgtables_bytes": ((4, 15), (4, 18)),
        "nr_ptes": ((3, 6), (4, 0)),
    }
    report.pgtables_in_pages = "nr_ptes" in columns or "nr_pmds" in columns
    if not report.columns and "rss_anon" not in columns and "nr_pmds" not in columns:
        return
    since, until = next(
        (span for name, span in spans.items() if name in columns), ((3, 0), _LAST_TABLE_OF_OLD)
    )
    if "rss_anon" in columns:
        since, until = (6, 8), report.until
    elif report.wide_pid is None and report.columns and "pgtables_bytes" in columns:
        until = report.until
    elif report.wide_pid or report.since >= _TABLE_HEADED_SINCE:
        since, until = _TABLE_HEADED_SINCE, report.until
    report.date(since=since, until=until)
