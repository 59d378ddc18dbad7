"""Prometheus' programs: the installed ones, or those of Debian's package."""

import shutil
from pathlib import Path

from lab import packages


def program(name: str) -> Path:
    """The path of `prometheus` or `promtool`.

    Raises:
        LabError: it is neither on PATH nor to be had.
    """
    installed = shutil.which(name)
    return Path(installed) if installed else packages.unpacked("prometheus") / "usr/bin" / name
