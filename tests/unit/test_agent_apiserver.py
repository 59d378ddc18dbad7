import base64
import json
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from oomsayer.agent import apiserver
from oomsayer.agent.apiserver import (
    Answer,
    ApiServer,
    BoundNode,
    Connection,
    NotWritten,
    ReportWriter,
    _answer,
    bound_node,
    refusal,
)
from oomsayer.agent.https import Response


def token(claims: object) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"head.{payload}.signature"


BOUND = token({"kubernetes.io": {"node": {"name": "node-1", "uid": "u-1"}}})


def test_a_token_names_its_node() -> None:
    assert bound_node(BOUND) == BoundNode("node-1", "u-1")


@pytest.mark.parametrize(
    "text", ["", "opaque", "a.b.c", "a.%%.c", token({}), token([1]), token({"kubernetes.io": {"node": None}})]
)
def test_a_token_that_names_no_node_is_none(text: str) -> None:
    assert bound_node(text) is None


def test_outside_a_pod_the_agent_says_what_to_use() -> None:
    with pytest.raises(ValueError, match="oomsayer node"):
        ApiServer.of_pod({"KUBERNETES_SERVICE_HOST": "10.96.0.1"})


def test_a_missing_token_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotWritten, match=r"token: .*No such file.*automountServiceAccountToken"):
        ApiServer("127.0.0.1", 1, tmp_path).token()


def test_a_missing_authority_is_named(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(BOUND)
    with pytest.raises(NotWritten, match=r"ca\.crt: .*No such file"):
        ReportWriter(ApiServer("127.0.0.1", 1, tmp_path), "node-1").write({})


class Answers(Connection):
    """A connection that answers as told and keeps what it was asked."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.asked: list[tuple[str, str, Any]] = []

    def request(self, method: str, path: str, content_type: str, body: bytes) -> Answer:
        self.asked.append((method, content_type, json.loads(body)))
        assert path.startswith("/apis/oomsayer.dev/v1alpha1/nodememoryreports")
        return Answer(self.statuses.pop(0), "said", 7.0)


def writer(monkeypatch: pytest.MonkeyPatch, directory: Path, *statuses: int) -> tuple[ReportWriter, Answers]:
    answers = Answers(*statuses)
    monkeypatch.setattr(apiserver, "Connection", lambda _: answers)
    (directory / "token").write_text(BOUND)
    return ReportWriter(ApiServer("h", 1, directory), "node-1"), answers


@pytest.mark.parametrize(
    ("statuses", "methods"),
    [
        ((200,), ["PATCH"]),
        ((404, 201), ["PATCH", "POST"]),
        ((404, 409, 200), ["PATCH", "POST", "PATCH"]),
        ((401, 200), ["PATCH", "PATCH"]),
    ],
)
def test_a_report_is_written_whatever_was_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, statuses: tuple[int, ...], methods: list[str]
) -> None:
    reports, answers = writer(monkeypatch, tmp_path, *statuses)
    reports.write({"pageSize": 8192})
    assert [method for method, _, _ in answers.asked] == methods


@pytest.mark.parametrize(
    "statuses", [(401, 401), (403,), (404, 404), (404, 409, 404), (410,), (429,), (500,)]
)
def test_what_is_refused_is_raised_with_the_wait_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, statuses: tuple[int, ...]
) -> None:
    reports, answers = writer(monkeypatch, tmp_path, *statuses)
    with pytest.raises(NotWritten, match=f"answered {statuses[-1]}: said") as raised:
        reports.write({})
    assert raised.value.retry_after == 7.0
    assert answers.statuses == []


def test_the_status_is_replaced_as_a_whole_and_owned_by_the_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reports, answers = writer(monkeypatch, tmp_path, 404, 201)
    reports.write({"pageSize": 8192})
    owner = {"apiVersion": "v1", "kind": "Node", "name": "node-1", "uid": "u-1"}

    assert answers.asked == [
        (
            "PATCH",
            "application/json-patch+json",
            [
                {"op": "add", "path": "/metadata/ownerReferences", "value": [owner]},
                {"op": "add", "path": "/status", "value": {"pageSize": 8192}},
            ],
        ),
        (
            "POST",
            "application/json",
            {
                "apiVersion": "oomsayer.dev/v1alpha1",
                "kind": "NodeMemoryReport",
                "metadata": {"name": "node-1", "ownerReferences": [owner]},
                "status": {"pageSize": 8192},
            },
        ),
    ]
    assert reports.gaps() == ()


def test_without_the_nodes_uid_there_is_no_owner_and_that_is_stated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    reports, answers = writer(monkeypatch, tmp_path, 200)
    (tmp_path / "token").write_text("opaque")
    reports.write({})

    assert answers.asked[0][2] == [{"op": "add", "path": "/status", "value": {}}]
    assert reports.gaps() == ("the agent's token names no Node node-1: the report will outlive its node",)


class Closing:
    """Connections that each take one request, and are closed by the server after it."""

    def __init__(self, said: type[OSError]) -> None:
        self.said = said
        self.made, self.used, self.open = 0, False, True

    def connect(self, *_: object) -> "Closing":
        self.made, self.used = self.made + 1, False
        return self

    def request(self, *_: object) -> Response:
        if self.used:
            self.open = False
            raise self.said
        self.used = self.open = True
        return Response(200, "OK", {})

    def close(self) -> None:
        self.open = False


@pytest.mark.parametrize("said", [ConnectionResetError, ssl.SSLEOFError])
def test_a_kept_connection_that_was_closed_is_made_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: type[OSError]
) -> None:
    closing = Closing(said)
    monkeypatch.setattr(apiserver, "HttpsConnection", closing.connect)
    monkeypatch.setattr(ApiServer, "tls", lambda _: None)
    (tmp_path / "token").write_text(BOUND)
    connection = Connection(ApiServer("h", 1, tmp_path))
    for asked in range(1, 4):
        assert connection.request("GET", "/", "t", b"").status == 200
        assert closing.made == asked


def test_a_token_that_is_no_header_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ApiServer, "tls", lambda _: Refusing())
    with socket.create_server(("127.0.0.1", 0)) as server:
        (tmp_path / "token").write_text("a\nb")
        connection = Connection(ApiServer("127.0.0.1", server.getsockname()[1], tmp_path))
        with pytest.raises(NotWritten, match="HttpError: a header of the request holds a control"):
            connection.request("GET", "/", "t", b"")


@pytest.mark.parametrize("body", [b"<html>", b"[" * 65536, b"[]", b"{}"])
def test_a_refusal_in_any_form_is_one(body: bytes) -> None:
    assert _answer(Response(503, "Service Unavailable", {}, body)).message.startswith(body[:6].decode())


class Refusing:
    """In place of TLS."""

    def wrap_socket(self, plain: socket.socket, **_: object) -> socket.socket:
        return plain


def test_a_name_is_one_segment_of_a_path() -> None:
    assert apiserver._quoted("node-1.Example_~") == "node-1.Example_~"  # noqa: SLF001 - no node of a test has such names
    assert apiserver._quoted("a/b ?ö") == "a%2Fb%20%3F%C3%B6"  # noqa: SLF001 - likewise


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (401, "token is expired"),
        (403, "NODE_NAME=node-1"),
        (404, "crds.enabled"),
        (413, "--report-size"),
        (422, "upgrade the CRDs"),
    ],
)
def test_a_refusal_names_the_remedy(status: int, remedy: str) -> None:
    assert remedy in refusal(Answer(status, "no", None), "node-1")


def test_an_unknown_status_is_passed_on() -> None:
    assert refusal(Answer(599, "odd", None), "node-1") == "the API server answered 599: odd"
