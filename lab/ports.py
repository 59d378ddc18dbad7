"""Free ports on the loopback interface."""

import errno
import socket

from lab.errors import LabError


def is_free(address: str, port: int) -> bool:
    """Whether a TCP server could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True


def pick(preferred: int, address: str = "127.0.0.1") -> int:
    """The preferred port, or any free one where that is taken."""
    return preferred if is_free(address, preferred) else any_free(address)


def any_free(address: str = "127.0.0.1") -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def require(address: str, port: int) -> None:
    """Make sure that a port is free.

    Raises:
        LabError: something listens there.
    """
    if not is_free(address, port):
        raise LabError(f"{address}:{port} is taken; end what listens there (`ss -ltnp`), then try again")
