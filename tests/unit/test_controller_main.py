import argparse
import asyncio
import logging
import time
from pathlib import Path
from typing import Any, cast

import kopf
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.unit.controller_objects import status

from oomsayer.agent.report import rfc3339
from oomsayer.api.vocabulary import OperatorMetric
from oomsayer.controller.apiserver import ApiError, ApiServer, service_account, wait_for_kinds
from oomsayer.controller.main import Dated, add_arguments, run
from oomsayer.controller.metrics import Metrics, view
from oomsayer.controller.terse import QUIET_SECONDS, Terse


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OOMSAYER_METRICS_ADDRESS", "9465", "is not [HOST]:PORT"),
        ("OOMSAYER_PROMETHEUS_URL", "prometheus:9090", "is not a URL"),
        ("OOMSAYER_LOG_LEVEL", "foo", "'foo' is not debug, info, warning or error"),
    ],
)
def test_a_wrong_value_is_named_wherever_it_came_from(
    variable: str,
    value: str,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SystemExit) as ended:
        parsed()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_options_can_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OOMSAYER_METRICS_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("POD_NAMESPACE", "watch")
    monkeypatch.setenv("POD_NAME", "operator-7")
    args = parsed()
    assert (args.metrics_address, args.namespace, args.identity) == (
        ("127.0.0.1", 1),
        "watch",
        "operator-7",
    )


def test_without_an_api_server_to_talk_to_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(parsed("--metrics-address", "127.0.0.1:0")) == 2
    assert "set KUBECONFIG" in caplog.text


@pytest.mark.parametrize(
    ("text", "why"), [(None, "No such file"), ("a: [", "expected the node"), ("text", "holds no kubeconfig")]
)
def test_a_kubeconfig_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    text: str | None,
    why: str,
) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("KUBECONFIG", str(path))
    assert run(parsed("--metrics-address", "127.0.0.1:0")) == 2
    assert f"KUBECONFIG {path} cannot be used" in caplog.text
    assert why in caplog.text


@pytest.mark.parametrize(
    ("host", "server"), [("10.96.0.1", "https://10.96.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_a_pod_finds_the_api_server_by_address(host: str, server: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    info = service_account(tmp_path, {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"})
    assert (info.server, info.token) == (server, "secret")
    with pytest.raises(kopf.LoginError, match="KUBERNETES_SERVICE_HOST is not set"):
        service_account(tmp_path, {})


def test_missing_crds_are_waited_for_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    answers: list[ApiError | dict[str, Any]] = [
        ApiError("GET: 404", 404, "NotFound"),
        {"resources": [{"name": "oompolicies"}]},
        {"resources": [{"name": "oompolicies"}]},
        {"resources": [{"name": "oompolicies"}, {"name": "oomforecasts"}]},
    ]

    class Api:
        async def get(self, _: str) -> dict[str, Any]:
            answer = answers.pop(0)
            if isinstance(answer, ApiError):
                raise answer
            return answer

    names = frozenset({"oompolicies", "oomforecasts"})
    asyncio.run(wait_for_kinds(cast("ApiServer", Api()), "/apis/oomsayer.dev/v1alpha1", names, 0.001))
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert all("crds.enabled=true" in message for message in told)
    assert "does not serve oomforecasts" in told[1]


def test_all_metrics_have_the_names_of_the_vocabulary() -> None:
    metrics = Metrics()
    metrics.sources.leading = True
    metrics.sources.nodes["n1"] = view(status(redis=490))
    metrics.sources.api_failures["GET", 503] = 2
    metrics.reports.labels("ok").inc()
    metrics.events.labels("OOMRisk", "written").inc()
    metrics.reconcile_seconds.observe(0.1)
    families = {f.name: f for f in text_string_to_metric_families(metrics.exposition().decode())}
    wanted = {m.removesuffix("_total") for m in OperatorMetric} - {OperatorMetric.SAMPLE_TIME}
    assert wanted <= set(families)
    risks = {s.labels["level"]: s.value for s in families[OperatorMetric.RISKS].samples}
    assert risks == {"warning": 1, "critical": 0}
    room = {s.labels["domain"]: s.value for s in families[OperatorMetric.HEADROOM].samples}
    assert room == {"node": 6000 << 20, "closest": 22 << 20}
    (victim,) = families[OperatorMetric.VICTIM].samples
    assert (victim.labels["namespace"], victim.labels["pod"], victim.labels["comm"]) == (
        "shop",
        "cart-0",
        "redis",
    )


def test_who_leads_no_more_tells_of_no_node_though_work_was_under_way() -> None:
    metrics = Metrics()
    metrics.sources.nodes["n1"] = view(status(redis=490))
    assert 'node="n1"' not in metrics.exposition().decode()


def record(text: str, name: str = "kopf.watching") -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "", 0, text, (), None)


def test_kopfs_retries_are_told_once_in_a_while_and_shortened() -> None:
    clock = [0.0]
    terse = Terse(lambda: clock[0])
    retries = [
        record(f"Request attempt #{n} failed: GET https://host/reports?rv={n} -> gone {'x' * 999}")
        for n in (1, 2)
    ]
    assert [terse.filter(r) for r in retries] == [True, False]
    assert len(retries[0].getMessage()) == 300
    assert terse.filter(record("Request attempt #1 failed: GET https://host/policies -> gone"))
    clock[0] = QUIET_SECONDS
    assert terse.filter(retries[1])
    assert all(terse.filter(record("mine", "oomsayer.operator")) for _ in range(3))


def test_a_line_is_dated_as_the_agents_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        record = logging.makeLogRecord({"created": 1_764_000_123.25, "msecs": 250.0, "msg": "said"})
        assert Dated("%(asctime)s %(message)s").format(record) == f"{rfc3339(record.created)} said"
    finally:
        monkeypatch.undo()
        time.tzset()
