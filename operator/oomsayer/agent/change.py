"""Whether what is true now is worth a write to the API server.

A forecast has to be right at the moment of the OOM. Near a limit that moment may be the next one, so
every difference counts; with half of the memory free, whoever grows until then decides, and two idle
workers that swap ranks by a page mean nothing. So a difference weighs by the room left in its domain,
and each weight has a budget of writes of its own:

    weight    which differences                                              writes
    URGENT    under 10 % of room: another victim, a lower band; an OOM       5 at once, then one in 2 s
              within two minutes; a kill
    ORDINARY  another victim, anywhere; a domain came, went or was resized;  3 at once, then one in 10 s
              an OOM within a quarter of an hour
    MINOR     anything else that a reader may want to see                    6 at once, then one in 300 s

A victim that is ahead of the one told by less than a sixteenth of the room, and the order behind the
victim, weigh one step less. A calm node has MINOR differences alone, and since the heartbeat draws on
their budget it writes once in 300 s in the long run: 0.0034 writes a second.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from math import inf

from oomsayer.api.budget import Bucket
from oomsayer.forecast.headroom import Headroom
from oomsayer.forecast.oomtime import Sureness
from oomsayer.forecast.prospect import Prospect
from oomsayer.kernel.badness import oom_badness
from oomsayer.kernel.domain import Domain
from oomsayer.kernel.snapshot import ROOT, Snapshot, Sysctls, Task
from oomsayer.kernel.verdict import Verdict
from oomsayer.kubelet.cgroups import is_pod
from oomsayer.kubelet.config import DEFAULTS, KubeletConfig, threshold_bytes

BANDS = (0.5, 0.25, 0.1, 0.05, 0.025, 0.01)
"""Shares of the limit that are left: crossing one is told, so that the headroom read in a report is at most
two and a half times what it is, down to the last of them."""

RISE = 1.2
"""A band is left upward only this far above its edge, so that usage around an edge is not told each time."""

NEAR = 0.1
"""Under this share of room a domain is near its OOM."""

ROOMY = 0.5
"""From this share on, what ranks now says little about the moment of the OOM."""

SLACK = 16
"""A lead under room/SLACK is what ordinary growth on the way to the limit may turn round."""

SOON_SECONDS = 120.0
COMING_SECONDS = 900.0
"""An OOM expected within these is told as what it is: urgent, ordinary. One farther away can wait."""
MOVED = 0.25
"""Of the room before eviction: by so much a pod's use must have changed to be told anew."""
LEAST_MOVED_BYTES = 16 << 20
"""And by so much at least."""

TOLD_VICTIMS = 4
"""How far down the kill order a difference is worth a write."""

HEARTBEAT_SECONDS = 300.0
"""A report is never older than this, however calm the node."""

Identity = tuple[int, int]
"""Pid and start time: a process, and not another that was given its number."""


class Weight(IntEnum):
    """How soon a difference has to be told."""

    NOTHING = 0
    MINOR = 1
    ORDINARY = 2
    URGENT = 3

    def less(self) -> "Weight":
        """One step down."""
        return Weight(max(self - 1, Weight.NOTHING))


@dataclass(frozen=True, slots=True)
class Change:
    """The weightiest difference.

    Attributes:
        weight: how soon it has to be told.
        what: it in words, for the log.
    """

    weight: Weight
    what: str


NO_CHANGE = Change(Weight.NOTHING, "nothing changed")


@dataclass(frozen=True, slots=True)
class Due:
    """When an OOM is surely on its way: from when until when, in seconds since the epoch."""

    earliest: float
    latest: float

    @property
    def expected(self) -> float:
        """A moment well within."""
        return (self.earliest + self.latest) / 2


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one domain stands.

    Attributes:
        domain: the domain.
        share: headroom as a share of the limit, None where it is not known.
        headroom_bytes: likewise.
        victims: the first TOLD_VICTIMS of its kill order.
        comm: the first one's name; a container's first process starts under the runtime's.
        group: path of the cgroup that dies with the first, if one does.
        deaths: how many processes die in all.
        due: when its OOM is on its way, None where it is not for sure.
    """

    domain: Domain
    share: float | None
    headroom_bytes: int | None
    victims: tuple[Identity, ...]
    comm: str
    group: str | None
    deaths: int
    due: Due | None = None

    @property
    def weight(self) -> Weight:
        """What another victim weighs here."""
        if self.share is None or self.share >= ROOMY:
            return Weight.MINOR
        return Weight.URGENT if self.share < NEAR else Weight.ORDINARY


@dataclass(frozen=True, slots=True)
class Usage:
    """What the kubelet evicts by.

    Attributes:
        share: what may still be used before the kubelet's hard threshold, by its own measure, as a share of
            the machine's memory; None where not known.
        room_bytes: the same in bytes.
        pods: working set of each pod in bytes, by the path of its cgroup.
    """

    share: float | None = None
    room_bytes: int = 0
    pods: Mapping[str, int] = field(default_factory=dict)

    @property
    def weight(self) -> Weight:
        """What another use of memory weighs: the kubelet looks every ten seconds, so none is urgent."""
        return Weight.MINOR if self.share is None or self.share >= ROOMY else Weight.ORDINARY


@dataclass(frozen=True, slots=True)
class State:
    """All that is compared of one sample: by path of the domain, where it stands."""

    standings: Mapping[str, Standing]
    sysctls: Sysctls
    taken_at: float = 0.0
    usage: Usage = field(default_factory=Usage)
    kills: int = 0
    """How many kills were seen."""

    @property
    def near(self) -> bool:
        """Whether some domain is near its OOM, by room or by time."""
        soon = self.taken_at + SOON_SECONDS
        return any(
            (s.share is not None and s.share < NEAR) or (s.due is not None and s.due.earliest < soon)
            for s in self.standings.values()
        )


def state(
    snapshot: Snapshot,
    told: Sequence[Verdict],
    rooms: Mapping[str, Headroom],
    ahead: Mapping[str, Prospect],
    kubelet: KubeletConfig = DEFAULTS,
    *,
    kills: int = 0,
) -> State:
    """What a sample comes to.

    Args:
        snapshot: the sample.
        told: the verdicts of this very snapshot.
        rooms: of every domain, by path.
        ahead: where every domain is heading, by path.
        kubelet: the kubelet's configuration, as far as it is known.
        kills: how many kills were seen so far.
    """
    standings = {v.domain.path: _standing(v, rooms, ahead, snapshot.taken_at) for v in told}
    return State(standings, snapshot.sysctls, snapshot.taken_at, _usage(snapshot, kubelet), kills)


def _usage(snapshot: Snapshot, kubelet: KubeletConfig) -> Usage:
    root = snapshot.memcgs.get(ROOT)
    if root is None or root.working_set_bytes is None:
        return Usage()
    total = snapshot.memory.total_bytes
    room = max(total - root.working_set_bytes - (threshold_bytes(kubelet.eviction_hard, total) or 0), 0)
    pods = {
        path: memcg.working_set_bytes
        for path, memcg in snapshot.memcgs.items()
        if memcg.working_set_bytes is not None and is_pod(path)
    }
    return Usage(room / total, room, pods)


def _standing(
    verdict: Verdict, rooms: Mapping[str, Headroom], ahead: Mapping[str, Prospect], taken_at: float
) -> Standing:
    path = verdict.domain.path
    room = rooms[path]
    victims = tuple(
        (kill.victim.task.pid, kill.victim.task.start_time) for kill in verdict.order[:TOLD_VICTIMS]
    )
    comm = verdict.victim.task.comm if verdict.victim else ""
    dying = verdict.kill_set
    return Standing(
        verdict.domain,
        room.share,
        room.headroom_bytes,
        victims,
        comm,
        dying.oom_group,
        dying.deaths,
        _due(ahead[path], taken_at),
    )


def _due(prospect: Prospect, taken_at: float) -> Due | None:
    time = prospect.time
    if time.sureness is not Sureness.HIGH or time.earliest is None or time.latest is None:
        return None
    return Due(taken_at + time.earliest, taken_at + time.latest)


def band(share: float, before: int | None = None) -> int:
    """How many of BANDS a share of room is below, where it was `before` the last time it was told."""
    below = sum(share < edge for edge in BANDS)
    if before is None or below >= before:
        return below
    while before > below and share >= BANDS[before - 1] * RISE:
        before -= 1
    return before


def compare(told: State, now: State, snapshot: Snapshot) -> Change:
    """The weightiest difference between what was told and what is.

    Args:
        told: what the last report said.
        now: what is true.
        snapshot: what `now` was made of.
    """
    if told.kills != now.kills:
        return Change(Weight.URGENT, "a process was killed")
    worst = NO_CHANGE
    if told.sysctls != now.sysctls:
        worst = Change(Weight.ORDINARY, "a vm setting changed")
    present = _Present(snapshot)
    for path, standing in now.standings.items():
        change = max(
            _difference(told.standings.get(path), standing, present),
            _time(told.standings.get(path), standing, snapshot.taken_at),
            key=lambda change: change.weight,
        )
        if change.weight > worst.weight:
            worst = change
    usage = _evictions(told.usage, now.usage)
    if usage.weight > worst.weight:
        worst = usage
    if worst.weight < Weight.ORDINARY:
        gone = next((path for path in told.standings if path not in now.standings), None)
        if gone is not None:
            worst = Change(Weight.ORDINARY, f"{gone} is gone")
    return worst


def _evictions(told: Usage, now: Usage) -> Change:
    """Whether the kubelet may come to evict another pod, or sooner."""
    if told.share is None or now.share is None:
        same = (told.share is None) is (now.share is None)
        return NO_CHANGE if same else Change(now.weight, "the room before eviction became known or unknown")
    before = band(told.share)
    if band(now.share, before) != before:
        return Change(now.weight, f"room before eviction from {told.share:.1%} to {now.share:.1%}")
    if told.pods.keys() != now.pods.keys():
        return Change(now.weight, "a pod came or went")
    moved = max(now.room_bytes * MOVED, LEAST_MOVED_BYTES)
    path = next((path for path, used in now.pods.items() if abs(used - told.pods[path]) > moved), None)
    return NO_CHANGE if path is None else Change(now.weight, f"{path} uses another amount of memory")


@dataclass(frozen=True)
class _Present:
    """A sample whose processes can be asked for.

    They are arranged when the first is asked for: most samples ask for none.
    """

    snapshot: Snapshot

    @cached_property
    def tasks(self) -> Mapping[Identity, Task]:
        """By identity."""
        return {(task.pid, task.start_time): task for task in self.snapshot.tasks}

    def points(self, identity: Identity, domain: Domain) -> int | None:
        """The badness of a process in a domain, in pages; None where it is gone or never chosen."""
        task = self.tasks.get(identity)
        snapshot = self.snapshot
        if task is None:
            return None
        return oom_badness(task, domain.totalpages, snapshot.era, snapshot.memory.page_size)


def _difference(told: Standing | None, now: Standing, present: _Present) -> Change:
    path = now.domain.path
    if told is None:
        return Change(max(now.weight, Weight.ORDINARY), f"{path} is new")
    if told.domain.totalpages != now.domain.totalpages:
        return Change(max(now.weight, Weight.ORDINARY), f"{path} was resized")
    return max((_victims(told, now, present), _headroom(told, now)), key=lambda change: change.weight)


def _headroom(told: Standing, now: Standing) -> Change:
    path = now.domain.path
    if told.share is None or now.share is None:
        same = (told.share is None) is (now.share is None)
        return NO_CHANGE if same else Change(now.weight, f"{path}: headroom became known or unknown")
    before = band(told.share)
    after = band(now.share, before)
    if after == before:
        return NO_CHANGE
    what = f"{path}: headroom from {told.share:.1%} to {now.share:.1%}"
    if now.share < NEAR:
        return Change(Weight.URGENT if after > before else Weight.ORDINARY, what)
    return Change(Weight.ORDINARY if told.share < NEAR else Weight.MINOR, what)


def _time(told: Standing | None, now: Standing, moment: float) -> Change:
    """Whether the OOM comes at another time than told: when what was told is out of the range of now."""
    before = told.due if told else None
    if before == now.due or (
        before is not None and now.due is not None and now.due.earliest <= before.expected <= now.due.latest
    ):
        return NO_CHANGE
    soonest = min((due.earliest - moment for due in (before, now.due) if due is not None), default=inf)
    path = now.domain.path
    weight = Weight.ORDINARY if soonest < COMING_SECONDS else Weight.MINOR
    if now.due is None:
        return Change(weight, f"{path}: no OOM is on its way any more")
    what = f"{path}: its OOM comes in {now.due.earliest - moment:.0f} to {now.due.latest - moment:.0f} s"
    return Change(Weight.URGENT if soonest < SOON_SECONDS else weight, what)


def _victims(told: Standing, now: Standing, present: _Present) -> Change:
    path = now.domain.path
    if told.victims[:1] != now.victims[:1]:
        return Change(_weight_of_another_victim(told, now, present), f"{path}: another victim")
    if told.comm != now.comm:
        return Change(now.weight, f"{path}: the victim has another name")
    if told.group != now.group:
        return Change(now.weight, f"{path}: another group dies with the victim")
    if told.victims != now.victims:
        return Change(now.weight.less(), f"{path}: another order behind the victim")
    if told.deaths != now.deaths:
        return Change(now.weight.less(), f"{path}: another number of processes dies with the victim")
    return NO_CHANGE


def _weight_of_another_victim(told: Standing, now: Standing, present: _Present) -> Weight:
    if not told.victims or not now.victims:
        return max(now.weight, Weight.ORDINARY)
    behind = present.points(told.victims[0], now.domain)
    ahead = present.points(now.victims[0], now.domain)
    if behind is None or ahead is None:
        return max(now.weight, Weight.ORDINARY)
    lead_bytes = (ahead - behind) * present.snapshot.memory.page_size
    within_slack = now.headroom_bytes is not None and lead_bytes * SLACK < now.headroom_bytes
    return max(now.weight.less(), Weight.MINOR) if within_slack else max(now.weight, Weight.ORDINARY)


class Decider:
    """Remembers what was told and decides whether to speak again."""

    def __init__(self, clock: Callable[[], float], heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        """`clock` is monotonic, in seconds."""
        self._clock = clock
        self._heartbeat_seconds = heartbeat_seconds
        self._told: State | None = None
        self._told_at = 0.0
        self._buckets = {
            Weight.URGENT: Bucket(5, 2.0),
            Weight.ORDINARY: Bucket(3, 10.0),
            Weight.MINOR: Bucket(6, heartbeat_seconds),
        }

    def told(self, state: State) -> None:
        """A report of this state was accepted."""
        self._told = state
        self._told_at = self._clock()

    def decide(self, now: State, snapshot: Snapshot) -> Change | None:
        """What makes a report due now, None if nothing does or the budget of its weight is used up."""
        if self._told is None:
            return Change(Weight.URGENT, "first report")
        moment = self._clock()
        change = compare(self._told, now, snapshot)
        if change.weight is not Weight.NOTHING and self._buckets[change.weight].take(moment):
            return change
        if moment - self._told_at >= self._heartbeat_seconds:
            self._buckets[Weight.MINOR].take(moment)
            return Change(Weight.MINOR, "heartbeat")
        return None
