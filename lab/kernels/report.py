"""The table of a run: kernel by kernel, how often the kernel did what was predicted."""

from collections.abc import Iterable, Sequence

from lab.kernels.compare import Match
from lab.kernels.runner import Run

_HEADER = (
    "KERNEL",
    "SCENARIOS",
    "KILLS",
    "FIRST VICTIM",
    "KILL SET",
    "ORDER",
    "OOM_SCORE",
    "EXPLAINED",
    "TOO CLOSE",
    "BY HAND",
    "NOT PLAYED",
)


def table(runs: Iterable[Run]) -> str:
    """Aligned columns of "right/compared"; what was too close to tell is in neither, but counted apart."""
    rows = [_HEADER, *(_row(run) for run in runs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(run: Run) -> Sequence[str]:
    first = [outcome.first for outcome in run.generated if outcome.first]
    sets = [match for outcome in run.generated for match in outcome.kill_sets]
    order = [outcome.order for outcome in run.generated if outcome.order]
    by_hand = sum(outcome.good for outcome in run.staged)
    excluded = sum(matches.count(Match.EXCLUDED) for matches in (first, order))
    failed = sum(bool(outcome.error) for outcome in run.outcomes)
    kills = sum(outcome.kills for outcome in run.outcomes)
    same, compared = (sum(outcome.scores[i] for outcome in run.outcomes) for i in (0, 1))
    known, told = (sum(outcome.explained[i] for outcome in run.outcomes) for i in (0, 1))
    return (
        run.release, str(len(run.generated)), str(kills), _share(first), _share(sets), _share(order),
        f"{same}/{compared}", f"{known}/{told}", str(excluded), f"{by_hand}/{len(run.staged)}", str(failed),
    )  # fmt: skip


def _share(matches: Sequence[Match]) -> str:
    right, wrong = matches.count(Match.RIGHT), matches.count(Match.WRONG)
    return f"{right}/{right + wrong}"
