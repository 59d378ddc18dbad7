"""The command `oomsayer`."""

import errno
import os
import sys
from argparse import ArgumentParser, HelpFormatter, Namespace
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Protocol, cast

from oomsayer import __version__


class Command(Protocol):
    """A module that makes a subcommand."""

    add_arguments: Callable[[ArgumentParser], None]
    run: Callable[[Namespace], int]


_PROGRAM = "oomsayer"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the kernel says of a file that takes no more; commands write to stdout alone."""
_NOT_WRITTEN = 2


class _Help(HelpFormatter):
    """Help as wide as the terminal.

    Left alone, argparse asks shutil for the width whenever a flag is added, and shutil loads three packages
    for compression: two thirds of a mebibyte that the agent does without.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


_COMMANDS = {
    "node": ("oomsayer.cli.node", "say whom an OOM on this machine would kill"),
    "explain": ("oomsayer.cli.explain", "say why the OOM killer took whom a kernel log says it took"),
    "advise": ("oomsayer.cli.advise", "say the smallest change that would spare a pod"),
    "what-if": ("oomsayer.cli.whatif", "say who would be killed if a pod were another (changes nothing)"),
    "scorecard": ("oomsayer.cli.scorecard", "say how the forecasts of OOM kills have come out"),
    "agent": ("oomsayer.agent.main", "report this node to the cluster (runs in the DaemonSet)"),
    "operator": (
        "oomsayer.controller.main",
        "turn the nodes' reports into forecasts (runs in the Deployment)",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status.

    Raises:
        SystemExit: the arguments are wrong (status 2), or only ask for help or the version.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:
            # Whoever started this has closed it; print() would take stdout for a stderr that is None.
            setattr(sys, stream, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - as in explain; till the end
    _accept_any_text()
    try:
        command, args = _parse(words)
        status = command.run(args) if command else 0
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read has enough.
        _write_no_more()
        return 0
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _write_no_more()
        print(f"{_PROGRAM}: cannot write the output: {error.strerror}", file=sys.stderr)
        return _NOT_WRITTEN
    except KeyboardInterrupt:
        return 130
    return status


def _write_no_more() -> None:
    """Python flushes stdout once more at exit: let that go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _parse(words: Sequence[str]) -> tuple[Command | None, Namespace]:
    """The command that these words name, and its arguments; only that one is imported, and has a parser."""
    if not words or words[0] not in _COMMANDS:
        overview = _overview()
        overview.parse_args(words)
        overview.print_help()
        return None, Namespace()
    name = words[0]
    module, summary = _COMMANDS[name]
    command = _load(name, module)
    description = f"{summary[0].upper()}{summary[1:]}."
    parser = ArgumentParser(prog=f"{_PROGRAM} {name}", formatter_class=_Help, description=description)
    command.add_arguments(parser)
    return command, parser.parse_args(words[1:])


def _overview() -> ArgumentParser:
    """What there is: takes any command, and refuses what is none."""
    parser = ArgumentParser(
        prog=_PROGRAM,
        formatter_class=_Help,
        description="Says which process, container and pod the Linux OOM killer takes next, and why.",
    )
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {__version__}")
    commands = parser.add_subparsers(prog=_PROGRAM, title="commands", dest="command", metavar="COMMAND")
    for name, (_, summary) in _COMMANDS.items():
        commands.add_parser(name, help=summary)
    return parser


def _columns() -> int:
    """How wide the terminal is. Some shells and containers set COLUMNS to 0: as if it were not set."""
    told = os.environ.get("COLUMNS", "")
    if told.isdecimal() and int(told) > 0:
        return int(told)
    try:
        return os.get_terminal_size().columns or 80
    except OSError:
        return 80


def _load(name: str, module: str) -> Command:
    try:
        return cast("Command", import_module(module))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("oomsayer."):
            what = f"this build of oomsayer does not contain `{name}`"
        else:
            what = f"`oomsayer {name}` needs {error.name}, which is not installed"
        extra = "operator" if name == "operator" else "cli"
        raise SystemExit(f"oomsayer: {what}: in a clone of it, pip install '.[{extra}]'") from error


def _accept_any_text() -> None:
    """Let no name that cannot be encoded stop the output."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
