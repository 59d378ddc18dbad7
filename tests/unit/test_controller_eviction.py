"""What is said and announced of evictions."""

from dataclasses import replace
from datetime import timedelta

import pytest
from tests.unit.controller_crowd import BATCH, BATCH_MAIN, BATCH_UID, PODS, crowd, inverted
from tests.unit.controller_node import (
    BACKUP,
    KUBEPODS,
    MI,
    NOW,
    POD,
    REDIS,
    UID,
    WEB,
    at,
    leak,
    node,
    seen,
    task,
)

from oomsayer.api.eviction import Eviction
from oomsayer.api.forecast import Risk
from oomsayer.api.vocabulary import EventReason
from oomsayer.controller.events import Subject, eviction_event
from oomsayer.controller.eviction import NodeSide, eviction, findings, growth_of, wanted
from oomsayer.controller.names import Names
from oomsayer.controller.policy import SILENT, Policies
from oomsayer.controller.racenotes import why_evicted
from oomsayer.controller.sentences import NOTE_BYTES
from oomsayer.forecast.growth import Growth
from oomsayer.forecast.oomtime import OomTime, Trend
from oomsayer.forecast.prospect import Watched
from oomsayer.kernel.snapshot import Snapshot
from oomsayer.kubelet.cgroups import owner
from oomsayer.kubelet.config import DEFAULTS, KubeletConfig

LATER = NOW + timedelta(minutes=7)
RULES = Policies().for_node()
CONFIG = KubeletConfig("400Mi", known=True)


def side(
    snapshot: Snapshot, growth: tuple[float, float] | None = None, config: KubeletConfig = CONFIG
) -> NodeSide:
    snapshot = replace(snapshot, memory=replace(snapshot.memory, active_file_bytes=0))
    growths = {} if growth is None else {"/": Growth(growth[0], sum(growth) / 2, growth[1], 600.0, 0.0)}
    return NodeSide(snapshot, PODS, config, seen(snapshot, PODS), Watched(growths))


def told(
    snapshot: Snapshot, growth: tuple[float, float] | None = None, config: KubeletConfig = CONFIG
) -> Eviction:
    said = eviction(side(snapshot, growth, config), None, RULES, NOW)
    assert said is not None
    return said


def test_threshold_order_and_source_are_told() -> None:
    said = told(crowd())
    assert (said.signal, said.available_bytes, said.threshold_bytes) == (
        "memory.available", 700 * MI, 400 * MI
    )  # fmt: skip
    assert [(p.pod, p.priority, p.working_set_bytes, p.request_bytes) for p in said.order] == [
        ("shop/batch-0", 0, 200 * MI, 0),
        ("shop/cart-0", 100, 3000 * MI, 1640 * MI),
    ]
    assert (said.configuration, said.assumptions) == ("node", ())


def test_a_configuration_that_was_not_read_is_said_to_be_assumed() -> None:
    said = told(crowd(), config=DEFAULTS)
    assert (said.threshold_bytes, said.configuration) == (100 * MI, "defaults")
    assert "was not read" in said.assumptions[0]


def test_pods_without_a_name_are_counted() -> None:
    nameless = replace(side(crowd()), names=Names({UID: PODS.pods[UID]}))
    said = eviction(nameless, None, RULES, NOW)
    assert said is not None
    assert said.assumptions == ("1 pod cgroups that the API does not know are left out",)


def test_a_report_without_working_sets_foretells_no_eviction() -> None:
    assert eviction(side(node()), None, RULES, NOW) is None


KUBELET = "the kubelet would evict pod shop/batch-0"
KERNEL = "the kernel would kill batch (pid 300, pod shop/batch-0)"
FASTER = "memory grows faster than 53Mi a second"
TOO_LATE = "the OOM comes before its threshold of 400Mi is met"


@pytest.mark.parametrize(
    ("growth", "free", "summary"),
    [
        ((4, 6), 1000, f"{KUBELET} (in 50 to 88 seconds), before {KERNEL}"),
        ((0, 1), 1000, f"{KUBELET} (not before 5 minutes, if at all), before {KERNEL}"),
        (
            (40, 80),
            1000,
            f"{KUBELET} (in 3 to 21 seconds) or {KERNEL}: which comes first is too close to tell",
        ),
        (
            (300, 400),
            1000,
            f"{KERNEL} before {KUBELET}: {FASTER}, and the kubelet looks every 10 s",
        ),
        (
            (0, 0),
            1000,
            f"memory is not growing; if it were, {KUBELET} first, or, from 53Mi a second on, {KERNEL} first",
        ),
        (None, 1000, f"{KUBELET}; if {FASTER}, {KERNEL} first"),
        (
            None,
            200,
            f"{KERNEL} once the 200Mi left are used, before {KUBELET}: {TOO_LATE}",
        ),
    ],
    ids=["slow", "hardly", "close", "fast", "calm", "unknown", "no room"],
)
def test_who_acts_first_is_said_in_a_sentence(
    growth: tuple[float, float] | None, free: int, summary: str
) -> None:
    rates = None if growth is None else (growth[0] * MI, growth[1] * MI)
    assert told(crowd(free=free), rates).summary == summary


def test_a_program_that_kills_before_both_is_named_first() -> None:
    said = told(replace(crowd(), userspace_killers=("earlyoom", "systemd-oomd")))
    assert said.userspace_killers == ("earlyoom", "systemd-oomd")
    assert said.summary.startswith(
        "earlyoom and systemd-oomd may kill before both, by rules of their own; else the "
    )


def test_when_the_kubelet_acts_is_told_as_moments() -> None:
    said = told(crowd(), (4 * MI, 6 * MI))
    assert (said.earliest, said.latest) == (NOW + timedelta(seconds=50), NOW + timedelta(seconds=88))
    open_ended = told(crowd(), (0, 6 * MI))
    assert (open_ended.earliest, open_ended.latest) == (NOW + timedelta(seconds=50), None)
    old = eviction(replace(side(crowd(), (4 * MI, 6 * MI)), age_seconds=20), None, RULES, NOW)
    assert old is not None
    assert (old.earliest, old.latest) == (NOW + timedelta(seconds=30), NOW + timedelta(seconds=68))
    assert "(in 30 to 68 seconds)" in old.summary


def test_a_domains_growth_is_what_was_watched_of_it() -> None:
    leaking = leak(1024)
    steady = replace(at("/", crowd(), PODS), time=OomTime(Trend.STEADY))
    assert growth_of(steady, Watched({"/": leaking})) == (leaking.low, leaking.high)
    assert growth_of(steady, Watched()) == (0.0, 0.0)
    assert growth_of(at("/", crowd(), PODS), Watched({KUBEPODS: leaking})) is None


def test_where_kubepods_runs_out_first_it_is_the_place_of_the_race() -> None:
    snapshot = crowd()
    small = replace(snapshot.memcgs[KUBEPODS], max_bytes=3700 * MI, usage_bytes=3400 * MI)
    outside = task(99, "hog", "/system.slice", 4000, 1000)
    tasks = (*snapshot.tasks, outside)
    said = told(replace(snapshot, memcgs={**snapshot.memcgs, KUBEPODS: small}, tasks=tasks))
    assert (said.signal, said.available_bytes) == ("allocatableMemory.available", 500 * MI)
    assert said.outrun_bytes_per_second == 400 * MI // 13
    assert said.summary.endswith(f"{KERNEL} first")


# --- the kernel takes the better pod ----------------------------------------------------------------


def test_an_inversion_is_found_where_the_kernel_takes_the_higher_priority() -> None:
    assert told(crowd()).inversion == ""
    assert told(inverted()).inversion == (
        "the kernel would kill nginx of pod shop/cart-0 (priority 100), while the kubelet would evict pod "
        "shop/batch-0 (priority 0): the OOM killer does not know priorities"
    )


def announced(snapshot: Snapshot, said: Eviction, *risks: Risk) -> dict[str, str]:
    found = findings(said, risks, at("/", snapshot, PODS), PODS)
    return {f"{f.pod.namespace}/{f.pod.name} {f.why}": f.note for f in found}


def test_nothing_is_announced_of_a_node_with_room() -> None:
    assert announced(inverted(), told(inverted())) == {}


def test_near_its_threshold_both_findings_are_announced() -> None:
    snapshot = inverted(available=500)
    notes = announced(snapshot, told(snapshot))
    assert list(notes) == ["shop/batch-0 EvictionRisk", "shop/cart-0 OOMPriorityInversion"]
    assert notes["shop/batch-0 EvictionRisk"].endswith(
        "first: it uses 200Mi, more than the 0 that it requests, at priority 0."
    )
    assert notes["shop/cart-0 OOMPriorityInversion"].startswith(
        "The kernel would kill nginx of pod shop/cart-0"
    )


@pytest.mark.parametrize("domain", ["/", KUBEPODS])
def test_near_its_oom_the_inversion_alone_is_announced(domain: str) -> None:
    risk = Risk(pod="shop/cart-0", pod_uid=UID, domain=domain, pid=102, comm="nginx", since=NOW)
    assert list(announced(inverted(), told(inverted()), risk)) == ["shop/cart-0 OOMPriorityInversion"]


def test_that_a_service_is_near_its_own_limit_announces_nothing_of_the_node() -> None:
    risk = Risk(domain=BACKUP, pid=60, comm="backup", since=NOW)
    assert announced(inverted(), told(inverted()), risk) == {}


def test_an_inversion_is_announced_once_while_the_node_is_near_its_oom_alone() -> None:
    risk = Risk(pod="shop/cart-0", pod_uid=UID, domain="/", pid=102, comm="nginx", since=NOW)
    before = told(inverted()).model_copy(update={"announced": ("EvictionRisk", "OOMPriorityInversion")})
    assert before.near_since is None
    for risks, kept in (((risk,), ("OOMPriorityInversion",)), ((), ())):
        after = eviction(side(inverted()), before, RULES, LATER, risks)
        assert after is not None
        assert after.announced == kept


def test_no_eviction_is_announced_where_the_kernel_is_always_faster() -> None:
    snapshot = crowd(available=500, free=50)
    assert told(snapshot).first == "kernel"
    assert announced(snapshot, told(snapshot)) == {}


def test_near_begins_under_the_nodes_percent_and_ends_above_what_clears_it() -> None:
    began = told(crowd(available=800))
    assert began.near_since == NOW
    before = began.model_copy(update={"announced": ("EvictionRisk",)})
    # 5 % of 8192 MiB are 409 above the threshold, and 10 % are 819.
    for available, near in ((1200, True), (1300, False)):
        after = eviction(side(crowd(available=available)), before, RULES, LATER)
        assert after is not None
        assert after.near_since == (NOW if near else None)
        assert after.announced == (("EvictionRisk",) if near else ())
    assert told(crowd(available=1200)).near_since is None
    silent = eviction(side(crowd(available=500)), None, SILENT, NOW)
    assert silent is not None
    assert silent.near_since is None


def test_why_a_pod_within_its_request_goes_first() -> None:
    (pod,) = told(crowd(batch=0, cart=100)).order[:1]
    assert why_evicted(pod) == "no pod uses more than it requests, and it has the lowest priority, 0"


def test_an_events_name_follows_from_pod_reason_and_beginning() -> None:
    pod, host = Subject("Pod", "batch-0", "shop", BATCH_UID), Subject("Node", "n1", uid="u")

    def name(why: EventReason, minutes: int) -> str:
        since = NOW + timedelta(minutes=minutes)
        body = eviction_event(pod, why, "note", since=since, node=host).body("i", LATER)
        assert body["related"] == host.reference()
        found: str = body["metadata"]["name"]
        return found

    first = name(EventReason.EVICTION_RISK, 0)
    assert first == name(EventReason.EVICTION_RISK, 5)
    assert len({first, name(EventReason.EVICTION_RISK, 20), name(EventReason.PRIORITY_INVERSION, 0)}) == 3


def test_names_are_wanted_of_pods_and_of_containers_whose_score_is_known_by_policy() -> None:
    snapshot = crowd()
    pause = task(1, "pause", f"{BATCH}/cri-containerd-{'d' * 64}.scope", 1, -998)
    whose = wanted(replace(snapshot, tasks=(*snapshot.tasks, pause)))
    assert whose == {owner(path) for path in (POD, BATCH, BATCH_MAIN, REDIS, WEB)}


def test_a_note_is_no_longer_than_an_event_may_have_it_however_long_pods_are_called() -> None:
    pods = {
        uid: replace(pod, namespace="n" * 63, name=pod.name.ljust(253, "x")) for uid, pod in PODS.pods.items()
    }
    short = replace(side(inverted(available=600)), names=Names(pods))
    said = eviction(short, None, RULES, NOW)
    assert said is not None
    notes = [found.note for found in findings(said, (), short.outlooks[0], short.names)]
    assert [len(note) for note in notes] == [len(notes[0]), NOTE_BYTES]
