"""`python -m oomsayer` is `oomsayer`."""

import contextlib
import sys
from pathlib import Path

from oomsayer.cli.main import main

SERVICES = ("agent", "operator")


def _take_name(command: str) -> None:
    """Let forecasts and `ps` show a service of ours by name (15 bytes of it) rather than as python3."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(f"oomsayer-{command}", encoding="ascii")


if sys.argv[1:2] and sys.argv[1] in SERVICES:
    _take_name(sys.argv[1])
sys.exit(main())
