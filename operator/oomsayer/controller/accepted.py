"""Whether an OOMPolicy is followed, said in its own status."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from oomsayer.api.model import StatusCondition
from oomsayer.api.vocabulary import Condition, ConditionReason
from oomsayer.controller import status
from oomsayer.controller.policy import read_policy


def verdict(policy: Mapping[str, Any], now: datetime) -> StatusCondition | None:
    """The Accepted condition of a policy, None where its status says the same already."""
    try:
        read_policy(policy)
        holds, reason, message = True, ConditionReason.VALID, "the policy is in force"
    except ValueError as error:
        holds, reason, message = False, ConditionReason.INVALID_POLICY, f"ignored: {error}"
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
        and stored.get("observedGeneration") == said.observed_generation
    )
