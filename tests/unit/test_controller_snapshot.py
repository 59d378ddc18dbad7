import json
from dataclasses import replace
from math import inf
from typing import Any

import pytest
from tests.unit.controller_node import KUBEPODS, POD, REDIS, WEB, node
from tests.unit.random_snapshots import random_snapshot

from oomsayer.agent.kubelet import reported
from oomsayer.agent.report import status_of
from oomsayer.api.vocabulary import ConditionReason
from oomsayer.controller.snapshot import ReportError, read_report
from oomsayer.forecast.growth import Growth
from oomsayer.forecast.prospect import Watched
from oomsayer.kernel.snapshot import ROOT, Pressure, Snapshot, Unkillable
from oomsayer.kernel.verdict import verdicts
from oomsayer.kubelet.config import DEFAULTS, KubeletConfig

NODE_REFERENCE = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u-1"}


def obj(**status: object) -> dict[str, Any]:
    said = json.loads(json.dumps(status_of(node())))
    return {
        "apiVersion": "oomsayer.dev/v1alpha1",
        "kind": "NodeMemoryReport",
        "metadata": {"name": "n1", "ownerReferences": [NODE_REFERENCE]},
        "status": said | status,
    }


@pytest.mark.parametrize("seed", range(40))
def test_what_the_agent_says_leads_to_the_same_verdicts(seed: int) -> None:
    snapshot = random_snapshot(seed)
    status = json.loads(json.dumps(status_of(snapshot)))
    read = read_report(obj() | {"status": status}).snapshot
    assert told(read) == told(snapshot)


def told(snapshot: Snapshot) -> list[tuple[str, int, list[tuple[int, int]], list[tuple[int, ...]]]]:
    return [
        (
            v.domain.path,
            v.domain.totalpages,
            [(kill.victim.task.pid, kill.victim.points) for kill in v.order],
            [kill.kill_set.pids for kill in v.order],
        )
        for v in verdicts(snapshot)
    ]


def test_what_evictions_go_by_arrives() -> None:
    used = {ROOT: 5000, KUBEPODS: 3000, POD: 2000}
    memcgs = {path: replace(memcg, working_set_bytes=used.get(path)) for path, memcg in node().memcgs.items()}
    snapshot = replace(node(), memcgs=memcgs, userspace_killers=("earlyoom",), cpus=64)
    config = KubeletConfig("400Mi", "10%", 90.0, single_process_oom_kill=True, known=True)
    status = json.loads(json.dumps(status_of(snapshot) | {"kubelet": reported(config)}))
    report = read_report(obj() | {"status": status})
    assert {p: m.working_set_bytes for p, m in report.snapshot.memcgs.items() if m.working_set_bytes} == used
    assert (report.snapshot.userspace_killers, report.snapshot.cpus) == (("earlyoom",), 64)
    assert report.kubelet == config


def test_a_kubelet_that_was_not_asked_has_the_defaults() -> None:
    assert read_report(obj()).kubelet == DEFAULTS


def test_a_threshold_that_is_none_is_refused_by_field() -> None:
    with pytest.raises(ReportError, match=r"status\.kubelet: 'much' is no quantity"):
        read_report(obj(kubelet={"evictionHard": "much"}))


def test_what_the_agent_saw_over_time_arrives() -> None:
    leak = Growth(-3.0, 5.0, 9.0, 40.0, 12345.0, returns=3, quickening=-2.0)
    still = Growth(0.0, 1.0, 2.0, 40.0, 999.0)
    watched = Watched({REDIS: leak, ROOT: still}, frozenset({WEB}), 77.9)
    waits = replace(node().memcgs[WEB], pressure=Pressure(some=12.4, full=3.0))
    pressed = replace(node().memory, pressure=Pressure(some=1.0, full=0.0), zram_free_bytes=5)
    snapshot = replace(node(), memory=pressed, memcgs={**node().memcgs, WEB: waits})
    status = json.loads(json.dumps(status_of(snapshot, watched=watched)))
    report = read_report(obj() | {"status": status})
    assert report.watched.growths == {REDIS: leak, ROOT: replace(still, level_bytes=-inf)}
    assert (report.watched.reclaiming, report.watched.seconds) == ({WEB}, 77)
    assert report.snapshot.memcgs[WEB].pressure == Pressure(12, 3)
    assert report.snapshot.memory == pressed


def test_calm_is_not_told() -> None:
    calm = replace(node().memcgs[WEB], pressure=Pressure(some=0.9, full=0.0))
    status = status_of(replace(node(), memcgs={**node().memcgs, WEB: calm}))
    assert all(memcg.keys().isdisjoint({"growth", "pressure", "reclaiming"}) for memcg in status["memcgs"])


def test_node_and_its_uid_come_from_the_objects_metadata() -> None:
    report = read_report(obj())
    assert (report.node, report.node_uid) == ("n1", "u-1")


@pytest.mark.parametrize(
    ("version", "remedy"), [(2, "upgrade the operator"), (0, "upgrade the agent")], ids=["newer", "older"]
)
def test_another_schema_is_named_whatever_else_the_report_holds(version: int, remedy: str) -> None:
    with pytest.raises(ReportError, match=remedy) as raised:
        read_report({"metadata": {"name": "n1"}, "status": {"schemaVersion": version, "agentVersion": "9.9"}})
    assert raised.value.reason is ConditionReason.UNKNOWN_SCHEMA
    assert "agent 9.9" in str(raised.value)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({"memory": {}}, r"status\.memory\.totalBytes: Field required"),
        ({"memcgs": [{"name": "x"}]}, r"status\.memcgs\[0\] must be the root"),
        ({"memcgs": [{"name": ""}, {"name": "a", "parent": 1}]}, r"memcgs\[1\]\.parent is 1"),
        (
            {"memcgs": [{"name": ""}, {"name": "a", "parent": 0}, {"name": "a", "parent": 0}]},
            "lists /a twice",
        ),
        ({"memcgs": [{"name": ""}]}, r"status\.tasks\[0\]\.memcg is \d+, but status\.memcgs has 1 entries"),
        ({"era": "E9"}, r"'E9'.*upgrade the operator"),
    ],
)
def test_a_report_that_contradicts_itself_is_refused_by_field(status: dict[str, Any], message: str) -> None:
    with pytest.raises(ReportError, match=message):
        read_report(obj(**status))


def test_many_errors_are_counted_not_listed() -> None:
    tasks = [{"pid": 0, "start": 0, "comm": "x", "memcg": 0}] * 9
    with pytest.raises(ReportError, match=r"and 6 more$"):
        read_report(obj(tasks=tasks))


def test_a_reason_of_a_newer_agent_still_means_that_it_can_not_be_killed() -> None:
    tasks = [{"pid": 7, "start": 1, "comm": "x", "memcg": 0, "unkillable": "frozen in time"}]
    snapshot = read_report(obj(tasks=tasks)).snapshot
    assert snapshot.tasks[0].unkillable is Unkillable.NO_MM
    assert snapshot.gaps == ("pid 7 cannot be killed for a reason unknown here: 'frozen in time'",)


def test_domains_that_were_left_out_are_a_gap() -> None:
    assert "3 cgroups with a limit" in read_report(obj(omittedDomains=3)).snapshot.gaps[-1]


def test_cgroups_nested_without_end_are_refused_before_they_fill_memory() -> None:
    memcgs: list[dict[str, object]] = [{"name": "", "inode": 1}]
    memcgs += [{"name": "x" * 300, "parent": depth, "inode": depth + 2} for depth in range(4000)]
    with pytest.raises(ReportError, match="more than 4096 characters"):
        read_report(obj(memcgs=memcgs, tasks=[]))
