"""What all resources share: camelCase at the edge, Kubernetes' metadata and conditions, bounded numbers."""

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

ACRONYMS = frozenset({"uid", "id"})
"""Words that Kubernetes writes in capitals: podUID, containerID."""
WHOLE_NAMES = {
    "time_to_oom": "timeToOOM",
    "minutes_to_oom": "minutesToOOM",
    "single_process_oom_kill": "singleProcessOOMKill",
}
"""Where an acronym that is a word elsewhere (panicOnOom) is written in capitals."""

Bytes = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""An amount of memory in bytes."""
SignedPages = Annotated[int, Field(ge=-(2**62), le=2**62)]
"""A number of pages; badness may be negative."""
Pages = Annotated[int, Field(ge=0, le=2**62)]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Pid = Annotated[int, Field(ge=1, le=2**22, description="Process id in the node's PID namespace.")]
OomScoreAdj = Annotated[int, Field(ge=-1000, le=1000)]
Comm = Annotated[
    str,
    Field(
        max_length=64,
        description="The process's name as the kernel keeps it, at most 15 bytes; bytes that are no UTF-8 "
        "are written as \\xNN.",
    ),
]
Sentence = Annotated[str, Field(max_length=1024)]
PodName = Annotated[
    str, Field(max_length=320, description="NAMESPACE/NAME; empty for a process outside any pod.")
]
PodUid = Annotated[str, Field(max_length=64, description="UID of that pod.")]
ContainerName = Annotated[str, Field(max_length=253, description="Name of the container.")]
ContainerId = Annotated[
    str, Field(max_length=128, description="The runtime's id of the container, without scheme.")
]


def camel(name: str) -> str:
    """The wire name of a field: pod_uid becomes podUID."""
    if name in WHOLE_NAMES:
        return WHOLE_NAMES[name]
    first, *rest = name.split("_")
    return first + "".join(word.upper() if word in ACRONYMS else word.capitalize() for word in rest)


def listed_as(kind: Literal["set", "map"], *keys: str) -> dict[str, JsonValue]:
    """Schema extras of a list that several writers may merge; all other lists are atomic."""
    extra: dict[str, JsonValue] = {"x-kubernetes-list-type": kind}
    return {**extra, "x-kubernetes-list-map-keys": [*keys]} if keys else extra


def rule(expression: str, *, message: str, field_path: str) -> JsonValue:
    """A CEL rule for the API server; its message names the field and the remedy."""
    return {"rule": expression, "message": message, "fieldPath": field_path}


def rules(*validations: JsonValue) -> dict[str, JsonValue]:
    """Schema extras that make the API server check CEL rules."""
    return {"x-kubernetes-validations": [*validations]}


class Model(BaseModel):
    """A part of a resource. Unknown fields are ignored, so that a newer writer can be read."""

    model_config = ConfigDict(alias_generator=camel, populate_by_name=True, frozen=True, extra="ignore")


class OwnerReference(Model):
    """The object whose deletion deletes this one."""

    api_version: str
    kind: str
    name: str
    uid: str


class ObjectMeta(Model):
    """The part of Kubernetes' metadata that oomsayer reads."""

    name: str
    uid: str | None = None
    generation: int | None = None
    owner_references: tuple[OwnerReference, ...] = ()


_CAMEL_CASE = r"^[A-Z][A-Za-z0-9]*$"


class StatusCondition(Model):
    """One aspect of an object's state, in the form of metav1.Condition."""

    type: str = Field(max_length=316, pattern=_CAMEL_CASE, description="The aspect, in CamelCase.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: int | None = Field(
        default=None, ge=0, description="The metadata.generation that this was decided on."
    )
    last_transition_time: AwareDatetime = Field(description="When status last changed.")
    reason: str = Field(max_length=1024, pattern=_CAMEL_CASE, description="Why, in one CamelCase word.")
    message: str = Field(max_length=32768, description="Why, for people.")
