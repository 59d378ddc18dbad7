"""HTTP/1.1 over TLS, as much of it as an agent asks and is answered.

The package http.client, for the parser of e-mail behind it, would take a mebibyte and a half of every node.

Source: RFC 9112.
"""

import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import cast

MAX_LINE = 8192
MAX_HEADERS = 100
"""Of the head of a request or an answer: bytes a line, and lines; Python's own package takes no more."""

_PIECE = 16 * 1024


class HttpError(Exception):
    """What came is no answer in HTTP, or was cut short; or what was to be asked is no request."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered.

    Attributes:
        status: its code.
        reason: what the server calls that.
        headers: by name in lower case; of one that is there twice, the last.
        body: as much of it as was asked for.
    """

    status: int
    reason: str
    headers: Mapping[str, str]
    body: bytes = b""


class HttpsConnection:
    """A connection for one request after another. For one thread."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext, timeout: float) -> None:
        """Connect.

        Args:
            host: name or address, IPv6 without brackets; the certificate has to be for it.
            port: TCP port.
            context: what the server's certificate is held against.
            timeout: seconds, for connecting and for each wait.

        Raises:
            OSError: there is nobody, or nobody to trust (ssl.SSLCertVerificationError).
        """
        self._authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        # As bytes: text would be encoded by the codec for international names, four tenths of a mebibyte.
        name = host.encode("ascii", "replace")
        plain = socket.create_connection(cast("tuple[str, int]", (name, port)), timeout)
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise
        self._answers = self._socket.makefile("rb")
        self.open = True
        """Whether it can take another request."""

    def close(self) -> None:
        """Close it."""
        self.open = False
        self._answers.close()
        self._socket.close()

    def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes, most: int) -> Response:
        """Ask and wait for the answer; whatever goes wrong, the connection is of no use afterwards.

        Args:
            method: GET, PATCH or POST.
            path: as it goes into the request: quoted.
            headers: beside Host and Content-Length.
            body: may be empty.
            most: bytes of the answer's body that are kept; what is more is read and dropped.

        Raises:
            ConnectionError: the connection was closed; before any answer, where the server let it idle.
            OSError: likewise, or no answer within the timeout.
            HttpError: the answer is not HTTP, or was cut short; or a header holds control characters.
        """
        try:
            self._socket.sendall(_request(self._authority, method, path, headers, body))
            return self._response(most)
        except BaseException:
            self.close()
            raise

    def _response(self, most: int) -> Response:
        if not self._answers.peek(1):
            raise ConnectionResetError("the connection was closed without an answer")
        head = self._head()
        while head.status < HTTPStatus.OK:
            head = self._head()  # an interim answer
        pieces, ends = self._body(head)
        kept = bytearray()
        for piece in pieces:
            kept += piece[: most - len(kept)]
        if not ends or "close" in head.headers.get("connection", "").lower():
            self.close()
        return Response(head.status, head.reason, head.headers, bytes(kept))

    def _head(self) -> Response:
        first = self._line()
        version, _, rest = first.partition(" ")
        code, _, reason = rest.partition(" ")
        if not version.startswith("HTTP/1.") or len(code) != 3 or not code.isdecimal():  # noqa: PLR2004 - digits of a status
            raise HttpError(f"no status line: {first[:80]!r}")
        headers: dict[str, str] = {"connection": "close"} if version == "HTTP/1.0" else {}
        for _ in range(MAX_HEADERS):
            line = self._line()
            if not line:
                return Response(int(code), reason, headers)
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        raise HttpError(f"more than {MAX_HEADERS} headers")

    def _body(self, head: Response) -> tuple[Iterator[bytes], bool]:
        """Its pieces, and whether they end before the connection does."""
        length = head.headers.get("content-length")
        if head.status in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            return iter(()), True
        if "transfer-encoding" in head.headers:
            if head.headers["transfer-encoding"].lower() != "chunked":
                raise HttpError(f"unknown Transfer-Encoding: {head.headers['transfer-encoding']}")
            return self._chunks(), True
        if length is None:
            return iter(lambda: self._answers.read(_PIECE), b""), False
        return self._exactly(_number(length, 10)), True

    def _chunks(self) -> Iterator[bytes]:
        while size := _number(self._line().partition(";")[0], 16):
            yield from self._exactly(size)
            if self._line():
                raise HttpError("a chunk is longer than it says")
        while self._line():
            pass  # trailers

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._answers.read(min(size, _PIECE))
            if not piece:
                raise HttpError(f"the answer was cut short, {size} bytes before its end")
            size -= len(piece)
            yield piece

    def _line(self) -> str:
        """The next line without its end."""
        line = self._answers.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            raise HttpError("a line was cut short, or is too long")
        return line.rstrip(b"\r\n").decode("latin-1")


def _request(authority: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    if any(not line.isprintable() for line in lines):
        raise HttpError("a header of the request holds a control character")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def _number(text: str, base: int) -> int:
    digits = text.strip()
    if not digits.isalnum():
        raise HttpError(f"no number: {text[:80]!r}")
    try:
        return int(digits, base)
    except ValueError as error:
        raise HttpError(f"no number: {text[:80]!r}") from error
