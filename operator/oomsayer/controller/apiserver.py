"""The operator's requests to the API server, on the HTTP client that kopf brings along.

The official client's typed API costs 130 MiB and several seconds of import (docs/dependencies.md); these
few requests need none of its models.
"""

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import kopf
from yaml import YAMLError

from oomsayer import __version__
from oomsayer.api.certificates import as_kubectl
from oomsayer.api.vocabulary import SERVICE_ACCOUNT

log = logging.getLogger(__name__)

MERGE_PATCH = "application/merge-patch+json"

_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=10)
_TOKEN_SECONDS = 60.0


class ApiError(Exception):
    """A request that was refused or never answered.

    Attributes:
        status: the HTTP status, 0 without an answer.
        reason: of the API's Status object: "NotFound", "AlreadyExists", "Conflict", ...
        retry_after: seconds that the server asks to wait, None where it does not.
    """

    def __init__(
        self, message: str, status: int = 0, reason: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after

    @property
    def not_found(self) -> bool:
        """Whether the object is not there."""
        return self.status == HTTPStatus.NOT_FOUND

    @property
    def already_exists(self) -> bool:
        """Whether an object of that name is there already."""
        return self.status == HTTPStatus.CONFLICT and self.reason == "AlreadyExists"

    @property
    def another_object(self) -> bool:
        """Whether the UID that a patch names is not that of the object which has the name now."""
        return self.status == HTTPStatus.UNPROCESSABLE_ENTITY and "metadata.uid" in str(self)

    @property
    def refused(self) -> bool:
        """Whether the API server will say no next time too: an admission policy's, or a missing right."""
        return self.status in (HTTPStatus.FORBIDDEN, HTTPStatus.UNPROCESSABLE_ENTITY)

    @property
    def conflict(self) -> bool:
        """Whether somebody else changed the object in between."""
        return self.status == HTTPStatus.CONFLICT and not self.already_exists


class Connection(kopf.ConnectionInfo):
    """Where the API server is and who we are there, for our requests and for kopf's."""

    def as_ssl_context(self) -> ssl.SSLContext:
        """What its certificate is held against."""
        return as_kubectl(super().as_ssl_context())


def connection() -> Connection:
    """Where the API server is and who we are there: KUBECONFIG, else the pod's service account.

    Raises:
        kopf.LoginError: neither is there, or the kubeconfig cannot be used.
    """
    if not os.environ.get("KUBECONFIG") and (SERVICE_ACCOUNT / "token").exists():
        return service_account(SERVICE_ACCOUNT, os.environ)
    try:
        info = kopf.login_with_kubeconfig(settings=kopf.OperatorSettings())
    except (OSError, YAMLError, ValueError, TypeError, KeyError, AttributeError) as error:
        where = os.environ.get("KUBECONFIG") or "~/.kube/config"
        # YAML that is no kubeconfig lets kopf stumble over its types.
        why = "holds no kubeconfig" if isinstance(error, TypeError | AttributeError) else str(error)
        raise kopf.LoginError(f"KUBECONFIG {where} cannot be used: {' '.join(why.split())}") from error
    if info is None:
        raise kopf.LoginError("no API server: set KUBECONFIG, or run in a pod with a service account")
    return Connection(**vars(info))


def service_account(directory: Path, environ: Mapping[str, str]) -> Connection:
    """A pod's own identity. By address, since the operator may be up before the cluster's DNS is.

    Raises:
        kopf.LoginError: KUBERNETES_SERVICE_HOST is not set.
    """
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise kopf.LoginError("KUBERNETES_SERVICE_HOST is not set: the kubelet sets it in every pod")
    return Connection(
        server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
        ca_path=str(directory / "ca.crt"),
        token=(directory / "token").read_text().strip(),
    )


class ApiServer:
    """Requests to one API server. Credentials are read again every minute, and at once on a 401."""

    def __init__(self, login: Callable[[], kopf.ConnectionInfo] = connection) -> None:
        self._log_in = login
        self._info: kopf.ConnectionInfo | None = None
        self._session: aiohttp.ClientSession | None = None
        self._read_at = 0.0
        self.failures: dict[tuple[str, int], int] = {}
        """Failed requests by method and HTTP status, for the metrics."""

    def login(self) -> kopf.ConnectionInfo:
        """Read the credentials.

        Raises:
            kopf.LoginError: there are none.
        """
        self._info = self._log_in()
        self._read_at = time.monotonic()
        return self._info

    async def get(self, path: str, **params: str) -> dict[str, Any]:
        """Read an object or a list.

        Raises:
            ApiError: see there.
        """
        return await self._request("GET", path, params=params)

    async def names(self, path: str, *, cached: bool = False) -> list[str]:
        """The names of all objects in the collection at `path`; nothing else of them is sent.

        Args:
            path: of the collection.
            cached: take what the API server has in memory, a moment old. Else it may read all of every
                object from etcd.

        Raises:
            ApiError: see there.
        """
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        params = {"resourceVersion": "0"} if cached else None
        answer = await self._request("GET", path, params=params, accept=accept)
        return [str(item["metadata"]["name"]) for item in answer.get("items") or ()]

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object in the collection at `path`.

        Raises:
            ApiError: see there.
        """
        return await self._request("POST", path, body)

    async def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Replace an object.

        Raises:
            ApiError: see there.
        """
        return await self._request("PUT", path, body)

    async def patch(self, path: str, body: object, content_type: str = MERGE_PATCH) -> dict[str, Any]:
        """Change an object.

        Raises:
            ApiError: see there.
        """
        return await self._request("PATCH", path, body, content_type=content_type)

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None  # nobody else takes it up while it closes
        if session is not None:
            await session.close()

    async def _request(
        self,
        method: str,
        path: str,
        body: object | None = None,
        *,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> dict[str, Any]:
        headers = {"Content-Type": content_type, "Accept": accept}
        try:
            return await self._once(method, path, body, params, headers)
        except ApiError as error:
            if error.status != HTTPStatus.UNAUTHORIZED:
                raise
        self._read_at = 0.0
        return await self._once(method, path, body, params, headers)

    async def _once(
        self,
        method: str,
        path: str,
        body: object | None,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str],
    ) -> dict[str, Any]:
        try:
            session, info = self._connect()
            async with session.request(
                method,
                info.server.rstrip("/") + path,
                json=body,
                params=params,
                headers={**info.as_http_headers(), **headers},
            ) as response:
                answer = await _json(response)
                if response.ok:
                    return answer
                raise _error(method, path, response, answer)
        except ApiError as error:
            self._count(method, error.status)
            raise
        except (aiohttp.ClientError, TimeoutError, OSError, kopf.LoginError) as error:
            self._count(method, 0)
            if isinstance(error, aiohttp.ClientConnectorCertificateError):
                await self.close()
            raise ApiError(f"{method} {path}: {error or type(error).__name__}") from error

    def _connect(self) -> tuple[aiohttp.ClientSession, kopf.ConnectionInfo]:
        info = self._info
        if info is None or time.monotonic() - self._read_at > _TOKEN_SECONDS:
            info = self.login()
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=info.as_ssl_context()),
                timeout=_TIMEOUT,
                headers={"User-Agent": f"oomsayer-operator/{__version__}"},
            )
        return self._session, info

    def _count(self, method: str, status: int) -> None:
        self.failures[method, status] = self.failures.get((method, status), 0) + 1


async def _json(response: aiohttp.ClientResponse) -> dict[str, Any]:
    """The body; what stands between us and the API server may answer with something else."""
    try:
        answer = await response.json(content_type=None)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _error(method: str, path: str, response: aiohttp.ClientResponse, answer: Mapping[str, Any]) -> ApiError:
    message = answer.get("message") or response.reason or "no reason given"
    header = response.headers.get("Retry-After", "")
    return ApiError(
        f"{method} {path}: {response.status} {message}",
        response.status,
        str(answer.get("reason") or ""),
        float(header) if header.isdigit() else None,
    )


async def wait_for_kinds(api: ApiServer, path: str, names: frozenset[str], poll_seconds: float = 5.0) -> None:
    """Wait until the API server serves all resources `names` under the group version at `path`."""
    told = ""
    while True:
        try:
            served = {r["name"] for r in (await api.get(path)).get("resources", ())}
            missing = ", ".join(sorted(names - served))
            if not missing:
                return
            problem = f"the API server does not serve {missing}: install the chart with crds.enabled=true"
        except ApiError as error:
            problem = str(error)
            if error.not_found:
                problem = f"the API server does not serve {path}: install the chart with crds.enabled=true"
        if problem != told:
            log.warning("waiting: %s", problem)
            told = problem
        await asyncio.sleep(poll_seconds)
