from datetime import timedelta

from tests.unit.controller_node import BACKUP, NOW, REDIS, UID

from oomsayer.api.forecast import Risk
from oomsayer.api.vocabulary import EventReason
from oomsayer.controller.events import (
    CLUSTER_BURST,
    OBJECT_BURST,
    OBJECT_SECONDS,
    SAME_RISK_SECONDS,
    EventBudget,
    Subject,
    event,
    event_name,
    held_back,
    reason,
    subjects,
)

NODE = Subject("Node", "n1", uid="node-uid")
POD = Subject("Pod", "cart-0", "shop", UID)
OWN = Risk(pod="shop/cart-0", pod_uid=UID, container="redis", domain=REDIS, pid=101, comm="redis", since=NOW)
SHARED = OWN.model_copy(update={"domain": "/"})
HOST = Risk(domain=BACKUP, pid=60, comm="backup", since=NOW)


def test_a_pods_own_limit_is_the_pods_affair_and_the_nodes_is_the_nodes() -> None:
    assert subjects(OWN, NODE) == (POD, NODE)
    assert subjects(SHARED, NODE) == (NODE, POD)
    assert subjects(HOST, NODE) == (NODE, None)
    assert [reason(r) for r in (OWN, SHARED, HOST)] == [
        EventReason.RISK, EventReason.NODE_RISK, EventReason.NODE_RISK
    ]  # fmt: skip


def test_a_static_pods_events_have_the_uid_that_its_kubelet_gives_them() -> None:
    config_hash = "0123456789abcdef0123456789abcdef"
    domain = f"/kubepods.slice/kubepods-pod{config_hash}.slice"
    mirrored = OWN.model_copy(update={"domain": domain, "pod_uid": "of-its-mirror"})
    assert subjects(mirrored, NODE) == (Subject("Pod", "cart-0", "shop", config_hash), NODE)


def test_an_event_has_all_that_the_api_asks_for() -> None:
    assert event(OWN, EventReason.RISK, "note", node=NODE).body("operator-0", NOW) == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": event_name(OWN, EventReason.RISK, POD), "namespace": "shop"},
        "eventTime": "2026-11-24T10:00:00.000000Z",
        "type": "Warning",
        "reason": "OOMRisk",
        "action": "Forecasting",
        "note": "note",
        "regarding": {"apiVersion": "v1", "kind": "Pod", "name": "cart-0", "namespace": "shop", "uid": UID},
        "related": {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "node-uid"},
        "reportingController": "oomsayer.dev/operator",
        "reportingInstance": "operator-0",
    }


def test_events_about_nodes_go_to_the_namespace_default_and_endings_are_normal() -> None:
    body = event(HOST, EventReason.RISK_ENDED, "note", node=NODE).body("i" * 200, NOW)
    assert (body["metadata"]["namespace"], body["type"]) == ("default", "Normal")
    assert len(body["reportingInstance"]) == 128
    assert "related" not in body


def test_the_name_follows_from_the_risk_alone() -> None:
    name = event_name(OWN, EventReason.RISK, POD)
    fluctuating = {"pid": 9, "comm": "x", "announced": True}
    assert event_name(OWN.model_copy(update=fluctuating), EventReason.RISK, POD) == name
    others = [
        event_name(OWN, EventReason.RISK_ENDED, POD),
        event_name(OWN.model_copy(update={"container": "web"}), EventReason.RISK, POD),
        event_name(OWN.model_copy(update={"pod_uid": "other"}), EventReason.RISK, POD),
        event_name(
            OWN.model_copy(update={"since": NOW + timedelta(seconds=1)}),
            EventReason.RISK,
            POD,
        ),
        event_name(SHARED, EventReason.NODE_RISK, NODE),
    ]
    assert len({name, *others}) == 6
    assert name.startswith("cart-0.")


def test_a_risk_that_begins_again_at_once_is_told_when_its_span_is_over() -> None:
    told = OWN.model_copy(update={"announced": True})
    again = OWN.model_copy(update={"since": NOW + timedelta(seconds=240)})
    later = OWN.model_copy(update={"since": NOW + timedelta(seconds=SAME_RISK_SECONDS)})
    now = NOW + timedelta(seconds=250)
    assert held_back(again, (told,), now) == SAME_RISK_SECONDS - 250
    assert held_back(again, (told,), NOW + timedelta(seconds=SAME_RISK_SECONDS)) == 0
    for risk, past in ((again, (OWN,)), (again, ()), (later, (told,)), (again, (SHARED,))):
        assert held_back(risk, past, now) == 0


def test_the_longest_name_of_an_object_leaves_room_for_the_events() -> None:
    assert len(event_name(OWN, EventReason.RISK, Subject("Pod", "p" * 253, "shop"))) <= 253


def test_a_name_cut_at_a_hyphen_is_still_a_name() -> None:
    assert "-." not in event_name(OWN, EventReason.RISK, Subject("Pod", f"{'p' * 229}-0", "shop"))


def pod(name: str) -> Subject:
    return Subject("Pod", name, "shop")


def test_one_object_gets_a_burst_and_then_one_in_a_while() -> None:
    budget = EventBudget()
    assert [budget.wait(pod("a"), 0.0) for _ in range(OBJECT_BURST)] == [0.0] * OBJECT_BURST
    assert budget.wait(pod("a"), 0.0) == OBJECT_SECONDS
    assert budget.wait(pod("b"), 0.0) == 0.0
    assert budget.wait(pod("a"), OBJECT_SECONDS) == 0.0
    assert budget.wait(pod("a"), OBJECT_SECONDS) == OBJECT_SECONDS


def test_the_cluster_gets_no_more_than_its_burst_either() -> None:
    budget = EventBudget()
    waits = [budget.wait(pod(str(n)), 0.0) for n in range(CLUSTER_BURST + 1)]
    assert waits[-2:] == [0.0, 1.0]


def test_the_budget_forgets_objects_that_have_been_quiet() -> None:
    budget = EventBudget()
    for n in range(50):
        budget.wait(pod(str(n)), 0.0)
    budget.wait(pod("late"), OBJECT_BURST * OBJECT_SECONDS + 1)
    assert len(budget.objects) == 1
