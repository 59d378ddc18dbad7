"""Why an OOM report says what it says: the choice made again from the table, and compared with the kernel's.

Pure: a report in, an explanation out. What the report does not tell stays None and is named in `missing`;
a deviation whose reason cannot be known is 'undetermined'.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from oomsayer.kernel.badness import percpu_counter_batch
from oomsayer.kernel.domain import DomainKind
from oomsayer.kernel.era import Era, RssSource
from oomsayer.kernel.oom_kill import Outcome
from oomsayer.kernel.report import OomReport, TaskRow
from oomsayer.kernel.report.choice import (
    Ranked,
    Reading,
    Scorable,
    candidates,
    presumed_root,
    rank,
    settled_by_score,
    winner,
)
from oomsayer.kernel.report.facts import (
    ENDLESS,
    Missing,
    Span,
    bonuses,
    page_size_of,
    rules_of,
    totalpages_of,
    victim_pid,
    what_ran_out,
    who_was_killed,
    without_swap,
)
from oomsayer.kernel.snapshot import OOM_SCORE_ADJ_MIN

_SWAPOFF = "swapoff"
"""It marks itself to be killed first (oom_task_origin()), as does who ends KSM, whose name tells nothing."""
_TAKEN_FIRST = "swapoff is taken before all others, whatever its memory: it is what makes memory short"
UNDETERMINED = "undetermined"
"""Said of a deviation whose reason the report does not tell."""
OOM_SCORE_ADJ_MAX = 1000
"""The highest oom_score_adj (include/uapi/linux/oom.h)."""


@dataclass(frozen=True, slots=True)
class Change:
    """The least that would have led to another choice; None where nothing of the kind would.

    Attributes:
        runner_up: second in badness; it may have died with the victim.
        victim_oom_score_adj: the highest value at which the victim falls behind the runner-up.
        victim_bytes: how much less memory of the victim would do.
        next_oom_score_adj: the lowest value at which the next comes before the victim.
        next_bytes: how much more memory of the next would do.
    """

    runner_up: Ranked
    victim_oom_score_adj: int | None
    victim_bytes: int | None
    next_oom_score_adj: int | None
    next_bytes: int | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one report comes down to.

    Attributes:
        report: it.
        era: the rules it was read by, None where it is older than any known.
        era_name: "E0" to "E7", None where the report leaves more than one.
        kind: what ran out, None where nothing tells.
        path: of the cgroup, "/" for the node, the cpuset's name; None where not told.
        totalpages: what scales oom_score_adj in the domain, None where not known.
        page_size: bytes a page.
        candidates: the table, worst first, those never chosen last.
        predicted: whom the rules choose, None where nobody, or where too little is known.
        killed: pid and name of each process the report says was killed, the victim first.
        agrees: whether the first killed is the predicted one, None where that cannot be said.
        because: why not, 'undetermined' where that cannot be known; None where they agree.
        next: who would have been taken after this kill.
        change: what would have changed the choice.
        complete: whether all parts are there that the kernel prints.
        missing: what is not known, each a sentence.
    """

    report: OomReport
    era: Era | None
    era_name: str | None
    kind: DomainKind | None
    path: str | None
    totalpages: int | None
    page_size: int
    candidates: tuple[Ranked, ...] = ()
    predicted: Ranked | None = None
    killed: tuple[tuple[int, str], ...] = ()
    agrees: bool | None = None
    because: str | None = None
    next: Ranked | None = None
    change: Change | None = None
    complete: bool = False
    missing: tuple[str, ...] = ()


def explain(report: OomReport) -> Explanation:
    """Make the choice of a report again, and say how it compares."""
    missing = Missing(report)
    page_size = page_size_of(report, missing)
    kind, path = what_ran_out(report, missing)
    era, era_name, others = rules_of(report, missing)
    told = totalpages_of(report, kind, page_size, era, missing)
    table = candidates(report, page_size)
    known = Explanation(
        report,
        era,
        era_name,
        kind,
        path,
        told.known,
        page_size,
        tuple(table),
        killed=who_was_killed(report),
        because=_reason(report, None, None, (), ()),
        complete=missing.complete,
        missing=missing.sentences,
    )
    if era is None:
        return known
    open_reading = settled_by_score(report, table, Reading(era, told, presumed_root(kind), page_size))
    reading = open_reading._replace(span=without_swap(report, kind, open_reading.span, missing))
    ranked = rank(table, reading)
    predicted = winner(ranked, reading)
    for guess in _guessed(report, reading, table, ranked, predicted):
        missing.add(guess)
    agrees = _agrees(report, predicted, ranked)
    readings = (reading, *_alternatives(report, reading, open_reading, others)) if agrees is False else ()
    following = _next(report, ranked, reading)
    return replace(
        known,
        era=reading.era,
        totalpages=reading.span.known,
        candidates=tuple(ranked),
        predicted=predicted,
        agrees=agrees,
        because=_reason(report, agrees, predicted, ranked, readings),
        next=following,
        change=_change(ranked, predicted, following, reading) if agrees else None,
        complete=missing.complete,
        missing=missing.sentences,
    )


def _guessed(
    report: OomReport,
    reading: Reading,
    table: Sequence[Ranked],
    ranked: Sequence[Ranked],
    predicted: Ranked | None,
) -> Iterator[str]:
    """What the choice rests on and no report tells."""
    if predicted is None and ranked and ranked[0].eligible:
        yield "who is chosen: it depends on totalpages"
    era = reading.era
    roots = any(candidate.row.uid == 0 for candidate in table)
    if era.root_bonus and roots and not reading.bonus_told and len(bonuses(report, era)) > 1:
        yield f"root bonus: taken as {era.root_bonus}; before 3.14 there are two, and which is not shown"
    if era.root_bonus and roots:
        yield "capabilities: whether a process of uid 0 is forgiven 3 % is guessed from where it ran"
    if era.sacrifice_child and table:
        yield "parents: a child that dies in its parent's place cannot be foreseen"


def _reason(
    report: OomReport,
    agrees: bool | None,  # noqa: FBT001 - one of three answers
    predicted: Ranked | None,
    ranked: Sequence[Ranked],
    readings: Sequence[Reading],
) -> str | None:
    """Why the kernel's choice is what it is, where more is to be said than that it had the most badness."""
    if report.allocating and not agrees:
        return "; ".join(filter(None, (Outcome.CURRENT.value, _in_its_place(report))))
    if agrees is False:
        return _because(report, predicted, ranked, readings)
    if report.panicked:
        return f"nobody was killed, the kernel panicked: {report.panicked}"
    return _in_its_place(report) if agrees is None else None


def _agrees(report: OomReport, predicted: Ranked | None, ranked: Sequence[Ranked]) -> bool | None:
    actual = victim_pid(report)
    if actual is None:
        return predicted is None if report.no_killable and report.columns else None
    if predicted is None:
        return False if ranked and not ranked[0].eligible else None
    return predicted.is_process(actual)


def _because(
    report: OomReport, predicted: Ranked | None, ranked: Sequence[Ranked], readings: Sequence[Reading]
) -> str:
    """Why the kernel took another than predicted, where the report tells; `readings`: the one taken first."""
    actual = victim_pid(report)
    if actual is None:
        return UNDETERMINED
    chosen = report.chosen[0] if report.chosen else actual
    if (
        report.row_of(chosen) is None
        and report.chosen
        and report.killed[:1]
        and report.killed[0].comm == report.chosen[1]
    ):
        # A thread was chosen, and its process is the one that died.
        chosen = actual
    if predicted is not None and predicted.is_process(chosen):
        return (
            f"child sacrificed: {predicted.row.comm} ({chosen}) was chosen as predicted, and one of its "
            "children died in its place, as in kernels up to 5.0"
        )
    taken = next((candidate for candidate in ranked if candidate.is_process(chosen)), None)
    if taken is None:
        return _not_in_table(report, chosen)
    first = taken.row.comm == _SWAPOFF
    if first or predicted is None:
        return _TAKEN_FIRST if first else UNDETERMINED
    reading, *others = readings
    for other in others:
        if _takes(taken, ranked, other):
            return other.why
    return (
        _by_capability(taken, ranked, reading)
        or _in_vfork(taken, ranked)
        or _moved(report, predicted, taken, reading)
        or UNDETERMINED
    )


def _not_in_table(report: OomReport, chosen: int) -> str:
    """Why the one chosen has no row."""
    if report.exiting and report.exiting[0] == chosen:
        who = f"{report.exiting[1]} ({chosen})"
        return f"exiting: {who} had memory when it was chosen, and none any more when the table was printed"
    return f"task table truncated: pid {chosen}, which the kernel took, is not in it"


def _in_its_place(report: OomReport) -> str | None:
    """What up to 5.0 two lines tell by themselves: that one was chosen, and another killed."""
    if report.chosen is None or not report.killed:
        return None
    (pid, comm, _), killed = report.chosen, report.killed[0]
    if killed.pid == pid:
        return None
    if killed.comm == comm:
        return f"{comm} ({pid}) was chosen: a thread of the process that died, or its parent"
    return f"{comm} ({pid}) was chosen, and {killed.comm} ({killed.pid}), a child or a thread of its, died"


def _takes(taken: Ranked, table: Sequence[Ranked], reading: Reading) -> bool:
    """Whether this is the choice by a reading."""
    choice = winner(rank(table, reading), reading)
    return choice is not None and choice.order == taken.order


def _alternatives(
    report: OomReport, reading: Reading, open_reading: Reading, others: Sequence[Era]
) -> Iterator[Reading]:
    """Other readings that the report leaves open, the likelier first."""
    for era in reversed(others):
        yield reading._replace(
            era=era,
            why=f"the kernel's release is not printed: the rules of {era.releases} give the kernel's choice",
        )
    for era in bonuses(report, reading.era)[1:]:
        yield reading._replace(
            era=era,
            why=f"the root bonus is not printed: with {era.root_bonus} forgiven the choice is the kernel's",
        )
    release = report.kernel or ""
    if not reading.era.signed and re.match(_VENDOR, release):
        yield reading._replace(
            era=replace(reading.era, signed=True),
            why="signed badness (5.9), which stable 5.4.144 and vendors brought to older kernels, gives the "
            f"kernel's choice: {release} does not show whether it has it",
        )
    if reading.era.signed and re.match(_VENDOR, release):
        yield reading._replace(
            era=replace(reading.era, signed=False),
            why="unsigned badness (before 5.9) gives the kernel's choice: "
            f"{release} does not show which it has",
        )
    told = open_reading.span
    if told.known is None and reading.span.known is not None:
        yield reading._replace(
            span=Span(told.most or ENDLESS, told.most or ENDLESS),
            why="totalpages is larger than taken: the machine has swap, which this report does not print",
        )
    if report.memory and report.memory.limit_kb and reading.span.known is not None:
        limit = report.memory.limit_kb * 1024 // reading.page_size
        if limit < reading.span.least:
            yield reading._replace(
                span=Span(limit, limit),
                why="totalpages is the limit alone: swappiness, which is not printed, was 0",
            )


_VENDOR = r"5\.4\.0-\d|4\.18\.0-\d{1,6}\b.*\.el8|5\.[3-8]\.\d+-\d{3,}"
"""Releases of vendors whose own number hides which fixes they carry."""


def _by_capability(taken: Ranked, ranked: Sequence[Ranked], reading: Reading) -> str | None:
    """Whether another guess at who holds CAP_SYS_ADMIN gives the kernel's choice."""
    if not reading.era.root_bonus:
        return None
    for mine in (False, True):

        def root(row: TaskRow, *, mine: bool = mine) -> bool:
            return row.uid == 0 and (row is taken.row) is mine

        other = reading._replace(root=root)
        if _takes(taken, ranked, other):
            return (
                "capabilities are not printed: with CAP_SYS_ADMIN, which kernels up to 4.16 forgive 3 %, "
                "held by other processes of uid 0 than taken here, the choice is the kernel's"
            )
    return None


def _in_vfork(taken: Ranked, ranked: Sequence[Ranked]) -> str | None:
    """Whether all before the one taken show the very memory of another, as in_vfork() children do.

    That they rank higher is then of their own oom_score_adj: runtimes and shells set it before they execute.
    """
    ahead = list(takewhile(lambda candidate: candidate.order != taken.order, ranked))
    parents = {_memory(candidate.row): candidate for candidate in ranked[len(ahead) :]}
    if not all(_memory(candidate.row) in parents for candidate in ahead):
        return None
    child, parent = ahead[0].row, parents[_memory(ahead[0].row)].row
    return (
        f"vfork: {child.comm} ({child.pid}) shows the very memory of {parent.comm} ({parent.pid}), as a "
        "child of vfork() does, whom the kernel passes over until it executes"
    )


def _memory(row: TaskRow) -> tuple[int | None, ...]:
    """What is equal for those who share one memory."""
    return row.total_vm, row.rss_pages, row.swap_pages, row.pgtables


def _moved(report: OomReport, predicted: Ranked, taken: Ranked, reading: Reading) -> str | None:
    """Whether counters that moved between the choice and the printing explain a narrow margin."""
    if predicted.points is None or taken.points is None:
        return None
    margin = predicted.points - taken.points
    if not margin:
        return (
            "rss printed later than chosen: the two are level in the table, so that the least change decides"
        )
    apart = f"rss printed later than chosen: the two are {margin} pages apart, and"
    drift = _drift(report, taken)
    if margin <= drift:
        return f"{apart} the victim's rss moved by {drift} pages between the table and its kill"
    if reading.era.rss_source is RssSource.STAT:
        cpus = (report.cpu or 0) + 1
        hidden = (percpu_counter_batch(cpus) - 1) * cpus * _COUNTERS
        if margin <= hidden:
            return (
                f"{apart} the per-CPU counters of 6.2 to 6.19 hold back up to {hidden} pages on {cpus} CPUs, "
                "if it has no more"
            )
    return None


_COUNTERS = 4
"""File, anonymous, shared and swapped pages are counted apart (mm/memory.c: init_rss_vec_batch)."""


def _drift(report: OomReport, taken: Ranked) -> int:
    """Pages by which the victim's rss changed from the table to its "Killed process" line."""
    killed = next((k for k in report.killed if taken.is_process(k.pid)), None)
    if killed is None or killed.rss_kb is None or not killed.total_vm_kb or not taken.row.total_vm:
        return 0
    kb_a_page = max(round(killed.total_vm_kb / taken.row.total_vm), 1)
    return abs(killed.rss_kb // kb_a_page - taken.row.rss_pages)


def _next(report: OomReport, ranked: Sequence[Ranked], reading: Reading) -> Ranked | None:
    """Who comes after those that died."""
    dead = {report.leader(pid) for pid, _ in who_was_killed(report)}
    if not dead:
        return None
    return winner([c for c in ranked if not {c.row.pid, c.row.tgid} & dead], reading)


def _change(
    ranked: Sequence[Ranked], victim: Ranked | None, following: Ranked | None, reading: Reading
) -> Change | None:
    """The least changes, found by asking oom_badness(), which only falls with less memory or a lower adj."""
    total = reading.span.known
    if total is None or victim is None or len(ranked) < 2 or not ranked[1].eligible:  # noqa: PLR2004 - two to compare
        return None
    runner_up = ranked[1]
    follower = following or runner_up
    first, task = victim.task, follower.task

    def loses(changed: Scorable) -> bool:
        return rank([victim._replace(task=changed), runner_up], reading)[0].order == runner_up.order

    def wins(changed: Scorable) -> bool:
        return rank([victim, follower._replace(task=changed)], reading)[0].order == follower.order

    gap = (victim.points or 0) - (runner_up.points or 0)
    chase = (victim.points or 0) - (follower.points or 0)
    step = max(total // 1000, 1)
    down = _least(
        lambda by: loses(first._replace(oom_score_adj=first.oom_score_adj - by)),
        first.oom_score_adj - OOM_SCORE_ADJ_MIN,
        gap // step,
    )
    up = _least(
        lambda by: wins(task._replace(oom_score_adj=task.oom_score_adj + by)),
        OOM_SCORE_ADJ_MAX - task.oom_score_adj,
        chase // step,
    )
    less = _least(
        lambda by: loses(first._replace(rss_pages=first.rss_pages - by)),
        first.rss_pages + first.swap_pages,
        gap,
    )
    more = _least(lambda by: wins(task._replace(rss_pages=task.rss_pages + by)), total, chase)
    return Change(
        runner_up=runner_up,
        victim_oom_score_adj=None if down is None else first.oom_score_adj - down,
        victim_bytes=None if less is None else less * reading.page_size,
        next_oom_score_adj=None if up is None else task.oom_score_adj + up,
        next_bytes=None if more is None else more * reading.page_size,
    )


def _least(holds: Callable[[int], bool], most: int, guess: int) -> int | None:
    """The smallest number from 1 to `most` from which on `holds`, None where it never does.

    Args:
        holds: false up to some number, true from then on.
        most: how far to look.
        guess: where it is likely, or just above.
    """
    for likely in (guess, guess + 1):
        if 1 <= likely <= most and holds(likely) and (likely == 1 or not holds(likely - 1)):
            return likely
    if most < 1 or not holds(most):
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low
