"""Whether an OOMPolicy is followed, said in its own status."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from oomsayer.api.model import StatusCondition
from oomsayer.api.vocabulary import Condition, ConditionReason
from oomsayer.controller import status
from oomsayer.controller.policy import ALL, Policies, read_policy

_SHOWN = 5
"""How many namespaces a message names."""


def verdict(policy: Mapping[str, Any], all_policies: Policies, now: datetime) -> StatusCondition | None:
    """The Accepted condition of a policy, None where its status says the same already.

    Args:
        policy: as the API server gave it.
        all_policies: those that validate, it among them if it does.
        now: the time.
    """
    holds, reason, message = _judged(policy, all_policies)
    told = (policy.get("status") or {}).get("conditions") or ()
    stored = _readable(told)
    said = status.condition(
        Condition.ACCEPTED,
        holds=holds,
        reason=reason,
        message=message,
        before=stored,
        now=now,
        generation=policy["metadata"].get("generation"),
    )
    return None if any(_same(condition, said) for condition in told) else said


def _judged(policy: Mapping[str, Any], all_policies: Policies) -> tuple[bool, ConditionReason, str]:
    """Whether it is followed, and why; one in force for some of its namespaces is."""
    try:
        read_policy(policy)
    except ValueError as error:
        return False, ConditionReason.INVALID_POLICY, f"ignored: {error}"
    name = policy["metadata"]["name"]
    overruled = sorted(all_policies.overruled(name).items())
    if not overruled:
        return True, ConditionReason.VALID, "the policy is in force"
    others = ", ".join(_spoken_for(place, other) for place, other in overruled[:_SHOWN])
    if len(overruled) > _SHOWN:
        others += f", and others for {len(overruled) - _SHOWN} more"
    if len(overruled) < len(all_policies.places(name)):
        return True, ConditionReason.VALID, f"the policy is in force, but {others}: ties go by name"
    return False, ConditionReason.CONFLICT, f"not in force, since {others}: ties go by name"


def _spoken_for(place: str, policy: str) -> str:
    return f"policy {policy} speaks for {'all namespaces' if place == ALL else f'namespace {place}'}"


def _readable(told: Iterable[Mapping[str, Any]]) -> list[StatusCondition]:
    """The conditions that a status has; one that somebody has spoilt is as good as none."""
    try:
        return [StatusCondition.model_validate(condition) for condition in told]
    except ValidationError:
        return []


def _same(stored: Mapping[str, Any], said: StatusCondition) -> bool:
    return (
        stored.get("type") == said.type
        and stored.get("status") == said.status
        and stored.get("reason") == said.reason
        and stored.get("message") == said.message
        and stored.get("observedGeneration") == said.observed_generation
    )
