"""One node: a QEMU machine, its address on this machine, its console, and a shell on it."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab.native import nodeimage, ports
from lab.native.nodeimage import NodeImage
from lab.process import Daemon

_KUBELET_PORT = 10250
_SSH_PORT = 2222
_MEMORY_MIB = 2048
_CPUS = 2
# Everything the kernel says goes to the serial console, whole: the file is what tests read OOM reports from.
_KERNEL_ARGUMENTS = (
    "console=ttyS0 ignore_loglevel log_buf_len=4M panic=1 net.ifnames=0 audit=0 systemd.show_status=0 "
    "systemd.log_target=journal mitigations=off"
)


@dataclass(frozen=True, slots=True)
class Machine:
    """The QEMU machine of one node; `number` counts from 1 and gives name and addresses."""

    directory: Path
    number: int

    @property
    def name(self) -> str:
        """The node's name."""
        return f"node{self.number}"

    @property
    def address(self) -> str:
        """The node's address among nodes and pods."""
        return f"10.0.2.{20 + self.number}"

    @property
    def host_address(self) -> str:
        """The loopback address on which this machine reaches the node's kubelet and shell."""
        return f"127.0.1.{20 + self.number}"

    @property
    def console(self) -> Path:
        """The file with everything the node's kernel has said since it started."""
        return self.directory / f"{self.name}.console"

    @property
    def daemon(self) -> Daemon:
        """QEMU's process."""
        return Daemon(self.directory, self.name)

    def start(self, image: NodeImage, files: Mapping[str, bytes]) -> None:
        """Start the machine on a fresh disk, with its own files laid over it."""
        for port in (_KUBELET_PORT, _SSH_PORT):
            ports.require(self.host_address, port)
        disk, initrd = self.directory / f"{self.name}.qcow2", self.directory / f"{self.name}.initrd"
        disk.unlink(missing_ok=True)
        nodeimage.overlay(image, disk)
        nodeimage.with_node_files(image, files, initrd)
        forward = ",".join(
            f"hostfwd=tcp:{self.host_address}:{port}-{self.address}:{inside}"
            for port, inside in ((_KUBELET_PORT, _KUBELET_PORT), (_SSH_PORT, 22))
        )
        # /dev/kvm may exist and yet hang, so the processor is always emulated.
        self.daemon.start(
            ["qemu-system-x86_64", "-name", self.name, "-accel", "tcg,thread=multi", "-cpu", "max",
             "-smp", str(_CPUS), "-m", str(_MEMORY_MIB), "-display", "none", "-monitor", "none", "-no-reboot",
             "-serial", f"file:{self.console}",
             "-kernel", image.kernel, "-initrd", initrd, "-append", _KERNEL_ARGUMENTS,
             "-drive", f"file={disk},if=virtio,cache=unsafe",
             "-netdev", f"user,id=net,net=10.0.2.0/24,host=10.0.2.2,{forward}",
             "-device", "virtio-net-pci,netdev=net", "-device", "virtio-rng-pci"]
        )  # fmt: skip

    def shell(
        self, argv: Sequence[str], *, stdin: bytes | None = None, timeout: float | None = 120
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command line on the node as root; its words are joined by spaces, as ssh does."""
        done = subprocess.run(
            [*self.ssh(), " ".join(argv)], input=stdin, capture_output=True, timeout=timeout, check=False
        )
        return subprocess.CompletedProcess(
            argv, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        )

    def ssh(self) -> list[str]:
        """The beginning of a command that runs something on the node."""
        options = {
            "IdentityFile": self.directory / "ssh" / "key",
            "UserKnownHostsFile": self.directory / "ssh" / "known_hosts",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
            "ConnectTimeout": 20,
        }
        settings = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", *settings, "-p", str(_SSH_PORT), f"root@{self.host_address}"]

    def known_host(self, public_key: str) -> str:
        """The line of a known_hosts file for this node."""
        return f"[{self.host_address}]:{_SSH_PORT} {public_key}\n"
