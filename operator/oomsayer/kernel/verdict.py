"""Who is chosen in a domain, who dies with the victim, and who is next after that.

Source: select_bad_process() and oom_kill_process() in mm/oom_kill.c.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from oomsayer.kernel.badness import oom_badness, percpu_counter_batch
from oomsayer.kernel.domain import Domain, DomainKind, domains, within
from oomsayer.kernel.era import RssSource, Tie
from oomsayer.kernel.hierarchy import (
    INDEX_BITS,
    INDEX_MASK,
    Hierarchy,
    Shortlist,
    arrange,
    dies_with_sharer,
    shorten,
)
from oomsayer.kernel.oom_kill import (
    OomControl,
    Outcome,
    Scan,
    mem_cgroup_oom,
    out_of_memory,
    pagefault_out_of_memory,
)
from oomsayer.kernel.pidns import takes_its_cgroup
from oomsayer.kernel.snapshot import Snapshot, Task

FIRST_VICTIMS = 16
"""How far the kill order is told by default."""


class Confidence(StrEnum):
    """How far a verdict can be relied on, from the firmest to none; its assumptions say why."""

    HIGH = "high"
    """The margin is beyond what the counters can distinguish."""
    LOW = "low"
    """Victim and runner-up are too close to tell apart, or a setting lets the kernel ignore badness."""
    PARTIAL = "partial"
    """Not every candidate is visible from here."""
    BLOCKED = "blocked"
    """A process is being killed already: the kernel takes no other until it is gone."""
    NONE = "none"
    """Nothing can be killed."""


class Candidate(NamedTuple):
    """A process and its badness in one domain, in pages."""

    task: Task
    points: int


class KillSet(NamedTuple):
    """Who dies together.

    Attributes:
        pids: the victim first, then the others by pid.
        oom_group: path of the cgroup that dies as one, if that is why.
        omitted: how many more members of that group, or of those namespaces, a pruned snapshot does not list.
        reapers: pids among them that are the first of a PID namespace, where it has others.
    """

    pids: tuple[int, ...]
    oom_group: str | None = None
    omitted: int = 0
    reapers: tuple[int, ...] = ()

    @property
    def deaths(self) -> int:
        """How many die, those that are not listed too."""
        return len(self.pids) + self.omitted


class Kill(NamedTuple):
    """One step of the cascade: the victim, flat since a node's verdicts hold thousands, and who else dies."""

    task: Task
    points: int
    wider: KillSet | None = None
    """Who dies, where it is more than the victim."""

    @property
    def victim(self) -> Candidate:
        """Who is chosen."""
        return Candidate(self.task, self.points)

    @property
    def kill_set(self) -> KillSet:
        """Who dies."""
        return self.wider or KillSet((self.task.pid,))


# Of a ready tuple: a call of the class goes through Python, and thousands are made.
_new = tuple.__new__


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an OOM in one domain would do.

    Attributes:
        domain: where memory runs out.
        order: the cascade: each victim with its kill set, as if the one before were gone.
        runner_up: second in badness; it may be in the first kill set.
        confidence: how far to rely on it.
        assumptions: what it rests on, each a sentence.
        chosen: who has the most badness, where a child of its dies in its place (up to 5.0).
    """

    domain: Domain
    order: tuple[Kill, ...]
    runner_up: Candidate | None
    confidence: Confidence
    assumptions: tuple[str, ...] = ()
    chosen: Candidate | None = None

    @property
    def victim(self) -> Candidate | None:
        """The process that is taken first."""
        return self.order[0].victim if self.order else None

    @property
    def kill_set(self) -> KillSet:
        """Who dies first, together."""
        return self.order[0].kill_set if self.order else KillSet(())

    @property
    def margin_pages(self) -> int | None:
        """Badness between the one that is chosen and the runner-up, None without both."""
        chosen = self.chosen or self.victim
        return None if chosen is None or self.runner_up is None else chosen.points - self.runner_up.points


def verdicts(snapshot: Snapshot, depth: int = FIRST_VICTIMS) -> list[Verdict]:
    """The verdict of every domain, the node's first, each with at most `depth` victims."""
    hierarchy = arrange(snapshot, depth)
    return [_verdict(domain, hierarchy, depth) for domain in domains(snapshot)]


def verdict_at(path: str, snapshot: Snapshot, depth: int = FIRST_VICTIMS) -> Verdict | None:
    """The verdict of the domain at `path` alone, "/" being the node's; None where there is none."""
    domain = next((d for d in domains(snapshot) if d.path == path), None)
    return None if domain is None else _verdict(domain, arrange(snapshot, depth), depth)


def ranking(domain: Domain, hierarchy: Hierarchy) -> list[int]:
    """The domain's candidates as entries, the one that select_bad_process() would choose first.

    Only as many as the hierarchy was arranged for.
    """
    entries = _worst(domain, hierarchy)
    if len({entry >> INDEX_BITS for entry in entries}) < len(entries):
        return _ties_as_scanned(entries, domain, hierarchy)
    return entries


def _candidate(entry: int, hierarchy: Hierarchy) -> Candidate:
    return Candidate(hierarchy.snapshot.tasks[entry & INDEX_MASK], entry >> INDEX_BITS)


def _worst(domain: Domain, hierarchy: Hierarchy) -> list[int]:
    """Entries with the domain's points, worst first, the younger of two equals first."""
    shortlist = hierarchy.shortlist(domain)
    shortened = domain.mems is None
    weight = domain.totalpages // 1000 << INDEX_BITS
    least = _least_head(shortlist, weight, hierarchy) if shortened else None
    worst: list[int] = []
    for adj, entries in shortlist.items():
        bonus = adj * weight
        if least is None or entries[-1] + bonus >= least:
            worst += [entry + bonus for entry in entries]
    if not hierarchy.snapshot.era.signed:
        worst = [max(entry, 1 << INDEX_BITS | entry & INDEX_MASK) for entry in worst]
    if shortened:
        shorten(worst, hierarchy.enough, hierarchy)
    else:
        worst.sort()
    worst.reverse()
    return worst


def _least_head(shortlist: Shortlist, weight: int, hierarchy: Hierarchy) -> int | None:
    """Below this the worst of an oom_score_adj, and so all of it, is outdone by enough others."""
    if len(shortlist) <= hierarchy.enough:
        return None
    heads = sorted(entries[-1] + adj * weight for adj, entries in shortlist.items())
    return heads[-hierarchy.enough] >> INDEX_BITS << INDEX_BITS


def _ties_as_scanned(entries: list[int], domain: Domain, hierarchy: Hierarchy) -> list[int]:
    """Order equals by the domain's scan: the node's is by creation, a memory cgroup's walks the tree."""
    by_creation = domain.kind is not DomainKind.MEMCG
    place = INDEX_MASK.__and__ if by_creation else hierarchy.walk
    if hierarchy.snapshot.era.tie is Tie.LAST:
        return sorted(entries, key=lambda entry: (entry >> INDEX_BITS, place(entry)), reverse=True)
    return sorted(entries, key=lambda entry: (-(entry >> INDEX_BITS), place(entry)))


def oom_kill_process(victim: Task, domain: Domain, hierarchy: Hierarchy) -> KillSet | None:
    """Who dies with `victim`; None if nobody.

    Those sharing its memory, and the oom.group it widens to: sharers in any cgroup and at any
    oom_score_adj, while of a group members at -1000 are spared. And where one of them is the first of
    a PID namespace, everybody in that.
    """
    group = hierarchy.oom_group(victim.memcg, domain.cgroup)
    if group is not None:
        pids: Sequence[int] = hierarchy.group_members(group)
    elif victim.mm:
        era = hierarchy.snapshot.era
        pids = sorted(task.pid for task in hierarchy.sharers[victim.mm] if dies_with_sharer(task, era))
    elif victim.pid in hierarchy.namespaces or (hierarchy.snapshot.omitted and takes_its_cgroup(victim)):
        pids = [victim.pid]
    else:
        return None
    return _with_namespaces(victim.pid, pids, group, hierarchy)


def _with_namespaces(victim: int, pids: Sequence[int], group: str | None, hierarchy: Hierarchy) -> KillSet:
    reapers = tuple(pid for pid in pids if pid in hierarchy.namespaces) if hierarchy.namespaces else ()
    if reapers:
        pids = sorted({*pids, *(task.pid for reaper in reapers for task in hierarchy.namespaces[reaper])})
    omitted = 0
    if hierarchy.snapshot.omitted:
        gone = {hierarchy.takers[pid] for pid in pids if pid in hierarchy.takers}
        omitted = hierarchy.omitted_in(gone if group is None else {*gone, group})
    return KillSet(hierarchy.once(_first(victim, pids)), group, omitted, reapers)


def _first(pid: int, pids: Sequence[int]) -> tuple[int, ...]:
    at = pids.index(pid)
    return (pid, *pids[:at], *pids[at + 1 :])


def sacrifice_child(
    chosen: Candidate, domain: Domain, hierarchy: Hierarchy, dead: Collection[int]
) -> Candidate:
    """Up to 5.0: the worst eligible child with a memory of its own dies in its parent's place."""
    snapshot = hierarchy.snapshot
    best: Candidate | None = None
    for child in hierarchy.children.get(chosen.task.pid, ()):
        if child.pid in dead or not within(child.memcg, domain.cgroup):
            continue
        if not domain.may_use(child.mems_allowed):
            continue
        if child.mm and child.mm == chosen.task.mm:
            continue
        points = oom_badness(child, domain.totalpages, snapshot.era, snapshot.memory.page_size)
        if points is not None and (best is None or points > best.points):
            best = Candidate(child, points)
    return best or chosen


def kill_order(ranked: Sequence[int], depth: int, domain: Domain, hierarchy: Hierarchy) -> list[Kill]:
    """The cascade up to `depth` victims: choose, remove the kill set, choose again."""
    if hierarchy.each_dies_alone:
        tasks = hierarchy.snapshot.tasks
        return [
            _new(Kill, (tasks[entry & INDEX_MASK], entry >> INDEX_BITS, None)) for entry in ranked[:depth]
        ]
    order: list[Kill] = []
    dead: set[int] = set()
    for entry in ranked:
        candidate = _candidate(entry, hierarchy)
        # A sacrificed child leaves its parent at the head of the ranking: it is chosen again.
        while candidate.task.pid not in dead:
            if len(order) == depth:
                return order
            victim = candidate
            if hierarchy.snapshot.era.sacrifice_child:
                victim = sacrifice_child(candidate, domain, hierarchy, dead)
            kill = Kill(*victim, oom_kill_process(victim.task, domain, hierarchy))
            dead.update(kill.kill_set.pids)
            order.append(kill)
    return order


def _verdict(domain: Domain, hierarchy: Hierarchy, depth: int) -> Verdict:
    ranked = ranking(domain, hierarchy)
    outcome = presumed_outcome(domain, hierarchy, candidates=bool(ranked))
    if not outcome.kills:
        ranked = []
    order = kill_order(ranked, depth, domain, hierarchy)
    first, runner_up, *_ = (*(_candidate(entry, hierarchy) for entry in ranked[:2]), None, None)
    confidence, assumptions = _confidence(domain, outcome, order, (first, runner_up), hierarchy)
    # Who is worst dies, or a child of its.
    chosen = first if order and first is not None and first.task is not order[0].task else None
    return Verdict(domain, tuple(order), runner_up, confidence, assumptions, chosen)


_PRESUMED = {kind: OomControl(kind) for kind in DomainKind}
"""Made once: a node has hundreds of domains."""


def presumed_outcome(domain: Domain, hierarchy: Hierarchy, *, candidates: bool) -> Outcome:
    """How an OOM there would end, were it to happen now: the rules of oom_kill.py."""
    snapshot = hierarchy.snapshot
    scan = Scan.CHOSEN if candidates else Scan.NOBODY
    if hierarchy.dying(domain) is not None:
        scan = Scan.ABORTED
    refused = mem_cgroup_oom(snapshot.memcgs[domain.path]) if domain.kind is DomainKind.MEMCG else None
    return refused or out_of_memory(_PRESUMED[domain.kind], snapshot.sysctls, scan)


class _Doubt(NamedTuple):
    """Why a verdict may not come true, and the confidence that is left at best."""

    left: Confidence
    reason: str


_BY_DOUBT = tuple(Confidence)
"""From the firmest on, as they are declared: of several doubts the gravest counts."""


def _confidence(
    domain: Domain,
    outcome: Outcome,
    order: Sequence[Kill],
    leading: tuple[Candidate | None, Candidate | None],
    hierarchy: Hierarchy,
) -> tuple[Confidence, tuple[str, ...]]:
    """How far to rely on a verdict, and on what it rests; `leading`: who is chosen, and the runner-up."""
    snapshot = hierarchy.snapshot
    presumed = _presumed(domain, snapshot) if snapshot.memory.nodes or snapshot.cpusets else ()
    doubts = list(_doubts(domain, outcome, order, leading, hierarchy))
    if not doubts:
        return Confidence.HIGH, (*snapshot.gaps, *presumed)
    gravest = max((doubt.left for doubt in doubts), key=_BY_DOUBT.index)
    return gravest, (*snapshot.gaps, *presumed, *(doubt.reason for doubt in doubts))


def _doubts(
    domain: Domain,
    outcome: Outcome,
    order: Sequence[Kill],
    leading: tuple[Candidate | None, Candidate | None],
    hierarchy: Hierarchy,
) -> Iterator[_Doubt]:
    snapshot = hierarchy.snapshot
    first, runner_up = leading
    if first is not None and runner_up is not None:
        margin = first.points - runner_up.points
        hidden = precision(domain, snapshot, first.task, runner_up.task)
        if margin <= hidden:
            yield _Doubt(Confidence.LOW, _too_close(order[0], runner_up, margin, hidden))
    if first is not None and first.task is not order[0].task:
        yield _Doubt(
            Confidence.HIGH,
            f"{first.task.comm} (pid {first.task.pid}) has the most badness: "
            "up to 5.0 a child dies in its place",
        )
    if outcome is Outcome.CURRENT:
        yield _Doubt(Confidence.LOW, outcome.value)
    if domain.kind is not DomainKind.MEMCG and not snapshot.initial_pid_namespace:
        yield _Doubt(
            Confidence.PARTIAL,
            "nested node: it shares the machine's memory with processes that are not seen from here",
        )
    if outcome is Outcome.ABORTED or not order:
        yield from _why_nobody_is_chosen(domain, outcome, hierarchy)


def _why_nobody_is_chosen(domain: Domain, outcome: Outcome, hierarchy: Hierarchy) -> Iterator[_Doubt]:
    dying = hierarchy.dying(domain) if outcome is Outcome.ABORTED else None
    if dying is not None:
        yield _Doubt(
            Confidence.BLOCKED,
            f"pid {dying.pid} ({dying.comm}) is dying: nobody else is chosen until it is gone",
        )
        return
    yield _Doubt(Confidence.NONE, outcome.value)
    if outcome is Outcome.NOBODY and _fault_leads_on(hierarchy.snapshot):
        yield _Doubt(
            Confidence.NONE,
            "before 5.16, and the stable releases that have its fix, a page fault that fails here "
            "may go on to an OOM of the whole node",
        )


def _too_close(first: Kill, runner_up: Candidate, margin: int, hidden: int) -> str:
    together = runner_up.task.pid in first.kill_set.pids
    end = "; they die together either way" if together else ""
    if hidden:
        return f"the margin of {margin} pages is within the {hidden} that swapping can hide{end}"
    return f"victim and runner-up are level: the kernel's order of scan decides{end}"


def _fault_leads_on(snapshot: Snapshot) -> bool:
    node = pagefault_out_of_memory(snapshot.kernel, memcg_waits=False, node=Outcome.KILLED)
    return node is Outcome.KILLED


def _presumed(domain: Domain, snapshot: Snapshot) -> Iterator[str]:
    """What is taken for granted of the process that asks, where memory nodes make a difference."""
    if domain.kind is DomainKind.NODE and snapshot.memory.nodes:
        yield (
            "the process that asks is taken to have no memory policy (numactl) that binds it to memory "
            "nodes: no file shows which have"
        )
    if not snapshot.cpusets:
        return
    if domain.kind is DomainKind.NODE:
        yield "the process that asks is taken to be one whose cpuset allows every memory node"
    elif domain.kind is DomainKind.MEMCG and snapshot.era.memcg_by_mems:
        yield (
            "up to 5.2 processes that share no memory node with the one that asks are passed over: here it "
            "is taken to share one with all"
        )


def _swaps(domain: Domain, snapshot: Snapshot) -> bool:
    """Whether an OOM there comes after swapping, be it in use now or not."""
    memory = snapshot.memory
    if domain.kind is not DomainKind.MEMCG:
        return memory.swap_total_bytes > 0
    limit = snapshot.memcgs[domain.path].max_bytes
    return memory.swap_total_bytes > 0 if limit is None else domain.totalpages > limit // memory.page_size


def precision(domain: Domain, snapshot: Snapshot, one: Task, other: Task) -> int:
    """Up to what difference in pages two processes of a domain cannot be told apart: 0 without swap."""
    if not _swaps(domain, snapshot):
        return 0
    return precision_pages(one, snapshot) + precision_pages(other, snapshot)


def precision_pages(task: Task, snapshot: Snapshot) -> int:
    """How far a counter read from /proc may be from the killer's once pages have been swapped.

    Up to 65 pages a thread where counters are cached by thread (<= 6.1), up to a batch a processor where they
    are per CPU (6.2-6.19), none where the killer adds them up (7.0). Measured on two processors.
    """
    if snapshot.era.since >= (7, 0):
        return 0
    if snapshot.era.rss_source is RssSource.STAT:
        return percpu_counter_batch(snapshot.cpus) * snapshot.cpus
    return 65 * task.threads
