"""Plays scenarios on several kernels, side by side, and keeps what happened for whoever looks into a miss."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import cache
from lab.kernels import guestimage
from lab.kernels.compare import Match, Outcome, compare
from lab.kernels.scenario import Scenario, generate
from lab.kernels.vm import play
from lab.progress import say

SEED = 20261124
SCENARIOS = 30
JOBS = 2


@dataclass(slots=True)
class Run:
    """What one kernel did in all its scenarios."""

    kernel: str
    seed: int
    release: str = ""
    outcomes: list[Outcome] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether every scenario was played and nothing was wrong."""
        return all(outcome.good for outcome in self.outcomes)

    def complaints(self) -> Iterator[str]:
        """For each scenario that went wrong: what, and the command that plays it again."""
        for outcome in self.outcomes:
            if not outcome.good:
                which = f"--kernel {self.kernel} --seed {self.seed} --scenario {outcome.index}"
                yield f"{outcome.error or '; '.join(outcome.misses)}\n    python -m lab.kernels {which}"


def run(kernels: Sequence[str], seed: int, numbers: Sequence[int], jobs: int = JOBS) -> list[Run]:
    """Play the scenarios of those numbers on each kernel, `jobs` kernels at a time.

    Raises:
        LabError: a kernel cannot be had, or its guest does not come up.
    """
    for kernel in kernels:
        guestimage.prepare(kernel)
    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(lambda kernel: _run(kernel, seed, numbers), kernels))


def kept(kernel: str, seed: int, number: int) -> Path:
    """The file with everything about a scenario that was played: itself, prediction, kernel log, steps."""
    return cache.run_directory(f"kernel-{kernel}") / f"{seed}-{number}.json"


def _run(kernel: str, seed: int, numbers: Sequence[int]) -> Run:
    done = Run(kernel, seed, guestimage.release(kernel))
    outcomes = _play(kernel, seed, numbers)
    # What could not be played says nothing about the prediction: it gets one more boot.
    again = [number for number in numbers if number not in outcomes or outcomes[number].error]
    if again:
        outcomes |= _play(kernel, seed, again)
    died = f"the guest died; see {cache.run_directory(f'kernel-{kernel}')}"
    done.outcomes = [outcomes.get(number) or Outcome(number, error=died) for number in numbers]
    return done


def _play(kernel: str, seed: int, numbers: Sequence[int]) -> dict[int, Outcome]:
    """By number, the outcomes of one boot: all, or those until the guest died."""
    directory = cache.run_directory(f"kernel-{kernel}")
    scenarios = {number: generate(seed, number) for number in numbers}
    played = play(kernel, list(scenarios.values()), directory)
    return {result["index"]: _judge(kernel, scenarios[result["index"]], result) for result in played}


def _judge(kernel: str, scenario: Scenario, result: Mapping[str, Any]) -> Outcome:
    outcome = compare(scenario, result)
    path = kept(kernel, scenario.seed, scenario.index)
    path.write_text(json.dumps({"scenario": scenario.document(), **result}, indent=1))
    excluded = " (partly too close to tell)" if Match.EXCLUDED in (outcome.first, outcome.order) else ""
    told = outcome.error or "; ".join(outcome.misses) or f"as predicted{excluded}"
    say(f"{kernel} #{outcome.index}: {outcome.kills} kills in {outcome.seconds:.0f} s, {told}")
    return outcome
