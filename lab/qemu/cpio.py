"""Archives for the kernel's initial file system: the "newc" form of cpio.

Source: Documentation/driver-api/early-userspace/buffer-format.rst in the kernel.
"""

from collections.abc import Iterable
from dataclasses import dataclass

_DIRECTORY = 0o040000
_REGULAR = 0o100000
_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Member:
    """One member: a regular file with its content, or a directory without."""

    path: str
    content: bytes | None = None
    mode: int = 0o644


def write_archive(members: Iterable[Member]) -> bytes:
    """The archive, its length a multiple of four; parents must come before what they hold."""
    parts = [_entry(number, member) for number, member in enumerate(members, start=1)]
    return b"".join([*parts, _header(0, 0, 0, _TRAILER)])


def _entry(inode: int, member: Member) -> bytes:
    if member.content is None:
        return _header(inode, _DIRECTORY | 0o755, 0, member.path)
    header = _header(inode, _REGULAR | member.mode, len(member.content), member.path)
    return header + _padded(member.content)


def _header(inode: int, mode: int, size: int, path: str) -> bytes:
    name = path.encode() + b"\0"
    # inode, mode, uid, gid, links, mtime, size, four device numbers, length of the name, checksum
    fields = (inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(name), 0)
    return _padded(b"070701" + b"".join(b"%08X" % value for value in fields) + name)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
