"""What the kernel says of the end: whom it chose (up to 5.0), whom it killed, or why nobody."""

import re

from oomsayer.kernel.logtext.logline import LogLine
from oomsayer.kernel.report import LAST_OF_OLD, Killed, OomReport
from oomsayer.kernel.report.source import Source

_MOST_KILLED = 10_000
_LONGEST_REASON = 60
CHOSEN = r"Kill process (\d{1,10}) \((.{0,64})\) score (\d{1,20}) or sacrifice child"
_SHARING = r"Kill process (\d{1,10}) \((.{0,64})\) sharing same memory"
_SIZES = (
    r"total-vm:(?P<vm>\d{1,18})kB(?:, anon-rss:(?P<anon>\d{1,18})kB, file-rss:(?P<file>\d{1,18})kB"
    r"(?:, shmem-rss:(?P<shmem>\d{1,18})kB)?)?"
)
KILLED = (
    r"Killed process (?P<pid>\d{1,10})(?:, UID:? ?\d+,?)? \((?P<comm>.{0,64})\)(?:,? UID:? \d{1,10},?)?"
    rf"(?:,? {_SIZES}(?P<tail>, UID:\d+ pgtables:\d+kB oom_score_adj:-?\d+)?)?"
)
_WITHOUT_SHMEM = r", file-rss:\d{1,18}kB\s*$"
"""Up to 4.4; vendors brought shmem-rss to older kernels."""
_REASON = r"of memory(?: \(\w+\))?: $"
GROUP = r"Tasks in ((?:/|\.\.\.|…).*) are going to be killed due to memory\.oom\.group"
"""People shorten the path, and leave off the line's last word."""
_EXITING = r"OOM victim (\d{1,10}) \((.{0,64})\) is already exiting"
_NO_KILLABLE = r"(?i)no killable process"
_DEADLOCKED = r"System is deadlocked on memory|not syncing: Out of memory and no killable"
"""The panic that follows in an OOM of the machine, unless it was asked for by sysrq; its words up to 4.18."""
_OF_OLD = r"Out of Memory: Killed process \d|Killed process \d{1,10}(?:, UID| \(.{0,64}\) vsz:)"
"""Up to 2.6.35 and what was made of it."""
_REAPED = r"oom_reaper: reaped process (\d{1,10}) \((.{0,64})\)"
_PANIC = r"Out of memory:? (.*panic_on_oom is enabled)"


def read_chosen(source: Source, line: LogLine) -> bool:
    """The choice, up to 5.0: `Kill process 100 (java) score 900 or sacrifice child`."""
    sharing = re.search(_SHARING, line.text)
    if sharing:
        report = source.open(line)
        _add_killed(report, Killed(int(sharing[1]), sharing[2]))
        return True
    match = re.search(CHOSEN, line.text)
    if match is None:
        return source.wrapped(line)
    chosen = (int(match[1]), match[2], int(match[3]))
    report = source.open(line)
    if report.chosen == chosen and not report.ended:
        return True
    if report.chosen or report.ended:
        report = source.new(line)
    report.chosen = chosen
    report.date(until=(5, 0))
    _reason(report, line.text)
    return True


def read_killed(source: Source, line: LogLine) -> bool:
    """A death: `Killed process 100 (java) total-vm:4096kB, anon-rss:1024kB, ...`."""
    match = re.search(KILLED, line.text)
    if match is None:
        return source.wrapped(line)
    if re.search(CHOSEN, line.text[: match.start()]):
        # Kubernetes' Events have both in one line.
        read_chosen(source, line)
    killed = Killed(int(match["pid"]), match["comm"], *_sizes(match))
    prefixed = re.search(_REASON, line.text[max(match.start() - _LONGEST_REASON, 0) : match.start()])
    report = source.open(line)
    if not _belongs(report, killed):
        if prefixed and source.killed_lately(killed, line.seconds):
            return True
        report = source.new(line)
    _add_killed(report, killed)
    if re.search(_OF_OLD, line.text):
        report.date(until=LAST_OF_OLD)
        _reason(report, line.text)
    if prefixed:
        report.killed_prefixed = True
        report.date(since=(5, 1))
        _reason(report, line.text)
    if match["tail"]:
        report.date(since=(5, 4))
    elif not report.killed_prefixed and report.since < (4, 5) and re.search(_WITHOUT_SHMEM, line.text):
        report.date(until=(4, 4))
    return True


def read_group(source: Source, line: LogLine) -> bool:
    """A cgroup dies as one: `Tasks in /a are going to be killed due to memory.oom.group set`."""
    match = re.search(GROUP, line.text)
    if match is None:
        return source.report is not None and source.wrapped(line)
    source.open(line).oom_group = match[1]
    return True


def read_sizes(source: Source, line: LogLine) -> bool:
    """The rest of a "Killed process" line that a mail program broke: `total-vm:4096kB, anon-rss:1024kB`."""
    match = re.search(_SIZES, line.text)
    report = source.report
    if match is None or report is None or not report.killed or report.killed[-1].total_vm_kb is not None:
        return False
    vm, rss = _sizes(match)
    report.killed[-1] = report.killed[-1]._replace(total_vm_kb=vm, rss_kb=rss)
    return True


def read_reaped(source: Source, line: LogLine) -> bool:
    """The victim's memory is taken: `oom_reaper: reaped process 100 (java), now anon-rss:0kB, ...`."""
    match = re.search(_REAPED, line.text)
    report = source.report
    if match is None or report is None:
        return False
    row = report.row_of(int(match[1]))
    # An earlier victim's may come late, but that one is no candidate any more.
    if row is not None and row.comm == match[2] and row.pid not in source.dead:
        report.reaped = (int(match[1]), match[2])
    return row is not None


def read_end(source: Source, line: LogLine) -> bool:
    """It ends without a kill: the victim is exiting already, nobody can be killed, or a panic."""
    exiting = re.search(_EXITING, line.text)
    panic = re.search(_PANIC, line.text)
    deadlocked = re.search(_DEADLOCKED, line.text) is not None
    if not exiting and not panic and not deadlocked and not re.search(_NO_KILLABLE, line.text):
        return False
    report = source.open(line)
    if exiting and _met_again(report, int(exiting[1])):
        return True
    if report.killed or report.exiting:
        report = source.new(line)
    if exiting:
        report.exiting = (int(exiting[1]), exiting[2])
    elif panic:
        report.panicked = panic[1]
    else:
        report.no_killable = True
        report.node_words = report.node_words or deadlocked
    return True


def _sizes(match: re.Match[str]) -> tuple[int | None, int | None]:
    """Address space and resident memory in kB, where the line goes so far."""
    if not match["vm"]:
        return None, None
    rss = sum(int(match[kind] or 0) for kind in ("anon", "file", "shmem")) if match["anon"] else None
    return int(match["vm"]), rss


def _reason(report: OomReport, text: str) -> None:
    if "Memory cgroup out of memory" in text:
        report.memcg_words = True
    elif re.search("Out of [mM]emory", text):
        report.node_words = True
    if "oom_kill_allocating_task" in text:
        report.allocating = True


def _belongs(report: OomReport, killed: Killed) -> bool:
    """Whether a further "Killed process" line is of this report: only a group kill prints several."""
    if not report.killed or _told(report, killed.pid):
        return True
    if report.oom_group is None:
        return False
    return not report.rows or report.row_of(killed.pid) is not None


def _met_again(report: OomReport, pid: int) -> bool:
    """Whether a process is found exiting while its group is walked, as the victim itself may be."""
    if report.oom_group is None:
        return False
    return _told(report, pid) or not report.rows or report.row_of(pid) is not None


def _told(report: OomReport, pid: int) -> bool:
    """Whether a line has told already that this process was killed."""
    return pid in report.killed_pids


def _add_killed(report: OomReport, killed: Killed) -> None:
    if len(report.killed) < _MOST_KILLED and not _told(report, killed.pid):
        report.killed.append(killed)
        report.killed_pids.add(killed.pid)
