"""`oomsayer explain`: why the OOM killer took the process that a kernel log says it took."""

import os
import stat
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from oomsayer.kernel.explain import Explanation, explain
from oomsayer.kernel.oomscan import BLOCK_BYTES, oom_reports

_NONE_FOUND = 1
_UNREADABLE = 2
_STDIN = "-"
_MOST_CONTROL_BYTES = 0.3
"""The share of control bytes in its beginning from which on an input is no text."""
_TEXT = bytes({7, 8, 9, 10, 12, 13, 27} | set(range(0x20, 0x100)))
_NO_LOGS = (
    (b"LPKSHHRH", "a systemd journal: print it with journalctl --file FILE -k -o short-monotonic"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: decompress it first, zstdcat FILE | oomsayer explain -"),
    (b"\xfd7zXZ\x00", "compressed with xz: decompress it first, xzcat FILE | oomsayer explain -"),
    (b"BZh", "compressed with bzip2: decompress it first, bzcat FILE | oomsayer explain -"),
    (b"PK\x03\x04", "a zip archive: unpack it first"),
    (b"\x7fELF", "a program, not a log"),
    (b"KDUMP   ", "a crash dump: take the log out of it with makedumpfile --dump-dmesg"),
)
_GZIP = b"\x1f\x8b"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


class UnreadableLogError(Exception):
    """The input cannot be read as a log; the message says why and what to do."""


def add_arguments(parser: ArgumentParser) -> None:
    """Add what `oomsayer explain` takes."""
    parser.add_argument(
        "file",
        nargs="?",
        default=None,
        metavar="FILE",
        help="kernel log in any form, gzip too; - is standard input, the default where something is piped in",
    )
    parser.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "yaml"),
        default="table",
        help="table is for people, json and yaml are for scripts (default: table)",
    )


def run(args: Namespace) -> int:
    """Explain every OOM report in the log; the exit status."""
    try:
        name, stream = _opened(args.file)
        with stream:
            found = _print(map(explain, oom_reports(_blocks(stream, name))), args.output)
    except UnreadableLogError as error:
        print(f"oomsayer explain: {error}", file=sys.stderr)
        return _UNREADABLE
    if found:
        return 0
    print(f"oomsayer explain: no OOM report in {name}", file=sys.stderr)
    return _NONE_FOUND


def _print(explanations: Iterable[Explanation], output: str) -> int:
    """Print each explanation as it comes; how many there were."""
    found = 0
    if output == "json":
        from oomsayer.cli.explain_json import document  # noqa: PLC0415 - what is not asked for is not waited for

        separator = '{"reports": ['
        for found, explanation in enumerate(explanations, start=1):
            print(separator, document(found, explanation), sep="\n", end="")
            separator = ","
        print("\n]}" if found else '{"reports": []}')
        return found
    if output == "yaml":
        from oomsayer.cli import yaml  # noqa: PLC0415 - likewise
        from oomsayer.cli.explain_json import fields  # noqa: PLC0415 - likewise

        for found, explanation in enumerate(explanations, start=1):
            print("reports:\n" if found == 1 else "", yaml.dump([fields(found, explanation)]), sep="", end="")
        if not found:
            print("reports: []")
        return found
    from oomsayer.cli.explain_table import text  # noqa: PLC0415 - likewise

    for found, explanation in enumerate(explanations, start=1):
        print(text(found, explanation))
    return found


def _opened(path: str | None) -> tuple[str, BinaryIO]:
    """The input and what to call it.

    Raises:
        UnreadableLogError: it cannot be opened.
    """
    if path in (None, _STDIN):
        # None where whoever started this has closed it.
        if sys.stdin is None or (path is None and sys.stdin.isatty()):
            raise UnreadableLogError(
                "give a FILE, or pipe a log in: dmesg | oomsayer explain, journalctl -k | oomsayer explain"
            )
        return "standard input", open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)
    name = str(path)
    try:
        stream = open(name, "rb", buffering=0)  # noqa: PTH123, SIM115 - pathlib takes long to load; the caller closes
        # /dev/kmsg would wait for the kernel's next word.
        if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):
            os.set_blocking(stream.fileno(), False)
    except OSError as error:
        raise UnreadableLogError(_why(name, error)) from error
    return name, stream


def _why(name: str, error: OSError) -> str:
    remedy = {
        FileNotFoundError: "there is no such file",
        IsADirectoryError: "is a directory: name the log in it",
        PermissionError: "permission denied: read it as root, or as a member of the group adm",
    }.get(type(error), error.strerror or str(error))
    return f"{name}: {remedy}"


def _blocks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    """The log's bytes, block by block.

    Raises:
        UnreadableLogError: reading fails, or what is read is no log.
    """
    try:
        first = stream.read(BLOCK_BYTES) or b""
        rest = iter(lambda: stream.read(BLOCK_BYTES) or b"", b"")
        if first.startswith(_GZIP):
            yield from _unzipped(first, rest, name)
            return
        _check(first, name)
        if first[:2] in _UTF16:
            yield from _utf8(first, rest)
            return
        yield first
        yield from rest
    except OSError as error:
        raise UnreadableLogError(_why(name, error)) from error


def _check(first: bytes, name: str) -> None:
    for magic, what in _NO_LOGS:
        if first.startswith(magic):
            raise UnreadableLogError(f"{name}: this is {what}")
    sample = first[:4096]
    if first[:2] not in _UTF16 and len(sample.translate(None, _TEXT)) > len(sample) * _MOST_CONTROL_BYTES:
        raise UnreadableLogError(f"{name}: this is binary data, not a log")


def _unzipped(first: bytes, rest: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The content of a gzip file of one or more members; one cut off gives what is there."""
    import zlib  # noqa: PLC0415 - few logs need it

    unzip = zlib.decompressobj(wbits=31)
    begun, fresh = False, False
    for block in _chain(first, rest):
        # Between members, and after the last, there may be zeros.
        data = block.lstrip(b"\x00") if fresh else block
        while data:
            fresh = False
            try:
                plain = unzip.decompress(data, BLOCK_BYTES)
            except zlib.error as error:
                if begun and not unzip.eof:
                    raise UnreadableLogError(f"{name}: the gzip data is damaged: {error}") from error
                raise UnreadableLogError(f"{name}: this begins like gzip and is none: {error}") from error
            if plain:
                if not begun:
                    _check(plain, name)
                begun = True
                yield plain
            if unzip.eof:
                data = unzip.unused_data.lstrip(b"\x00")
                unzip, fresh = zlib.decompressobj(wbits=31), True
            else:
                data = unzip.unconsumed_tail


def _chain(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _utf8(first: bytes, rest: Iterable[bytes]) -> Iterator[bytes]:
    """A log in UTF-16, as PowerShell's > writes it."""
    import codecs  # noqa: PLC0415 - few logs need it

    decode = codecs.getincrementaldecoder("utf-16")(errors="replace").decode
    for block in _chain(first, rest):
        yield decode(block).encode("utf-8", "replace")
