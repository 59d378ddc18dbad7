"""The HTTP client against a server that says exactly what a test has it say. TLS is tests/api's matter."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import cast

import pytest

from oomsayer.agent.https import MAX_HEADERS, MAX_LINE, HttpError, HttpsConnection, Response

OK = b"HTTP/1.1 200 OK\r\n"


class Plain:
    """In place of TLS."""

    def wrap_socket(self, plain: socket.socket, server_hostname: bytes) -> socket.socket:
        assert server_hostname == b"127.0.0.1"
        return plain


Connect = Callable[..., HttpsConnection]


@pytest.fixture
def serve() -> Iterator[tuple[Connect, list[bytes]]]:
    """Makes a connection to a server that answers one request after another, then hangs up."""
    asked: list[bytes] = []
    made: list[HttpsConnection] = []
    listening = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def answer(answers: tuple[bytes, ...]) -> None:
        client, _ = listening.accept()
        with client, client.makefile("rb") as lines:
            for text in answers:
                head = b"".join(iter(lines.readline, b"\r\n"))
                length = int(head.rpartition(b"Content-Length: ")[2])
                asked.append(head + lines.read(length))
                client.sendall(text)

    def connect(*answers: bytes) -> HttpsConnection:
        threads.append(threading.Thread(target=answer, args=(answers,)))
        threads[-1].start()
        context = cast("ssl.SSLContext", Plain())
        made.append(HttpsConnection("127.0.0.1", listening.getsockname()[1], context, 5.0))
        return made[-1]

    yield connect, asked
    for connection in made:
        connection.close()
    for thread in threads:
        thread.join()
    listening.close()


Serve = tuple[Connect, list[bytes]]


def get(connection: HttpsConnection, most: int = 1000) -> Response:
    return connection.request("GET", "/x", {"Accept": "a"}, b"", most)


def test_a_request_is_one_piece_of_http(serve: Serve) -> None:
    connect, asked = serve
    connection = connect(OK + b"Content-Length: 0\r\n\r\n")
    connection.request("PATCH", "/x", {"Content-Type": "t"}, b"body", 0)
    head, _, rest = asked[0].partition(b"\r\n")

    assert head == b"PATCH /x HTTP/1.1"
    assert rest.startswith(b"Host: 127.0.0.1:")
    assert rest.endswith(b"\r\nContent-Type: t\r\nContent-Length: 4\r\nbody")


@pytest.mark.parametrize(
    ("answer", "body", "goes_on"),
    [
        (OK + b"Content-Length: 3\r\n\r\nabc", b"abc", True),
        (OK + b"content-length:0\r\n\r\n", b"", True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na", b"a", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\nA;x=y\r\n0123456789\r\n0\r\nT: t\r\n\r\n",
         b"ab0123456789", True),
        (OK + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc", b"abc", False),
        (OK + b"\r\nuntil it hangs up", b"until it hangs up", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"abc", False),
        (b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\na", b"a", True),
    ],
)  # fmt: skip
def test_an_answer_ends_where_it_says(serve: Serve, answer: bytes, body: bytes, goes_on: bool) -> None:  # noqa: FBT001 - named by parametrize
    connection = serve[0](answer)
    response = get(connection)

    assert response.body == body
    assert connection.open == goes_on


def test_what_is_more_than_asked_for_is_read_and_dropped(serve: Serve) -> None:
    long = b"x" * 100_000
    connection = serve[0](
        OK + b"Content-Length: 100000\r\n\r\n" + long,
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",
    )
    assert get(connection, 10).body == b"x" * 10
    second = get(connection)
    assert (second.status, second.reason, second.body) == (404, "Not Found", b"no")


def test_headers_are_told_by_lower_case(serve: Serve) -> None:
    answer = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After:  7 \r\nContent-Length: 0\r\n\r\n"
    assert get(serve[0](answer)).headers["retry-after"] == "7"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK",
        OK + b"Content-Length: 3\r\n",
        OK + b"Content-Length: 3\r\n\r\nab",
        OK + b"Content-Length: -3\r\n\r\n",
        OK + b"Content-Length: 1_0\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nab",
        OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
        OK + b"x: y\r\n" * (MAX_HEADERS + 1) + b"\r\n",
        OK + b"x: " + b"y" * MAX_LINE + b"\r\n\r\n",
    ],
)
def test_what_is_no_http_or_cut_short_is_said(serve: Serve, answer: bytes) -> None:
    connection = serve[0](answer)
    with pytest.raises(HttpError):
        get(connection)
    assert not connection.open


def test_a_connection_that_was_closed_meanwhile_is_told_apart(serve: Serve) -> None:
    connection = serve[0](OK + b"Content-Length: 0\r\n\r\n")
    get(connection)
    with pytest.raises(ConnectionError):
        get(connection)
    assert not connection.open


def test_a_header_ends_with_its_line(serve: Serve) -> None:
    connection = serve[0]()
    with pytest.raises(HttpError, match="control character"):
        connection.request("GET", "/", {"Authorization": "Bearer a\r\nX: y"}, b"", 1)
