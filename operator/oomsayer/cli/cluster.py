"""The cluster as a command reads it: kubeconfig, context and namespace as kubectl takes them. Reads only."""

import json
import logging
import os
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

import urllib3
from yaml import YAMLError

from kubernetes import client, config
from oomsayer.api.vocabulary import FORECAST_PLURAL, GROUP, REPORT_PLURAL, VERSION

Json = dict[str, Any]

_TIMEOUT_SECONDS = 20.0
_USUAL_PLACE = "~/.kube/config"
_POD = re.compile(r"([^/\s]+/)?[^/\s]+")
_NO_RIGHTS = ": the chart's ClusterRole NAME-viewer holds the rights, bind it to whoever asks"
_CLIENTS_WORDS = "Invalid kube-config file. "
_URLLIB3_OBJECT = re.compile(r"HTTPS?Connection(Pool)?\([^)]*\): ")


class ClusterError(Exception):
    """The cluster could not be asked, or did not answer as needed; the text says what to do."""


def add_arguments(parser: ArgumentParser, *, namespace: str | None = None) -> None:
    """Add the options by which kubectl finds a cluster.

    Args:
        parser: of a command.
        namespace: what --namespace means to it; None for a command that has no use for one.
    """
    parser.add_argument("--kubeconfig", metavar="FILE", help="path of the kubeconfig (default: as kubectl)")
    parser.add_argument("--context", metavar="NAME", help="context of the kubeconfig (default: the current)")
    if namespace is None:
        parser.set_defaults(namespace=None)
    else:
        parser.add_argument("-n", "--namespace", metavar="NAME", help=namespace)
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "yaml"),
        default="table",
        help="table is for people, json and yaml are for scripts (default: table)",
    )


def pod_name(text: str) -> str:
    """What --pod takes: NAME or NAMESPACE/NAME, neither of them empty.

    Raises:
        ArgumentTypeError: it is something else.
    """
    if not _POD.fullmatch(text):
        raise ArgumentTypeError(f"{text!r} is not [NAMESPACE/]NAME, such as shop/cart-0")
    return text


class Cluster:
    """Reads one cluster.

    Attributes:
        namespace: where names without a namespace are looked for.
    """

    def __init__(self, args: Namespace) -> None:
        """Find the cluster that the options name, as kubectl would; in a pod its own.

        Raises:
            ClusterError: there is none, or what the options name cannot be loaded.
        """
        # Of each try again it would warn, before the error says it all.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        self.namespace: str = args.namespace or "default"
        path = _path(args.kubeconfig)
        try:
            self._client = config.new_client_from_config(path, args.context, persist_config=False)
            if not args.namespace:
                self.namespace = _namespace_of(path, args.context)
        except (config.ConfigException, YAMLError, OSError, TypeError) as error:
            problem = _problem(error, args.kubeconfig, args.context)
            if args.kubeconfig or args.context:
                raise ClusterError(problem) from error
            self._client = self._in_pod(problem)

    @staticmethod
    def _in_pod(problem: str) -> Any:  # noqa: ANN401 - the client is untyped
        configuration = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException as error:
            raise ClusterError(f"{problem}: set KUBECONFIG, or give --kubeconfig or --context") from error
        return client.ApiClient(configuration)

    def report(self, node: str) -> Json | None:
        """The NodeMemoryReport of a node, None without one."""
        return self._custom(REPORT_PLURAL, node)

    def forecasts(self) -> list[Json]:
        """All OOMForecasts, one at least.

        Raises:
            ClusterError: there is none, or no answer.
        """
        api = client.CustomObjectsApi(self._client)
        answer = self._ask(
            lambda: api.list_cluster_custom_object(
                GROUP, VERSION, FORECAST_PLURAL, _request_timeout=_TIMEOUT_SECONDS
            )
        )
        if answer is None:
            raise ClusterError(
                f"there are no {FORECAST_PLURAL}.{GROUP}: is oomsayer installed in this cluster?"
            )
        items: list[Json] = answer.get("items", [])
        if not items:
            raise ClusterError("no forecasts yet: is the operator running?")
        return items

    def pod(self, namespace: str, name: str) -> Json | None:
        """A pod, None without one."""
        api = client.CoreV1Api(self._client)
        return self._ask(lambda: api.read_namespaced_pod(name, namespace, _request_timeout=_TIMEOUT_SECONDS))

    def pods_on(self, node: str) -> list[Json]:
        """The pods of a node."""
        api = client.CoreV1Api(self._client)
        answer = self._ask(
            lambda: api.list_pod_for_all_namespaces(
                field_selector=f"spec.nodeName={node}", _request_timeout=_TIMEOUT_SECONDS
            )
        )
        items: list[Json] = (answer or {}).get("items", [])
        return items

    def _custom(self, plural: str, name: str) -> Json | None:
        api = client.CustomObjectsApi(self._client)
        return self._ask(
            lambda: api.get_cluster_custom_object(
                GROUP, VERSION, plural, name, _request_timeout=_TIMEOUT_SECONDS
            )
        )

    def _ask(self, question: Callable[[], Any]) -> Json | None:
        """An answer as JSON has it, None for what is not there.

        Raises:
            ClusterError: there is no answer, or it is a refusal.
        """
        try:
            answer: Json = self._client.sanitize_for_serialization(question())
        except client.ApiException as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            remedy = _NO_RIGHTS if error.status == HTTPStatus.FORBIDDEN else ""
            raise ClusterError(
                f"the API server answered {error.status} {error.reason}: {_said(error)}{remedy}"
            ) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            server = self._client.configuration.host
            raise ClusterError(f"no answer from the API server {server}: {_silence(error)}") from error
        return answer


def _path(kubeconfig: str | None) -> str:
    """Where a kubeconfig is: as named, else by KUBECONFIG; one that is empty counts as not set."""
    return kubeconfig or str(config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION) or _USUAL_PLACE


def _namespace_of(kubeconfig: str, context: str | None) -> str:
    contexts, active = config.list_kube_config_contexts(kubeconfig)
    chosen = next((c for c in contexts if c["name"] == context), active)
    return str((chosen.get("context") or {}).get("namespace") or "default")


def _problem(error: Exception, kubeconfig: str | None, context: str | None) -> str:
    """Why there is no cluster by a kubeconfig: which one, and what of it, in one line."""
    where = _path(kubeconfig)
    named = kubeconfig or (f"context {context}" if context else where)
    if not any(Path(place).expanduser().exists() for place in where.split(os.pathsep)):
        absent = f"there is no kubeconfig {where}"
        return absent if named == where else f"{named}: {absent}"
    return f"{named}: {_cause(error)}"


def _cause(error: Exception) -> str:
    """What is wrong with a kubeconfig; the client stumbles over what is YAML and none of one."""
    if isinstance(error, TypeError):
        return "holds no kubeconfig"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.removeprefix(_CLIENTS_WORDS).split()).rstrip(".") or type(error).__name__


def _silence(error: Exception) -> str:
    """Why there was no answer, as the system says it where it does: urllib3 tells of its own objects."""
    reason = getattr(error, "reason", None) or error
    cause = reason.__cause__ or reason
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return _URLLIB3_OBJECT.sub("", str(reason)) or type(reason).__name__


def _said(error: Any) -> str:  # noqa: ANN401 - the client is untyped
    """The message of the API's Status, else what there is of an answer."""
    body = str(error.body or "").strip()
    with suppress(ValueError, TypeError, KeyError):
        return str(json.loads(body)["message"])
    return body[:300]
