"""What an OOM report tells of its circumstances: what ran out, under which rules, by which totalpages.

Each answer that the report does not give is left open, and said in words.
"""

import re
from dataclasses import replace
from math import gcd
from typing import NamedTuple

from oomsayer.kernel import nodelist
from oomsayer.kernel.domain import DomainKind, constrained_alloc, mem_cgroup_get_max
from oomsayer.kernel.era import ERAS, Era, RootBonus, detect, era_named, release_version, stable_release
from oomsayer.kernel.report import PAGE_SIZES_KB, Limit, OomReport
from oomsayer.kernel.snapshot import ROOT, Memcg, Memory, Sysctls

ENDLESS = 2**50
"""Pages that stand for any amount of swap."""
_USUAL_PAGE = 4096
_SURELY = 1_000_000
_LONG_MAX = 2**63 - 1
_OLDEST_RULES = (3, 6)
_BONUS_OF_PAGES = (3, 14)
_BONUS_CHANGED = ((3, 10, 30), (3, 12, 11), (3, 13, 3))
_SUMMARY_SINCE = (5, 0)
_STATS_OF_CHILDREN_UNTIL = (5, 2)
_SIGNED_STABLE = (5, 4, 144)
_UBUNTU_SIGNED = 96
"""Ubuntu's 5.4.0-96 is of January 2022; the kernels for clouds count from 1000 on."""
_UBUNTU_CLOUD_FROM = 1000
_UBUNTU_CLOUD_SIGNED = 1070


class Span(NamedTuple):
    """Totalpages between two bounds, `most` None for no upper one; equal bounds for a known value."""

    least: int
    most: int | None

    @property
    def known(self) -> int | None:
        """Totalpages, None where it is between the bounds."""
        return self.least if self.least == self.most else None


class Missing:
    """Collects what a report does not tell; a missing part of the report makes it incomplete."""

    def __init__(self, report: OomReport) -> None:
        self.complete = True
        self._sentences: dict[str, None] = {}
        if report.header is None:
            self.part("header: who asked for memory (cut off, or held back by the kernel's rate limit)")
        self._table(report)
        chosen = report.summary or report.chosen
        if not report.ended:
            told = who_was_killed(report)
            self.part("kill: the line Killed process" if told else "kill: no line says who was killed")
        elif report.killed and report.columns and not chosen and report.since >= _SUMMARY_SINCE:
            self.part("summary: the line oom-kill:constraint=...")
        if report.summary is not None and report.summary.pid is None:
            self.part("summary: the end of the line oom-kill:constraint=..., which was cut")
        if report.rows and report.killed and report.row_of(_first(report)) is None:
            self.part("task table: no row of the killed process, so it was cut")

    def _table(self, report: OomReport) -> None:
        if not report.rows:
            empty = (
                "task table: no rows"
                if report.columns
                else "task table: none (vm.oom_dump_tasks, or cut off)"
            )
            if report.columns and report.no_killable:
                self.add(empty)
            else:
                self.part(empty)
        elif not report.columns:
            self.part("task table: its header, so the columns are taken from their number")
        if report.rows_dropped:
            self.part(f"task table: {report.rows_dropped} rows beyond the first {len(report.rows)}")
        if report.rows_left_out:
            self.part("task table: the rows that were left out where it was copied")

    def part(self, sentence: str) -> None:
        """A part of the report is missing."""
        self.complete = False
        self.add(sentence)

    def add(self, sentence: str) -> None:
        """Something is not known that no report tells."""
        self._sentences[sentence] = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """All that is not known, each once."""
        return tuple(self._sentences)


def _first(report: OomReport) -> int:
    return report.leader(report.killed[0].pid)


def who_was_killed(report: OomReport) -> tuple[tuple[int, str], ...]:
    """Who died: the kernel's lines; where those are missing, whom its summary or its reaper names."""
    if report.killed:
        return tuple((killed.pid, killed.comm) for killed in report.killed)
    if report.exiting or report.panicked or report.no_killable:
        return ()
    summary = report.summary
    if summary and summary.pid is not None:
        return ((summary.pid, summary.comm or ""),)
    return (report.reaped,) if report.reaped else ()


def victim_pid(report: OomReport) -> int | None:
    """The pid of the kernel's victim, in the table the process of a thread that was printed."""
    killed = who_was_killed(report)
    if killed:
        return report.leader(killed[0][0])
    if report.exiting:
        return report.exiting[0]
    return None


def page_size_of(report: OomReport, missing: Missing) -> int:
    """From figures printed both in pages and in kB, from the free lists, from an unlimited counter."""
    for killed in report.killed:
        row = report.row_of(report.leader(killed.pid))
        if row and row.total_vm and killed.total_vm_kb:
            ratio = killed.total_vm_kb / row.total_vm
            for size in PAGE_SIZES_KB:
                if abs(ratio - size) < size * 0.1:
                    return size * 1024
    if report.buddy_kb in PAGE_SIZES_KB:
        return report.buddy_kb * 1024
    if report.unlimited_kb is not None:
        for size in PAGE_SIZES_KB[1:]:
            if report.unlimited_kb == _LONG_MAX // (size * 1024) * size:
                return size * 1024
        return _USUAL_PAGE
    if report.rows:
        size = _page_of_page_tables(report)
        told = (
            "nothing tells it"
            if size == _USUAL_PAGE
            else "not printed, but all page tables are multiples of it"
        )
        missing.add(f"page size: {told}, taken as {size} bytes")
        return size
    return _USUAL_PAGE


def _page_of_page_tables(report: OomReport) -> int:
    """What divides the bytes of everybody's page tables, since they are made of pages.

    By chance that is a larger page than it was with one of some million tables.
    """
    sizes = [row.pgtables for row in report.rows.values() if row.pgtables]
    if "pgtables_bytes" not in report.columns:
        return _USUAL_PAGE
    common = gcd(*sizes)
    fits = (kb * 1024 for kb in reversed(PAGE_SIZES_KB) if common and common % (kb * 1024) == 0)
    size = next(fits, _USUAL_PAGE)
    return size if (size // _USUAL_PAGE) ** len(sizes) > _SURELY else _USUAL_PAGE


_CONSTRAINTS = {"CPUSET": DomainKind.CPUSET, "MEMORY_POLICY": DomainKind.MEMPOLICY}


def what_ran_out(report: OomReport, missing: Missing) -> tuple[DomainKind | None, str | None]:
    """The kind of the OOM domain, and the path of the cgroup, "/" for the node, or the cpuset's name."""
    summary = report.summary
    # Early 5.x prints CONSTRAINT_NONE for a memory cgroup too: the cgroup named beside it decides.
    path = summary.oom_memcg if summary and summary.oom_memcg is not None else report.oom_memcg
    if path is not None:
        if path == report.oom_memcg and _of_any_stats(report):
            missing.add("domain: the first statistics told may be of a child, as what goes before is cut off")
        return DomainKind.MEMCG, path
    if (summary and summary.constraint == "MEMCG") or report.memcg_words:
        missing.part("domain: the path of the memory cgroup")
        return DomainKind.MEMCG, None
    if summary:
        kind = _CONSTRAINTS.get(summary.constraint, DomainKind.NODE)
        return kind, {DomainKind.NODE: ROOT, DomainKind.CPUSET: summary.cpuset}.get(kind)
    if report.sysrq:
        return DomainKind.NODE, ROOT
    if report.node_words:
        return _old_node(report, missing)
    missing.part("domain: nothing tells what ran out")
    return None, None


def _of_any_stats(report: OomReport) -> bool:
    """Whether nothing but statistics names the cgroup: up to 5.2 its children's follow its own."""
    named = report.header is not None or report.task_memcg is not None or report.memory is not None
    return not named and report.until <= _STATS_OF_CHILDREN_UNTIL


def _old_node(report: OomReport, missing: Missing) -> tuple[DomainKind | None, str | None]:
    """Before 5.0 the constraint is not printed: the nodes that the request could use tell it."""
    nodes = frozenset(report.node_present_kb)
    allowed = nodelist.parse(report.mems_allowed or "")
    if not nodes and report.header is not None and report.mems_allowed not in (None, "0"):
        missing.add(
            "constraint: no zones are listed, so a cpuset's OOM would look alike; taken as the node's"
        )
    kind = constrained_alloc(
        nodes, nodemask=nodelist.parse(report.nodemask or "") or None, mems_allowed=allowed or None
    )
    return kind, {DomainKind.NODE: ROOT, DomainKind.CPUSET: report.cpuset}.get(kind)


def rules_of(report: OomReport, missing: Missing) -> tuple[Era | None, str | None, tuple[Era, ...]]:
    """The rules to read by, the era's name where only one fits, and the other eras that fit."""
    version = release_version(report.kernel or "")
    if version is None:
        return _era_by_format(report, missing)
    if version < _OLDEST_RULES:
        missing.add(f"rules: kernel {report.kernel} is older than any known here")
        return None, None, ()
    if report.kernel_cut:
        missing.add("kernel release: the line ends with it, so it may have been cut")
    detection = detect(report.kernel or "")
    for doubt in detection.doubts:
        missing.add(doubt)
    era = _without_child_step(detection.era, report)
    if version < _BONUS_OF_PAGES:
        era = replace(era, root_bonus=_root_bonus(report.kernel or ""))
    if stable_release(report.kernel or "") >= _SIGNED_STABLE and version == _SIGNED_STABLE[:2]:
        era = era_named("E5")
    elif _ubuntu_with_signed_badness(report.kernel or ""):
        missing.add(
            "stable release: Ubuntu's number hides it; taken as 5.4.144 or later, with signed badness"
        )
        era = era_named("E5")
    return era, era.name, ()


def _ubuntu_with_signed_badness(release: str) -> bool:
    """Whether a release of Ubuntu's 5.4 is surely from after stable 5.4.144 (September 2021)."""
    match = re.match(r"5\.4\.0-(\d{1,4})-", release)
    if match is None:
        return False
    number = int(match[1])
    return number >= (_UBUNTU_CLOUD_SIGNED if number >= _UBUNTU_CLOUD_FROM else _UBUNTU_SIGNED)


def _root_bonus(release: str) -> RootBonus:
    """The likelier one before 3.14: its change went to the stable kernels of February 2014 and to RHEL 7."""
    stable = stable_release(release)
    # Ubuntu 14.04 counts its own 3.13.0: its first kernel, 3.13.0-24, is of April 2014.
    vendor = re.match(r"3\.13\.0-\d\d|3\.10\.0-\d{3,}.*\.el7", release)
    if vendor or any(stable[:2] == changed[:2] and stable >= changed for changed in _BONUS_CHANGED):
        return RootBonus.OF_PAGES
    return RootBonus.OF_TOTALPAGES


def bonuses(report: OomReport, era: Era) -> list[Era]:
    """The rules, and those with the other root bonus where the report does not tell which is in force.

    The change of 3.14 went to stable kernels and to vendors' too.
    """
    version = release_version(report.kernel or "") or report.since
    if era.root_bonus is None or version >= _BONUS_OF_PAGES:
        return [era]
    return [era, *(replace(era, root_bonus=other) for other in RootBonus if other is not era.root_bonus)]


def _without_child_step(era: Era, report: OomReport) -> Era:
    """Vendors took the step out earlier: a "Killed process" line with its reason in front proves it."""
    if era.sacrifice_child and report.killed_prefixed and report.chosen is None:
        return replace(era, sacrifice_child=False) if era.root_bonus else era_named("E3")
    return era


def _era_by_format(report: OomReport, missing: Missing) -> tuple[Era | None, str | None, tuple[Era, ...]]:
    since, until = report.since, report.until
    # A vendor's kernel: its table is as old as the rest, newer lines were brought in.
    since = min(since, until)
    # 3.6 has forms of old beside the table of today: by that alone it is told from those before.
    if until < _OLDEST_RULES or (until == _OLDEST_RULES and "nr_ptes" not in report.columns):
        missing.add("rules: the report's form is older than any known here")
        return None, None, ()
    fitting = [
        era
        for era, following in zip(ERAS, [*(e.since for e in ERAS[1:]), (999, 0)], strict=True)
        if era.since <= until and following > since
    ]
    eras = list(dict.fromkeys(_without_child_step(era, report) for era in fitting))
    era = eras[-1]
    only = era.name if len(eras) == 1 else None
    span = era.releases if only else f"{eras[0].name} to {era.name}"
    missing.part(
        f"kernel release: not printed; by its format {span}" + ("" if only else f", read as {era.name}")
    )
    return era, only, tuple(eras[:-1])


def totalpages_of(
    report: OomReport, kind: DomainKind | None, page_size: int, era: Era | None, missing: Missing
) -> Span:
    """Totalpages of the domain, or between which bounds it lies."""
    if kind is DomainKind.MEMCG:
        return _memcg_totalpages(report, page_size, missing)
    if kind is None:
        return Span(0, None)
    if report.swap_total_kb is None:
        missing.part("total swap: the line is not there")
    swap = None if report.swap_total_kb is None else report.swap_total_kb * 1024 // page_size
    if kind is DomainKind.NODE:
        if report.ram_pages is None or report.reserved_pages is None:
            missing.part("RAM: the lines 'pages RAM' and 'pages reserved' are not both there")
            return Span(0, None)
        ram = max(report.ram_pages - report.reserved_pages, 0)
    else:
        ram_or_none = _present(report, kind, page_size, era, missing)
        if ram_or_none is None:
            return Span(0, None)
        ram = ram_or_none
    return Span(ram, None) if swap is None else Span(ram + swap, ram + swap)


def _present(
    report: OomReport, kind: DomainKind | None, page_size: int, era: Era | None, missing: Missing
) -> int | None:
    """Pages present on the nodes that the request could use."""
    summary = report.summary
    if kind is DomainKind.CPUSET:
        listed = summary.mems_allowed if summary else report.mems_allowed
    else:
        listed = summary.nodemask if summary else report.nodemask
    nodes = nodelist.parse(listed or "")
    if not nodes or not nodes <= set(report.node_present_kb):
        missing.part("RAM: the zones of the allowed nodes are not all there")
        return None
    if era is not None and era.counts_holes:
        missing.add("RAM: up to 5.3 the kernel counts holes too, which are not printed; taken without")
    return sum(report.node_present_kb[node] for node in nodes) * 1024 // page_size


def _memcg_totalpages(report: OomReport, page_size: int, missing: Missing) -> Span:
    if report.memory is None:
        missing.part("limit: the line 'memory: usage ..., limit ...' is not there")
        return Span(1, None)
    swap_kb = report.swap_total_kb if report.swap_total_kb is not None else report.swap_total_before_kb
    if swap_kb is not None:
        most = _memcg_max(report, page_size, swap_kb * 1024)
        if most != _memcg_max(report, page_size, 0):
            missing.add("swappiness: not printed, taken as above 0")
        return Span(most, most)
    # The machine has at least the swap that the cgroup uses: where that is all it may use, no more counts.
    least = _memcg_max(report, page_size, _swap_in_use(report))
    most = _memcg_max(report, page_size, ENDLESS * page_size)
    return Span(least, None if most >= ENDLESS else most)


def _swap_in_use(report: OomReport) -> int:
    """Bytes of swap charged to the memory cgroup, by its counters."""
    if report.swap is not None:
        return report.swap.usage_kb * 1024
    if report.memory is None or report.memsw is None:
        return 0
    return max(report.memsw.usage_kb - report.memory.usage_kb, 0) * 1024


def _memcg_max(report: OomReport, page_size: int, swap_bytes: int) -> int:
    memcg = Memcg(
        "/memcg",
        max_bytes=_bytes(report.memory),
        swap_max_bytes=_bytes(report.swap),
        memsw_max_bytes=_bytes(report.memsw),
    )
    memory = Memory(page_size, total_bytes=0, swap_total_bytes=swap_bytes)
    return mem_cgroup_get_max(memcg, memory, Sysctls())


def _bytes(limit: Limit | None) -> int | None:
    return None if limit is None or limit.limit_kb is None else limit.limit_kb * 1024


def without_swap(report: OomReport, kind: DomainKind | None, span: Span, missing: Missing) -> Span:
    """Totalpages of a memory cgroup whose report does not tell the machine's swap.

    Where nothing at all is swapped, no swap is the plain reading; where something is, there is no telling.
    """
    if kind is not DomainKind.MEMCG or span.known is not None or report.memory is None:
        return span
    if _swapped(report):
        missing.add("total swap: a memory cgroup's report does not tell it, so totalpages is not known")
        return span
    missing.add("total swap: a memory cgroup's report does not tell it; taken as none, as nothing is swapped")
    return Span(span.least, span.least)


def _swapped(report: OomReport) -> bool:
    if any(row.swap_pages for row in report.rows.values()):
        return True
    return _swap_in_use(report) > 0
