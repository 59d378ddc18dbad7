"""Whether an OOMPolicy is followed, said in its own status."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

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
    said = status.condition(
        Condition.ACCEPTED,
        holds=holds,
        reason=reason,
        message=message,
        before=(),
        now=now,
        generation=policy["metadata"].get("generation"),
    )
    before = (policy.get("status") or {}).get("conditions") or ()
    return None if any(_same(condition, said) for condition in before) else said


def _same(stored: Mapping[str, Any], said: StatusCondition) -> bool:
    return (
        stored.get("type") == said.type
        and stored.get("status") == said.status
        and stored.get("reason") == said.reason
        and stored.get("observedGeneration") == said.observed_generation
    )
