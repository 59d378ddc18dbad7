"""What was predicted, held against what the kernel logged and against who was gone after each kill."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.kernels.scenario import Scenario
from oomsayer.kernel.oomlog import OomKill, oom_kills

_SUPPRESSED = re.compile(r"callbacks suppressed|the log was overwritten")


@dataclass(slots=True)
class Tally:
    """How often something was right, wrong, or too close for the kernel's counters to tell."""

    right: int = 0
    wrong: int = 0
    excluded: int = 0

    def add(self, *, right: bool, excluded: bool) -> None:
        """Count one comparison; one that is right anyway counts as such."""
        if right:
            self.right += 1
        elif excluded:
            self.excluded += 1
        else:
            self.wrong += 1

    def __iadd__(self, other: "Tally") -> "Tally":
        self.right += other.right
        self.wrong += other.wrong
        self.excluded += other.excluded
        return self


@dataclass(slots=True)
class Outcome:
    """One scenario on one kernel.

    Attributes:
        first: whether the first victim was the predicted one.
        kill_sets: whether those who died with each victim were the predicted ones.
        order: whether the whole cascade came in the predicted order.
        kills: how many kills the kernel reported.
        misses: what differed, in words.
        error: why it could not be played, empty where it was.
    """

    first: Tally = field(default_factory=Tally)
    kill_sets: Tally = field(default_factory=Tally)
    order: Tally = field(default_factory=Tally)
    kills: int = 0
    misses: list[str] = field(default_factory=list)
    error: str = ""


def compare(scenario: Scenario, result: Mapping[str, Any]) -> Outcome:
    """Compare one scenario's prediction with what happened."""
    outcome = Outcome(error=result.get("error", ""))
    if outcome.error:
        return outcome
    if any(_SUPPRESSED.search(line) for line in result["log"]):
        outcome.error = "the kernel dropped messages"
        return outcome
    domain = next((d for d in result["prediction"]["domains"] if d["path"] == scenario.domain), None)
    if domain is None:
        outcome.misses.append(f"no verdict for {scenario.domain}")
        outcome.first.wrong += 1
        return outcome
    kills = oom_kills(result["log"])
    outcome.kills = len(kills)
    strangers = sorted({kill.domain for kill in kills} - {scenario.domain})
    if strangers:
        outcome.error = f"another domain ran out: {', '.join(strangers)}"
        return outcome
    _Comparison(domain, kills, result["steps"], set(map(int, result["names"])), outcome).run()
    return outcome


class _Comparison:
    def __init__(
        self,
        domain: Mapping[str, Any],
        kills: Sequence[OomKill],
        steps: Sequence[Mapping[str, Any]],
        alive: set[int],
        outcome: Outcome,
    ) -> None:
        self._predicted: list[Mapping[str, Any]] = domain["order"]
        self._domain = domain
        self._kills = kills
        self._steps = steps
        self._alive = alive
        self._outcome = outcome

    def run(self) -> None:
        outcome = self._outcome
        actual = [kill.pid for kill in self._kills]
        expected = [kill["pid"] for kill in self._predicted][: len(actual)]
        agreed = next((i for i, pair in enumerate(zip(actual, expected, strict=False)) if pair[0] != pair[1]),
                      min(len(actual), len(expected)))  # fmt: skip
        same = actual == expected and not self._ended_early()
        outcome.order.add(right=same, excluded=False)
        if not actual and not expected:
            return
        outcome.first.add(right=agreed > 0, excluded=False)
        if not same:
            outcome.misses.append(f"order: predicted {self._told(expected)}, killed {self._told(actual)}")
        self._compare_kill_sets(agreed)

    def _ended_early(self) -> bool:
        """Whether the kernel found nobody left to kill while the prediction goes on, or the other way round."""
        full = bool(self._steps) and self._steps[-1]["answer"] == "full"
        more = len(self._predicted) > len(self._kills)
        return full and more

    def _compare_kill_sets(self, agreed: int) -> None:
        """Compare step by step: those gone after a step with the kill sets of its kills."""
        position = 0
        for step in self._steps:
            gone = set(step["dead"])
            begin = position
            while position < agreed and self._kills[position].pid in gone:
                position += 1
            if position == begin:
                return
            kills = self._predicted[begin:position]
            expected = {pid for kill in kills for pid in kill["kill_set"]} & self._alive
            groups = [kill["oom_group"] for kill in kills]
            logged = [kill.oom_group for kill in self._kills[begin:position]]
            right = gone == expected and groups == logged
            self._outcome.kill_sets.add(right=right, excluded=False)
            if not right:
                self._outcome.misses.append(
                    f"kill set of {[kill['pid'] for kill in kills]}: predicted {sorted(expected)} group {groups}, "
                    f"died {sorted(gone)} group {logged}"
                )
                return
            self._alive -= gone

    def _told(self, pids: Sequence[int]) -> str:
        points = {kill["pid"]: kill["points"] for kill in self._predicted}
        return " ".join(f"{pid}({points.get(pid, '?')})" for pid in pids)
