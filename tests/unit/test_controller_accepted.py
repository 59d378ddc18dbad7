from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from tests.unit.controller_node import NOW

from oomsayer.api.model import StatusCondition
from oomsayer.controller.accepted import verdict as verdict_among
from oomsayer.controller.policy import policies, read_policy


def policy(generation: int, percent: int = 10, **status: object) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "generation": generation},
        "spec": {"thresholds": {"podHeadroomPercent": percent}},
        "status": status,
    }


def verdict(policy: dict[str, Any], now: datetime, **others: dict[str, Any]) -> StatusCondition | None:
    specs = {}
    for name, obj in {"p": policy, **others}.items():
        with suppress(ValueError):
            specs[name] = read_policy(obj)
    return verdict_among(policy, policies(specs), now)


def of_namespaces(*names: str) -> dict[str, Any]:
    return {"metadata": {"name": "p", "generation": 1}, "spec": {"namespaces": {"include": names}}}


def said(condition: StatusCondition | None) -> tuple[str, str, str]:
    assert condition is not None
    return condition.status, condition.reason, condition.message


def test_a_policy_that_another_comes_before_says_so() -> None:
    shop, both, everywhere = of_namespaces("shop"), of_namespaces("bank", "shop"), policy(1)
    conflict = ("False", "Conflict")
    assert said(verdict(everywhere, NOW, z=policy(1), a=shop))[:2] == ("True", "Valid")
    assert said(verdict(everywhere, NOW, b=policy(1))) == (
        *conflict,
        "not in force, since policy b speaks for all namespaces: ties go by name",
    )
    assert said(verdict(shop, NOW, a=both, z=shop, b=policy(1))) == (
        *conflict,
        "not in force, since policy a speaks for namespace shop: ties go by name",
    )
    assert said(verdict(both, NOW, a=shop)) == (
        "True",
        "Valid",
        "the policy is in force, but policy a speaks for namespace shop: ties go by name",
    )


def test_a_policy_for_very_many_namespaces_names_a_few() -> None:
    many = of_namespaces(*(f"{n:062}" for n in range(256)))
    reason, message = said(verdict(many, NOW, **{"a" * 250: many}))[1:]
    assert reason == "Conflict"
    assert message.endswith(", and others for 251 more: ties go by name")
    assert len(message) < 2000


def test_what_another_policy_takes_over_is_told_anew() -> None:
    both = of_namespaces("bank", "shop")
    first = verdict(both, NOW)
    assert first is not None
    told = both | {"status": {"conditions": [first.model_dump(by_alias=True, mode="json")]}}
    assert verdict(told, NOW) is None
    assert said(verdict(told, NOW, a=of_namespaces("shop")))[0] == "True"


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
