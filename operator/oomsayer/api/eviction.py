"""What an OOMForecast says about the kubelet: its eviction, and where its oom_score_adj has drifted."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from oomsayer.api.model import (
    Bytes,
    Comm,
    ContainerName,
    Model,
    OomScoreAdj,
    Pid,
    PodName,
    PodUid,
    Sentence,
)

MAX_EVICTIONS = 8
"""How far down the kubelet's ranking is told."""
MAX_DRIFT = 64
MAX_KILLERS = 8

SignedBytes = Annotated[int, Field(ge=-(2**62), le=2**62)]


class EvictionCandidate(Model):
    """A pod in the order in which the kubelet would evict them."""

    pod: PodName = ""
    pod_uid: PodUid = ""
    priority: int = Field(default=0, ge=-(2**31), le=2**31 - 1, description="spec.priority.")
    working_set_bytes: Bytes = Field(description="What it uses, as the kubelet measures it.")
    request_bytes: Bytes = Field(default=0, description="Its memory request as a whole.")


class Eviction(Model):
    """What the kubelet would do if the node's memory went on shrinking, and whether the kernel is faster."""

    signal: Literal["memory.available", "allocatableMemory.available"] = Field(
        description="The kubelet's signal that is nearest to its threshold."
    )
    available_bytes: SignedBytes = Field(description="What it is now, as the kubelet computes it.")
    threshold_bytes: Bytes = Field(description="The kubelet evicts when less than this is available.")
    grace_seconds: int = Field(default=0, ge=0, description="And has been for so long; 0: a hard threshold.")
    configuration: Literal["node", "defaults"] = Field(
        description="Where the threshold comes from: the node's kubelet, or the defaults of one told nothing."
    )
    order: tuple[EvictionCandidate, ...] = Field(
        default=(),
        max_length=MAX_EVICTIONS,
        description="The pods in the order in which they would be evicted.",
    )
    first: Literal["kubelet", "kernel", "either", "neither", "unknown"] = Field(
        description="Who acts first; neither: memory is not shrinking; unknown: how fast is not known."
    )
    earliest: AwareDatetime | None = Field(default=None, description="The kubelet would not act before.")
    latest: AwareDatetime | None = Field(
        default=None, description="Nor later; none where that may as well be never."
    )
    outrun_bytes_per_second: Bytes | None = Field(
        default=None, description="Growth from which on the kernel may be faster; 0: it always is."
    )
    userspace_killers: tuple[Comm, ...] = Field(
        default=(),
        max_length=MAX_KILLERS,
        description="Programs on the node that kill before both, by rules of their own.",
    )
    summary: Sentence = Field(default="", description="All of it in a sentence.")
    inversion: Sentence = Field(
        default="",
        description="Set where the kernel would take a pod of higher priority than the kubelet evicts.",
    )
    assumptions: tuple[Sentence, ...] = Field(default=(), max_length=8, description="What this rests on.")
    near_since: AwareDatetime | None = Field(
        default=None,
        description="Since when less than the policy's share of the node is left above the threshold.",
    )
    announced: tuple[Annotated[str, Field(max_length=64)], ...] = Field(
        default=(), max_length=4, description="Reasons of the Events that are known to be written for this."
    )


class Drift(Model):
    """A process whose oom_score_adj is not what the kubelet gives its container."""

    pod: PodName = ""
    pod_uid: PodUid = ""
    container: ContainerName = ""
    pid: Pid
    comm: Comm
    oom_score_adj: OomScoreAdj = Field(description="What it has.")
    expected: OomScoreAdj = Field(description="What a container of this pod would get if it started now.")
    whole_container: bool = Field(
        default=False,
        description="All that is known of the container has the same: it was resized in place, or the "
        "runtime's doing; else the process or its parent changed it.",
    )
