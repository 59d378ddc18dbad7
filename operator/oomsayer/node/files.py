"""Reading kernel files: small, made up on the spot, gone at any moment."""

import errno
import os

GONE = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENOTDIR})
"""What a read says when the process or cgroup it is about has vanished."""

_CHUNK = 65536
RECORD_BYTES = 4096
"""More than most files hold that the kernel writes in one piece."""


def read_record(name: str, dir_fd: int | None = None) -> bytes:
    """All of a file that the kernel writes in one piece, such as /proc/PID/status.

    Raises:
        OSError: it cannot be read, or what it is about is gone.
    """
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        data = os.read(fd, RECORD_BYTES)
        return data if len(data) < RECORD_BYTES else data + _rest(fd)
    finally:
        os.close(fd)


def read_list(name: str, dir_fd: int | None = None) -> bytes:
    """All of a file that the kernel writes piece by piece, such as cgroup.procs.

    Raises:
        OSError: it cannot be read, or what it is about is gone.
    """
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        return _rest(fd)
    finally:
        os.close(fd)


def read_if_there(name: str, dir_fd: int | None = None) -> bytes | None:
    """All of a file, None where it cannot be read."""
    try:
        return read_list(name, dir_fd)
    except OSError:
        return None


def keyed(data: bytes, key: bytes) -> int | None:
    """The integer after a key at the start of a line, None without one.

    Args:
        data: lines of "key value", as in memory.stat and meminfo.
        key: the whole key with the separator that ends it, e.g. b"MemTotal:" or b"file ".
    """
    start = 0 if data.startswith(key) else data.find(b"\n" + key) + 1
    if not start and not data.startswith(key):
        return None
    start += len(key)
    end = data.find(b"\n", start)
    return number(data[start : end if end >= 0 else len(data)])


def number(text: bytes) -> int | None:
    """The decimal integer that text begins with, spaces aside; None where there is none."""
    words = text.split(None, 1)
    if not words:
        return None
    digits = words[0][1:] if words[0][:1] == b"-" else words[0]
    if not digits.isdigit() or len(digits) > _LONGEST:
        return None
    return int(words[0])


_LONGEST = 20
"""Digits of 2**64."""


def _rest(fd: int) -> bytes:
    chunks: list[bytes] = []
    while chunk := os.read(fd, _CHUNK):
        chunks.append(chunk)
    return b"".join(chunks)
