"""The kernel's log, read by syslog(2): as a whole, without taking anything out of it.

Where kernel.dmesg_restrict is set that asks for CAP_SYSLOG, and container runtimes let the call through to
who has it. /dev/kmsg asks for the same, and for access to the device besides, which only a privileged
container has.

Source: syslog(2); do_syslog() and check_syslog_permissions() in kernel/printk/printk.c.
"""

import os
from collections.abc import Callable

_READ_ALL = 3
_SIZE_BUFFER = 10

Call = Callable[[int, bytearray], int]
"""klogctl(): the action, and room for its answer; how many bytes it gave, or the negative errno."""


class KernelLog:
    """The log of the machine."""

    def __init__(self, call: Call) -> None:
        """`call` is klogctl(), or what stands for it in a test."""
        self._call = call

    def read(self) -> list[str]:
        """Its lines, each with its time since boot where the kernel prints that.

        Raises:
            OSError: it cannot be read.
        """
        size = self._ask(_SIZE_BUFFER, bytearray())
        buffer = bytearray(size)
        return buffer[: self._ask(_READ_ALL, buffer)].decode("utf-8", "surrogateescape").split("\n")

    def _ask(self, action: int, buffer: bytearray) -> int:
        answer = self._call(action, buffer)
        if answer < 0:
            raise OSError(-answer, os.strerror(-answer))
        return answer


def opened() -> KernelLog:
    """The machine's log.

    Raises:
        OSError: this Python has no way to ask for it.
    """
    try:
        import ctypes  # noqa: PLC0415 - half a mebibyte that an agent without the log does without

        klogctl = ctypes.CDLL(None, use_errno=True).klogctl
    except (ImportError, AttributeError) as error:
        raise OSError(f"no syslog(2) here: {error}") from error

    def call(action: int, buffer: bytearray) -> int:
        room = (ctypes.c_char * len(buffer)).from_buffer(buffer) if buffer else None
        answer = int(klogctl(action, room, len(buffer)))
        return -ctypes.get_errno() if answer < 0 else answer

    return KernelLog(call)
