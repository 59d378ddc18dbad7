"""A report's header: who asked for memory, and under which cpuset."""

import re

from oomsayer.kernel.logtext.logline import LogLine
from oomsayer.kernel.report import LAST_OF_OLD, OomReport
from oomsayer.kernel.report.source import Source

_HEADER = (
    r"^(?P<comm>.*?) invoked oom-killer"
    r"(?:: gfp_mask=0x[0-9a-f]+(?:\([^)]*\))?)?(?:, nodemask=(?P<nodemask>\(null\)|[\d,-]*))?"
    r".*?(?:\border=(?P<order>-?\d{1,4})|$)"
)
_BEFORE_COMM = r"^.*(?:kernel: | - - - |\d\.\d{1,9}s?\](?:\[[^\]]*\])* ?)"
"""The end of a prefix that no form of logging known here has: of grep in several files, of other tools."""
_DATES: tuple[tuple[str, tuple[int, int] | None, tuple[int, int] | None], ...] = (
    (r"gfp_mask=0x[0-9a-f]+\(", (4, 6), None),
    (r"gfp_mask=0x[0-9a-f]+,", None, (4, 5)),
    (r", nodemask=", (4, 9), (4, 20)),
    (r" invoked oom-killer.*\boom_adj=-?\d", None, LAST_OF_OLD),
)
"""What dates a header: the flags' names or their lack, a node mask, oom_adj; first and last release."""
_CPUSET_UNTIL = (4, 20)


def read_header(source: Source, line: LogLine) -> bool:
    """A report begins: `java invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, ...`."""
    match = re.search(_HEADER, line.text)
    if match is None:
        return False
    report = source.report
    comm = re.sub(_BEFORE_COMM, "", match["comm"]).strip()
    order = int(match["order"]) if match["order"] else None
    # The same header again, before anything else came, is a copy of the line.
    if report and report.header == comm and report.order == order and _only_header(report):
        return True
    if report and report.begun and report.header is None and report.order is None and _only_header(report):
        report.seconds = line.seconds
    else:
        opened = source.open(line)
        asked_for = opened.sysrq and not opened.begun
        report = source.new(line)
        report.sysrq = asked_for
    report.header, report.order = comm, order
    report.sysrq = report.sysrq or report.order == -1
    report.nodemask = match["nodemask"]
    for pattern, since, until in _DATES:
        if re.search(pattern, line.text):
            report.date(since=since, until=until)
    return True


def read_cpuset(source: Source, line: LogLine) -> bool:
    """Where it may allocate, up to 4.20: `java cpuset=/ mems_allowed=0`."""
    before, _, mems = line.text.rstrip().rpartition(" mems_allowed=")
    _, named, cpuset = before.partition(" cpuset=")
    report = source.preface(line) if named and re.fullmatch(r"[\d,-]*", mems) else None
    if report is None:
        return False
    report.cpuset, report.mems_allowed = cpuset, mems
    report.date(until=_CPUSET_UNTIL)
    return True


def _only_header(report: OomReport) -> bool:
    return not (
        report.rows or report.columns or report.summary or report.chosen or report.ended or report.memory
    )
