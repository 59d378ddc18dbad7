"""What the kernel itself says of an OOM kill, read from its log.

Source: dump_header(), dump_oom_victim() and __oom_kill_process() in mm/oom_kill.c.
A comm may hold any byte, so every pattern is anchored at its right end.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

_SUMMARY = re.compile(
    r"oom-kill:constraint=CONSTRAINT_(?P<constraint>\w+),nodemask=.*,cpuset=.*,mems_allowed=(?P<mems>[\d,-]*),"
    r"(?:oom_memcg=(?P<domain>.*)|global_oom),task_memcg=(?P<memcg>.*),task=(?P<comm>.*),"
    r"pid=(?P<pid>\d+),uid=(?P<uid>\d+)\s*$"
)
_GROUP = re.compile(r"Tasks in (?P<group>/.*) are going to be killed due to memory\.oom\.group set\s*$")
_KILLED = re.compile(
    r"Killed process (?P<pid>\d+) \((?P<comm>.*)\) total-vm:\d+kB, anon-rss:\d+kB, file-rss:\d+kB.*$"
)


@dataclass(frozen=True, slots=True)
class OomKill:
    """One choice of the OOM killer and those who died with it.

    Attributes:
        pid: the chosen process, as the log's own PID namespace counts.
        comm: its name as printed.
        domain: path of the memory cgroup that was full, "/" for the node, "cpuset.mems=0" for memory nodes.
        memcg: path of the victim's own memory cgroup.
        constraint: NONE, CPUSET, MEMORY_POLICY or MEMCG.
        oom_group: the cgroup that died as one, if any.
        killed: pids of all "Killed process" lines, each once, in the log's order.
    """

    pid: int
    comm: str
    domain: str
    memcg: str
    constraint: str
    oom_group: str | None = None
    killed: tuple[int, ...] = ()


def oom_kills(lines: Iterable[str]) -> list[OomKill]:
    """Every kill in a kernel log of 5.0 or later, in order; other lines are passed over."""
    kills: list[OomKill] = []
    for line in lines:
        if "oom-kill:constraint=" in line:
            kills.extend(_summary(line))
        elif kills and "memory.oom.group" in line:
            kills[-1] = _with_group(kills[-1], line)
        elif kills and "Killed process" in line:
            kills[-1] = _with_killed(kills[-1], line)
    return kills


def _summary(line: str) -> list[OomKill]:
    match = _SUMMARY.search(line)
    if match is None:
        return []
    nodes = f"cpuset.mems={match['mems']}" if match["constraint"] == "CPUSET" else "/"
    domain = match["domain"] or nodes
    return [OomKill(int(match["pid"]), match["comm"], domain, match["memcg"], match["constraint"])]


def _with_group(kill: OomKill, line: str) -> OomKill:
    match = _GROUP.search(line)
    if match is None:
        return kill
    return replace(kill, oom_group=match["group"])


def _with_killed(kill: OomKill, line: str) -> OomKill:
    match = _KILLED.search(line)
    if match is None or int(match["pid"]) in kill.killed:
        return kill
    return replace(kill, killed=(*kill.killed, int(match["pid"])))
