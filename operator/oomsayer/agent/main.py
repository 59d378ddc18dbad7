"""`oomsayer agent`: sample this node, say what changed, for as long as the pod lives."""

import argparse
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from oomsayer import __version__
from oomsayer.agent.apiserver import ApiServer, NotWritten, ReportWriter, bound_node
from oomsayer.agent.change import HEARTBEAT_SECONDS, NEAR, Decider, State, Weight, state
from oomsayer.agent.courier import Courier
from oomsayer.agent.histories import Histories
from oomsayer.agent.journal import Journal, Level
from oomsayer.agent.kills import KillRecord, KillWatch
from oomsayer.agent.kubelet import ConfigReader, Kubelet
from oomsayer.agent.metrics import Metrics, Sampled
from oomsayer.agent.pace import LONGEST_CALM_SECONDS, Pace
from oomsayer.agent.report import SIZE_LIMIT, SMALLEST_SIZE_LIMIT, report
from oomsayer.agent.server import HttpServer
from oomsayer.api.flags import LOG_LEVELS, address, flag, one_of, seconds
from oomsayer.api.vocabulary import SERVICE_ACCOUNT
from oomsayer.forecast.headroom import headroom
from oomsayer.forecast.prospect import Watched, prospects, worth_telling
from oomsayer.kernel.snapshot import ROOT, Snapshot
from oomsayer.kernel.verdict import FIRST_VICTIMS, Verdict, verdicts
from oomsayer.node import kernellog
from oomsayer.node.selfcheck import Because, self_check
from oomsayer.node.snapshot import Scanner, UnreadableNodeError

INTERVAL_SECONDS = 2.0
"""The default of the shortest wait between samples of a calm node."""

SETTLING_SECONDS = 30.0
"""What came, went or overtook is watched closely for so long: a starting pod is another one soon."""

STUCK_AFTER_SECONDS = 4 * LONGEST_CALM_SECONDS
"""Without a sample for so long the agent is of no use, and the kubelet should start it anew."""

SELF_CHECK_SECONDS = 600.0
"""How often all processes' oom_score is held against the kernel's: its rules do not change while it runs."""

STOP_SECONDS = 2.0
"""What a report on its way is given when the pod is stopped."""


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
        "shortest wait between samples",
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
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
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
    agent = Agent(scanner, ReportWriter(api_server, node), journal, arguments, kubelet)
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


_STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


@dataclass(frozen=True, slots=True)
class Sample:
    """A snapshot and what follows from it."""

    snapshot: Snapshot
    told: list[Verdict]
    watched: Watched
    state: State
    kills: tuple[KillRecord, ...]


class Agent:
    """The sampling loop and what the courier needs of it."""

    def __init__(
        self,
        scanner: Scanner,
        writer: ReportWriter,
        journal: Journal,
        arguments: argparse.Namespace,
        kubelet: Kubelet | None = None,
    ) -> None:
        """An agent that does nothing yet."""
        self.metrics = Metrics()
        self._scanner = scanner
        self._writer = writer
        self._journal = journal
        self._interval_seconds: float = arguments.interval
        self._pace = Pace(arguments.interval)
        self._kills = _kill_watch(scanner, journal, log=arguments.kernel_log == "on")
        self._size_limit: int = arguments.report_size
        self._decider = Decider(time.monotonic, arguments.heartbeat)
        self._config = ConfigReader(kubelet, time.monotonic, journal.warning)
        self._courier = Courier(self._deliver, self._not_delivered)
        self._histories = Histories()
        self._newest: Sample | None = None
        self._sampled_at = time.monotonic()
        self._lively_until = self._sampled_at
        self._checked_at: float | None = None
        self._trouble = ""

    def run(self) -> None:
        """Sample until told to stop."""
        self._courier.start()
        stopped = None
        while stopped is None:
            wait = self._turn()
            stopped = signal.sigtimedwait(_STOP_SIGNALS, wait)
        self._journal.info(f"stopping on {signal.Signals(stopped.si_signo).name}")
        self._courier.stop(STOP_SECONDS)
        self._writer.close()

    def ill(self) -> str:
        """What is wrong with the agent itself, "" for nothing. An API server that is away is not."""
        silent = time.monotonic() - self._sampled_at
        if silent > STUCK_AFTER_SECONDS:
            return f"no sample for {silent:.0f} s"
        return "" if self._courier.alive else "the thread that writes reports has ended"

    def _turn(self) -> float:
        """One sample and what it calls for; returns the seconds until the next."""
        began, spent = time.perf_counter(), time.thread_time()
        try:
            self._self_check()
            sample = self._sample()
        except (OSError, UnreadableNodeError) as error:
            self.metrics.sample_failed()
            self._complain(f"this node cannot be read: {error}")
            return self._interval_seconds
        self._newest = sample
        self._sampled_at = time.monotonic()
        self.metrics.sample(_in_numbers(sample), time.perf_counter() - began)
        if not self._courier.busy:
            change = self._decider.decide(sample.state, sample.snapshot)
            if change is not None:
                self._journal.debug(f"report: {change.what}")
                self._courier.send()
                if change.weight >= Weight.ORDINARY:
                    self._lively_until = self._sampled_at + SETTLING_SECONDS
        lively = sample.state.near or self._kills.waiting or self._sampled_at < self._lively_until
        return self._pace.pause(time.thread_time() - spent, lively=lively)

    def _sample(self) -> Sample:
        snapshot = self._scanner.snapshot()
        told = verdicts(snapshot, FIRST_VICTIMS)
        for record in self._kills.look(snapshot, told):
            self.metrics.kill_seen(record.match.outcome.value)
            self._journal.info(_in_words(record))
        rooms = {verdict.domain.path: headroom(verdict.domain, snapshot) for verdict in told}
        watched = self._histories.note(snapshot, rooms, time.monotonic())
        ahead = prospects(snapshot, rooms, watched)
        watched = worth_telling(watched, ahead)
        now = state(snapshot, told, rooms, ahead, self._config.known, kills=self._kills.seen)
        return Sample(snapshot, told, watched, now, self._kills.records(snapshot.taken_at))

    def _self_check(self) -> None:
        now = time.monotonic()
        if self._checked_at is not None and now - self._checked_at < SELF_CHECK_SECONDS:
            return
        self._checked_at = now
        check = self_check(self._scanner)
        found = Counter(mismatch.because for mismatch in check.mismatches)
        self.metrics.self_checked(check.compared, {b.name.lower(): found[b] for b in Because})
        if check.unexplained:
            self._journal.warning(
                f"{check.unexplained} of {check.compared} processes have another oom_score than we compute: "
                "this kernel may follow other rules (oomsayer node --check names them)"
            )

    def _deliver(self) -> None:
        sample = self._newest
        if sample is None:
            return
        snapshot = replace(sample.snapshot, gaps=(*sample.snapshot.gaps, *self._writer.gaps()))
        ready = report(snapshot, sample.told, self._size_limit, sample.watched, sample.kills)
        self._writer.write({**ready.status, **self._config.reported()})
        self._decider.told(sample.state)
        self.metrics.report_written(ready.size_bytes, ready.omitted_domains, time.time())
        if self._trouble:
            self._trouble = ""
            self._journal.info("reports are written again")

    def _not_delivered(self, error: NotWritten, wait: float) -> None:
        self.metrics.report_not_written()
        self._complain(f"report not written, next attempt in {wait:.0f} s: {error}", str(error))

    def _complain(self, text: str, trouble: str | None = None) -> None:
        """Say what is wrong, but not again while it stays the same."""
        trouble = trouble or text
        if trouble != self._trouble:
            self._trouble = trouble
            self._journal.warning(text)


def _kill_watch(scanner: Scanner, journal: Journal, *, log: bool) -> KillWatch:
    """Watch for kills by the kernel's log if that is asked for and can be read, else by counters."""
    if log:
        try:
            return KillWatch(scanner, kernellog.opened())
        except OSError as error:
            journal.warning(
                f"the kernel's log cannot be read: {error.strerror or error}. It needs CAP_SYSLOG, as root "
                "(agent.kernelLog in the chart); kills are known by counters"
            )
    return KillWatch(scanner)


def _in_words(record: KillRecord) -> str:
    kill, match = record.kill, record.match
    who = f"{kill.comm} (pid {kill.pid})" if kill.pid is not None else kill.comm or "a process"
    where = kill.memcg if kill.memcg is not None else "a cgroup that is not known"
    foretold = match.foretold
    said = (
        "nothing was foretold"
        if foretold is None
        else f"foretold: {foretold.task.comm} (pid {foretold.task.pid})"
    )
    why = f", {match.reason.value}" if match.reason else ""
    return f"killed: {who} in {where} ({kill.source.value}); {said}: {match.outcome.value}{why}"


def _in_numbers(sample: Sample) -> Sampled:
    standings = sample.state.standings
    return Sampled(
        at=sample.snapshot.taken_at,
        processes=len(sample.snapshot.tasks),
        domains=len(standings),
        domains_near=sum(s.share is not None and s.share < NEAR for s in standings.values()),
        node_headroom_bytes=standings[ROOT].headroom_bytes,
        gaps=len(sample.snapshot.gaps),
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
