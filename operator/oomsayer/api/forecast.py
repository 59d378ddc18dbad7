"""OOMForecast: who dies next on one node, in each of its OOM domains."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from oomsayer.api.advice import MAX_ADVICE, Advice
from oomsayer.api.eviction import MAX_DRIFT, Drift, Eviction
from oomsayer.api.model import (
    Bytes,
    Comm,
    ContainerId,
    ContainerName,
    Count,
    Model,
    ObjectMeta,
    OomScoreAdj,
    Pages,
    Pid,
    PodName,
    PodUid,
    Sentence,
    SignedPages,
    StatusCondition,
    listed_as,
)
from oomsayer.forecast.match import MissReason, Outcome
from oomsayer.kernel.observed import KillSource
from oomsayer.kernel.verdict import Confidence

MAX_DOMAINS = 1024
MAX_ORDER = 16
MAX_KILL_SET = 1024
MAX_RISKS = 1024
MAX_PAST_RISKS = 64
MAX_LAST_KILLS = 16

Path = Annotated[
    str,
    Field(
        max_length=4096,
        description='Cgroup path from the node\'s root; "/": the node; "cpuset.mems=0": its memory node 0.',
    ),
]
ForecastKind = Literal["node", "cpuset", "memcg"]
Human = Annotated[str, Field(max_length=32)]


CONFIDENCE = (
    "high: the margin is beyond doubt; low: too close to tell, or a setting overrules badness; partial: not "
    "all candidates are visible; blocked: a victim is dying already; none: nothing can be killed."
)


class TimeToOOM(Model):
    """When a domain's OOM comes at its present growth."""

    trend: Literal["growing", "not growing", "unknown"] = Field(
        description="Whether the demand for memory grows towards the limit. Only growth has times."
    )
    earliest: AwareDatetime | None = Field(default=None, description="Not before.")
    latest: AwareDatetime | None = Field(
        default=None, description="At the latest; left out where it may as well never come."
    )
    text: Human = Field(
        default="",
        description='For people, as it was when written: "4m-9m", ">40m", "not growing", "<unknown>".',
    )
    confidence: Literal["high", "low"] = Field(description="Whether the range can be relied on.")
    because: tuple[Sentence, ...] = Field(
        default=(), max_length=16, description="What makes it doubtful, or shows that memory is short."
    )


class ForecastProcess(Model):
    """A process and its badness in one domain."""

    pid: Pid
    comm: Comm
    points: SignedPages = Field(description="Badness points in this domain, in pages.")
    oom_score_adj: OomScoreAdj = Field(default=0, description="Its oom_score_adj.")
    pod: PodName = ""
    pod_uid: PodUid = ""
    container: ContainerName = ""
    container_id: ContainerId = ""
    cgroup: Path | None = None


class ForecastKillSet(Model):
    """Who dies with the first victim."""

    pids: tuple[Pid, ...] = Field(
        default=(), max_length=MAX_KILL_SET, description="The victim first, then the others by pid."
    )
    count: Count = Field(default=0, description="How many die, those included that pids does not list.")
    oom_group: Path | None = Field(
        default=None, description="The cgroup that dies as a whole (memory.oom.group), if that is why."
    )


class ForecastDomain(Model):
    """The verdict for one place that can run out of memory."""

    kind: ForecastKind = Field(
        description="The whole node, some of its memory nodes, or a memory cgroup with a limit."
    )
    path: Path
    name: str = Field(
        max_length=4096,
        description='As people read it: "node", "cpuset.mems=0", "pod NAMESPACE/NAME", '
        '"container NAMESPACE/NAME/CONTAINER", or the cgroup path.',
    )
    total_pages: Pages = Field(description="What the kernel scales oom_score_adj by here, in pages.")
    limit_bytes: Bytes | None = Field(default=None, description="The limit that fires first.")
    usage_bytes: Bytes | None = Field(default=None, description="What is charged against it.")
    headroom_bytes: Bytes | None = Field(
        default=None, description="How much it can still grow before its OOM."
    )
    bound_by: str = Field(
        default="",
        max_length=4096,
        description="Name of the level above that runs out first when this domain grows; else left out.",
    )
    time_to_oom: TimeToOOM | None = Field(
        default=None, description="When its OOM comes, at the present growth."
    )
    victim: ForecastProcess | None = Field(default=None, description="Who is taken first.")
    runner_up: ForecastProcess | None = Field(default=None, description="Second in badness.")
    margin_pages: SignedPages | None = Field(default=None, description="Points between the two, in pages.")
    margin_bytes: int | None = Field(default=None, description="The same in bytes.")
    kill_set: ForecastKillSet = Field(default=ForecastKillSet(), description="Who dies with the victim.")
    order: tuple[ForecastProcess, ...] = Field(
        default=(),
        max_length=MAX_ORDER,
        description="The cascade: each next victim, as if the kill set before were gone. Left out for the "
        "domains with the most room on a node of many; their victims are told without ids and cgroup.",
    )
    assumptions: tuple[Sentence, ...] = Field(
        default=(), max_length=64, description="What this verdict rests on, each a sentence."
    )
    confidence: Confidence = Field(description=CONFIDENCE)


class NextVictim(Model):
    """The domain closest to its OOM, in one line."""

    domain: str = Field(max_length=4096, description="That domain's name.")
    domain_kind: Literal["node", "cpuset", "pod", "container", "cgroup"] = Field(
        description="What runs out of memory."
    )
    pid: Pid | None = None
    comm: Comm = ""
    points: SignedPages | None = Field(default=None, description="Badness points, in pages.")
    oom_score_adj: OomScoreAdj | None = Field(default=None, description="Its oom_score_adj.")
    pod: PodName = ""
    pod_uid: PodUid = ""
    container: ContainerName = ""
    container_id: ContainerId = ""
    headroom_bytes: Bytes | None = Field(
        default=None, description="How much the domain can still grow before its OOM."
    )
    headroom: Human = Field(default="", description='The same for people: "38Mi".')
    time_to_oom: TimeToOOM | None = Field(default=None, description="When that comes, at the present growth.")
    margin: Human = Field(default="", description="Lead over the runner-up, for people.")
    confidence: Confidence = Field(description=CONFIDENCE)


class RiskLevel(StrEnum):
    """How near a risk is."""

    WARNING = "warning"
    """Under the policy's threshold, of headroom or of time."""
    CRITICAL = "critical"
    """Under a quarter of either, and from then on until above half."""


class Risk(Model):
    """A victim in a domain near its limit, as it was announced. The operator's memory across restarts."""

    pod: PodName = ""
    pod_uid: PodUid = ""
    container: ContainerName = ""
    domain: Path
    domain_name: str = Field(default="", max_length=4096, description="That domain as people read it.")
    pid: Pid
    comm: Comm
    level: RiskLevel = Field(
        default=RiskLevel.WARNING,
        description="warning: under the policy's threshold of headroom or of time; critical: under a quarter "
        "of either, and from then on until above half.",
    )
    since: AwareDatetime = Field(description="When the risk began.")
    announced: bool = Field(default=False, description="Whether its Event is known to be written.")


class ForecastVictim(Model):
    """Who was to be killed, in few words."""

    pid: Pid
    comm: Comm = ""
    pod: PodName = ""
    container: ContainerName = ""
    margin_bytes: int | None = Field(default=None, description="Its lead over the runner-up.")


class PastRisk(Risk):
    """A risk that has ended lately: a kill that becomes known afterwards is linked with its warning."""

    ended: AwareDatetime = Field(description="When it ended.")


class ScoredKill(Model):
    """One kill of the OOM killer, and what the forecast before it was worth."""

    id: str = Field(max_length=64, description="As the agent reported it.")
    at: AwareDatetime = Field(description="When it was, or was noticed.")
    source: KillSource = Field(
        description="KernelLog, or Counters: memory.events and who is gone, which may leave open who it was."
    )
    pid: Pid | None = None
    comm: Comm = ""
    oom_score_adj: OomScoreAdj | None = Field(default=None, description="Its oom_score_adj.")
    rss_bytes: Bytes | None = Field(default=None, description="What it held.")
    pod: PodName = ""
    pod_uid: PodUid = ""
    container: ContainerName = ""
    container_id: ContainerId = ""
    cgroup: Path | None = None
    domain: Path | None = None
    domain_name: str = Field(
        default="", max_length=4096, description="What ran out of memory, as people read it; empty: unknown."
    )
    deaths: Count = Field(default=1, description="How many processes died, as far as it is known.")
    outcome: Outcome = Field(
        description="Hit: the process foretold; KillSetHit: one of those foretold to die together; Miss; "
        "Unforeseen: no forecast stood; Unknown: what is known does not decide it."
    )
    reason: MissReason | None = Field(default=None, description="Why it missed.")
    foretold: ForecastVictim | None = Field(default=None, description="Who was to be killed.")
    sampled_at: AwareDatetime | None = Field(default=None, description="Of the sample it rested on.")
    warning: str = Field(
        default="", max_length=320, description="NAMESPACE/NAME of the Event that had warned of it."
    )
    warned_since: AwareDatetime | None = Field(default=None, description="Since when it was at risk.")
    exit_code: int | None = Field(
        default=None, description="Of the container, once it has ended; none while it goes on."
    )
    announced: bool = Field(default=False, description="Whether its Event is known to be written.")


class MissReasons(Model):
    """Misses by reason."""

    not_sampled_in_time: Count = Field(default=0, description="Started or grew after the last sample.")
    margin_below_precision: Count = Field(default=0, description="Too close to tell apart.")
    unknown_domain: Count = Field(default=0, description="In a domain that the sample did not know.")
    unexplained: Count = Field(default=0, description="None of these is known to be it.")


class Scorecard(Model):
    """How forecasts of this node have come out, since the operator first saw it."""

    since: AwareDatetime = Field(description="When counting began.")
    kills: Count = Field(default=0, description="Kills observed.")
    hits: Count = Field(default=0, description="The process that was foretold.")
    kill_set_hits: Count = Field(default=0, description="One of those foretold to die together.")
    misses: Count = Field(default=0, description="Another process.")
    unforeseen: Count = Field(default=0, description="No forecast stood.")
    unknown: Count = Field(default=0, description="Not scored: what is known of the kill does not decide it.")
    warned: Count = Field(default=0, description="Of all kills those that a warning had preceded.")
    right: Human = Field(default="", description="Hits of both kinds per scored kill, for people.")
    miss_reasons: MissReasons = Field(default=MissReasons(), description="Why forecasts missed.")
    last: tuple[ScoredKill, ...] = Field(
        default=(), max_length=MAX_LAST_KILLS, description="The last kills, oldest first."
    )


class OOMForecastStatus(Model):
    """What the operator worked out from the node's last report."""

    node: str = Field(default="", max_length=253, description="Name of the node.")
    observed_at: AwareDatetime | None = Field(default=None, description="When the operator worked it out.")
    sampled_at: AwareDatetime | None = Field(
        default=None, description="When the node was sampled, by its clock."
    )
    kernel: str = Field(default="", max_length=128, description="uname -r.")
    era: str = Field(default="", max_length=8, description="Which rules of the OOM killer apply, E0 to E7.")
    next: NextVictim | None = Field(default=None, description="The domain closest to its OOM.")
    domains: tuple[ForecastDomain, ...] = Field(
        default=(), max_length=MAX_DOMAINS, description="The verdict for every OOM domain of the node."
    )
    risks: tuple[Risk, ...] = Field(
        default=(), max_length=MAX_RISKS, description="Risks that have begun and not yet ended."
    )
    eviction: Eviction | None = Field(
        default=None, description="Whom the kubelet would evict, and whether before the kernel kills."
    )
    drift: tuple[Drift, ...] = Field(
        default=(),
        max_length=MAX_DRIFT,
        description="Processes whose oom_score_adj is not what the kubelet gives their container.",
    )
    advice: tuple[Advice, ...] = Field(
        default=(),
        max_length=MAX_ADVICE,
        description="The smallest changes that would spare the pods at risk.",
    )
    past_risks: tuple[PastRisk, ...] = Field(
        default=(), max_length=MAX_PAST_RISKS, description="Risks that have ended in the last minutes."
    )
    scorecard: Scorecard | None = Field(default=None, description="Was it right.")
    conditions: tuple[StatusCondition, ...] = Field(
        default=(),
        max_length=8,
        description="Ready, AtRisk and History.",
        json_schema_extra=listed_as("map", "type"),
    )


class OOMForecast(Model):
    """Who the OOM killer takes next on one node. Named after the node, written by the operator."""

    api_version: Literal["oomsayer.dev/v1alpha1"] = "oomsayer.dev/v1alpha1"
    kind: Literal["OOMForecast"] = "OOMForecast"
    metadata: ObjectMeta
    status: OOMForecastStatus | None = None
