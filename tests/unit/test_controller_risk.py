from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.controller_node import (
    BACKUP,
    CART,
    KUBEPODS,
    MI,
    NAMES,
    NOW,
    POD,
    REDIS,
    REDIS_ID,
    UID,
    WEB,
    leak,
    node,
    seen,
    task,
)

from oomsayer.api.forecast import Risk, RiskLevel
from oomsayer.api.policy import OOMPolicySpec
from oomsayer.controller.names import Names
from oomsayer.controller.policy import Policies, policies
from oomsayer.controller.risk import Scope, ended, risks, rules_for, scope
from oomsayer.kernel.snapshot import Snapshot
from oomsayer.kubelet.cgroups import owner

DEFAULTS = Policies()
LATER = NOW + timedelta(minutes=7)


def now_at_risk(
    snapshot: Snapshot, before: tuple[Risk, ...] = (), book: Policies = DEFAULTS, names: Names = NAMES
) -> tuple[Risk, ...]:
    moment = LATER if before else NOW
    return risks(seen(snapshot, names), before, names, book, moment)


def test_a_node_with_room_everywhere_has_no_risk() -> None:
    assert now_at_risk(node()) == ()


def test_a_container_under_its_threshold_puts_its_victim_at_risk() -> None:
    (risk,) = now_at_risk(node(redis=490))
    assert (risk.pod, risk.pod_uid, risk.container) == ("shop/cart-0", UID, "redis")
    assert (risk.domain, risk.domain_name) == (REDIS, "container shop/cart-0/redis")
    assert (risk.pid, risk.comm, risk.since, risk.announced) == (101, "redis", NOW, False)


@pytest.mark.parametrize(
    ("redis", "at_risk"), [(461, True), (437, True), (430, False)], ids=["over", "between", "under"]
)
def test_a_risk_ends_only_above_threshold_plus_clear_percent(redis: int, *, at_risk: bool) -> None:
    before = now_at_risk(node(redis=490))
    assert bool(now_at_risk(node(redis=redis), before)) is at_risk


def test_between_the_two_bounds_nothing_begins() -> None:
    assert now_at_risk(node(redis=437)) == ()


def test_a_risk_that_goes_on_keeps_its_beginning_and_that_it_was_announced() -> None:
    before = tuple(r.model_copy(update={"announced": True}) for r in now_at_risk(node(redis=490)))
    (risk,) = now_at_risk(node(redis=495), before)
    assert (risk.since, risk.announced) == (NOW, True)
    assert ended(before, (risk,)) == []


def used(snapshot: Snapshot, path: str, mebibytes: int) -> Snapshot:
    """The same with another usage of one cgroup."""
    memcgs = dict(snapshot.memcgs)
    memcgs[path] = replace(memcgs[path], usage_bytes=mebibytes * MI)
    return replace(snapshot, memcgs=memcgs)


def test_a_container_and_its_pod_near_their_limits_are_one_risk() -> None:
    (risk,) = now_at_risk(used(node(redis=300, web=1010), POD, 1530))
    assert (risk.container, risk.domain) == ("web", POD)


def test_two_containers_near_their_limits_are_two_risks() -> None:
    both = now_at_risk(node(redis=500, web=1010))
    assert sorted(r.container for r in both) == ["redis", "web"]


def test_a_risk_stays_with_its_domain_while_another_is_hardly_nearer() -> None:
    snapshot = node(redis=400, web=1000)
    before = now_at_risk(snapshot)
    (risk,) = before
    assert risk.domain == WEB
    nearer = used(snapshot, POD, 1502)
    (still,) = now_at_risk(nearer, before)
    assert still.domain == WEB
    much = used(snapshot, POD, 1535)
    (moved,) = now_at_risk(much, before)
    assert (moved.domain, moved.since) == (POD, NOW)


def test_critical_is_a_quarter_of_the_threshold_and_leaves_at_half_of_it() -> None:
    (warning,) = now_at_risk(node(redis=490))
    (critical,) = now_at_risk(node(redis=505), (warning,))
    (sticky,) = now_at_risk(node(redis=490), (critical,))
    (calm,) = now_at_risk(node(redis=480), (sticky,))
    assert [r.level for r in (warning, critical, sticky, calm)] == [
        RiskLevel.WARNING, RiskLevel.CRITICAL, RiskLevel.CRITICAL, RiskLevel.WARNING
    ]  # fmt: skip


def test_node_and_kubepods_together_are_one_risk_for_the_pod_they_take() -> None:
    snapshot = node(redis=300, web=300, free=100)
    low = used(snapshot, KUBEPODS, 8100)
    (risk,) = now_at_risk(low)
    assert scope(risk.domain) is Scope.NODE
    assert risk.pod == "shop/cart-0"


def test_a_host_process_is_at_risk_without_a_pod() -> None:
    (risk,) = now_at_risk(node(backup=2000))
    assert (risk.pod, risk.pod_uid, risk.comm, risk.domain) == ("", "", "backup", BACKUP)


def test_another_victim_ends_the_risk_and_begins_another() -> None:
    snapshot = node(redis=300, web=200, free=100)
    before = now_at_risk(snapshot)
    hog = replace(snapshot, tasks=(*snapshot.tasks, task(99, "hog", "/system.slice", 5000, 1000)))
    current = now_at_risk(hog, before)
    assert [r.comm for r in current] == ["hog"]
    assert [r.comm for r in ended(before, current)] == ["redis"]


def test_while_a_victim_is_dying_nothing_begins_and_nothing_ends() -> None:
    before = now_at_risk(node(redis=490))
    dying = replace(task(104, "fork", REDIS, 1), in_flight=True)
    calm = node(redis=100)
    blocked = replace(calm, tasks=(*calm.tasks, dying))
    assert now_at_risk(blocked, before) == before
    tight = node(redis=490)
    assert now_at_risk(replace(tight, tasks=(*tight.tasks, dying))) == ()


def test_a_pod_without_a_name_waits_until_it_has_one() -> None:
    assert now_at_risk(node(redis=490), names=Names()) == ()


def test_a_container_that_will_never_have_a_name_is_not_waited_for() -> None:
    nameless = Names({UID: replace(CART, containers={})})
    assert now_at_risk(node(redis=490), names=nameless) == ()
    given_up = replace(nameless, nameless=frozenset({owner(REDIS)}))
    (risk,) = now_at_risk(node(redis=490), names=given_up)
    assert (risk.pod, risk.container) == ("shop/cart-0", "")
    assert risk.domain_name == f"container shop/cart-0/{REDIS_ID[:12]}"


def test_policies_decide_the_threshold() -> None:
    calm = OOMPolicySpec.model_validate({"thresholds": {"podHeadroomPercent": 1, "clearPercent": 0}})
    off = OOMPolicySpec.model_validate({"thresholds": {"podHeadroomPercent": 0, "clearPercent": 5}})
    silent = OOMPolicySpec.model_validate({"namespaces": {"exclude": ["shop"]}})
    for spec in (calm, off, silent):
        assert now_at_risk(node(redis=490), book=policies({"p": spec})) == ()


def test_a_node_wide_risk_goes_by_the_nodes_rules() -> None:
    (risk,) = now_at_risk(node(redis=300, free=100))
    book = policies(
        {
            "shop": OOMPolicySpec.model_validate(
                {"namespaces": {"include": ["shop"]}, "publish": {"events": False}}
            )
        }
    )
    assert rules_for(risk, book).events


def at_risk_by_time(
    rate: float, before: tuple[Risk, ...] = (), seconds: float = 600, minutes: int = 10
) -> tuple[Risk, ...]:
    spec = OOMPolicySpec.model_validate({"thresholds": {"minutesToOOM": minutes}})
    growths = {REDIS: leak(rate, seconds)} if rate else {}
    outlooks = seen(node(redis=212), NAMES, growths)
    return risks(outlooks, before, NAMES, policies({"p": spec}), LATER if before else NOW)


def test_an_oom_that_surely_comes_soon_is_a_risk_however_much_room_is_left() -> None:
    (risk,) = at_risk_by_time(600)
    assert (risk.domain, risk.comm, risk.level) == (REDIS, "redis", RiskLevel.WARNING)
    (soon,) = at_risk_by_time(2400)
    assert soon.level is RiskLevel.CRITICAL
    assert at_risk_by_time(300) == ()


def test_an_oom_that_may_never_come_is_none_and_a_policy_may_not_care() -> None:
    assert at_risk_by_time(600, seconds=20) == ()
    assert at_risk_by_time(2400, minutes=0) == ()


def test_a_policy_of_no_headroom_never_warns_by_time_either() -> None:
    never = OOMPolicySpec.model_validate({"thresholds": {"podHeadroomPercent": 0}})
    outlooks = seen(node(redis=212), NAMES, {REDIS: leak(2400)})
    assert risks(outlooks, (), NAMES, policies({"p": never}), NOW) == ()


def test_a_risk_by_time_goes_on_while_its_oom_may_come_though_not_surely() -> None:
    assert at_risk_by_time(600, at_risk_by_time(600), seconds=20)


def test_a_policy_that_goes_by_headroom_alone_does_not_care_that_an_oom_may_come_at_once() -> None:
    at_once = replace(leak(100), level_bytes=600 * MI)
    for minutes, at_risk in ((0, False), (10, True)):
        spec = OOMPolicySpec.model_validate({"thresholds": {"minutesToOOM": minutes}})
        outlooks = seen(node(redis=430), NAMES, {REDIS: at_once})
        assert bool(risks(outlooks, (), NAMES, policies({"p": spec}), NOW)) is at_risk


def test_growth_that_a_policy_does_not_care_about_hides_no_want_of_room() -> None:
    spec = OOMPolicySpec.model_validate({"thresholds": {"minutesToOOM": 0}})
    outlooks = seen(used(node(redis=256), POD, 1406), NAMES, {REDIS: leak(3072)})
    (risk,) = risks(outlooks, (), NAMES, policies({"p": spec}), NOW)
    assert risk.domain == POD


def test_a_risk_by_time_ends_when_the_oom_is_far_away_again() -> None:
    before = at_risk_by_time(600)
    assert at_risk_by_time(300, before)
    assert at_risk_by_time(150, before) == ()
    assert at_risk_by_time(0, before) == ()
