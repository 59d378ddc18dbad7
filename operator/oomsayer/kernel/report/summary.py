"""The line of 5.0 and later that sums the choice up: `oom-kill:constraint=...`."""

from oomsayer.kernel.logtext.logline import LogLine
from oomsayer.kernel.oomsummary import summary_in
from oomsayer.kernel.report.source import Source


def read_summary(source: Source, line: LogLine) -> bool:
    """The choice: `oom-kill:constraint=CONSTRAINT_MEMCG,...,task=java,pid=100,uid=0`."""
    summary = summary_in(line.text)
    if summary is None:
        return False
    if summary.pid is None:
        source.keep(line.text)
    report = source.open(line)
    if report.summary == summary:
        return True
    if (report.summary and report.summary.pid is not None) or report.ended:
        report = source.new(line)
    report.summary = summary
    report.date(since=(5, 0))
    return True
