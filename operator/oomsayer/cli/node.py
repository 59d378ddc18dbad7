"""`oomsayer node`: whom an OOM on this machine would take, for the machine and every limited cgroup."""

import os
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

from oomsayer.api.flags import seconds
from oomsayer.cli.check import check_document, check_table
from oomsayer.cli.document import document
from oomsayer.cli.output import data
from oomsayer.cli.table import table
from oomsayer.kernel.snapshot import Snapshot
from oomsayer.kernel.verdict import verdicts
from oomsayer.node.namespace import same_pids
from oomsayer.node.selfcheck import self_check
from oomsayer.node.snapshot import Scanner, UnreadableNodeError

_REDRAW = "\x1b[H\x1b[J"
_NOT_LINUX = 2
"""Exit status on a machine without the Linux OOM killer."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add what `oomsayer node` takes."""
    parser.add_argument(
        "--root",
        type=Path,
        default=Path("/"),
        metavar="DIR",
        help="directory that holds the machine's proc and sys/fs/cgroup (default: /)",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--check",
        action="store_true",
        help="compare our oom_score of each process with the kernel's; status 1 where one stays unexplained",
    )
    what.add_argument("--watch", action="store_true", help="go on, and print again when something changes")
    parser.add_argument(
        "--interval",
        type=seconds(0.01, 3600.0),
        default=2.0,
        metavar="SECONDS",
        help="how often --watch looks (default: 2)",
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "wide", "json", "yaml"),
        default="table",
        help="table fits 120 columns, wide shows whole paths, json and yaml are for scripts (default: table)",
    )


def run(args: Namespace) -> int:
    """Print the verdicts once, or again and again with --watch; the exit status."""
    if sys.platform != "linux":
        print(
            f"oomsayer node reads the memory of a Linux machine, and this one runs {sys.platform}.",
            file=sys.stderr,
        )
        return _NOT_LINUX
    try:
        scanner = Scanner(args.root, keep_open=None if args.watch else 0)
        try:
            return _answer(scanner, args)
        finally:
            scanner.close()
    except UnreadableNodeError as error:
        print(f"oomsayer node: {error}", file=sys.stderr)
        return 1


def _answer(scanner: Scanner, args: Namespace) -> int:
    if args.check:
        return _check(scanner, args.output)
    if args.watch:
        _watch(scanner, args)
    else:
        print(_rendered(scanner.snapshot(), args), end="")
    return 0


def _check(scanner: Scanner, output: str) -> int:
    check = self_check(scanner)
    if output in ("json", "yaml"):
        print(data(check_document(check), output), end="")
    else:
        print(check_table(check), end="")
    return 1 if check.unexplained else 0


def _rendered(snapshot: Snapshot, args: Namespace, *, indent: int | None = 2) -> str:
    told = verdicts(snapshot)
    reader = os.getpid() if same_pids(args.root) else None
    if args.output in ("json", "yaml"):
        return data(document(snapshot, told, reader=reader), args.output, indent)
    return table(snapshot, told, wide=args.output == "wide", reader=reader)


def _watch(scanner: Scanner, args: Namespace) -> None:
    """Print whenever something has changed: anew on a terminal's screen, else one after the other.

    JSON comes as one object a line, YAML as one document each.
    """
    between = {"json": "", "yaml": "---\n"}.get(args.output, "\n")
    for_people = args.output in ("table", "wide")
    if for_people and sys.stdout.isatty():
        between = _REDRAW
    shown: str | None = None
    try:
        while True:
            snapshot = scanner.snapshot()
            text = _rendered(snapshot, args, indent=None)
            if text != shown:
                clock = time.strftime("%H:%M:%S  ", time.localtime(snapshot.taken_at)) if for_people else ""
                first = shown is None and between != _REDRAW
                print(("" if first else between) + clock + text, end="", flush=True)
                shown = text
            time.sleep(args.interval)
    except KeyboardInterrupt:
        return
