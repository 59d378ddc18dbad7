"""What `oomsayer explain` prints for people: what happened in one sentence, then the ranking behind it."""

from collections.abc import Iterator, Sequence
from textwrap import wrap

from oomsayer.api.quantity import binary
from oomsayer.cli.columns import COLUMNS, ID_SHOWN, aligned
from oomsayer.cli.text import harmless, shortened
from oomsayer.kernel.badness import rss_swap_pgtables, weighed_adj
from oomsayer.kernel.domain import DomainKind
from oomsayer.kernel.explain import OOM_SCORE_ADJ_MAX, Explanation
from oomsayer.kernel.oom_kill import OomControl, Outcome, Scan, out_of_memory
from oomsayer.kernel.report.choice import Ranked
from oomsayer.kernel.snapshot import OOM_SCORE_ADJ_MIN, Sysctls
from oomsayer.kubelet.cgroups import owner

_SHOWN = 10
"""How many candidates are shown; those killed are always."""
_NAMES_SHOWN = 5
_HEADER = ("PID", "NAME", "UID", "ADJ", "RSS", "SWAP", "PGTABLES", "MEMORY", "FROM ADJ", "POINTS", "")
_RIGHT = frozenset(_HEADER) - {"NAME", ""}
_LABEL = 20
"""Columns that stand before a path at most."""
_UNKNOWN = "?"
_NEVER = "never"


def text(index: int, explanation: Explanation) -> str:
    """One explanation; `index` counts from 1."""
    parts = [
        [_title(index, explanation), *_wrapped(_headline(explanation))],
        list(_facts(explanation)),
        list(_ranking(explanation)),
        list(_changes(explanation)),
        list(_missing(explanation)),
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _title(index: int, explanation: Explanation) -> str:
    kernel = harmless(explanation.report.kernel or "of unknown release")
    era = explanation.era
    rules = "" if era is None else f", rules of {era.releases}"
    return f"REPORT {index}  (kernel {kernel}{rules})"


def _headline(explanation: Explanation) -> str:
    place = _place(explanation)
    if not explanation.killed:
        return _nobody(explanation, place)
    pid, comm = explanation.killed[0]
    who = f"{harmless(comm)} (pid {pid})"
    others = len(explanation.killed) - 1
    what = f" and {others} more with it were killed" if others else " was killed"
    return f"{who}{what} because {place}. {_why(explanation)}".rstrip()


def _why(explanation: Explanation) -> str:
    predicted = explanation.predicted
    if explanation.agrees:
        return _choice(explanation)
    if explanation.agrees is False:
        expected = "nobody" if predicted is None else _who(predicted)
        return f"By badness it would have been {expected}. Why not: {harmless(explanation.because or '')}."
    because = "" if explanation.because is None else f": {harmless(explanation.because)}"
    report = explanation.report
    if report.chosen and not report.rows and not report.allocating:
        return f"The kernel gave it a score of {report.chosen[2]}. Who else there was is not told{because}."
    return f"Who had the most badness cannot be told from this report{because}."


def _choice(explanation: Explanation) -> str:
    victim, change = explanation.predicted, explanation.change
    count = sum(candidate.eligible for candidate in explanation.candidates)
    if victim is None:
        return ""
    if count == 1:
        return "It was the only candidate."
    first = f"Of {count} candidates it had the most badness"
    if change is None or victim.points is None or change.runner_up.points is None:
        return f"{first}."
    margin = victim.points - change.runner_up.points
    if not margin:
        return f"{first}, level with {_who(change.runner_up)}: the order of the scan decided."
    amount = binary(margin * explanation.page_size)
    return f"{first}: {victim.points} points, {margin} ({amount}) more than {_who(change.runner_up)}."


def _nobody(explanation: Explanation, place: str) -> str:
    report = explanation.report
    if report.panicked:
        return f"The kernel panicked because {place} and {harmless(report.panicked)}."
    if report.no_killable:
        if _deadlocked(explanation):
            nobody = f"The kernel panicked because {place} and no process could be killed."
        else:
            nobody = f"Nobody was killed although {place}: no process could be."
        return nobody if explanation.agrees is not False else f"{nobody} {_why(explanation)}"
    if report.exiting:
        pid, comm = report.exiting
        chosen = f"{harmless(comm)} (pid {pid}) was chosen because {place}, and was already exiting"
        return f"{chosen}. {_why(explanation)}"
    if report.chosen:
        pid, comm, _ = report.chosen
        either = "whether it was killed, or a child in its place"
        return f"{harmless(comm)} (pid {pid}) was chosen because {place}. The report does not say {either}."
    asked = f" when {harmless(report.header)} asked for memory" if report.header else ""
    where = "" if explanation.kind is None else f": {place}"
    return f"Memory ran out{asked}{where}. The report does not say who was killed."


def _deadlocked(explanation: Explanation) -> bool:
    """Whether the kernel panics, since nobody can be killed."""
    kind = explanation.kind
    oc = None if kind is None else OomControl(kind, sysrq=explanation.report.sysrq)
    return oc is not None and out_of_memory(oc, Sysctls(), Scan.NOBODY) is Outcome.DEADLOCKED


def _place(explanation: Explanation) -> str:
    report = explanation.report
    if report.sysrq:
        return "somebody asked for it by sysrq-f"
    if explanation.kind is DomainKind.NODE:
        return "the node ran out of memory"
    if explanation.kind is DomainKind.CPUSET:
        return f"the memory nodes of cpuset {harmless(explanation.path or _UNKNOWN)} were full"
    if explanation.kind is DomainKind.MEMPOLICY:
        return "the memory nodes of its policy were full"
    if explanation.kind is None:
        return "memory ran out"
    limit = report.memory.limit_kb if report.memory else None
    of = "" if limit is None else f" of {binary(limit * 1024)}"
    return f"{_cgroup(explanation.path)} reached its limit{of}"


def _cgroup(path: str | None) -> str:
    """A cgroup for people: pod and container where its path names them."""
    if path is None:
        return "a memory cgroup"
    whose = owner(path)
    if whose.container_id:
        return f"container {whose.container_id[:ID_SHOWN]} of pod {whose.pod_uid}"
    if whose.pod_uid:
        return f"pod {whose.pod_uid}"
    return f"cgroup {harmless(path)}"


def _facts(explanation: Explanation) -> Iterator[str]:
    report = explanation.report
    if explanation.kind is not None and explanation.path is not None:
        yield f"Domain:     {explanation.kind.value} {_fitting(explanation.path)}"
    memcg = (report.summary.task_memcg if report.summary else None) or report.task_memcg
    if memcg is not None:
        yield f"Victim in:  {_fitting(memcg)}"
        whose = owner(memcg)
        if whose.pod_uid:
            container = f", container {whose.container_id[:ID_SHOWN]}" if whose.container_id else ""
            yield f"            pod {whose.pod_uid} ({whose.qos}){container}"
    if report.oom_group is not None:
        yield f"Group kill: {_fitting(report.oom_group)}"
        names = ", ".join(f"{harmless(comm)} ({pid})" for pid, comm in explanation.killed[:_NAMES_SHOWN])
        more = len(explanation.killed) - _NAMES_SHOWN
        yield f"            memory.oom.group: {names}" + (f" and {more} more" if more > 0 else "")
    total = explanation.totalpages
    if total is not None:
        step = total // 1000
        page = explanation.page_size
        pages = "page" if step == 1 else "pages"
        weight = f"1 of oom_score_adj weighs {step} {pages} ({binary(step * page)})"
        yield f"Totalpages: {total} ({binary(total * page)}), so {weight}"
    elif explanation.candidates:
        yield "Totalpages: not known"


def _fitting(path: str) -> str:
    return shortened(harmless(path), COLUMNS - _LABEL)


def _ranking(explanation: Explanation) -> Iterator[str]:
    if not explanation.candidates:
        return
    dead = {explanation.report.leader(pid) for pid, _ in explanation.killed}
    shown = [
        candidate
        for place, candidate in enumerate(explanation.candidates)
        if place < _SHOWN
        or candidate is explanation.predicted
        or (_of(candidate, dead) and place < _SHOWN * 4)
    ]
    yield from aligned([_HEADER, *(_row(candidate, explanation, dead) for candidate in shown)], _RIGHT)
    rest = len(explanation.candidates) - len(shown)
    if rest:
        yield f"and {rest} more"


def _row(candidate: Ranked, explanation: Explanation, dead: set[int]) -> tuple[str, ...]:
    row, page = candidate.row, explanation.page_size
    memory, from_adj = _split(candidate, explanation)
    mark = "killed" if _of(candidate, dead) else ""
    if candidate is explanation.predicted and not mark:
        mark = "predicted"
    if candidate is explanation.next:
        mark = f"{mark}, next" if mark else "next"
    return (
        str(row.pid),
        shortened(harmless(row.comm), 24),
        _UNKNOWN if row.uid < 0 else str(row.uid),
        str(row.oom_score_adj),
        binary(row.rss_pages * page),
        _UNKNOWN if row.swap_pages is None else binary(row.swap_pages * page),
        _UNKNOWN if row.pgtables is None else binary(candidate.task.pgtables_bytes),
        memory,
        from_adj,
        _points(candidate),
        mark,
    )


def _points(candidate: Ranked) -> str:
    if not candidate.eligible:
        return _NEVER
    return _UNKNOWN if candidate.points is None else str(candidate.points)


def _split(candidate: Ranked, explanation: Explanation) -> tuple[str, str]:
    """Points from memory, and points from oom_score_adj."""
    if explanation.era is None:
        return _UNKNOWN, _UNKNOWN
    memory = rss_swap_pgtables(candidate.task, explanation.era, explanation.page_size)
    adj = weighed_adj(candidate.task, explanation.era)
    if explanation.totalpages is None:
        return str(memory), _UNKNOWN if adj else "0"
    return str(memory), str(adj * (explanation.totalpages // 1000))


def _of(candidate: Ranked, pids: set[int]) -> bool:
    return candidate.row.pid in pids or candidate.row.tgid in pids


def _changes(explanation: Explanation) -> Iterator[str]:
    change, victim, following = explanation.change, explanation.predicted, explanation.next
    if change is None or victim is None:
        return
    follower = following or change.runner_up
    spared = list(_ways(change.victim_oom_score_adj, "or lower", change.victim_bytes, "less", victim))
    instead = list(_ways(change.next_oom_score_adj, "or higher", change.next_bytes, "more", follower))
    if not spared and not instead:
        return
    yield "WHAT WOULD HAVE CHANGED IT"
    if spared:
        yield from _wrapped(
            f"{_who(victim)} behind {_who(change.runner_up)}: with {', or '.join(spared)}", "  "
        )
    if instead:
        yield from _wrapped(f"{_who(follower)} in its place: with {', or '.join(instead)}", "  ")


def _ways(adj: int | None, bound: str, amount: int | None, more: str, candidate: Ranked) -> Iterator[str]:
    if adj is not None:
        limits = "" if adj in (OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX) else f" {bound}"
        yield f"oom_score_adj {adj}{limits} (was {candidate.row.oom_score_adj})"
    if amount is not None:
        yield f"{binary(amount)} {more} memory"


def _who(candidate: Ranked) -> str:
    return f"{harmless(candidate.row.comm)} (pid {candidate.row.pid})"


def _missing(explanation: Explanation) -> Sequence[str]:
    if not explanation.missing:
        return ()
    lines = ["NOT IN THE REPORT" if explanation.complete else "NOT IN THE REPORT, which is incomplete"]
    for sentence in explanation.missing:
        lines += _wrapped(harmless(sentence), "  ")
    return lines


def _wrapped(text: str, indent: str = "") -> list[str]:
    """Lines of text; a UID, a release and a path are not broken at their hyphens."""
    return wrap(text, COLUMNS, initial_indent=indent, subsequent_indent=indent * 2, break_on_hyphens=False)
