"""Our forecast of the time to OOM against linear regression, on recorded series: python bench/growth.py."""

import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "operator"))

from oomsayer.forecast.growth import growth
from oomsayer.forecast.history import History
from oomsayer.forecast.oomtime import Sureness, oom_time

ALARM_SECONDS = 600.0


@dataclass(frozen=True)
class Series:
    name: str
    limit: int
    rows: list[tuple[float, int, int, int]]  # second, demand, working set, kills


def load(path: Path) -> Series:
    first, header, *lines = path.read_text().splitlines()
    limit = int(first.split("limit ")[1].split()[0]) << 20
    rows = []
    for line in lines:
        second, usage, active, inactive, slab, met, killed = (int(w) for w in line.split(","))
        rows.append((float(second), usage - active - inactive - slab << 10, usage - inactive << 10, killed))
    return Series(path.stem, limit, rows)


def main() -> None:
    verbose = len(sys.argv) > 1
    for path in sorted((HERE / "series").glob("*.csv")):
        if verbose and path.stem not in sys.argv[1:]:
            continue
        series = load(path)
        evaluate(series, verbose)


def evaluate(s: Series, verbose: bool) -> None:
    kills = []
    last = 0
    for t, d, w, k in s.rows:
        if k > last:
            kills.append(t)
        last = k
    history = History()
    n = inside = sure = sureinside = 0
    errs = []
    alarms = 0
    alarmed = {}
    last = 0
    for t, d, w, k in s.rows:
        if k > last:
            history = History()
            last = k
        history.add(t, d)
        room = s.limit - d
        g = growth(history.points())
        o = oom_time(g, room, d)
        true = next((x - t for x in kills if x > t), None)
        if verbose and t % 10 == 0:
            print(
                t,
                d >> 20,
                "true",
                true,
                o.trend,
                o.earliest and round(o.earliest),
                o.latest and round(o.latest),
                o.sureness,
                o.doubts,
                g and [round(x / 1024) for x in (g.low, g.middle, g.high)],
                g and round(g.seconds),
            )
        alarm = (
            o.trend == "growing"
            and o.sureness is Sureness.HIGH
            and o.earliest is not None
            and o.earliest < ALARM_SECONDS
        )
        if alarm:
            alarms += 1
            if true is not None:
                nxt = t + true
                alarmed.setdefault(nxt, true)
        if true is not None and t > 10:
            n += 1
            ok = (
                o.trend == "growing" and o.earliest <= true + 2 and (o.latest is None or true - 2 <= o.latest)
            )
            inside += ok
            if alarm:
                sure += 1
                sureinside += ok
    print(
        f"{s.name:18} kills {len(kills)} rows {len(s.rows)} alarm {alarms / len(s.rows):5.0%} in-range {inside}/{n} sure {sureinside}/{sure} warned {[round(alarmed.get(k, 0)) for k in kills]}"
    )


main()
