"""Our time to OOM against linear regression, on recorded series: python bench/growth.py [NAME...].

Both see the same, second by second. predict_linear is what alert rules commonly ask of Prometheus: a least
squares line through the working set (usage without inactive page cache) of the last minutes, and the moment
at which it meets the limit. An alarm is an OOM foretold within ten minutes. Ours begins where that is sure,
and ends where it may as well never come or is twice as far away: so does the operator's Event.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, inf, isinf, log, sqrt
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "operator"))

from oomsayer.forecast.growth import growth
from oomsayer.forecast.history import History
from oomsayer.forecast.oomtime import Sureness, oom_time

SERIES = Path(__file__).resolve().parent / "series"
ALARM_SECONDS = 600.0
SETTLING_SECONDS = 10
"""Nobody is judged by the first seconds of a process."""


@dataclass(frozen=True)
class Row:
    """One second: bytes, and the kills so far."""

    second: float
    demand: int
    working_set: int
    kills: int


@dataclass(frozen=True)
class Series:
    """A recording."""

    name: str
    limit: int
    rows: Sequence[Row]

    def kills(self) -> list[float]:
        """When somebody was killed."""
        return [after.second for before, after in pairwise(self.rows) if after.kills > before.kills]


@dataclass(frozen=True)
class Foretold:
    """Seconds until the OOM as foretold: a range, or one number twice; sure or not."""

    earliest: float
    latest: float
    sure: bool = True

    @property
    def middle(self) -> float:
        """Of a range, where error is counted by factors."""
        return sqrt(max(self.earliest, 1.0) * max(self.latest, 1.0))


Method = Callable[[Series], list[Foretold | None]]
"""What is foretold in each second, None for no OOM."""


def ours(series: Series) -> list[Foretold | None]:
    """What oomsayer foretells."""
    told: list[Foretold | None] = []
    history, kills = History(), 0
    for row in series.rows:
        if row.kills > kills:
            history, kills = History(), row.kills
        history.add(row.second, row.demand)
        time = oom_time(growth(history.points()), series.limit - row.demand, row.demand)
        sure = time.sureness is Sureness.HIGH
        one = None if time.earliest is None else Foretold(time.earliest, time.latest or inf, sure)
        told.append(one)
    return told


def predict_linear(minutes: int) -> Method:
    """Least squares over the working set of the last minutes."""

    def method(series: Series) -> list[Foretold | None]:
        told: list[Foretold | None] = []
        for index, row in enumerate(series.rows):
            window = series.rows[max(index - minutes * 60, 0) : index + 1]
            slope, level = _line([(r.second - row.second, r.working_set) for r in window])
            seconds = (series.limit - level) / slope if slope > 0 else None
            told.append(None if seconds is None else Foretold(max(seconds, 0.0), max(seconds, 0.0)))
        return told

    return method


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Slope and value at 0 of the least squares line."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
    return slope, mean_y - slope * mean_x


METHODS: dict[str, Method] = {
    "oomsayer": ours,
    "linear 5m": predict_linear(5),
    "linear 15m": predict_linear(15),
}


@dataclass(frozen=True)
class Score:
    """How one method did on one series.

    Attributes:
        leads: for each kill, for how many seconds the alarm had stood without a break; 0 is a miss.
        factors: for each second with an OOM ahead, by which factor the time was wrong, 1 and more.
        inside: for each of these, whether the real kill fell into the range, give or take two seconds.
        false_alarms: seconds in alarm with no kill ahead.
        quiet: seconds with no kill ahead.
    """

    leads: Sequence[float] = ()
    factors: Sequence[float] = ()
    inside: Sequence[bool] = ()
    false_alarms: int = 0
    quiet: int = 0


def score(series: Series, told: Sequence[Foretold | None]) -> Score:
    """Hold what was foretold against what happened."""
    kills = series.kills()
    alarm = _alarms(told)
    leads, factors, inside = [], [], []
    for kill in kills:
        lead = 0
        while kill - lead - 1 >= 0 and alarm[int(kill) - lead - 1]:
            lead += 1
        leads.append(float(lead))
    for row, one in zip(series.rows, told, strict=True):
        left = next((kill - row.second for kill in kills if kill > row.second), None)
        if one is not None and one.sure and left is not None and row.second >= SETTLING_SECONDS:
            factors.append(exp(abs(log(max(one.middle, 1.0) / max(left, 1.0)))))
            inside.append(one.earliest - 2 <= left <= one.latest + 2)
    quiet = [
        a for a, row in zip(alarm, series.rows, strict=True) if not kills and row.second >= SETTLING_SECONDS
    ]
    return Score(leads, factors, inside, sum(quiet), len(quiet))


def _alarms(told: Iterable[Foretold | None]) -> list[bool]:
    """Whether there is an alarm, for each second."""
    alarms, on = [], False
    for one in told:
        goes_on = on and one is not None and not isinf(one.latest)
        on = one is not None and (goes_on or one.sure) and one.earliest <= ALARM_SECONDS * (1 + goes_on)
        alarms.append(on)
    return alarms


def load(path: Path) -> Series:
    """Read a recording."""
    about, _, *lines = path.read_text().splitlines()
    rows = []
    for line in lines:
        second, usage, active, inactive, slab, _, kills = (int(word) for word in line.split(","))
        demand, working_set = usage - active - inactive - slab, usage - inactive
        rows.append(Row(second, demand << 10, working_set << 10, kills))
    return Series(path.stem, int(about.split("limit ")[1].split()[0]) << 20, rows)


def main() -> None:
    """Print a line a series, and what they come to."""
    names = sys.argv[1:]
    paths = [p for p in sorted(SERIES.glob("*.csv")) if not names or p.stem in names]
    print(f"{'':16}" + "".join(f"{name:^34}" for name in METHODS))
    columns = f"{'warned':>12}{'wrong by':>11}{'false':>9}  "
    print(f"{'SERIES':16}" + columns * len(METHODS))
    totals: dict[str, list[Score]] = {name: [] for name in METHODS}
    for path in paths:
        series = load(path)
        line = f"{series.name:16}"
        for name, method in METHODS.items():
            result = score(series, method(series))
            totals[name].append(result)
            line += _cells(result)
        print(line)
    if names:
        return
    print()
    for name, scores in totals.items():
        print(f"{name:12}{_summary(scores)}")


def _cells(result: Score) -> str:
    warned = ",".join(f"{lead:.0f}" for lead in result.leads) or "-"
    wrong = f"{median(result.factors):.2f}x" if result.factors else "-"
    false = f"{result.false_alarms / result.quiet:.0%}" if result.quiet else "-"
    return f"{warned + 's' if result.leads else '-':>12}{wrong:>11}{false:>9}  "


def _summary(scores: Iterable[Score]) -> str:
    scores = list(scores)
    leads = [lead for s in scores for lead in s.leads]
    factors = sorted(f for s in scores for f in s.factors)
    inside = [i for s in scores for i in s.inside]
    false, quiet = sum(s.false_alarms for s in scores), sum(s.quiet for s in scores)
    return (
        f"missed {sum(lead == 0 for lead in leads)} of {len(leads)} kills, "
        f"warned {median(leads):.0f} s ahead, time wrong by {median(factors):.2f}x "
        f"(one in ten by {factors[len(factors) * 9 // 10]:.1f}x or more), "
        f"kill in range {sum(inside) / len(inside):.0%}, in false alarm {false / quiet:.1%} of the time"
    )


if __name__ == "__main__":
    main()
