"""Serves /metrics and /healthz."""

import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, AddressFamily
from socketserver import TCPServer

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

CLIENT_TIMEOUT_SECONDS = 5.0
"""A client that sends nothing for so long is cut off."""


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


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], metrics: Callable[[], str], ill: Callable[[], str]) -> None:
        self.address_family: AddressFamily = AF_INET6 if ":" in address[0] else AF_INET
        self.metrics = metrics
        self.ill = ill
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Bind without http.server's look-up of the host's name, which can wait for DNS."""
        TCPServer.server_bind(self)


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_TIMEOUT_SECONDS
    server_version = "oomsayer"
    sys_version = ""
    server: _Http

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            self._answer(HTTPStatus.OK, METRICS_TYPE, self.server.metrics())
        elif path == "/healthz":
            ill = self.server.ill()
            status = HTTPStatus.SERVICE_UNAVAILABLE if ill else HTTPStatus.OK
            self._answer(status, "text/plain; charset=utf-8", f"{ill or 'ok'}\n")
        else:
            self._answer(
                HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", "/metrics and /healthz are here\n"
            )

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's own name
        """Say nothing: scrapes and probes are no events."""

    def _answer(self, status: HTTPStatus, content_type: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
