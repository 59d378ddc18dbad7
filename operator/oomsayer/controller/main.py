"""`oomsayer operator`: its flags, its log, and the process that the operator runs in."""

import argparse
import asyncio
import logging
import os
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import kopf

from oomsayer.api.flags import LOG_LEVELS, address, flag, one_of
from oomsayer.api.vocabulary import SERVICE_ACCOUNT
from oomsayer.controller.operator import Operator, Settings
from oomsayer.controller.terse import Terse

log = logging.getLogger("oomsayer.operator")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the operator's options; each can be given as OOMSAYER_... in the environment."""
    flag(parser, "metrics-address", "[HOST]:PORT", address, "of /metrics and /healthz", default=":9465")
    flag(
        parser,
        "namespace",
        "NAME",
        str,
        "namespace of the leader election's Lease",
        default=os.environ.get("POD_NAMESPACE") or _own_namespace(),
        shown="the pod's own",
    )
    flag(
        parser,
        "identity",
        "NAME",
        str,
        "this operator's name in the Lease and in Events",
        default=os.environ.get("POD_NAME") or _host_identity(),
        shown="the pod's",
    )
    flag(
        parser,
        "deployment",
        "NAME",
        str,
        "this operator's Deployment, with which the Lease is deleted; without it, the Lease stays",
    )
    flag(
        parser,
        "prometheus-url",
        "URL",
        _url,
        "a Prometheus that scrapes the kubelets' cAdvisor, for growth from before an agent started",
    )
    flag(parser, "prometheus-token-file", "FILE", _path, "holds a bearer token for it")
    flag(parser, "prometheus-ca-file", "FILE", _path, "holds the certificate of the authority behind its own")
    flag(parser, "log-level", "LEVEL", one_of(*LOG_LEVELS), ", ".join(LOG_LEVELS), default="info")


def run(args: argparse.Namespace) -> int:
    """Run until a signal says to stop; the exit code."""
    stderr = logging.StreamHandler()
    stderr.setFormatter(Dated("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=str(args.log_level).upper(), handlers=[stderr])
    if args.log_level != "debug":
        logging.getLogger("kopf").setLevel(logging.WARNING)
        # It warns that it leaves the signals alone, which is why it runs in a thread.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
        for handler in logging.getLogger().handlers:
            handler.addFilter(Terse())
    host, port = args.metrics_address
    try:
        asyncio.run(Operator(_settings(args)).run(host, port))
    except kopf.LoginError as error:
        log.error("%s", error)  # noqa: TRY400 - the sentence says it all
        return 2
    except OSError as error:
        log.error("cannot serve metrics on %s:%s: %s", host, port, error)  # noqa: TRY400 - likewise
        return 1
    return 0


class Dated(logging.Formatter):
    """Dates a line as the agent does: 2026-11-24T01:02:03.456Z, whatever TZ says."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(
        namespace=args.namespace,
        identity=args.identity,
        deployment=args.deployment,
        prometheus_url=args.prometheus_url,
        prometheus_token_file=args.prometheus_token_file,
        prometheus_ca_file=args.prometheus_ca_file,
    )


def _url(text: str) -> str:
    """The URL of an HTTP API, without a slash at its end; "" stays."""
    parts = urlsplit(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise argparse.ArgumentTypeError(f"{text!r} is not a URL such as http://prometheus.monitoring:9090")
    return text.rstrip("/")


def _path(text: str) -> Path | None:
    return Path(text) if text else None


def _own_namespace() -> str:
    try:
        return (SERVICE_ACCOUNT / "namespace").read_text().strip()
    except OSError:
        return "oomsayer"


def _host_identity() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"
