from datetime import UTC, datetime, timedelta

import pytest
from tests.unit.controller_node import NOW
from tests.unit.controller_objects import policy, report

from oomsayer.controller.snapshot import ReportError
from oomsayer.controller.state import Seen, State, written_at


def test_a_report_is_news_once() -> None:
    state = State()
    assert state.saw_report(report(), change=False)
    assert not state.saw_report(report(), change=False)
    assert state.saw_report(report("2"), change=True)
    assert state.lost_report("n1")
    assert not state.lost_report("n1")


def test_a_report_that_can_not_be_used_is_kept_with_the_reason() -> None:
    state = State()
    state.saw_report(report(schemaVersion=2), change=True)
    assert isinstance(state.reports["n1"].report, ReportError)


@pytest.mark.parametrize(
    ("written", "arrived", "age"),
    [
        (NOW - timedelta(minutes=20), None, timedelta(minutes=20)),
        (NOW - timedelta(minutes=20), 400.0, timedelta(seconds=100)),
        (NOW + timedelta(minutes=20), None, timedelta()),
        (NOW + timedelta(minutes=20), 400.0, timedelta(seconds=100)),
    ],
    ids=["found in a list", "seen to change", "the API server's clock is ahead", "ours was set back since"],
)
def test_the_age_of_a_report_is_none_of_the_nodes_clocks_business(
    written: datetime, arrived: float | None, age: timedelta
) -> None:
    assert Seen(ReportError("x"), "1", written, arrived).age(NOW, 500.0) == age


@pytest.mark.parametrize(("behind", "seconds"), [(0, 0), (4, 4), (540, 30), (-60, 0)])
def test_how_long_an_agent_waited_is_believed_within_reason(behind: int, seconds: int) -> None:
    state = State()
    sampled = NOW - timedelta(seconds=behind)
    said = report(sampledAt=sampled.isoformat())
    said["metadata"]["managedFields"] = [{"time": NOW.isoformat()}]
    state.saw_report(said, change=True)
    assert state.reports["n1"].delay == timedelta(seconds=seconds)


def test_when_an_object_was_written() -> None:
    fields = [{"time": "2026-11-24T09:00:00Z"}, {"time": "2026-11-24T10:00:00Z"}, {}]
    metadata = {"creationTimestamp": "2026-11-20T00:00:00Z", "managedFields": fields}
    assert written_at(metadata) == NOW
    assert written_at({"creationTimestamp": "2026-11-24T10:00:00Z"}) == NOW
    assert written_at({}) == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_policy_changes_what_holds_only_by_its_spec() -> None:
    state = State()
    assert state.saw_policy(policy("p", 20))
    assert not state.saw_policy(policy("p", 20) | {"status": {}})
    assert state.policies.for_pod("shop").headroom_percent == 20
    assert state.saw_policy(policy("p", 30))
    assert state.lost_policy("p")
    assert state.policies.for_pod("shop").headroom_percent == 10


def test_a_policy_that_does_not_validate_holds_nothing_but_is_remembered() -> None:
    state = State()
    state.saw_policy(policy("p", 20))
    assert state.saw_policy(policy("p", 2000))
    assert state.policies.for_pod("shop").headroom_percent == 10
    assert "p" in state.policy_objects
