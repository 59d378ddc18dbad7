"""A node as the way from this machine to the addresses of all nodes and pods."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lab import ports
from lab.process import Daemon
from lab.progress import wait_until
from lab.qemu.machine import Machine

_PREFERRED_PORT = 11080
_START_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Gateway(Machine):
    """A machine with an address in the nodes' own network; any node is one."""

    @contextmanager
    def proxy(self) -> Iterator[str]:
        """The URL of a SOCKS proxy on 127.0.0.1 whose connections begin on the node; gone after the block.

        Raises:
            LabError: it did not start.
        """
        port = ports.pick(_PREFERRED_PORT)
        listen = f"127.0.0.1:{port}"
        daemon = Daemon(self.directory, f"{self.name}-proxy")
        daemon.start([*self._ssh(), "-o", "ExitOnForwardFailure=yes", "-N", "-D", listen])

        def listens() -> bool:
            daemon.require()
            return not ports.is_free("127.0.0.1", port)

        try:
            wait_until(f"the proxy of {self.name}", listens, seconds=_START_SECONDS)
            yield f"socks5://{listen}"
        finally:
            daemon.stop()
