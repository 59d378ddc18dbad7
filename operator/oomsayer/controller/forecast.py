"""What an OOMForecast says about a node: every domain's verdict with its room and its names. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, cast

from oomsayer.api.forecast import (
    MAX_DOMAINS,
    ForecastDomain,
    ForecastKillSet,
    ForecastKind,
    ForecastProcess,
    NextVictim,
    TimeToOOM,
)
from oomsayer.api.quantity import binary
from oomsayer.controller.ahead import time_to_oom
from oomsayer.controller.names import Names
from oomsayer.forecast.headroom import Headroom, headroom
from oomsayer.forecast.oomtime import UNKNOWN, OomTime, Sureness
from oomsayer.forecast.prospect import Prospect
from oomsayer.kernel.snapshot import Snapshot, Task
from oomsayer.kernel.verdict import FIRST_VICTIMS, Candidate, KillSet, Verdict, verdicts
from oomsayer.kubelet.cgroups import Owner, owner

FULL_ORDERS_BYTES = 32 * 1024
"""Above this size of all domains, those with the most room keep victim and runner-up by name alone, and not
the kill order: every node's forecast is in etcd, and each write of it for some minutes more."""
PIDS_SHOWN = 256
"""Of a kill set; its count tells the rest."""
FAR_PIDS_SHOWN = 16
"""The same of a domain with much room on a crowded node."""

_SENTENCES_SHOWN = 64
_SENTENCE_CHARACTERS = 1024
_NEVER_CLOSE = float("inf")
_CLOSE_SECONDS = 3600.0
"""Sure to come in an hour is as close as an empty domain, in half of one as half of its room."""

DomainWord = Literal["node", "cpuset", "pod", "container", "cgroup"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """One domain: what an OOM there would do, how far away it is, and what it is called.

    Attributes:
        verdict: who dies.
        room: how much it can still grow.
        kind: what people call such a domain.
        name: what people call this one.
        whose: the pod and container that the domain belongs to.
        time: when its OOM comes.
        told_time: the same as the forecast tells it, None where nothing was watched.
        bound_by: name of the level above that runs out first, "" where it does itself.
    """

    verdict: Verdict
    room: Headroom
    kind: DomainWord
    name: str
    whose: Owner
    time: OomTime = UNKNOWN
    told_time: TimeToOOM | None = None
    bound_by: str = ""

    @property
    def path(self) -> str:
        """Path of the memory cgroup, "/" for the node."""
        return self.verdict.domain.path


def judge(snapshot: Snapshot) -> list[tuple[Verdict, Headroom]]:
    """The verdict and the room of every domain, the node's first."""
    return [(v, headroom(v.domain, snapshot)) for v in verdicts(snapshot, FIRST_VICTIMS)]


def outlooks(
    judged: Sequence[tuple[Verdict, Headroom]], names: Names, ahead: Mapping[str, Prospect], now: datetime
) -> list[Outlook]:
    """Put names to verdicts, and what is ahead of each domain.

    Args:
        judged: verdicts and rooms.
        names: of pods and containers.
        ahead: by path of the domain.
        now: when this is told.
    """
    called = {verdict.domain.path: names.domain(verdict.domain) for verdict, _ in judged}
    result = []
    for verdict, room in judged:
        path = verdict.domain.path
        kind, name = called[path]
        outlook = Outlook(verdict, room, cast("DomainWord", kind), name, owner(path))
        if path in ahead:
            told, binds = time_to_oom(ahead[path], now), ahead[path].binds
            bound_by = "" if binds == path else called[binds][1]
            outlook = replace(outlook, time=ahead[path].time, told_time=told, bound_by=bound_by)
        result.append(outlook)
    return result


def wanted(judged: Iterable[tuple[Verdict, Headroom]]) -> set[Owner]:
    """The pods and containers that a forecast needs names for: domains, victims and runners-up."""
    paths = {verdict.domain.path for verdict, _ in judged}
    for verdict, _ in judged:
        paths.update(kill.victim.task.memcg for kill in verdict.order)
        if verdict.runner_up is not None:
            paths.add(verdict.runner_up.task.memcg)
    owners = {owner(path) for path in paths}
    return {whose for whose in owners if whose.pod_uid is not None}


def closeness(outlook: Outlook) -> tuple[float, int]:
    """Sorts domains by how near their OOM is: by room as a share of the limit, or by time where that is sure.

    Of two that are level the deeper comes first: a charge is tried at the leaf and then upwards, so
    the lower limit refuses it. Unknown room sorts last.
    """
    share = _NEVER_CLOSE if outlook.room.share is None else outlook.room.share
    time = outlook.time
    if time.earliest is not None and time.sureness is Sureness.HIGH:
        share = min(share, time.earliest / _CLOSE_SECONDS)
    return (share, -outlook.path.count("/"))


def next_victim(domains: Iterable[Outlook], names: Names, page_size: int) -> NextVictim | None:
    """The domain closest to its OOM, in one line; one where somebody can be killed comes first."""
    ranked = sorted(domains, key=lambda o: (o.verdict.victim is None, *closeness(o)))
    if not ranked:
        return None
    first = ranked[0]
    line = NextVictim(
        domain=first.name,
        domain_kind=first.kind,
        headroom_bytes=room_bytes(first.room),
        headroom="" if first.room.headroom_bytes is None else binary(max(first.room.headroom_bytes, 0)),
        time_to_oom=first.told_time,
        confidence=first.verdict.confidence,
    )
    victim = first.verdict.victim
    if victim is None:
        return line
    place = names.place(victim.task.memcg)
    return line.model_copy(
        update={
            "pid": victim.task.pid,
            "comm": victim.task.comm,
            "points": victim.points,
            "oom_score_adj": victim.task.oom_score_adj,
            "pod": place.pod_name,
            "pod_uid": place.pod_uid,
            "container": place.container,
            "container_id": place.container_id,
            "margin": _margin(first.verdict, page_size),
        }
    )


def forecast_domains(domains: Sequence[Outlook], names: Names, page_size: int) -> tuple[ForecastDomain, ...]:
    """Every domain with its verdict: the node first, then by path; kill orders as far as size allows."""
    near_first = sorted(domains, key=lambda o: (o.kind != "node", *closeness(o)))[:MAX_DOMAINS]
    shown = {}
    size = 0
    for outlook in near_first:
        domain = _domain(outlook, names, page_size)
        if size > FULL_ORDERS_BYTES:
            domain = _far(domain)
        size += len(domain.model_dump_json(by_alias=True, exclude_none=True))
        shown[outlook.path] = domain
    return tuple(shown[outlook.path] for outlook in domains if outlook.path in shown)


def _far(domain: ForecastDomain) -> ForecastDomain:
    """A domain in few words: its victims' ids and cgroups would be two thirds of it."""
    kill_set = domain.kill_set
    return domain.model_copy(
        update={
            "order": (),
            "victim": _by_name(domain.victim),
            "runner_up": _by_name(domain.runner_up),
            "kill_set": kill_set.model_copy(update={"pids": kill_set.pids[:FAR_PIDS_SHOWN]}),
        }
    )


def _by_name(process: ForecastProcess | None) -> ForecastProcess | None:
    unsaid = {"pod_uid": "", "container_id": "", "cgroup": None}
    return None if process is None else process.model_copy(update=unsaid)


def room_bytes(room: Headroom) -> int | None:
    """Headroom as people read it: never below zero."""
    return None if room.headroom_bytes is None else max(room.headroom_bytes, 0)


def _domain(outlook: Outlook, names: Names, page_size: int) -> ForecastDomain:
    verdict, room = outlook.verdict, outlook.room
    margin = verdict.margin_pages
    return ForecastDomain(
        kind=cast("ForecastKind", verdict.domain.kind.value),
        path=verdict.domain.path,
        name=outlook.name,
        total_pages=verdict.domain.totalpages,
        limit_bytes=room.limit_bytes,
        usage_bytes=room.usage_bytes,
        headroom_bytes=room_bytes(room),
        bound_by=outlook.bound_by,
        time_to_oom=outlook.told_time,
        victim=_process(verdict.victim, names),
        runner_up=_process(verdict.runner_up, names),
        margin_pages=margin,
        margin_bytes=None if margin is None else margin * page_size,
        kill_set=_kill_set(verdict.kill_set),
        order=tuple(_step(kill.victim, names) for kill in verdict.order),
        assumptions=tuple(a[:_SENTENCE_CHARACTERS] for a in verdict.assumptions[:_SENTENCES_SHOWN]),
        confidence=verdict.confidence,
    )


def _process(candidate: Candidate | None, names: Names) -> ForecastProcess | None:
    if candidate is None:
        return None
    place = names.place(candidate.task.memcg)
    return _step(candidate, names).model_copy(
        update={
            "pod_uid": place.pod_uid,
            "container_id": place.container_id,
            "cgroup": candidate.task.memcg,
        }
    )


def _step(candidate: Candidate, names: Names) -> ForecastProcess:
    """One line of the kill order: without the ids, which would triple its size."""
    task: Task = candidate.task
    place = names.place(task.memcg)
    return ForecastProcess(
        pid=task.pid,
        comm=task.comm,
        points=candidate.points,
        oom_score_adj=task.oom_score_adj,
        pod=place.pod_name,
        container=place.container,
    )


def _kill_set(kill_set: KillSet) -> ForecastKillSet:
    return ForecastKillSet(
        pids=kill_set.pids[:PIDS_SHOWN],
        count=kill_set.deaths,
        oom_group=kill_set.oom_group,
    )


def _margin(verdict: Verdict, page_size: int) -> str:
    return "" if verdict.margin_pages is None else binary(verdict.margin_pages * page_size)
