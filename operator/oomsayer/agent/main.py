"""`oomsayer agent`: its flags, and the process that the loop runs in for as long as the pod lives."""

import argparse
import os
import signal
from pathlib import Path

from oomsayer import __version__
from oomsayer.agent.apiserver import ApiServer, NotWritten, ReportWriter, bound_node
from oomsayer.agent.change import HEARTBEAT_SECONDS
from oomsayer.agent.journal import Journal, Level
from oomsayer.agent.kubelet import Kubelet
from oomsayer.agent.loop import INTERVAL_SECONDS, STOP_SIGNALS, Agent, Settings
from oomsayer.agent.report import SIZE_LIMIT, SMALLEST_SIZE_LIMIT
from oomsayer.agent.server import HttpServer
from oomsayer.api.flags import LOG_LEVELS, address, flag, one_of, seconds
from oomsayer.api.vocabulary import SERVICE_ACCOUNT
from oomsayer.node.snapshot import Scanner, UnreadableNodeError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the agent's flags; each that takes a value can be set by an environment variable too."""
    flag(parser, "root", "DIR", Path, "holds the node's proc and sys/fs/cgroup", default="/host")
    flag(
        parser,
        "node-name",
        "NAME",
        str,
        "name of this node",
        default=os.environ.get("NODE_NAME", ""),
        shown="NODE_NAME, or what the service account token says",
    )
    flag(parser, "metrics-address", "[HOST]:PORT", address, "of /metrics and /healthz", default=":9464")
    flag(
        parser,
        "interval",
        "SECONDS",
        _seconds,
        "shortest wait between samples of a calm node",
        default=f"{INTERVAL_SECONDS:g}",
    )
    flag(
        parser,
        "heartbeat",
        "SECONDS",
        _seconds,
        "oldest that a report may get",
        default=f"{HEARTBEAT_SECONDS:g}",
    )
    flag(parser, "report-size", "BYTES", _size, "most that a report may have", default=str(SIZE_LIMIT))
    flag(
        parser,
        "service-account",
        "DIR",
        Path,
        "holds the files token and ca.crt",
        default=str(SERVICE_ACCOUNT),
    )
    flag(
        parser,
        "kubelet-address",
        "ADDRESS",
        str,
        "this node's address, to ask its kubelet for its eviction thresholds",
    )
    parser.add_argument(
        "--kubelet-insecure-tls",
        action="store_true",
        help="take any certificate of the kubelet's, as kubelets that sign their own need it",
    )
    flag(
        parser,
        "kernel-log",
        "on|off",
        one_of("on", "off"),
        "on: know kills from the kernel's log; needs CAP_SYSLOG, as root",
        default="off",
    )
    flag(parser, "log-level", "LEVEL", one_of(*LOG_LEVELS), ", ".join(LOG_LEVELS), default="info")


def run(arguments: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT; the exit status is 0 then, 1 where the agent cannot work at all."""
    journal = Journal(Level[arguments.log_level.upper()])
    # Blocked here and taken by the loop, they need no handler; threads inherit the mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        scanner = Scanner(arguments.root)
    except UnreadableNodeError as error:
        journal.error(f"{error}. In a pod, mount the node's /proc and /sys/fs/cgroup below {arguments.root}")
        return 1
    try:
        api_server = ApiServer.of_pod(os.environ, arguments.service_account)
        node = arguments.node_name or _node_of(api_server)
    except (ValueError, NotWritten) as error:
        journal.error(str(error))
        return 1
    address = arguments.kubelet_address
    kubelet = Kubelet(address, api_server, arguments.kubelet_insecure_tls) if address else None
    agent = Agent(scanner, ReportWriter(api_server, node), journal, _settings(arguments), kubelet)
    host, port = arguments.metrics_address
    try:
        http = HttpServer((host, port), agent.metrics.text, agent.ill)
    except OSError as error:
        journal.error(f"--metrics-address {host}:{port}: {error.strerror}: is another agent running here?")
        return 1
    http.start()
    journal.info(f"oomsayer agent {__version__} watches node {node}; metrics on port {http.port}")
    try:
        agent.run()
    finally:
        http.stop()
        scanner.close()
    return 0


def _settings(arguments: argparse.Namespace) -> Settings:
    return Settings(
        interval_seconds=arguments.interval,
        heartbeat_seconds=arguments.heartbeat,
        size_limit=arguments.report_size,
        kernel_log=arguments.kernel_log == "on",
    )


def _node_of(api_server: ApiServer) -> str:
    node = bound_node(api_server.token())
    if node is None:
        raise ValueError(
            "which node is this? The token does not say: set NODE_NAME from the downward API's spec.nodeName"
        )
    return node.name


_seconds = seconds(0.1, 3600.0)


def _size(text: str) -> int:
    largest = 1024 * 1024
    if not text.isdecimal() or not SMALLEST_SIZE_LIMIT <= int(text) <= largest:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number of bytes from {SMALLEST_SIZE_LIMIT} to {largest} (etcd takes 1.5 MiB)"
        )
    return int(text)
