"""`python -m oomsayer` is `oomsayer`."""

import importlib
import sys

SERVICES = ("agent", "operator")


def _load_when_used(name: str) -> None:
    """Load a module when something of it is first used; importlib's LazyLoader would when it is imported."""
    stand_in = type(sys)(name)

    def of_the_real(attribute: str) -> object:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in.__dict__["__getattr__"] = of_the_real
    sys.modules.setdefault(name, stand_in)


def _take_name(command: str) -> None:
    """Let forecasts and `ps` show a service of ours by name (15 bytes of it) rather than as python3."""
    # pathlib and contextlib take long to load, and every command waits for them.
    try:
        with open("/proc/self/comm", "w", encoding="ascii") as comm:  # noqa: PTH123 - see above
            comm.write(f"oomsayer-{command}")
    except OSError:
        return


# dataclasses wants the one for classes without a docstring alone (3.13: for all), and a compiler comes with
# it; urllib.parse, which pathlib loads, the other for addresses in brackets. 1.9 MiB of the agent's memory.
for seldom in ("inspect", "ipaddress"):
    _load_when_used(seldom)
if sys.argv[1:2] and sys.argv[1] in SERVICES:
    _take_name(sys.argv[1])

from oomsayer.cli.main import main  # noqa: E402 - not before what it imports is put off

sys.exit(main())
