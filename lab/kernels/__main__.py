"""`python -m lab.kernels`: play generated scenarios on real kernels and print how the predictions did."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from lab import cache
from lab.errors import LabError
from lab.kernels.compare import Outcome, Tally, compare
from lab.kernels.guestimage import KERNELS
from lab.kernels.scenario import generate
from lab.kernels.vm import play
from lab.progress import say

_SEED = 20261124
_SCENARIOS = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is 0 where everything agreed."""
    parser = argparse.ArgumentParser(prog="python -m lab.kernels", description=__doc__)
    parser.add_argument(
        "--kernel", action="append", choices=list(KERNELS), help="default: all, one after the other"
    )
    parser.add_argument("--seed", type=int, default=_SEED)
    parser.add_argument("--scenarios", type=int, default=_SCENARIOS, help="how many (default: %(default)s)")
    parser.add_argument(
        "--scenario", type=int, action="append", help="play that one alone, and tell all about it"
    )
    options = parser.parse_args(arguments)
    numbers = options.scenario or list(range(options.scenarios))
    try:
        reports = [_run(kernel, options.seed, numbers) for kernel in options.kernel or KERNELS]
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    return max(reports)


def _run(kernel: str, seed: int, numbers: Sequence[int]) -> int:
    directory = cache.run_directory(f"kernel-{kernel}")
    outcomes: dict[int, Outcome] = {}
    left = list(numbers)
    while left:
        for result in play(kernel, [generate(seed, number) for number in left], directory):
            number = result["index"]
            left.remove(number)
            outcome = outcomes[number] = compare(generate(seed, number), result)
            _keep(directory / f"{seed}-{number}.json", generate(seed, number).document(), result)
            say(f"{kernel} scenario {number}: {outcome.kills} kills, {result['seconds']} s, "
                f"predicted in {result.get('predicted_in')} s {outcome.error} {'; '.join(outcome.misses)}")  # fmt: skip
        if left:
            say(f"{kernel} scenario {left[0]}: the guest died")
            outcomes[left.pop(0)] = Outcome(error="the guest died")
    first, sets, order = Tally(), Tally(), Tally()
    for outcome in outcomes.values():
        first += outcome.first
        sets += outcome.kill_sets
        order += outcome.order
    errors = sum(bool(outcome.error) for outcome in outcomes.values())
    print(kernel, len(outcomes), first, sets, order, f"errors {errors}")
    return int(bool(errors or first.wrong or sets.wrong or order.wrong))


def _keep(path: Path, scenario: dict[str, object], result: dict[str, object]) -> None:
    path.write_text(json.dumps({"scenario": scenario, **result}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
