"""The line of 5.0 and later that sums a choice of the OOM killer up: `oom-kill:constraint=...`.

Source: dump_oom_summary() in mm/oom_kill.c, mem_cgroup_print_oom_context() in mm/memcontrol.c.
"""

import re
from dataclasses import dataclass

_SUMMARY = r"kill:constraint=CONSTRAINT_(\w+)"
_SUMMARY_END = r",pid=(\d{1,10}),uid=(-?\d{1,10})(?:[^\w=>.…][^=]*)?$"
"""Behind it a paste may have a quote, a tag or more columns; a name that looks like it has "pid=" there."""
_LONGEST_COMM = 15
_LONGEST_ESCAPED_COMM = 60
"""A name has at most 15 bytes, each printed as at most four characters; the patterns allow 64."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The line "oom-kill:constraint=...": who was chosen, where. Fields that were not printed are None.

    A uid from 2**31 on is printed as negative, and is here as the kernel counts users.
    """

    constraint: str
    nodemask: str | None
    mems_allowed: str | None
    cpuset: str | None
    oom_memcg: str | None
    task_memcg: str | None
    comm: str | None
    pid: int | None
    uid: int | None


def summed_up(text: str) -> bool:
    """Whether there is a summary in a line, and it is whole."""
    summary = summary_in(text)
    return summary is not None and summary.pid is not None


def summary_in(text: str) -> Summary | None:
    """The summary in a line. Names and paths may hold anything, so it is taken apart from its right end."""
    start = re.search(_SUMMARY, text)
    if start is None:
        return None
    fields = text[start.end() :]
    end = re.search(_SUMMARY_END, fields)
    head, comm = (fields, None) if end is None else _last_name(fields[: end.start()])
    head, _, task_memcg = _cut(head, ",task_memcg=")
    head, named, oom_memcg = _cut(head, ",oom_memcg=")
    head, mems_named, mems = _cut(head, ",mems_allowed=")
    _, _, cpuset = _cut(head, ",cpuset=")
    nodemask = re.match(r",nodemask=(\(null\)|[\d,-]*)", head)
    return Summary(
        constraint=start[1],
        nodemask=nodemask[1] if nodemask else None,
        mems_allowed=(mems or "").removesuffix(",global_oom") if mems_named else None,
        cpuset=cpuset if mems_named else None,
        # Without what follows, a path may be cut.
        oom_memcg=oom_memcg if named and task_memcg is not None else None,
        task_memcg=task_memcg if end else None,
        comm=comm,
        pid=int(end[1]) if end else None,
        uid=int(end[2]) % 2**32 if end else None,
    )


def _cut(text: str, name: str) -> tuple[str, bool, str | None]:
    """Text before the last field of that name, whether there is one, and its value."""
    before, found, value = text.rpartition(name)
    return (before, True, value) if found else (text, False, None)


def _last_name(text: str) -> tuple[str, str | None]:
    """Text before the field `task`, and the name in it, which may itself look like a field."""
    for longest in (_LONGEST_COMM, _LONGEST_ESCAPED_COMM):
        at = text.find(",task=", max(len(text) - longest - len(",task="), 0))
        if at >= 0:
            return text[:at], text[at + len(",task=") :]
    return text, None
