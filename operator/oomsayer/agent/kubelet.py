"""The kubelet's own configuration, asked of the kubelet of this node.

Its /configz answers whoever may get nodes/configz (Kubernetes 1.33 and later; before that it wants
nodes/proxy, which allows far more and which the chart does not give).
"""

import json
import ssl
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from oomsayer.agent.apiserver import ApiServer
from oomsayer.agent.https import HttpError, HttpsConnection
from oomsayer.kubelet.config import DEFAULTS, KubeletConfig, read_configz

PORT = 10250
RENEW_SECONDS = 300.0
"""What was read, or not, is asked for again after this."""

_TIMEOUT_SECONDS = 5.0
_MAX_ANSWER = 256 * 1024
_SAID = 200


class ConfigNotReadError(Exception):
    """The kubelet did not tell its configuration; the text says why and what helps."""


@dataclass(frozen=True, slots=True)
class Kubelet:
    """Where this node's kubelet is, and how to prove who we are.

    Attributes:
        host: the node's address.
        account: whose token is shown; its ca.crt is what the kubelet's certificate is held against.
        insecure: take any certificate: kubeadm's kubelets sign their own.
        port: where it listens.
    """

    host: str
    account: ApiServer
    insecure: bool = False
    port: int = PORT

    def config(self) -> KubeletConfig:
        """Ask for the configuration.

        Raises:
            ConfigNotReadError: there is no answer, or none of use.
            NotWritten: the token cannot be read.
        """
        headers = {"Authorization": f"Bearer {self.account.token()}", "User-Agent": "oomsayer-agent"}
        where = f"the kubelet at {self.host}:{self.port}"
        try:
            connection = HttpsConnection(self.host, self.port, self._context(), _TIMEOUT_SECONDS)
            with closing(connection):
                response = connection.request("GET", "/configz", headers, b"", _MAX_ANSWER)
        except ssl.SSLCertVerificationError as error:
            raise ConfigNotReadError(
                f"{where}: {error.verify_message}: sign its certificate with the cluster's CA "
                "(serverTLSBootstrap), or set agent.kubelet.insecureTLS in the chart"
            ) from error
        except (OSError, HttpError) as error:
            raise ConfigNotReadError(f"{where}: {type(error).__name__}: {error}") from error
        if response.status != HTTPStatus.OK:
            said = response.body[:_SAID].decode("utf-8", "replace").strip()
            raise ConfigNotReadError(f"{where} answered {response.status}: {said}")
        try:
            return read_configz(json.loads(response.body))
        except (AttributeError, TypeError, ValueError, RecursionError) as error:
            raise ConfigNotReadError(f"{where} told no configuration: {error}") from error

    def _context(self) -> ssl.SSLContext:
        if not self.insecure:
            return self.account.tls()
        # The default context would read all authorities of the system, more than a mebibyte.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


class ConfigReader:
    """Remembers the configuration and asks again when it is old. For one thread."""

    def __init__(
        self, kubelet: Kubelet | None, clock: Callable[[], float], complain: Callable[[str], None]
    ) -> None:
        """`kubelet` is None where it is not to be asked; `complain` hears of each new trouble once."""
        self._kubelet = kubelet
        self._clock = clock
        self._complain = complain
        self._config: KubeletConfig | None = None
        self._asked_at: float | None = None
        self._trouble = ""

    @property
    def known(self) -> KubeletConfig:
        """What was read last, or the defaults. May be asked from another thread."""
        return self._config or DEFAULTS

    def reported(self) -> dict[str, Any]:
        """The part of a report's status that tells it: empty where it is not known."""
        if self._kubelet is not None:
            now = self._clock()
            if self._asked_at is None or now - self._asked_at >= RENEW_SECONDS:
                self._asked_at = now
                self._ask(self._kubelet)
        return {} if self._config is None else {"kubelet": reported(self._config)}

    def _ask(self, kubelet: Kubelet) -> None:
        try:
            self._config = kubelet.config()
            self._trouble = ""
        except ConfigNotReadError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._complain(f"evictions are foretold by what was known before, or defaults: {error}")


def reported(config: KubeletConfig) -> dict[str, Any]:
    """A configuration as a report has it; what is at its default is left out."""
    fields = {
        "evictionHard": config.eviction_hard,
        "evictionSoft": config.eviction_soft,
        "evictionSoftGraceSeconds": config.eviction_soft_grace_seconds,
        "enforcePods": config.enforce_pods,
    }
    said: dict[str, Any] = {name: value for name, value in fields.items() if value}
    if config.single_process_oom_kill is not None:
        said["singleProcessOOMKill"] = config.single_process_oom_kill
    return said
