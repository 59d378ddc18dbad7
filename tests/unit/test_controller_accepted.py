from datetime import timedelta
from typing import Any

from tests.unit.controller_node import NOW

from oomsayer.controller.accepted import verdict


def policy(generation: int, percent: int = 10, **status: object) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "generation": generation},
        "spec": {"thresholds": {"podHeadroomPercent": percent}},
        "status": status,
    }


def test_a_policy_that_is_followed_says_since_when() -> None:
    first = verdict(policy(1), NOW)
    assert first is not None
    assert (first.status, first.observed_generation) == ("True", 1)
    told = first.model_dump(by_alias=True, mode="json")
    assert verdict(policy(1, conditions=[told]), NOW) is None
    later = verdict(policy(2, 20, conditions=[told]), NOW + timedelta(hours=1))
    assert later is not None
    assert (later.observed_generation, later.last_transition_time) == (2, NOW)
    spoilt = verdict(policy(2, 101, conditions=[told]), NOW + timedelta(hours=2))
    assert spoilt is not None
    assert (spoilt.status, spoilt.last_transition_time) == ("False", NOW + timedelta(hours=2))


def test_a_status_that_somebody_spoilt_is_as_good_as_none() -> None:
    assert verdict(policy(1, conditions=[{"type": "Accepted", "status": "Perhaps"}]), NOW) is not None
