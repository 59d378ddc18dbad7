"""What a real Prometheus remembers, as a test makes it up."""

import subprocess
from collections.abc import Iterable, Mapping

from lab.prometheus import Prometheus, program

Points = Iterable[tuple[float, float]]
"""Seconds since the epoch, and values."""


def remember(server: Prometheus, series: Mapping[str, Points]) -> None:
    """Put history into the store of a server that does not run, by "metric{labels}"."""
    lines = [f"# TYPE {name} gauge" for name in sorted({name.partition("{")[0] for name in series})]
    lines += [f"{name} {value} {moment}" for name, points in series.items() for moment, value in points]
    text = server.directory / "history.txt"
    text.write_text("\n".join([*lines, "# EOF\n"]))
    subprocess.run(
        [program("promtool"), "tsdb", "create-blocks-from", "openmetrics", text, server.store],
        check=True,
        capture_output=True,
        timeout=60,
    )
