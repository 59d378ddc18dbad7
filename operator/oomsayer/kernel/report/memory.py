"""What ran out, in numbers: a memory cgroup's counters, or the memory of the machine."""

import re

from oomsayer.kernel.logtext.logline import LogLine
from oomsayer.kernel.report import Limit, OomReport
from oomsayer.kernel.report.source import Source

UNLIMITED_KB = 2**52
"""A limit of so many kB or more means none: kernels print their largest counter."""
_TASK_IN = r"Task in (?P<memcg>/.*?) killed as a result of limit of (?P<domain>/.*)$"
_TASK_ALONE = r"^Task in (?P<memcg>/\S*)$"
_LIMIT_ALONE = r"^ ?killed as a result of limit of (?P<domain>/.*)$"
"""From 3.15 to 3.18, which put the two in two lines."""
_LIMIT_OF = r"Memory limit reached of cgroup (/.*)$"
_CGROUPS_UNTIL = (4, 20)
_STATS = r"Memory cgroup stats for (/.*?):(?P<old> \w+:\d+KB)?(?: |$)"
_OLD_STATS_UNTIL = (5, 2)
COUNTER = r"(?P<what>memory\+swap|memory|swap|kmem): usage (?P<usage>\d{1,20})kB, limit (?P<limit>\d{1,20})kB"
_RAM = r"(\d{1,15}) pages (?:of )?RAM\b"
_RESERVED = r"(\d{1,15}) (?:pages reserved|reserved pages)"
_SWAP_TOTAL = r"Total swap = (\d{1,15})kB"
_SWAP_ON = r"Adding (\d{1,15})k swap on "
_ZONE = r"(?:Node (?P<node>\d{1,5}) )?\b\w{1,16} free:\d{1,15}kB .{0,400}?\bpresent:(?P<present>\d{1,15})kB"
_BUDDY = r"(?:DMA\d*|Normal|Movable|HighMem): \d+\*(\d{1,4})kB "
_TOTALS = ((_RAM, "ram_pages"), (_RESERVED, "reserved_pages"), (_SWAP_TOTAL, "swap_total_kb"))


def read_cgroups(source: Source, line: LogLine) -> bool:
    """Which cgroup: `Task in /a killed as a result of limit of /b`, `Memory cgroup stats for /b: ...`."""
    text = line.text.rstrip()
    if _in_two_lines(source.report, text):
        return True
    task_in, limit_of, stats = (re.search(p, text) for p in (_TASK_IN, _LIMIT_OF, _STATS))
    match = task_in or limit_of or stats
    if match is None:
        return False
    report = source.open(line)
    if report.ended:
        report = source.new(line)
    report.memcg_words = True
    if match is not stats or match["old"]:
        report.date(until=_OLD_STATS_UNTIL if match is stats else _CGROUPS_UNTIL)
    if task_in:
        report.task_memcg, report.oom_memcg = task_in["memcg"], task_in["domain"]
    elif report.oom_memcg is None or _cut(report.oom_memcg, match[1]):
        report.oom_memcg = match[1]
    return True


def _in_two_lines(report: OomReport | None, text: str) -> bool:
    """The same in two lines, each too common a phrase to begin a report with."""
    task, limit = re.search(_TASK_ALONE, text), re.search(_LIMIT_ALONE, text)
    if report is None or report.ended or not (task or limit):
        return False
    if task:
        report.task_memcg = task["memcg"]
    if limit:
        report.oom_memcg = limit["domain"]
    report.memcg_words = True
    return True


def _cut(path: str, other: str) -> bool:
    """Whether a path is another's begin, cut within a name as by a pager: a child's goes on with "/"."""
    return other.startswith(path) and path[-1:] != "/" and other[len(path) :][:1] not in ("", "/")


def read_counter(source: Source, line: LogLine) -> bool:
    """Its counters: `memory: usage 1048576kB, limit 1048576kB, failcnt 42`."""
    match = re.search(COUNTER, line.text)
    if match is None:
        return source.wrapped(line)
    report = source.open(line)
    limit = _limit(match)
    # A report has this line once; another's numbers are of the next, of which no more was looked for.
    another = match["what"] == "memory" and report.memory not in (None, limit)
    if report.ended or another:
        report = source.new(line)
    report.memcg_words = True
    if limit.limit_kb is None:
        report.unlimited_kb = int(match["limit"])
    if match["what"] == "memory":
        report.memory = limit
    elif match["what"] == "memory+swap":
        report.memsw = limit
    elif match["what"] == "swap":
        report.swap = limit
    return True


def read_machine(source: Source, line: LogLine) -> bool:
    """The machine: `Node 0 Normal free:...`, `1048576 pages RAM`, `Total swap = 0kB`; swap that is added."""
    text = line.text
    adding = re.search(_SWAP_ON, text)
    if adding:
        source.swap_total_kb = (source.swap_total_kb or 0) + int(adding[1])
        return True
    totals = [(name, match) for pattern, name in _TOTALS if (match := re.search(pattern, text))]
    zone, buddy = re.search(_ZONE, text), re.search(_BUDDY, text)
    told = totals or zone or buddy or "Mem-Info:" in text
    report = source.preface(line) if told else None
    if report is None:
        return False
    for name, match in totals:
        setattr(report, name, int(match[1]))
    if zone:
        node = int(zone["node"] or 0)
        report.node_present_kb[node] = report.node_present_kb.get(node, 0) + int(zone["present"])
    elif buddy:
        report.buddy_kb = int(buddy[1])
    report.node_words = True
    return True


def read_sysrq(source: Source, line: LogLine) -> bool:
    """Somebody asks for it: `sysrq: Manual OOM execution`. Up to 4.1 its header does not show that."""
    report = source.open(line)
    if report.ended:
        report = source.new(line)
    # In the midst of one it has to wait for that.
    report.sysrq = report.sysrq or not report.begun
    return True


def read_trace(source: Source, line: LogLine) -> bool:
    """A line of the call trace that tells what kind of OOM it is."""
    report = source.preface(line)
    if report is None:
        return False
    if "mem_cgroup_out_of_memory" in line.text or "mem_cgroup_oom" in line.text:
        report.memcg_words = True
    elif "moom_callback" in line.text:
        report.sysrq = True
    else:
        return False
    return True


def _limit(match: re.Match[str]) -> Limit:
    limit = int(match["limit"])
    return Limit(int(match["usage"]), None if limit >= UNLIMITED_KB else limit)
