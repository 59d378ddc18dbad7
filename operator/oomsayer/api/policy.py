"""OOMPolicy: when to warn, about whom, and how. Optional: without any, these defaults hold."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from oomsayer.api.model import Model, ObjectMeta, StatusCondition, listed_as, rule, rules

MAX_NAMESPACES = 256

Namespace = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Percent = Annotated[int, Field(ge=0, le=100)]


class PolicyNamespaces(Model):
    """Which namespaces' pods it speaks for."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!self.include.exists(name, name in self.exclude)",
                message="spec.namespaces.exclude names a namespace that spec.namespaces.include names too: "
                "take it out of one of them",
                field_path=".exclude",
            )
        )
    )

    include: tuple[Namespace, ...] = Field(
        default=(),
        max_length=MAX_NAMESPACES,
        description="Only these; empty means all.",
        json_schema_extra=listed_as("set"),
    )
    exclude: tuple[Namespace, ...] = Field(
        default=(),
        max_length=MAX_NAMESPACES,
        description="Never these, nothing is published about them.",
        json_schema_extra=listed_as("set"),
    )


class PolicyThresholds(Model):
    """When a domain is near its OOM: by room in percent of its limit, or by time."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *(
                rule(
                    f"self.{field} + self.clearPercent <= 100",
                    message=f"spec.thresholds.clearPercent and {field} are above 100 together, so that a "
                    "risk could never end: lower one of them",
                    field_path=".clearPercent",
                )
                for field in ("podHeadroomPercent", "nodeHeadroomPercent")
            )
        )
    )

    pod_headroom_percent: Percent = Field(
        default=10,
        description="A pod or container is at risk below this headroom; 0: never, not by time either.",
    )
    node_headroom_percent: Percent = Field(
        default=5, description="The node is at risk below this headroom; 0: never, not by time either."
    )
    clear_percent: Percent = Field(
        default=5, description="A risk ends when headroom is above its threshold plus this."
    )
    minutes_to_oom: int = Field(
        default=10,
        ge=0,
        le=1440,
        description="A domain is at risk too when its OOM may come within so many minutes, as it surely "
        "grows; 0 warns by headroom alone.",
    )


class PolicyPublish(Model):
    """What is written about a risk besides the OOMForecast."""

    events: bool = Field(default=True, description="Events when a risk begins and ends.")
    annotations: bool = Field(default=True, description="Annotations on the pods at risk.")


class OOMPolicySpec(Model):
    """What people configure."""

    namespaces: PolicyNamespaces = Field(default=PolicyNamespaces(), description="Which namespaces.")
    thresholds: PolicyThresholds = Field(default=PolicyThresholds(), description="When to warn.")
    publish: PolicyPublish = Field(default=PolicyPublish(), description="What to write.")


class OOMPolicyStatus(Model):
    """Whether the operator follows the policy."""

    conditions: tuple[StatusCondition, ...] = Field(
        default=(), max_length=8, description="Accepted.", json_schema_extra=listed_as("map", "type")
    )


class OOMPolicy(Model):
    """Thresholds and namespaces. A policy that names a namespace beats one for all; ties go by name."""

    api_version: Literal["oomsayer.dev/v1alpha1"] = "oomsayer.dev/v1alpha1"
    kind: Literal["OOMPolicy"] = "OOMPolicy"
    metadata: ObjectMeta
    spec: OOMPolicySpec = Field(default=OOMPolicySpec())
    status: OOMPolicyStatus | None = None
