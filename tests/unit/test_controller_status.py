from datetime import timedelta

import pytest
from tests.unit.controller_node import MI, NOW
from tests.unit.controller_objects import status

from oomsayer.api.forecast import OOMForecastStatus
from oomsayer.api.vocabulary import Condition, ConditionReason
from oomsayer.controller.status import REFRESH, at_risk, condition, wire, worth_writing


def test_the_first_status_is_written() -> None:
    assert worth_writing(None, status())
    assert worth_writing(OOMForecastStatus(node="n1"), status())


def test_what_merely_fluctuates_is_not() -> None:
    assert not worth_writing(status(), status(redis=101, free=5990, after=timedelta(minutes=14)))


@pytest.mark.parametrize(
    "after",
    [status(redis=180), status(redis=480), status(web=300), status(free=300), status(after=REFRESH)],
    ids=["another victim", "a risk", "an eighth less room", "less room on the node", "time to show life"],
)
def test_what_means_something_is(after: OOMForecastStatus) -> None:
    assert worth_writing(status(), after)


def test_a_risk_that_was_announced_is_written() -> None:
    before = status(redis=490)
    announced = tuple(r.model_copy(update={"announced": True}) for r in before.risks)
    assert worth_writing(before, before.model_copy(update={"risks": announced}))


def test_near_the_limit_one_percent_of_it_is_news() -> None:
    assert worth_writing(status(redis=500), status(redis=508))
    assert not worth_writing(status(redis=500), status(redis=503))


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    reason, later = ConditionReason.FRESH, NOW + timedelta(hours=1)
    first = condition(Condition.READY, holds=True, reason=reason, message="m", before=(), now=NOW)
    same = condition(Condition.READY, holds=True, reason=reason, message="n", before=(first,), now=later)
    other = condition(Condition.READY, holds=None, reason=reason, message="n", before=(first,), now=later)
    assert (same.last_transition_time, same.message) == (NOW, "n")
    assert (other.last_transition_time, other.status) == (later, "Unknown")


def test_at_risk_names_a_few_domains_and_counts_the_rest() -> None:
    (risk,) = status(redis=490).risks
    many = [risk.model_copy(update={"domain_name": f"pod {n}"}) for n in range(5)]
    assert at_risk(many, (), NOW).message == "near their OOM: pod 0, pod 1, pod 2 and 2 more"
    assert at_risk((), (), NOW).status == "False"


def test_a_written_status_reads_back_as_itself() -> None:
    before = status(redis=490)
    assert OOMForecastStatus.model_validate(wire(before)) == before
    assert wire(before)["next"]["headroomBytes"] == 22 * MI
