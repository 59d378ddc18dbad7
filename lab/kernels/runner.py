"""Plays scenarios on several kernels, side by side, and keeps what happened for whoever looks into a miss."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import cache
from lab.errors import LabError
from lab.kernels import guestimage
from lab.kernels.compare import Match, Outcome, compare
from lab.kernels.scenario import Machine, Scenario, generate
from lab.kernels.staged import FIRST_NUMBER, staged
from lab.kernels.vm import play
from lab.progress import say

SEED = 20261124
SCENARIOS = 30
JOBS = 2
_BOOTS = 2
"""How often what could not be played is tried."""


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

    @property
    def generated(self) -> list[Outcome]:
        """Of the scenarios that follow from the seed."""
        return [outcome for outcome in self.outcomes if outcome.index < FIRST_NUMBER]

    @property
    def staged(self) -> list[Outcome]:
        """Of those made by hand."""
        return [outcome for outcome in self.outcomes if outcome.index >= FIRST_NUMBER]


def all_numbers(generated: int) -> list[int]:
    """So many generated scenarios, and all made by hand."""
    return [*range(generated), *(scenario.index for scenario in staged())]


def run(kernels: Sequence[str], seed: int, numbers: Sequence[int], jobs: int = JOBS) -> list[Run]:
    """Play the scenarios of those numbers on each kernel, `jobs` kernels at a time.

    Raises:
        LabError: a kernel cannot be had.
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
    by_hand = {scenario.index: scenario for scenario in staged()}
    scenarios = [by_hand[n] if n in by_hand else generate(seed, n) for n in numbers]
    if kernel not in guestimage.V1_KERNELS:
        scenarios = [each for each in scenarios if each.machine is not Machine.V1]
    outcomes: dict[int, Outcome] = {}
    for machine in Machine:
        outcomes |= _play_all(kernel, seed, [each for each in scenarios if each.machine is machine], machine)
    died = f"the guest died; see {cache.run_directory(f'kernel-{kernel}')}"
    done.outcomes = [outcomes.get(s.index) or Outcome(s.index, error=died) for s in scenarios]
    return done


def _play_all(kernel: str, seed: int, scenarios: Sequence[Scenario], machine: Machine) -> dict[int, Outcome]:
    """By number, the outcomes. What could not be played says nothing about the prediction: one more boot."""
    outcomes: dict[int, Outcome] = {}
    for _ in range(_BOOTS):
        left = [each for each in scenarios if each.index not in outcomes or outcomes[each.index].error]
        if left:
            outcomes |= _play(kernel, seed, left, machine)
    return outcomes


def _play(kernel: str, seed: int, scenarios: Sequence[Scenario], machine: Machine) -> dict[int, Outcome]:
    """By number, the outcomes of one boot: all, or those until the guest died."""
    by_number = {scenario.index: scenario for scenario in scenarios}
    outcomes: dict[int, Outcome] = {}
    try:
        for result in play(kernel, scenarios, cache.run_directory(f"kernel-{kernel}"), machine):
            number = result["index"]
            outcomes[number] = _judge(kernel, seed, by_number[number], result)
    except LabError as error:
        say(f"{kernel}, {machine}: {error}")
        return {number: Outcome(number, error=str(error)) for number in by_number}
    return outcomes


def _judge(kernel: str, seed: int, scenario: Scenario, result: Mapping[str, Any]) -> Outcome:
    outcome = compare(scenario, result)
    path = kept(kernel, seed, scenario.index)
    path.write_text(json.dumps({"scenario": scenario.document(), **result}, indent=1))
    excluded = " (partly too close to tell)" if Match.EXCLUDED in (outcome.first, outcome.order) else ""
    told = outcome.error or "; ".join(outcome.misses) or f"as predicted{excluded}"
    name = scenario.name and f" ({scenario.name})"
    say(f"{kernel} #{outcome.index}{name}: {outcome.kills} kills in {outcome.seconds:.0f} s, {told}")
    return outcome
