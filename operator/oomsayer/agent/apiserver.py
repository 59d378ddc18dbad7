"""The one object that an agent writes: its node's NodeMemoryReport, over the API server's HTTPS.

A report replaces the one before as a whole, so a field that is no longer said vanishes: a JSON patch
that sets /status does that in one request without reading, whether or not a status is there. Where
the object is missing it is created.
"""

import base64
import binascii
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from oomsayer.agent.https import HttpError, HttpsConnection, Response
from oomsayer.agent.report import compact
from oomsayer.api.certificates import as_kubectl
from oomsayer.api.vocabulary import (
    API_VERSION,
    GROUP,
    JSON_PATCH,
    REPORT_KIND,
    REPORT_PLURAL,
    SERVICE_ACCOUNT,
    VERSION,
)

TIMEOUT_SECONDS = 10.0
"""For connecting and for each read: an API server that takes longer is not there."""

IDLE_SECONDS = 60.0
"""An idle connection is dropped before the API server would: it closes after 90 s."""

MAX_ANSWER = 64 * 1024
"""Bytes of an answer that are read: the written object comes back, and a larger size limit grows it."""

COLLECTION = f"/apis/{GROUP}/{VERSION}/{REPORT_PLURAL}"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")
"""What RFC 3986 reserves for no purpose."""

Json = dict[str, Any]


class NotWritten(Exception):  # noqa: N818 - it is an outcome that is always dealt with
    """A report that the API server did not take.

    Attributes:
        retry_after: seconds the server asked to wait, None where it did not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class ApiServer:
    """Where the API server is and how to prove who we are.

    Attributes:
        host: name or address, IPv6 without brackets.
        port: TCP port.
        directory: holds the files token and ca.crt, both read anew when needed since both are rotated.
    """

    host: str
    port: int
    directory: Path = SERVICE_ACCOUNT

    @classmethod
    def of_pod(cls, environment: Mapping[str, str], directory: Path = SERVICE_ACCOUNT) -> "ApiServer":
        """From the variables that the kubelet sets in every container.

        Raises:
            ValueError: a variable is missing, or the port is no number.
        """
        host = environment.get("KUBERNETES_SERVICE_HOST", "")
        port = environment.get("KUBERNETES_SERVICE_PORT", "")
        if not host or not port.isdecimal():
            raise ValueError(
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT do not name an API server: the agent "
                "runs in a pod; to look at a node without a cluster use `oomsayer node`"
            )
        return cls(host, int(port), directory)

    def token(self) -> str:
        """The service account token of this moment.

        Raises:
            NotWritten: it cannot be read.
        """
        path = self.directory / "token"
        try:
            return path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise NotWritten(f"{path}: {error.strerror}: is automountServiceAccountToken on?") from error
        except UnicodeDecodeError as error:
            raise NotWritten(f"{path} holds no token: {error}") from error

    def tls(self) -> ssl.SSLContext:
        """What holds a certificate against the cluster's authority of this moment.

        Raises:
            OSError: that cannot be read.
        """
        return as_kubectl(ssl.create_default_context(cafile=str(self.directory / "ca.crt")))


@dataclass(frozen=True, slots=True)
class BoundNode:
    """The node that a token is bound to, as its claims say (Kubernetes 1.30 and later)."""

    name: str
    uid: str


def bound_node(token: str) -> BoundNode | None:
    """What the claim kubernetes.io.node of a service account token says, None where there is none."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        node = claims["kubernetes.io"]["node"]
        return BoundNode(str(node["name"]), str(node["uid"]))
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server said."""

    status: int
    message: str
    retry_after: float | None


class Connection:
    """A kept HTTPS connection to the API server. For one thread."""

    def __init__(self, server: ApiServer, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = server
        self._clock = clock
        self._http: HttpsConnection | None = None
        self._used_at = 0.0

    def request(self, method: str, path: str, content_type: str, body: bytes) -> Answer:
        """Send a request that may be repeated safely, once more where the kept connection was closed.

        Raises:
            NotWritten: no answer, or none that is HTTP.
        """
        if self._http is not None and self._clock() - self._used_at > IDLE_SECONDS:
            self.close()
        kept = self._http is not None and self._http.open
        try:
            try:
                return self._attempt(method, path, content_type, body)
            except (ConnectionError, ssl.SSLEOFError):  # the latter up to Python 3.12.2, in sending
                if not kept:
                    raise
            return self._attempt(method, path, content_type, body)
        except (OSError, HttpError) as error:
            raise NotWritten(
                f"no answer from the API server at {self._server.host}:{self._server.port}: "
                f"{type(error).__name__}: {error}"
            ) from error

    def close(self) -> None:
        """Drop the connection, if there is one."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def _attempt(self, method: str, path: str, content_type: str, body: bytes) -> Answer:
        headers = {
            "Authorization": f"Bearer {self._server.token()}",
            "Content-Type": content_type,
            "Accept": "application/json",
            "User-Agent": "oomsayer-agent",
        }
        if self._http is None or not self._http.open:
            self._http = self._connect()
        answer = _answer(self._http.request(method, path, headers, body, MAX_ANSWER))
        self._used_at = self._clock()
        return answer

    def _connect(self) -> HttpsConnection:
        try:
            context = self._server.tls()
        except OSError as error:
            authority = self._server.directory / "ca.crt"
            reason = error.strerror or error
            raise NotWritten(f"{authority}: {reason}: it has to hold the API server's CA") from error
        return HttpsConnection(self._server.host, self._server.port, context, TIMEOUT_SECONDS)


def _answer(response: Response) -> Answer:
    message = ""
    if response.status >= HTTPStatus.BAD_REQUEST:
        message = _message(response.body) or response.reason
    wait = response.headers.get("retry-after", "")
    return Answer(response.status, message, float(wait) if wait.isdecimal() else None)


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return body[:200].decode("utf-8", "replace").strip()


class ReportWriter:
    """Writes one node's report."""

    def __init__(self, server: ApiServer, node: str) -> None:
        """`node` is the name of the node, and so of the report."""
        self._server = server
        self._node = node
        self._connection = Connection(server)

    def write(self, status: Json) -> None:
        """Make this the node's report.

        Raises:
            NotWritten: it is not; its text says why and what helps.
        """
        owner = self._owner()
        owners = [] if owner is None else [owner_reference(owner)]
        answer = self._patch(status, owners)
        if answer.status == HTTPStatus.NOT_FOUND:
            answer = self._create(status, owners)
            if answer.status == HTTPStatus.CONFLICT:
                answer = self._patch(status, owners)
        if answer.status not in (HTTPStatus.OK, HTTPStatus.CREATED):
            raise NotWritten(refusal(answer, self._node), answer.retry_after)

    def gaps(self) -> tuple[str, ...]:
        """What the report lacks for want of rights, each a sentence.

        Raises:
            NotWritten: the token cannot be read.
        """
        if self._owner() is not None:
            return ()
        return (f"the agent's token names no Node {self._node}: the report will outlive its node",)

    def close(self) -> None:
        """Drop the connection."""
        self._connection.close()

    def _owner(self) -> BoundNode | None:
        node = bound_node(self._server.token())
        return node if node is not None and node.name == self._node else None

    def _patch(self, status: Json, owners: list[Json]) -> Answer:
        operations: list[Json] = [{"op": "add", "path": "/status", "value": status}]
        if owners:
            operations.insert(0, {"op": "add", "path": "/metadata/ownerReferences", "value": owners})
        return self._request("PATCH", f"{COLLECTION}/{_quoted(self._node)}", JSON_PATCH, compact(operations))

    def _create(self, status: Json, owners: list[Json]) -> Answer:
        metadata: Json = {"name": self._node}
        if owners:
            metadata["ownerReferences"] = owners
        report = {"apiVersion": API_VERSION, "kind": REPORT_KIND, "metadata": metadata, "status": status}
        return self._request("POST", COLLECTION, "application/json", compact(report))

    def _request(self, method: str, path: str, content_type: str, body: bytes) -> Answer:
        answer = self._connection.request(method, path, content_type, body)
        if answer.status == HTTPStatus.UNAUTHORIZED:
            # The kubelet may have put a new token there between our reading and the server's.
            answer = self._connection.request(method, path, content_type, body)
        return answer


def _quoted(name: str) -> str:
    """A name as one segment of a path, without urllib.parse, which would take half a mebibyte."""
    return "".join(chr(byte) if chr(byte) in _PLAIN else f"%{byte:02X}" for byte in name.encode())


def owner_reference(node: BoundNode) -> Json:
    """What makes the report go when its Node goes."""
    return {"apiVersion": "v1", "kind": "Node", "name": node.name, "uid": node.uid}


def refusal(answer: Answer, node: str) -> str:
    """Why a report was not taken and what helps, in one line."""
    helps: dict[int, str] = {
        HTTPStatus.UNAUTHORIZED: "the service account token is expired or not this cluster's",
        HTTPStatus.FORBIDDEN: f"an agent may only create and patch its own node's {REPORT_KIND}: check the "
        f"chart's ClusterRoleBinding and ValidatingAdmissionPolicy, and that NODE_NAME={node} is right",
        HTTPStatus.NOT_FOUND: f"{REPORT_PLURAL}.{GROUP} is not installed: is crds.enabled off in the chart?",
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "lower --report-size",
        HTTPStatus.UNPROCESSABLE_ENTITY: "agent and CRD differ in version: upgrade the CRDs",
    }
    said = f"the API server answered {answer.status}: {answer.message}"
    remedy = helps.get(answer.status)
    return f"{said} ({remedy})" if remedy else said
