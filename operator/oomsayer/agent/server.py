"""Serves /metrics and /healthz. The package http.server would take more than a mebibyte of every node."""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from errno import EINVAL
from http import HTTPStatus
from typing import BinaryIO

from oomsayer.agent.https import MAX_HEADERS, MAX_LINE

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"

CLIENT_TIMEOUT_SECONDS = 5.0
"""A client that sends nothing for so long is cut off."""

MOST_CLIENTS = 16
"""When so many are being answered, the one that has been there for longest is cut off for the next: a scrape
and two probes are what is meant to come, and they are soon done."""

BREATH_SECONDS = 0.1
"""Where clients cannot be taken, for want of descriptors as a rule, some should go first."""


class HttpServer:
    """The HTTP server of the agent: a thread that waits for clients, and one for each client."""

    def __init__(self, address: tuple[str, int], metrics: Callable[[], str], ill: Callable[[], str]) -> None:
        """Bind and listen.

        Args:
            address: host, "" for every address, and port, 0 for a free one.
            metrics: the text of /metrics.
            ill: what is wrong, "" for nothing: /healthz answers 503 with it.

        Raises:
            OSError: the address cannot be bound.
        """
        self._socket = _listening(*address)
        self._room = threading.Semaphore(MOST_CLIENTS)
        self._clients: dict[socket.socket, None] = {}
        """Those being answered, in the order in which they came."""
        self._thread = threading.Thread(target=self._serve, name="http", daemon=True)
        self._metrics = metrics
        self._ill = ill

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._socket.getsockname()[1])

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError as error:
                if error.errno == EINVAL:
                    return  # stopped
                time.sleep(BREATH_SECONDS)
                continue
            if not self._make_room():
                client.close()
                continue
            self._clients[client] = None
            try:
                threading.Thread(target=self._attend, args=(client,), daemon=True).start()
            except RuntimeError:  # there may be no more threads
                self._leave(client)
                client.close()

    def _make_room(self) -> bool:
        """Whether one more may come; where it is full, the oldest has to go, whatever it still sends."""
        if self._room.acquire(blocking=False):
            return True
        for oldest in list(self._clients)[:1]:
            with suppress(OSError):  # it may have gone meanwhile
                oldest.shutdown(socket.SHUT_RDWR)  # wakes its thread
        return self._room.acquire(timeout=BREATH_SECONDS)

    def _leave(self, client: socket.socket) -> None:
        self._clients.pop(client, None)
        self._room.release()

    def _attend(self, client: socket.socket) -> None:
        client.settimeout(CLIENT_TIMEOUT_SECONDS)
        try:
            # A client that went away is no event.
            with client, client.makefile("rb") as lines, suppress(OSError):
                client.sendall(self._reply(lines))
        finally:
            self._leave(client)

    def _reply(self, lines: BinaryIO) -> bytes:
        """What to answer to one request: nothing where its head is too long or no request."""
        words = lines.readline(MAX_LINE).split()
        for _ in range(MAX_HEADERS):
            if lines.readline(MAX_LINE) in (b"\r\n", b"\n", b""):
                break
        else:
            return b""
        if len(words) < 2:  # noqa: PLR2004 - method and path
            return b""
        path = words[1].partition(b"?")[0]
        if words[0] not in (b"GET", b"HEAD"):
            answer = _answer(HTTPStatus.METHOD_NOT_ALLOWED, "only GET is answered\n")
        elif path == b"/metrics":
            answer = _answer(HTTPStatus.OK, self._metrics(), METRICS_TYPE)
        elif path == b"/healthz":
            ill = self._ill()
            answer = _answer(HTTPStatus.SERVICE_UNAVAILABLE if ill else HTTPStatus.OK, f"{ill or 'ok'}\n")
        else:
            answer = _answer(HTTPStatus.NOT_FOUND, "/metrics and /healthz are here\n")
        head, end, body = answer.partition(b"\r\n\r\n")
        return head + end + (b"" if words[0] == b"HEAD" else body)


def _answer(status: HTTPStatus, text: str, content_type: str = "text/plain; charset=utf-8") -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        "Connection: close",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; for every address in both families, since a pod may have IPv6 alone."""
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)
