"""The choice of an OOM report, made again from its table."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from oomsayer.kernel.badness import oom_badness, unkillable
from oomsayer.kernel.domain import DomainKind
from oomsayer.kernel.era import Era, Tie, release_version
from oomsayer.kernel.report import OomReport, TaskRow
from oomsayer.kernel.report.facts import ENDLESS, Span, bonuses, victim_pid
from oomsayer.kernel.snapshot import Unkillable

_REAPER_SINCE = (4, 6)


class Scorable(NamedTuple):
    """A row as oom_badness() takes it. A tuple, not a Task: it is made for every row of every report."""

    oom_score_adj: int
    rss_pages: int
    swap_pages: int
    pgtables_bytes: int
    unkillable: Unkillable | None = None
    cap_sys_admin: bool = False


class Ranked(NamedTuple):
    """A row of the table and its badness. A tuple, as rows are many.

    Attributes:
        row: as printed.
        task: as oom_badness() takes it.
        points: badness in pages; None where it is not known, or the process is never chosen.
        eligible: whether the scan considers it.
        order: place in the table, which is the order of the scan.
    """

    row: TaskRow
    task: Scorable
    points: int | None
    eligible: bool
    order: int

    def is_process(self, pid: int) -> bool:
        """Whether a pid names this process, as one of its threads that was printed or as a whole."""
        return pid in (self.row.pid, self.row.tgid)


# Of ready tuples: a call of the class goes through Python, and there are two for each row.
_new_scorable = partial(tuple.__new__, Scorable)
_new_ranked = partial(tuple.__new__, Ranked)


class Reading(NamedTuple):
    """One way to read a report.

    Attributes:
        era: the rules.
        span: totalpages.
        root: whether the process of a row holds CAP_SYS_ADMIN (matters up to 4.16).
        page_size: bytes a page.
        bonus_told: the printed score told which root bonus is in force.
        why: how this reading explains a choice, for those that are not the first.
    """

    era: Era
    span: Span
    root: Callable[[TaskRow], bool]
    page_size: int
    bonus_told: bool = False
    why: str = ""

    def points(self, task: Scorable, totalpages: int) -> int | None:
        """A task's badness where totalpages is so many."""
        return oom_badness(task, totalpages, self.era, self.page_size)


def candidates(report: OomReport, page_size: int) -> list[Ranked]:
    """The table in its own order, without points."""
    unit = page_size if _counts_pages(report, page_size) else 1
    taken = victim_pid(report)
    before = report.killed_before if _reaps(report) else {}
    now = {taken} | report.killed_pids
    rows = []
    for order, row in enumerate(report.rows.values()):
        barred = Unkillable.INIT if row.tgid == 1 else None
        # Killed lately and still listed: its memory was reaped, or the scan would have waited for it.
        if before and row.pid not in now and before.get(row.pid) == row.comm:
            barred = Unkillable.OOM_SKIP
        task = _new_scorable(
            (row.oom_score_adj, row.rss_pages, row.swap_pages or 0, (row.pgtables or 0) * unit, barred, False)
        )
        rows.append(_new_ranked((row, task, None, not unkillable(task), order)))
    return rows


def _reaps(report: OomReport) -> bool:
    """Whether this kernel takes a victim's memory before it is gone: since 4.6, when the reaper came."""
    return (release_version(report.kernel or "") or report.until) >= _REAPER_SINCE


def _counts_pages(report: OomReport, page_size: int) -> bool:
    """Whether page tables are in pages: without a table's header, where they are no whole pages in bytes."""
    if report.columns or report.pgtables_in_pages:
        return report.pgtables_in_pages
    return any((row.pgtables or 0) % page_size for row in report.rows.values())


def rank(table: Iterable[Ranked], reading: Reading) -> list[Ranked]:
    """The table, the one that select_bad_process() would choose first; those never chosen last."""
    known = reading.span.known
    total = reading.span.least if known is None else known
    bonus = reading.era.root_bonus
    sign = 1 if reading.era.tie is Tie.LAST else -1
    keyed = []
    for row, task, _, _, order in table:
        if bonus:
            task = task._replace(cap_sys_admin=reading.root(row))  # noqa: PLW2901 - the same task
        points = reading.points(task, total)
        eligible = points is not None
        told = points if known is not None or not row.oom_score_adj else None
        ranked = _new_ranked((row, task, told, eligible, order))
        # No two have the same place in the table, so this compares no further.
        keyed.append((eligible, points or 0, sign * order, ranked))
    keyed.sort(reverse=True)
    return [ranked for *_, ranked in keyed]


def winner(ranked: Sequence[Ranked], reading: Reading) -> Ranked | None:
    """The one chosen of a ranking whatever totalpages is within its bounds; None where it depends.

    Points grow linearly with totalpages: who is first at both ends is first between.
    """
    if not ranked or not ranked[0].eligible:
        return None
    span = reading.span
    if span.known is None:
        most = span.most or ENDLESS
        at_most = rank(ranked, reading._replace(span=Span(most, most)))
        if at_most[0].order != ranked[0].order:
            return None
    return ranked[0]


def presumed_root(kind: DomainKind | None) -> Callable[[TaskRow], bool]:
    """Who is taken to hold CAP_SYS_ADMIN: root's processes, but not in a cgroup, where containers drop it."""
    if kind is DomainKind.MEMCG:
        return lambda _row: False
    return lambda row: row.uid == 0


def settled_by_score(report: OomReport, table: Sequence[Ranked], reading: Reading) -> Reading:
    """Let the score that kernels up to 5.0 print decide what it can.

    That is totalpages, where it has bounds, and whether the chosen one holds CAP_SYS_ADMIN, and what for.
    """
    if report.chosen is None:
        return reading
    pid, _, score = report.chosen
    chosen = next((candidate for candidate in table if candidate.is_process(pid)), None)
    if chosen is None:
        return reading
    presumed, span = reading.root, reading.span
    flags = {presumed(chosen.row)}
    if reading.era.root_bonus and chosen.row.uid == 0:
        flags = {False, True}
    fits = [
        (total, flag, era)
        for total in sorted({span.least, span.most or 0} - {0})
        for flag in flags
        for era in (bonuses(report, reading.era) if flag else [reading.era])
        if _score(chosen.task._replace(cap_sys_admin=flag), total, reading._replace(era=era)) == score
    ]
    if len({total for total, *_ in fits}) != 1:
        return reading
    total, capable, era = fits[0]
    task = chosen.task._replace(cap_sys_admin=capable)
    # Of one that adj takes to the floor the score is 0, whatever totalpages.
    if span.most is None and _score(task, 2 * total, reading._replace(era=era)) == score:
        return reading
    settled = reading._replace(span=Span(total, total))
    if len(fits) > 1:
        return settled
    known = chosen.row.pid
    return settled._replace(
        era=era if capable else reading.era,
        bonus_told=capable,
        root=lambda row: capable if row.pid == known else presumed(row),
    )


def _score(task: Scorable, totalpages: int, reading: Reading) -> int | None:
    """The score of "Kill process ... score": per mille of totalpages."""
    points = reading.points(task, totalpages)
    return None if points is None else points * 1000 // totalpages
