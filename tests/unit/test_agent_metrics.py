import socket
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection

import pytest
from prometheus_client.parser import text_string_to_metric_families

from oomsayer.agent.metrics import Metrics, Sampled
from oomsayer.agent.server import MOST_CLIENTS, HttpServer
from oomsayer.api.vocabulary import AgentMetric


def values(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.text())
    return {(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples}


def test_prometheus_reads_what_the_agent_exposes() -> None:
    metrics = Metrics()
    metrics.sample(
        Sampled(at=1.5, processes=3, domains=2, domains_near=1, node_headroom_bytes=1 << 40, gaps=4), 0.02
    )
    metrics.sample_failed()
    metrics.report_written(9000, 5, at=2.5)
    metrics.report_not_written()
    metrics.self_checked(12, {"race": 1, "unexplained": 0})
    read = values(metrics)

    assert read["oomsayer_agent_samples_total", frozenset({("result", "taken")})] == 1
    assert read["oomsayer_agent_samples_total", frozenset({("result", "failed")})] == 1
    assert read["oomsayer_agent_self_checked_processes", frozenset()] == 12
    assert read["oomsayer_agent_self_check_mismatches", frozenset({("reason", "race")})] == 1
    assert read["oomsayer_agent_sample_duration_seconds_bucket", frozenset({("le", "0.01")})] == 0
    assert read["oomsayer_agent_sample_duration_seconds_bucket", frozenset({("le", "0.025")})] == 1
    assert read["oomsayer_agent_sample_duration_seconds_bucket", frozenset({("le", "+Inf")})] == 1
    assert read["oomsayer_agent_reports_total", frozenset({("result", "written")})] == 1
    assert read["oomsayer_agent_reports_total", frozenset({("result", "failed")})] == 1
    plain = {name: value for (name, labels), value in read.items() if not labels}
    assert plain["oomsayer_agent_last_sample_timestamp_seconds"] == 1.5
    assert plain["oomsayer_agent_processes"] == 3
    assert plain["oomsayer_agent_domains"] == 2
    assert plain["oomsayer_agent_domains_near_limit"] == 1
    assert plain["oomsayer_agent_node_headroom_bytes"] == 1 << 40
    assert plain["oomsayer_agent_gaps"] == 4
    assert plain["oomsayer_agent_report_size_bytes"] == 9000
    assert plain["oomsayer_agent_report_omitted_domains"] == 5
    assert plain["oomsayer_agent_last_report_timestamp_seconds"] == 2.5
    assert plain["process_resident_memory_bytes"] > 1 << 20
    assert plain["process_cpu_seconds_total"] > 0


def test_every_metric_of_the_vocabulary_is_there_once_known() -> None:
    metrics = Metrics()
    assert "node_headroom" not in metrics.text()
    assert "self_check" not in metrics.text()
    metrics.self_checked(0, {})
    metrics.sample(Sampled(node_headroom_bytes=0), 0.1)
    typed = {line.split()[2] for line in metrics.text().splitlines() if line.startswith("# TYPE")}
    assert set(AgentMetric) <= typed


@pytest.fixture
def ill() -> list[str]:
    return [""]


@pytest.fixture
def http(ill: list[str]) -> Iterator[HTTPConnection]:
    server = HttpServer(("127.0.0.1", 0), Metrics().text, lambda: ill[0])
    server.start()
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    yield connection
    connection.close()
    server.stop()


def get(http: HTTPConnection, path: str) -> tuple[int, str]:
    http.request("GET", path)
    with http.getresponse() as answer:
        return answer.status, answer.read().decode()


def test_metrics_and_health_are_served(http: HTTPConnection, ill: list[str]) -> None:
    status, text = get(http, "/metrics?x=1")
    assert status == 200
    assert "oomsayer_agent_build_info{" in text
    assert get(http, "/healthz") == (200, "ok\n")
    ill[0] = "no sample for 100 s"
    assert get(http, "/healthz") == (503, "no sample for 100 s\n")
    assert get(http, "/")[0] == 404


def test_a_pod_of_either_family_is_served() -> None:
    server = HttpServer(("", 0), Metrics().text, lambda: "")
    server.start()
    hosts = ["127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])]
    for host in hosts:
        connection = HTTPConnection(host, server.port, timeout=5)
        assert get(connection, "/healthz") == (200, "ok\n")
        connection.close()
    server.stop()


def test_where_too_many_come_the_longest_there_are_cut_off_though_they_go_on_sending() -> None:
    server = HttpServer(("127.0.0.1", 0), Metrics().text, lambda: "")
    server.start()
    slow = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(MOST_CLIENTS)]
    for client in slow:
        client.sendall(b"GET /healthz HTTP/1.1\r\nX-")
    for _ in range(3):
        for client in slow:
            with suppress(OSError):
                client.sendall(b"a")
        connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
        assert get(connection, "/healthz") == (200, "ok\n")
        connection.close()
    assert slow[0].recv(1) == b""
    slow[-1].sendall(b": b\r\n\r\n")
    assert slow[-1].recv(15) == b"HTTP/1.1 200 OK"
    for client in slow:
        client.close()
    server.stop()
