"""What the kernel itself says of an OOM kill, read from its log.

Source: dump_header(), dump_oom_victim() and __oom_kill_process() in mm/oom_kill.c.
A comm may hold any byte, so every pattern is anchored at its right end.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from oomsayer.kernel.oomsummary import summary_in, summed_up
from oomsayer.kernel.snapshot import ROOT

_GROUP = re.compile(r"Tasks in (?P<group>/.*) are going to be killed due to memory\.oom\.group set\s*$")
_KILLED = re.compile(
    r"(?:(?P<cause>Memory cgroup out|Out) of memory(?: \(\w+\))?: )?"
    r"Killed process (?P<pid>\d+) \((?P<comm>.*)\) "
    r"total-vm:\d+kB, anon-rss:(?P<anon>\d+)kB, file-rss:(?P<file>\d+)kB"
    r"(?:, shmem-rss:(?P<shmem>\d+)kB)?(?:.* oom_score_adj:(?P<adj>-?\d+))?.*$",
    re.DOTALL,
)
_EXITING = re.compile(
    r"OOM victim (?P<pid>\d+) \(.*\) is already exiting\. Skip killing the task\s*$", re.DOTALL
)
_STAMP = re.compile(r"^(?:<\d+>)?\[ *(?P<seconds>\d+\.\d+)\](?:\[ *[TC]\d+\])? ")
_WORDS = ("oom-kill:constraint=", "memory.oom.group", "Killed process", "OOM victim")
_MOST_NEWLINES = 15
"""As many as a process's name has bytes."""


@dataclass(frozen=True, slots=True)
class OomKill:
    """One choice of the OOM killer and those who died with it.

    The kernel prints at most ten whole reports in five seconds. Of a kill beyond that only its "Killed
    process" line is there: then constraint is empty, and the paths are None as far as that does not tell.

    Attributes:
        pid: the chosen process, as the log's own PID namespace counts.
        comm: its name as printed.
        domain: path of the memory cgroup that was full, "/" for the node, "cpuset.mems=0" for memory nodes.
        memcg: path of the victim's own memory cgroup.
        constraint: NONE, CPUSET, MEMORY_POLICY or MEMCG.
        oom_group: the cgroup that died as one, if any.
        killed: pids of all "Killed process" lines, each once, in the log's order; and of a group's members
            that the kernel found exiting already: a PID namespace that ends may be faster than the walk.
        seconds: since boot, by the log's clock; None where it shows no times.
        rss_kb: what the chosen process had resident, None where that is not printed.
        oom_score_adj: likewise (5.4 and later).
    """

    pid: int
    comm: str
    domain: str | None
    memcg: str | None
    constraint: str
    oom_group: str | None = None
    killed: tuple[int, ...] = ()
    seconds: float | None = None
    rss_kb: int | None = None
    oom_score_adj: int | None = None


def oom_kills(lines: Iterable[str]) -> list[OomKill]:
    """Every kill in a kernel log of 5.0 or later, in order; other lines are passed over."""
    kills: list[OomKill] = []
    for seconds, text in _messages(lines):
        if _WORDS[0] in text:
            kills.extend(_chosen(text, seconds))
        elif _WORDS[1] in text and kills:
            kills[-1] = _with_group(kills[-1], text)
        elif match := _EXITING.search(text):
            if kills and kills[-1].oom_group is not None:
                kills[-1] = _with_member(kills[-1], int(match["pid"]))
        elif match := _KILLED.search(text):
            if kills and _belongs(match, kills[-1]):
                kills[-1] = _with_killed(kills[-1], match)
            else:
                kills.append(_without_report(match, seconds))
    return kills


def last_seconds(lines: Iterable[str]) -> float | None:
    """The time of a log's last line that shows one, in seconds since boot."""
    last = None
    for line in lines:
        stamp = _STAMP.match(line)
        if stamp is not None:
            last = float(stamp["seconds"])
    return last


def _messages(lines: Iterable[str]) -> Iterator[tuple[float | None, str]]:
    """The lines that tell of kills, put together again where a newline in a name has split them."""
    begun, joins = "", 0
    began_at: float | None = None
    for line in lines:
        stamp = _STAMP.match(line)
        seconds = float(stamp["seconds"]) if stamp else None
        text = line[stamp.end() :] if stamp else line
        if begun and joins < _MOST_NEWLINES and not any(word in text for word in _WORDS):
            begun, joins = f"{begun}\n{text}", joins + 1
            if _whole(begun):
                yield began_at, begun
                begun = ""
        elif any(word in text for word in _WORDS):
            if _whole(text):
                begun = ""
                yield seconds, text
            else:
                begun, joins, began_at = text, 0, seconds


def _whole(text: str) -> bool:
    return summed_up(text) or any(pattern.search(text) for pattern in (_GROUP, _KILLED, _EXITING))


def _chosen(text: str, seconds: float | None) -> list[OomKill]:
    told = summary_in(text)
    if told is None or told.pid is None:
        return []
    nodes = f"cpuset.mems={told.mems_allowed}" if told.constraint == "CPUSET" else ROOT
    domain = told.oom_memcg or nodes
    return [OomKill(told.pid, told.comm or "", domain, told.task_memcg, told.constraint, seconds=seconds)]


def _with_group(kill: OomKill, text: str) -> OomKill:
    match = _GROUP.search(text)
    if match is None:
        return kill
    return replace(kill, oom_group=match["group"])


def _belongs(match: re.Match[str], kill: OomKill) -> bool:
    """Whether a "Killed process" line is of the kill before it: its first, or one of the group's.

    The first may name another thread of the process, where that has outlived its leader.
    """
    return not kill.killed or kill.oom_group is not None or int(match["pid"]) in kill.killed


def _with_killed(kill: OomKill, match: re.Match[str]) -> OomKill:
    pid = int(match["pid"])
    if kill.killed:
        return _with_member(kill, pid)
    return replace(kill, killed=(pid,), rss_kb=_rss_kb(match), oom_score_adj=_adj(match))


def _with_member(kill: OomKill, pid: int) -> OomKill:
    return kill if pid in kill.killed else replace(kill, killed=(*kill.killed, pid))


def _without_report(match: re.Match[str], seconds: float | None) -> OomKill:
    pid = int(match["pid"])
    domain = ROOT if match["cause"] == "Out" else None
    return OomKill(
        pid,
        match["comm"],
        domain,
        None,
        "",
        killed=(pid,),
        seconds=seconds,
        rss_kb=_rss_kb(match),
        oom_score_adj=_adj(match),
    )


def _rss_kb(match: re.Match[str]) -> int:
    return int(match["anon"]) + int(match["file"]) + int(match["shmem"] or 0)


def _adj(match: re.Match[str]) -> int | None:
    return None if match["adj"] is None else int(match["adj"])
