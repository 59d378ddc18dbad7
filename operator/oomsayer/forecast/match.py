"""Was it right: a kill that was observed, held against the verdict that stood before it.

Only what is known counts. Where it is not known which process was killed, a forecast is right if it named
all who are gone, wrong if it named none of them, and else not scored.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum

from oomsayer.kernel.badness import oom_badness
from oomsayer.kernel.domain import within
from oomsayer.kernel.observed import ObservedKill
from oomsayer.kernel.snapshot import ROOT, Snapshot, Task
from oomsayer.kernel.verdict import Kill, Verdict, precision


class Outcome(StrEnum):
    """What came of a forecast."""

    HIT = "Hit"
    """The process that was killed is the one that was foretold."""
    KILL_SET_HIT = "KillSetHit"
    """It is one of those foretold to die together."""
    MISS = "Miss"
    """It is another one; a reason says why."""
    UNFORESEEN = "Unforeseen"
    """No forecast stood."""
    UNKNOWN = "Unknown"
    """What is known of the kill does not decide it: it is not scored."""


class MissReason(StrEnum):
    """Why a forecast missed."""

    NOT_SAMPLED_IN_TIME = "NotSampledInTime"
    """The victim started or grew past the foretold one after the last sample."""
    MARGIN_BELOW_PRECISION = "MarginBelowPrecision"
    """The two were closer than sampling can tell apart."""
    UNKNOWN_DOMAIN = "UnknownDomain"
    """Memory ran out in a domain that the sample did not know: a new cgroup, a cpuset, a memory policy."""
    UNEXPLAINED = "Unexplained"
    """None of these is known to be it: the counters do not tell how big a victim had grown, or the model is
    wrong."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What stood before a kill: the last sample and the verdicts of its domains."""

    snapshot: Snapshot
    told: Sequence[Verdict]


@dataclass(frozen=True, slots=True)
class Match:
    """One kill and its forecast.

    Attributes:
        outcome: what came of it.
        reason: why it missed, None if it did not.
        verdict: the verdict that stood for the domain, None without one.
        foretold: the victim that it named, None where it named none.
    """

    outcome: Outcome
    reason: MissReason | None = None
    verdict: Verdict | None = None
    foretold: Kill | None = None


def match_all(kills: Sequence[ObservedKill], standing: Standing | None) -> list[Match]:
    """Each kill's match: after a kill its domains foretell who is next once its dead are gone."""
    dead: set[int] = set()
    matches: dict[int, Match] = {}
    for place in _in_turn(kills, standing):
        kill = kills[place]
        matches[place] = match(kill, standing, dead)
        dead |= kill.gone | ({kill.pid} if kill.pid is not None else set())
    return [matches[place] for place in range(len(kills))]


def _in_turn(kills: Sequence[ObservedKill], standing: Standing | None) -> Sequence[int]:
    """The places of kills in the order in which they were.

    Counters do not tell it. Then whoever was foretold to be earlier is taken to have been: a forecast is
    right if those killed are the first of its order, whichever of them was first.
    """
    places = range(len(kills))
    if standing is None or any(kill.seconds is not None for kill in kills):
        return places

    def foretold(place: int) -> int:
        kill = kills[place]
        order = [pid for v in _plausible(kill, standing)[:1] for pid in (k.task.pid for k in v.order)]
        return order.index(kill.pid) if kill.pid in order else len(order)

    return sorted(places, key=foretold)


def match(kill: ObservedKill, standing: Standing | None, dead: Collection[int] = ()) -> Match:
    """Hold one kill against what stood before it.

    Args:
        kill: what was observed.
        standing: what stood, None where nothing did.
        dead: pids that were killed after the sample and before this kill.
    """
    if standing is None:
        return Match(Outcome.UNFORESEEN)
    if kill.domain is None and kill.memcg is None:
        return Match(Outcome.UNKNOWN)
    verdicts = _plausible(kill, standing)
    if not verdicts:
        return Match(Outcome.MISS, MissReason.UNKNOWN_DOMAIN)
    matches = [_of_verdict(kill, verdict, standing.snapshot, dead) for verdict in verdicts]
    if len({m.outcome for m in matches}) > 1:
        return Match(Outcome.UNKNOWN)
    return matches[0]


def _plausible(kill: ObservedKill, standing: Standing) -> list[Verdict]:
    """The verdict of the kill's domain; where that is not known, those of all that hold its cgroup."""
    if kill.domain == ROOT and kill.constraint == "MEMCG":
        return []  # a limit around a nested node, which is no domain that it can see
    if kill.domain is not None:
        return [v for v in standing.told if v.domain.path == kill.domain]
    return [v for v in standing.told if within(kill.memcg or ROOT, v.domain.path)]


def _of_verdict(kill: ObservedKill, verdict: Verdict, snapshot: Snapshot, dead: Collection[int]) -> Match:
    # Who dies with an earlier victim may be chosen itself before the end of their PID namespace reaches it.
    late = kill.task.pid if kill.task else None
    foretold = next((k for k in verdict.order if k.task.pid not in dead or late in k.kill_set.pids), None)
    if foretold is None:
        unseen = kill.task is None
        return Match(
            Outcome.MISS, MissReason.NOT_SAMPLED_IN_TIME if unseen else MissReason.UNEXPLAINED, verdict
        )
    outcome = _outcome(kill, foretold)
    reason = _reason(kill, foretold, verdict, snapshot) if outcome is Outcome.MISS else None
    return Match(outcome, reason, verdict, foretold)


def _outcome(kill: ObservedKill, foretold: Kill) -> Outcome:
    together = set(foretold.kill_set.pids)
    if kill.task is not None:
        if _same(kill.task, foretold.task):
            return Outcome.HIT
        return Outcome.KILL_SET_HIT if kill.task.pid in together else Outcome.MISS
    if kill.oom_group is not None and kill.oom_group == foretold.kill_set.oom_group:
        return Outcome.KILL_SET_HIT
    if kill.pid is not None or foretold.task.pid not in kill.gone:
        return Outcome.MISS
    return Outcome.KILL_SET_HIT if kill.gone <= together else Outcome.UNKNOWN


def _same(one: Task, other: Task) -> bool:
    return (one.pid, one.start_time) == (other.pid, other.start_time)


def _reason(kill: ObservedKill, foretold: Kill, verdict: Verdict, snapshot: Snapshot) -> MissReason:
    if kill.constraint in {"CPUSET", "MEMORY_POLICY"}:
        return MissReason.UNKNOWN_DOMAIN
    task = kill.task
    if task is None:
        return MissReason.UNEXPLAINED if kill.gone and kill.pid is None else MissReason.NOT_SAMPLED_IN_TIME
    points = oom_badness(task, verdict.domain.totalpages, snapshot.era, snapshot.memory.page_size)
    if points is None:
        return MissReason.UNEXPLAINED
    lead = foretold.points - points
    if lead <= precision(verdict.domain, snapshot, foretold.task, task):
        return MissReason.MARGIN_BELOW_PRECISION
    if kill.rss_kb is not None:
        grown = kill.rss_kb * 1024 // snapshot.memory.page_size - task.rss_pages
        if grown >= lead:
            return MissReason.NOT_SAMPLED_IN_TIME
    return MissReason.UNEXPLAINED
