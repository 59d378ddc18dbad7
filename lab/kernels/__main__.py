"""`python -m lab.kernels`: play generated scenarios on real kernels and print how the predictions did."""

import argparse
import sys
from collections.abc import Sequence

from lab.errors import LabError
from lab.kernels.guestimage import KERNELS
from lab.kernels.report import table
from lab.kernels.runner import JOBS, SCENARIOS, SEED, all_numbers, kept, run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Returns:
        0 where every prediction was right, 1 where one was not, 2 where the lab itself failed.
    """
    options = _parser().parse_args(arguments)
    numbers = options.scenario or all_numbers(options.scenarios)
    try:
        runs = run(options.kernel or list(KERNELS), options.seed, numbers, options.jobs)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(table(runs))
    for each in runs:
        for complaint in each.complaints():
            print(f"{each.kernel}: {complaint}")
        if options.scenario:
            print("\n".join(str(kept(each.kernel, each.seed, number)) for number in numbers))
    return 0 if all(each.good for each in runs) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab.kernels", description=__doc__)
    parser.add_argument(
        "--kernel", action="append", choices=list(KERNELS), help="may be given several times (default: all)"
    )
    parser.add_argument(
        "--seed", type=int, default=SEED, help="all scenarios follow from it (default: %(default)s)"
    )
    parser.add_argument(
        "--scenarios",
        type=int,
        default=SCENARIOS,
        metavar="N",
        help="how many generated ones on each kernel, beside those made by hand (default: %(default)s)",
    )
    parser.add_argument(
        "--scenario",
        type=int,
        action="append",
        metavar="NUMBER",
        help="play this one alone; may be given several times",
    )
    parser.add_argument(
        "--jobs", type=int, default=JOBS, metavar="N", help="kernels at a time (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
