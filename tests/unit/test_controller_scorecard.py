"""What is counted of the kills that agents report, and what their Events say."""

from datetime import timedelta

import pytest
from tests.unit.controller_node import BACKUP, CART, NAMES, NOW, POD, REDIS, REDIS_ID, UID, WEB

from oomsayer.api.forecast import MAX_LAST_KILLS, Risk, Scorecard, ScoredKill
from oomsayer.api.report import ReportedKill
from oomsayer.api.vocabulary import EventReason
from oomsayer.controller.events import Subject, event_name, kill_event
from oomsayer.controller.names import Ending, Names, Pod
from oomsayer.controller.scorecard import (
    PAST_RISK_SECONDS,
    SETTLED_SECONDS,
    UNSEEN_SECONDS,
    due,
    kills_subject,
    past_risks,
    pending,
    score,
    wanted,
    with_kill,
)
from oomsayer.controller.sentences import kill_note
from oomsayer.forecast.match import MissReason, Outcome
from oomsayer.kernel.observed import KillSource
from oomsayer.kubelet.cgroups import owner

NODE = Subject("Node", "node1", uid="n")


def reported(number: int = 1, outcome: Outcome = Outcome.HIT, **more: object) -> ReportedKill:
    kill = {
        "id": f"a-{number}",
        "at": NOW,
        "source": KillSource.COUNTERS,
        "memcg": REDIS,
        "domain": REDIS,
        "pid": 101,
        "comm": "redis",
        "outcome": outcome,
        "foretold_pid": 101,
        "foretold_comm": "redis",
        "foretold_memcg": REDIS,
    }
    return ReportedKill.model_validate(kill | more)


def risk(container: str = "redis", domain: str = REDIS, seconds_before: int = 60, **more: object) -> Risk:
    known = {
        "pod": CART.full_name,
        "pod_uid": UID,
        "container": container,
        "domain": domain,
        "pid": 101,
        "comm": "redis",
        "since": NOW - timedelta(seconds=seconds_before),
        "announced": True,
    }
    return Risk.model_validate(known | more)


def scored(
    *kills: ReportedKill, before: Scorecard | None = None, warnings: tuple[Risk, ...] = ()
) -> Scorecard:
    return score(before, kills, warnings, NAMES, node=NODE, sampled_at=NOW, now=NOW)


def test_each_kill_is_counted_once_however_often_it_is_reported() -> None:
    once = scored(reported(1))
    again = scored(reported(1), reported(2, Outcome.MISS, reason=MissReason.UNKNOWN_DOMAIN), before=once)
    still = scored(reported(1), reported(2), before=again)

    assert (once.kills, once.hits, once.right) == (1, 1, "1/1")
    assert (again.kills, again.hits, again.misses, again.right) == (2, 1, 1, "1/2")
    assert again.miss_reasons.unknown_domain == 1
    assert still == again


@pytest.mark.parametrize(
    ("outcome", "field", "right"),
    [
        (Outcome.HIT, "hits", "1/1"),
        (Outcome.KILL_SET_HIT, "kill_set_hits", "1/1"),
        (Outcome.MISS, "misses", "0/1"),
        (Outcome.UNFORESEEN, "unforeseen", ""),
        (Outcome.UNKNOWN, "unknown", ""),
    ],
)
def test_what_is_scored(outcome: Outcome, field: str, right: str) -> None:
    card = scored(reported(1, outcome))

    assert (getattr(card, field), card.kills, card.right) == (1, 1, right)


def test_only_the_last_kills_are_kept_and_all_are_counted() -> None:
    card: Scorecard | None = None
    for number in range(MAX_LAST_KILLS + 4):
        card = scored(reported(number, at=NOW + timedelta(seconds=number)), before=card)

    assert card is not None
    assert card.kills == MAX_LAST_KILLS + 4
    assert [kill.id for kill in card.last] == [f"a-{n}" for n in range(4, MAX_LAST_KILLS + 4)]


def test_kills_that_are_no_longer_among_the_last_are_not_counted_again() -> None:
    moments = [NOW + timedelta(seconds=10 * n) for n in range(MAX_LAST_KILLS + 4)]
    ids = [f"{n:064x}" for n in range(len(moments))]
    uids = [f"{UID[:-2]}{n:02d}" for n in range(len(moments))]
    pods = {
        uid: Pod(
            "jobs", f"job-{n}", uid, {ids[n]: "main"}, endings={ids[n]: Ending(137, "OOMKilled", moments[n])}
        )
        for n, uid in enumerate(uids)
    }
    kills = []
    for n, uid in enumerate(uids):
        path = f"/kubepods.slice/kubepods-pod{uid.replace('-', '_')}.slice/cri-containerd-{ids[n]}.scope"
        kills.append(reported(n, at=moments[n], memcg=path, domain=path, foretold_memcg=path))
    node = Subject("Node", "n1")
    card: Scorecard | None = Scorecard(since=NOW - timedelta(hours=1))
    for n in range(len(kills)):
        told = kills[max(n + 1 - MAX_LAST_KILLS, 0) : n + 1]
        card = score(card, told, (), Names(pods), node=node, sampled_at=moments[n], now=moments[n])
    for minutes in range(1, 5):
        now = moments[-1] + timedelta(minutes=minutes)
        card = score(card, kills[-MAX_LAST_KILLS:], (), Names(pods), node=node, sampled_at=now, now=now)

    assert card is not None
    assert (card.kills, card.unforeseen) == (len(kills), 0)


def test_a_kill_has_the_names_of_its_pod_and_domain() -> None:
    (kill,) = scored(reported()).last

    assert (kill.pod, kill.pod_uid, kill.container) == ("shop/cart-0", UID, "redis")
    assert kill.domain_name == "container shop/cart-0/redis"
    assert kill.foretold is not None
    assert (kill.foretold.pod, kill.foretold.container) == ("shop/cart-0", "redis")


def test_names_that_come_later_are_filled_in_until_the_event_is_written() -> None:
    early = score(None, [reported()], (), Names(), node=NODE, sampled_at=NOW, now=NOW)
    late = scored(reported(), before=early)
    told = with_kill(early, early.last[0].model_copy(update={"announced": True}))

    assert (early.last[0].pod, early.last[0].pod_uid) == ("", UID)
    assert late.last[0].pod == "shop/cart-0"
    assert scored(before=told).last[0].pod == ""
    assert pending(told) == []


def test_a_name_that_was_known_stays_when_the_pod_is_gone() -> None:
    known = scored(reported())
    later = score(known, [reported()], (), Names(), node=NODE, sampled_at=NOW, now=NOW)

    (kill,) = later.last
    assert (kill.pod, kill.container) == ("shop/cart-0", "redis")
    assert kill.domain_name == "container shop/cart-0/redis"


@pytest.mark.parametrize(
    ("domain", "name"),
    [
        (REDIS, f"container {REDIS_ID[:12]} of pod {UID}"),
        (POD, f"pod {UID}"),
        (BACKUP, BACKUP),
        ("/", "node"),
    ],
)
def test_a_domain_whose_pod_was_never_known_is_called_by_its_uid(domain: str, name: str) -> None:
    card = score(None, [reported(domain=domain)], (), Names(), node=NODE, sampled_at=NOW, now=NOW)

    assert card.last[0].domain_name == name


def test_the_exit_code_of_the_container_that_ended_is_taken_from_its_pod() -> None:
    card = score(None, [reported()], (), ended(137, "OOMKilled", 5), node=NODE, sampled_at=NOW, now=NOW)

    assert card.last[0].exit_code == 137


def ended(code: int, reason: str, seconds_ago: float) -> Names:
    ending = Ending(code, reason, NOW - timedelta(seconds=seconds_ago))
    return Names({UID: Pod("shop", "cart-0", UID, {REDIS_ID: "redis"}, endings={REDIS_ID: ending})})


def of_status(names: Names, *kills: ReportedKill, age: float = 3600) -> list[ScoredKill]:
    began = Scorecard(since=NOW - timedelta(seconds=age))
    card = score(began, kills, (), names, node=NODE, sampled_at=NOW, now=NOW)
    return [kill for kill in card.last if kill.source is KillSource.CONTAINER_STATUS]


def test_a_container_that_ended_by_an_oom_which_no_agent_saw_is_unforeseen() -> None:
    (kill,) = of_status(ended(137, "OOMKilled", 90))

    assert (kill.pod, kill.container, kill.outcome) == ("shop/cart-0", "redis", Outcome.UNFORESEEN)
    assert (kill.exit_code, kill.at) == (137, NOW - timedelta(seconds=90))


@pytest.mark.parametrize(
    ("names", "age"),
    [
        (ended(137, "OOMKilled", UNSEEN_SECONDS), 3600),  # its agent may still tell
        (ended(137, "OOMKilled", PAST_RISK_SECONDS + 1), 3600),  # too old
        (ended(137, "OOMKilled", 90), 80),  # before counting began
        (ended(1, "OOMKilled", 90), 3600),  # it ended by itself, with a sibling killed
        (ended(137, "Error", 90), 3600),  # killed by somebody else
    ],
)
def test_what_is_no_unseen_kill(names: Names, age: float) -> None:
    assert of_status(names, age=age) == []


def test_what_an_agent_has_told_is_not_counted_again_from_the_status() -> None:
    assert of_status(ended(137, "OOMKilled", 90), reported(at=NOW - timedelta(seconds=92))) == []
    of_pod = reported(at=NOW - timedelta(seconds=92), memcg=REDIS.rpartition("/")[0])
    assert of_status(ended(137, "OOMKilled", 90), of_pod) == []


def test_a_report_from_before_a_kill_does_not_make_it_unforeseen() -> None:
    began, names = Scorecard(since=NOW - timedelta(hours=1)), ended(137, "OOMKilled", 90)
    before = NOW - timedelta(seconds=95)
    assert score(began, (), (), names, node=NODE, sampled_at=before, now=NOW).kills == 0


def test_a_kill_is_linked_with_the_warning_of_its_container() -> None:
    warning = risk(seconds_before=60)
    others = (
        risk(seconds_before=-1),
        risk("web", WEB, 30),
        risk("", "/", 30),
        risk(seconds_before=90, pod_uid="other"),
    )
    card = scored(reported(), warnings=(*others, warning))

    (kill,) = card.last
    pod = Subject("Pod", "cart-0", "shop", UID)
    assert kill.warned_since == warning.since
    assert kill.warning == f"shop/{event_name(warning, 'OOMRisk', pod)}"  # type: ignore[arg-type]
    assert card.warned == 1


def test_a_risk_of_the_node_warns_of_any_container_of_the_pod_when_it_is_the_node_that_ran_out() -> None:
    assert scored(reported(domain="/"), warnings=(risk("", "/"),)).warned == 1
    assert scored(reported(domain="/kubepods"), warnings=(risk("", "/"),)).warned == 1
    assert scored(reported(domain="/"), warnings=(risk("web", WEB),)).warned == 0
    assert scored(reported(domain=None), warnings=(risk("", "/"),)).warned == 1


def test_that_a_node_runs_out_is_no_warning_of_a_container_that_does() -> None:
    assert scored(reported(), warnings=(risk("", "/"),)).warned == 0
    assert scored(reported(), warnings=(risk("web", WEB),)).warned == 0


def test_while_the_event_of_a_risk_that_began_again_is_held_back_the_one_before_is_the_link() -> None:
    told, again = risk(seconds_before=120), risk(announced=False)
    (kill,) = scored(reported(), warnings=(told, again)).last
    pod = Subject("Pod", "cart-0", "shop", UID)
    assert kill.warned_since == again.since
    assert kill.warning == f"shop/{event_name(told, EventReason.RISK, pod)}"


def test_a_warning_that_was_not_written_is_no_link() -> None:
    (kill,) = scored(reported(), warnings=(risk(announced=False),)).last

    assert (kill.warning, kill.warned_since is not None) == ("", True)


def test_risks_are_remembered_for_a_while_after_their_end() -> None:
    first = past_risks((), [risk()], NOW)
    later = past_risks(first, [], NOW + timedelta(seconds=PAST_RISK_SECONDS))
    forgotten = past_risks(first, [], NOW + timedelta(seconds=PAST_RISK_SECONDS + 1))

    assert [r.ended for r in first] == [NOW]
    assert (later, forgotten) == (first, ())


def test_names_are_wanted_for_kills_until_their_event_is_written() -> None:
    card = scored(reported())
    told = with_kill(card, card.last[0].model_copy(update={"announced": True}))

    assert wanted(None, [reported()]) == {owner(REDIS)}
    assert wanted(card, []) == {owner(REDIS)}
    assert wanted(told, [reported()]) == set()


def test_an_event_waits_until_the_kubelet_has_said_what_became_of_the_container() -> None:
    (kill,) = scored(reported()).last

    assert due(kill, NOW) == SETTLED_SECONDS
    assert due(kill, NOW + timedelta(seconds=SETTLED_SECONDS)) == 0
    assert due(kill, NOW - timedelta(seconds=1)) == SETTLED_SECONDS + 1
    assert due(kill, NOW - timedelta(hours=1)) == 0


def kill(**more: object) -> ScoredKill:
    (known,) = scored(reported(rss_bytes=52 << 20, adj=968, margin_bytes=12 << 20)).last
    return known.model_copy(update=more)


HIT = """The OOM killer took redis (pid 101, container redis of pod shop/cart-0) when container \
shop/cart-0/redis ran out of memory: it held 52Mi at oom_score_adj 968, 12Mi of badness ahead of the next. \
This was foretold. No warning had come before. The container goes on: its status does not show this."""
GROUP = """The OOM killer took a process of container redis of pod shop/cart-0 (3 processes are gone) when \
container shop/cart-0/redis ran out of memory. It was foretold to die with others. \
No warning had come before. The container ended with exit code 137."""
HOST = """The OOM killer took redis (pid 101, cgroup /system.slice/backup.service) when node node1 ran out \
of memory: it held 52Mi at oom_score_adj 968. Missed: redis (pid 101) was foretold, and the victim started \
or grew after the last sample. A warning stood since 10:00:00 UTC (Event default/node1.abc)."""
UNFORESEEN = """The OOM killer took redis (pid 101, container redis of pod shop/cart-0). No forecast stood. \
No warning had come before. The container goes on: its status does not show this."""
GROUPED = {
    "pid": None, "comm": "", "deaths": 3, "outcome": Outcome.KILL_SET_HIT, "rss_bytes": None, "exit_code": 137
}  # fmt: skip
ON_THE_HOST = {
    "pod": "", "container": "", "cgroup": "/system.slice/backup.service", "domain": "/",
    "domain_name": "node",
    "outcome": Outcome.MISS, "reason": MissReason.NOT_SAMPLED_IN_TIME, "warned_since": NOW,
    "warning": "default/node1.abc",
}  # fmt: skip
ALONE = {"outcome": Outcome.UNFORESEEN, "rss_bytes": None, "domain": None, "foretold": None}


@pytest.mark.parametrize(
    ("what", "note"), [({}, HIT), (GROUPED, GROUP), (ON_THE_HOST, HOST), (ALONE, UNFORESEEN)]
)
def test_what_the_event_says(what: dict[str, object], note: str) -> None:
    assert kill_note(kill(**what), "node1") == note


def test_the_event_is_about_the_pod_and_related_to_the_warning() -> None:
    warned = kill(warning="shop/cart-0.abc")
    body = kill_event(warned, "note", subject=kills_subject(warned, NODE), node=NODE).body("operator-0", NOW)

    assert body["regarding"] == {
        "apiVersion": "v1", "kind": "Pod", "name": "cart-0", "namespace": "shop", "uid": UID
    }  # fmt: skip
    assert body["related"]["kind"] == "Event"
    assert (body["related"]["namespace"], body["related"]["name"]) == ("shop", "cart-0.abc")
    assert (body["type"], body["reason"]) == ("Warning", "OOMKillObserved")


def test_a_kill_that_only_the_status_tells_is_told_on_the_pod() -> None:
    (kill,) = of_status(ended(137, "OOMKilled", 90))
    assert kills_subject(kill, NODE) == Subject("Pod", "cart-0", "shop", UID)


def test_a_kill_outside_pods_is_told_on_the_node() -> None:
    host = kill(pod="", pod_uid="")
    body = kill_event(host, "note", subject=kills_subject(host, NODE), node=NODE).body("operator-0", NOW)

    assert (body["regarding"]["kind"], body["metadata"]["namespace"]) == ("Node", "default")
    assert body["related"] == body["regarding"]
