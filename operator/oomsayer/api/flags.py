"""Flags of the two services, which environment variables can set too. Standard library only: so is the agent.

Each converter here raises ArgumentTypeError, from which argparse makes one sentence and exit status 2.
"""

import os
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LOG_LEVELS = ("debug", "info", "warning", "error")


def flag(
    parser: ArgumentParser,
    name: str,
    metavar: str,
    convert: Callable[[str], T],
    text: str,
    *,
    default: str = "",
    shown: str | None = None,
) -> None:
    """Add --NAME. Where it is not given, OOMSAYER_NAME counts, and where that is empty, `default`.

    Args:
        parser: takes it.
        name: without the dashes in front.
        metavar: what stands for the value in the help.
        convert: makes the value of what was said, of the default too.
        text: what it is for.
        default: as it would be typed.
        shown: what the help says of it, where that differs from one machine to the next.
    """
    variable = f"OOMSAYER_{name.upper().replace('-', '_')}"
    parser.add_argument(
        f"--{name}",
        type=convert,
        default=os.environ.get(variable) or default,
        metavar=metavar,
        help=f"{text} [{variable}; default: {shown or default or 'none'}]",
    )


def address(text: str) -> tuple[str, int]:
    """Where to listen: ":PORT" for every address of the machine (host ""), "HOST:PORT" or "[IPv6]:PORT"."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:  # noqa: PLR2004 - the last TCP port
        raise ArgumentTypeError(f"{text!r} is not [HOST]:PORT, such as :9464 or 127.0.0.1:9464")
    return host.strip("[]"), int(port)


def seconds(least: float, most: float) -> Callable[[str], float]:
    """A converter that takes a time to wait within these bounds."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value <= most:
            raise ArgumentTypeError(f"{text!r} is not a number of seconds from {least:g} to {most:g}")
        return value

    return convert


def one_of(*words: str) -> Callable[[str], str]:
    """A converter that takes these words alone."""

    def convert(text: str) -> str:
        if text not in words:
            raise ArgumentTypeError(f"{text!r} is not {', '.join(words[:-1])} or {words[-1]}")
        return text

    return convert
