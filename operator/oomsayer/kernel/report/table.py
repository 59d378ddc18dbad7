"""The table of the candidates: its columns, and those rows that are not read at a glance."""

import re
from collections.abc import Sequence

from oomsayer.kernel.logtext.logline import LogLine
from oomsayer.kernel.report.release import date_by_columns
from oomsayer.kernel.report.row import ANY_ROW, ROW_START, SURE_START, table_of
from oomsayer.kernel.report.source import WHOLE, Source, joined

_FIELD = r",(?:\"(?:[^\"]|\"\")*\"|[^\",]*)"
HEAD = (
    r"\[\s*pid\s*\]((?:\s+[^\s\[\]]+)+)\s+name"
    rf"(?P<tail>\"?(?P<fields>(?:{_FIELD}){{1,16}})|\s*[^\w\s\[].{{0,20}}|\[[\d;]{{0,8}}m|\s*)$"
)
"""Its tail is what a paste has put behind each line: a quote and a comma, `<br>`, blanks, fields of CSV,
a colour that lost its escape."""
_CUT = rb"\s*-?\d*(?:\.\.\.|>|\xe2\x80\xa6)\s*$"
"""What a pager leaves of a row where it cut its numbers."""
_LEFT_OUT = (
    rb"^[\s>|]*(?:--|(?:\.\.|\xe2\x80\xa6)[^\[\]]{0,60}"
    rb"|[\[(<] ?(?:\.\.|\xe2\x80\xa6|snip)[^\[\]]{0,60}[\])>])\s*$"
)
"""What people write for rows that they left out, and grep between matches that are apart."""
_MOST_COLUMNS = 16
"""More than any kernel prints."""
_DEFAULT_COLUMNS = {
    7: ("uid", "tgid", "total_vm", "rss", "pgtables_bytes", "swapents", "oom_score_adj"),
    8: ("uid", "tgid", "total_vm", "rss", "nr_ptes", "nr_pmds", "swapents", "oom_score_adj"),
    10: (
        "uid",
        "tgid",
        "total_vm",
        "rss",
        "rss_anon",
        "rss_file",
        "rss_shmem",
        "pgtables_bytes",
        "swapents",
        "oom_score_adj",
    ),
}

_COLUMNS = {"nr_puds", "cpu", "oom_adj"}.union(*_DEFAULT_COLUMNS.values())
KNOWN_HEAD = rf"\[\s*pid\s*\](?:\s+(?:{'|'.join(sorted(_COLUMNS))}))+\s+name\s*$"
"""A head with none but columns that some kernel has: tells where the blanks are in a line put together."""


def read_columns(source: Source, line: LogLine) -> bool:
    """The table begins: `[  pid  ]   uid  tgid total_vm      rss ... name`."""
    match = re.search(HEAD, line.text)
    if match is None:
        return source.wrapped(line)
    columns = tuple(match[1].split())
    if len(columns) > _MOST_COLUMNS or not table_of(columns).known:
        return False
    report = source.open(line)
    if report.columns == columns and source.table is not None and not report.ended:
        return True
    if report.rows or report.ended:
        report = source.new(line)
    report.columns, source.table = columns, table_of(columns)
    source.tail = match["tail"].encode("utf-8", "surrogateescape")
    fields = match["fields"] or ""
    source.fields = len(re.findall(_FIELD, fields)) if fields.strip(',"') else 0
    if source.tail:
        report.oom_memcg = report.oom_memcg and source.trimmed(report.oom_memcg.encode()).decode()
        report.task_memcg = report.task_memcg and source.trimmed(report.task_memcg.encode()).decode()
    # Where a paste has made one blank of several, it tells nothing.
    report.wide_pid = "[  pid  ]" in line.text if "  " in match[0] else None
    date_by_columns(report, columns)
    return True


def note_left_out(source: Source, raw: bytes) -> None:
    """A line that is no row, in the midst of a table: it may say that rows are not there."""
    report = source.report
    if report is None or source.table is None or report.summary or report.chosen or report.ended:
        return
    report.rows_left_out = report.rows_left_out or re.search(_LEFT_OUT, raw) is not None


def read_odd_row(source: Source, text: str) -> None:
    """A row off the fast way: wrapped in something, broken by a console, or without a table's header."""
    raw = _raw(text)
    report = source.report
    if source.table is not None and report is not None and not report.ended:
        match = source.table.pattern.search(raw)
        if match is not None and source.table.named(match):
            source.add_rows(report, [source.table.row(match)])
        elif re.search(ROW_START, raw):
            source.keep(text)
        return
    columns = _columns_of(raw)
    if columns is None:
        if re.search(SURE_START, raw):
            source.keep(text)
        return
    line = LogLine("", None, text)
    report = source.new(line) if report is not None and report.ended else source.open(line)
    source.table = table_of(columns)
    date_by_columns(report, columns)
    again = source.table.pattern.search(raw)
    if again:
        source.add_rows(report, [source.table.row(again)])


def _columns_of(raw: bytes) -> tuple[str, ...] | None:
    """The columns of a row without a table's header, by their number; None for what is no row."""
    match = re.search(ANY_ROW, raw)
    # Without its name it is the beginning of one.
    if match is None or not match[3].strip() or re.match(_CUT, match[3]):
        return None
    return _DEFAULT_COLUMNS.get(len(match[2].split()))


def unwrap_row(source: Source, begun: str, text: str) -> bool:
    """Join the rest of a row; a row without a name stands for itself when another follows."""
    report, table = source.report, source.table
    other = re.search(WHOLE, text) or re.search(ANY_ROW, _raw(text))
    ways = [begun] if other else joined(begun, text)
    if not other and begun[-1:].isspace():
        # Of a mail's line that flows on: the blank before the break is the only one.
        ways = [f"{begun.rstrip()} {text}"]
    if report is None or table is None or report.ended:
        return not other and _begin_with(source, ways)
    match = next(filter(None, (table.pattern.search(_raw(way)) for way in ways)), None)
    if match is not None:
        source.add_rows(report, [table.row(match)])
    return match is not None and not other


def _begin_with(source: Source, ways: Sequence[str]) -> bool:
    """Read the first row of a table without a header, in the last of these ways that makes one."""
    whole = next((way for way in reversed(ways) if _columns_of(_raw(way))), None)
    if whole is not None:
        read_odd_row(source, whole)
    return whole is not None


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
