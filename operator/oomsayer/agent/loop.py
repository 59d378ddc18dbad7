"""The agent's loop: look at the node, tell Prometheus, and send a report when there is something to say."""

import signal
import time
from collections import Counter
from dataclasses import dataclass, replace

from oomsayer.agent.apiserver import NotWritten, ReportWriter
from oomsayer.agent.change import HEARTBEAT_SECONDS, NEAR, Decider, State, Weight, state
from oomsayer.agent.courier import Courier
from oomsayer.agent.histories import Histories
from oomsayer.agent.journal import Journal
from oomsayer.agent.kills import KillRecord, KillWatch
from oomsayer.agent.kubelet import ConfigReader, Kubelet
from oomsayer.agent.metrics import Metrics, Sampled
from oomsayer.agent.pace import LONGEST_CALM_SECONDS, Pace
from oomsayer.agent.report import SIZE_LIMIT, report
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

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
"""The loop takes them where it waits: they must be blocked before any thread begins."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What people may set.

    Attributes:
        interval_seconds: shortest wait between samples.
        heartbeat_seconds: oldest that a report may get.
        size_limit: bytes that a report's status may have at most, as compact JSON.
        kernel_log: know kills from the kernel's log and not from counters, if it can be read.
    """

    interval_seconds: float = INTERVAL_SECONDS
    heartbeat_seconds: float = HEARTBEAT_SECONDS
    size_limit: int = SIZE_LIMIT
    kernel_log: bool = False


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
        settings: Settings,
        kubelet: Kubelet | None = None,
    ) -> None:
        """An agent that does nothing yet."""
        self.metrics = Metrics()
        self._scanner = scanner
        self._writer = writer
        self._journal = journal
        self._settings = settings
        self._pace = Pace(settings.interval_seconds)
        self._kills = _kill_watch(scanner, journal, log=settings.kernel_log)
        self._decider = Decider(time.monotonic, settings.heartbeat_seconds)
        self._config = ConfigReader(kubelet, time.monotonic, journal.warning)
        self._courier = Courier(self._deliver, self._not_delivered)
        self._histories = Histories()
        self._newest: Sample | None = None
        self._sampled_at = time.monotonic()
        self._lively_until = self._sampled_at
        self._checked_at: float | None = None
        self._trouble = ""

    def run(self) -> None:
        """Sample until one of STOP_SIGNALS comes."""
        self._courier.start()
        stopped = None
        while stopped is None:
            wait = self._turn()
            stopped = signal.sigtimedwait(STOP_SIGNALS, wait)
        self._journal.info(f"stopping on {signal.Signals(stopped.si_signo).name}")
        self._courier.stop(STOP_SECONDS)
        if not self._courier.alive:  # else closing would wait for the answer that it waits for
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
            return self._settings.interval_seconds
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
        ready = report(snapshot, sample.told, self._settings.size_limit, sample.watched, sample.kills)
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
