"""The models at the edge: what they accept, what they refuse, how they write."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from oomsayer.api.forecast import ForecastProcess, OOMForecastStatus
from oomsayer.api.model import camel
from oomsayer.api.policy import OOMPolicy
from oomsayer.api.report import NodeMemoryReport

SMALLEST: dict[str, Any] = {
    "schemaVersion": 1,
    "agentVersion": "0.1.0",
    "sampledAt": "2026-11-24T10:00:00.25Z",
    "kernel": "6.12.117+deb13-cloud-amd64",
    "era": "E6",
    "cgroupVersion": 2,
    "memory": {"totalBytes": 2 << 30},
}


def report(**status: object) -> NodeMemoryReport:
    return NodeMemoryReport.model_validate({"metadata": {"name": "node1"}, "status": SMALLEST | status})


@pytest.mark.parametrize(
    ("field", "wire"),
    [
        ("pod_uid", "podUID"),
        ("container_id", "containerID"),
        ("oom_score_adj", "oomScoreAdj"),
        ("pid", "pid"),
        ("initial_pid_namespace", "initialPidNamespace"),
    ],
)
def test_wire_names_are_those_of_kubernetes(field: str, wire: str) -> None:
    assert camel(field) == wire


def test_what_a_report_leaves_out_is_the_kernels_default() -> None:
    status = report(tasks=[{"pid": 7, "start": 9, "comm": "a", "memcg": 0}], memcgs=[{"name": ""}]).status

    assert (status.page_size, status.sysctls.swappiness) == (4096, 60)
    assert status.initial_pid_namespace
    assert (status.tasks[0].adj, status.tasks[0].threads) == (0, 1)
    assert (status.memcgs[0].parent, status.memcgs[0].max_bytes) == (None, None)


def test_a_newer_agents_field_is_no_error() -> None:
    assert report(fromTheFuture={"x": 1}).status.kernel == SMALLEST["kernel"]


def test_a_newer_schema_is_read_so_that_it_can_be_named() -> None:
    assert report(schemaVersion=2).status.schema_version == 2


@pytest.mark.parametrize(
    ("status", "where"),
    [
        ({"cgroupVersion": 3}, "status.cgroupVersion"),
        ({"sampledAt": "2026-11-24T10:00:00"}, "status.sampledAt"),
        ({"memory": {"totalBytes": -1}}, "status.memory.totalBytes"),
        ({"tasks": [{"pid": 0, "start": 0, "comm": "a", "memcg": 0}]}, "status.tasks.0.pid"),
        ({"tasks": [{"pid": 1, "start": 0, "comm": "a", "memcg": 0, "adj": 1001}]}, "status.tasks.0.adj"),
        ({"memcgs": [{"name": "", "parent": 4096}]}, "status.memcgs.0.parent"),
    ],
)
def test_an_impossible_report_is_refused_by_field(status: dict[str, object], where: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        report(**status)

    (error,) = refusal.value.errors()
    assert ".".join(map(str, error["loc"])) == where


def test_a_policy_without_a_spec_has_the_defaults() -> None:
    spec = OOMPolicy.model_validate({"metadata": {"name": "default"}}).spec

    assert (spec.thresholds.pod_headroom_percent, spec.thresholds.node_headroom_percent) == (10, 5)
    assert (spec.thresholds.clear_percent, spec.publish.events, spec.publish.annotations) == (5, True, True)
    assert (spec.namespaces.include, spec.namespaces.exclude) == ((), ())


def test_a_forecast_writes_wire_names_and_leaves_out_the_unknown() -> None:
    process = ForecastProcess(pid=7, comm="redis", points=1200, pod_uid="u")

    written = process.model_dump(by_alias=True, exclude_none=True, mode="json")

    assert written["podUID"] == "u"
    assert "cgroup" not in written


def test_an_empty_forecast_is_one() -> None:
    assert OOMForecastStatus.model_validate({}).next is None


def test_the_vocabulary_needs_the_standard_library_only() -> None:
    operator = Path(__file__).resolve().parents[2] / "operator"
    # -I -S: no environment and no site-packages, so nothing but the standard library can be found.
    program = f"import sys; sys.path.append({str(operator)!r}); import oomsayer.api.vocabulary"

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
