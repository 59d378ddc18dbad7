"""`python -m oomsayer` is `oomsayer`."""

import sys

from oomsayer.cli.main import main

SERVICES = ("agent", "operator")


def _take_name(command: str) -> None:
    """Let forecasts and `ps` show a service of ours by name (15 bytes of it) rather than as python3."""
    # pathlib and contextlib take long to load, and every command waits for them.
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as comm:  # noqa: PTH123 - see above
            comm.write(f"oomsayer-{command}")
    except OSError:
        return


if sys.argv[1:2] and sys.argv[1] in SERVICES:
    _take_name(sys.argv[1])
sys.exit(main())
