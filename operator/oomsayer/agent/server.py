"""Serves /metrics and /healthz. The package http.server would take more than a mebibyte of every node."""

import threading
from collections.abc import Callable
from http import HTTPStatus
from socket import AF_INET, AF_INET6, AddressFamily
from socketserver import StreamRequestHandler, ThreadingTCPServer

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

CLIENT_TIMEOUT_SECONDS = 5.0
"""A client that sends nothing for so long is cut off."""

MAX_LINE = 8192
MAX_HEADERS = 100
"""What Python's own server accepts at most, in bytes and lines, or less."""


def address_of(text: str) -> tuple[str, int]:
    """Host and port of "HOST:PORT", ":PORT" (every address) or "[IPv6]:PORT".

    Raises:
        ValueError: it is none of these.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the last TCP port
        raise ValueError(f"{text!r} is not HOST:PORT: give for example :9464 or 127.0.0.1:9464")
    return host.strip("[]"), int(port)


class HttpServer:
    """The HTTP server of the agent, in threads of its own."""

    def __init__(self, address: tuple[str, int], metrics: Callable[[], str], ill: Callable[[], str]) -> None:
        """Bind and listen.

        Args:
            address: host, "" for every address, and port, 0 for a free one.
            metrics: the text of /metrics.
            ill: what is wrong, "" for nothing: /healthz answers 503 with it.

        Raises:
            OSError: the address can not be bound.
        """
        self._http = _Http(address, metrics, ill)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._http.server_address[1])

    def start(self) -> None:
        """Start serving."""
        threading.Thread(target=self._http.serve_forever, name="http", daemon=True).start()

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._http.shutdown()
        self._http.server_close()


class _Http(ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], metrics: Callable[[], str], ill: Callable[[], str]) -> None:
        self.address_family: AddressFamily = AF_INET6 if ":" in address[0] else AF_INET
        self.metrics = metrics
        self.ill = ill
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no event."""


class _Handler(StreamRequestHandler):
    timeout = CLIENT_TIMEOUT_SECONDS
    server: _Http

    def handle(self) -> None:
        """Answer one request and close; a head that is too long is cut off unanswered."""
        words = self.rfile.readline(MAX_LINE).split()
        for _ in range(MAX_HEADERS):
            if self.rfile.readline(MAX_LINE) in (b"\r\n", b"\n", b""):
                break
        else:
            return
        if len(words) < 2:  # noqa: PLR2004 - method and path
            return
        path = words[1].partition(b"?")[0]
        if words[0] not in (b"GET", b"HEAD"):
            answer = _answer(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is answered\n")
        elif path == b"/metrics":
            answer = _answer(HTTPStatus.OK, self.server.metrics(), METRICS_TYPE)
        elif path == b"/healthz":
            ill = self.server.ill()
            answer = _answer(HTTPStatus.SERVICE_UNAVAILABLE if ill else HTTPStatus.OK, f"{ill or 'ok'}\n")
        else:
            answer = _answer(HTTPStatus.NOT_FOUND, "/metrics and /healthz are here\n")
        head, end, body = answer.partition(b"\r\n\r\n")
        self.wfile.write(head + end + (b"" if words[0] == b"HEAD" else body))


def _answer(status: HTTPStatus, text: str, content_type: str = "text/plain; charset=utf-8") -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
