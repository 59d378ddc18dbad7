"""What was predicted, held against what the kernel logged and against who was gone after each kill."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from lab.kernels.scenario import NO_CONTROLLER, End, Scenario
from oomsayer.kernel.era import detect
from oomsayer.kernel.explain import UNDETERMINED, explain
from oomsayer.kernel.oomlog import OomKill, oom_kills
from oomsayer.kernel.oomscan import oom_reports
from oomsayer.kernel.report import OomReport, TaskRow
from oomsayer.kernel.report.facts import victim_pid
from oomsayer.kernel.verdict import FIRST_VICTIMS

_THREAD_PAGES, _PROCESS_PAGES = 65, 64
_PER_CPU_COUNTERS, _EXACT_COUNTERS = (6, 2), (7, 0)


class Match(Enum):
    """How one comparison came out."""

    RIGHT = "right"
    WRONG = "wrong"
    EXCLUDED = "excluded"
    """Other than predicted, but no file shows what decided.

    Either the margin is smaller than what swapping moves: what the kernel's counters hide, and the shared
    memory that the predicted victim maps, which counts no more once it is in swap. Or the two are level
    and in one memory cgroup, but in different cgroups below it that have no memory controller: the
    kernel scans those in the order in which somebody first entered them. Or who was chosen dies with
    an earlier victim as predicted, but the end of their PID namespace had not yet reached it.
    """


@dataclass(slots=True)
class Outcome:
    """One scenario on one kernel.

    Attributes:
        index: the scenario's number.
        first: whether the first victim was the predicted one; None where nobody was to be killed.
        kill_sets: for each step, whether those who died were the predicted ones.
        order: whether the whole cascade came as predicted.
        kills: how many victims the kernel chose.
        scores: how many processes had the oom_score that we compute, and how many had one at all.
        explained: of the reports in the kernel's log that show a choice, how many `oomsayer explain` makes
            again or knows the reason of, and how many there were.
        misses: what differed, in words.
        error: why it could not be played, empty where it was.
        seconds: how long it took.
    """

    index: int
    first: Match | None = None
    kill_sets: list[Match] = field(default_factory=list)
    order: Match | None = None
    kills: int = 0
    scores: tuple[int, int] = (0, 0)
    explained: tuple[int, int] = (0, 0)
    misses: list[str] = field(default_factory=list)
    error: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether it was played and nothing was wrong."""
        choices = (self.first, self.order, *self.kill_sets)
        shares = (self.scores, self.explained)
        return not self.error and Match.WRONG not in choices and all(some == every for some, every in shares)


def compare(scenario: Scenario, result: Mapping[str, Any]) -> Outcome:
    """Compare one scenario's prediction with what happened."""
    outcome = Outcome(scenario.index, error=result.get("error", ""), seconds=result["seconds"])
    if outcome.error:
        return outcome
    _compare_scores(result["check"], outcome)
    reports = _reports(result)
    _explain_all(scenario, reports, outcome)
    if scenario.end is not End.KILLS:
        _compare_end(scenario, result, outcome)
        return outcome
    kills = [kill for kill in oom_kills(result["log"]) if kill.constraint]
    outcome.kills = len(kills)
    strangers = sorted({kill.domain or "" for kill in kills} - {scenario.domain})
    if strangers:
        outcome.error = f"another domain ran out: {', '.join(strangers)}"
    else:
        _Comparison(scenario, kills, result, outcome, reports).run()
    return outcome


def _compare_scores(check: Mapping[str, Any], outcome: Outcome) -> None:
    """What swapping hides from both is not counted against them."""
    wrong = [each for each in check["mismatches"] if each["because"] == "unexplained"]
    hidden = len(check["mismatches"]) - len(wrong)
    compared = check["compared"] - hidden
    outcome.scores = (compared - len(wrong), compared)
    outcome.misses += [
        f"pid {each['pid']} ({each['comm']}) has oom_score {each['kernel']}, and not {each['ours']}"
        for each in wrong
    ]


def _reports(result: Mapping[str, Any]) -> Sequence[OomReport]:
    log = "".join(f"{line}\n" for line in result.get("log", ()))
    return list(oom_reports([log.encode("utf-8", "surrogateescape")]))


def _explain_all(scenario: Scenario, reports: Sequence[OomReport], outcome: Outcome) -> None:
    """Explain each report; what swapping moved between choice and printing is not counted against us."""
    told = [each for each in map(explain, reports) if each.agrees is not None]
    unknown = [each for each in told if each.because == UNDETERMINED]
    every = len(told) - len(unknown) * scenario.swap
    outcome.explained = (len(told) - len(unknown), every)
    if every > outcome.explained[0]:
        outcome.misses += [
            f"nothing explains why the kernel took {victim_pid(each.report)}" for each in unknown
        ]


def _compare_end(scenario: Scenario, result: Mapping[str, Any], outcome: Outcome) -> None:
    """A scenario in which badness does not decide: what the prediction says of it, and what came."""
    domain = _predicted(scenario, result)
    if scenario.end is End.PANIC:
        said, came = "panics", f"panic: {result.get('panic', 'none')}"
        right = domain["victim"] is None and scenario.says in came
    else:
        (step,) = result["steps"]
        said, came = scenario.says, step["answer"]
        right = came == scenario.end and not step["dead"]
        right = right and (domain["victim"] is not None) is (scenario.end is End.GONE)
    right = right and any(said in each for each in domain["assumptions"])
    outcome.first = outcome.order = Match.RIGHT if right else Match.WRONG
    if not right:
        outcome.misses.append(f"predicted {domain['victim']}, {domain['assumptions']}, and it was: {came}")


def _predicted(scenario: Scenario, result: Mapping[str, Any]) -> Mapping[str, Any]:
    """The prediction for the domain that runs out."""
    domains: Sequence[Mapping[str, Any]] = result["prediction"]["domains"]
    return next(domain for domain in domains if domain["path"] == scenario.domain)


def precision(scenario: Scenario, result: Mapping[str, Any]) -> dict[int, tuple[int, int]]:
    """By pid, how many pages it may lose and gain before the OOM without anything to tell: none without swap.

    Counters drift, up to 6.1 by 65 pages a thread, where a thread keeps counts of its own, from 6.2 to 6.19
    by 64 a process, where a processor does. And shared memory that goes to swap counts no more.
    """
    threads = {int(pid): number for pid, number in result["threads"].items()}
    if not scenario.swap:
        return dict.fromkeys(threads, (0, 0))
    since = detect(result["release"]).era.since
    found: dict[int, tuple[int, int]] = {}
    for pid, number in threads.items():
        drift = _THREAD_PAGES * number if since < _PER_CPU_COUNTERS else _PROCESS_PAGES
        drift = 0 if since >= _EXACT_COUNTERS else drift
        found[pid] = (drift + result["shmem_pages"][str(pid)], drift)
    return found


def _in_badness(row: TaskRow) -> tuple[int | None, ...]:
    return row.rss_pages, row.swap_pages, row.pgtables, row.oom_score_adj


class _Comparison:
    """Goes through the kernel's kills one by one, with the prediction of who is left."""

    def __init__(
        self,
        scenario: Scenario,
        kills: Sequence[OomKill],
        result: Mapping[str, Any],
        outcome: Outcome,
        reports: Sequence[OomReport],
    ) -> None:
        domain = _predicted(scenario, result)
        self._left: list[Mapping[str, Any]] = list(domain["order"])
        self._told = len(self._left)
        told = [*self._left, domain["runner_up"]] if domain["runner_up"] else self._left
        self._points: dict[int, int] = {each["pid"]: each["points"] for each in told}
        self._kills = kills
        self._hidden = precision(scenario, result)
        self._result = result
        self._cgroups = {int(pid): path for pid, path in result["cgroups"].items()}
        self._rows = reports[0].rows if reports else {}
        self._outcome = outcome

    def run(self) -> None:
        result = self._result
        alive = set(self._hidden)
        matches: list[Match] = []
        waiting = list(self._kills)
        for step in result["steps"]:
            gone = set(step["dead"])
            chosen: list[Mapping[str, Any]] = []
            dying: set[int] = set()
            while waiting and waiting[0].pid in gone:
                kill = waiting.pop(0)
                if kill.pid in dying:
                    matches.append(Match.EXCLUDED)
                    continue
                if not self._left and self._told >= FIRST_VICTIMS:
                    # More victims than are ever told: those before were compared.
                    self._conclude(matches)
                    return
                entry, match = self._choose(kill.pid)
                matches.append(match)
                if entry is None:
                    self._conclude(matches)
                    return
                chosen.append({**entry, "logged": kill.oom_group})
                dying |= {*entry["kill_set"], kill.pid}
                self._left = [each for each in self._left if each["pid"] not in dying]
                if step["lossy"]:
                    # So many kills at once that the kernel left out reports: only the first is sure.
                    self._conclude(matches)
                    return
            if not self._same_dead(chosen, gone, alive):
                self._conclude(matches)
                return
            alive -= gone
        if waiting:
            self._miss(f"the kernel chose {waiting[0].pid}, which went on living")
            matches.append(Match.WRONG)
        elif self._left and result["steps"] and result["steps"][-1]["answer"] == "full":
            self._miss(f"predicted {self._left[0]['pid']} next, but the kernel found nobody to kill")
            matches.append(Match.WRONG)
        self._conclude(matches)

    def _choose(self, pid: int) -> tuple[Mapping[str, Any] | None, Match]:
        """The predicted kill that the kernel's choice stands for, and how well it matches."""
        if not self._left:
            self._miss(f"the kernel chose {pid}, but nobody else was predicted")
            return None, Match.WRONG
        best = self._left[0]
        if best["pid"] == pid:
            return best, Match.RIGHT
        entry = next((each for each in self._left if pid in (each["pid"], *each["kill_set"])), None)
        points = self._points.get(pid)
        # Who dies with the predicted victim anyway may have no points in the prediction.
        if (
            points is None
            and entry is best
            and (any(self._hidden[best["pid"]]) or self._level(best["pid"], pid))
        ):
            points = best["points"]
        if entry is not None and points is not None and self._too_close(best, pid, points):
            return entry, Match.EXCLUDED
        shown = str(pid) if points is None else f"{pid} ({points} points)"
        self._miss(f"predicted {best['pid']} ({best['points']} points), the kernel chose {shown}")
        return None, Match.WRONG

    def _level(self, one: int, other: int) -> bool:
        """Whether the kernel's own table shows the same badness for both, as of those who share a memory."""
        shown = [_in_badness(self._rows[pid]) for pid in (one, other) if pid in self._rows]
        return len(shown) > 1 and shown[0] == shown[1]

    def _too_close(self, best: Mapping[str, Any], pid: int, points: int) -> bool:
        margin = best["points"] - points
        one, other = self._cgroups[best["pid"]], self._cgroups[pid]
        unseen_order = one != other and one.removesuffix(NO_CONTROLLER) == other.removesuffix(NO_CONTROLLER)
        hidden = self._hidden[best["pid"]][0] + self._hidden[pid][1]
        return (margin == 0 and unseen_order) or (hidden > 0 and margin <= hidden)

    def _same_dead(
        self, chosen: Sequence[Mapping[str, Any]], gone: AbstractSet[int], alive: AbstractSet[int]
    ) -> bool:
        if not chosen:
            if gone:
                self._miss(f"{sorted(gone)} died without a report")
                self._outcome.kill_sets.append(Match.WRONG)
            return not gone
        expected = {pid for kill in chosen for pid in kill["kill_set"]} & alive
        groups = [kill["oom_group"] for kill in chosen]
        logged = [kill["logged"] for kill in chosen]
        right = gone == expected and groups == logged
        self._outcome.kill_sets.append(Match.RIGHT if right else Match.WRONG)
        if not right:
            self._miss(
                f"with {[kill['pid'] for kill in chosen]}: predicted {sorted(expected)} {groups}, "
                f"died {sorted(gone)} {logged}"
            )
        return right

    def _conclude(self, matches: Sequence[Match]) -> None:
        self._outcome.first = matches[0] if matches else None
        worst = (Match.WRONG, Match.EXCLUDED, Match.RIGHT)
        self._outcome.order = next((match for match in worst if match in matches), Match.RIGHT)

    def _miss(self, text: str) -> None:
        self._outcome.misses.append(text)
